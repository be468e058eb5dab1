// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The journal's native protocol: one datagram per line, fields as `NAME=value`, or, where the
//! value holds a newline, as `NAME`, a newline, the length as 64 bits little-endian, and the value.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::{Line, Sink};

/// Longest name of a field, in bytes.
const NAME_MAX: usize = 64;

/// The journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    program: String,
}

impl Journal {
    /// Connects to the socket at `path`, as `program`.
    ///
    /// # Errors
    /// There is no socket, or nobody behind it.
    pub fn open(path: &Path, program: &str) -> io::Result<Self> {
        Ok(Self { socket: connect(path)?, program: program.to_owned() })
    }
}

impl Sink for Journal {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let message = encode(&self.program, line);
        match self.socket.send(&message) {
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                // The limit of the socket is far above ours for texts; then drop the fields.
                let bare = Line { fields: Vec::new(), ..line.clone() };
                self.socket.send(&encode(&self.program, &bare)).map(drop)
            }
            sent => sent.map(drop),
        }
    }
}

/// A datagram socket that never blocks, connected to `path`.
pub(super) fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

fn encode(program: &str, line: &Line) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.text.len() + 128);
    field(&mut out, "MESSAGE", &line.text);
    field(&mut out, "PRIORITY", &line.severity().to_string());
    field(&mut out, "SYSLOG_IDENTIFIER", program);
    for (name, value) in &line.fields {
        if let Some(name) = field_name(name) {
            field(&mut out, &name, value);
        }
    }
    out
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

/// The journal takes capitals, digits and underscores, and keeps a leading underscore to itself.
fn field_name(name: &str) -> Option<String> {
    let upper: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    let fits = upper.len() <= NAME_MAX && upper.starts_with(|c: char| c.is_ascii_uppercase());
    let taken = matches!(upper.as_str(), "MESSAGE" | "PRIORITY" | "SYSLOG_IDENTIFIER");
    (fits && !taken).then_some(upper)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Level;
    use super::*;

    /// The receiving side, as the protocol describes it.
    fn decode(mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let at = bytes.iter().position(|&b| b == b'=' || b == b'\n')?;
            let name = String::from_utf8(bytes[..at].to_vec()).ok()?;
            let rest = &bytes[at + 1..];
            let (value, left) = if bytes[at] == b'=' {
                let end = rest.iter().position(|&b| b == b'\n')?;
                (&rest[..end], &rest[end + 1..])
            } else {
                let (len, rest) = rest.split_first_chunk()?;
                let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
                assert_eq!(rest[len], b'\n');
                (&rest[..len], &rest[len + 1..])
            };
            fields.push((name, String::from_utf8(value.to_vec()).ok()?));
            bytes = left;
        }
        Some(fields)
    }

    #[test]
    fn a_plain_line_is_plain_text() {
        let line = Line {
            fields: vec![("device".into(), "nvme0".into())],
            ..Line::new(Level::Info, "connected")
        };
        let expected = "MESSAGE=connected\nPRIORITY=6\nSYSLOG_IDENTIFIER=stafd\nDEVICE=nvme0\n";
        assert_eq!(String::from_utf8_lossy(&encode("stafd", &line)), expected);
    }

    #[test]
    fn newlines_are_counted_instead() {
        let encoded = encode("x", &Line::new(Level::Error, "a\nb"));
        assert!(encoded.starts_with(b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nPRIORITY=3\n"));
    }

    #[test]
    fn names_that_the_journal_refuses_are_changed_or_left_out() {
        assert_eq!(field_name("controller").as_deref(), Some("CONTROLLER"));
        assert_eq!(field_name("host-nqn").as_deref(), Some("HOST_NQN"));
        for refused in ["", "_pid", "1st", "message", &"x".repeat(65)] {
            assert_eq!(field_name(refused), None, "{refused}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(text in any::<String>(), value in any::<String>()) {
            let fields = vec![("device".to_owned(), value.clone())];
            let line = Line { fields, ..Line::new(Level::Debug, text.clone()) };
            let decoded = decode(&encode("stafd", &line)).expect("well-formed");
            let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            prop_assert_eq!(decoded, vec![
                owned("MESSAGE", &text), owned("PRIORITY", "7"),
                owned("SYSLOG_IDENTIFIER", "stafd"), owned("DEVICE", &value),
            ]);
        }
    }
}
