// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The actions that carry bytes: notifications, forwarded ports, vsock, the console. And KVM's.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use microvm::helper::kvm::{Usable, usable_by};
use plinth::proc::Ending;
use plinth::testing::{LONG, Patient, Place, ended, joined, ready, run, until};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Peer, Running, Step, internal, say, script, stdout, verdict};

/// A service manager's ear, and a relay that listens on `notify.vsock_8888`.
fn relay(at: &Path) -> (UnixDatagram, Running) {
    let manager = UnixDatagram::bind(at.join("notify")).expect("a socket");
    manager.set_read_timeout(Some(LONG)).expect("a limit");
    fs::write(at.join("notify.vsock_8888"), "").expect("a stale file");
    let mut command = internal(at, ["notify-relay", "--unix", "notify.vsock_8888"]);
    command.env("NOTIFY_SOCKET", at.join("notify")).stdin(Stdio::null());
    let relay = Running(command.spawn().expect("it starts"));
    let path = at.join("notify.vsock_8888");
    until("it listens", || UnixStream::connect(&path).is_ok());
    (manager, relay)
}

fn heard(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 8192];
    let len = manager.recv(&mut buffer).expect("a message");
    String::from_utf8_lossy(&buffer[..len]).into_owned()
}

#[test]
fn messages_of_the_guest_reach_the_service_manager() {
    let at = Place::new();
    let (manager, _relay) = relay(&at);
    let connect = || UnixStream::connect(at.join("notify.vsock_8888")).expect("a connection");
    // A guest that closes its side, and waits for ours.
    let mut guest = connect();
    guest.write_all(b"STATUS=Booting\nX_SYSTEMD_UNIT_ACTIVE=a").expect("written");
    guest.write_all(b".target").expect("written");
    guest.shutdown(Shutdown::Write).expect("closed");
    assert_eq!(ready(&guest).read(&mut [0]).expect("the end"), 0);
    assert_eq!(heard(&manager), "STATUS=Booting\nX_SYSTEMD_UNIT_ACTIVE=a.target");
    // One whose end is not passed on: silence ends the message. Another is not held up by it.
    let mut silent = connect();
    silent.write_all(b"MAINPID=1\nREADY=1").expect("written");
    assert_eq!(ready(&silent).read(&mut [0]).expect("the end"), 0);
    assert_eq!(heard(&manager), "READY=1");
    // Nothing said, too much said: nothing passed on, and the next one is heard.
    drop(connect());
    let mut loud = connect();
    // It is closed on the way.
    drop(loud.write_all(&[b'x'; 100_000]));
    drop(loud);
    let mut guest = connect();
    guest.write_all(b"STOPPING=1").expect("written");
    drop(guest);
    assert_eq!(heard(&manager), "STOPPING=1");
}

#[test]
fn a_guest_may_take_its_time_before_its_first_word() {
    let at = Place::new();
    let (manager, _relay) = relay(&at);
    let connect = || UnixStream::connect(at.join("notify.vsock_8888")).expect("a connection");
    let mut slow = connect();
    // When the silence behind this one has ended its message, the first has been mute for longer.
    let mut other = connect();
    other.write_all(b"STATUS=Booting").expect("written");
    assert_eq!(ready(&other).read(&mut [0]).expect("the end"), 0);
    assert_eq!(heard(&manager), "STATUS=Booting");
    slow.write_all(b"READY=1").expect("written");
    slow.shutdown(Shutdown::Write).expect("closed");
    assert_eq!(heard(&manager), "READY=1");
}

#[test]
fn without_a_service_manager_nobody_listens() {
    let at = Place::new();
    let mut command = internal(&at, ["notify-relay", "--unix", "x"]);
    command.env_remove("NOTIFY_SOCKET");
    assert_eq!(verdict(&run(command)), (Ending::Exited(0), String::new()));
    assert!(!at.join("x").exists());
    let mut command = internal(&at, ["notify-relay"]);
    command.env("NOTIFY_SOCKET", "/nonexistent");
    assert_eq!(run(command).ending, Ending::Exited(2));
}

#[test]
fn a_forwarded_port_is_carried_both_ways_to_both_ends() {
    let at = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = ready(&listener).accept().expect("a client");
        let mut said = Vec::new();
        Patient::new(&stream).read_to_end(&mut said).expect("all of it");
        said.reverse();
        stream.write_all(&said).expect("written");
    });
    let mut command = internal(&at, ["tcp-relay", "127.0.0.1", &port]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Running(command.spawn().expect("it starts"));
    let mut stdin = child.0.stdin.take().expect("a pipe");
    let sent: Vec<u8> = (0..200_000_u32).map(|it| it.to_le_bytes()[1]).collect();
    stdin.write_all(&sent).expect("written");
    drop(stdin);
    let mut back = Vec::new();
    let pipe = child.0.stdout.take().expect("a pipe");
    Patient::new(pipe).read_to_end(&mut back).expect("read");
    back.reverse();
    assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    assert!(ended(&mut child.0).success());
    joined(server);
    // Nobody listens there any more.
    assert_eq!(run(internal(&at, ["tcp-relay", "127.0.0.1", &port])).ending, Ending::Exited(1));
}

