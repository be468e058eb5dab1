// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal launch`: what the program gets, and what stays behind.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use plinth::proc::Ending;
use plinth::testing::{Patient, Place, ended, run, until};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Running, internal, stdout, verdict};

#[test]
fn the_program_has_its_name_and_its_words_and_its_status() {
    let at = Place::new();
    let words = ["launch", "--argv0", "microvm@web1", "--", "sh", "-c"];
    let script = "tr '\\0' ' ' </proc/$$/cmdline; exit 7";
    let output = run(internal(&at, words.into_iter().chain([script, "a b", "--pty", "ü"])));
    assert_eq!(output.ending, Ending::Exited(7));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("microvm@web1 -c {script} a b --pty ü "));
}

#[test]
fn nothing_stays_between_the_caller_and_the_program() {
    let at = Place::new();
    let mut command = internal(&at, ["launch", "--argv0", "vm", "--", "sleep", "1000"]);
    let mut child = Running(command.spawn().expect("it starts"));
    let comm = format!("/proc/{}/comm", child.0.id());
    until("it is the program", || fs::read_to_string(&comm).is_ok_and(|it| it == "sleep\n"));
    kill_process(Pid::from_child(&child.0), Signal::TERM).expect("it runs");
    let status = ended(&mut child.0);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
}

#[test]
fn a_missing_program_is_named_and_has_its_status() {
    let at = Place::new();
    let words = ["launch", "--key", "qemu.binary", "--", "no-such-vmm", "x"];
    let (ending, said) = verdict(&run(internal(&at, words)));
    assert_eq!(ending, Ending::Exited(6));
    assert_eq!(said, "microvm: no-such-vmm not found, needed by qemu.binary\n");
    let (ending, said) = verdict(&run(internal(&at, ["launch"])));
    assert_eq!(
        (ending, said.as_str()),
        (Ending::Exited(2), "microvm: argument PROGRAM is missing\n")
    );
    let (ending, said) =
        verdict(&run(internal(&at, ["launch", "--await", "0:no.sock", "--", "true"])));
    assert_eq!(ending, Ending::Exited(7));
    assert_eq!(said, "microvm: timed out while waiting for the socket no.sock\n");
    let words = ["launch", "--macvtap", "no-such-tap:3:1", "--", "true"];
    let (ending, said) = verdict(&run(internal(&at, words)));
    assert_eq!(ending, Ending::Exited(1));
    assert!(said.starts_with("microvm: cannot find the macvtap no-such-tap"), "{said}");
}

#[test]
fn helpers_end_with_the_program() {
    let at = Place::new();
    let helper = "sh\n-c\necho $$ >pid.new; mv pid.new pid; exec sleep 1000";
    let words = ["launch", "--with", helper, "--await", "60:pid", "--split", " a  b", "--"];
    let script = "cat pid; test \"$0 $1 $2 $#\" = 'x a b 2'";
    let mut command = internal(&at, words.into_iter().chain(["sh", "-c", script, "x"]));
    // Until the helper has ended, too, its copy of the pipe keeps this open.
    let mut child = Running(command.stdout(Stdio::piped()).spawn().expect("it starts"));
    let mut said = String::new();
    let mut pipe = Patient::new(child.0.stdout.take().expect("a pipe"));
    pipe.read_to_string(&mut said).expect("all is closed");
    assert!(ended(&mut child.0).success());
    let pid: i32 = said.trim().parse().expect("a number");
    until("it is gone, or a zombie that its new parent has not reaped", || {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    });
}

