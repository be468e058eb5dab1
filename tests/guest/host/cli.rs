// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line of `guest`: list the scenarios, run one, or look around in the guest.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use super::run::{self, Options, Setup};
use super::{bare, demo, kinds};
use crate::scenarios::{self, Kernel, Scenario};

const USAGE: &str = "\
usage: guest list
       guest run NAME... [--kernel 6.1|6.12|sid] [--keep] [--quiet]
       guest demo [--kernel 6.1|6.12] [--keep]
       guest bare NAME
       guest kinds
       guest shell [NAME] [--kernel 6.1|6.12|sid]

run     boots a guest for each NAME (\"all\" for every scenario) and each of its kernels
demo    boots a guest for the scenario demo and tells in sentences what happens there
bare    runs a NAME that needs no device on this host's kernel, in a changed root (as root)
kinds   prints which kind of BPF program the tests have shown to work on which kernel
shell   boots the guest of scenario NAME (default: connects) with a shell on this terminal;
        leave it with \"poweroff -f\", or with C-a x
--keep  leaves image, console and report in the lab
--quiet prints only the verdicts";

/// Longest stay in a shell.
const SHELL_LIMIT: Duration = Duration::from_secs(12 * 3600);

#[derive(Default)]
struct Arguments {
    words: Vec<String>,
    kernel: Option<Kernel>,
    keep: bool,
    quiet: bool,
}

impl Arguments {
    fn read(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut found = Self::default();
        while let Some(word) = given.next() {
            match word.as_str() {
                "--kernel" => {
                    let value = given.next().unwrap_or_default();
                    let known = Kernel::KNOWN.into_iter().find(|k| k.to_string() == value);
                    found.kernel = Some(known.ok_or(format!("unknown kernel '{value}'"))?);
                }
                "--keep" => found.keep = true,
                "--quiet" => found.quiet = true,
                _ if word.starts_with('-') => return Err(format!("unknown option '{word}'")),
                _ => found.words.push(word),
            }
        }
        Ok(found)
    }
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::read(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => return usage(&problem),
    };
    let done = match arguments.words.split_first().map(|(w, rest)| (w.as_str(), rest)) {
        Some(("list", [])) => {
            for scenario in scenarios::ALL.iter().chain(scenarios::bench::ALL) {
                println!("{:20} {}", scenario.name, scenario.about);
            }
            return ExitCode::SUCCESS;
        }
        Some(("run", names)) if !names.is_empty() => run_all(names, &arguments),
        Some(("demo", [])) => demo::show(arguments.kernel.unwrap_or(Kernel::V6_1), arguments.keep),
        Some(("kinds", [])) => kinds::show().map_err(Into::into),
        Some(("bare", [name])) => named(name).map_err(Into::into).and_then(bare::run),
        Some(("shell", names)) if names.len() < 2 => shell(names, &arguments),
        _ => return usage("which command?"),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("guest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("guest: {problem}\n{USAGE}");
    ExitCode::from(2)
}

fn named(name: &str) -> Result<&'static Scenario, String> {
    scenarios::find(name).ok_or_else(|| format!("no scenario '{name}', see guest list"))
}

fn run_all(names: &[String], arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let chosen = if names == ["all"] {
        scenarios::ALL.iter().collect()
    } else {
        names.iter().map(|name| named(name)).collect::<Result<Vec<_>, _>>()?
    };
    let options = Options { keep: arguments.keep, talk: !arguments.quiet };
    let (mut passed, mut failed) = (0, 0);
    for scenario in chosen {
        for kernel in scenario.kernels.iter().filter(|k| arguments.kernel.is_none_or(|w| w == **k))
        {
            match run::run(scenario, *kernel, options) {
                Ok(values) => {
                    kinds::record(*kernel, &values)?;
                    println!("ok     {} {kernel}", scenario.name);
                    passed += 1;
                }
                Err(error) => {
                    println!("{error}\nFAILED {} {kernel}", scenario.name);
                    failed += 1;
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0 && passed > 0)
}

fn shell(names: &[String], arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let scenario = named(names.first().map_or("connects", String::as_str))?;
    let kernel = arguments.kernel.unwrap_or(Kernel::V6_12);
    let setup = Setup::prepare("shell", scenario, kernel, true)?;
    setup.machine(SHELL_LIMIT).run_on_terminal()?;
    setup.clear()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Arguments, String> {
        Arguments::read(words.iter().map(|w| (*w).to_owned()))
    }

    #[test]
    fn options_may_stand_anywhere() {
        let found = read(&["run", "--keep", "connects", "--kernel", "6.1"]).unwrap();
        assert_eq!(found.words, ["run", "connects"]);
        assert_eq!(found.kernel, Some(Kernel::V6_1));
        assert!(found.keep);
    }

    #[test]
    fn the_word_at_fault_is_named() {
        assert_eq!(read(&["run", "--kernal"]).err(), Some("unknown option '--kernal'".into()));
        assert_eq!(read(&["run", "--kernel", "5"]).err(), Some("unknown kernel '5'".into()));
        assert_eq!(read(&["run", "--kernel"]).err(), Some("unknown kernel ''".into()));
    }
}