#[test]
fn a_port_behind_a_mux_is_asked_for_and_then_carried() {
    let at = Place::new();
    let path = at.join("notify.vsock");
    let script = vec![Step::Hear("CONNECT 22\n"), say("OK 1073741824\nSSH-2.0-x\r\n")];
    let peer = Peer::new(&path, vec![script]);
    let target = format!("vsock-mux{}", path.display());
    // What comes behind the answer in one piece belongs to the conversation.
    assert_eq!(stdout(&run(internal(&at, ["vsock-connect", &target]))), "SSH-2.0-x\r\n");
    assert_eq!(peer.heard(), "CONNECT 22\n");
    fs::remove_file(&path).expect("a socket");
    for (script, words) in [
        (vec![Step::Hear("CONNECT 7\n")], "nobody listens on vsock port 7"),
        (vec![Step::Hear("CONNECT 7\n"), say("OK")], "closed the connection"),
        (vec![Step::Hear("CONNECT 7\n"), say("SSH-2.0\n")], "not an answer to CONNECT"),
        (vec![Step::Hear("CONNECT 7\n"), say(&"1".repeat(99))], "too long"),
    ] {
        let peer = Peer::new(&path, vec![script]);
        let (ending, said) = verdict(&run(internal(&at, ["vsock-connect", &target, "7"])));
        assert_eq!(ending, Ending::Exited(1), "{said}");
        assert!(said.contains(words), "{said}");
        drop(peer.heard());
        fs::remove_file(&path).expect("a socket");
    }
    assert_eq!(run(internal(&at, ["vsock-connect", "web1"])).ending, Ending::Exited(2));
}

#[test]
fn a_console_on_a_pipe_shows_what_comes() {
    let at = Place::new();
    let peer = Peer::new(&at.join("console"), vec![vec![say("login: \x1d")]]);
    assert_eq!(stdout(&run(internal(&at, ["console", "console"]))), "login: \x1d");
    drop(peer.heard());
}

/// A terminal, our side and the program's.
fn terminal() -> (fs::File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).expect("open");
    (master.into(), slave)
}

#[test]
fn a_console_on_a_terminal_is_raw_until_the_key_that_leads_out() {
    let at = Place::new();
    let script = vec![Step::Hear("\x03\x1a\r"), say("seen"), Step::HearAll];
    let peer = Peer::new(&at.join("console"), vec![script]);
    let (mut master, slave) = terminal();
    let before = rustix::termios::tcgetattr(&slave).expect("a terminal");
    let mut command = internal(&at, ["console", "console"]);
    command.stdin(slave.try_clone().expect("dup")).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Running(command.spawn().expect("it starts"));
    until("the terminal is raw", || {
        let now = rustix::termios::tcgetattr(&slave).expect("a terminal");
        !now.local_modes.contains(rustix::termios::LocalModes::ICANON)
    });
    // Keys that a terminal would take for itself are the guest's.
    master.write_all(b"\x03\x1a\r").expect("typed");
    let mut seen = [0; 4];
    let pipe = child.0.stdout.as_mut().expect("a pipe");
    Patient::new(pipe).read_exact(&mut seen).expect("output");
    assert_eq!(&seen, b"seen");
    master.write_all(b"\x1d").expect("typed");
    assert!(ended(&mut child.0).success());
    assert_eq!(peer.heard(), "\x03\x1a\r");
    let after = rustix::termios::tcgetattr(&slave).expect("a terminal");
    assert_eq!(after.local_modes, before.local_modes);
}

#[test]
fn kvm_is_judged_within_its_time_by_what_it_does() {
    // Whatever this host has, there is an answer; a process that hangs is given up.
    let program = Path::new(env!("CARGO_BIN_EXE_microvm"));
    let found = usable_by(program, Duration::from_secs(2)).expect("it starts");
    if !Path::new("/dev/kvm").exists() {
        assert!(matches!(found, Usable::No(_)), "{found}");
    }
    // A program that hangs stands for a device that does.
    let at = Place::new();
    let path = at.join("hangs");
    script(&path, "exec sleep 1000");
    assert_eq!(usable_by(&path, Duration::from_millis(50)).expect("it starts"), Usable::Hangs);
    script(&path, "echo 'microvm: no such device' >&2; exit 1");
    let found = usable_by(&path, LONG).expect("it starts");
    assert_eq!(found.to_string(), "KVM cannot be used: no such device");
    script(&path, "exit 0");
    assert_eq!(usable_by(&path, LONG).expect("it starts"), Usable::Yes);
}
