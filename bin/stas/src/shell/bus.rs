// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemons on the message bus: what they offer, and how stacd hears of stafd there.
//!
//! Owns the tables of members, which are those of the reference, and the translation between bus
//! values and the core's requests and replies. The connection looks after itself; a host without a
//! bus is a normal host. Members that change something are for root: the bus' policy says so, and
//! the caller's user id is checked here as well.

use std::io;
use std::time::Duration;

use plinth::bus::{
    Access, Address, Arg, Args, Bus, CallId, Config, Event, Interface, Match, Method, Object,
    Operation, Property, Received, Refusal, Signal, Token, Typed, Value, error,
};
use plinth::event::{Loop, Progress, TimerId};
use plinth::time::Time;

use super::ask::{Ask, fields, seven};
use super::key::Key;
use crate::core::api::{Reply, Request};
use crate::core::port::{Notice, StafdEvent};
use crate::core::settings::Role;

/// How long stafd may take for an answer.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);

const STAF: &str = "org.nvmexpress.staf";
const STAF_PATH: &str = "/org/nvmexpress/staf";
const STAF_DEBUG: &str = "org.nvmexpress.staf.debug";
const STAC: &str = "org.nvmexpress.stac";
const STAC_PATH: &str = "/org/nvmexpress/stac";
const STAC_DEBUG: &str = "org.nvmexpress.stac.debug";

const fn arg(name: &'static str, signature: &'static str) -> Arg {
    Arg { name, signature }
}

const fn method(name: &'static str, inputs: &'static [Arg], outputs: &'static [Arg]) -> Method {
    Method { name, inputs, outputs, access: Access::Anyone }
}

const SEVEN: [Arg; 7] = [
    arg("transport", "s"),
    arg("traddr", "s"),
    arg("trsvcid", "s"),
    arg("subsysnqn", "s"),
    arg("host_traddr", "s"),
    arg("host_iface", "s"),
    arg("host_nqn", "s"),
];
const EIGHT: [Arg; 8] = {
    let [a, b, c, d, e, f, g] = SEVEN;
    [a, b, c, d, e, f, g, arg("device", "s")]
};
const DETAILED: [Arg; 1] = [arg("detailed", "b")];

const LIST_CONTROLLERS: Method =
    method("list_controllers", &DETAILED, &[arg("controller_list", "aa{ss}")]);

const DEBUG_METHODS: [Method; 4] = [
    method("process_info", &[], &[arg("info_json", "s")]),
    method("controller_info", &SEVEN, &[arg("info_json", "s")]),
    Method { name: "ReloadConfig", inputs: &[], outputs: &[], access: Access::Root },
    Method { name: "Rescan", inputs: &[], outputs: &[], access: Access::Root },
];

const DEBUG_PROPERTIES: [Property; 2] = [
    Property { name: "tron", signature: "b", write: Some(Access::Root), emits_changed: true },
    Property { name: "log_level", signature: "s", write: None, emits_changed: true },
];

const fn debug(name: &'static str) -> Interface {
    Interface { name, methods: &DEBUG_METHODS, signals: &[], properties: &DEBUG_PROPERTIES }
}

static STAF_OBJECTS: [Object; 1] = [Object {
    path: STAF_PATH,
    interfaces: &[
        Interface {
            name: STAF,
            methods: &[
                LIST_CONTROLLERS,
                method("get_log_pages", &SEVEN, &[arg("log_pages", "aa{ss}")]),
                method("get_all_log_pages", &DETAILED, &[arg("log_pages_json", "s")]),
            ],
            signals: &[
                Signal { name: "log_pages_changed", args: &EIGHT },
                Signal { name: "dc_removed", args: &[] },
            ],
            properties: &[],
        },
        debug(STAF_DEBUG),
    ],
}];

static STAC_OBJECTS: [Object; 1] = [Object {
    path: STAC_PATH,
    interfaces: &[
        Interface { name: STAC, methods: &[LIST_CONTROLLERS], signals: &[], properties: &[] },
        debug(STAC_DEBUG),
    ],
}];

