// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemons and their kernel helper as processes, on a host that need not have NVMe at all.
//!
//! Whatever starts here ends by itself or is awaited with a limit. What needs the kernel's device
//! is proven in guests.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use plinth::testing::{Patient, Place, ended, finished, output};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Pid, Signal};
use stas::core::port::{AdminCommand, AdminError, DeviceId, OpId};
use stas::shell::kernel::wire::{self, Job, Outcome};

const STAFD: &str = env!("CARGO_BIN_EXE_stafd");
const STACD: &str = env!("CARGO_BIN_EXE_stacd");
const DAEMONS: [(&str, &str); 2] = [("stafd", STAFD), ("stacd", STACD)];
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;

fn run(program: &str, arguments: &[&str]) -> Output {
    output(Command::new(program).args(arguments))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn has_fabrics() -> bool {
    Path::new("/dev/nvme-fabrics").exists()
}

/// Writes a file of the place; its path.
fn write(place: &Place, name: &str, content: &str) -> String {
    place.file(name, content);
    place.join(name).to_str().expect("text").to_owned()
}

#[test]
fn help_and_version_need_nothing() {
    for (name, program) in DAEMONS {
        for option in ["--help", "-h"] {
            let output = run(program, &[option]);
            assert_eq!(output.status.code(), Some(0));
            assert!(text(&output.stdout).starts_with(&format!("Usage: {name} ")));
            assert!(text(&output.stdout).contains("--conf-file"));
            assert_eq!(text(&output.stderr), "");
        }
        for option in ["--version", "-v"] {
            let output = run(program, &[option]);
            assert_eq!(output.status.code(), Some(0));
            let lines: Vec<&str> = text(&output.stdout).lines().collect();
            let version = env!("CARGO_PKG_VERSION");
            assert_eq!(lines, [format!("nvme-stas {version}"), format!("plinth {version}")]);
        }
    }
}

#[test]
fn bad_usage_names_the_word_and_ends_with_two() {
    for (name, program) in DAEMONS {
        for (arguments, word) in [
            (&["--idl"][..], "--idl"),
            (&["extra"], "extra"),
            (&["--tron", "-x"], "-x"),
            (&["-f"], "-f"),
        ] {
            let output = run(program, arguments);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            assert_eq!(text(&output.stdout), "");
            let complaint = text(&output.stderr);
            assert!(complaint.starts_with(&format!("Usage: {name} ")), "{complaint}");
            assert!(complaint.lines().last().expect("a line").contains(word), "{complaint}");
        }
    }
}

#[test]
fn root_is_told_about_when_it_is_missing() {
    let is_root = rustix::process::geteuid().is_root();
    for (name, program) in DAEMONS {
        let mut command = Command::new(program);
        if is_root {
            command.uid(65534).gid(65534);
        }
        // A program below a private directory may not be reachable for others.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Ok(child) = command.spawn() else { continue };
        let output = finished(child);
        assert_eq!(output.status.code(), Some(1));
        let expected = format!("Permission denied. You need root privileges to run {name}.\n");
        assert_eq!(text(&output.stderr), expected);
    }
}

#[test]
fn root_a_missing_device_ends_the_daemon_with_one() {
    if has_fabrics() || !rustix::process::geteuid().is_root() {
        return; // on such a host the guests prove it
    }
    for (_, program) in DAEMONS {
        let output = run(program, &[]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stderr), "Fatal error: missing nvme-tcp kernel module\n");
    }
}

#[test]
fn a_configuration_is_checked_without_root_or_device() {
    let place = Place::new();
    let good = write(&place, "good.conf", "[Global]\nkato=30\n");
    let bad = write(&place, "bad.conf", "[Global]\nkato=soon\n[Nonsense]\nx=1\n");
    write(&place, "good.conf.d/10.conf", "[Global]\nqueue-size=7\n");
    for (_, program) in DAEMONS {
        let output = run(program, &["--check", "-f", &bad]);
        assert_eq!(output.status.code(), Some(1));
        let complaint = text(&output.stderr);
        assert!(complaint.contains(&format!("{bad}:2: ")), "{complaint}");
        assert!(complaint.contains("Nonsense"), "{complaint}");
        let output = run(program, &["--check", &format!("--conf={good}")]);
        let complaint = text(&output.stderr);
        assert!(complaint.contains("10.conf:2: "), "{complaint}");
        assert!(!complaint.contains("good.conf:"), "{complaint}");
    }
}

