// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long a machine takes from its start to being ready.
//!
//! Ready is what the guest says (`READY=1`), a text on the console, or the first byte of an answer
//! from a port: a port of QEMU's user network is open before anybody listens in the guest.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use plinth::time::Time;
use serde_json::{Value, json};

use super::{Running, TrialError};

/// Between two looks. Short, as it is the error of the result.
const LOOK: Duration = Duration::from_millis(5);
/// Between two questions to a port. The guest is not there for the first ones, and a slow one needs
/// longer for its answer than that: the earlier questions stay open.
const AGAIN: Duration = Duration::from_millis(200);
/// Questions that are open at the same time.
const QUESTIONS: usize = 8;

/// What to wait for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// A text on the console.
    pub text: Option<String>,
    /// A port that answers, and what it is asked.
    pub port: Option<(SocketAddr, String)>,
    /// The guest's own word.
    pub ready: bool,
}

/// What happened when, in time from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// The guest said that it is ready.
    pub ready: Option<Duration>,
    /// The text was on the console.
    pub text: Option<Duration>,
    /// The port answered.
    pub port: Option<Duration>,
}

impl Measured {
    /// For programs: milliseconds, `null` for what did not happen.
    #[must_use]
    pub fn json(&self) -> Value {
        let ms = |time: Option<Duration>| time.map(|it| json!(millis(it))).unwrap_or_default();
        json!({
            "readyMs": ms(self.ready), "consoleMs": ms(self.text), "portMs": ms(self.port),
        })
    }

    const fn is_enough(&self, wanted: &Wanted) -> bool {
        (self.ready.is_some() || !wanted.ready)
            && (self.text.is_some() || wanted.text.is_none())
            && (self.port.is_some() || wanted.port.is_none())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Starts the machine of the package at the absolute path `package` in `dir`, waits for what is
/// wanted, and stops it.
///
/// # Errors
/// It did not happen within `limit`, or the machine ended before.
pub fn measure(
    package: &Path,
    dir: &Path,
    wanted: &Wanted,
    limit: Duration,
) -> Result<Measured, TrialError> {
    let failed = |error| TrialError::Io("make the socket for the guest's word".to_owned(), error);
    let socket = dir.join("notify");
    drop(std::fs::remove_file(&socket));
    let notify = UnixDatagram::bind(&socket).map_err(failed)?;
    notify.set_nonblocking(true).map_err(failed)?;
    let start = Time::monotonic();
    let mut machine = Running::start(package, dir, Some(&socket))?;
    let mut measured = Measured::default();
    let mut questions = Questions::default();
    let result = loop {
        look(&machine, &notify, wanted, start, &mut measured);
        if let (Some((address, request)), None) = (&wanted.port, measured.port) {
            if questions.answered(*address, request) {
                measured.port = Some(Time::monotonic().since(start));
            }
        }
        if measured.is_enough(wanted) {
            break Ok(());
        }
        if Time::monotonic().since(start) >= limit {
            break Err(TrialError::TimedOut("the machine to be ready".to_owned()));
        }
        if let Err(error) = machine.pause(LOOK, "it was ready") {
            break Err(error);
        }
    };
    machine.stop(Duration::from_secs(1))?;
    result.map(|()| measured)
}

fn look(
    machine: &Running,
    notify: &UnixDatagram,
    wanted: &Wanted,
    start: Time,
    measured: &mut Measured,
) {
    let now = || Some(Time::monotonic().since(start));
    let mut bytes = [0; 4096];
    while let Ok(count) = notify.recv(&mut bytes) {
        let said = String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned();
        if measured.ready.is_none() && said.lines().any(|line| line == "READY=1") {
            measured.ready = now();
        }
    }
    if let (Some(text), None) = (&wanted.text, measured.text) {
        if machine.log().contains(text) {
            measured.text = now();
        }
    }
}

/// Questions to a port that were not answered yet, the oldest first.
#[derive(Debug, Default)]
struct Questions {
    open: VecDeque<TcpStream>,
    last: Option<Time>,
}

impl Questions {
    /// Whether one of them is answered now; asks again when it is time.
    fn answered(&mut self, address: SocketAddr, request: &str) -> bool {
        let now = Time::monotonic();
        if self.last.is_none_or(|last| now.since(last) >= AGAIN) {
            self.last = Some(now);
            if self.open.len() >= QUESTIONS {
                self.open.pop_front();
            }
            // Nobody listens yet, not even QEMU.
            self.open.extend(ask(address, request).ok());
        }
        let mut answered = false;
        self.open.retain_mut(|stream| match stream.read(&mut [0; 64]) {
            Ok(0) => false,
            Ok(_) => {
                answered = true;
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
        answered
    }
}

fn ask(address: SocketAddr, request: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, AGAIN)?;
    stream.set_nonblocking(true)?;
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use plinth::testing::{Patient, ready, until};

    use super::*;

    #[test]
    fn all_that_is_wanted_must_have_happened() {
        let wanted = Wanted { text: Some("x".to_owned()), ready: true, port: None };
        let at = Some(Duration::from_millis(1500));
        let mut measured = Measured { text: at, ..Measured::default() };
        assert!(!measured.is_enough(&wanted));
        measured.ready = at;
        assert!(measured.is_enough(&wanted));
        assert_eq!(measured.json()["readyMs"], 1500);
        assert_eq!(measured.json()["portMs"], Value::Null);
    }

    #[test]
    fn an_answer_counts_however_long_it_takes() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut questions = Questions::default();
        assert!(!questions.answered(address, "PING\r\n"));
        let (mut first, _) = ready(&listener).accept().expect("the first question");
        // Others follow before it is answered; one of them finds nobody.
        questions.last = None;
        assert!(!questions.answered(address, "PING\r\n"));
        drop(ready(&listener).accept().expect("the second question"));
        let mut request = [0; 6];
        Patient::new(&first).read_exact(&mut request).expect("a request");
        assert_eq!(&request, b"PING\r\n");
        first.write_all(b"+").expect("an answer");
        until("the answer counts", || questions.answered(address, "PING\r\n"));
    }
}
