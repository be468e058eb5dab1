// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Shows the scenario `demo` to a person: one line for each event, as it happens.
//!
//! Owns how the lines look and the last one, `demo: ok` or `demo: failed`. Times are seconds since
//! the demonstration began on the host. What happens is told by [`crate::scenarios::demo`]; a
//! failure brings the finding, the logs of the programs in the guest and the end of its console.

use std::error::Error;
use std::fs;
use std::io::{self, Write};

use plinth::time::Time;

use super::lab::Lab;
use super::run::{self, Failed};
use super::{build, image};
use crate::scenarios::Kernel;
use crate::scenarios::demo::DEMO;
use crate::wire::Line;

/// The last line when everything came true.
const OK: &str = "demo: ok";
/// The last line otherwise.
const FAILED: &str = "demo: failed";

/// Builds, boots, tells; gives whether everything came true.
///
/// # Errors
/// What is missing on this host, or a standard output that takes no more.
pub fn show(kernel: Kernel, keep: bool) -> Result<bool, Box<dyn Error>> {
    let mut teller = Teller::new(io::stdout());
    teller.event("building the programs, optimised and static (this takes minutes the first time)");
    let workspace = Lab::find().workspace().to_owned();
    build::init(&workspace)?;
    let folder = build::stas(&workspace)?;
    let mut bytes = 0;
    for (name, _) in image::STAS {
        bytes += fs::metadata(folder.join(name))?.len();
    }
    let names = image::STAS.map(|(name, _)| name).join(", ");
    teller.event(&format!("built {names}: {} KB in all", bytes / 1000));
    teller.event(&format!(
        "starting a virtual machine with Linux {kernel} (QEMU, 1 processor, {} MiB); this host is \
         not touched",
        DEMO.needs.memory_mib
    ));
    let ended = match run::run_heard(&DEMO, kernel, keep, &mut |line| teller.hear(line)) {
        Ok(_) => None,
        Err(error) => Some(error.downcast::<Failed>()?),
    };
    teller.end(ended.as_deref());
    teller.written?;
    Ok(ended.is_none())
}

/// Tells; the first error of writing ends the telling and is kept.
struct Teller<W> {
    out: W,
    begun: Time,
    written: io::Result<()>,
}

impl<W: Write> Teller<W> {
    fn new(out: W) -> Self {
        Self { out, begun: Time::monotonic(), written: Ok(()) }
    }

    fn line(&mut self, text: &str) {
        if self.written.is_ok() {
            // Whoever watches through a pipe shall see it now as well.
            self.written = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        }
    }

    fn event(&mut self, text: &str) {
        let at = self.begun.until(Time::monotonic()).as_secs_f64();
        self.line(&format!("{at:6.1} s  {text}"));
    }

    fn hear(&mut self, line: &Line) {
        match line {
            Line::Step(_, text) => self.event(text),
            Line::Fail(text) => self.event(&format!("FAILED: {text}")),
            Line::Talk(text) => self.line(text),
            Line::Value(..) | Line::End(_) => {}
        }
    }

    fn end(&mut self, failed: Option<&Failed>) {
        let Some(failed) = failed else { return self.line(OK) };
        self.line("--- console of the guest, last lines");
        self.line(&failed.console);
        self.line(&format!("--- the guest's end: {:?}", failed.ending));
        self.line(FAILED);
    }
}

#[cfg(test)]
mod tests {
    use super::super::qemu::Ending;
    use super::*;

    fn told(lines: &[Line], failed: Option<&Failed>) -> String {
        let mut out = Vec::new();
        let mut teller = Teller::new(&mut out);
        for line in lines {
            teller.hear(line);
        }
        teller.end(failed);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_has_a_time_and_a_table_has_none() {
        let lines = [
            Line::Step("7.25".into(), "stafd runs".into()),
            Line::Value("spent_ms".into(), "12".into()),
            Line::Talk("DEVICE  TRANSPORT".into()),
            Line::End(0),
        ];
        let told = told(&lines, None);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 3, "{told}");
        assert!(lines[0].ends_with(" s  stafd runs"), "{told}");
        assert_eq!(lines[1..], ["DEVICE  TRANSPORT", "demo: ok"]);
    }

    #[test]
    fn a_failure_tells_the_finding_and_the_console_and_is_never_ok() {
        let failed = Failed {
            scenario: "demo",
            kernel: Kernel::V6_1,
            ending: Ending::Said(1),
            report: "not shown twice".into(),
            console: "nvme nvme1: failed".into(),
        };
        let told = told(&[Line::Fail("no disk".into())], Some(&failed));
        assert!(told.contains("FAILED: no disk\n"), "{told}");
        assert!(told.contains("\nnvme nvme1: failed\n"), "{told}");
        assert!(told.ends_with("\ndemo: failed\n"), "{told}");
        assert!(!told.contains(OK) && !told.contains("not shown twice"), "{told}");
    }

    #[test]
    fn a_closed_pipe_is_an_error_at_the_end_and_no_panic() {
        let mut little = [0; 4];
        let mut teller = Teller::new(&mut little[..]);
        teller.event("more than four bytes");
        teller.event("and more");
        assert!(teller.written.is_err());
    }
}
