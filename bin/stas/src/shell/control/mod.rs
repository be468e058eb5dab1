// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control socket: the daemon's interface on hosts without a message bus.
//!
//! Owns the listening socket, the clients and their buffers; the protocol is
//! [`crate::core::control`]. The socket appears under its name only when it accepts connections,
//! so that whoever waits for the name can connect at once. Clients are bounded in number and in
//! what they may leave unread: one that does not read what it asked for is not listened to, and a
//! subscriber that falls too far behind is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use plinth::event::{Direction, Loop, Progress, WatchId};

use super::ask::{Ask, fields, seven};
use super::key::Key;
use crate::core::api;
use crate::core::control::{
    self, ACCESS_DENIED, Call, FAILED, Lines, REQUEST_BYTES_MAX, Request, RequestError, Signal,
    UNKNOWN_METHOD,
};
use crate::core::port::Notice;

/// Clients at the same time.
pub const CLIENTS_MAX: usize = 32;
/// Signals that may wait for a subscriber, in bytes.
pub const BEHIND_MAX: usize = 1 << 20;
/// Access to the socket.
const MODE: u32 = 0o600;
/// Exchanges with one client in one turn.
const TURN_STEPS_MAX: usize = 64;

/// A question of a client, and the address of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    client: u64,
    id: Option<u64>,
    /// What is asked.
    pub ask: Ask,
}

struct Client {
    stream: UnixStream,
    watch: WatchId,
    lines: Lines,
    unsent: VecDeque<u8>,
    writing: bool,
    subscribed: bool,
    privileged: bool,
    /// A question of this client is not answered yet.
    asking: bool,
    /// Nothing more will come; what is unsent is still sent.
    ended: bool,
}

/// The socket and its clients.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    clients: BTreeMap<u64, Client>,
    next: u64,
    questions: VecDeque<Question>,
}

