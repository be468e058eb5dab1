// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Starts programs in the guest, watches them, and ends exactly those.
//!
//! A [`Process`] writes to `/var/log/NAME.log` (appending, so that a restarted daemon continues its
//! log) and is killed and waited for when it is dropped.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{fs, io};

use plinth::time::Time;
use rustix::process::{Pid, Signal, kill_process};

use super::trouble::Naming;
use super::{Outcome, Trouble, ensure, wait};

/// For a program that should be over in no time.
const SHORT: Duration = Duration::from_secs(60);

/// A program that runs beside the scenario.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What a program that is over has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Exit status; 128 + signal when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Process {
    /// Starts `words` (program and arguments) under a name for its log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, words: &[&str], environment: &[(&str, &str)]) -> Outcome<Self> {
        let log = PathBuf::from(format!("/var/log/{name}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&log).named(log.display())?;
        let child = command(words)?
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .named(name)?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Outcome {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Trouble::new("no process number"))?;
        kill_process(pid, signal).named(&self.name)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn ended(&mut self, limit: Duration) -> Outcome<(ExitStatus, Duration)> {
        let Self { name, child, .. } = self;
        wait::until_found(&format!("{name} ends"), limit, || Ok(child.try_wait()?))
    }

    /// Sends SIGTERM and wants a clean end within `limit`; tells how long it took.
    ///
    /// # Errors
    /// When it does not end, or not with status 0.
    pub fn stop(&mut self, limit: Duration) -> Outcome<Duration> {
        self.signal(Signal::TERM)?;
        let (status, spent) = self.ended(limit)?;
        ensure(status.success(), format_args!("{} ended with {status}", self.name))?;
        Ok(spent)
    }

    /// All it has written.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until its log holds `text`.
    ///
    /// # Errors
    /// When it does not within `limit`, or when the program ends first.
    pub fn says(&mut self, text: &str, limit: Duration) -> Outcome<Duration> {
        let what = format!("{} says '{text}'", self.name);
        wait::until_found(&what, limit, || {
            if self.log().contains(text) {
                return Ok(Some(()));
            }
            let over = self.child.try_wait()?;
            over.map_or(Ok(None), |status| Err(Trouble::new(format!("it ended with {status}"))))
        })
        .map(|((), spent)| spent)
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_kib(&self) -> Outcome<u64> {
        self.status_field("VmRSS:")
    }

    /// How often it was switched off and on, voluntarily or not: the number of its wake-ups and
    /// more.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn switches(&self) -> Outcome<u64> {
        let voluntary = self.status_field("voluntary_ctxt_switches:")?;
        Ok(voluntary + self.status_field("nonvoluntary_ctxt_switches:")?)
    }

    /// Processor time spent so far by it and by the children it has now, to 10 ms.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn processor_time(&self) -> Outcome<Duration> {
        let own = self.pid();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let numbers = children.split_whitespace().map(str::to_owned).chain([own.to_string()]);
        let mut ticks = 0;
        for number in numbers {
            let text = fs::read_to_string(format!("/proc/{number}/stat")).named(&number)?;
            // The name, which may hold anything, ends at the last parenthesis.
            let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
            for field in fields.skip(11).take(2) {
                ticks += field.parse::<u64>()?;
            }
        }
        Ok(Duration::from_millis(ticks * 10))
    }

    fn status_field(&self, key: &str) -> Outcome<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let text = fs::read_to_string(&path).named(&path)?;
        let rest = text.lines().find_map(|line| line.strip_prefix(key));
        let word = rest.and_then(|rest| rest.split_whitespace().next());
        Ok(word.ok_or_else(|| Trouble::new(format!("no {key} in {path}")))?.parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that is gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(words: &[&str]) -> Outcome<Command> {
    let (program, arguments) =
        words.split_first().ok_or_else(|| Trouble::new("no program to start"))?;
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Ok(command)
}

/// Runs a program to its end, with what it says.
///
/// # Errors
/// When it cannot be started or is not over in a minute.
pub fn run(words: &[&str]) -> Outcome<Said> {
    run_with(words, &[])
}

/// [`run`] with additional environment variables.
///
/// # Errors
/// As [`run`].
pub fn run_with(words: &[&str], environment: &[(&str, &str)]) -> Outcome<Said> {
    finish(command(words)?.envs(environment.iter().copied()), words)
}

/// Runs it to its end. It writes to files, so that nobody needs to read while it runs.
fn finish(command: &mut Command, words: &[&str]) -> Outcome<Said> {
    use std::os::unix::process::ExitStatusExt as _;
    let folder = format!("/tmp/run-{}", Time::monotonic().as_nanos());
    fs::create_dir(&folder).named(&folder)?;
    let file = |name: &str| fs::File::create(format!("{folder}/{name}"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file("out")?)
        .stderr(file("err")?)
        .spawn()
        .named(words.join(" "))?;
    let ended = wait::until_found(&words.join(" "), SHORT, || Ok(child.try_wait()?));
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let (status, _) = ended?;
    let text = |name: &str| {
        let bytes = fs::read(format!("{folder}/{name}"))?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let said = Said { code, out: text("out")?, err: text("err")? };
    fs::remove_dir_all(&folder)?;
    Ok(said)
}

/// Runs a program that must succeed; gives its standard output.
///
/// # Errors
/// Its standard error, when it fails.
pub fn output(words: &[&str]) -> Outcome<String> {
    let said = run(words)?;
    let Said { code, err, out } = said;
    ensure(code == 0, format_args!("'{}' ended with {code}: {err}{out}", words.join(" ")))?;
    Ok(out)
}

/// Runs an applet of the one shell tool in the image.
///
/// # Errors
/// As [`output`].
pub fn busybox(words: &[&str]) -> Outcome<String> {
    let mut all = vec!["/bin/busybox"];
    all.extend(words);
    output(&all)
}

/// [`run`] as another user.
///
/// # Errors
/// As [`run`].
pub fn run_as(user: u32, words: &[&str]) -> Outcome<Said> {
    use std::os::unix::process::CommandExt as _;
    finish(command(words)?.uid(user).gid(user), words)
}
