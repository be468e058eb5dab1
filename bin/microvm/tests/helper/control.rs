// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal shutdown` and `internal balloon`: beside QEMU, and beside peers that are slow, silent,
//! early to close, or talk nonsense.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use plinth::proc::Ending;
use plinth::testing::{Place, ended, run, until};

use crate::support::{Peer, Running, Script, Step, internal, say, script, stdout, verdict};

const GREETING: &str = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";
const DONE: &str = "{\"return\": {}}\r\n";
const EVENT: &str = "{\"event\": \"RTC_CHANGE\", \"data\": {\"offset\": 0}}\r\n";

/// QEMU without a guest, its control socket at `vm.sock`.
fn qemu(at: &Path, words: &[&str]) -> Running {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg", "-display", "none", "-nodefaults", "-no-reboot"]).args(words);
    command.args(["-qmp", "unix:vm.sock,server,nowait"]).current_dir(at);
    let child = Running(command.stdin(Stdio::null()).spawn().expect("qemu starts"));
    until("the socket is there", || at.join("vm.sock").exists());
    child
}

fn shutdown(at: &Path, hypervisor: &str, more: &[&str]) -> (Ending, String) {
    let words = ["shutdown", "--hypervisor", hypervisor, "--socket", "vm.sock"];
    verdict(&run(internal(at, words.iter().chain(more))))
}

fn balloon(at: &Path, hypervisor: &str, words: &[&str]) -> Command {
    let first = ["balloon", "--hypervisor", hypervisor, "--socket", "vm.sock", "--mem", "128"];
    internal(at, first.iter().chain(words))
}

/// Greets and agrees.
fn agreed() -> Script {
    vec![say(GREETING), Step::Hear("qmp_capabilities"), say(EVENT), say(DONE)]
}

#[test]
fn qemu_is_stopped_by_its_power_button_and_by_its_quit() {
    let at = Place::new();
    // Without a guest nobody presses anything: the wait has its end all the same.
    let mut machine = qemu(&at, &["-machine", "q35"]);
    let (ending, said) = shutdown(&at, "qemu", &["--how", "powerdown", "--timeout", "1"]);
    assert_eq!(ending, Ending::Exited(7), "{said}");
    assert!(said.starts_with("microvm: timed out while "), "{said}");
    assert!(machine.0.try_wait().expect("a child").is_none(), "it still runs");
    // The keys reset a machine without an operating system, and `-no-reboot` makes that an end.
    let (ending, said) = shutdown(&at, "qemu", &[]);
    assert_eq!((ending, said.as_str()), (Ending::Exited(0), ""));
    assert!(ended(&mut machine.0).success());
}

#[test]
fn qemu_without_keys_refuses_in_its_own_words() {
    let at = Place::new();
    let _machine = qemu(&at, &["-machine", "none", "-S"]);
    let (ending, said) = shutdown(&at, "qemu", &[]);
    assert_eq!(ending, Ending::Exited(1), "{said}");
    assert!(said.starts_with("microvm: the hypervisor refused: "), "{said}");
    let (ending, said) = verdict(&run(balloon(&at, "qemu", &["16"])));
    assert_eq!(ending, Ending::Exited(1), "{said}");
    assert!(said.contains("balloon"), "{said}");
}

#[test]
fn the_balloon_of_qemu_is_what_was_taken() {
    let at = Place::new();
    let device = "virtio-balloon-pci,id=balloon0";
    let _machine = qemu(&at, &["-machine", "q35", "-m", "128", "-device", device, "-S"]);
    assert_eq!(stdout(&run(balloon(&at, "qemu", &[]))), "0\n");
    // No guest gives memory away: it stays as it is, and that is what is told.
    assert_eq!(stdout(&run(balloon(&at, "qemu", &["32"]))), "0\n");
    let (ending, said) = verdict(&run(balloon(&at, "qemu", &["129"])));
    assert_eq!(ending, Ending::Exited(1));
    assert_eq!(said, "microvm: the hypervisor refused: the machine has 128 MiB\n");
}

#[test]
fn events_between_answers_are_passed_over() {
    let at = Place::new();
    let mut script = agreed();
    let actual = "{\"return\": {\"actual\": 100663296}}\r\n";
    script.extend([Step::Hear("balloon"), say(EVENT), say(EVENT), say(DONE), say(EVENT)]);
    script.extend([Step::Hear("query-balloon"), say(EVENT), say(actual), Step::HearAll]);
    let peer = Peer::new(&at.join("vm.sock"), vec![script]);
    assert_eq!(stdout(&run(balloon(&at, "qemu", &["32"]))), "32\n");
    // What remains is told to QEMU, in bytes.
    let heard = peer.heard();
    assert!(
        heard.contains("{\"arguments\":{\"value\":100663296},\"execute\":\"balloon\"}"),
        "{heard}"
    );
}

