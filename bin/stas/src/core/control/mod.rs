// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control-socket protocol: what the daemons and their clients say without a message bus.
//!
//! Owns the byte form of requests, replies and signals, and the cutting of a stream into lines. Who
//! may connect is left to the socket's mode and to the shell; what the answers contain is left to
//! the cores. One message is one JSON object (RFC 8259) on one line that ends in a line feed, over
//! an `AF_UNIX` stream socket: [`STAFD_SOCKET`], [`STACD_SOCKET`].
//!
//! ```text
//! > {"detailed":true,"id":1,"method":"list_controllers"}
//! < {"id":1,"result":[{"device":"nvme0","transport":"tcp"}]}
//! > {"id":2,"method":"frobnicate"}
//! < {"error":{"name":"org.freedesktop.DBus.Error.UnknownMethod","text":"..."},"id":2}
//! > {"id":3,"method":"subscribe"}
//! < {"id":3,"result":null}
//! < {"device":"nvme0","signal":"log_pages_changed","tid":{"traddr":"192.0.2.1"}}
//! ```
//!
//! | method | further keys | result |
//! |---|---|---|
//! | `process_info` | | object |
//! | `controller_info` | the seven names of [`SEVEN_NAMES`] | object, empty when unknown |
//! | `list_controllers` | `detailed` | list of objects of strings |
//! | `get_log_pages` | the seven | list of objects of strings |
//! | `get_all_log_pages` | `detailed` | list of objects |
//! | `get_tron`, `get_log_level` | | boolean, string |
//! | `set_tron` | `value` (boolean, required) | `null` |
//! | `reload_config`, `rescan` | | `null` |
//! | `subscribe` | | `null`; from then on signals are pushed on this connection |
//!
//! The signals are `log_pages_changed` (`tid`: the seven, `device`), `dc_removed` and
//! `tron_changed` (`value`).
//!
//! Results have the content of the bus members of the same names, as JSON values and not as text.
//! Errors bear the names that the bus uses, so that a client treats both alike. A missing boolean
//! is false, a missing string empty; unknown keys are ignored, so that either side may be newer;
//! a request without `id` gets a reply without. Replies come in the order of the requests, signals
//! anywhere between them. A line beyond its bound ends the connection: nothing after it can be
//! trusted to begin where a message begins.

use std::fmt;

use serde_json::{Map, Value, json};

/// Where stafd listens.
pub const STAFD_SOCKET: &str = "/run/stafd/ctl.sock";
/// Where stacd listens.
pub const STACD_SOCKET: &str = "/run/stacd/ctl.sock";

/// Bytes in one line from a client, without its line feed.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Bytes in one line from a daemon, without its line feed: some 40 000 log page entries.
pub const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The caller may not do that.
pub const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
/// The daemon tried and failed.
pub const FAILED: &str = "org.freedesktop.DBus.Error.Failed";
/// The line is no request, or an argument has the wrong type.
pub const INVALID_ARGS: &str = "org.freedesktop.DBus.Error.InvalidArgs";
/// The answer does not fit into [`REPLY_BYTES_MAX`].
pub const LIMITS_EXCEEDED: &str = "org.freedesktop.DBus.Error.LimitsExceeded";
/// The daemon has no such method.
pub const UNKNOWN_METHOD: &str = "org.freedesktop.DBus.Error.UnknownMethod";

/// The strings that name a controller, in the order of the bus signature.
pub const SEVEN_NAMES: [&str; 7] =
    ["transport", "traddr", "trsvcid", "subsysnqn", "host_traddr", "host_iface", "host_nqn"];

/// One controller's seven strings, in the order of [`SEVEN_NAMES`].
pub type Seven = [String; 7];

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The daemon's state, for people.
    ProcessInfo,
    /// One controller's state.
    ControllerInfo(Seven),
    /// All controllers.
    ListControllers {
        /// With everything that `controller_info` and sysfs tell.
        detailed: bool,
    },
    /// The cached discovery log page of one discovery controller (stafd).
    GetLogPages(Seven),
    /// All cached discovery log pages (stafd).
    GetAllLogPages {
        /// Controllers in their detailed form.
        detailed: bool,
    },
    /// Is tracing on?
    GetTron,
    /// Switch tracing (root only).
    SetTron(bool),
    /// `DEBUG` or `INFO`.
    GetLogLevel,
    /// Read the configuration again (root only).
    ReloadConfig,
    /// Distrust everything known about the kernel and look again (root only).
    Rescan,
    /// Push signals on this connection.
    Subscribe,
}

impl Call {
    /// The `method` of the request, which is also the name of the bus member where there is one.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::ProcessInfo => "process_info",
            Self::ControllerInfo(_) => "controller_info",
            Self::ListControllers { .. } => "list_controllers",
            Self::GetLogPages(_) => "get_log_pages",
            Self::GetAllLogPages { .. } => "get_all_log_pages",
            Self::GetTron => "get_tron",
            Self::SetTron(_) => "set_tron",
            Self::GetLogLevel => "get_log_level",
            Self::ReloadConfig => "reload_config",
            Self::Rescan => "rescan",
            Self::Subscribe => "subscribe",
        }
    }

    /// May only root ask for it? (The socket's mode is no substitute: it may be opened wider.)
    #[must_use]
    pub const fn is_privileged(&self) -> bool {
        matches!(self, Self::SetTron(_) | Self::ReloadConfig | Self::Rescan)
    }
}

