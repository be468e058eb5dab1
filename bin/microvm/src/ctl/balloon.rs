// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The balloon of a machine: how much of its memory is taken from it.
//!
//! Owns one meaning for all hypervisors: the amount taken, in MiB. QEMU wants what remains, kvmtool
//! wants differences; the last value set there is kept in [`STATE`], in the machine's directory,
//! since nobody can be asked for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plinth::time::{Time, pause};
use serde_json::{Value, json};

use super::qmp::Qmp;
use super::stop::client;
use super::{CtlError, http};

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;
/// How long a value may take to settle.
const SETTLE: Duration = Duration::from_secs(5);
/// How long between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// How long a hypervisor may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The file with what was taken from a machine of kvmtool.
pub const STATE: &str = "balloon.state";

/// A machine and its balloon.
#[derive(Clone, Debug)]
pub struct Balloon {
    /// The name of its hypervisor, as in descriptions.
    pub hypervisor: String,
    /// The control socket.
    pub socket: PathBuf,
    /// The machine's whole memory, in MiB.
    pub mem: u64,
    /// The name by which kvmtool knows the machine.
    pub name: String,
    /// The hypervisor's program, where it is the client as well.
    pub program: Option<String>,
}

impl Balloon {
    /// Takes `amount` MiB, or only looks; the amount taken afterwards.
    ///
    /// # Errors
    /// Whatever goes wrong, as a [`CtlError`]; also an amount beyond the machine's memory.
    pub fn run(&self, amount: Option<u64>) -> Result<u64, CtlError> {
        if amount.is_some_and(|amount| amount > self.mem) {
            return Err(CtlError::Refused(format!("the machine has {} MiB", self.mem)));
        }
        let deadline = Time::monotonic() + ANSWER;
        match self.hypervisor.as_str() {
            "qemu" => self.qemu(amount, deadline),
            "cloud-hypervisor" => self.cloud_hypervisor(amount, deadline),
            "crosvm" => self.crosvm(amount, deadline),
            "kvmtool" => self.kvmtool(amount, deadline),
            other => Err(CtlError::Unsupported(other.to_owned(), "balloon")),
        }
    }

    fn qemu(&self, amount: Option<u64>, deadline: Time) -> Result<u64, CtlError> {
        let mut qmp = Qmp::connect(&self.socket, deadline)?;
        if let Some(amount) = amount {
            let remaining = (self.mem - amount).max(1).saturating_mul(MIB);
            qmp.execute("balloon", &json!({ "value": remaining }))?;
        }
        let mut look = || {
            let told = qmp.execute("query-balloon", &Value::Null)?;
            let actual = told.get("actual").and_then(Value::as_u64);
            let actual = actual.ok_or(CtlError::Malformed("the size of a balloon"))?;
            Ok(self.mem.saturating_sub(actual / MIB))
        };
        settle(amount, &mut look)
    }

    fn cloud_hypervisor(&self, amount: Option<u64>, deadline: Time) -> Result<u64, CtlError> {
        if let Some(amount) = amount {
            let body = json!({ "desired_balloon": amount.saturating_mul(MIB) });
            let message = http::request("PUT", "/api/v1/vm.resize", Some(&body));
            http::exchange(&self.socket, &message, deadline)?.response.check()?;
        }
        let message = http::request("GET", "/api/v1/vm.info", None);
        let response = http::exchange(&self.socket, &message, deadline)?.response;
        response.check()?;
        cloud_hypervisor_size(&response.body)
    }

    fn crosvm(&self, amount: Option<u64>, deadline: Time) -> Result<u64, CtlError> {
        let program = self.program.as_deref().unwrap_or("crosvm");
        if let Some(amount) = amount {
            let mut command = Command::new(program);
            let bytes = amount.saturating_mul(MIB).to_string();
            command.args(["balloon", &bytes]).arg(&self.socket);
            client(command, deadline)?;
        }
        let mut look = || {
            let mut command = Command::new(program);
            command.arg("balloon_stats").arg(&self.socket);
            crosvm_size(&client(command, Time::monotonic() + ANSWER)?)
        };
        settle(amount, &mut look)
    }