#[test]
fn a_machine_that_goes_before_it_answers_has_stopped() {
    let at = Place::new();
    let mut script = agreed();
    script.push(Step::Hear("input-send-event"));
    let peer = Peer::new(&at.join("vm.sock"), vec![script]);
    // The listener is this process, which does not end with the machine.
    let (ending, said) = shutdown(&at, "qemu", &["--timeout", "1"]);
    assert_eq!(ending, Ending::Exited(7), "{said}");
    assert!(said.contains("waiting for the hypervisor to end"), "{said}");
    assert!(peer.heard().contains("\"data\":\"delete\""));
}

#[test]
fn a_machine_that_did_not_hear_is_asked_again() {
    let at = Place::new();
    let mut script = agreed();
    // The keys go down, later up, and down again.
    for _ in 0..3 {
        script.extend([Step::Hear("input-send-event"), say(EVENT), say(DONE), say(EVENT)]);
    }
    let peer = Peer::new(&at.join("vm.sock"), vec![script]);
    // The listener is this process, which does not end with the machine.
    let (ending, said) = shutdown(&at, "qemu", &["--timeout", "3"]);
    assert_eq!(ending, Ending::Exited(7), "{said}");
    assert!(said.contains("waiting for the hypervisor to end"), "{said}");
    assert_eq!(peer.heard().matches("\"down\":true").count(), 6);
    let at = Place::new();
    let answer = || vec![Step::Hear("}"), say("HTTP/1.1 204 \r\n\r\n"), Step::HearAll];
    let peer = Peer::new(&at.join("vm.sock"), vec![answer(), answer()]);
    let (ending, said) = shutdown(&at, "firecracker", &["--timeout", "3"]);
    assert_eq!(ending, Ending::Exited(7), "{said}");
    assert_eq!(peer.heard().matches("SendCtrlAltDel").count(), 2);
}

/// How long is waited for an end with this status: to the end only for those that say too little.
const fn patience(status: u8) -> &'static str {
    if status == 7 { "1" } else { "60" }
}

#[test]
fn odd_peers_are_errors_with_words() {
    let long = Step::Say(vec![b'x'; (1 << 20) + 4096]);
    let cases: Vec<(Script, u8, &str)> = vec![
        (vec![], 1, "closed the connection without an answer"),
        (vec![say(DONE), Step::HearAll], 1, "not the greeting of QMP"),
        (vec![say("SSH-2.0\r\n"), Step::HearAll], 1, "not a QMP message"),
        (vec![long, Step::HearAll], 1, "too long"),
        (vec![say("{\"QMP\""), Step::HearAll], 7, "waiting for the hypervisor's answer"),
        (vec![Step::HearAll], 7, "waiting for the hypervisor's answer"),
    ];
    for (script, status, words) in cases {
        let at = Place::new();
        let peer = Peer::new(&at.join("vm.sock"), vec![script]);
        let (ending, said) = shutdown(&at, "qemu", &["--timeout", patience(status)]);
        assert_eq!(ending, Ending::Exited(status.into()), "{said}");
        assert!(said.contains(words), "{said}");
        drop(peer.heard());
    }
}

/// A process that serves as the hypervisor, on a socket of this type: it answers one request and
/// ends when told to.
fn hypervisor(at: &Path, kind: &str, answer: &str, then: &str) -> Running {
    // The program that listens is the one whose end is waited for.
    let script = format!(
        "import os, socket, sys, time\n\
         s = socket.socket(socket.AF_UNIX, socket.SOCK_{kind})\n\
         s.bind('new.sock'); s.listen()\n\
         os.rename('new.sock', 'vm.sock')\n\
         c, _ = s.accept(); h = c.recv(65536)\n\
         open('heard', 'wb').write(h)\n\
         h and c.sendall({answer:?}.encode())\n\
         c.close(); s.close()\n\
         {then}\n"
    );
    let mut command = Command::new("python3");
    command.args(["-c", &script]).current_dir(at).stdin(Stdio::null());
    let child = Running(command.spawn().expect("python3 starts"));
    until("the socket is there", || at.join("vm.sock").exists());
    child
}

