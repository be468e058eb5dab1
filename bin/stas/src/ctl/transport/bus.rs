// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way over the message bus.
//!
//! Owns the translation of calls into the members of the daemons' interfaces, and of their answers
//! into the form that [`crate::core::control`] describes. The connection itself is
//! [`plinth::bus::client`]'s.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use plinth::bus::client::Client;
use plinth::bus::{self, Address, Request};
use serde_json::Value;

use super::{CallError, Connection, Daemon};
use crate::core::control::{Call, Seven};

/// The bus itself: its name, object and interface.
const BUS: (&str, &str, &str) =
    ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus");
/// The interface of properties.
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The bus's word for a daemon that went away before it answered.
const NO_REPLY: &str = "org.freedesktop.DBus.Error.NoReply";

/// How long the bus may take to tell about a process.
const PEER_WITHIN: Duration = Duration::from_secs(5);

/// A connection to the bus. Whether the daemon is on it shows when it is called.
#[derive(Debug)]
pub struct Bus {
    daemon: &'static Daemon,
    client: Client,
}

impl Bus {
    /// Connects to the system bus.
    ///
    /// # Errors
    /// [`CallError::NotRunning`] when there is no bus.
    pub fn connect(daemon: &'static Daemon, limit: Duration) -> Result<Self, CallError> {
        let client = Client::connect(&Address::System, limit).map_err(|_| absent(daemon))?;
        Ok(Self { daemon, client })
    }

    /// The daemon's process.
    fn owner(&self, limit: Duration) -> Result<Option<u32>, CallError> {
        let request = Request::new(BUS.0, BUS.1, BUS.2, "GetConnectionUnixProcessID")
            .with(vec![bus::Value::Str(self.daemon.bus_name.into())]);
        match self.client.call(&request, limit) {
            Ok(answer) => Ok(answer.into_iter().next().and_then(bus::Value::get)),
            Err(error) if error.is_absent() => Err(absent(self.daemon)),
            Err(_) => Ok(None), // no process to be shown is no reason not to ask the daemon
        }
    }
}

fn absent(daemon: &Daemon) -> CallError {
    CallError::NotRunning { daemon: daemon.name, way: super::BUS_WAY.into() }
}

impl Connection for Bus {
    fn call(&mut self, call: &Call, limit: Duration) -> Result<Value, CallError> {
        let Some(request) = request(self.daemon, call) else {
            return Ok(Value::Null);
        };
        let daemon = self.daemon.name;
        let answer = self.client.call(&request, limit).map_err(|error| match error {
            error if error.is_absent() => absent(self.daemon),
            bus::CallError::TimedOut => CallError::Silent { daemon, limit },
            bus::CallError::Remote { name, text } if name != NO_REPLY => {
                CallError::from_reply(daemon, name, text)
            }
            error => CallError::Broken { daemon, text: error.to_string() },
        })?;
        result(call, answer).map_err(|text| CallError::Broken { daemon, text })
    }