    fn kvmtool(&self, amount: Option<u64>, deadline: Time) -> Result<u64, CtlError> {
        let state = Path::new(STATE);
        let before = match plinth::file::read(state, 32) {
            Ok(bytes) => kvmtool_state(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(CtlError::Io("read balloon.state", error)),
        };
        let Some(amount) = amount else { return Ok(before) };
        if amount != before {
            let (way, delta) =
                if amount > before { ("-i", amount - before) } else { ("-d", before - amount) };
            let mut command = Command::new(self.program.as_deref().unwrap_or("lkvm"));
            command.args(["balloon", "-n", &self.name, way, &delta.to_string()]);
            // Its sockets are below the home directory, which is the machine's own.
            if let Ok(here) = std::env::current_dir() {
                command.env("HOME", here);
            }
            client(command, deadline)?;
            plinth::file::put_atomic(state, format!("{amount}\n").as_bytes(), 0o644)
                .map_err(CtlError::io("write balloon.state"))?;
        }
        Ok(amount)
    }
}

/// Looks until the balloon has the size that was asked for, or stops changing, or time is over.
fn settle(
    wanted: Option<u64>,
    look: &mut dyn FnMut() -> Result<u64, CtlError>,
) -> Result<u64, CtlError> {
    let deadline = Time::monotonic() + SETTLE;
    let mut size = look()?;
    while wanted.is_some_and(|wanted| wanted != size) && Time::monotonic() < deadline {
        pause(LOOK);
        size = look()?;
    }
    Ok(size)
}

/// The size in cloud-hypervisor's description of a machine: what was asked for last.
///
/// # Errors
/// [`CtlError::Malformed`].
pub fn cloud_hypervisor_size(body: &[u8]) -> Result<u64, CtlError> {
    const ODD: CtlError = CtlError::Malformed("the description of a machine");
    let told: Value = serde_json::from_slice(body).map_err(|_| ODD)?;
    let config = told.get("config").ok_or(ODD)?;
    let size = |member: Option<&Value>| member.and_then(Value::as_u64);
    size(config.pointer("/balloon/size")).map(|bytes| bytes / MIB).ok_or(ODD)
}

/// The size in what `crosvm balloon_stats` prints.
///
/// # Errors
/// [`CtlError::Malformed`].
pub fn crosvm_size(text: &str) -> Result<u64, CtlError> {
    const ODD: CtlError = CtlError::Malformed("the state of a balloon");
    let told: Value = serde_json::from_str(text).map_err(|_| ODD)?;
    let bytes = told.pointer("/BalloonStats/balloon_actual").and_then(Value::as_u64);
    bytes.map(|bytes| bytes / MIB).ok_or(ODD)
}

/// What is kept of a machine of kvmtool.
///
/// # Errors
/// [`CtlError::Malformed`].
pub fn kvmtool_state(bytes: &[u8]) -> Result<u64, CtlError> {
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
    text.parse().map_err(|_| CtlError::Malformed("a number in balloon.state"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_found_in_what_hypervisors_say() {
        let info = br#"{"config":{"balloon":{"size":134217728}},"state":"Running"}"#;
        assert_eq!(cloud_hypervisor_size(info).expect("a size"), 128);
        let stats = r#"{"BalloonStats":{"balloon_actual":67108864,"stats":{}}}"#;
        assert_eq!(crosvm_size(stats).expect("a size"), 64);
        assert_eq!(kvmtool_state(b"96\n").expect("a size"), 96);
        for odd in ["", "{}", "[1]", "{\"config\":{\"balloon\":null}}"] {
            assert!(cloud_hypervisor_size(odd.as_bytes()).is_err(), "{odd}");
            assert!(crosvm_size(odd).is_err(), "{odd}");
            assert!(kvmtool_state(odd.as_bytes()).is_err(), "{odd}");
        }
    }

    #[test]
    fn more_than_there_is_is_refused_before_anybody_is_asked() {
        let machine = Balloon {
            hypervisor: "qemu".to_owned(),
            socket: "/nonexistent".into(),
            mem: 64,
            name: String::new(),
            program: None,
        };
        assert!(matches!(machine.run(Some(65)), Err(CtlError::Refused(_))));
        assert!(matches!(machine.run(Some(64)), Err(CtlError::Connect(..))));
    }
}
