// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the servers of the examples must answer.

use std::io;
use std::time::Duration;

use plinth::time::Time;
use serde_json::Value;

use super::TrialError;
use super::probe::{ask, connect};

/// A server that an example shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Pages: `/`, `/health`, `/api/info`.
    Http,
    /// A store of keys and values.
    Valkey,
    /// A display.
    Vnc,
}

impl Check {
    /// The one of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Http),
            "valkey" => Some(Self::Valkey),
            "vnc" => Some(Self::Vnc),
            _ => None,
        }
    }
}

/// Asks the server on `port` of this host everything that it must answer within `time` each; what
/// was seen, a line for each.
///
/// # Errors
/// It did not answer, or something else.
pub fn check(what: Check, port: u16, time: Duration) -> Result<Vec<String>, TrialError> {
    let asking = Asking { port, time };
    match what {
        Check::Http => asking.http(),
        Check::Valkey => asking.valkey(),
        Check::Vnc => asking.vnc(),
    }
}

struct Asking {
    port: u16,
    time: Duration,
}

impl Asking {
    fn ask(&self, request: &str, is_whole: &dyn Fn(&[u8]) -> bool) -> Result<String, TrialError> {
        let deadline = Time::monotonic() + self.time;
        let name = request.lines().next().unwrap_or("a greeting").to_owned();
        let failed = |error| TrialError::Io(format!("ask port {} for {name}", self.port), error);
        let mut stream = connect(self.port, self.time).map_err(failed)?;
        let answer = ask(&mut stream, request, deadline, is_whole).map_err(failed)?;
        if answer.is_empty() {
            // QEMU accepts for the guest; it hangs up when nobody listens there yet.
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn http(&self) -> Result<Vec<String>, TrialError> {
        let get = |path: &str| {
            let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
            let answer = self.ask(&request, &|_| false)?;
            let wrong = || TrialError::Answer(format!("{path}: {}", shown(&answer)));
            let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(wrong)?;
            let status = head.split_ascii_whitespace().nth(1);
            if status == Some("200") { Ok(body.to_owned()) } else { Err(wrong()) }
        };
        get("/")?;
        let health = get("/health")?;
        if health.trim() != "OK" {
            return Err(TrialError::Answer(format!("/health: {}", shown(&health))));
        }
        let info = get("/api/info")?;
        let parsed: Value = serde_json::from_str(&info).unwrap_or_default();
        match (parsed.get("hostname").and_then(Value::as_str), parsed.get("time")) {
            (Some(name), Some(_)) => Ok(vec![
                "/ answered".to_owned(),
                "/health: OK".to_owned(),
                format!("/api/info: {name}"),
            ]),
            _ => Err(TrialError::Answer(format!("/api/info: {}", shown(&info)))),
        }
    }

    fn valkey(&self) -> Result<Vec<String>, TrialError> {
        let mut seen = Vec::new();
        for (words, wanted) in [
            (&["PING"] as &[&str], "+PONG\r\n"),
            (&["SET", "trial", "value 1"], "+OK\r\n"),
            (&["GET", "trial"], "$7\r\nvalue 1\r\n"),
            (&["INFO", "server"], "_version:"),
        ] {
            let name = words.first().copied().unwrap_or_default();
            let answer = self.ask(&command(words), &is_whole_reply)?;
            if !answer.contains(wanted) {
                return Err(TrialError::Answer(format!("{name}: {}", shown(&answer))));
            }
            // Valkey gives both; the other one is for clients that know Redis only.
            let says = |key: &str| answer.lines().find(|line| line.starts_with(key));
            let version = says("valkey_version:").or_else(|| says("redis_version:"));
            seen.push(match version {
                Some(version) => format!("{name}: {}", version.trim_end()),
                None => format!("{name} answered"),
            });
        }
        Ok(seen)
    }

    fn vnc(&self) -> Result<Vec<String>, TrialError> {
        let banner = self.ask("", &|answer| answer.len() >= 12)?;
        if banner.starts_with("RFB ") {
            Ok(vec![format!("display: {}", banner.trim_end())])
        } else {
            Err(TrialError::Answer(format!("no display: {}", shown(&banner))))
        }
    }
}

/// A command of Valkey's protocol: an array of bulk strings.
pub(super) fn command(words: &[&str]) -> String {
    let bulk = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
    format!("*{}\r\n{}", words.len(), words.iter().map(bulk).collect::<String>())
}

/// Is this a whole reply: a line, or a bulk string with as many bytes as it says?
pub(super) fn is_whole_reply(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(2).position(|it| it == b"\r\n").map(|at| at + 2) else {
        return false;
    };
    let size = bytes.strip_prefix(b"$").and_then(|rest| rest.get(..end - 3));
    let size = size.and_then(|digits| std::str::from_utf8(digits).ok());
    match size.and_then(|digits| digits.parse::<usize>().ok()) {
        Some(size) => bytes.len() - end >= size.saturating_add(2),
        None => true,
    }
}

/// The beginning of an answer, for a message.
fn shown(answer: &str) -> String {
    let start: String = answer.chars().take(80).collect();
    plinth::text::quote(&start)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const TIME: Duration = Duration::from_secs(60);

    /// A server that gives these answers, one a connection.
    fn server(answers: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its number").port();
        drop(thread::spawn(move || {
            for answer in answers {
                let (mut peer, _) = listener.accept().expect("somebody asks");
                let mut bytes = [0; 512];
                if !answer.starts_with("RFB") {
                    assert!(peer.read(&mut bytes).expect("a question") > 0);
                }
                peer.write_all(answer.as_bytes()).expect("an answer");
            }
        }));
        port
    }

    #[test]
    fn pages_are_held_to_what_they_say() {
        let page = "HTTP/1.0 200 OK\r\n\r\nx";
        let health = "HTTP/1.0 200 OK\r\n\r\nOK\n";
        let info = "HTTP/1.0 200 OK\r\n\r\n{\"hostname\":\"h\",\"time\":1}";
        let port = server(Box::leak(Box::new([page, health, info])));
        let seen = check(Check::Http, port, TIME).expect("all answered");
        assert_eq!(seen.last().map(String::as_str), Some("/api/info: h"));
        for wrong in ["HTTP/1.0 500 X\r\n\r\n", "nonsense"] {
            let port = server(Box::leak(Box::new([wrong])));
            let error = check(Check::Http, port, TIME).expect_err("a wrong answer");
            assert!(matches!(error, TrialError::Answer(_)), "{error}");
        }
    }

    #[test]
    fn a_store_is_held_to_what_was_stored() {
        let stored = "$7\r\nvalue 1\r\n";
        let info = "$34\r\nredis_version:1\r\nvalkey_version:8\r\n";
        let port = server(Box::leak(Box::new(["+PONG\r\n", "+OK\r\n", stored, info])));
        let seen = check(Check::Valkey, port, TIME).expect("all answered");
        assert_eq!(
            seen,
            ["PING answered", "SET answered", "GET answered", "INFO: valkey_version:8"]
        );
        let port = server(&["+PONG\r\n", "+OK\r\n", "$-1\r\n"]);
        let error = check(Check::Valkey, port, TIME).expect_err("it forgot");
        assert!(error.to_string().starts_with("GET: "), "{error}");
    }

    #[test]
    fn a_reply_is_read_to_its_end() {
        for whole in ["+OK\r\n", "-ERR x\r\n", "$-1\r\n", "$0\r\n\r\n", "$4\r\na\r\nb\r\n"] {
            assert!(is_whole_reply(whole.as_bytes()), "{whole:?}");
            let part = &whole[..whole.len() - 1];
            assert!(!is_whole_reply(part.as_bytes()), "{part:?}");
        }
        assert!(!is_whole_reply(b"$4\r\na\r\n"));
    }

    #[test]
    fn silence_is_no_wrong_answer() {
        let port = server(&[""]);
        let error = check(Check::Http, port, TIME).expect_err("no answer");
        assert!(matches!(error, TrialError::Io(..)), "{error}");
    }

    #[test]
    fn a_display_says_who_it_is() {
        let port = server(&["RFB 003.008\n"]);
        assert_eq!(check(Check::Vnc, port, TIME).expect("a banner"), ["display: RFB 003.008"]);
    }
}
