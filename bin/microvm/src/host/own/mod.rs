// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Starting and stopping without a service manager.
//!
//! The order is that of the units: `booted`, interfaces, devices, virtiofsd, the hypervisor; what
//! was done is undone in reverse when a step fails, and at the end. Whether a machine that died is
//! started again is up to whoever called.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use plinth::proc::Limits;
use plinth::sys::signal::{Signals, with_empty_mask};
use plinth::time::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::change::{BOOTED, CURRENT, PROCESS};
use super::hands::{link, remove_file};
use super::process::{Held, Started, early_end, last_words, log};
use super::profile::SHUTDOWN_TIMEOUT;
use super::units::{GROUP_VARIABLE, USER_VARIABLE};
use super::{Host, HostError, LOCK_PATIENCE, Manager, Name, warn};

/// The script that runs a machine.
pub(super) const RUN: &str = "microvm-run";
/// The script that serves its directories.
const VIRTIOFSD: &str = "virtiofsd-run";
/// The script that stops it.
const SHUTDOWN: &str = "microvm-shutdown";
/// What a script of the network or of devices may take.
const SCRIPT: Limits = Limits { time: Duration::from_secs(60), output: 1 << 20 };
/// How long a hypervisor is watched that was started: one that cannot run ends soon.
const WATCH: Duration = Duration::from_secs(1);
/// How long a process has from SIGTERM to SIGKILL.
const TERM_PATIENCE: Duration = Duration::from_secs(10);
/// How long a hypervisor may take to go once its machine has stopped.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How long the kernel may take over a kill.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A part of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make `booted` what `current` is.
    Booted,
    /// Run the first script; the second undoes it, if the package has it.
    Script(&'static str, &'static str),
    /// Start the daemons that serve directories, and wait until they do.
    Virtiofsd,
    /// Start the hypervisor.
    Run,
}

/// The steps for a package that has the scripts that `has` says.
#[must_use]
pub(super) fn steps(has: &dyn Fn(&str) -> bool) -> Vec<Step> {
    let mut steps = vec![Step::Booted];
    for (up, down) in
        [("tap-up", "tap-down"), ("macvtap-up", "macvtap-down"), ("pci-setup", "pci-teardown")]
    {
        steps.extend(has(up).then_some(Step::Script(up, down)));
    }
    steps.extend(has(VIRTIOFSD).then_some(Step::Virtiofsd));
    steps.push(Step::Run);
    steps
}

/// A start on its way, or a stop.
struct Work<'a> {
    host: &'a Host<'a>,
    name: &'a Name,
    at: PathBuf,
    pids: Vec<(&'static str, u32)>,
}

