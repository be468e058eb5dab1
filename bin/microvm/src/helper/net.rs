// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal net`: the interfaces of a machine, where there is no `ip`.
//!
//! Does what the scripts do with `ip`: taps and macvtaps are deleted if they are there, made, set
//! up; on the way down each is deleted, and what fails does not keep the others. With `--keep` a
//! tap that is as it should be, and that nobody uses, stays.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plinth::err::{Failure, tell};
use plinth::file::Root;
use plinth::netlink::route::{LinkOrder, MacvtapMode};
use plinth::netlink::{Interface, RouteSocket};
use plinth::sys::tun::{self, Tap};
use plinth::time::{Time, pause};
use serde_json::Value;

use super::accounts::{Owner, user_from_env};
use super::{Call, usage};
use crate::cli::World;
use crate::package::{RUNNER, RUNNER_MAX};

const TUN: &str = "/dev/net/tun";
/// How long a device node may take to appear.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long between two looks for it.
const LOOK: Duration = Duration::from_millis(10);

/// What went wrong with an interface.
#[derive(Debug)]
enum NetError {
    /// A file of the package cannot be read.
    Package(PathBuf, io::Error),
    /// A line of the package says nothing.
    Line(&'static str, String),
    /// The link below it, or the bridge, does not exist: which interface, which other.
    NoLink(String, String),
    /// The kernel refused: what, and which interface.
    Kernel(&'static str, String, io::Error),
    /// Some could not be deleted; each was told.
    Some(usize),
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(path, _) => write!(f, "cannot read {}", path.display()),
            Self::Line(file, line) => write!(f, "{file}: not understood: {line}"),
            Self::NoLink(id, other) => {
                write!(f, "the interface {other}, which {id} needs, does not exist")
            }
            Self::Kernel(what, id, _) => write!(f, "cannot {what} {id}"),
            Self::Some(count) => write!(f, "{count} interfaces could not be deleted"),
        }
    }
}

impl std::error::Error for NetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Package(_, error) | Self::Kernel(_, _, error) => Some(error),
            _ => None,
        }
    }
}

/// An interface, as the package has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub id: String,
    /// The bridge that it becomes a port of.
    pub bridge: Option<String>,
    /// The size of its packets.
    pub mtu: Option<u32>,
    /// More names.
    pub names: Vec<String>,
    /// For a macvtap: the link below, the address and the mode.
    pub macvtap: Option<(String, [u8; 6], MacvtapMode)>,
}

/// The taps of a package: its list of names, and what its description says of each.
#[must_use]
pub fn taps(list: &str, runner: &[u8]) -> Vec<Wanted> {
    let runner = serde_json::from_slice(runner).unwrap_or_default();
    list.lines().filter(|id| !id.is_empty()).map(|id| described(id, &runner)).collect()
}

/// The macvtaps of a package.
///
/// # Errors
/// The line that is not `ID MAC LINK MODE`.
pub fn macvtaps(list: &str, runner: &[u8]) -> Result<Vec<Wanted>, String> {
    let runner = serde_json::from_slice(runner).unwrap_or_default();
    let one = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [id, address, link, mode] = fields.as_slice() else { return None };
        let macvtap = Some((link.to_string(), mac(address)?, MacvtapMode::parse(mode)?));
        Some(Wanted { macvtap, ..described(id, &runner) })
    };
    list.lines().map(|line| one(line).ok_or_else(|| line.to_owned())).collect()
}

/// What the description says of every kind of interface.
fn described(id: &str, runner: &Value) -> Wanted {
    let all = runner.pointer("/config/interfaces").and_then(Value::as_array);
    let mut all = all.into_iter().flatten();
    let found = all.find(|it| it.get("id").and_then(Value::as_str) == Some(id));
    let found = found.unwrap_or(&Value::Null);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Wanted {
        id: id.to_owned(),
        bridge: found.pointer("/tap/bridge").and_then(text),
        mtu: found.get("mtu").and_then(Value::as_u64).and_then(|mtu| u32::try_from(mtu).ok()),
        names: found
            .get("altname")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(text)
            .collect(),
        macvtap: None,
    }
}

/// A hardware address: six bytes with colons between them.
fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        [*byte] = plinth::text::hex(parts.next()?)?;
    }
    parts.next().is_none().then_some(bytes)
}

