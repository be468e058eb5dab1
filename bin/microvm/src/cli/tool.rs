// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs that make files for commands, with limits on time and output.
//!
//! A message has the first line of what such a program says: usage texts of foreign programs are
//! long, and begin with what is wrong.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::process::Command;

use plinth::err::{FAILED, Failure};
use plinth::proc::{self, Ending, Limits};

use super::{NO_PROGRAM, TIMED_OUT};

/// Runs `command`, whose standard input is `input` or nothing; what it printed. `purpose` says what
/// for, such as `for erofs images`.
///
/// # Errors
/// It is not installed, cannot be run, ends badly, or passes a limit.
pub(super) fn run(
    command: Command,
    input: Option<OwnedFd>,
    limits: Limits,
    purpose: &str,
) -> Result<Vec<u8>, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match input {
        Some(input) => proc::run_fed(command, input, limits),
        None => proc::run(command, limits),
    };
    let output = output.map_err(|error: io::Error| {
        let status = if error.kind() == ErrorKind::NotFound { NO_PROGRAM } else { FAILED };
        Failure::new(status, format!("{program} is needed {purpose}: {error}"))
    })?;
    let failed = |text: String| Failure::new(FAILED, format!("{program} failed: {text}"));
    match output.ending {
        Ending::Exited(0) => Ok(output.stdout),
        Ending::TimedOut => {
            let seconds = limits.time.as_secs();
            Err(Failure::new(TIMED_OUT, format!("{program} took longer than {seconds} s")))
        }
        Ending::TooMuchOutput => {
            let text = format!("{program} gave more than {} bytes", limits.output);
            Err(Failure::new(FAILED, text))
        }
        Ending::Exited(status) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let line = said.lines().map(str::trim).find(|line| !line.is_empty());
            Err(failed(line.map_or_else(|| format!("status {status}"), str::to_owned)))
        }
        Ending::Signaled(signal) => Err(failed(format!("signal {signal}"))),
        Ending::Unknown => Err(failed("its status is lost".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn said(program: &str, words: &[&str], limits: Limits) -> (u8, String) {
        let mut command = Command::new(program);
        command.args(words);
        match run(command, None, limits, "for a test") {
            Ok(bytes) => (0, String::from_utf8_lossy(&bytes).into_owned()),
            Err(failure) => (failure.exit, failure.to_string()),
        }
    }

    #[test]
    fn a_program_has_limits_and_its_first_line() {
        let wide = Limits { time: Duration::from_secs(600), output: 1000 };
        let script = "echo out; echo >&2; echo ' bad -L' >&2; echo usage >&2; exit $1";
        assert_eq!(said("sh", &["-c", script, "sh", "0"], wide), (0, "out\n".to_owned()));
        let failed = (FAILED, "sh failed: bad -L".to_owned());
        assert_eq!(said("sh", &["-c", script, "sh", "3"], wide), failed);
        assert_eq!(said("false", &[], wide), (FAILED, "false failed: status 1".to_owned()));
        let full = (FAILED, "yes gave more than 1000 bytes".to_owned());
        assert_eq!(said("yes", &[], wide), full);
        let now = Limits { time: Duration::ZERO, ..wide };
        let late = (TIMED_OUT, "sleep took longer than 0 s".to_owned());
        assert_eq!(said("sleep", &["600"], now), late);
        let (status, text) = said("no-such-program", &[], wide);
        assert_eq!(status, NO_PROGRAM, "{text}");
        assert!(text.starts_with("no-such-program is needed for a test: "), "{text}");
    }
}