#[test]
fn http_hypervisors_are_asked_and_their_process_is_waited_for() {
    let no_content = "HTTP/1.1 204 \r\nServer: x\r\nConnection: keep-alive\r\n\r\n";
    for (name, first, body) in [
        ("cloud-hypervisor", "PUT /api/v1/vm.power-button HTTP/1.1\r\n", ""),
        ("firecracker", "PUT /actions HTTP/1.1\r\n", "{\"action_type\":\"SendCtrlAltDel\"}"),
        ("vfkit", "POST /vm/state HTTP/1.1\r\n", "{\"state\":\"Stop\"}"),
    ] {
        let at = Place::new();
        // The socket closes at once; the process goes on until `go` appears.
        let then = "exec('while not os.path.exists(\"go\"): time.sleep(0.01)')";
        let mut machine = hypervisor(&at, "STREAM", no_content, then);
        let (ending, said) = shutdown(&at, name, &["--timeout", "1"]);
        assert_eq!(ending, Ending::Exited(7), "{name}: {said}");
        let heard = fs::read_to_string(at.join("heard")).expect("a request");
        assert!(heard.starts_with(first) && heard.ends_with(&format!("\r\n\r\n{body}")), "{heard}");
        fs::write(at.join("go"), "").expect("a file");
        assert!(ended(&mut machine.0).success());

        let at = Place::new();
        let mut machine = hypervisor(&at, "STREAM", no_content, "time.sleep(0.2)");
        let pid = machine.0.id().to_string();
        let words = ["shutdown", "--hypervisor", name, "--socket", "vm.sock", "--pid", &pid];
        let output = run(internal(&at, words));
        assert_eq!(verdict(&output), (Ending::Exited(0), String::new()));
        assert!(machine.0.try_wait().expect("a child").is_some(), "{name}: it has ended");
        // A socket that nobody listens on any more is a machine that has stopped.
        assert_eq!(shutdown(&at, name, &[]), (Ending::Exited(0), String::new()));
    }
}

#[test]
fn odd_http_peers_are_errors_with_words() {
    let endless = Step::Say([b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 40_000]].concat());
    let refused =
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 28\r\n\r\n{\"fault_message\":\"no i8042\"}";
    let cases: Vec<(Script, u8, &str)> = vec![
        (vec![Step::Hear("\r\n\r\n")], 1, "closed the connection without an answer"),
        (vec![say("hello\r\n\r\n"), Step::HearAll], 1, "not an HTTP response"),
        (vec![endless, Step::HearAll], 1, "too long"),
        (vec![say(refused), Step::HearAll], 1, "refused: HTTP status 400: no i8042"),
        (vec![say("HTTP/1.1 200 OK\r\n"), Step::HearAll], 7, "timed out"),
    ];
    for (script, status, words) in cases {
        let at = Place::new();
        let peer = Peer::new(&at.join("vm.sock"), vec![script]);
        let (ending, said) = shutdown(&at, "firecracker", &["--timeout", patience(status)]);
        assert_eq!(ending, Ending::Exited(status.into()), "{said}");
        assert!(said.contains(words), "{said}");
        drop(peer.heard());
    }
}

#[test]
fn cloud_hypervisor_is_told_the_amount_and_asked_for_it() {
    let at = Place::new();
    let body = "{\"config\":{\"balloon\":{\"size\":33554432}}}";
    let info = format!("HTTP/1.1 200 \r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let scripts = vec![
        vec![Step::Hear("}"), say("HTTP/1.1 204 \r\n\r\n"), Step::HearAll],
        vec![Step::Hear("\r\n\r\n"), say(&info), Step::HearAll],
    ];
    let peer = Peer::new(&at.join("vm.sock"), scripts);
    assert_eq!(stdout(&run(balloon(&at, "cloud-hypervisor", &["32"]))), "32\n");
    let heard = peer.heard();
    assert!(heard.contains("{\"desired_balloon\":33554432}"), "{heard}");
    assert!(heard.contains("GET /api/v1/vm.info "), "{heard}");
}

/// A program that notes its words and prints `answer`.
fn program(at: &Path, answer: &str) -> String {
    let path = at.join("client");
    script(&path, &format!("echo \"$*\" >>said\nprintf '%s' '{answer}'"));
    path.to_string_lossy().into_owned()
}

