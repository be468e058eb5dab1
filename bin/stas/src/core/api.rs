// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemons' interface, free of any transport: requests in, replies out.
//!
//! Owns what the dictionaries and JSON documents of the bus (and of the control socket, which says
//! the same) contain. All values of controller dictionaries are text, as the reference has them.
//! No secret ever appears: where one is configured, `***` stands for it.

use std::collections::BTreeMap;

use log::Level;
use plinth::time::Time;
use serde_json::{Map, Value, json};

use super::base::Base;
use super::controller::{Controller, State};
use super::dc::{Dc, Origin, python_bool};
use super::finder::Finder;
use super::fleet::Fleet;
use super::ioc::Ioc;
use super::logpage::Entry;
use super::port::Action;
use super::report;
use super::settings::Parameters;
use super::tid::Fields;
use super::{cid, python};

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `process_info`.
    ProcessInfo,
    /// `controller_info` of one controller.
    ControllerInfo(Fields),
    /// `list_controllers`.
    ListControllers {
        /// With everything that is known, and what sysfs shows.
        detailed: bool,
    },
    /// `get_log_pages` of one discovery controller (stafd).
    GetLogPages(Fields),
    /// `get_all_log_pages` (stafd).
    GetAllLogPages {
        /// With everything that is known of the controllers.
        detailed: bool,
    },
    /// Property `tron`.
    GetTron,
    /// Property `tron`, set.
    SetTron(bool),
    /// Property `log_level`.
    GetLogLevel,
}

/// What a client gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A JSON document as text.
    Json(String),
    /// A list of dictionaries.
    Dicts(Vec<BTreeMap<String, String>>),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// Done.
    Unit,
    /// Nothing can be said yet; ask again.
    NotReady(String),
    /// This daemon has no such thing.
    Unsupported,
}

/// The live attributes of kernel controllers.
pub trait Sysfs {
    /// The text of `/sys/class/nvme/<device>/<name>` without blanks around it; `None` when it
    /// cannot be read.
    fn attribute(&self, device: &str, name: &str) -> Option<String>;
}

/// A role that has something to add to its controllers' dictionaries.
pub(super) trait Describe: super::fleet::Role {
    /// Additions to `controller_info`.
    fn info(&self, now: Time, base: &Base, into: &mut Dict);
    /// Additions to `list_controllers` with details.
    fn details(&self, into: &mut Dict);
}

pub(super) type Dict = BTreeMap<String, String>;

fn put(dict: &mut Dict, key: &str, value: impl Into<String>) {
    dict.insert(key.to_owned(), value.into());
}

fn optional<T: ToString>(dict: &mut Dict, key: &str, value: Option<T>) {
    if let Some(value) = value {
        dict.insert(key.to_owned(), value.to_string());
    }
}

/// The overrides of a controller, under the names that its configuration entry uses.
fn overrides(parameters: &Parameters, dict: &mut Dict) {
    let p = parameters;
    let switch = |value: Option<bool>| value.map(python_bool);
    let secret = |present: bool| present.then_some("***");
    optional(dict, "hdr-digest", switch(p.hdr_digest));
    optional(dict, "data-digest", switch(p.data_digest));
    optional(dict, "disable-sqflow", switch(p.disable_sqflow));
    optional(dict, "tls", switch(p.tls));
    optional(dict, "kato", p.kato);
    optional(dict, "queue-size", p.queue_size);
    optional(dict, "nr-io-queues", p.nr_io_queues);
    optional(dict, "nr-write-queues", p.nr_write_queues);
    optional(dict, "nr-poll-queues", p.nr_poll_queues);
    optional(dict, "reconnect-delay", p.reconnect_delay);
    optional(dict, "ctrl-loss-tmo", p.ctrl_loss_tmo);
    optional(dict, "fast-io-fail-tmo", p.fast_io_fail_tmo);
    optional(dict, "tos", p.tos);
    optional(dict, "host-id", p.host_id.as_deref());
    optional(dict, "dhchap-secret", secret(p.dhchap_secret.is_some()));
    optional(dict, "dhchap-ctrl-secret", secret(p.dhchap_ctrl_secret.is_some()));
    optional(dict, "keyring", secret(p.keyring.is_some()));
    optional(dict, "tls-key", secret(p.tls_key.is_some()));
}

