// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal register` and `internal unregister`: a machine in the list of systemd-machined.
//!
//! Calls go through `busctl`. What the service knows decides: where it has `RegisterMachineEx`, the
//! machine gets its vsock address, so that other tools can reach it. That call wants the process by
//! its number together with the identifier of its pidfd, so that no descriptor need be sent.
//!
//! Standards: org.freedesktop.machine1(5).

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plinth::err::{FAILED, Failure};
use plinth::netlink::RouteSocket;
use plinth::proc::{self, Limits};
use plinth::text::escape_control;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use super::{Call, usage};
use crate::cli::NO_PROGRAM;
use crate::package::{RUNNER, RUNNER_MAX};

const BUS: &str = "org.freedesktop.machine1";
const OBJECT: &str = "/org/freedesktop/machine1";
const INTERFACE: &str = "org.freedesktop.machine1.Manager";
/// Who the machine belongs to, for people.
const SERVICE: &str = "microvm";
/// The kind of file system that descriptors of processes are in; older kernels have none.
const PIDFS: u64 = 0x5049_4446;
const LIMITS: Limits = Limits { time: Duration::from_secs(25), output: 1 << 20 };

/// What went wrong.
#[derive(Debug)]
enum MachineError {
    /// A file of the package cannot be read.
    Package(PathBuf, String),
    /// `busctl` is not installed, or cannot be started.
    Busctl(io::Error),
    /// The service, or the bus, refused.
    Refused(String),
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::Busctl(error) if error.kind() == ErrorKind::NotFound => {
                f.write_str("busctl not found, needed by registerWithMachined")
            }
            Self::Busctl(error) => write!(f, "cannot start busctl: {error}"),
            Self::Refused(words) => write!(f, "systemd-machined refused: {words}"),
        }
    }
}

impl std::error::Error for MachineError {}

impl MachineError {
    fn failure(self) -> Failure {
        let missing = matches!(&self, Self::Busctl(error) if error.kind() == ErrorKind::NotFound);
        Failure::new(if missing { NO_PROGRAM } else { FAILED }, self)
    }
}

/// A machine to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub id: [u8; 16],
    /// Its context in the kernel, when other tools can reach it there.
    pub cid: Option<u32>,
}

impl Machine {
    /// The machine of a package, from its description.
    ///
    /// # Errors
    /// What is missing.
    pub fn parse(runner: &[u8]) -> Result<Self, String> {
        let runner: Value = serde_json::from_slice(runner).map_err(|error| error.to_string())?;
        let text = |at: &str| runner.pointer(at).and_then(Value::as_str);
        let name = text("/name").or_else(|| text("/config/hostName")).ok_or("no name")?;
        let id = match runner.pointer("/config/machineId") {
            Some(Value::String(id)) => uuid(id).ok_or("machineId is no UUID")?,
            _ => name_uuid(name),
        };
        // Some hypervisors put a socket before the guest's ports, where the kernel knows none.
        let mux = matches!(text("/hypervisor"), Some("cloud-hypervisor" | "firecracker"));
        let cid = runner.pointer("/config/vsock/cid").and_then(Value::as_u64);
        let cid = cid.and_then(|cid| u32::try_from(cid).ok()).filter(|_| !mux);
        Ok(Self { name: name.to_owned(), id, cid })
    }

