// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A system bus in the guest, and a client of it that shares no code with the programs under test.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use dbus::arg::{AppendAll, ReadAll};
use dbus::blocking::Connection;
use dbus::message::{MatchRule, MessageType};
use serde_json::Value;

use super::process::Process;
use super::trouble::Naming;
use super::{Outcome, stas, wait};

/// Where the bus listens; the usual place.
pub const SOCKET: &str = "/run/dbus/system_bus_socket";
const CONFIGURATION: &str = "/run/dbus/test.conf";
/// A reply that takes longer is a finding.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// The rules of a usual system bus, then those that the programs ship.
const RULES: &str = r#"<!DOCTYPE busconfig PUBLIC
 "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <includedir>/usr/share/dbus-1/system.d</includedir>
  <includedir>/etc/dbus-1/system.d</includedir>
</busconfig>
"#;

/// Starts the bus and waits until it listens.
///
/// # Errors
/// When it does not come up.
pub fn start() -> Outcome<Process> {
    fs::write(CONFIGURATION, RULES).named(CONFIGURATION)?;
    drop(fs::remove_file(SOCKET));
    let argument = format!("--config-file={CONFIGURATION}");
    let words = ["/usr/bin/dbus-daemon", &argument, "--nofork", "--nopidfile"];
    let daemon = Process::start("dbus-daemon", &words, &[])?;
    wait::until("the bus listens", Duration::from_secs(10), || {
        std::os::unix::net::UnixStream::connect(SOCKET).is_ok()
    })?;
    Ok(daemon)
}

/// Dictionaries of strings, as the bus carries controllers and log entries.
pub type Dicts = Vec<BTreeMap<String, String>>;

/// A client of the bus.
pub struct Client(Connection);

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When there is no bus.
    pub fn connect() -> Outcome<Self> {
        Ok(Self(Connection::new_system().named("the bus")?))
    }

    /// Calls a method of a daemon's object.
    ///
    /// # Errors
    /// The error that comes back, or a reply of another shape.
    pub fn call<A: AppendAll, R: ReadAll>(
        &self,
        role: stas::Role,
        interface: &str,
        member: &str,
        arguments: A,
    ) -> Outcome<R> {
        let proxy = self.0.with_proxy(role.bus_name(), role.bus_path(), CALL_LIMIT);
        proxy.method_call(interface, member, arguments).named(member)
    }

    /// `list_controllers`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn list_controllers(&self, role: stas::Role, detailed: bool) -> Outcome<Dicts> {
        let (list,): (Vec<std::collections::HashMap<String, String>>,) =
            self.call(role, role.bus_name(), "list_controllers", (detailed,))?;
        Ok(list.into_iter().map(|dict| dict.into_iter().collect()).collect())
    }

    /// `get_all_log_pages`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn all_log_pages(&self, detailed: bool) -> Outcome<Value> {
        let role = stas::Role::Finder;
        let (text,): (String,) =
            self.call(role, role.bus_name(), "get_all_log_pages", (detailed,))?;
        serde_json::from_str(&text).named(text)
    }

    /// `process_info`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn process_info(&self, role: stas::Role) -> Outcome<Value> {
        let interface = format!("{}.debug", role.bus_name());
        let (text,): (String,) = self.call(role, &interface, "process_info", ())?;
        serde_json::from_str(&text).named(text)
    }

    /// The introspection document.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn introspect(&self, role: stas::Role) -> Outcome<String> {
        let interface = "org.freedesktop.DBus.Introspectable";
        let (text,): (String,) = self.call(role, interface, "Introspect", ())?;
        Ok(text)
    }

    /// Whether the daemon's name has an owner.
    #[must_use]
    pub fn owned(&self, role: stas::Role) -> bool {
        let bus = "org.freedesktop.DBus";
        let proxy = self.0.with_proxy(bus, "/org/freedesktop/DBus", CALL_LIMIT);
        proxy
            .method_call(bus, "NameHasOwner", (role.bus_name(),))
            .is_ok_and(|(owned,): (bool,)| owned)
    }
}

/// Counts the signals of stafd, on a connection and a thread of its own.
#[derive(Clone, Debug, Default)]
pub struct Signals(Arc<Mutex<BTreeMap<String, usize>>>);

impl Signals {
    /// Starts to listen.
    ///
    /// # Errors
    /// When there is no bus.
    pub fn start() -> Outcome<Self> {
        let connection = Connection::new_system().named("the bus")?;
        let counts = Self::default();
        let seen = Arc::clone(&counts.0);
        let rule = MatchRule::new()
            .with_type(MessageType::Signal)
            .with_interface(stas::Role::Finder.bus_name());
        connection
            .add_match(rule, move |(): (), _, message| {
                if let Some(member) = message.member() {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    *seen.entry(member.to_string()).or_default() += 1;
                }
                true
            })
            .named("a subscription")?;
        thread::spawn(move || while connection.process(Duration::from_secs(1)).is_ok() {});
        Ok(counts)
    }

    /// How often `member` was sent since the start.
    #[must_use]
    pub fn count(&self, member: &str) -> usize {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(member).copied().unwrap_or(0)
    }
}
