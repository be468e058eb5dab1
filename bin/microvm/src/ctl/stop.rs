// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asking a machine to stop, and waiting until its hypervisor has ended.
//!
//! Owns who is asked how, and for what is waited. Hypervisors that cannot be asked are for their
//! caller to signal. A guest that still starts hears nothing, so all are asked again every few
//! seconds; one that is about to stop takes no notice. Where nobody can be asked, because the
//! socket does not exist or nobody listens on it, the machine has stopped already, is on its way
//! there, or has just begun: a process that is known to be the hypervisor's has a few seconds to
//! end or to listen.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use plinth::proc::{self, Ending, Limits};
use plinth::time::Time;
use rustix::net::SocketType;
use rustix::process::Pid;
use serde_json::{Value, json};

use super::process::Process;
use super::qmp::Qmp;
use super::{CtlError, http};

/// How long is waited, when nobody says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(90);

/// How long a hypervisor may take to end, or to listen, that nobody can ask.
const REACH: Duration = Duration::from_secs(5);

/// After how long a machine is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// The output that is taken of a program that talks to its hypervisor, in bytes.
const OUTPUT_MAX: usize = 64 << 10;

/// What the guest gets to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum How {
    /// The three keys.
    #[default]
    CtrlAltDel,
    /// The power button.
    Powerdown,
}

/// A machine to stop.
#[derive(Clone, Debug)]
pub struct Stop {
    /// The name of its hypervisor, as in descriptions.
    pub hypervisor: String,
    /// The control socket.
    pub socket: PathBuf,
    /// How long to wait for its end.
    pub timeout: Duration,
    /// What the guest gets to see, where there is a choice.
    pub how: How,
    /// The hypervisor's process; else the one that listens on the socket.
    pub pid: Option<Pid>,
    /// The hypervisor's program, where it is the client as well.
    pub program: Option<String>,
}

/// Asks the machine to stop, and waits.
///
/// # Errors
/// [`CtlError::TimedOut`] when it still runs at the end, or a few seconds later if nobody can ask
/// it; else why it could not be asked.
pub fn stop(order: &Stop) -> Result<(), CtlError> {
    let deadline = Time::monotonic() + order.timeout;
    // Before the question: afterwards the number may be another's.
    let known = order.pid.map(Process::open).transpose()?.flatten();
    let reached = deadline.min(Time::monotonic() + REACH);
    let listener = loop {
        let asked = match order.hypervisor.as_str() {
            "qemu" => qemu(order, known.as_ref(), deadline).map(|()| None),
            _ => ask(order, deadline),
        };
        match (asked, &known) {
            (Ok(listener), _) => break listener,
            (Err(error), None) if is_gone(&error) => return Ok(()),
            // Nobody listens any more, or not yet.
            (Err(error), Some(process)) if is_gone(&error) => {
                if ended(process, reached)? {
                    return Ok(());
                }
            }
            (Err(error), _) => return Err(error),
        }
    };
    for process in [known, listener].into_iter().flatten() {
        while !ended(&process, deadline)? {
            // It may be on its way out.
            drop(ask(order, deadline));
        }
    }
    Ok(())
}

/// Whether the process ends before it is time to ask again.
fn ended(process: &Process, deadline: Time) -> Result<bool, CtlError> {
    if process.ends_by(soon(deadline))? {
        return Ok(true);
    }
    if Time::monotonic() < deadline { Ok(false) } else { process.wait(deadline).map(|()| true) }
}

/// When to ask again.
fn soon(deadline: Time) -> Time {
    deadline.min(Time::monotonic() + AGAIN)
}

/// Asks once; the process that listens.
fn ask(order: &Stop, deadline: Time) -> Result<Option<Process>, CtlError> {
    match order.hypervisor.as_str() {
        "cloud-hypervisor" => put(order, "PUT", "/api/v1/vm.power-button", None, deadline),
        "firecracker" => {
            let body = json!({ "action_type": "SendCtrlAltDel" });
            put(order, "PUT", "/actions", Some(&body), deadline)
        }
        "vfkit" => {
            let body = json!({ "state": "Stop" });
            put(order, "POST", "/vm/state", Some(&body), deadline)
        }
        "crosvm" => crosvm(order, deadline),
        other => Err(CtlError::Unsupported(other.to_owned(), "command to stop")),
    }
}