static STAF_SIGNALS: [Match; 1] =
    [Match { sender: Some(STAF), path: Some(STAF_PATH), interface: STAF, member: None }];

/// What happened on the bus, for the daemon.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A client asks.
    Call(CallId, Ask),
    /// The name of this daemon belongs to another process.
    NameTaken,
    /// stafd has this owner on the bus now (stacd only).
    Stafd(Option<String>),
    /// stafd's signal (stacd only).
    Heard(StafdEvent),
    /// The end of [`Front::query`].
    Answer(Token, Result<String, String>),
}

/// A daemon's connection to the bus.
pub struct Front {
    bus: Bus,
    role: Role,
    wake: Option<(Time, TimerId)>,
}

impl Front {
    /// A connection that is made, and made again, in the background.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn new(lp: &mut Loop<Key>, role: Role, address: Address) -> io::Result<Self> {
        let config = match role {
            Role::Finder => Config {
                address,
                own_name: Some(STAF),
                objects: &STAF_OBJECTS,
                watch_names: &[],
                matches: &[],
            },
            Role::Connector => Config {
                address,
                own_name: Some(STAC),
                objects: &STAC_OBJECTS,
                watch_names: &[STAF],
                matches: &STAF_SIGNALS,
            },
        };
        let bus = Bus::new(&config)?;
        lp.watch(bus.fd(), Key::Bus)?;
        Ok(Self { bus, role, wake: None })
    }

    /// The name that this daemon owns.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.role {
            Role::Finder => STAF,
            Role::Connector => STAC,
        }
    }

    /// The connection has news.
    pub fn ready(&mut self, lp: &Loop<Key>) -> Progress {
        self.bus.ready(lp.now())
    }

    /// The time asked for has come.
    pub fn woken(&mut self, lp: &Loop<Key>) {
        self.wake = None;
        self.bus.wake(lp.now());
    }

    /// Arms the timer. To be called once a turn, after everything else.
    pub fn settle(&mut self, lp: &mut Loop<Key>) {
        let wanted = self.bus.next_wake();
        if wanted != self.wake.map(|(at, _)| at) {
            self.wake.take().map(|(_, timer)| lp.cancel(timer));
            self.wake = wanted.map(|at| (at, lp.set_timer(at, Key::BusWake)));
        }
    }

    /// What happened next.
    pub fn next_news(&mut self) -> Option<News> {
        loop {
            let news = match self.bus.next_event()? {
                Event::Call(call) => match ask(call.operation) {
                    Some(ask) => Some(News::Call(call.id, ask)),
                    None => {
                        self.bus.fail(call.id, error::UNKNOWN_METHOD, "not offered");
                        None
                    }
                },
                Event::NameRefused(Refusal::Taken) | Event::NameLost => Some(News::NameTaken),
                Event::NameRefused(Refusal::Denied(why)) => {
                    log::error!("Cannot own {} on the message bus: {why}", self.name());
                    None
                }
                Event::OwnerChanged { owner, .. } => Some(News::Stafd(owner)),
                Event::Signal(signal) => heard(&signal).map(News::Heard),
                Event::Reply { token, result } => {
                    let text = result.map_err(|error| error.to_string()).and_then(|values| {
                        <(String,)>::from_values(values)
                            .map(|(text,)| text)
                            .ok_or_else(|| "the answer has another type".to_owned())
                    });
                    Some(News::Answer(token, text))
                }
                Event::Up => {
                    log::debug!("Connected to the message bus");
                    None
                }
                Event::Down => {
                    log::debug!("Lost the message bus");
                    None
                }
                _ => None,
            };
            if news.is_some() {
                return news;
            }
        }
    }

    /// Answers a client.
    pub fn reply(&mut self, id: CallId, reply: Reply) {
        match values(reply) {
            Ok(values) => self.bus.reply(id, &values),
            Err((name, text)) => self.bus.fail(id, name, &text),
        }
    }

    /// Asks stafd for all log pages; the outcome is [`News::Answer`], in time.
    pub fn query(&mut self, now: Time) -> Token {
        let request = plinth::bus::Request::new(STAF, STAF_PATH, STAF, "get_all_log_pages");
        self.bus.call(&request.with(vec![Value::Bool(true)]), now + ANSWER_LIMIT)
    }

    /// Tells whoever listens.
    pub fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::LogPagesChanged { tid, device } => {
                let mut args: Vec<Value> = seven(tid.fields()).map(Value::Str).into();
                args.push(Value::Str(device.clone()));
                self.bus.emit(STAF_PATH, STAF, "log_pages_changed", &args);
            }
            Notice::DcRemoved => {
                self.bus.emit(STAF_PATH, STAF, "dc_removed", &[]);
            }
            Notice::Tron(on) => self.publish_tron(*on),
        }
    }

    /// Sets the values that clients read.
    pub fn publish_tron(&mut self, on: bool) {
        let (path, interface) = match self.role {
            Role::Finder => (STAF_PATH, STAF_DEBUG),
            Role::Connector => (STAC_PATH, STAC_DEBUG),
        };
        let level = if on { "DEBUG" } else { "INFO" };
        self.bus.publish(path, interface, "tron", Value::Bool(on));
        self.bus.publish(path, interface, "log_level", Value::Str(level.to_owned()));
    }
}

