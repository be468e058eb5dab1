// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The QEMU machine protocol.
//!
//! Owns what a client needs of it: the greeting, the one negotiation, commands and their answers.
//! Events come at any time, between a command and its answer too, and are passed over. A message is
//! a line of JSON of at most [`LINE_MAX`] bytes.

use std::path::Path;

use plinth::time::Time;
use rustix::process::Pid;
use serde_json::{Value, json};

use super::CtlError;
use super::peer::Peer;

/// The longest message that is taken, in bytes.
pub const LINE_MAX: usize = 1 << 20;

/// A message from the hypervisor.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The first one.
    Greeting,
    /// Something happened; nobody asked.
    Event(String),
    /// The result of a command.
    Return(Value),
    /// A command was refused, for this reason.
    Error(String),
}

impl Message {
    /// Understands one line.
    ///
    /// # Errors
    /// [`CtlError::Malformed`].
    pub fn parse(line: &[u8]) -> Result<Self, CtlError> {
        const ODD: CtlError = CtlError::Malformed("a QMP message");
        let value: Value = serde_json::from_slice(line).map_err(|_| ODD)?;
        let Value::Object(mut members) = value else { return Err(ODD) };
        if members.contains_key("QMP") {
            return Ok(Self::Greeting);
        }
        if let Some(event) = members.get("event") {
            return event.as_str().map(|name| Self::Event(name.to_owned())).ok_or(ODD);
        }
        if let Some(result) = members.remove("return") {
            return Ok(Self::Return(result));
        }
        let error = members.get("error").ok_or(ODD)?;
        let words = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
        Ok(Self::Error(plinth::text::escape_control(words).into_owned()))
    }
}

/// Cuts what arrives into lines.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// How many of them were searched for the end of a line.
    searched: usize,
    /// How many stand behind the last end of a line.
    open: usize,
}

impl Lines {
    /// Adds what arrived.
    ///
    /// # Errors
    /// [`CtlError::TooLong`] when a line has no end.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), CtlError> {
        self.bytes.extend_from_slice(bytes);
        // Whole lines may wait; the last one must come to an end.
        self.open = match bytes.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => bytes.len() - end - 1,
            None => self.open + bytes.len(),
        };
        if self.open > LINE_MAX { Err(CtlError::TooLong) } else { Ok(()) }
    }

    /// The next line, without its end; empty ones are passed over.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        loop {
            let rest = self.bytes.get(self.searched..)?;
            let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                self.searched = self.bytes.len();
                return None;
            };
            let mut line: Vec<u8> = self.bytes.drain(..=self.searched + end).collect();
            self.searched = 0;
            while line.last().is_some_and(u8::is_ascii_whitespace) {
                line.pop();
            }
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

/// A command as it is sent.
#[must_use]
pub fn command(name: &str, arguments: &Value) -> Vec<u8> {
    let mut message = json!({ "execute": name });
    if let (Value::Object(members), false) = (&mut message, arguments.is_null()) {
        members.insert("arguments".to_owned(), arguments.clone());
    }
    format!("{message}\n").into_bytes()
}

/// A connection that is ready for commands.
#[derive(Debug)]
pub struct Qmp {
    peer: Peer,
    lines: Lines,
}

impl Qmp {
    /// Connects, takes the greeting, and negotiates.
    ///
    /// # Errors
    /// Whatever goes wrong, as a [`CtlError`].
    pub fn connect(path: &Path, deadline: Time) -> Result<Self, CtlError> {
        let mut qmp = Self { peer: Peer::connect(path, deadline)?, lines: Lines::default() };
        match qmp.next()? {
            Message::Greeting => {}
            _ => return Err(CtlError::Malformed("the greeting of QMP")),
        }
        qmp.execute("qmp_capabilities", &Value::Null)?;
        Ok(qmp)
    }

    /// The process that listens, when it can be named.
    #[must_use]
    pub fn process(&self) -> Option<Pid> {
        self.peer.process()
    }