/// `list_controllers` without details.
fn brief<R>(controller: &Controller<R>) -> Dict {
    let mut dict = Dict::new();
    for (name, text) in controller.tid.fields().pairs() {
        put(&mut dict, name, text);
    }
    put(&mut dict, "device", controller.device_name());
    overrides(&controller.overrides, &mut dict);
    dict
}

/// `controller_info`.
fn info<R: Describe>(controller: &Controller<R>, now: Time, base: &Base) -> Dict {
    let mut dict = brief(controller);
    put(&mut dict, "connect attempts", controller.attempts.to_string());
    put(&mut dict, "retry connect timer", controller.retry.text(now));
    if matches!(controller.state, State::Connecting(_)) {
        let failures = controller.attempts.saturating_sub(1).to_string();
        let pairs = [
            ("fail count", failures),
            ("completed", python_bool(false)),
            ("alive", python_bool(true)),
        ];
        put(&mut dict, "connect operation", python::dict(pairs));
    }
    controller.role.info(now, base, &mut dict);
    dict
}

/// `list_controllers` with details.
fn details<R: Describe>(
    controller: &Controller<R>,
    now: Time,
    base: &Base,
    sysfs: &dyn Sysfs,
) -> Dict {
    let mut dict = info(controller, now, base);
    let device = controller.device();
    let read = |name: &str| device.and_then(|device| sysfs.attribute(&device.name, name));
    for name in ["hostid", "hostnqn", "model", "serial", "dctype", "cntrltype"] {
        put(&mut dict, name, read(name).filter(|text| text != "(efault)").unwrap_or_default());
    }
    put(&mut dict, "connected", python_bool(device.is_some()));
    put(&mut dict, "state", read("state").unwrap_or_default());
    if let State::Alias(_) = controller.state {
        put(&mut dict, "alias", python_bool(true));
    }
    if let Some(applied) = &controller.applied {
        let effective = controller.overrides.over(&base.config.settings.parameters);
        let flow = applied.disable_sqflow.filter(|_| controller.role.may_disable_sqflow());
        let effective =
            Parameters { disable_sqflow: effective.disable_sqflow.or(flow), ..effective };
        if effective != *applied {
            put(&mut dict, "config-stale", python_bool(true));
        }
    }
    controller.role.details(&mut dict);
    dict
}

impl Describe for Dc {
    fn info(&self, now: Time, base: &Base, into: &mut Dict) {
        put(into, "origin", self.origin.map_or("None", Origin::as_str));
        if self.origin == Some(Origin::Discovered) {
            let limit = base.config.settings.zeroconf_persistence;
            let limit = limit.map(|span| format!("{:?} sec", span.as_secs_f64()));
            let at = self.unresponsive.deadline().map(|at| base.date(at).to_string());
            put(into, "unresponsive timer", self.unresponsive.text(now));
            put(into, "unresponsive timeout", limit.unwrap_or_else(|| "forever".to_owned()));
            put(into, "unresponsive time", at.unwrap_or_else(|| "---".to_owned()));
        }
        optional(into, "get log page operation", self.operation_text(now));
    }

    fn details(&self, _into: &mut Dict) {}
}

impl Describe for Ioc {
    fn info(&self, _now: Time, _base: &Base, _into: &mut Dict) {}

    fn details(&self, into: &mut Dict) {
        put(into, "dlpe", self.entry.as_ref().map_or_else(|| "None".to_owned(), Entry::python));
        let ncc = self.entry.as_ref().is_some_and(Entry::ncc);
        put(into, "dlpe.eflags.ncc", python_bool(ncc));
    }
}

fn process_info<R: Describe>(now: Time, base: &Base, fleet: &Fleet<R>) -> Map<String, Value> {
    let (identity, support) = (&base.config.identity, &base.config.support);
    let some = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    let supported = |option: &str| json!(python_bool(support.has(option)));
    let mut map = Map::new();
    let mut set = |key: &str, value: Value| map.insert(key.to_owned(), value);
    set("tron", json!(base.tron()));
    set("log-level", json!(log_level(base)));
    set("hostnqn", some(&identity.nqn));
    set("hostid", some(&identity.id));
    set("hostkey", if identity.key_set() { json!("***") } else { Value::Null });
    set("symname", json!(identity.symname));
    set("last known config file", json!(base.config.state_file));
    set("config soak timer", json!(base.soak.text(now)));
    set("terminator.audit timer", json!(fleet.audit().text(now)));
    set("kernel support.TP8013", supported("discovery"));
    set("kernel support.host_iface", supported("host_iface"));
    for (tid, device) in fleet.leaving() {
        let device = device.map_or("nvme?", |device| &device.name);
        let mut pairs: Vec<(&str, String)> = tid
            .fields()
            .pairs()
            .into_iter()
            .map(|(name, text)| (name, python::string(text)))
            .collect();
        pairs.push(("device", python::string(device)));
        set(&format!("terminator.controller.{tid}"), json!(python::dict(pairs)));
    }
    map
}

