// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The programs under test: their configuration, their start, their control sockets, their clients.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::process::{self, Process, Said};
use super::trouble::Naming;
use super::{Outcome, Trouble, wait};

/// A reply that takes longer is a finding.
const REPLY_LIMIT: Duration = Duration::from_secs(10);
/// For a daemon to start, on an emulated processor.
pub const START_LIMIT: Duration = Duration::from_secs(10);
/// What a daemon may take to stop.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Which of the two daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `stafd`.
    Finder,
    /// `stacd`.
    Connector,
}

impl Role {
    /// The daemon's name.
    #[must_use]
    pub fn daemon(self) -> &'static str {
        match self {
            Self::Finder => "stafd",
            Self::Connector => "stacd",
        }
    }

    /// The client's name.
    #[must_use]
    pub fn client(self) -> &'static str {
        match self {
            Self::Finder => "stafctl",
            Self::Connector => "stacctl",
        }
    }

    /// Its name on the bus, which is also that of its main interface.
    #[must_use]
    pub fn bus_name(self) -> &'static str {
        match self {
            Self::Finder => "org.nvmexpress.staf",
            Self::Connector => "org.nvmexpress.stac",
        }
    }

    /// The path of its object.
    #[must_use]
    pub fn bus_path(self) -> &'static str {
        match self {
            Self::Finder => "/org/nvmexpress/staf",
            Self::Connector => "/org/nvmexpress/stac",
        }
    }
}

/// Writes the daemon's configuration file.
///
/// # Errors
/// When it cannot be written.
pub fn configure(role: Role, text: &str) -> Outcome {
    let path = format!("/etc/stas/{}.conf", role.daemon());
    fs::write(&path, text).named(&path)
}

/// A `[Controllers]` line for a controller over TCP on loopback.
#[must_use]
pub fn line(address: &str, port: u16, nqn: Option<&str>) -> String {
    let nqn = nqn.map_or_else(String::new, |nqn| format!(";nqn={nqn}"));
    format!("controller=transport=tcp;traddr={address};trsvcid={port}{nqn}\n")
}

/// Starts a daemon and waits until its control socket answers.
///
/// # Errors
/// When it does not come up; its log tells why.
pub fn start(role: Role) -> Outcome<Process> {
    let mut daemon = start_with(role, &[], &[])?;
    ready(role, &mut daemon)?;
    Ok(daemon)
}

/// Starts a daemon with arguments and environment of its own, without waiting for anything.
///
/// # Errors
/// When it cannot be started at all.
pub fn start_with(
    role: Role,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Outcome<Process> {
    let program = format!("/usr/sbin/{}", role.daemon());
    let mut words = vec![program.as_str(), "--tron"];
    words.extend(arguments);
    Process::start(role.daemon(), &words, environment)
}

/// Waits until a daemon that was just started answers; tells how long that took.
///
/// # Errors
/// When it does not, or has ended.
pub fn ready(role: Role, daemon: &mut Process) -> Outcome<Duration> {
    let what = format!("{} answers", role.daemon());
    wait::until_found(&what, START_LIMIT, || {
        if !daemon.alive() {
            return Err(Trouble::new(format!("it has ended: {}", daemon.log())));
        }
        Ok(ask(role, &json!({"method": "process_info"})).ok())
    })
    .map(|(_, spent)| spent)
}

/// Asks through the control socket.
///
/// # Errors
/// No socket, no reply in time, or an error as the reply.
pub fn ask(role: Role, request: &Value) -> Outcome<Value> {
    let path = format!("/run/{}/ctl.sock", role.daemon());
    let mut stream = UnixStream::connect(&path).named(&path)?;
    stream.set_read_timeout(Some(REPLY_LIMIT))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut text = String::new();
    BufReader::new(stream).read_line(&mut text).named(request)?;
    let mut reply: Value = serde_json::from_str(&text).named(&text)?;
    match reply.get("error") {
        Some(error) => Err(Trouble::new(format!("{request}: {error}"))),
        None => Ok(reply["result"].take()),
    }
}

/// The daemon's controllers in full detail.
///
/// # Errors
/// As [`ask`].
pub fn list(role: Role) -> Outcome<Vec<BTreeMap<String, String>>> {
    let reply = ask(role, &json!({"method": "list_controllers", "detailed": true}))?;
    let list = reply.as_array().ok_or_else(|| Trouble::new(format!("no list: {reply}")))?;
    list.iter()
        .map(|item| {
            let object =
                item.as_object().ok_or_else(|| Trouble::new("a controller is no object"))?;
            let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
            Ok(object.iter().map(|(key, value)| (key.clone(), text(value))).collect())
        })
        .collect()
}

/// Names of the storage subsystems in stafd's cached log pages, sorted.
///
/// # Errors
/// As [`ask`].
pub fn announced() -> Outcome<Vec<String>> {
    let request = json!({"method": "get_all_log_pages", "detailed": false});
    let reply = ask(Role::Finder, &request)?;
    let mut names: Vec<String> = reply
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|dc| dc["log-pages"].as_array().cloned().unwrap_or_default())
        .filter(|entry| entry["subtype"] == "nvme")
        .filter_map(|entry| entry["subnqn"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

/// Waits until stafd's cached pages announce exactly `nqns`; tells how long that took.
///
/// # Errors
/// A finding with what is announced instead.
pub fn await_announced(nqns: &[&str], limit: Duration) -> Outcome<Duration> {
    let mut wanted: Vec<String> = nqns.iter().map(|n| (*n).to_owned()).collect();
    wanted.sort();
    let mut last = Vec::new();
    wait::until_found(&format!("stafd announces {wanted:?}"), limit, || {
        last = announced()?;
        Ok((last == wanted).then_some(()))
    })
    .map_err(|trouble| trouble.during(&format!("it announces {last:?}")))
    .map(|((), spent)| spent)
}

/// Tells a daemon to read its configuration again.
///
/// # Errors
/// When it is gone.
pub fn reload(daemon: &Process) -> Outcome {
    daemon.signal(Signal::HUP)
}

/// Runs a client with these arguments.
///
/// # Errors
/// When it cannot be run, or hangs.
pub fn client(role: Role, arguments: &[&str]) -> Outcome<Said> {
    let program = format!("/usr/bin/{}", role.client());
    let mut words = vec![program.as_str()];
    words.extend(arguments);
    process::run(&words)
}
