// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of all keys in `stafd.conf` and `stacd.conf`.
//!
//! Owns what each key is called, which daemon knows it, and how its value is understood. Reader and
//! manual pages follow this table.

use std::time::Duration;

use super::{Families, Parameters, Registry, Role, Scope, Settings, values};
use crate::core::timespan;

/// Sets a parameter from its text, or says what was expected. When it fails, the parameter has its
/// default again.
pub type SetParameter = fn(&mut Parameters, &str) -> Result<(), String>;

/// Sets a setting from its text; a complaint means that the default stays, or says what was
/// changed.
pub type SetSetting = fn(&mut Settings, &str) -> Result<(), String>;

/// How a key's value is understood.
#[derive(Clone, Copy, Debug)]
pub enum Set {
    /// A connection parameter.
    Parameter(SetParameter),
    /// Any other single value.
    Setting(SetSetting),
    /// A `controller=` entry; all of them count.
    Controller,
    /// An `exclude=` entry; all of them count.
    Exclude,
}

/// One key of a file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The section that it stands in.
    pub section: &'static str,
    /// Its name, in lower case.
    pub name: &'static str,
    /// The daemons that know it.
    pub roles: &'static [Role],
    /// Its values, for the manual.
    pub value: &'static str,
    /// What counts without it, for the manual.
    pub default: &'static str,
    /// What it does, for the manual.
    pub help: &'static str,
    /// How its value is understood.
    pub set: Set,
}

/// `[Global]`.
pub const GLOBAL: &str = "Global";
/// The section of mDNS discovery.
pub const DISCOVERY: &str = "Service Discovery";
/// The section of stafd's connections.
pub const DC: &str = "Discovery controller connection management";
/// The section of stacd's connections.
pub const IOC: &str = "I/O controller connection management";
/// The section of the lists.
pub const CONTROLLERS: &str = "Controllers";
/// The section that tests change delays in.
pub const DEBUG: &str = "Debug";

const BOTH: &[Role] = &[Role::Finder, Role::Connector];
const FINDER: &[Role] = &[Role::Finder];
const CONNECTOR: &[Role] = &[Role::Connector];

const BOOLEAN: &str = "true|false";
const SWITCH: &str = "enabled|disabled";

pub(super) fn hdr_digest(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    let value = values::boolean(text);
    parameters.hdr_digest = Some(value == Ok(true));
    value.map(|_| ())
}

pub(super) fn data_digest(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    let value = values::boolean(text);
    parameters.data_digest = Some(value == Ok(true));
    value.map(|_| ())
}

pub(super) fn disable_sqflow(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    parameters.disable_sqflow = Some(values::boolean(text)?);
    Ok(())
}

/// The kernel reads numbers into a signed integer of 32 bits.
const INT_MAX: u32 = i32::MAX.unsigned_abs();

pub(super) fn kato(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    parameters.kato = Some(values::number(text, 0, INT_MAX)?);
    Ok(())
}

pub(super) fn queue_size(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    parameters.queue_size = Some(values::number(text, 16, 1024)?);
    Ok(())
}

pub(super) fn nr_io_queues(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    parameters.nr_io_queues = Some(values::number(text, 1, INT_MAX)?);
    Ok(())
}

pub(super) fn nr_write_queues(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    parameters.nr_write_queues = Some(values::number(text, 1, INT_MAX)?);
    Ok(())
}

pub(super) fn nr_poll_queues(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    parameters.nr_poll_queues = Some(values::number(text, 1, INT_MAX)?);
    Ok(())
}

pub(super) fn reconnect_delay(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    parameters.reconnect_delay = Some(values::number(text, 1, INT_MAX)?);
    Ok(())
}

pub(super) fn ctrl_loss_tmo(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    parameters.ctrl_loss_tmo = Some(values::number(text, -1, i32::MAX)?);
    Ok(())
}

pub(super) fn fast_io_fail_tmo(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    parameters.fast_io_fail_tmo = Some(values::number(text, -1, i32::MAX)?);
    Ok(())
}

pub(super) fn tos(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    parameters.tos = Some(values::number(text, 0, u8::MAX)?);
    Ok(())
}