/// One line from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Comes back in the reply.
    pub id: Option<u64>,
    /// What is asked for.
    pub call: Call,
}

/// A line that is no request. It is answered by [`reply_error`] and the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// The request's number, where one could be read.
    pub id: Option<u64>,
    /// Name of the error, as on the bus.
    pub name: &'static str,
    /// One clause that says what is wrong.
    pub text: String,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for RequestError {}

impl Request {
    /// The request as a line, with its line feed.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut object = Map::new();
        if let Some(id) = self.id {
            object.insert("id".into(), id.into());
        }
        object.insert("method".into(), self.call.method().into());
        match &self.call {
            Call::ControllerInfo(seven) | Call::GetLogPages(seven) => {
                put_seven(&mut object, seven);
            }
            Call::ListControllers { detailed } | Call::GetAllLogPages { detailed } => {
                object.insert("detailed".into(), (*detailed).into());
            }
            Call::SetTron(value) => {
                object.insert("value".into(), (*value).into());
            }
            _ => {}
        }
        line(&Value::Object(object))
    }

    /// Reads one line, without its line feed.
    ///
    /// # Errors
    /// The line is no JSON object, names no known method, or an argument has the wrong type.
    pub fn decode(bytes: &[u8]) -> Result<Self, RequestError> {
        let refuse = |id, name, text: String| Err(RequestError { id, name, text });
        let object = match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return refuse(None, INVALID_ARGS, "the request is no JSON object".into()),
            Err(error) => {
                return refuse(None, INVALID_ARGS, format!("the request is no JSON: {error}"));
            }
        };
        let id = object.get("id").and_then(Value::as_u64);
        let Some(method) = object.get("method").and_then(Value::as_str) else {
            return refuse(id, INVALID_ARGS, "the request names no method".into());
        };
        match call(method, &object) {
            Ok(Some(call)) => Ok(Self { id, call }),
            Ok(None) => refuse(id, UNKNOWN_METHOD, format!("no method {method:?}")),
            Err(text) => refuse(id, INVALID_ARGS, text),
        }
    }
}

/// The call that `method` and its arguments make; nothing for an unknown method.
fn call(method: &str, object: &Map<String, Value>) -> Result<Option<Call>, String> {
    Ok(Some(match method {
        "process_info" => Call::ProcessInfo,
        "controller_info" => Call::ControllerInfo(take_seven(object)?),
        "list_controllers" => Call::ListControllers { detailed: flag(object, "detailed")? },
        "get_log_pages" => Call::GetLogPages(take_seven(object)?),
        "get_all_log_pages" => Call::GetAllLogPages { detailed: flag(object, "detailed")? },
        "get_tron" => Call::GetTron,
        "set_tron" if object.contains_key("value") => Call::SetTron(flag(object, "value")?),
        "set_tron" => return Err("'value' is missing".into()),
        "get_log_level" => Call::GetLogLevel,
        "reload_config" => Call::ReloadConfig,
        "rescan" => Call::Rescan,
        "subscribe" => Call::Subscribe,
        _ => return Ok(None),
    }))
}

fn flag(object: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match object.get(key) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(format!("'{key}' is no boolean")),
    }
}

fn take_seven(object: &Map<String, Value>) -> Result<Seven, String> {
    let mut seven = Seven::default();
    for (name, place) in SEVEN_NAMES.iter().zip(&mut seven) {
        match object.get(*name) {
            None => {}
            Some(Value::String(text)) => place.clone_from(text),
            Some(_) => return Err(format!("'{name}' is no string")),
        }
    }
    Ok(seven)
}

fn put_seven(object: &mut Map<String, Value>, seven: &Seven) {
    for (name, text) in SEVEN_NAMES.iter().zip(seven) {
        object.insert((*name).into(), text.as_str().into());
    }
}

fn line(value: &Value) -> String {
    let mut text = value.to_string();
    text.push('\n');
    text
}

/// The reply that carries `value`, as a line with its line feed. One that is beyond
/// [`REPLY_BYTES_MAX`] becomes the error [`LIMITS_EXCEEDED`].
#[must_use]
pub fn reply(id: Option<u64>, value: &Value) -> String {
    reply_json(id, &value.to_string())
}

/// As [`reply`], for a result that is JSON text already. The text is taken over unread.
#[must_use]
pub fn reply_json(id: Option<u64>, json: &str) -> String {
    // In JSON text a line break can only be white space between tokens, never part of a string.
    let json = json.replace(['\n', '\r'], " ");
    let text = match id {
        Some(id) => format!("{{\"id\":{id},\"result\":{json}}}\n"),
        None => format!("{{\"result\":{json}}}\n"),
    };
    if text.len() > REPLY_BYTES_MAX + 1 {
        return reply_error(id, LIMITS_EXCEEDED, "the answer is too long");
    }
    text
}

