// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's hand for tinybpf: file systems, the command, its JSON, the events that make programs
//! run.
//!
//! A program shows that it ran through a global variable of its object, which the command reads
//! while the program is attached. Names of maps are those that the kernel shows.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use rustix::mount::{MountFlags, mount};
use rustix::process::{getpgid, getpid};
use serde_json::Value;

use super::process::{self, Said};
use super::trouble::Naming;
use super::{Outcome, Trouble, ensure, say};

/// The command.
pub const TINYBPF: &str = "/usr/sbin/tinybpf";
/// Where pins go.
pub const BPFFS: &str = "/sys/fs/bpf";
/// The unified control groups of the guest.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// Mounts what objects, hooks and diagnoses need, each once.
///
/// # Errors
/// The kernel's refusal.
pub fn mounts() -> Outcome {
    for (kind, place) in [
        ("bpf", BPFFS),
        ("tracefs", "/sys/kernel/tracing"),
        ("securityfs", "/sys/kernel/security"),
        ("cgroup2", CGROUPS),
    ] {
        mount(kind, place, kind, MountFlags::empty(), None).named(place)?;
    }
    Ok(())
}

/// Runs the command to its end.
///
/// # Errors
/// When it cannot be started or hangs.
pub fn run(words: &[&str]) -> Outcome<Said> {
    process::run(&[&[TINYBPF], words].concat())
}

/// Runs the command, which must succeed; gives its standard output.
///
/// # Errors
/// What it said on standard error, when it fails.
pub fn done(words: &[&str]) -> Outcome<String> {
    process::output(&[&[TINYBPF], words].concat())
}

/// Runs the command with `--json` and reads its answer.
///
/// # Errors
/// As [`done`], or when the answer is not JSON.
pub fn json(words: &[&str]) -> Outcome<Value> {
    let text = done(&[&["--json"], words].concat())?;
    serde_json::from_str(&text).named(words.join(" "))
}

/// The path of a fixture.
#[must_use]
pub fn object(name: &str) -> String {
    format!("/bpf/{name}.bpf.o")
}

/// The kernel's name of the map that holds zero-initialised globals of this object: the object's
/// name is cut so that all fits into 15 characters.
#[must_use]
pub fn globals(object: &str) -> String {
    format!("{}.bss", object.chars().take(8).collect::<String>())
}

/// The number under `key`, wherever in `value` it stands.
#[must_use]
pub fn find(value: &Value, key: &str) -> Option<i64> {
    match value {
        Value::Object(members) => members
            .get(key)
            .and_then(Value::as_i64)
            .or_else(|| members.values().find_map(|member| find(member, key))),
        Value::Array(items) => items.iter().find_map(|item| find(item, key)),
        _ => None,
    }
}

/// A global variable of a loaded object.
///
/// # Errors
/// When the object has no such variable, or is not loaded.
pub fn global(object: &str, variable: &str) -> Outcome<i64> {
    let dump = json(&["map", "dump", "name", &globals(object)])?;
    find(&dump, variable)
        .ok_or_else(|| Trouble::new(format!("{object} has no {variable} in {dump}")))
}

/// What makes programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Nothing: what was attached proves itself in another way.
    None,
    /// getpgid(2) of this process by its number: one system call, one function of the kernel, one
    /// security hook.
    Getpgid,
    /// Opening a file.
    Open,
    /// A datagram over the loopback interface.
    Datagram,
    /// A TCP connection over it, with a few bytes.
    Connection,
    /// A connection with the congestion control of the fixture.
    Congestion,
    /// Some work for the processor.
    Work,
    /// A question about an option of a socket, and a change of it.
    Option,
    /// A read of a kernel parameter.
    Parameter,
    /// Opening a device.
    Device,
    /// A test run of an XDP program.
    TestRun,
}

impl Trigger {
    /// Makes it happen once.
    ///
    /// # Errors
    /// When the event itself fails.
    pub fn pull(self) -> Outcome {
        match self {
            Self::None => Ok(()),
            // Refused by a fixture, perhaps: that it was asked is what counts.
            Self::Getpgid => {
                let _ = getpgid(Some(getpid()));
                Ok(())
            }
            Self::Open => Ok(fs::File::open("/etc/passwd").map(drop)?),
            Self::Datagram => datagram(),
            Self::Connection => connection(false),
            Self::Congestion => connection(true),
            Self::Work => {
                let mut sum = 0_u64;
                for number in 0..20_000_000_u64 {
                    sum = std::hint::black_box(sum.wrapping_add(number));
                }
                Ok(())
            }
            Self::Option => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                Ok(socket.set_ttl(socket.ttl()?)?)
            }
            Self::Parameter => Ok(fs::read("/proc/sys/kernel/ostype").map(drop)?),
            Self::Device => Ok(fs::File::open("/dev/null").map(drop)?),
            Self::TestRun => test_run(),
        }
    }
}

fn datagram() -> Outcome {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.send_to(b"plinth", receiver.local_addr()?)?;
    let mut bytes = [0; 16];
    receiver.recv_from(&mut bytes)?;
    Ok(())
}

fn connection(congestion: bool) -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    if congestion {
        rustix::net::sockopt::set_tcp_congestion(&client, "plinth_reno").named("plinth_reno")?;
    }
    let mut bytes = vec![0; 64 << 10];
    for _ in 0..8 {
        client.write_all(&bytes)?;
        server.read_exact(&mut bytes)?;
    }
    let _ = client.peer_addr()?;
    let _ = client.local_addr()?;
    Ok(())
}

fn test_run() -> Outcome {
    let packet = "/tmp/packet";
    fs::write(packet, [0x55; 64])?;
    let program = format!("{}:pass", object("xdp"));
    done(&["test-run", &program, "--data", packet]).map(drop)
}

/// Loads a fixture and attaches it; `options` go to the command as they are.
///
/// # Errors
/// What the command said, when it failed.
pub fn load(name: &str, options: &[&str]) -> Outcome<Said> {
    let (path, pins) = (object(name), format!("{BPFFS}/{name}"));
    run(&[&["load", &path, "--pin", &pins], options].concat())
}

/// Detaches and unloads it again; afterwards nothing of it is left.
///
/// # Errors
/// What the command said, when it failed, or what was left.
pub fn unload(name: &str) -> Outcome {
    let pins = format!("{BPFFS}/{name}");
    done(&["unload", &pins])?;
    ensure(!fs::exists(&pins)?, format_args!("{pins} is still there"))
}

/// Says for the table of kinds how this one fared here: `run`, or why not.
pub fn kind(name: &str, how: &str) {
    say::value(&format!("kind/{name}"), &how);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_wherever_it_stands() {
        let value = serde_json::json!([{"key": 0, "value": {"hits": {"egress": 3, "bind4": 0}}}]);
        assert_eq!(find(&value, "egress"), Some(3));
        assert_eq!(find(&value, "bind4"), Some(0));
        assert_eq!(find(&value, "connect4"), None);
    }

    #[test]
    fn the_kernel_cuts_names() {
        assert_eq!(globals("kprobe"), "kprobe.bss");
        assert_eq!(globals("tracepoints"), "tracepoi.bss");
    }
}