/// Nobody can connect to it, so that it cannot be asked.
fn is_gone(error: &CtlError) -> bool {
    let CtlError::Connect(_, error) = error else { return false };
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

fn qemu(order: &Stop, known: Option<&Process>, deadline: Time) -> Result<(), CtlError> {
    let mut qmp = Qmp::connect(&order.socket, deadline)?;
    let listener = qmp.process().map(Process::open).transpose()?.flatten();
    let (name, arguments) = match order.how {
        How::CtrlAltDel => ("input-send-event", keys(true)),
        How::Powerdown => ("system_powerdown", Value::Null),
    };
    let mut asked = qmp.execute(name, &arguments).map(drop);
    loop {
        match asked {
            Ok(()) if qmp.ends_by(soon(deadline))? => break,
            Ok(()) if Time::monotonic() >= deadline => {
                return Err(CtlError::TimedOut("waiting for the end of the machine"));
            }
            Ok(()) => {}
            // It may be gone before it has answered.
            Err(CtlError::Closed) => break,
            Err(error) => return Err(error),
        }
        asked = again(&mut qmp, name, &arguments);
    }
    for process in known.into_iter().chain(&listener) {
        process.wait(deadline)?;
    }
    Ok(())
}

/// Asks once more. What is refused now was not before: the machine is on its way out.
fn again(qmp: &mut Qmp, name: &str, arguments: &Value) -> Result<(), CtlError> {
    let asked = match arguments {
        Value::Null => Ok(Value::Null),
        _ => qmp.execute(name, &keys(false)),
    };
    match asked.and_then(|_| qmp.execute(name, arguments)) {
        Ok(_) | Err(CtlError::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Three keys that go down, or up.
fn keys(down: bool) -> Value {
    let key = |code: &str| {
        json!({
            "type": "key",
            "data": { "down": down, "key": { "type": "qcode", "data": code } },
        })
    };
    json!({ "events": [key("ctrl"), key("alt"), key("delete")] })
}

/// One request to the hypervisor; its process.
fn put(
    order: &Stop,
    method: &str,
    target: &str,
    body: Option<&Value>,
    deadline: Time,
) -> Result<Option<Process>, CtlError> {
    let done = http::exchange(&order.socket, &http::request(method, target, body), deadline)?;
    // Now, while the number is certain to be the listener's.
    let process = done.process.map(Process::open).transpose()?.flatten();
    done.response.check()?;
    Ok(process)
}

/// `crosvm powerbtn`, which returns at once; the process that listens, on a socket that keeps
/// messages apart.
fn crosvm(order: &Stop, deadline: Time) -> Result<Option<Process>, CtlError> {
    let listener = super::peer::listener(&order.socket, SocketType::SEQPACKET, soon(deadline));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) if is_gone(&error) => return Err(error),
        // Whoever it is, the client may know better how to reach it.
        Err(_) => None,
    };
    let process = listener.map(Process::open).transpose()?.flatten();
    let mut command = Command::new(order.program.as_deref().unwrap_or("crosvm"));
    command.arg("powerbtn").arg(&order.socket);
    client(command, deadline)?;
    Ok(process)
}

/// Runs a program that talks to its hypervisor; what it printed.
pub(super) fn client(command: Command, deadline: Time) -> Result<String, CtlError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let limits = Limits { time: Time::monotonic().until(deadline), output: OUTPUT_MAX };
    let output = proc::run(command, limits).map_err(|error| match error.kind() {
        ErrorKind::NotFound => CtlError::NoProgram(name.clone()),
        _ => CtlError::Io("start the hypervisor's client", error),
    })?;
    match output.ending {
        Ending::Exited(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ending::TimedOut => Err(CtlError::TimedOut("waiting for the hypervisor's client")),
        _ => {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            let words = words.lines().last().unwrap_or("no reason given").trim().to_owned();
            Err(CtlError::Refused(format!("{name}: {}", plinth::text::escape_control(&words))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(hypervisor: &str, socket: &str) -> Stop {
        Stop {
            hypervisor: hypervisor.to_owned(),
            socket: socket.into(),
            timeout: Duration::from_secs(60),
            how: How::default(),
            pid: None,
            program: None,
        }
    }

    #[test]
    fn a_machine_without_socket_has_stopped() {
        for hypervisor in ["qemu", "cloud-hypervisor", "crosvm", "vfkit"] {
            stop(&order(hypervisor, "/nonexistent/vm.sock")).expect("it has stopped");
        }
    }

    #[test]
    fn hypervisors_without_a_way_are_named() {
        let error = stop(&order("alioth", "/")).expect_err("there is no way");
        assert_eq!(error.to_string(), "'alioth' has no command to stop");
        assert_eq!(error.status(), plinth::err::USAGE);
    }

    #[test]
    fn three_keys_go_down() {
        let keys = keys(true);
        let events = keys["events"].as_array().expect("a list");
        let codes: Vec<&str> =
            events.iter().filter_map(|it| it["data"]["key"]["data"].as_str()).collect();
        assert_eq!(codes, ["ctrl", "alt", "delete"]);
        assert!(events.iter().all(|it| it["data"]["down"] == true && it["type"] == "key"));
    }
}
