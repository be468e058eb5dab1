// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs one scenario on one kernel and judges it.
//!
//! Passed is `@end 0` without a `@fail`. A kernel that panics or oopses before the last word says
//! nothing about our programs: that run is repeated once. Anything else is a failure, shown with
//! the whole report and the end of the console.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, io};

use super::image;
use super::lab::Lab;
use super::qemu::{Ending, Machine, Report};
use crate::scenarios::{Kernel, Needs, Scenario};
use crate::wire::Line;

/// For the emulator to start and the kernel to boot on a busy machine.
const BOOT_ALLOWANCE: Duration = Duration::from_secs(60);
/// Lines of the console that a failure shows.
const CONSOLE_LINES: usize = 120;

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep image, console and report in the lab.
    pub keep: bool,
    /// Print each line of the report as it comes.
    pub talk: bool,
}

/// A run that did not pass.
#[derive(Debug)]
pub struct Failed {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// The kernel it ran on.
    pub kernel: Kernel,
    /// How it ended.
    pub ending: Ending,
    /// Everything that the guest reported, findings included.
    pub report: String,
    /// The last lines that the kernel printed.
    pub console: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, kernel, ending, report, console } = self;
        write!(
            f,
            "scenario {scenario} failed on kernel {kernel}\nending: {ending:?}\n\
             --- report\n{report}--- console, last lines\n{console}\n"
        )
    }
}

impl Error for Failed {}

/// All that a machine needs for a scenario, brought together in a folder of the lab.
pub(super) struct Setup {
    folder: PathBuf,
    kernel: PathBuf,
    image: PathBuf,
    console: PathBuf,
    disk: Option<PathBuf>,
    needs: Needs,
}

impl Setup {
    /// Packs the image, with a shell on the terminal or not, into a folder of this name.
    pub(super) fn prepare(
        name: &str,
        scenario: &Scenario,
        kernel: Kernel,
        shell: bool,
    ) -> Result<Self, Box<dyn Error>> {
        let (lab, needs) = (Lab::find(), scenario.needs);
        let folder = lab.folder(name)?;
        let image = folder.join("image");
        fs::write(&image, image::pack(&lab, scenario, kernel, shell)?)?;
        let disk = if needs.reference { Some(lab.reference()?) } else { None };
        let kernel = lab.kernel(kernel)?;
        Ok(Self { console: folder.join("console"), folder, kernel, image, disk, needs })
    }

    /// The machine, which runs no longer than `limit`.
    pub(super) fn machine(&self, limit: Duration) -> Machine<'_> {
        Machine {
            kernel: &self.kernel,
            image: &self.image,
            memory_mib: self.needs.memory_mib,
            steady: self.needs.steady,
            iommu: self.needs.iommu,
            disk: self.disk.as_deref(),
            console: &self.console,
            limit,
        }
    }

    /// Removes the folder.
    pub(super) fn clear(self) -> io::Result<()> {
        fs::remove_dir_all(self.folder)
    }
}

/// Runs `scenario` on `kernel` and gives its measurements, in order.
///
/// # Errors
/// [`Failed`] when it did not pass; else what is missing on this host.
pub fn run(
    scenario: &'static Scenario,
    kernel: Kernel,
    options: Options,
) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    run_heard(scenario, kernel, options.keep, &mut |line| {
        if options.talk {
            println!("{line}");
        }
    })
}

/// The same; `hear` gets each line of the report as it comes, `keep` is that of [`Options`].
///
/// # Errors
/// As [`run`].
pub fn run_heard(
    scenario: &'static Scenario,
    kernel: Kernel,
    keep: bool,
    hear: &mut dyn FnMut(&Line),
) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let name = format!("{}-{kernel}", scenario.name);
    let setup = Setup::prepare(&name, scenario, kernel, false)?;
    let machine = setup.machine(BOOT_ALLOWANCE + Duration::from_secs(scenario.seconds));
    let mut judged = once(&machine, hear, &setup.folder)?;
    if let Judgement::Crashed = judged.0 {
        judged = once(&machine, hear, &setup.folder)?;
    }
    let (judgement, report) = judged;
    let result = match judgement {
        Judgement::Passed(values) => Ok(values),
        Judgement::Failed | Judgement::Crashed => Err(Failed {
            scenario: scenario.name,
            kernel,
            ending: report.ending,
            report: text_of(&report),
            console: tail(&report.console),
        }
        .into()),
    };
    if !keep {
        setup.clear()?;
    }
    result
}

enum Judgement {
    Passed(Vec<(String, String)>),
    Failed,
    Crashed,
}

fn once(
    machine: &Machine<'_>,
    hear: &mut dyn FnMut(&Line),
    folder: &Path,
) -> Result<(Judgement, Report), Box<dyn Error>> {
    let report = machine.run(hear)?;
    fs::write(folder.join("report"), text_of(&report))?;
    Ok((judge(&report), report))
}

fn text_of(report: &Report) -> String {
    report.lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}

fn judge(report: &Report) -> Judgement {
    let findings = report.lines.iter().filter(|line| matches!(line, Line::Fail(_))).count();
    let crashed =
        ["Kernel panic", "Oops:", "BUG: "].iter().any(|sign| report.console.contains(sign));
    if report.ending == Ending::Said(0) && findings == 0 {
        let values = report.lines.iter().filter_map(|line| match line {
            Line::Value(key, value) => Some((key.clone(), value.clone())),
            _ => None,
        });
        return Judgement::Passed(values.collect());
    }
    // The guest may get to say something after an oops; it means nothing any more.
    if crashed { Judgement::Crashed } else { Judgement::Failed }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    fn judged(lines: &[Line], console: &str, ending: Ending) -> &'static str {
        let report = Report { lines: lines.to_vec(), console: console.to_owned(), ending };
        match judge(&report) {
            Judgement::Passed(_) => "passed",
            Judgement::Failed => "failed",
            Judgement::Crashed => "crashed",
        }
    }

    #[test]
    fn only_a_clean_last_word_passes() {
        let (talk, fail) = (Line::Talk("x".into()), Line::Fail("y".into()));
        assert_eq!(judged(slice::from_ref(&talk), "", Ending::Said(0)), "passed");
        assert_eq!(judged(slice::from_ref(&talk), "", Ending::Said(1)), "failed");
        assert_eq!(judged(&[fail], "", Ending::Said(0)), "failed");
        assert_eq!(judged(slice::from_ref(&talk), "", Ending::Quit), "failed");
        assert_eq!(judged(slice::from_ref(&talk), "", Ending::TimedOut), "failed");
        assert_eq!(judged(&[talk], "", Ending::TooMuchOutput), "failed");
    }

    #[test]
    fn a_run_that_fails_after_a_crash_says_nothing() {
        let console = "[ 1.0] Kernel panic - not syncing";
        assert_eq!(judged(&[], console, Ending::Quit), "crashed");
        assert_eq!(judged(&[], console, Ending::TimedOut), "crashed");
        assert_eq!(judged(&[], console, Ending::Said(1)), "crashed");
        assert_eq!(judged(&[], console, Ending::Said(0)), "passed");
    }
}