impl Host<'_> {
    /// Starts a machine and returns while it runs.
    ///
    /// # Errors
    /// A step failed, or the hypervisor ended at once; the others are undone.
    pub fn start(&self, name: &Name) -> Result<(), HostError> {
        self.start_watched(name, WATCH)
    }

    /// As [`Host::start`], with a hypervisor that has to run for as long as `watch` says.
    fn start_watched(&self, name: &Name, watch: Duration) -> Result<(), HostError> {
        let mut work = Work::new(self, name);
        work.set_up(Some(watch)).map(drop)
    }

    /// Sets a machine up, runs it in the foreground, and takes it down; its status.
    ///
    /// The lock is held while something is set up or taken down, so that the machine can be updated
    /// and stopped as any other while it runs.
    ///
    /// # Errors
    /// A step failed; the others are undone.
    pub fn run_with_setup(&self, name: &Name) -> Result<u8, HostError> {
        // From here on signals do not end us: what was set up is to be taken down.
        let signals = Signals::new(&[Signal::INT, Signal::TERM, Signal::HUP])
            .map_err(HostError::io("receive", "signals"))?;
        let mut work = Work::new(self, name);
        let lock = self.lock(name)?;
        let Some(child) = work.set_up(None)? else { return Ok(1) };
        drop(lock);
        let status = attend(child, signals);
        let _lock = self.lock_within(name, LOCK_PATIENCE)?;
        // Whoever stopped it has taken it down, and may have started another.
        if self.is_left(name) && self.process(name).is_none() {
            work.tear_down();
        }
        status
    }

    /// Stops a machine, and takes down what was set up for it.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn stop(&self, name: &Name) -> Result<(), HostError> {
        let work = Work::new(self, name);
        for started in self.started(name).iter().filter(|it| it.what == RUN) {
            work.end_machine(started)?;
        }
        work.tear_down();
        Ok(())
    }

    /// Takes down what is left of a machine that does not run any more, where no unit does so.
    ///
    /// # Errors
    /// A process cannot be ended.
    pub fn clear(&self, name: &Name) -> Result<(), HostError> {
        let is_booted = self.directory(name).join(BOOTED).is_symlink();
        if self.is_left(name) || (is_booted && self.manager == Manager::Own) {
            Work::new(self, name).tear_down();
        }
        if self.started(name).is_empty() { Ok(()) } else { Err(HostError::Running(name.clone())) }
    }

    /// Whether something is there that we have set up for a machine and not taken down: it runs, or
    /// died.
    #[must_use]
    pub fn is_left(&self, name: &Name) -> bool {
        self.directory(name).join(PROCESS).symlink_metadata().is_ok()
    }

    /// Asks the machine to stop, as the package that runs says; nothing if it has no way to.
    ///
    /// # Errors
    /// The package's script failed, or took too long.
    pub fn shut_down(&self, name: &Name, pid: Option<u32>) -> Result<(), HostError> {
        let link = if self.package(name, BOOTED).is_some() { BOOTED } else { CURRENT };
        let Some(package) = self.package(name, link) else { return Ok(()) };
        let script = package.join("bin").join(SHUTDOWN);
        if !script.is_file() {
            return Ok(());
        }
        let seconds = self.profile(name, link).map_or(SHUTDOWN_TIMEOUT, |it| it.shutdown_timeout);
        let mut command = Command::new(script);
        command.current_dir(self.directory(name));
        if let Some(pid) = pid {
            command.env("MAINPID", pid.to_string());
        }
        // The script has the same limit; this is for one that does not keep it.
        let time = Duration::from_secs(seconds) + END_PATIENCE;
        self.run(command, "to stop the machine", Limits { time, output: 1 << 20 }).map(drop)
    }

    /// Makes `booted` what `current` is.
    ///
    /// # Errors
    /// There is no current package, or somebody else has put it there; the link cannot be made.
    pub fn set_booted(&self, name: &Name) -> Result<(), HostError> {
        let at = self.directory(name);
        self.trusted(name)?;
        self.way(name, CURRENT)?;
        let current = fs::read_link(at.join(CURRENT)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => HostError::NotFound(name.clone()),
            _ => HostError::io("read", at.join(CURRENT))(error),
        })?;
        link(&at, BOOTED, &current.to_string_lossy())
    }

    /// Takes `booted` away.
    ///
    /// # Errors
    /// The system refused.
    pub fn unset_booted(&self, name: &Name) -> Result<(), HostError> {
        remove_file(&self.directory(name).join(BOOTED))
    }

    /// Runs a script of a package, if it is there.
    ///
    /// # Errors
    /// It failed.
    pub fn hook(
        &self,
        name: &Name,
        link: &str,
        script: &str,
        words: &[String],
    ) -> Result<(), HostError> {
        let Some(package) = self.package(name, link) else { return Ok(()) };
        let path = package.join("bin").join(script);
        if !path.is_file() {
            return Ok(());
        }
        let mut command = Command::new(path);
        command.args(words).current_dir(self.directory(name));
        command.env(USER_VARIABLE, &self.settings.user);
        command.env(GROUP_VARIABLE, &self.settings.group);
        self.run(command, "by the package", SCRIPT).map(drop)
    }
}

impl<'a> Work<'a> {
    fn new(host: &'a Host<'a>, name: &'a Name) -> Self {
        Self { host, name, at: host.directory(name), pids: Vec::new() }
    }