/// What a call that fits the tables asks for.
fn ask(operation: Operation) -> Option<Ask> {
    let (name, args) = match operation {
        Operation::Method { name, args } => (name, args),
        Operation::Set { property: "tron", value } => {
            return Some(Ask::Core(Request::SetTron(value.get()?)));
        }
        Operation::Set { .. } => return None,
    };
    Some(Ask::Core(match name {
        "process_info" => Request::ProcessInfo,
        "controller_info" => Request::ControllerInfo(fields(strings(args)?)),
        "list_controllers" => Request::ListControllers { detailed: flag(args)? },
        "get_log_pages" => Request::GetLogPages(fields(strings(args)?)),
        "get_all_log_pages" => Request::GetAllLogPages { detailed: flag(args)? },
        "ReloadConfig" => return Some(Ask::Reload),
        "Rescan" => return Some(Ask::Rescan),
        _ => return None,
    }))
}

fn flag(args: Vec<Value>) -> Option<bool> {
    <(bool,)>::from_values(args).map(|(flag,)| flag)
}

fn strings(args: Vec<Value>) -> Option<[String; 7]> {
    let strings: Option<Vec<String>> = args.into_iter().map(Value::get).collect();
    strings?.try_into().ok()
}

/// The values of an answer, or the name and text of an error.
fn values(reply: Reply) -> Result<Vec<Value>, (&'static str, String)> {
    Ok(match reply {
        Reply::Json(text) | Reply::Text(text) => vec![Value::Str(text)],
        Reply::Dicts(list) => vec![list.into_value()],
        Reply::Bool(value) => vec![Value::Bool(value)],
        Reply::Unit => Vec::new(),
        Reply::NotReady(text) => return Err((error::FAILED, text)),
        Reply::Unsupported => return Err((error::UNKNOWN_METHOD, "not offered".to_owned())),
    })
}

