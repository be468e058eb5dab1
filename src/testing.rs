// SPDX-License-Identifier: Apache-2.0 OR MIT
//! For tests of this crate and of those above it: directories that are gone afterwards, and waits
//! that end.
//!
//! No test may hang: whoever waits there for another process, a thread or a peer does it by what is
//! here, and panics when [`LONG`] has passed in vain. That is long on purpose, as nothing is judged
//! by its speed. Tests alone may use this: it blocks, and it panics.

use std::fs;
use std::io::{self, Read};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::file::Root;
use crate::proc::{self, Ending, Limits, Output};
use crate::time::Time;

/// Longer than anything takes that a test waits for, on a loaded machine too.
pub const LONG: Duration = Duration::from_secs(120);

/// The same for all of a test that [`isolated`] runs.
const ISOLATED: Duration = Duration::from_secs(900);

/// How much a program may say.
const OUTPUT_MAX: usize = 16 << 20;

/// Between two looks of [`until`].
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// Says to the inner run of [`isolated`] that it is the inner run.
const MARK: &str = "PLINTH_TEST_ISOLATED";

/// A fresh directory, for one test alone, removed when it is dropped.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// Makes it, in the directory for temporary files.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("plinth-{}-{number}", std::process::id()));
        // One that a former process of this number left behind is not fresh.
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).expect("a fresh directory");
        Self(path)
    }

    /// The place as the root of a system.
    #[must_use]
    pub fn root(&self) -> Root {
        Root::at(&self.0)
    }

    /// Makes a directory, whose path is relative to the place.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn directory(&self, path: &str) {
        fs::create_dir_all(self.join(path)).expect("made");
    }

    /// Writes a file, whose path is relative to the place, and the directories above it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, content).expect("written");
    }
}

impl Deref for Place {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A directory left behind is no failure of the test.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Cargo's target directory. One that is relative is so to the workspace, where tests do not run.
#[must_use]
pub fn target() -> PathBuf {
    within_workspace("CARGO_TARGET_DIR").unwrap_or_else(|| workspace().join("target"))
}

/// What `tests/setup.sh` fetched, by its path below the cache.
#[must_use]
pub fn fetched(path: &str) -> PathBuf {
    within_workspace("PLINTH_CACHE").unwrap_or_else(|| target().join("lab")).join(path)
}

fn within_workspace(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(|path| workspace().join(path))
}

/// The root of the sources.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Waits until `done` says so.
///
/// # Panics
/// It does not happen.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Time::monotonic() + LONG;
    while !done() {
        assert!(Time::monotonic() < deadline, "in vain: {what}");
        let _ = poll(&mut [], Some(&PAUSE));
    }
}

/// Waits until there is something to read, or somebody to accept.
///
/// # Panics
/// There never is.
pub fn ready<F: AsFd>(fd: F) -> F {
    let waited = readable(&fd, Time::monotonic() + LONG);
    assert!(waited.is_ok(), "in vain: something to read");
    fd
}

fn readable(fd: impl AsFd, deadline: Time) -> io::Result<()> {
    loop {
        let left = Time::monotonic().until(deadline);
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::INTR) => {}
            found => return Ok(found.map(drop)?),
        }
    }
}

/// Reads what comes within [`LONG`], counted from the beginning for all of it; then reading fails.
#[derive(Debug)]
pub struct Patient<R> {
    inner: R,
    deadline: Time,
}

impl<R> Patient<R> {
    /// Begins now.
    pub fn new(inner: R) -> Self {
        Self::within(inner, LONG)
    }

    /// What it reads from, to say something there.
    pub const fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// The same with a limit of its own.
    pub fn within(inner: R, limit: Duration) -> Self {
        Self { inner, deadline: Time::monotonic() + limit }
    }
}

impl<R: AsFd> AsFd for Patient<R> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<R: Read + AsFd> Read for Patient<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        readable(&self.inner, self.deadline)?;
        self.inner.read(into)
    }
}

/// What a thread gives.
///
/// # Panics
/// It does not end, or it panicked, with what it said.
pub fn joined<T>(thread: JoinHandle<T>) -> T {
    until("the end of a thread", || thread.is_finished());
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The status of a process that ends by itself. Its standard input is closed.
///
/// # Panics
/// It does not end; it is killed.
pub fn ended(child: &mut Child) -> ExitStatus {
    drop(child.stdin.take());
    let deadline = Time::monotonic() + LONG;
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status;
        }
        if deadline <= Time::monotonic() {
            drop(child.kill());
            panic!("in vain: the end of process {}", child.id());
        }
        let _ = poll(&mut [], Some(&PAUSE));
    }
}

/// Runs a command to its end, without input, and takes what it says.
///
/// # Panics
/// It cannot be started, does not end or says too much; it is killed, with its process group.
pub fn run(command: Command) -> Output {
    let what = format!("{command:?}");
    let limits = Limits { time: LONG, output: OUTPUT_MAX };
    let output = proc::run(command, limits).unwrap_or_else(|error| panic!("{what}: {error}"));
    let is_over = matches!(output.ending, Ending::TimedOut | Ending::TooMuchOutput);
    assert!(!is_over, "{what}: {}", told(&output));
    output
}

/// The same as [`Command::output`] gives it.
///
/// # Panics
/// As for [`run`], and when somebody keeps its output open for too long.
pub fn output(command: &mut Command) -> std::process::Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    collected(child, LONG).unwrap_or_else(|| panic!("in vain: the end of {command:?}"))
}

