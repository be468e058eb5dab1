// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal virtiofsd`: the real daemon under supervision, and one that always fails.
//!
//! `tests/setup.sh guest` fetches the daemon.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use plinth::proc::Ending;
use plinth::testing::{LONG, Place, ended, fetched, run, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{Running, internal, script, verdict};

/// The daemon, with the loader and the libraries that it needs.
fn daemon() -> PathBuf {
    let path = fetched("virtiofsd/run");
    assert!(path.exists(), "{} is missing: tests/setup.sh guest fetches it", path.display());
    path
}

/// A package with these shares, and their directories.
fn package(at: &Path, tags: &[&str]) {
    let share = |tag: &&str| {
        let socket = format!("{tag}.sock");
        fs::create_dir_all(at.join(tag)).expect("a directory");
        let args = [
            format!("--socket-path={socket}"),
            format!("--shared-dir={tag}"),
            "--thread-pool-size".to_owned(),
            "`nproc`".to_owned(),
            "--posix-acl".to_owned(),
            "--xattr".to_owned(),
            "--cache=auto".to_owned(),
            "--inode-file-handles=prefer".to_owned(),
        ];
        json!({ "tag": tag, "socket": socket, "args": args })
    };
    let shares: Vec<_> = tags.iter().map(share).collect();
    write_package(at, &json!({ "virtiofsd": shares }));
}

fn write_package(at: &Path, runner: &serde_json::Value) {
    let dir = at.join("package/share/microvm");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("runner.json"), runner.to_string()).expect("a file");
}

/// A supervisor with a service manager's ear, and what it says, a line at a time.
struct Supervisor {
    process: Running,
    manager: UnixDatagram,
    lines: mpsc::Receiver<String>,
}

impl Supervisor {
    fn new(at: &Path, binary: &Path) -> Self {
        let manager = UnixDatagram::bind(at.join("notify")).expect("a socket");
        manager.set_read_timeout(Some(LONG)).expect("a limit");
        let mut command = internal(at, ["virtiofsd", "--package", "package", "--binary"]);
        command.arg(binary).env("NOTIFY_SOCKET", at.join("notify"));
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut process = Running(command.spawn().expect("it starts"));
        let pipe = process.0.stderr.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(pipe).lines().map_while(Result::ok).all(|it| sender.send(it).is_ok())
        });
        Self { process, manager, lines }
    }

    /// The next message to the service manager.
    fn told(&self) -> String {
        let mut buffer = [0; 1024];
        let len = self.manager.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    /// Waits for a line with this text.
    fn line(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LONG).expect("a line");
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.0), signal).expect("it runs");
    }

    fn status(&mut self) -> Option<i32> {
        ended(&mut self.process.0).code()
    }

    /// Its children, by what they were started with.
    fn children(&self) -> Vec<(i32, String)> {
        let pid = self.process.0.id();
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let words = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).ok();
        let list = list.unwrap_or_default();
        let pids = list.split_whitespace().filter_map(|it| it.parse().ok());
        pids.filter_map(|pid| Some((pid, words(pid)?.replace('\0', " ")))).collect()
    }
}

/// Waits until somebody listens, as a hypervisor would find out.
fn connected(path: &Path) -> UnixStream {
    let mut stream = None;
    until("somebody listens", || {
        stream = UnixStream::connect(path).ok();
        stream.is_some()
    });
    stream.expect("a connection")
}

#[test]
fn root_real_daemons_are_ready_restarted_and_ended() {
    let at = Place::new();
    package(&at, &["home", "etc"]);
    // What crashed daemons left: sockets that refuse, and a record of their number.
    drop(UnixListener::bind(at.join("home.sock")).expect("a socket"));
    fs::write(at.join("home.sock.pid"), "1").expect("a file");
    let mut supervisor = Supervisor::new(&at, &daemon());
    assert_eq!([supervisor.told(), supervisor.told()], ["STATUS=2 shares", "READY=1"]);
    let children = supervisor.children();
    assert_eq!(children.len(), 2, "{children:?}");
    for part in ["--rlimit-nofile=", "--thread-pool-size ", "--shared-dir=home"] {
        assert!(children.iter().any(|(_, words)| words.contains(part)), "{part}: {children:?}");
    }
    // A hypervisor that goes takes its daemon along; that is no failure, and there is a new one.
    drop(connected(&at.join("home.sock")));
    supervisor.line("virtiofsd-home: ended: exit status: 0");
    let second = connected(&at.join("home.sock"));
    // A killed one comes back, too, and the other one is left alone.
    let of = |supervisor: &Supervisor, tag: &str| {
        let word = format!("--shared-dir={tag}");
        let found = supervisor.children().into_iter().find(|(_, words)| words.contains(&word));
        found.map(|(pid, _)| pid)
    };
    let (home, etc) = (of(&supervisor, "home").expect("runs"), of(&supervisor, "etc"));
    kill_process(Pid::from_raw(home).expect("a number"), Signal::KILL).expect("it runs");
    supervisor.line("virtiofsd-home: ended: signal: 9");
    drop(second);
    drop(connected(&at.join("home.sock")));
    assert_eq!(of(&supervisor, "etc"), etc);
    // All anew.
    supervisor.signal(Signal::HUP);
    supervisor.line("virtiofsd-etc: ended: ");
    drop(connected(&at.join("etc.sock")));
    supervisor.signal(Signal::TERM);
    assert_eq!(supervisor.told(), "STOPPING=1");
    assert_eq!(supervisor.status(), Some(0));
    assert_eq!(supervisor.children(), []);
}

