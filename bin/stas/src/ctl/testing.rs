// SPDX-License-Identifier: Apache-2.0 OR MIT
//! For tests: a daemon that answers as it is told, on a control socket of its own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use plinth::testing;
use serde_json::Value;

use crate::core::control::{self, Call, Request};

/// What a daemon answers: a value, or name and text of an error.
pub(crate) type Reply = Result<Value, (&'static str, &'static str)>;

/// A directory with the control socket of a daemon.
pub(crate) struct Place(pub(crate) testing::Place);

impl Place {
    pub(crate) fn new() -> Self {
        Self(testing::Place::new())
    }

    /// Writes a file, whose path is relative to the place.
    pub(crate) fn file(&self, path: &str, text: &str) {
        self.0.file(path, text);
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("ctl.sock")
    }

    /// A daemon that takes one connection and does with it what `serve` does.
    pub(crate) fn daemon<T: Send + 'static>(
        &self,
        serve: impl FnOnce(BufReader<UnixStream>, UnixStream) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let listener = UnixListener::bind(self.socket()).expect("a socket");
        thread::spawn(move || {
            let (stream, _) = testing::ready(&listener).accept().expect("a client");
            stream.set_read_timeout(Some(testing::LONG)).expect("a limit");
            serve(BufReader::new(stream.try_clone().expect("a second handle")), stream)
        })
    }

    /// A daemon that answers each call of one client; at the end, the calls in their order.
    pub(crate) fn answering(
        &self,
        mut answer: impl FnMut(&Call) -> Reply + Send + 'static,
    ) -> JoinHandle<Vec<Call>> {
        self.daemon(move |mut from, mut to| {
            let mut calls = Vec::new();
            while let Some(Request { id, call }) = next_request(&mut from) {
                let line = match answer(&call) {
                    Ok(value) => control::reply(id, &value),
                    Err((name, text)) => control::reply_error(id, name, text),
                };
                to.write_all(line.as_bytes()).expect("sent");
                calls.push(call);
            }
            calls
        })
    }
}

/// The next request; `None` when the client hung up.
fn next_request(from: &mut BufReader<UnixStream>) -> Option<Request> {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    let line = line.strip_suffix('\n')?;
    Some(Request::decode(line.as_bytes()).expect("a request"))
}

/// The next request, of a client that has one more.
pub(crate) fn request(from: &mut BufReader<UnixStream>) -> Request {
    next_request(from).expect("one more request")
}