fn families(settings: &mut Settings, text: &str) -> Result<(), String> {
    settings.families = match text {
        "ipv4" => Families::V4,
        "ipv6" => Families::V6,
        "ipv4+ipv6" | "ipv6+ipv4" => Families::Both,
        _ => return Err("expected ipv4, ipv6 or ipv4+ipv6".to_owned()),
    };
    Ok(())
}

fn persistence(settings: &mut Settings, text: &str) -> Result<(), String> {
    let span = timespan::parse(text).ok_or("expected a time span")?;
    settings.zeroconf_persistence = if span < 0.0 {
        None
    } else {
        Some(Duration::try_from_secs_f64(span).unwrap_or(Duration::MAX))
    };
    Ok(())
}

fn registry(settings: &mut Settings, text: &str) -> Result<(), String> {
    settings.registry = match text {
        "auto" => Registry::Auto,
        "yes" => Registry::Yes,
        "no" => Registry::No,
        _ => return Err("expected auto, yes or no".to_owned()),
    };
    Ok(())
}

fn udev_override(settings: &mut Settings, text: &str) -> Result<(), String> {
    settings.udev_override = match text {
        "auto" => true,
        "never" => false,
        _ => return Err("expected auto or never".to_owned()),
    };
    Ok(())
}

fn persistent(settings: &mut Settings, text: &str) -> Result<(), String> {
    let auto = text.eq_ignore_ascii_case("auto");
    let keep = auto || values::boolean(text).map_err(|_| "expected true, false or auto")?;
    (settings.persistent_connections, settings.poll_unless_persistent) = (keep, auto);
    Ok(())
}

fn poll_interval(settings: &mut Settings, text: &str) -> Result<(), String> {
    let minutes = values::number(text, 1_u32, 10_080)?;
    settings.poll_interval = Duration::from_secs(60 * u64::from(minutes));
    Ok(())
}

fn scope(settings: &mut Settings, text: &str) -> Result<(), String> {
    settings.disconnect_scope = match text {
        "only-stas-connections" => Scope::OnlyStas,
        "all-connections-matching-disconnect-trtypes" => Scope::AllMatching,
        "no-disconnect" => Scope::NoDisconnect,
        _ => return Err("expected the name of a scope".to_owned()),
    };
    Ok(())
}

fn trtypes(settings: &mut Settings, text: &str) -> Result<(), String> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for item in text.split('+').map(str::trim) {
        let list = if ["tcp", "rdma", "fc"].contains(&item) { &mut known } else { &mut unknown };
        if !list.iter().any(|listed| listed == item) {
            list.push(item.to_owned());
        }
    }
    if !known.is_empty() {
        settings.disconnect_trtypes = known;
    }
    if unknown.is_empty() { Ok(()) } else { Err("expected tcp, rdma, fc joined by +".to_owned()) }
}

fn attempts_on_ncc(settings: &mut Settings, text: &str) -> Result<(), String> {
    let attempts = values::number(text, 0, INT_MAX)?;
    // One attempt would leave a controller alone for good when its first packet is lost.
    settings.attempts_on_ncc = if attempts == 1 { 2 } else { attempts };
    Ok(())
}

const fn key(
    section: &'static str,
    roles: &'static [Role],
    name: &'static str,
    [value, default, help]: [&'static str; 3],
    set: Set,
) -> Key {
    Key { section, name, roles, value, default, help, set }
}

/// A key of older releases that still means something.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// The section that it stands in.
    pub section: &'static str,
    /// The old name.
    pub name: &'static str,
    /// The section and name of what it means now; `None` when it has no effect any more.
    pub now: Option<(&'static str, &'static str)>,
}

/// Keys of older releases: accepted with a warning, and only where the new key is absent.
pub static ALIASES: &[Alias] = &[
    Alias { section: CONTROLLERS, name: "blacklist", now: Some((CONTROLLERS, "exclude")) },
    Alias {
        section: GLOBAL,
        name: "persistent-connections",
        now: Some((DC, "persistent-connections")),
    },
    Alias { section: GLOBAL, name: "sticky-connections", now: Some((IOC, "disconnect-scope")) },
    Alias { section: GLOBAL, name: "udev-rule", now: None },
    Alias { section: GLOBAL, name: "duplicate-connect", now: None },
];