#[test]
fn kvmtool_is_told_differences() {
    let at = Place::new();
    let client = program(&at, "");
    let set = |words: &[&str]| {
        let mut command = balloon(&at, "kvmtool", &["--name", "kt1", "--program", &client]);
        command.args(words);
        stdout(&run(command))
    };
    for (amount, words) in [("64", "64\n"), ("16", "16\n"), ("16", "16\n"), ("0", "0\n")] {
        assert_eq!(set(&[amount]), words);
    }
    assert_eq!(set(&[]), "0\n");
    let said = fs::read_to_string(at.join("said")).expect("calls");
    assert_eq!(said, "balloon -n kt1 -i 64\nballoon -n kt1 -d 48\nballoon -n kt1 -d 16\n");
    fs::write(at.join("balloon.state"), "much").expect("a file");
    let mut command = balloon(&at, "kvmtool", &["--program", &client]);
    command.arg("8");
    assert_eq!(run(command).ending, Ending::Exited(1));
}

/// A process that ends when this command of the shell succeeds.
fn ends_when(at: &Path, condition: &str) -> Running {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("until {condition}; do sleep 0.01; done")]).current_dir(at);
    Running(command.stdin(Stdio::null()).spawn().expect("sh starts"))
}

#[test]
fn crosvm_is_its_own_client() {
    let at = Place::new();
    let client = program(&at, "{\"BalloonStats\":{\"balloon_actual\":33554432,\"stats\":{}}}");
    let mut machine = hypervisor(&at, "SEQPACKET", "", "time.sleep(0.2)");
    let words = ["--program", client.as_str(), "32"];
    assert_eq!(stdout(&run(balloon(&at, "crosvm", &words))), "32\n");
    // The client of the test does not connect; the one question is that for the listener.
    let (ending, said) = shutdown(&at, "crosvm", &["--program", &client]);
    assert_eq!((ending, said.as_str()), (Ending::Exited(0), ""));
    assert!(machine.0.try_wait().expect("a child").is_some(), "it has ended");
    let said = fs::read_to_string(at.join("said")).expect("calls");
    let expected = "balloon 33554432 vm.sock\nballoon_stats vm.sock\npowerbtn vm.sock\n";
    assert_eq!(said, expected);
    // A socket that the listener cannot be asked for on is still the client's to try.
    let at = Place::new();
    let _socket = std::os::unix::net::UnixListener::bind(at.join("vm.sock")).expect("a socket");
    let client = program(&at, "");
    let mut machine = ends_when(&at, "grep -q powerbtn said 2>&-");
    let pid = machine.0.id().to_string();
    let (ending, said) = shutdown(&at, "crosvm", &["--program", &client, "--pid", &pid]);
    assert_eq!((ending, said.as_str()), (Ending::Exited(0), ""));
    assert!(machine.0.try_wait().expect("a child").is_some(), "it has ended");
    let (ending, said) = shutdown(&at, "crosvm", &["--program", "no-such-crosvm"]);
    assert_eq!((ending, said.as_str()), (Ending::Exited(6), "microvm: no-such-crosvm not found\n"));
}

#[test]
fn a_machine_without_a_socket_has_stopped() {
    let at = Place::new();
    assert_eq!(shutdown(&at, "qemu", &[]), (Ending::Exited(0), String::new()));
}

#[test]
fn a_process_that_is_known_is_waited_for_where_nobody_listens() {
    std::thread::scope(|threads| {
        for hypervisor in ["qemu", "cloud-hypervisor", "firecracker", "crosvm", "vfkit"] {
            threads.spawn(move || is_waited_for(hypervisor, false));
            threads.spawn(move || is_waited_for(hypervisor, true));
        }
    });
}

fn is_waited_for(hypervisor: &str, refuses: bool) {
    let at = Place::new();
    if refuses {
        // What is left of a listener that is gone.
        drop(std::os::unix::net::UnixListener::bind(at.join("vm.sock")).expect("a socket"));
    }
    let mut machine = ends_when(&at, "test -e go");
    let pid = machine.0.id().to_string();
    let (ending, said) = shutdown(&at, hypervisor, &["--pid", &pid, "--timeout", "1"]);
    assert_eq!(ending, Ending::Exited(7), "{hypervisor}: {said}");
    assert!(said.contains("waiting for the hypervisor to end"), "{said}");
    fs::write(at.join("go"), "").expect("a file");
    let done = shutdown(&at, hypervisor, &["--pid", &pid]);
    assert_eq!(done, (Ending::Exited(0), String::new()), "{hypervisor}");
    assert!(machine.0.try_wait().expect("a child").is_some(), "{hypervisor}: it has ended");
}
