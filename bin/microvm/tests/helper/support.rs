// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What these tests share: bounded runs, scripted peers.

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::thread::{self, JoinHandle};

use plinth::proc::{Ending, Output};
use plinth::testing::{LONG, Patient, joined, ready, run};

/// `microvm internal` with these words, in the directory `at`.
pub(crate) fn internal<I, S>(at: &Path, words: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(env!("CARGO_BIN_EXE_microvm"));
    command.arg("internal").args(words).current_dir(at).env_remove("MAINPID");
    command
}

/// How it ended, and what it said on standard error.
pub(crate) fn verdict(output: &Output) -> (Ending, String) {
    (output.ending, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What it said on standard output, after a success.
pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.success(), "{:?}", verdict(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A child that is killed when the test ends, however.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Makes an executable script of these lines for the shell.
///
/// Another process writes it: a descriptor of ours, open for writing, might be inherited by what
/// another test starts just now, and the script could not be executed.
pub(crate) fn script(path: &Path, lines: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$0\" && chmod 755 \"$0\""]);
    command.arg(path).arg(lines);
    assert_eq!(verdict(&run(command)), (Ending::Exited(0), String::new()));
}

/// One side of a conversation, played by a thread.
pub(crate) struct Peer(JoinHandle<Vec<u8>>);

impl Peer {
    /// Listens on `path`, and plays each of `scripts` with one connection after the other. What was
    /// heard is the thread's result.
    pub(crate) fn new(path: &Path, scripts: Vec<Script>) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        Self(thread::spawn(move || {
            let mut heard = Vec::new();
            for script in scripts {
                let (stream, _) = ready(&listener).accept().expect("a client");
                stream.set_write_timeout(Some(LONG)).expect("a limit");
                let mut stream = Patient::new(stream);
                for step in script {
                    play(&step, &mut stream, &mut heard);
                }
            }
            heard
        }))
    }

    /// What was heard, as text.
    pub(crate) fn heard(self) -> String {
        String::from_utf8(joined(self.0)).expect("text")
    }
}

/// What a peer does with one connection; then it closes it.
pub(crate) type Script = Vec<Step>;

/// One act of a peer.
pub(crate) enum Step {
    /// Says this.
    Say(Vec<u8>),
    /// Hears until this text came.
    Hear(&'static str),
    /// Hears until the client goes.
    HearAll,
}

/// Says `text`.
pub(crate) fn say(text: &str) -> Step {
    Step::Say(text.as_bytes().to_vec())
}

fn play(step: &Step, stream: &mut Patient<UnixStream>, heard: &mut Vec<u8>) {
    match step {
        // A client that went away has heard enough.
        Step::Say(bytes) => drop(stream.get_mut().write_all(bytes)),
        Step::Hear(text) => {
            let mut part = Vec::new();
            while !part.windows(text.len()).any(|it| it == text.as_bytes()) {
                let mut byte = [0];
                assert_eq!(stream.read(&mut byte).expect("a byte"), 1, "never heard {text}");
                part.extend(byte);
            }
            heard.extend(part);
        }
        Step::HearAll => {
            let is_late = |error: io::Error| error.kind() == io::ErrorKind::TimedOut;
            assert!(!stream.read_to_end(heard).is_err_and(is_late), "the client stays");
        }
    }
}