/// The same as [`Child::wait_with_output`] gives it, of a child that is in a group of its own, or
/// has no children that stay.
///
/// # Panics
/// It does not end, or somebody keeps its output open for too long; it is killed.
#[must_use]
pub fn finished(child: Child) -> std::process::Output {
    collected(child, LONG).expect("in vain: the end of a process")
}

fn collected(child: Child, limit: Duration) -> Option<std::process::Output> {
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    // Whoever has left the group and keeps the output open keeps this thread, and nobody else.
    thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(limit) {
        Ok(output) => Some(output.expect("its output")),
        Err(_) => {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            None
        }
    }
}

/// `true` inside of network and mount namespaces of its own; outside runs the test named
/// `module::test` there and returns `false` when it passed.
///
/// For tests whose names contain `root_`. Namespaces belong to a process, so that the test binary
/// starts itself anew below `unshare(1)` and runs the one test there.
///
/// # Panics
/// The inner run failed or did not end, or there is no privilege to make namespaces.
#[must_use]
pub fn isolated(module: &str, test: &str) -> bool {
    isolated_within(module, test, ISOLATED)
}

fn isolated_within(module: &str, test: &str, time: Duration) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let path = module.split_once("::").map_or(module, |(_, inner)| inner);
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().expect("a test knows its own binary"))
        .args(["--exact", &format!("{path}::{test}"), "--nocapture", "--test-threads=1"])
        .env(MARK, "1");
    let limits = Limits { time, output: OUTPUT_MAX };
    let output = proc::run(command, limits).expect("unshare(1) can be run");
    let passed = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(
        output.success() && passed,
        "the isolated run of {test} failed (without root, skip `root_`): {}",
        told(&output)
    );
    false
}

/// How it ended, and all that it said.
fn told(output: &Output) -> String {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{:?}\n{stdout}\n{stderr}", output.ending)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Of a wait that is in vain.
    const SHORT: Duration = Duration::from_millis(20);

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn relative_directories_are_so_to_the_workspace_wherever_a_test_runs() {
        const NAME: &str =
            "testing::tests::relative_directories_are_so_to_the_workspace_wherever_a_test_runs";
        if std::env::var("CARGO_TARGET_DIR").is_ok_and(|it| it == "elsewhere") {
            assert!(workspace().join("Cargo.lock").exists());
            assert_eq!(target(), workspace().join("elsewhere"));
            return assert_eq!(fetched("x/ready"), workspace().join("elsewhere/lab/x/ready"));
        }
        let mut command = Command::new(std::env::current_exe().expect("our path"));
        command.args(["--exact", NAME]).current_dir("/");
        command.env("CARGO_TARGET_DIR", "elsewhere").env_remove("PLINTH_CACHE");
        let output = run(command);
        assert!(output.success(), "{}", told(&output));
        assert!(told(&output).contains("1 passed"));
    }

    #[test]
    fn a_reader_waits_for_all_of_its_time_together() {
        let (mut near, far) = UnixStream::pair().expect("two ends");
        near.write_all(b"some").expect("written");
        let mut text = String::new();
        let error = Patient::within(&far, SHORT).read_to_string(&mut text).expect_err("no end");
        assert_eq!((error.kind(), text.as_str()), (io::ErrorKind::TimedOut, "some"));
        drop(near);
        assert_eq!(Patient::new(&far).read(&mut [0; 9]).expect("the end"), 0);
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_with_its_group() {
        let mut command = sh("echo $$; sleep 1000 & wait");
        command.stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().expect("sh runs");
        let mut pipe = child.stdout.take().expect("a pipe");
        assert!(collected(child, SHORT).is_none());
        // The sleeper held it open as well.
        Patient::new(&mut pipe).read_to_end(&mut Vec::new()).expect("all are gone");
    }

    #[test]
    fn who_keeps_the_output_open_keeps_nobody() {
        // It ends with our end of its input.
        let mut command = sh("exec 3<&0; setsid cat <&3 2>&1 & exit 0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("sh runs");
        let input = child.stdin.take();
        assert!(collected(child, SHORT).is_none());
        drop(input);
    }

    #[test]
    fn what_ends_is_told_as_the_standard_library_tells_it() {
        let said = output(&mut sh("echo out; echo err >&2; cat; exit 3"));
        assert_eq!(
            (said.status.code(), &said.stdout[..], &said.stderr[..]),
            (Some(3), &b"out\n"[..], &b"err\n"[..])
        );
        assert_eq!(run(sh("exit 4")).ending, Ending::Exited(4));
        let mut child = sh("cat; exit 5").stdin(Stdio::piped()).spawn().expect("sh runs");
        assert_eq!(ended(&mut child).code(), Some(5));
        assert_eq!(joined(thread::spawn(|| 6)), 6);
    }

    #[test]
    fn root_an_isolated_run_that_hangs_is_ended() {
        const NAME: &str = "root_an_isolated_run_that_hangs_is_ended";
        let hung = std::panic::catch_unwind(|| {
            if isolated_within(module_path!(), NAME, Duration::from_secs(1)) {
                let _ = poll(&mut [], Some(&Timespec { tv_sec: 60, tv_nsec: 0 }));
            }
        });
        let inner = std::env::var_os(MARK).is_some();
        assert_eq!(hung.is_ok(), inner, "the outer run ends it");
    }
}