/// The reply that says why there is no result, as a line with its line feed.
#[must_use]
pub fn reply_error(id: Option<u64>, name: &str, text: &str) -> String {
    let mut object = Map::new();
    if let Some(id) = id {
        object.insert("id".into(), id.into());
    }
    object.insert("error".into(), json!({ "name": name, "text": text }));
    line(&Value::Object(object))
}

/// What a daemon tells those who subscribed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A discovery log page was fetched (stafd).
    LogPagesChanged {
        /// The discovery controller.
        seven: Box<Seven>,
        /// Its kernel name.
        device: String,
    },
    /// A reconcile dropped at least one discovery controller (stafd).
    DcRemoved,
    /// Tracing was switched.
    TronChanged(bool),
}

impl Signal {
    /// The signal as a line, with its line feed.
    #[must_use]
    pub fn encode(&self) -> String {
        line(&match self {
            Self::LogPagesChanged { seven, device } => {
                let mut tid = Map::new();
                put_seven(&mut tid, seven);
                json!({ "signal": "log_pages_changed", "tid": tid, "device": device })
            }
            Self::DcRemoved => json!({ "signal": "dc_removed" }),
            Self::TronChanged(value) => json!({ "signal": "tron_changed", "value": value }),
        })
    }

    fn from_object(name: &str, object: &Map<String, Value>) -> Result<Option<Self>, String> {
        Ok(Some(match name {
            "log_pages_changed" => {
                let tid = match object.get("tid") {
                    None => Seven::default(),
                    Some(Value::Object(tid)) => take_seven(tid)?,
                    Some(_) => return Err("'tid' is no object".into()),
                };
                let device = object.get("device").and_then(Value::as_str).unwrap_or_default();
                Self::LogPagesChanged { seven: Box::new(tid), device: device.into() }
            }
            "dc_removed" => Self::DcRemoved,
            "tron_changed" => Self::TronChanged(flag(object, "value")?),
            _ => return Ok(None),
        }))
    }
}

/// One line from a daemon.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// A request was carried out.
    Result {
        /// Its number.
        id: Option<u64>,
        /// What came out.
        value: Value,
    },
    /// A request failed.
    Error {
        /// Its number; missing also when the daemon could not read one.
        id: Option<u64>,
        /// Name of the error, as on the bus.
        name: String,
        /// What the daemon says about it.
        text: String,
    },
    /// Something happened.
    Signal(Signal),
    /// A signal of a newer daemon.
    Unknown,
}

impl Message {
    /// Reads one line, without its line feed.
    ///
    /// # Errors
    /// A clause that says in what way the line is none of the three kinds of message.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut object = match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err("the message is no JSON object".into()),
            Err(error) => return Err(format!("the message is no JSON: {error}")),
        };
        let id = object.get("id").and_then(Value::as_u64);
        if let Some(value) = object.remove("result") {
            return Ok(Self::Result { id, value });
        }
        if let Some(error) = object.get("error") {
            let part = |key| error.get(key).and_then(Value::as_str).map(str::to_owned);
            let name = part("name").ok_or("the error has no name")?;
            return Ok(Self::Error { id, name, text: part("text").unwrap_or_default() });
        }
        let Some(name) = object.get("signal").and_then(Value::as_str) else {
            return Err("the message is neither result nor error nor signal".into());
        };
        Ok(Signal::from_object(name, &object)?.map_or(Self::Unknown, Self::Signal))
    }
}

/// A line was longer than allowed: the connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong {
    /// The bound, in bytes.
    pub bytes_max: usize,
}

impl fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line longer than {} bytes", self.bytes_max)
    }
}

impl std::error::Error for LineTooLong {}

/// Cuts a stream into lines. Holds at most one line of the bound plus what one `push` brought.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Bytes at the front that were handed out.
    start: usize,
    /// Bytes from `start` that are known to hold no line feed.
    scanned: usize,
    bytes_max: usize,
}

impl Lines {
    /// Nothing received yet; lines may have [`REQUEST_BYTES_MAX`] or [`REPLY_BYTES_MAX`] bytes.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, bytes_max }
    }

    /// Appends what was read. Take the lines out before the next call.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line, without its end (a line feed, or carriage return and line feed).
    /// Empty lines are left out.
    ///
    /// # Errors
    /// The line, whole or not, is longer than the bound.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineTooLong> {
        let too_long = LineTooLong { bytes_max: self.bytes_max };
        loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            let fresh = rest.get(self.scanned..).unwrap_or_default();
            let Some(end) = fresh.iter().position(|byte| *byte == b'\n') else {
                self.scanned = rest.len();
                return if rest.len() > self.bytes_max { Err(too_long) } else { Ok(None) };
            };
            let end = self.scanned + end;
            if end > self.bytes_max {
                return Err(too_long);
            }
            let line = rest.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
            self.start += end + 1;
            self.scanned = 0;
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests;