impl Server {
    /// Listens at `path`, in place of whatever socket a previous process left there.
    ///
    /// # Errors
    /// What the calls for sockets and files say.
    pub fn open(lp: &mut Loop<Key>, path: &Path) -> io::Result<Self> {
        let unfinished = path.with_extension("new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&unfinished)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(MODE))?;
        fs::rename(&unfinished, path)?;
        lp.watch(listener.as_fd(), Key::Control)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            clients: BTreeMap::new(),
            next: 0,
            questions: VecDeque::new(),
        })
    }

    /// New clients have come.
    ///
    /// # Errors
    /// The loop cannot watch a descriptor.
    pub fn accept(&mut self, lp: &mut Loop<Key>) -> io::Result<Progress> {
        for _ in 0..CLIENTS_MAX {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Drained);
                }
                Err(error) => {
                    log::debug!("Control socket: {error}");
                    return Ok(Progress::Drained);
                }
            };
            if self.clients.len() >= CLIENTS_MAX {
                log::warn!("Control socket: more than {CLIENTS_MAX} clients");
                continue; // closed
            }
            stream.set_nonblocking(true)?;
            let root = plinth::sys::socket::peer_uid(stream.as_fd()).is_ok_and(|uid| uid == 0);
            let number = self.next;
            self.next += 1;
            let watch = lp.watch(stream.as_fd(), Key::Client(number))?;
            let client = Client {
                stream,
                watch,
                lines: Lines::new(REQUEST_BYTES_MAX),
                unsent: VecDeque::new(),
                writing: false,
                subscribed: false,
                privileged: root,
                asking: false,
                ended: false,
            };
            self.clients.insert(number, client);
        }
        Ok(Progress::More)
    }

    /// The client has sent something, reads again, or is gone.
    ///
    /// # Errors
    /// The loop cannot change a watch.
    pub fn ready(&mut self, lp: &mut Loop<Key>, number: u64) -> io::Result<()> {
        self.pump(lp, number)
    }

    /// Moves what can be moved between a client and its buffers, one request at a time: the next
    /// one is looked at when the answer to the one before has left.
    fn pump(&mut self, lp: &mut Loop<Key>, number: u64) -> io::Result<()> {
        for _ in 0..TURN_STEPS_MAX {
            let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
            match client.advance() {
                Ok(Step::Request(request)) => self.take(number, request),
                Ok(Step::Moved) => {}
                Ok(Step::Waiting) => return self.watch_for(lp, number),
                Ok(Step::Over) => return self.drop_client(lp, number),
                Err(error) => {
                    log::debug!("Control socket: {error}");
                    return self.drop_client(lp, number);
                }
            }
        }
        // Others shall have their turn: arming the watch again makes the loop come back.
        match self.clients.get(&number) {
            Some(client) => lp.rearm(client.watch, Direction::Both),
            None => Ok(()),
        }
    }

    fn watch_for(&mut self, lp: &mut Loop<Key>, number: u64) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        let wanted = !client.unsent.is_empty();
        if wanted == client.writing {
            return Ok(());
        }
        client.writing = wanted;
        lp.rearm(client.watch, if wanted { Direction::Both } else { Direction::Read })
    }

    fn take(&mut self, number: u64, request: Result<Request, RequestError>) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let (id, call) = match request {
            Ok(Request { id, call }) => (id, call),
            Err(error) => {
                return client.say(&control::reply_error(error.id, error.name, &error.text));
            }
        };
        if call.is_privileged() && !client.privileged {
            let text = format!("{} is for root", call.method());
            client.say(&control::reply_error(id, ACCESS_DENIED, &text));
        } else if let Some(ask) = ask(call) {
            client.asking = true;
            self.questions.push_back(Question { client: number, id, ask });
        } else {
            client.subscribed = true;
            client.say(&control::reply(id, &serde_json::Value::Null));
        }
    }

    /// The next question, in the order in which they came.
    pub fn next_question(&mut self) -> Option<Question> {
        self.questions.pop_front()
    }

    /// Answers a question.
    ///
    /// # Errors
    /// The loop cannot change a watch.
    pub fn reply(
        &mut self,
        lp: &mut Loop<Key>,
        question: &Question,
        reply: api::Reply,
    ) -> io::Result<()> {
        let id = question.id;
        let text = match reply {
            api::Reply::Json(json) => control::reply_json(id, &json),
            api::Reply::Dicts(list) => control::reply(id, &serde_json::json!(list)),
            api::Reply::Bool(value) => control::reply(id, &value.into()),
            api::Reply::Text(text) => control::reply(id, &text.into()),
            api::Reply::Unit => control::reply(id, &serde_json::Value::Null),
            api::Reply::NotReady(text) => control::reply_error(id, FAILED, &text),
            api::Reply::Unsupported => control::reply_error(id, UNKNOWN_METHOD, "not offered"),
        };
        let Some(client) = self.clients.get_mut(&question.client) else { return Ok(()) };
        client.asking = false;
        client.say(&text);
        self.pump(lp, question.client)
    }

    /// Tells all subscribers.
    ///
    /// # Errors
    /// The loop cannot change a watch.
    pub fn notice(&mut self, lp: &mut Loop<Key>, notice: &Notice) -> io::Result<()> {
        let text = match notice {
            Notice::LogPagesChanged { tid, device } => Signal::LogPagesChanged {
                seven: Box::new(seven(tid.fields())),
                device: device.clone(),
            },
            Notice::DcRemoved => Signal::DcRemoved,
            Notice::Tron(on) => Signal::TronChanged(*on),
        }
        .encode();
        let subscribers = self.clients.iter().filter(|(_, client)| client.subscribed);
        for number in subscribers.map(|(number, _)| *number).collect::<Vec<_>>() {
            let Some(client) = self.clients.get_mut(&number) else { continue };
            if client.unsent.len() > BEHIND_MAX && !client.asking {
                log::warn!("Control socket: dropping a subscriber that does not read");
                self.drop_client(lp, number)?;
            } else {
                client.say(&text);
                self.pump(lp, number)?;
            }
        }
        Ok(())
    }

    fn drop_client(&mut self, lp: &mut Loop<Key>, number: u64) -> io::Result<()> {
        self.questions.retain(|question| question.client != number);
        match self.clients.remove(&number) {
            Some(client) => lp.unwatch(client.watch),
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    /// Takes the name away, so that nobody waits for a daemon that is gone.
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// What came of one exchange with a client.
enum Step {
    /// A whole request has arrived.
    Request(Result<Request, RequestError>),
    /// Bytes were moved; there may be more to do.
    Moved,
    /// Nothing can be done before the client, or the daemon, does something.
    Waiting,
    /// The client is gone and owed nothing.
    Over,
}

impl Client {
    fn say(&mut self, text: &str) {
        self.unsent.extend(text.as_bytes());
    }

    fn advance(&mut self) -> io::Result<Step> {
        self.transmit()?;
        if !self.unsent.is_empty() || self.asking {
            return Ok(Step::Waiting);
        }
        let line = self.lines.next_line();
        let line = line.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        match line {
            Some(line) => Ok(Step::Request(Request::decode(&line))),
            None if self.ended => Ok(Step::Over),
            None => self.receive(),
        }
    }

    fn receive(&mut self) -> io::Result<Step> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(len) => self.lines.push(buffer.get(..len).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Waiting),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(Step::Moved)
    }

    fn transmit(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(self.unsent.as_slices().0) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.unsent.is_empty() {
            self.unsent.shrink_to(0); // a large answer must not stay in memory
        }
        Ok(())
    }
}

/// What a call asks of the daemon; nothing for a subscription, which is the socket's own matter.
fn ask(call: Call) -> Option<Ask> {
    use api::Request;
    Some(Ask::Core(match call {
        Call::ProcessInfo => Request::ProcessInfo,
        Call::ControllerInfo(seven) => Request::ControllerInfo(fields(seven)),
        Call::ListControllers { detailed } => Request::ListControllers { detailed },
        Call::GetLogPages(seven) => Request::GetLogPages(fields(seven)),
        Call::GetAllLogPages { detailed } => Request::GetAllLogPages { detailed },
        Call::GetTron => Request::GetTron,
        Call::SetTron(on) => Request::SetTron(on),
        Call::GetLogLevel => Request::GetLogLevel,
        Call::ReloadConfig => return Some(Ask::Reload),
        Call::Rescan => return Some(Ask::Rescan),
        Call::Subscribe => return None,
    }))
}

#[cfg(test)]
mod tests;