/// A program in place of the daemon.
fn fake(at: &Path, lines: &str) -> PathBuf {
    let path = at.join("daemon");
    script(&path, lines);
    path
}

#[test]
fn five_quick_ends_in_a_row_end_everything() {
    let at = Place::new();
    package(&at, &["a"]);
    let binary = fake(&at, "echo x >>starts; echo 'no such group' >&2; exit 3");
    let mut supervisor = Supervisor::new(&at, &binary);
    assert_eq!(supervisor.line("group"), "virtiofsd-a: no such group");
    supervisor.line("virtiofsd-a: ended at once too often: giving up");
    assert_eq!(supervisor.status(), Some(1));
    assert_eq!(fs::read_to_string(at.join("starts")).expect("a file"), "x\n".repeat(5));
    assert_eq!(supervisor.told(), "STOPPING=1");
}

#[test]
fn a_daemon_that_ignores_the_signal_is_killed() {
    let at = Place::new();
    package(&at, &["a"]);
    let binary = fake(&at, "trap '' TERM; : >a.sock; while :; do sleep 1; done");
    let mut supervisor = Supervisor::new(&at, &binary);
    assert_eq!([supervisor.told(), supervisor.told()], ["STATUS=1 share", "READY=1"]);
    supervisor.signal(Signal::TERM);
    assert_eq!(supervisor.line("ended"), "virtiofsd-a: ended: signal: 9 (SIGKILL)");
    assert_eq!(supervisor.status(), Some(0));
}

#[test]
fn what_an_earlier_daemon_left_is_gone_before_the_next_and_none_outlives_its_supervisor() {
    let at = Place::new();
    package(&at, &["a"]);
    for left in ["a.sock", "a.sock.pid"] {
        fs::write(at.join(left), "").expect("a file");
    }
    let binary = fake(
        &at,
        "ls >seen; env >>seen; : >a.sock; echo $$ >pid\n\
         trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done",
    );
    let mut supervisor = Supervisor::new(&at, &binary);
    assert_eq!([supervisor.told(), supervisor.told()], ["STATUS=1 share", "READY=1"]);
    until("the daemon has a number", || {
        fs::read_to_string(at.join("pid")).is_ok_and(|it| it.ends_with('\n'))
    });
    // Readiness is the supervisor's to tell.
    let seen = fs::read_to_string(at.join("seen")).expect("a file");
    assert!(!seen.contains("a.sock") && !seen.contains("NOTIFY_SOCKET"), "{seen}");
    let pid = fs::read_to_string(at.join("pid")).expect("a number");
    let words = Path::new("/proc").join(pid.trim()).join("cmdline");
    assert!(words.exists());
    supervisor.signal(Signal::KILL);
    assert_eq!(supervisor.status(), None);
    until("the daemon ends", || fs::read(&words).map_or(true, |words| words.is_empty()));
}

/// As in the directory of a host's machine, where the hypervisor's account makes names.
#[test]
fn root_a_directory_that_another_account_may_replace_is_not_served() {
    let at = Place::new();
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    package(&at, &["a"]);
    // Judged before the daemon is looked for.
    let ended =
        || verdict(&run(internal(&at, ["virtiofsd", "--package", "package", "--binary", "none"])));
    let refused = || {
        let (ending, said) = ended();
        assert_eq!(ending, Ending::Exited(1), "{said}");
        assert!(said.starts_with("microvm: another account could put a link in"), "{said}");
    };
    set(&at, 0o1777);
    chown(at.join("a"), Some(4000), None).expect("an owner");
    refused();
    // A link of root's is one that root may follow, but a directory behind it is not asked for.
    fs::rename(at.join("a"), at.join("b")).expect("renamed");
    symlink("b", at.join("a")).expect("a link");
    refused();
    fs::remove_file(at.join("a")).expect("removed");
    fs::rename(at.join("b"), at.join("a")).expect("renamed");
    // Where nobody else makes names, nobody else replaces them.
    set(&at, 0o755);
    assert_eq!(ended().0, Ending::Exited(6));
}

#[test]
fn what_is_missing_is_named_before_anything_starts() {
    let at = Place::new();
    package(&at, &["a", "b"]);
    fs::remove_dir(at.join("b")).expect("a directory");
    let with = |binary: &str| -> Command {
        internal(&at, ["virtiofsd", "--package", "package", "--binary", binary])
    };
    let started = fake(&at, "touch started");
    let (ending, said) = verdict(&run(with(&started.to_string_lossy())));
    assert_eq!(ending, Ending::Exited(1));
    assert_eq!(said, "microvm: the directory b of the share b is missing\n");
    assert!(!at.join("started").exists());
    package(&at, &["a"]);
    let (ending, said) = verdict(&run(with("no-such-daemon")));
    assert_eq!(ending, Ending::Exited(6));
    assert_eq!(said, "microvm: no-such-daemon not found, needed by virtiofsd.binary\n");
    fs::create_dir(at.join("qemu")).expect("a directory");
    script(&at.join("qemu/virtiofsd"), "exit 0");
    let (ending, said) = verdict(&run(with("./qemu/virtiofsd")));
    assert_eq!(ending, Ending::Exited(6));
    assert!(said.starts_with("microvm: ./qemu/virtiofsd is the old C program"), "{said}");
    // Nothing to serve would be nothing to wait for.
    for odd in [json!({ "virtiofsd": [{}] }), json!({ "virtiofsd": [] }), json!([])] {
        write_package(&at, &odd);
        assert_eq!(run(with("true")).ending, Ending::Exited(1), "{odd}");
    }
}