    /// The words for `busctl` that register it: the method, its signature, its arguments.
    ///
    /// `extended` is the identifier of the leader's pidfd, when the service takes it: the number of
    /// a process may come to mean another one, the two together do not.
    #[must_use]
    pub fn call(&self, leader: u32, taps: &[u32], extended: Option<u64>) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut say = |word: &str| words.push(word.to_owned());
        let id = || std::iter::once("16".to_owned()).chain(self.id.iter().map(u8::to_string));
        if let Some(pidfd) = extended {
            let members = 6 + usize::from(self.cid.is_some()) * 2 + usize::from(!taps.is_empty());
            for word in
                ["RegisterMachineEx", "sa(sv)", &self.name, &members.to_string(), "Id", "ay"]
            {
                say(word);
            }
            id().for_each(|word| say(&word));
            for word in ["Service", "s", SERVICE, "Class", "s", "vm", "LeaderPID", "u"] {
                say(word);
            }
            say(&leader.to_string());
            let pidfd = pidfd.to_string();
            for word in ["LeaderPIDFDID", "t", &pidfd, "RootDirectory", "s", "/"] {
                say(word);
            }
            if let Some(cid) = self.cid {
                let cid = cid.to_string();
                let address = format!("vsock/{cid}");
                for word in ["VSockCID", "u", &cid, "SSHAddress", "s", &address] {
                    say(word);
                }
            }
            if !taps.is_empty() {
                for word in ["NetworkInterfaces", "ai", &taps.len().to_string()] {
                    say(word);
                }
                taps.iter().for_each(|index| say(&index.to_string()));
            }
            return words;
        }
        let (method, signature) = match taps {
            [] => ("RegisterMachine", "sayssus"),
            _ => ("RegisterMachineWithNetwork", "sayssusai"),
        };
        for word in [method, signature, &self.name] {
            say(word);
        }
        id().for_each(|word| say(&word));
        for word in [SERVICE, "vm", &leader.to_string(), "/"] {
            say(word);
        }
        if !taps.is_empty() {
            say(&taps.len().to_string());
            taps.iter().for_each(|index| say(&index.to_string()));
        }
        words
    }
}

/// The bytes of `8-4-4-4-12` hexadecimal digits.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let digits: String = text.split('-').collect();
    if lengths != [8, 4, 4, 4, 12] || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut id = [0; 16];
    for (byte, at) in id.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(id)
}

/// An identifier for a machine that has none: the beginning of a hash of its name, marked as a UUID
/// of the eighth version, which is free for such uses (RFC 9562).
fn name_uuid(name: &str) -> [u8; 16] {
    let hash = hmac_sha256::Hash::hash(format!("microvm:{name}").as_bytes());
    let mut id = [0; 16];
    for (byte, from) in id.iter_mut().zip(hash) {
        *byte = from;
    }
    let [.., _, _, six, _, eight, _, _, _, _, _, _, _] = &mut id;
    (*six, *eight) = (*six & 0x0F | 0x80, *eight & 0x3F | 0x80);
    id
}

fn read(package: &Path, name: &str) -> Result<Vec<u8>, MachineError> {
    let path = package.join(name);
    plinth::file::read(&path, RUNNER_MAX)
        .map_err(|error| MachineError::Package(path, error.to_string()))
}

fn machine(call: &Call<'_>) -> Result<(Machine, PathBuf), Failure> {
    let package = call.need(call.options.package.as_ref(), "package")?;
    let runner = read(&package, RUNNER).map_err(MachineError::failure)?;
    let machine = Machine::parse(&runner)
        .map_err(|why| MachineError::Package(package.join(RUNNER), why).failure())?;
    Ok((machine, package))
}

/// `busctl` with `words` behind the name of the object.
fn busctl(verb: &str, words: &[String]) -> Result<String, MachineError> {
    let mut command = Command::new("busctl");
    command.args(["--system", verb, BUS, OBJECT, INTERFACE]).args(words);
    let output = proc::run(command, LIMITS).map_err(MachineError::Busctl)?;
    if output.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(MachineError::Refused(escape_control(&words).into_owned()))
}

pub(super) fn register(call: &Call<'_>) -> Result<u8, Failure> {
    call.at_most(1)?;
    let leader = call.word(0, "PID")?.parse().ok().filter(|pid| *pid > 0);
    let leader = leader.ok_or_else(|| usage("PID: not the number of a process"))?;
    let (machine, package) = machine(call)?;
    let taps = taps(&package)?;
    let known = busctl("introspect", &[]).map_err(MachineError::failure)?;
    let extended = known.lines().any(|line| line.starts_with(".RegisterMachineEx "));
    let extended = extended.then(|| pidfd_id(leader)).flatten();
    busctl("call", &machine.call(leader, &taps, extended)).map_err(MachineError::failure)?;
    Ok(0)
}

