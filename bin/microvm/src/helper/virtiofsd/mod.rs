// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal virtiofsd`: runs the daemons that serve a machine's shared directories.
//!
//! The shell of [`machine`]: processes, sockets, signals, the service manager. Readiness is seen by
//! the sockets alone; a connection would take the only one that a daemon serves. `SIGTERM` ends
//! all, `SIGHUP` starts all anew.

pub mod arguments;
pub mod machine;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};

use plinth::err::{FAILED, Failure, tell_text};
use plinth::event::{Handler, Loop, Progress, TimerId, WatchId};
use plinth::service::Notifier;
use plinth::sys::exec;
use plinth::sys::signal::{Signals, with_empty_mask};
use plinth::time::Time;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process_group, pidfd_open, setrlimit,
};

use self::arguments::{Daemon, FILES_WANTED, Host};
use self::machine::{Action, Input, Machine};
use super::lines::Prefixed;
use super::{Call, find_program};
use crate::cli::{NO_PROGRAM, World};
use crate::package::{RUNNER, RUNNER_MAX};

/// Bytes read of a daemon's output at a time.
const CHUNK: usize = 4096;
/// And how often in one turn.
const CHUNKS_PER_TURN: usize = 16;
/// Where distributions keep the daemon, out of the way of users.
pub const PLACES: [&str; 3] = ["/usr/libexec", "/usr/lib/virtiofsd", "/usr/lib"];
/// Where QEMU before 8.0 had its own, which is another program.
const OLD: &str = "qemu/virtiofsd";

/// Why nothing was started.
#[derive(Debug)]
enum StartError {
    /// The package cannot be read, or is none.
    Package(PathBuf, String),
    /// A directory to be served does not exist: its tag.
    NoSource(String, PathBuf),
    /// A directory to be served is not only root's to replace: its tag.
    Loose(String, PathBuf),
    /// The daemon is not installed.
    NoProgram(String),
    /// The program is the one of old QEMU.
    OldProgram(PathBuf),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::NoSource(tag, path) => {
                write!(f, "the directory {} of the share {tag} is missing", path.display())
            }
            Self::Loose(tag, path) => write!(
                f,
                "another account could put a link in the place of {}, which root serves as {tag}; \
                 give it and what leads to it to root",
                path.display()
            ),
            Self::NoProgram(name) => write!(f, "{name} not found, needed by virtiofsd.binary"),
            Self::OldProgram(path) => write!(
                f,
                "{} is the old C program, which takes other options; virtiofsd.binary names \
                 the one in Rust",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StartError {}

pub(super) fn run(call: &Call<'_>, world: &World<'_>) -> Result<u8, Failure> {
    call.at_most(0)?;
    let package = call.need(call.options.package.as_ref(), "package")?;
    let path = package.join(RUNNER);
    let odd = |why: String| Failure::new(FAILED, StartError::Package(path.clone(), why));
    let runner = plinth::file::read(&path, RUNNER_MAX).map_err(|error| odd(error.to_string()))?;
    let daemons = arguments::daemons(&runner).map_err(odd)?;
    if daemons.is_empty() {
        return Err(odd("it has no shares".to_owned())); // there is nothing to wait for
    }
    let missing = |daemon: &&Daemon| daemon.source().is_none_or(|source| !source.is_dir());
    if let Some(daemon) = daemons.iter().find(missing) {
        let source = daemon.source().unwrap_or_default();
        return Err(Failure::new(FAILED, StartError::NoSource(daemon.tag.clone(), source)));
    }
    let here = std::env::current_dir().unwrap_or_default();
    for daemon in &daemons {
        let source = daemon.source().unwrap_or_default();
        if !is_firm(&here, &source) {
            return Err(Failure::new(FAILED, StartError::Loose(daemon.tag.clone(), source)));
        }
    }
    let name = call.options.binary.clone().or_else(|| arguments::binary(&runner));
    let name = name.unwrap_or_else(|| "virtiofsd".to_owned());
    let program = program(&name, (world.env)("PATH"));
    let program =
        program.ok_or_else(|| Failure::new(NO_PROGRAM, StartError::NoProgram(name.clone())))?;
    if program.ends_with(OLD) {
        return Err(Failure::new(NO_PROGRAM, StartError::OldProgram(program)));
    }
    Ok(Supervisor::new(daemons, program, Notifier::from_env(world.env))?.run()?)
}

/// Whether a directory stays what it is as long as root does not change it.
///
/// Asked for what lies in the working directory `here` when both this process and that directory
/// are root's: there the hypervisor's account can make names, and rename its own. Whatever else
/// root is told to serve is the affair of who told it.
fn is_firm(here: &Path, source: &Path) -> bool {
    let is_roots = |path: &Path| path.symlink_metadata().is_ok_and(|it| it.uid() == 0);
    if !rustix::process::geteuid().is_root() || !is_roots(here) || source.starts_with("..") {
        return true;
    }
    let whole = here.join(source);
    let Ok(way) = whole.strip_prefix(here) else { return true };
    let mut path = here.to_owned();
    way.components().all(|step| {
        let is_kept = is_roots(&path) && path.metadata().is_ok_and(|it| it.mode() & 0o022 == 0);
        let is_sticky = is_roots(&path) && path.metadata().is_ok_and(|it| it.mode() & 0o1000 != 0);
        path.push(step);
        let is_directory = path.symlink_metadata().is_ok_and(|it| it.is_dir());
        let is_firm = is_kept || (is_sticky && is_roots(&path));
        matches!(step, Component::Normal(_)) && is_directory && is_firm
    })
}

/// Where the daemon is.
fn program(name: &str, path: Option<OsString>) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    let elsewhere = || PLACES.iter().map(|dir| Path::new(dir).join(name)).find(|it| it.is_file());
    find_program(name, path).or_else(elsewhere)
}

/// What this process may use, as far as daemons are told.
fn host() -> Host {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|maximum| maximum >= FILES_WANTED);
    let raised = Rlimit { current: limit.current, maximum: Some(FILES_WANTED) };
    let files = if enough || setrlimit(Resource::Nofile, raised).is_ok() {
        FILES_WANTED
    } else {
        limit.maximum.unwrap_or(0)
    };
    let processors = rustix::thread::sched_getaffinity(None).map(|set| set.count());
    let processors = processors.ok().and_then(|count| usize::try_from(count).ok());
    Host { processors: processors.unwrap_or(1).max(1), files }
}