fn heard(signal: &Received) -> Option<StafdEvent> {
    match signal.member.as_str() {
        "log_pages_changed" => Some(StafdEvent::LogPagesChanged),
        "dc_removed" => Some(StafdEvent::DcRemoved),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use plinth::bus::signature_of;

    use super::*;

    /// All members of a table as `interface member in out`.
    fn members(objects: &[Object]) -> Vec<String> {
        let joined = |args: &[Arg]| args.iter().map(|arg| arg.signature).collect::<String>();
        let mut found = Vec::new();
        for interface in objects.iter().flat_map(|object| object.interfaces) {
            let name = interface.name;
            for method in interface.methods {
                let (input, output) = (joined(method.inputs), joined(method.outputs));
                found.push(format!("{name} {} ({input}) ({output})", method.name));
            }
            for signal in interface.signals {
                found.push(format!("{name} {} ({})", signal.name, joined(signal.args)));
            }
            for property in interface.properties {
                found.push(format!("{name} {} {}", property.name, property.signature));
            }
        }
        found
    }

    #[test]
    fn the_members_are_those_of_the_reference() {
        assert_eq!(
            members(&STAF_OBJECTS),
            [
                "org.nvmexpress.staf list_controllers (b) (aa{ss})",
                "org.nvmexpress.staf get_log_pages (sssssss) (aa{ss})",
                "org.nvmexpress.staf get_all_log_pages (b) (s)",
                "org.nvmexpress.staf log_pages_changed (ssssssss)",
                "org.nvmexpress.staf dc_removed ()",
                "org.nvmexpress.staf.debug process_info () (s)",
                "org.nvmexpress.staf.debug controller_info (sssssss) (s)",
                "org.nvmexpress.staf.debug ReloadConfig () ()",
                "org.nvmexpress.staf.debug Rescan () ()",
                "org.nvmexpress.staf.debug tron b",
                "org.nvmexpress.staf.debug log_level s",
            ]
        );
        let connector = members(&STAC_OBJECTS);
        assert_eq!(connector[0], "org.nvmexpress.stac list_controllers (b) (aa{ss})");
        assert!(connector[1..].iter().all(|member| member.starts_with(STAC_DEBUG)));
        assert_eq!(connector.len(), 7);
    }

    #[test]
    fn what_changes_something_is_for_root() {
        for interface in STAF_OBJECTS.iter().chain(&STAC_OBJECTS).flat_map(|o| o.interfaces) {
            for method in interface.methods {
                let mutating = ["ReloadConfig", "Rescan"].contains(&method.name);
                assert_eq!(method.access == Access::Root, mutating, "{}", method.name);
            }
            for property in interface.properties {
                let writable = property.name == "tron";
                assert_eq!(property.write, writable.then_some(Access::Root));
            }
        }
    }

    fn call(name: &'static str, args: Vec<Value>) -> Option<Ask> {
        ask(Operation::Method { name, args })
    }

    #[test]
    fn every_method_of_the_tables_is_understood() {
        for method in STAF_OBJECTS[0].interfaces.iter().flat_map(|interface| interface.methods) {
            let args = method.inputs.iter().map(|arg| match arg.signature {
                "b" => Value::Bool(true),
                _ => Value::Str(arg.name.to_owned()),
            });
            assert!(call(method.name, args.collect()).is_some(), "{}", method.name);
        }
        let args = SEVEN.map(|arg| Value::Str(arg.name.to_owned())).to_vec();
        let Some(Ask::Core(Request::ControllerInfo(fields))) = call("controller_info", args) else {
            panic!("controller_info");
        };
        assert_eq!(seven(&fields), SEVEN.map(|arg| arg.name));
        let set = Operation::Set { property: "tron", value: Value::Bool(true) };
        assert_eq!(ask(set), Some(Ask::Core(Request::SetTron(true))));
    }

    #[test]
    fn answers_have_the_signature_of_their_method() {
        let dict = BTreeMap::from([("device".to_owned(), "nvme0".to_owned())]);
        for (reply, signature) in [
            (Reply::Dicts(vec![dict]), "aa{ss}"),
            (Reply::Dicts(Vec::new()), "aa{ss}"),
            (Reply::Json("{}".to_owned()), "s"),
            (Reply::Unit, ""),
        ] {
            assert_eq!(signature_of(&values(reply).unwrap()), signature);
        }
        assert_eq!(values(Reply::Unsupported).unwrap_err().0, error::UNKNOWN_METHOD);
    }
}