pub(super) fn run(call: &Call<'_>, world: &World<'_>) -> Result<u8, Failure> {
    call.at_most(1)?;
    let package = call.need(call.options.package.as_ref(), "package")?;
    let mut net = Net { socket: RouteSocket::open()?, keep: call.options.keep };
    match call.word(0, "ACTION")? {
        "tap-up" => {
            let user = user_from_env(world.env, &Root::system())?;
            let flags = metadata(&package, "share/microvm/tap-flags")?;
            let multi_queue = flags.lines().any(|flag| flag == "multi_queue");
            for wanted in read_taps(&package)? {
                net.tap_up(&wanted, user, multi_queue)?;
            }
        }
        "macvtap-up" => {
            let owner = Owner::from_env(world.env, &Root::system())?;
            for wanted in read_macvtaps(&package)? {
                net.macvtap_up(&wanted, &owner)?;
            }
        }
        "tap-down" => net.down(&read_taps(&package)?)?,
        "macvtap-down" => net.down(&read_macvtaps(&package)?)?,
        _ => return Err(usage("ACTION: not tap-up, tap-down, macvtap-up or macvtap-down")),
    }
    Ok(0)
}

fn bytes(package: &Path, name: &str) -> Result<Vec<u8>, NetError> {
    let path = package.join(name);
    plinth::file::read(&path, RUNNER_MAX).map_err(|error| NetError::Package(path, error))
}

fn metadata(package: &Path, name: &str) -> Result<String, NetError> {
    let odd = |_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8");
    String::from_utf8(bytes(package, name)?)
        .map_err(|error| NetError::Package(package.join(name), odd(error)))
}

fn read_taps(package: &Path) -> Result<Vec<Wanted>, NetError> {
    Ok(taps(&metadata(package, "share/microvm/tap-interfaces")?, &bytes(package, RUNNER)?))
}

fn read_macvtaps(package: &Path) -> Result<Vec<Wanted>, NetError> {
    let list = metadata(package, "share/microvm/macvtap-interfaces")?;
    macvtaps(&list, &bytes(package, RUNNER)?)
        .map_err(|line| NetError::Line("share/microvm/macvtap-interfaces", line))
}

struct Net {
    socket: RouteSocket,
    keep: bool,
}

impl Net {
    fn find(&mut self, name: &str) -> Result<Option<Interface>, NetError> {
        let all = self.socket.dump_interfaces();
        let all = all.map_err(|error| NetError::Kernel("look for", name.to_owned(), error))?;
        Ok(all.into_iter().find(|it| it.name == name))
    }

    fn order(
        &mut self,
        what: &'static str,
        wanted: &Wanted,
        order: &LinkOrder<'_>,
    ) -> Result<(), NetError> {
        let done = self.socket.order(order);
        done.map_err(|error| NetError::Kernel(what, wanted.id.clone(), error))
    }

    fn delete(&mut self, wanted: &Wanted) -> Result<(), NetError> {
        match self.find(&wanted.id)? {
            Some(there) => self.order("delete", wanted, &LinkOrder::Delete(there.index)),
            None => Ok(()),
        }
    }

    fn tap_up(&mut self, wanted: &Wanted, owner: u32, multi_queue: bool) -> Result<(), NetError> {
        let tap = Tap { name: &wanted.id, owner: Some(owner), vnet_hdr: true, multi_queue };
        if !(self.keep && is_free_and_right(&tap)) {
            self.delete(wanted)?;
            tun::create(Path::new(TUN), &tap)
                .map_err(|error| NetError::Kernel("create", wanted.id.clone(), error))?;
        }
        let index = self.index(wanted)?;
        self.common(wanted, index)?;
        self.order("set up", wanted, &LinkOrder::Up(index))?;
        if let Some(bridge) = &wanted.bridge {
            let master = self.find(bridge)?.map(|bridge| bridge.index);
            let missing = || NetError::NoLink(wanted.id.clone(), bridge.clone());
            let master = master.ok_or_else(missing)?;
            self.order("attach to its bridge", wanted, &LinkOrder::Master { index, master })?;
        }
        Ok(())
    }

    fn macvtap_up(&mut self, wanted: &Wanted, owner: &Owner) -> Result<(), NetError> {
        let Some((below, mac, mode)) = &wanted.macvtap else { return Ok(()) };
        let link = self.find(below)?.map(|link| link.index);
        let link = link.ok_or_else(|| NetError::NoLink(wanted.id.clone(), below.clone()))?;
        self.delete(wanted)?;
        let order = LinkOrder::Macvtap { name: &wanted.id, link, mac: *mac, mode: *mode };
        self.order("create", wanted, &order)?;
        let index = self.index(wanted)?;
        self.common(wanted, index)?;
        self.order("set to take multicast", wanted, &LinkOrder::AllMulticast(index))?;
        let ipv6 = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", wanted.id);
        let kernel = |what| move |error| NetError::Kernel(what, wanted.id.clone(), error);
        if Path::new(&ipv6).exists() {
            fs::write(&ipv6, "1").map_err(kernel("switch IPv6 off on"))?;
        }
        self.order("set up", wanted, &LinkOrder::Up(index))?;
        let device = PathBuf::from(format!("/dev/tap{index}"));
        appears(&device).map_err(kernel("find the device of"))?;
        std::os::unix::fs::chown(&device, Some(owner.user), Some(owner.group))
            .map_err(kernel("change the owner of the device of"))
    }

