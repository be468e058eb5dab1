// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's hand for tinybpf: file systems, the command, its JSON, the events that make programs
//! run.
//!
//! A program shows that it ran through a global variable of its object, which the command reads
//! while the program is attached. Names of maps are those that the kernel shows.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use bpf::btf::Btf;
use bpf::map::{Flags, Map};
use bpf::object::{Object, OpenObject, OpenOptions};
use bpf::program::TestRun;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, mount};
use rustix::process::{getpgid, getpid, setsid};
use serde_json::Value;

use super::process::{self, Said};
use super::trouble::Naming;
use super::{Outcome, Trouble, ensure, say, wait};

/// The command.
pub const TINYBPF: &str = "/usr/sbin/tinybpf";
/// A program with functions and static probes to look into.
pub const PROBED: &str = "/bpf/probed";
/// Where pins go.
pub const BPFFS: &str = "/sys/fs/bpf";
/// For the kernel to take apart what nobody holds any more.
const GONE: Duration = Duration::from_secs(60);
/// Datagrams over the loopback interface arrive before the call that sends them is over; this is
/// for a processor that is taken away meanwhile.
const LOST: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// Until one of them has arrived.
const ARRIVES: Duration = Duration::from_secs(10);
/// The unified control groups of the guest.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// Makes this process one that triggers can be pulled in: the kernel starts process 1 without a
/// group of processes, which [`Trigger::Getpgid`] asks for.
///
/// # Errors
/// The kernel's refusal.
pub fn prepare() -> Outcome {
    setsid().map(drop).named("a session")
}

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
    /// A few calls of the program [`PROBED`], which has probes.
    Probed,
    /// A connection of a unix socket.
    Unix,
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
            Self::Probed => {
                process::busybox(&["sh", "-c", "printf 'a\\nb\\n' | /bpf/probed"]).map(drop)
            }
            Self::Unix => unix(),
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
    let to = receiver.local_addr()?;
    arrives(&receiver, || Ok(sender.send_to(b"plinth", to).map(drop)?))
}

/// Sends until something arrives: what is on its way while another process changes a queueing
/// discipline of the interface is dropped by the kernel, and no datagram is sent twice by itself.
fn arrives(receiver: &UdpSocket, mut send: impl FnMut() -> Outcome) -> Outcome {
    wait::until_found("a datagram arrives", ARRIVES, || {
        send()?;
        let mut one = [PollFd::new(receiver, PollFlags::IN)];
        let found = poll(&mut one, Some(&LOST)).named("a datagram")?;
        let mut bytes = [0; 16];
        Ok((found > 0).then(|| receiver.recv_from(&mut bytes)).transpose()?)
    })
    .map(drop)
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

fn unix() -> Outcome {
    let path = "/tmp/socket";
    if fs::exists(path)? {
        fs::remove_file(path)?;
    }
    let _listener = UnixListener::bind(path)?;
    Ok(UnixStream::connect(path).map(drop)?)
}

fn test_run() -> Outcome {
    let tried = only("xdp", "pass").and_then(|object| {
        let packet = TestRun { data_in: vec![0x55; 64], ..TestRun::default() };
        object.program("pass")?.test_run(&packet)
    });
    tried.map(drop).named("a test run")
}

/// Opens a fixture.
///
/// # Errors
/// As [`OpenOptions::open`].
pub fn opened(name: &str) -> Result<OpenObject, bpf::error::Error> {
    OpenOptions::new().open(Path::new(&object(name)))
}

/// Loads one program of a fixture.
///
/// # Errors
/// As [`OpenObject::load`].
pub fn only(name: &str, program: &str) -> Result<Object, bpf::error::Error> {
    let mut open = opened(name)?;
    for other in open.program_names() {
        open.program(&other)?.set_autoload(other == program)?;
    }
    open.load()
}

/// A global variable of up to 64 bits; `NAME` or a member of the one structure that has it.
///
/// # Errors
/// When the object has no such variable.
pub fn variable(object: &Object, name: &str) -> Outcome<u64> {
    let (map, range) = holder(object, name)?;
    let value = map.get(&0_u32.to_ne_bytes())?.unwrap_or_default();
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(value.get(range).unwrap_or_default()) {
        *to = *from;
    }
    Ok(u64::from_le_bytes(bytes))
}

/// Changes a global variable of 32 bits while its program is attached.
///
/// # Errors
/// When the object has no such variable.
pub fn set_variable(object: &Object, name: &str, to: u32) -> Outcome {
    let (map, range) = holder(object, name)?;
    let mut value = map.get(&0_u32.to_ne_bytes())?.unwrap_or_default();
    value.splice(range, to.to_ne_bytes());
    Ok(map.set(&0_u32.to_ne_bytes(), &value, Flags::ANY)?)
}

/// The map that holds a variable, and where in it.
fn holder(object: &Object, name: &str) -> Outcome<(Map, Range<usize>)> {
    let bytes = object.btf_bytes().ok_or_else(|| Trouble::new("no types"))?;
    let btf = Btf::parse(bytes)?;
    let (section, range) = place(&btf, name)
        .ok_or_else(|| Trouble::new(format!("no variable {name} in {}", object.name())))?;
    let map = object.maps().find(|map| map.name().ends_with(&section));
    Ok((map.ok_or_else(|| Trouble::new(format!("no map for {section}")))?, range))
}

/// Section and bytes of a variable or of a member of a variable.
fn place(btf: &Btf, name: &str) -> Option<(String, Range<usize>)> {
    let number = |value: u32| usize::try_from(value).ok();
    for variable in btf.variables() {
        if variable.name == name {
            let at = number(variable.offset)?;
            return Some((variable.section, at..at + number(variable.size)?));
        }
        let Ok(ty) = btf.resolve(variable.ty).and_then(|id| btf.get(id)) else { continue };
        if let Some(member) = ty.members().iter().find(|it| btf.text(it.name) == name) {
            let at = number(variable.offset + member.bit_offset / 8)?;
            let size = usize::try_from(btf.size_of(member.ty).ok()?).ok()?;
            return Some((variable.section, at..at + size));
        }
    }
    None
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
    let variables = format!("{pins}/maps/{}", globals(name).replace('.', "_"));
    let shown = match fs::exists(&variables)? {
        true => find(&json(&["map", "show", "pin", &variables])?, "id"),
        false => None,
    };
    done(&["unload", &pins])?;
    ensure(!fs::exists(&pins)?, format_args!("{pins} is still there"))?;
    let Some(id) = shown.map(|id| id.to_string()) else { return Ok(()) };
    // The kernel takes programs apart a little later, and with them goes what holds their names.
    wait::until("its variables are gone", GONE, || {
        run(&["map", "show", "id", &id]).is_ok_and(|said| said.code == 5)
    })
    .map(drop)
}

/// Says for the table of kinds how this one fared here: `run`, or why not.
pub fn kind(name: &str, how: &str) {
    say::value(&format!("kind/{name}"), &how);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_that_is_lost_is_sent_again() -> Outcome {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let to = receiver.local_addr()?;
        let mut sent = 0;
        arrives(&receiver, || {
            sent += 1;
            if sent > 1 {
                sender.send_to(b"plinth", to)?;
            }
            Ok(())
        })?;
        assert_eq!(sent, 2);
        Ok(())
    }

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