/// The helper at the other end of a socket.
struct Helper {
    child: Child,
    socket: Option<OwnedFd>,
}

impl Helper {
    fn start() -> Self {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a pair of sockets");
        let child = Command::new(STAFD)
            .arg("--kernel-helper")
            .stdin(Stdio::from(theirs))
            .spawn()
            .expect("it starts");
        Self { child, socket: Some(ours) }
    }

    fn send(&self, bytes: &[u8]) {
        let socket = self.socket.as_ref().expect("open");
        rustix::net::send(socket, bytes, SendFlags::NOSIGNAL).expect("taken");
    }

    fn answer(&self) -> (OpId, Outcome) {
        let socket = self.socket.as_ref().expect("open");
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        let mut wanted = [PollFd::new(socket, PollFlags::IN)];
        let ready = rustix::event::poll(&mut wanted, Some(&limit)).expect("poll");
        assert_eq!(ready, 1, "no answer in time");
        let mut packet = [0; wire::PACKET_LEN_MAX];
        let (_, len) = rustix::net::recv(socket, &mut packet, RecvFlags::empty()).expect("recv");
        wire::decode_outcome(&packet[..len]).expect("an outcome")
    }

    /// Waits for the end; `true` when the helper ended well.
    fn end(mut self) -> bool {
        self.socket = None;
        ended(&mut self.child).success()
    }
}

#[test]
fn the_helper_makes_calls_and_ends_with_its_daemon() {
    let helper = Helper::start();
    let device = DeviceId { name: "nvme4000000".to_owned(), instance: 1 };
    let jobs = [
        Job::Delete { device: device.clone() },
        Job::Admin { device: device.clone(), command: AdminCommand::Identify, limit_ms: 100 },
        Job::Admin {
            device,
            command: AdminCommand::GetLog { lid: 0x70, lsp: 0, rae: false, offset: 0, len: 3 },
            limit_ms: 100,
        },
    ];
    for (op, job) in (1..).zip(&jobs) {
        helper.send(&wire::encode_job(OpId(op), job));
    }
    let mut answers: Vec<(OpId, Outcome)> = jobs.iter().map(|_| helper.answer()).collect();
    answers.sort_by_key(|(op, _)| *op);
    let failed = |errno| Outcome::Failed(AdminError::Errno(errno));
    let expected =
        [(OpId(1), failed(ENOENT)), (OpId(2), failed(ENOENT)), (OpId(3), failed(EINVAL))];
    assert_eq!(answers, expected);
    assert!(helper.end());
}

#[test]
fn the_helper_does_not_hear_the_signals_of_its_daemon() {
    let helper = Helper::start();
    let device = DeviceId { name: "nvme4000000".to_owned(), instance: 1 };
    let job = wire::encode_job(OpId(1), &Job::Delete { device });
    helper.send(&job);
    helper.answer(); // it is up, and has blocked what it blocks
    let pid = Pid::from_child(&helper.child);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        rustix::process::kill_process(pid, signal).expect("sent");
    }
    helper.send(&job);
    helper.answer();
    assert!(helper.end());
}

#[test]
fn a_helper_that_is_spoken_to_in_tongues_ends() {
    let mut helper = Helper::start(); // its complaint on stderr is expected
    helper.send(b"nonsense that is long enough");
    assert!(!ended(&mut helper.child).success());
}

#[test]
fn a_person_gets_no_helper() {
    let mut child = Command::new(STAFD)
        .arg("--kernel-helper")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdin.take().map(|mut pipe| pipe.write_all(b"hello\n")));
    let mut complaint = String::new();
    let stderr = child.stderr.take().expect("a pipe");
    Patient::new(stderr).read_to_string(&mut complaint).expect("text");
    assert_eq!(ended(&mut child).code(), Some(1));
    assert!(complaint.starts_with("stafd: "), "{complaint}");
}
