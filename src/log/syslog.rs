// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The local syslog socket: one datagram `<PRI>program: text` per line; the daemon adds the time.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::journal::connect;
use super::{Line, Sink};
use crate::text::escape_control;

/// A syslog daemon.
#[derive(Debug)]
pub struct Syslog {
    socket: UnixDatagram,
    program: String,
}

impl Syslog {
    /// Connects to the socket at `path`, as `program`.
    ///
    /// # Errors
    /// There is no datagram socket, or nobody behind it.
    pub fn open(path: &Path, program: &str) -> io::Result<Self> {
        Ok(Self { socket: connect(path)?, program: program.to_owned() })
    }
}

impl Sink for Syslog {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let text = escape_control(&line.text);
        let message = format!("<{}>{}: {text}", line.priority(), self.program);
        self.socket.send(message.as_bytes()).map(drop)
    }
}