/// The number by which kernels since 6.9 tell one process from all others that ever had its number.
fn pidfd_id(pid: u32) -> Option<u64> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let system = rustix::fs::fstatfs(&fd).ok()?;
    (u64::try_from(system.f_type) == Ok(PIDFS)).then_some(())?;
    Some(rustix::fs::fstat(&fd).ok()?.st_ino)
}

/// A machine that is not registered any more is fine.
///
/// It is not terminated: that would stop its unit, and one whose hypervisor has crashed would not
/// be started again.
pub(super) fn unregister(call: &Call<'_>) -> Result<u8, Failure> {
    call.at_most(1)?;
    let (machine, _) = machine(call)?;
    let words = ["UnregisterMachine".to_owned(), "s".to_owned(), machine.name];
    match busctl("call", &words) {
        Ok(_) | Err(MachineError::Refused(_)) => Ok(0),
        Err(error) => Err(error.failure()),
    }
}

/// The numbers of the machine's taps that are there.
fn taps(package: &Path) -> Result<Vec<u32>, Failure> {
    let path = package.join("share/microvm/tap-interfaces");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let list = read(package, "share/microvm/tap-interfaces").map_err(MachineError::failure)?;
    let list = String::from_utf8_lossy(&list).into_owned();
    let all = RouteSocket::open().and_then(|mut socket| socket.dump_interfaces())?;
    let wanted = |name: &str| list.lines().any(|line| line == name);
    Ok(all.iter().filter(|it| wanted(&it.name)).map(|it| it.index).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RUNNER: &[u8] = br#"{"name": "web1", "hypervisor": "qemu", "config": {
        "machineId": "115da406-dfb8-b88d-0dbd-d4cc391fe2a3", "vsock": {"cid": 42}}}"#;

    fn words(taps: &[u32], extended: Option<u64>) -> String {
        Machine::parse(RUNNER).expect("a machine").call(7, taps, extended).join(" ")
    }

    #[test]
    fn calls_have_the_form_of_the_service() {
        let id = "16 17 93 164 6 223 184 184 141 13 189 212 204 57 31 226 163";
        let plain = format!("RegisterMachine sayssus web1 {id} microvm vm 7 /");
        assert_eq!(words(&[], None), plain);
        let taps = format!("RegisterMachineWithNetwork sayssusai web1 {id} microvm vm 7 / 2 3 4");
        assert_eq!(words(&[3, 4], None), taps);
        let extended = format!(
            "RegisterMachineEx sa(sv) web1 9 Id ay {id} Service s microvm Class s vm LeaderPID u 7 \
             LeaderPIDFDID t 99 RootDirectory s / VSockCID u 42 SSHAddress s vsock/42 \
             NetworkInterfaces ai 1 3"
        );
        assert_eq!(words(&[3], Some(99)), extended);
    }

    #[test]
    fn a_machine_behind_a_socket_has_no_context() {
        let text = String::from_utf8_lossy(RUNNER).replace("qemu", "firecracker");
        assert_eq!(Machine::parse(text.as_bytes()).expect("a machine").cid, None);
    }

    #[test]
    fn a_machine_without_identifier_has_one_by_its_name() {
        let of = |name: &str| {
            let runner = format!("{{\"name\": \"{name}\", \"config\": {{\"machineId\": false}}}}");
            Machine::parse(runner.as_bytes()).expect("a machine").id
        };
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert_eq!((of("a")[6] >> 4, of("a")[8] >> 6), (8, 2));
    }

    #[test]
    fn odd_descriptions_are_errors() {
        for odd in ["", "{}", "[]", "{\"name\": \"a\", \"config\": {\"machineId\": \"1\"}}"] {
            assert!(Machine::parse(odd.as_bytes()).is_err(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn only_uuids_are(text in "[0-9a-fA-F-]{0,40}", bytes in any::<[u8; 16]>()) {
            let _ = uuid(&text);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            prop_assert_eq!(uuid(&parts.join("-")), Some(bytes));
        }
    }
}