#[derive(Clone, Copy, Debug)]
enum Key {
    Signals,
    Ended(usize),
    Output(usize),
    Wake,
}

/// A daemon's process.
struct Process {
    child: Child,
    pidfd: OwnedFd,
    watch: WatchId,
}

/// Where what a daemon says is read; others of its group may hold it open behind its end.
struct Pipe {
    fd: OwnedFd,
    watch: WatchId,
}

struct Slot {
    daemon: Daemon,
    process: Option<Process>,
    pipe: Option<Pipe>,
    lines: Prefixed,
}

struct Supervisor {
    slots: Vec<Slot>,
    program: PathBuf,
    host: Host,
    notifier: Option<Notifier>,
    machine: Machine,
    signals: Signals,
    /// What happened and was not told to the machine yet.
    inputs: Vec<Input>,
    timer: Option<TimerId>,
}

impl Supervisor {
    fn new(daemons: Vec<Daemon>, program: PathBuf, notifier: Option<Notifier>) -> io::Result<Self> {
        let signals = Signals::new(&[Signal::TERM, Signal::INT, Signal::HUP])?;
        let machine = Machine::new(daemons.len(), Time::monotonic());
        let slot = |daemon: Daemon| Slot {
            lines: Prefixed::new(format!("virtiofsd-{}: ", daemon.tag)),
            process: None,
            pipe: None,
            daemon,
        };
        let slots = daemons.into_iter().map(slot).collect();
        let host = host();
        let (inputs, timer) = (Vec::new(), None);
        Ok(Self { slots, program, host, notifier, machine, signals, inputs, timer })
    }

    fn run(mut self) -> io::Result<u8> {
        let mut lp = Loop::new()?;
        lp.watch(self.signals.fd(), Key::Signals)?;
        lp.run(&mut self)
    }

    fn carry_out(&mut self, lp: &mut Loop<Key>, action: Action) -> io::Result<()> {
        match action {
            Action::Start(index) => {
                if let Err(error) = self.start(lp, index) {
                    self.say(index, &format!("cannot start {}: {error}", self.program.display()));
                    self.inputs.push(Input::Ended(index));
                }
            }
            Action::Terminate(index) => self.signal(index, Signal::TERM),
            Action::Kill(index) => self.signal(index, Signal::KILL),
            Action::Look(index) => {
                if self.slots.get(index).is_some_and(|slot| slot.daemon.socket.exists()) {
                    self.inputs.push(Input::Listening(index));
                }
            }
            Action::GiveUp(index) => self.say(index, "ended at once too often: giving up"),
            Action::Ready => {
                let count = self.slots.len();
                let shares = if count == 1 { "share" } else { "shares" };
                self.tell(|notifier| {
                    notifier.status(&format!("{count} {shares}")).and_then(|()| notifier.ready())
                });
            }
            Action::Stopping => self.tell(Notifier::stopping),
            Action::End(status) => lp.stop(status),
        }
        Ok(())
    }