    fn index(&mut self, wanted: &Wanted) -> Result<u32, NetError> {
        let found = self.find(&wanted.id)?;
        let gone = || NetError::Kernel("find", wanted.id.clone(), io::ErrorKind::NotFound.into());
        found.map(|it| it.index).ok_or_else(gone)
    }

    fn common(&mut self, wanted: &Wanted, index: u32) -> Result<(), NetError> {
        if let Some(mtu) = wanted.mtu {
            self.order("set the packet size of", wanted, &LinkOrder::Mtu { index, mtu })?;
        }
        for name in &wanted.names {
            match self.order("give a name to", wanted, &LinkOrder::AltName { index, name }) {
                // It was kept, and has it.
                Err(NetError::Kernel(_, _, error))
                    if self.keep && error.kind() == io::ErrorKind::AlreadyExists => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn down(&mut self, all: &[Wanted]) -> Result<(), NetError> {
        let mut failed = 0;
        for wanted in all {
            if let Err(error) = self.delete(wanted) {
                tell(format_args!("microvm: {}", plinth::err::chain(&error)));
                failed += 1;
            }
        }
        if failed > 0 { Err(NetError::Some(failed)) } else { Ok(()) }
    }
}

/// Whether such a tap is there, and nobody has attached to it.
fn is_free_and_right(tap: &Tap<'_>) -> bool {
    let file = |name: &str| {
        let path = PathBuf::from(format!("/sys/class/net/{}/{name}", tap.name));
        let bytes = plinth::file::read(&path, 64).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    let Some(flags) = file("tun_flags") else { return false };
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(0);
    flags & tun::MEANT == tap.flags()
        && file("owner").and_then(|owner| owner.parse().ok()) == tap.owner
        && file("carrier").is_none_or(|carrier| carrier == "0")
}

/// Waits until a device node is there: a daemon may have to make it.
fn appears(device: &Path) -> io::Result<()> {
    let deadline = Time::monotonic() + PATIENCE;
    while !device.exists() {
        if Time::monotonic() >= deadline {
            return Err(io::ErrorKind::NotFound.into());
        }
        pause(LOOK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RUNNER: &[u8] = br#"{"config": {"interfaces": [
        {"id": "vm-a", "tap": {"bridge": "br0"}, "mtu": 9000, "altname": ["a-long-name"]},
        {"id": "mv-a", "mtu": 1400}]}}"#;

    #[test]
    fn a_package_says_what_is_wanted() {
        let taps = taps("vm-a\nvm-b\n", RUNNER);
        let first = Wanted {
            id: "vm-a".to_owned(),
            bridge: Some("br0".to_owned()),
            mtu: Some(9000),
            names: vec!["a-long-name".to_owned()],
            macvtap: None,
        };
        assert_eq!(taps, [first, Wanted { id: "vm-b".to_owned(), ..Wanted::default() }]);
        let macvtaps = macvtaps("mv-a 02:00:00:00:00:0f eth0 bridge\n", RUNNER).expect("a line");
        let below = ("eth0".to_owned(), [2, 0, 0, 0, 0, 15], MacvtapMode::Bridge);
        assert_eq!(macvtaps[0].macvtap, Some(below));
        assert_eq!(macvtaps[0].mtu, Some(1400));
    }

    #[test]
    fn odd_lines_are_errors() {
        for odd in [
            "",
            "mv-a",
            "mv-a 02:00:00:00:00:0f eth0 hub",
            "mv-a 02:00:00:00:00 eth0 bridge",
            "mv-a 02:00:00:00:00:0f:00 eth0 bridge",
            "mv-a 02:00:00:00:00:0f eth0 bridge x",
            "mv-a +2:00:00:00:00:0f eth0 bridge",
            "mv-a 02:00:00:00:00:é eth0 bridge",
        ] {
            assert_eq!(macvtaps(&format!("{odd}\n"), b""), Err(odd.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn any_package_is_read(
            list in "([a-z0-9: ]|\n){0,60}",
            runner in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            drop(macvtaps(&list, &runner));
            prop_assert!(taps(&list, &runner).iter().all(|it| !it.id.is_empty()));
        }
    }
}