/// Every key, by section.
pub static KEYS: &[Key] = &[
    key(
        GLOBAL,
        BOTH,
        "tron",
        [BOOLEAN, "false", "log debug messages"],
        Set::Setting(|settings, text| {
            settings.tron = values::boolean(text)?;
            Ok(())
        }),
    ),
    key(
        GLOBAL,
        BOTH,
        "hdr-digest",
        [BOOLEAN, "false", "protect headers by digests (tcp)"],
        Set::Parameter(hdr_digest),
    ),
    key(
        GLOBAL,
        BOTH,
        "data-digest",
        [BOOLEAN, "false", "protect data by digests (tcp)"],
        Set::Parameter(data_digest),
    ),
    key(
        GLOBAL,
        BOTH,
        "kato",
        ["0 or more seconds", "30 for stafd, the kernel's for stacd", "keep-alive timeout"],
        Set::Parameter(kato),
    ),
    key(
        GLOBAL,
        BOTH,
        "ip-family",
        ["ipv4|ipv6|ipv4+ipv6", "ipv4+ipv6", "address families that may be connected"],
        Set::Setting(families),
    ),
    key(
        GLOBAL,
        BOTH,
        "queue-size",
        ["16 to 1024", "the kernel's", "entries of each I/O queue"],
        Set::Parameter(queue_size),
    ),
    key(
        GLOBAL,
        BOTH,
        "reconnect-delay",
        ["1 or more seconds", "the kernel's", "time between the kernel's attempts to reconnect"],
        Set::Parameter(reconnect_delay),
    ),
    key(
        GLOBAL,
        BOTH,
        "ctrl-loss-tmo",
        [
            "-1 or more seconds",
            "the kernel's",
            "time until a lost controller is removed; -1: never",
        ],
        Set::Parameter(ctrl_loss_tmo),
    ),
    key(
        GLOBAL,
        BOTH,
        "disable-sqflow",
        [BOOLEAN, "the kernel's", "do without submission queue flow control"],
        Set::Parameter(disable_sqflow),
    ),
    key(
        GLOBAL,
        BOTH,
        "ignore-iface",
        [BOOLEAN, "false", "ignore every host-iface"],
        Set::Setting(|settings, text| {
            settings.ignore_iface = values::boolean(text)?;
            Ok(())
        }),
    ),
    key(
        GLOBAL,
        BOTH,
        "probe-tcp",
        [BOOLEAN, "true", "try a TCP connection before the kernel is asked for one"],
        Set::Setting(|settings, text| {
            settings.probe_tcp = values::boolean(text)?;
            Ok(())
        }),
    ),
    key(
        GLOBAL,
        BOTH,
        "registry",
        ["auto|yes|no", "auto", "enter connections in the host's registry of owners"],
        Set::Setting(registry),
    ),
    key(
        GLOBAL,
        FINDER,
        "udev-override",
        ["auto|never", "auto", "keep nvme-cli's udev rules from connecting while stafd runs"],
        Set::Setting(udev_override),
    ),
    key(
        GLOBAL,
        FINDER,
        "pleo",
        [SWITCH, "enabled", "ask for the log page entries of the port in use only"],
        Set::Setting(|settings, text| {
            settings.pleo = values::switch(text)?;
            Ok(())
        }),
    ),
    key(
        GLOBAL,
        CONNECTOR,
        "nr-io-queues",
        ["1 or more", "the kernel's", "I/O queues"],
        Set::Parameter(nr_io_queues),
    ),
    key(
        GLOBAL,
        CONNECTOR,
        "nr-write-queues",
        ["1 or more", "the kernel's", "further queues for writes"],
        Set::Parameter(nr_write_queues),
    ),
    key(
        GLOBAL,
        CONNECTOR,
        "nr-poll-queues",
        ["1 or more", "the kernel's", "further queues for polling"],
        Set::Parameter(nr_poll_queues),
    ),
    key(
        DISCOVERY,
        FINDER,
        "zeroconf",
        [SWITCH, "enabled", "look for discovery controllers by mDNS"],
        Set::Setting(|settings, text| {
            settings.zeroconf = values::switch(text)?;
            Ok(())
        }),
    ),
    key(
        DC,
        FINDER,
        "persistent-connections",
        ["true|false|auto", "true", "keep connections when stafd stops; auto: poll who wants none"],
        Set::Setting(persistent),
    ),
    key(
        DC,
        FINDER,
        "epcsd-poll-interval-minutes",
        ["1 to 10080", "60", "minutes between polls of a controller that wants no connection"],
        Set::Setting(poll_interval),
    ),
    key(
        DC,
        FINDER,
        "zeroconf-connections-persistence",
        ["time span", "72 hours", "how long a controller is retried that mDNS lost"],
        Set::Setting(persistence),
    ),
    key(
        IOC,
        CONNECTOR,
        "disconnect-scope",
        [
            "only-stas-connections|all-connections-matching-disconnect-trtypes|no-disconnect",
            "only-stas-connections",
            "connections that may be disconnected",
        ],
        Set::Setting(scope),
    ),
    key(
        IOC,
        CONNECTOR,
        "disconnect-trtypes",
        ["tcp, rdma, fc joined by +", "tcp", "transports whose foreign connections may be"],
        Set::Setting(trtypes),
    ),
    key(
        IOC,
        CONNECTOR,
        "connect-attempts-on-ncc",
        ["0 or more", "0", "attempts while an entry says not connected to CDC; 0: no limit"],
        Set::Setting(attempts_on_ncc),
    ),
    key(
        IOC,
        CONNECTOR,
        "honor-fabric-zoning",
        ["true|false|yes|no", "true", "disconnect controllers whose log page entry vanished"],
        Set::Setting(|settings, text| {
            settings.honor_zoning = values::boolean(text).or_else(|_| values::yes_no(text))?;
            Ok(())
        }),
    ),
    key(
        IOC,
        CONNECTOR,
        "disconnect-boot",
        [BOOLEAN, "false", "let audits disconnect what the system was booted from"],
        Set::Setting(|settings, text| {
            settings.disconnect_boot = values::boolean(text)?;
            Ok(())
        }),
    ),
    key(
        IOC,
        CONNECTOR,
        "skip-foreign-transport",
        [BOOLEAN, "false", "drop entries of another transport than the reporting controller's"],
        Set::Setting(|settings, text| {
            settings.skip_foreign_transport = values::boolean(text)?;
            Ok(())
        }),
    ),
    key(
        IOC,
        CONNECTOR,
        "audit-without-stafd",
        [BOOLEAN, "false", "audit although stafd never answered"],
        Set::Setting(|settings, text| {
            settings.audit_without_stafd = values::boolean(text)?;
            Ok(())
        }),
    ),
    key(
        CONTROLLERS,
        BOTH,
        "controller",
        ["fields separated by ;", "none", "a controller to connect"],
        Set::Controller,
    ),
    key(
        CONTROLLERS,
        BOTH,
        "exclude",
        ["fields separated by ;", "none", "controllers to leave alone"],
        Set::Exclude,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    // R214, R216
    #[test]
    fn words_are_understood_as_they_are_written() {
        let parse = |text: &str| Settings::parse(Role::Finder, &[("test.conf", text)]);
        for (value, expected) in
            [("auto", Registry::Auto), ("yes", Registry::Yes), ("no", Registry::No)]
        {
            let (settings, said) = parse(&format!("[Global]\nregistry={value}\n"));
            assert_eq!((settings.registry, said.len()), (expected, 0));
        }
        for (value, expected) in [("auto", true), ("never", false)] {
            let (settings, said) = parse(&format!("[Global]\nudev-override={value}\n"));
            assert_eq!((settings.udev_override, said.len()), (expected, 0));
        }
        let (settings, said) = parse("[Global]\nregistry=true\nudev-override=no\n");
        assert_eq!((settings.registry, settings.udev_override), (Registry::Auto, true));
        assert_eq!(said.len(), 2);
    }
}
