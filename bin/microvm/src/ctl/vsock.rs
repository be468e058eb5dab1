// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections to the vsock ports of a machine.
//!
//! Owns the two ways there: the kernel's sockets, and the Unix sockets by which cloud-hypervisor
//! and firecracker stand for them. There a client says `CONNECT PORT` in a line of its own, and the
//! hypervisor answers `OK` and a number in another; a port where nobody listens ends the
//! connection. Targets are written as ssh writes them: `vsock/CID`, `vsock-mux/PATH`.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use plinth::time::Time;

use super::CtlError;
use super::peer::Peer;

/// The longest answer to `CONNECT`, in bytes: two letters, a number of 32 bits, the end of the
/// line.
pub const ANSWER_MAX: usize = 32;

/// Where a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The kernel knows it under this number.
    Context(u32),
    /// Its hypervisor listens on this socket.
    Mux(PathBuf),
}

impl Target {
    /// Understands `vsock/CID`, `vsock-mux/PATH`, a bare number, or a path.
    ///
    /// As in the ssh plug-in of systemd, the path behind `vsock-mux/` is absolute without its first
    /// slash being written twice.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let context = |text: &str| {
            text.parse().ok().filter(|cid| *cid > 2 && *cid < u32::MAX).map(Self::Context)
        };
        if let Some(cid) = text.strip_prefix("vsock/") {
            return context(cid);
        }
        if let Some(path) = text.strip_prefix("vsock-mux/") {
            let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
            return (path.len() > 1).then(|| Self::Mux(path.into()));
        }
        if text.contains('/') {
            return Some(Self::Mux(text.into()));
        }
        context(text)
    }

    /// Connects to `port`; the descriptor blocks.
    ///
    /// # Errors
    /// Whatever goes wrong, as a [`CtlError`].
    pub fn connect(&self, port: u32, deadline: Time) -> Result<OwnedFd, CtlError> {
        match self {
            Self::Context(cid) => plinth::sys::vsock::connect(*cid, port)
                .map_err(|error| CtlError::Connect(format!("vsock/{cid}").into(), error)),
            Self::Mux(path) => {
                let mut peer = Peer::connect(path, deadline)?;
                peer.send(greeting(port).as_bytes())?;
                let mut answer = Vec::new();
                // A byte at a time: what comes behind the line belongs to the conversation.
                loop {
                    let mut byte = [0];
                    if peer.receive(&mut byte)? == 0 {
                        return Err(if answer.is_empty() {
                            CtlError::Refused(format!("nobody listens on vsock port {port}"))
                        } else {
                            CtlError::Closed
                        });
                    }
                    answer.extend(byte);
                    if parse_answer(&answer)? {
                        return peer.into_stream().map(OwnedFd::from);
                    }
                }
            }
        }
    }
}

/// What a client says first.
#[must_use]
pub fn greeting(port: u32) -> String {
    format!("CONNECT {port}\n")
}

/// Whether the answer is complete, and positive.
///
/// # Errors
/// [`CtlError::Malformed`], [`CtlError::TooLong`].
pub fn parse_answer(answer: &[u8]) -> Result<bool, CtlError> {
    const ODD: CtlError = CtlError::Malformed("an answer to CONNECT");
    let Some((b'\n', line)) = answer.split_last() else {
        return if answer.len() >= ANSWER_MAX { Err(CtlError::TooLong) } else { Ok(false) };
    };
    let line = std::str::from_utf8(line).map_err(|_| ODD)?;
    let number = line.strip_prefix("OK ").ok_or(ODD)?;
    number.parse::<u32>().map(|_| true).map_err(|_| ODD)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn targets_have_the_forms_of_ssh() {
        let mux = |path: &str| Some(Target::Mux(path.into()));
        for (text, target) in [
            ("vsock/42", Some(Target::Context(42))),
            ("42", Some(Target::Context(42))),
            ("vsock-mux/run/vm/notify.vsock", mux("/run/vm/notify.vsock")),
            ("vsock-mux//run/vm/notify.vsock", mux("/run/vm/notify.vsock")),
            ("./notify.vsock", mux("./notify.vsock")),
            ("vsock/2", None),
            ("vsock/4294967295", None),
            ("vsock/x", None),
            ("vsock-mux/", None),
            ("web1", None),
            ("", None),
        ] {
            assert_eq!(Target::parse(text), target, "{text}");
        }
    }

    #[test]
    fn an_answer_is_a_line_with_a_number() {
        assert!(parse_answer(b"OK 1073741824\n").expect("an answer"));
        for part in ["", "O", "OK 1"] {
            assert!(!parse_answer(part.as_bytes()).expect("a part of one"), "{part}");
        }
        for odd in ["\n", "OK\n", "OK x\n", "ERR 1\n", "OK 4294967296\n"] {
            assert!(matches!(parse_answer(odd.as_bytes()), Err(CtlError::Malformed(_))), "{odd}");
        }
        assert!(matches!(parse_answer(&[b'1'; ANSWER_MAX]), Err(CtlError::TooLong)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            number in any::<u32>(),
        ) {
            drop(parse_answer(&bytes));
            let answer = format!("OK {number}\n");
            prop_assert!(parse_answer(answer.as_bytes()).expect("an answer"));
        }
    }
}