    /// Does all steps, or none. A start in the background watches the hypervisor for a while; one
    /// in the foreground gives the child.
    fn set_up(&mut self, watch: Option<Duration>) -> Result<Option<Child>, HostError> {
        let package = self
            .host
            .package(self.name, CURRENT)
            .ok_or_else(|| HostError::NoPackage(self.name.clone()))?;
        if self.host.process(self.name).is_some() {
            return Err(HostError::Running(self.name.clone()));
        }
        // What a machine that died has left.
        if self.host.is_left(self.name) || self.host.package(self.name, BOOTED).is_some() {
            self.tear_down();
        }
        let mut child = None;
        for step in steps(&|script| package.join("bin").join(script).is_file()) {
            let done = match step {
                Step::Booted => self.host.set_booted(self.name),
                Step::Script(up, _) => self.host.hook(self.name, BOOTED, up, &[]),
                Step::Virtiofsd => self.virtiofsd(),
                Step::Run => self.spawn(watch).map(|it| child = it),
            };
            if let Err(error) = done {
                self.tear_down();
                return Err(error);
            }
            (self.host.after_action)();
        }
        Ok(child)
    }

    /// Where a script of the package that runs is, if root may run it.
    fn path(&self, script: &str) -> Option<PathBuf> {
        Some(self.host.package(self.name, BOOTED)?.join("bin").join(script))
    }

    fn has(&self, script: &str) -> bool {
        self.path(script).is_some_and(|it| it.is_file())
    }

    fn script(&self, script: &str) -> Result<Command, HostError> {
        let path = self.path(script).ok_or_else(|| HostError::NotFound(self.name.clone()))?;
        let mut command = Command::new(path);
        command.current_dir(&self.at);
        Ok(command)
    }

    /// Writes down a child; one that cannot be is ended, as nobody would find it again.
    fn note(&mut self, what: &'static str, child: &mut Child) -> Result<(), HostError> {
        self.pids.push((what, child.id()));
        let noted = self.host.note(self.name, &self.pids);
        if noted.is_err() {
            // Fails only when it has ended already.
            drop(child.kill().and_then(|()| child.wait()));
        }
        noted
    }

    /// Starts the hypervisor.
    fn spawn(&mut self, watch: Option<Duration>) -> Result<Option<Child>, HostError> {
        let mut command = self.script(RUN)?;
        self.host.as_hypervisor(self.name, &mut command);
        let console = self.at.join("console.log");
        if watch.is_some() {
            let (out, err) = log(&console)?;
            command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        } else {
            with_empty_mask(&mut command).map_err(HostError::io("start", RUN))?;
        }
        let mut child = command.spawn().map_err(HostError::io("start", RUN))?;
        self.note(RUN, &mut child)?;
        let ended = watch.map_or(Ok(None), |watch| early_end(&mut child, watch));
        if let Some(status) = ended.map_err(HostError::io("wait for", RUN))? {
            let (status, said) = (plinth::proc::shell_status(status), last_words(&console));
            let text = format!("status {status} at once, see {}: {said}", console.display());
            return Err(HostError::Failed(RUN.to_owned(), text));
        }
        let hook = [child.id().to_string()];
        // A machine that is not registered is one all the same.
        if let Err(error) = self.host.hook(self.name, BOOTED, "microvm-register", &hook) {
            warn(&format!("{}: {error}", self.name));
        }
        Ok(watch.is_none().then_some(child))
    }

    /// Starts the daemons, and waits until they say that they serve.
    fn virtiofsd(&mut self) -> Result<(), HostError> {
        let path = self.at.join(".notify");
        remove_file(&path)?;
        let socket = UnixDatagram::bind(&path).map_err(HostError::io("create", &path))?;
        let (out, err) = log(&self.at.join("virtiofsd.log"))?;
        let mut command = self.script(VIRTIOFSD)?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        command.env("NOTIFY_SOCKET", &path);
        let mut child = command.spawn().map_err(HostError::io("start", VIRTIOFSD))?;
        self.note(VIRTIOFSD, &mut child)?;
        let patience = Duration::from_secs(self.host.settings.startup_timeout);
        let said = await_ready(&socket, child.id(), patience);
        remove_file(&path)?;
        said
    }