    /// Carries out a command; its result.
    ///
    /// # Errors
    /// [`CtlError::Refused`] with the hypervisor's reason; else what the connection ended with.
    pub fn execute(&mut self, name: &str, arguments: &Value) -> Result<Value, CtlError> {
        self.peer.send(&command(name, arguments))?;
        match self.next()? {
            Message::Return(result) => Ok(result),
            Message::Error(words) => Err(CtlError::Refused(words)),
            _ => Err(CtlError::Malformed("an answer to a QMP command")),
        }
    }

    /// Whether the hypervisor closes the connection by `time`; events are passed over meanwhile.
    ///
    /// # Errors
    /// [`CtlError::Io`], [`CtlError::TooLong`].
    pub fn ends_by(&mut self, time: Time) -> Result<bool, CtlError> {
        let deadline = self.peer.deadline();
        self.peer.set_deadline(time.min(deadline));
        let ended = self.pass_over();
        self.peer.set_deadline(deadline);
        match ended {
            Err(CtlError::TimedOut(_)) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Takes in what comes, until the end.
    fn pass_over(&mut self) -> Result<(), CtlError> {
        let mut buffer = [0; 4096];
        loop {
            let count = self.peer.receive(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.lines.feed(buffer.get(..count).unwrap_or_default())?;
            while self.lines.next_line().is_some() {}
        }
    }

    /// The next message that is no event.
    fn next(&mut self) -> Result<Message, CtlError> {
        let mut buffer = [0; 4096];
        loop {
            while let Some(line) = self.lines.next_line() {
                match Message::parse(&line)? {
                    Message::Event(_) => {}
                    message => return Ok(message),
                }
            }
            let count = self.peer.receive(&mut buffer)?;
            if count == 0 {
                return Err(CtlError::Closed);
            }
            self.lines.feed(buffer.get(..count).unwrap_or_default())?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<Message, CtlError> {
        Message::parse(line.as_bytes())
    }

    #[test]
    fn every_kind_of_message_is_told_apart() {
        let greeting = r#"{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}"#;
        assert_eq!(parse(greeting).expect("a message"), Message::Greeting);
        let event = r#"{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", "data": {}}"#;
        assert_eq!(parse(event).expect("a message"), Message::Event("SHUTDOWN".to_owned()));
        let result = parse(r#"{"return": {"actual": 5}}"#).expect("a message");
        assert_eq!(result, Message::Return(json!({"actual": 5})));
        let error = parse(r#"{"error": {"class": "GenericError", "desc": "no\nballoon"}}"#);
        assert_eq!(error.expect("a message"), Message::Error("no\\nballoon".to_owned()));
        for odd in ["", "[]", "{}", "null", "{\"event\": 1}", "garbage", "{\"return\""] {
            assert!(matches!(parse(odd), Err(CtlError::Malformed(_))), "{odd}");
        }
    }

    #[test]
    fn commands_are_lines() {
        assert_eq!(command("stop", &Value::Null), b"{\"execute\":\"stop\"}\n");
        let text = command("balloon", &json!({"value": 1}));
        assert_eq!(text, b"{\"arguments\":{\"value\":1},\"execute\":\"balloon\"}\n");
    }

    #[test]
    fn a_line_at_the_limit_is_taken_and_one_beyond_is_not() {
        let mut lines = Lines::default();
        lines.feed(&vec![b'x'; LINE_MAX]).expect("at the limit");
        lines.feed(b"\r\n").expect("its end");
        assert_eq!(lines.next_line().map(|line| line.len()), Some(LINE_MAX));
        assert!(lines.feed(&vec![b'x'; LINE_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_arrive(
            lines in proptest::collection::vec("[a-z]{1,9}", 0..9),
            cuts in proptest::collection::vec(1_usize..7, 0..40),
        ) {
            let whole = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
            let (mut cutter, mut found) = (Lines::default(), Vec::new());
            let mut rest = whole.as_bytes();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                cutter.feed(now).expect("short");
                found.extend(std::iter::from_fn(|| cutter.next_line()));
                rest = later;
            }
            let found: Vec<String> =
                found.into_iter().map(|it| String::from_utf8_lossy(&it).into_owned()).collect();
            prop_assert_eq!(found, lines);
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut lines = Lines::default();
            lines.feed(&bytes).expect("short");
            while let Some(line) = lines.next_line() {
                drop(Message::parse(&line));
            }
        }
    }
}