#[test]
fn a_terminal_is_given_and_carried() {
    let at = Place::new();
    let script = "test -t 0 && test -t 1 && test -t 2 || exit 3; stty size; read x; echo \"<$x>\"; \
                  exit 5";
    let mut command = internal(&at, ["launch", "--pty", "--argv0", "vm", "--", "sh", "-c", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Running(command.spawn().expect("it starts"));
    let mut stdin = child.0.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, b"hello\n").expect("written");
    // The end of our input is not the end of its terminal.
    drop(stdin);
    let mut said = String::new();
    let pipe = child.0.stdout.take().expect("a pipe");
    Patient::new(pipe).read_to_string(&mut said).expect("read");
    assert_eq!(ended(&mut child.0).code(), Some(5), "{said}");
    assert!(said.contains("25 80") && said.ends_with("<hello>\r\n"), "{said:?}");
}

/// Runs a script where `/dev/tap1` is a file, so that the interface `lo` looks like a macvtap;
/// `launch WORDS` in it is ours.
fn with_device(at: &Path, script: &str) -> Command {
    let ours = env!("CARGO_BIN_EXE_microvm");
    let head = format!(
        "set -eu; mount -t sysfs sysfs /sys\n\
         mkdir old; mount --rbind /dev old; mount -t tmpfs dev /dev\n\
         for i in null ptmx tty; do ln -s \"$PWD/old/$i\" /dev/$i; done\n\
         mkdir /dev/pts; mount --bind old/pts /dev/pts; echo tap >/dev/tap1\n\
         launch() {{ '{ours}' internal launch \"$@\"; }}\n"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--", "sh", "-c", &(head + script)]).current_dir(at);
    command
}

#[test]
fn root_many_queues_and_a_terminal_do_not_get_in_each_others_way() {
    for count in (1..20).chain([64]) {
        let at = Place::new();
        let script = format!(
            "launch --macvtap lo:3:{count} --pty -- sh -c '\
                 test -t 0 && test -t 1 && test -t 2 && : </dev/tty || exit 3\n\
                 for i in $(seq 3 {}); do readlink /proc/$$/fd/$i; done'\n\
             if launch --macvtap lo:3:{count} --pty -- no-such-vmm; then exit 4; fi",
            count + 2
        );
        let output = run(with_device(&at, &script));
        let expected = "microvm: no-such-vmm not found\n".to_owned();
        assert_eq!(verdict(&output), (Ending::Exited(0), expected), "{count}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, "/dev/tap1\r\n".repeat(count), "{count}");
    }
}

#[test]
fn a_terminal_that_says_much_and_ends_is_heard_to_the_end() {
    let at = Place::new();
    let script = "seq 1 20000; echo end";
    let said = stdout(&run(internal(&at, ["launch", "--pty", "--", "sh", "-c", script])));
    assert!(said.contains("\n19999\r\n20000\r\nend\r\n"), "{}", said.len());
}

#[test]
fn a_program_in_a_terminal_is_not_held_up_by_a_reader_that_is_gone() {
    let at = Place::new();
    let script = "seq 1 20000; echo \"$(seq 1 20000 | wc -l)\" >done; exit 5";
    let mut command = internal(&at, ["launch", "--pty", "--", "sh", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Running(command.spawn().expect("it starts"));
    drop(child.0.stdout.take());
    let mut ended = None;
    until("it ends", || {
        ended = child.0.try_wait().expect("a child");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|it| it.code()), Some(5));
    assert_eq!(fs::read_to_string(at.join("done")).expect("a file"), "20000\n");
}

#[test]
fn root_a_terminal_that_cannot_be_made_is_no_missing_program() {
    let at = Place::new();
    let (ending, said) = verdict(&run(with_device(&at, "rm /dev/ptmx; launch --pty -- true")));
    assert_eq!(ending, Ending::Exited(1), "{said}");
    assert!(said.starts_with("microvm: cannot make a terminal: "), "{said}");
}

#[test]
fn signals_reach_the_program_in_its_terminal() {
    let at = Place::new();
    let script = "trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 0.01; done";
    let mut command = internal(&at, ["launch", "--pty", "--", "sh", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Running(command.spawn().expect("it starts"));
    let mut pipe = Patient::new(child.0.stdout.take().expect("a pipe"));
    let mut up = [0; 4];
    pipe.read_exact(&mut up).expect("it is up");
    kill_process(Pid::from_child(&child.0), Signal::TERM).expect("it runs");
    let mut said = String::new();
    pipe.read_to_string(&mut said).expect("read");
    assert_eq!((ended(&mut child.0).code(), said.as_str()), (Some(9), "caught\r\n"));
    // What no program catches ends ours as a shell would say it.
    let script = "kill -KILL $$";
    let output = run(internal(&at, ["launch", "--pty", "--", "sh", "-c", script]));
    assert_eq!(output.ending, Ending::Exited(137));
}