fn log_level(base: &Base) -> &'static str {
    if base.tron() { Level::Debug.as_str() } else { Level::Info.as_str() }
}

/// Answers what both daemons answer alike.
pub(super) fn common<R: Describe>(
    now: Time,
    request: &Request,
    base: &mut Base,
    fleet: &Fleet<R>,
    sysfs: &dyn Sysfs,
    out: &mut Vec<Action>,
) -> Reply {
    match request {
        Request::ControllerInfo(fields) => {
            let found = fleet.get(&base.tid(fields));
            let dict = found.map(|controller| info(controller, now, base)).unwrap_or_default();
            Reply::Json(json!(dict).to_string())
        }
        Request::ListControllers { detailed: false } => {
            Reply::Dicts(fleet.iter().map(brief).collect())
        }
        Request::ListControllers { detailed: true } => {
            Reply::Dicts(fleet.iter().map(|c| details(c, now, base, sysfs)).collect())
        }
        Request::GetTron => Reply::Bool(base.tron()),
        Request::SetTron(on) => {
            base.set_tron(*on, out);
            Reply::Unit
        }
        Request::GetLogLevel => Reply::Text(log_level(base).to_owned()),
        Request::ProcessInfo => {
            Reply::Json(Value::Object(process_info(now, base, fleet)).to_string())
        }
        Request::GetLogPages(_) | Request::GetAllLogPages { .. } => Reply::Unsupported,
    }
}

impl Finder {
    /// Answers what only stafd can be asked, or answers in its own way.
    pub(super) fn pages(&self, now: Time, request: &Request, sysfs: &dyn Sysfs) -> Option<Reply> {
        Some(match request {
            Request::GetLogPages(fields) => {
                let tid = self.base.tid(fields);
                let found = self.fleet.get(&tid).and_then(|_| self.knower(&tid));
                let entries = found.map_or(&[][..], |role| &role.page.entries);
                Reply::Dicts(entries.iter().map(Entry::dictionary).collect())
            }
            Request::GetAllLogPages { detailed } => self.all_log_pages(now, *detailed, sysfs),
            Request::ProcessInfo => {
                let mut map = process_info(now, &self.base, &self.fleet);
                let avahi = json!({
                    "avahi wake up timer": "60.0s [off]",
                    "service types": [],
                    "services": {},
                });
                map.insert("avahi".to_owned(), avahi);
                Reply::Json(Value::Object(map).to_string())
            }
            _ => return None,
        })
    }

    fn all_log_pages(&self, now: Time, detailed: bool, sysfs: &dyn Sysfs) -> Reply {
        // On the way out the table is empty, which must not look like an empty fabric.
        if self.base.stopping.is_some() {
            return Reply::NotReady("stafd is stopping".to_owned());
        }
        if !self.ready {
            return Reply::NotReady("the discovery controllers are not known yet".to_owned());
        }
        // An alias has no page of its own: the controller that it is served by has it.
        let with_page = self.fleet.iter().filter(|c| !matches!(c.state, State::Alias(_)));
        let list: Vec<Value> = with_page
            .map(|c| {
                let dict = if detailed { details(c, now, &self.base, sysfs) } else { brief(c) };
                let dict = dict.into_iter().map(|(key, value)| (key, Value::String(value)));
                report::encode(&dict.collect(), c.role.validity, &c.role.page.entries)
            })
            .collect();
        Reply::Json(Value::Array(list).to_string())
    }
}

/// One line for the service manager.
pub(super) fn status<R: super::fleet::Role>(fleet: &Fleet<R>) -> String {
    let total = fleet.iter().count();
    let connected = fleet.iter().filter(|c| c.device().is_some()).count();
    let live = fleet.iter().filter(|c| c.live().is_some()).count();
    format!("{connected} of {total} controllers connected, {live} {}", cid::State::Live.as_str())
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