    /// The daemons have no signal on the bus that would tell of connections: only looks whether the
    /// daemon is there.
    fn subscribe(&mut self, limit: Duration) -> Result<(), CallError> {
        self.owner(limit).map(drop)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn take_signals(&mut self) -> Result<bool, CallError> {
        Ok(false)
    }

    fn peer(&mut self) -> Option<u32> {
        self.owner(PEER_WITHIN).ok().flatten()
    }
}

/// The call as a request; there is none for what the bus does not know.
fn request(daemon: &Daemon, call: &Call) -> Option<Request> {
    let on = |interface: &str, member: &str, args: Vec<bus::Value>| {
        Request::new(daemon.bus_name, daemon.object, interface, member).with(args)
    };
    let main = daemon.bus_name;
    let debug = daemon.debug;
    let text = |text: &str| bus::Value::Str(text.into());
    let method = call.method();
    Some(match call {
        Call::ProcessInfo => on(debug, method, Vec::new()),
        Call::ControllerInfo(seven) => on(debug, method, strings(seven)),
        Call::GetLogPages(seven) => on(main, method, strings(seven)),
        Call::ListControllers { detailed } | Call::GetAllLogPages { detailed } => {
            on(main, method, vec![bus::Value::Bool(*detailed)])
        }
        Call::GetTron => on(PROPERTIES, "Get", vec![text(debug), text("tron")]),
        Call::GetLogLevel => on(PROPERTIES, "Get", vec![text(debug), text("log_level")]),
        Call::SetTron(value) => {
            let value = bus::Value::Variant(Box::new(bus::Value::Bool(*value)));
            on(PROPERTIES, "Set", vec![text(debug), text("tron"), value])
        }
        Call::ReloadConfig => on(debug, "ReloadConfig", Vec::new()),
        Call::Rescan => on(debug, "Rescan", Vec::new()),
        Call::Subscribe => return None,
    })
}

fn strings(seven: &Seven) -> Vec<bus::Value> {
    seven.iter().cloned().map(bus::Value::Str).collect()
}

/// What the answer means.
fn result(call: &Call, answer: Vec<bus::Value>) -> Result<Value, String> {
    let method = call.method();
    let odd = || format!("the answer to {method} has the wrong type");
    let mut values = answer.into_iter();
    let Some(first) = values.next() else {
        return match call {
            Call::SetTron(_) | Call::ReloadConfig | Call::Rescan => Ok(Value::Null),
            _ => Err(odd()),
        };
    };
    match call {
        Call::ProcessInfo | Call::ControllerInfo(_) | Call::GetAllLogPages { .. } => {
            let text: String = first.get().ok_or_else(odd)?;
            serde_json::from_str(&text)
                .map_err(|error| format!("the answer to {method} is no JSON: {error}"))
        }
        Call::ListControllers { .. } | Call::GetLogPages(_) => {
            let list: Vec<BTreeMap<String, String>> = first.get().ok_or_else(odd)?;
            let dictionary = |map: BTreeMap<String, String>| {
                Value::Object(map.into_iter().map(|(key, text)| (key, text.into())).collect())
            };
            Ok(list.into_iter().map(dictionary).collect())
        }
        Call::GetTron | Call::GetLogLevel => match first {
            bus::Value::Variant(inner) => match *inner {
                bus::Value::Bool(value) => Ok(value.into()),
                bus::Value::Str(text) => Ok(text.into()),
                _ => Err(odd()),
            },
            _ => Err(odd()),
        },
        _ => Ok(Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use plinth::bus::Typed;
    use serde_json::json;

    use super::*;
    use crate::ctl::transport::{STACD, STAFD};

    fn seven() -> Seven {
        ["tcp", "192.0.2.1", "8009", "nqn.dc", "", "eth0", "nqn.host"].map(str::to_owned)
    }

    #[test]
    fn each_call_is_the_member_that_the_reference_has() {
        for (call, interface, member, signature) in [
            (Call::ProcessInfo, "org.nvmexpress.staf.debug", "process_info", ""),
            (
                Call::ControllerInfo(seven()),
                "org.nvmexpress.staf.debug",
                "controller_info",
                "sssssss",
            ),
            (
                Call::ListControllers { detailed: true },
                "org.nvmexpress.staf",
                "list_controllers",
                "b",
            ),
            (Call::GetLogPages(seven()), "org.nvmexpress.staf", "get_log_pages", "sssssss"),
            (
                Call::GetAllLogPages { detailed: false },
                "org.nvmexpress.staf",
                "get_all_log_pages",
                "b",
            ),
            (Call::GetTron, PROPERTIES, "Get", "ss"),
            (Call::GetLogLevel, PROPERTIES, "Get", "ss"),
            (Call::SetTron(true), PROPERTIES, "Set", "ssv"),
            (Call::ReloadConfig, "org.nvmexpress.staf.debug", "ReloadConfig", ""),
            (Call::Rescan, "org.nvmexpress.staf.debug", "Rescan", ""),
        ] {
            let request = request(&STAFD, &call).expect("a member");
            assert_eq!(request.destination, "org.nvmexpress.staf");
            assert_eq!(request.path, "/org/nvmexpress/staf");
            assert_eq!((request.interface.as_str(), request.member.as_str()), (interface, member));
            assert_eq!(bus::signature_of(&request.args), signature, "{member}");
            assert!(!request.activate, "a client starts no daemon");
        }
        assert_eq!(request(&STAFD, &Call::Subscribe), None);
        let request = request(&STACD, &Call::ProcessInfo).expect("a member");
        assert_eq!(request.interface, "org.nvmexpress.stac.debug");
    }

    #[test]
    fn the_seven_strings_keep_their_order() {
        let request = request(&STAFD, &Call::GetLogPages(seven())).expect("a member");
        let texts: Vec<&str> = request.args.iter().filter_map(bus::Value::as_str).collect();
        assert_eq!(texts, seven());
    }

    #[test]
    fn answers_take_the_form_of_the_control_socket() {
        let text = |text: &str| vec![bus::Value::Str(text.into())];
        let variant = |value| vec![bus::Value::Variant(Box::new(value))];
        let list = vec![BTreeMap::from([("device".to_owned(), "nvme0".to_owned())])];
        for (call, answer, expected) in [
            (Call::ProcessInfo, text("{\"tron\": false}"), json!({ "tron": false })),
            (Call::ControllerInfo(seven()), text("{}"), json!({})),
            (Call::GetAllLogPages { detailed: true }, text("[]"), json!([])),
            (
                Call::ListControllers { detailed: false },
                vec![list.into_value()],
                json!([{ "device": "nvme0" }]),
            ),
            (
                Call::GetLogPages(seven()),
                vec![Vec::<BTreeMap<String, String>>::new().into_value()],
                json!([]),
            ),
            (Call::GetTron, variant(bus::Value::Bool(true)), json!(true)),
            (Call::GetLogLevel, variant(bus::Value::Str("INFO".into())), json!("INFO")),
            (Call::SetTron(true), Vec::new(), Value::Null),
            (Call::Rescan, Vec::new(), Value::Null),
        ] {
            assert_eq!(result(&call, answer), Ok(expected), "{}", call.method());
        }
    }

    #[test]
    fn answers_of_another_type_are_refused() {
        for call in [
            Call::ProcessInfo,
            Call::ListControllers { detailed: false },
            Call::GetLogPages(seven()),
            Call::GetTron,
        ] {
            for answer in [
                vec![],
                vec![bus::Value::Uint32(7)],
                vec![bus::Value::Str("{\"half\":".into())],
                vec![bus::Value::Variant(Box::new(bus::Value::Byte(1)))],
                vec![vec!["x".to_owned()].into_value()],
            ] {
                let error = result(&call, answer).expect_err("refused");
                assert!(error.contains(call.method()), "{error}");
            }
        }
    }
}