    /// Ends the hypervisor: asked, told, killed.
    fn end_machine(&self, started: &Started) -> Result<(), HostError> {
        let Some(held) = Held::new(started) else { return Ok(()) };
        if let Err(error) = self.host.shut_down(self.name, Some(started.pid)) {
            warn(&format!("{}: {error}", self.name));
        }
        let has_script = self.has(SHUTDOWN);
        if has_script && held.ends_within(END_PATIENCE) {
            return Ok(());
        }
        self.end(&held)
    }

    fn end(&self, held: &Held) -> Result<(), HostError> {
        held.signal(Signal::TERM);
        if held.ends_within(TERM_PATIENCE) {
            return Ok(());
        }
        held.signal(Signal::KILL);
        if held.ends_within(KILL_PATIENCE) {
            return Ok(());
        }
        Err(HostError::TimedOut(format!("the end of MicroVM {}", self.name)))
    }

    /// Undoes everything, the last first. Nothing is in the way of anything else.
    fn tear_down(&self) {
        let mut errors = Vec::new();
        for started in self.host.started(self.name) {
            if let Some(held) = Held::new(&started) {
                errors.extend(self.end(&held).err());
            }
        }
        let is_ended = errors.is_empty();
        let hook = |script: &str| self.host.hook(self.name, BOOTED, script, &[]).err();
        errors.extend(hook("microvm-unregister"));
        let steps = steps(&|script| self.has(script));
        for step in steps.iter().rev() {
            match step {
                Step::Script(_, down) => errors.extend(hook(down)),
                Step::Booted => errors.extend(self.host.unset_booted(self.name).err()),
                Step::Virtiofsd | Step::Run => {}
            }
        }
        // Whoever cannot be ended is to be found again.
        if is_ended {
            errors.extend(remove_file(&self.at.join(PROCESS)).err());
        }
        for error in errors {
            warn(&format!("{}: {error}", self.name));
        }
    }
}

/// Waits for `READY=1`, or for the end of the process that was to say it.
fn await_ready(socket: &UnixDatagram, pid: u32, patience: Duration) -> Result<(), HostError> {
    let deadline = Time::monotonic() + patience;
    let held = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let held = held.ok_or_else(|| HostError::Bad(format!("{VIRTIOFSD} has no process"))).and_then(
        |pid| {
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
                .map_err(|error| HostError::io("watch", VIRTIOFSD)(error.into()))
        },
    )?;
    let mut message = [0; 4096];
    loop {
        let left = Timespec::try_from(Time::monotonic().until(deadline)).ok();
        let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(&held, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) | Err(_) => return Err(HostError::TimedOut(VIRTIOFSD.to_owned())),
            Ok(_) => {}
        }
        let [said, ended] = fds.map(|fd| !fd.revents().is_empty());
        if said {
            let len = socket.recv(&mut message).map_err(HostError::io("hear", VIRTIOFSD))?;
            let text = String::from_utf8_lossy(message.get(..len).unwrap_or_default());
            if text.lines().any(|line| line == "READY=1") {
                return Ok(());
            }
        } else if ended {
            return Err(HostError::Failed(VIRTIOFSD.to_owned(), "see virtiofsd.log".to_owned()));
        }
    }
}

/// Waits for a child in the foreground, and passes signals on to it.
fn attend(mut child: Child, mut signals: Signals) -> Result<u8, HostError> {
    let failed = |error| HostError::io("wait for", RUN)(error);
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| HostError::Bad(format!("{RUN} has no process")))?;
    let held = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(|error| failed(error.into()))?;
    loop {
        let waiting = signals.fd();
        let mut fds =
            [PollFd::new(&held, PollFlags::IN), PollFd::from_borrowed_fd(waiting, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => drop(other.map_err(|error| failed(error.into()))?),
        }
        let [ended, _] = fds.map(|fd| !fd.revents().is_empty());
        if ended {
            break;
        }
        while let Some(signal) = signals.next() {
            // The terminal has sent its own to the child as well.
            if signal == Signal::TERM || signal == Signal::HUP {
                let _ = rustix::process::pidfd_send_signal(&held, Signal::TERM);
            }
        }
    }
    child.wait().map(plinth::proc::shell_status).map_err(failed)
}

#[cfg(test)]
mod tests;
