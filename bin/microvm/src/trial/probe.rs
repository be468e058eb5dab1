// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Questions to ports of this host: does somebody listen, what does a console say.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use plinth::time::Time;

use super::{Running, TrialError};

/// The longest that one read blocks, so that the end of the machine is seen soon.
const TURN: Duration = Duration::from_millis(200);
/// The most of an answer that is kept.
const ANSWER_MAX: usize = 1 << 20;

/// The addresses that `localhost` has: QEMU may listen on one of them only.
fn addresses(port: u16) -> Vec<SocketAddr> {
    let found = ("localhost", port).to_socket_addrs();
    let mut all: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
    all.push(SocketAddr::from(([127, 0, 0, 1], port)));
    all.dedup();
    all
}

pub(super) fn connect(port: u16, time: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::ConnectionRefused);
    for address in addresses(port) {
        match TcpStream::connect_timeout(&address, time) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Does somebody listen on this port?
#[must_use]
pub fn is_open(port: u16) -> bool {
    connect(port, TURN).is_ok()
}

/// Waits until somebody listens on `port`.
pub(super) fn wait_for_port(
    machine: &Running,
    port: u16,
    poll: Duration,
    time: Duration,
) -> Result<TcpStream, TrialError> {
    let deadline = Time::monotonic() + time;
    loop {
        if let Ok(stream) = connect(port, TURN) {
            return Ok(stream);
        }
        if Time::monotonic() >= deadline {
            return Err(TrialError::TimedOut(format!("port {port}")));
        }
        machine.pause(poll, &format!("port {port} was open"))?;
    }
}

/// A console of the guest.
pub(super) struct Console<'a> {
    machine: &'a Running,
    stream: TcpStream,
    /// What came and was not asked for yet.
    heard: String,
}

impl<'a> Console<'a> {
    pub(super) fn new(machine: &'a Running, stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(TURN))?;
        stream.set_nodelay(true)?;
        Ok(Self { machine, stream, heard: String::new() })
    }

    pub(super) fn send(&mut self, line: &str) -> Result<(), TrialError> {
        let failed = |error| TrialError::Io("write to the console".to_owned(), error);
        self.stream.write_all(format!("{line}\n").as_bytes()).map_err(failed)
    }

    /// Reads until `text` came, or the time is over; whether it came. What came before it and the
    /// rest of its line are forgotten; the rest of the line is the answer.
    fn hear(&mut self, text: &str, deadline: Time) -> Result<Option<String>, TrialError> {
        loop {
            if let Some((_, behind)) = self.heard.split_once(text) {
                if let Some((line, rest)) = behind.split_once('\n') {
                    let line = line.trim_end().to_owned();
                    self.heard = rest.to_owned();
                    return Ok(Some(line));
                }
            }
            if Time::monotonic() >= deadline {
                return Ok(None);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(TrialError::Ended("the console answered".to_owned())),
                Ok(count) => {
                    let new = String::from_utf8_lossy(bytes.get(..count).unwrap_or_default());
                    self.heard.push_str(&new);
                    if self.heard.len() > ANSWER_MAX {
                        self.heard.clear();
                    }
                }
                Err(error) if is_over(&error) => {
                    self.machine.pause(Duration::ZERO, "the console answered")?;
                }
                Err(error) => {
                    return Err(TrialError::Io("read from the console".to_owned(), error));
                }
            }
        }
    }

    /// Has the guest's shell run `command` until it does; the first line of its output.
    ///
    /// A terminal repeats what is typed: the marks are written so that only the shell's own output
    /// has them whole.
    pub(super) fn run(
        &mut self,
        command: &str,
        mark: &str,
        again: Duration,
        time: Duration,
    ) -> Result<String, TrialError> {
        let deadline = Time::monotonic() + time;
        let (first, second) = mark.split_at(mark.len() / 2);
        loop {
            self.send(&format!("echo {first}\"\"{second} $({command})"))?;
            let turn = deadline.min(Time::monotonic() + again);
            if let Some(line) = self.hear(mark, turn)? {
                return Ok(line.trim().to_owned());
            }
            if Time::monotonic() >= deadline {
                return Err(TrialError::TimedOut("the guest's shell".to_owned()));
            }
        }
    }
}

fn is_over(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
        || error.kind() == io::ErrorKind::Interrupted
}

/// Sends `request`, and reads until `is_whole`, the end, or the deadline.
pub(super) fn ask(
    stream: &mut TcpStream,
    request: &str,
    deadline: Time,
    is_whole: &dyn Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    while !is_whole(&answer) && answer.len() < ANSWER_MAX {
        let left = Time::monotonic().until(deadline);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(bytes.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}