    fn start(&mut self, lp: &mut Loop<Key>, index: usize) -> io::Result<()> {
        self.forget_pipe(lp, index)?;
        let Some(slot) = self.slots.get_mut(index) else { return Ok(()) };
        // A socket that nobody listens on would refuse the hypervisor, and look like readiness.
        remove(&slot.daemon.socket)?;
        let mut record = slot.daemon.socket.clone().into_os_string();
        record.push(".pid");
        remove(Path::new(&record))?;
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        let mut command = Command::new(&self.program);
        command.args(slot.daemon.arguments(self.host)).stdin(Stdio::null());
        command.stdout(Stdio::from(writer.try_clone()?)).stderr(Stdio::from(writer));
        command.env_remove("NOTIFY_SOCKET").process_group(0);
        with_empty_mask(&mut command)?;
        exec::die_with_parent(&mut command, Signal::TERM);
        let mut child = command.spawn()?;
        let watched = || {
            let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
            let watch = lp.watch(pidfd.as_fd(), Key::Ended(index))?;
            io::Result::Ok((pidfd, watch, lp.watch(reader.as_fd(), Key::Output(index))?))
        };
        match { watched }() {
            Ok((pidfd, watch, output)) => {
                slot.process = Some(Process { child, pidfd, watch });
                slot.pipe = Some(Pipe { fd: reader, watch: output });
                Ok(())
            }
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                Err(error)
            }
        }
    }

    fn signal(&self, index: usize, signal: Signal) {
        if let Some(process) = self.slots.get(index).and_then(|slot| slot.process.as_ref()) {
            // Not reaped yet, so that the number is its own. It fails when all have ended.
            let _ = kill_process_group(Pid::from_child(&process.child), signal);
        }
    }

    /// A line of our own about a daemon.
    fn say(&self, index: usize, text: &str) {
        let tag = self.slots.get(index).map_or("", |slot| slot.daemon.tag.as_str());
        print(&format!("virtiofsd-{tag}: {}\n", plinth::text::escape_control(text)));
    }

    fn tell(&self, say: impl FnOnce(&Notifier) -> io::Result<()>) {
        if let Some(Err(error)) = self.notifier.as_ref().map(say) {
            print(&format!("microvm: cannot notify the service manager: {error}\n"));
        }
    }

    fn reap(&mut self, lp: &mut Loop<Key>, index: usize) -> io::Result<()> {
        // All of it, within the size of a pipe: it is the last that this process has said.
        for _ in 0..CHUNKS_PER_TURN {
            if self.drain(index) != Drain::More {
                break;
            }
        }
        let Some(slot) = self.slots.get_mut(index) else { return Ok(()) };
        let Some(mut process) = slot.process.take() else { return Ok(()) };
        match process.child.try_wait() {
            Ok(None) => {
                slot.process = Some(process); // a spurious call
                return Ok(());
            }
            Ok(Some(status)) => self.say(index, &format!("ended: {status}")),
            Err(error) => self.say(index, &format!("ended: {error}")),
        }
        lp.unwatch(process.watch)?;
        drop(process.pidfd);
        self.inputs.push(Input::Ended(index));
        Ok(())
    }

    /// Takes some of what a daemon said.
    fn drain(&mut self, index: usize) -> Drain {
        let Some(slot) = self.slots.get_mut(index) else { return Drain::Closed };
        let Some(pipe) = &slot.pipe else { return Drain::Closed };
        let mut chunk = [0; CHUNK];
        for _ in 0..CHUNKS_PER_TURN {
            match rustix::io::read(&pipe.fd, &mut chunk) {
                Ok(count @ 1..) => {
                    print(&slot.lines.feed(chunk.get(..count).unwrap_or_default()));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Drain::Empty,
                _ => return Drain::Closed,
            }
        }
        Drain::More
    }

    fn forget_pipe(&mut self, lp: &mut Loop<Key>, index: usize) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(index) else { return Ok(()) };
        print(&slot.lines.finish());
        match slot.pipe.take() {
            Some(pipe) => lp.unwatch(pipe.watch),
            None => Ok(()),
        }
    }
}

/// What is left in a daemon's pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    More,
    Empty,
    Closed,
}

/// Daemons go on when nobody reads what they say.
fn print(text: &str) {
    tell_text(text);
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Handler for Supervisor {
    type Key = Key;

    fn ready(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
        match key {
            Key::Signals => {
                while let Some(signal) = self.signals.next() {
                    let restart = signal == Signal::HUP;
                    self.inputs.push(if restart { Input::Restart } else { Input::Stop });
                }
            }
            Key::Ended(index) => self.reap(lp, index)?,
            Key::Output(index) => match self.drain(index) {
                Drain::More => return Ok(Progress::More),
                Drain::Empty => {}
                Drain::Closed => self.forget_pipe(lp, index)?,
            },
            Key::Wake => {}
        }
        Ok(Progress::Drained)
    }

    fn timer(&mut self, _: &mut Loop<Key>, _: Key) -> io::Result<()> {
        self.timer = None;
        self.inputs.push(Input::Tick);
        Ok(())
    }

    fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        let now = lp.now();
        if self.inputs.is_empty() && self.timer.is_none() {
            self.inputs.push(Input::Tick); // the first turn
        }
        while !self.inputs.is_empty() {
            for input in std::mem::take(&mut self.inputs) {
                for action in self.machine.step(now, input) {
                    self.carry_out(lp, action)?;
                }
            }
        }
        if let Some(timer) = self.timer.take() {
            lp.cancel(timer);
        }
        self.timer = self.machine.next_wake(now).map(|at| lp.set_timer(at, Key::Wake));
        Ok(())
    }
}
