// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal tcp-relay`, `internal vsock-connect`, `internal console`: standard input and output
//! joined to a socket.
//!
//! The first is what QEMU starts for each connection of a forwarded guest port, the second is a
//! proxy command for ssh, the third is for people: their terminal is raw, and Ctrl-] leads out.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use plinth::err::{Failure, tell_text};
use plinth::time::Time;

use super::pty::Raw;
use super::relay::{AtEnd, Filter, standard};
use super::{Call, usage};
use crate::ctl::CtlError;
use crate::ctl::peer::Peer;
use crate::ctl::vsock::Target;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// The port of ssh.
const SSH: u32 = 22;
/// Ctrl-].
const ESCAPE: u8 = 0x1d;

pub(super) fn tcp(call: &Call<'_>) -> Result<u8, Failure> {
    call.at_most(2)?;
    let (host, port) = (call.word(0, "HOST")?, call.word(1, "PORT")?);
    let port: u16 = port.parse().map_err(|_| usage("PORT: not a port"))?;
    let stream = TcpStream::connect((host, port))
        .map_err(|error| CtlError::Connect(format!("{host}:{port}").into(), error).failure())?;
    stream.set_nodelay(true)?;
    standard(&OwnedFd::from(stream), AtEnd::Close, &mut ())?;
    Ok(0)
}

pub(super) fn vsock(call: &Call<'_>) -> Result<u8, Failure> {
    call.at_most(2)?;
    let target = Target::parse(call.word(0, "TARGET")?)
        .ok_or_else(|| usage("TARGET: neither vsock/CID nor vsock-mux/PATH"))?;
    let port = match call.words.get(1) {
        Some(_) => call.word(1, "PORT")?.parse().map_err(|_| usage("PORT: not a port"))?,
        None => SSH,
    };
    let deadline = Time::monotonic() + CONNECT;
    let socket = target.connect(port, deadline).map_err(CtlError::failure)?;
    standard(&socket, AtEnd::Close, &mut ())?;
    Ok(0)
}

pub(super) fn console(call: &Call<'_>) -> Result<u8, Failure> {
    call.at_most(1)?;
    let path = call.word(0, "SOCKET")?;
    let deadline = Time::monotonic() + CONNECT;
    let peer = Peer::connect(Path::new(path), deadline).map_err(CtlError::failure)?;
    let socket = OwnedFd::from(peer.into_stream().map_err(CtlError::failure)?);
    let stdin = io::stdin();
    let raw = Raw::new(stdin.as_fd());
    if raw.is_some() {
        tell_text("Connected; Ctrl-] leaves.\r\n");
    }
    // QEMU ends a connection whose writing side is closed.
    let done = standard(&socket, AtEnd::Stay, &mut Keys { watched: raw.is_some() });
    drop(raw);
    done?;
    Ok(0)
}

/// Looks for the key that leads out.
struct Keys {
    watched: bool,
}

impl Filter for Keys {
    fn pass(&mut self, bytes: &mut Vec<u8>) -> bool {
        !self.watched || !bytes.contains(&ESCAPE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_leads_out_of_a_terminal_and_none_out_of_a_pipe() {
        let mut terminal = Keys { watched: true };
        assert!(terminal.pass(&mut b"\x03\x1b[A".to_vec()));
        assert!(!terminal.pass(&mut b"ab\x1dcd".to_vec()));
        assert!(Keys { watched: false }.pass(&mut b"\x1d".to_vec()));
    }
}
