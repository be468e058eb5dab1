// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Controller entries: `controller=` and `exclude=` lines, fields separated by semicolons.
//!
//! Owns the fields of an entry and their table. Names and addresses are not looked at here.

use super::keys::{self, SetParameter};
use super::{Parameters, Role, values};
use crate::core::DISC_NQN;
use crate::core::exclude::Exclusion;
use crate::core::secret::Secret;
use crate::core::tid::{self, Fields};

/// One configured controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// The identifying fields, as spelled.
    pub fields: Fields,
    /// What differs from the daemon's parameters.
    pub overrides: Parameters,
    /// The line of the entry.
    pub line: u32,
}

impl Configured {
    /// The fields with the subsystem that a daemon of this role means when none is given.
    #[must_use]
    pub fn wanted(&self, role: Role) -> Fields {
        let mut fields = self.fields.clone();
        if role == Role::Finder && tid::value(&fields.subsysnqn).is_empty() {
            DISC_NQN.clone_into(&mut fields.subsysnqn);
        }
        fields
    }

    /// Whether the entry says enough to connect it.
    #[must_use]
    pub fn complete(&self, role: Role) -> bool {
        self.missing(role).is_none()
    }

    /// The first field that the entry lacks. Ports have defaults.
    #[must_use]
    pub fn missing(&self, role: Role) -> Option<&'static str> {
        let lacks = |text: &str| tid::value(text).is_empty();
        let transport = tid::value(&self.fields.transport);
        if lacks(transport) {
            Some("transport")
        } else if lacks(&self.fields.traddr) && !transport.eq_ignore_ascii_case("loop") {
            Some("traddr")
        } else if lacks(&self.fields.host_traddr) && transport.eq_ignore_ascii_case("fc") {
            Some("host-traddr")
        } else if lacks(&self.fields.subsysnqn) && role == Role::Connector {
            Some("nqn")
        } else {
            None
        }
    }
}

/// One field that an entry may have.
#[derive(Clone, Copy, Debug)]
pub struct ControllerField {
    /// Its name.
    pub name: &'static str,
    /// Its value, for the manual.
    pub value: &'static str,
    /// What it does, for the manual.
    pub help: &'static str,
    set: Set,
}

#[derive(Clone, Copy, Debug)]
enum Set {
    /// Part of the identifier.
    Identity,
    /// A parameter; when it is invalid the daemon's value counts.
    Parameter(SetParameter),
    /// A parameter that protects the connection; when it is invalid nothing is connected.
    Protection(SetParameter),
}

const fn identity(name: &'static str, value: &'static str, help: &'static str) -> ControllerField {
    ControllerField { name, value, help, set: Set::Identity }
}

const fn parameter(name: &'static str, value: &'static str, set: SetParameter) -> ControllerField {
    let help = "overrides the key of the same name in [Global]";
    ControllerField { name, value, help, set: Set::Parameter(set) }
}

const fn protection(
    name: &'static str,
    value: &'static str,
    help: &'static str,
    set: SetParameter,
) -> ControllerField {
    ControllerField { name, value, help, set: Set::Protection(set) }
}

/// Every field of a `controller=` entry; `subsysnqn` is another name of `nqn`.
pub static CONTROLLER_FIELDS: &[ControllerField] = &[
    identity("transport", "tcp|rdma|fc|loop", "the transport; mandatory"),
    identity("traddr", "address", "the address or host name of the target; mandatory"),
    identity("trsvcid", "port", "the port; 8009 for tcp and 4420 for rdma by default"),
    identity("nqn", "NQN", "the subsystem; mandatory for stacd"),
    identity("host-traddr", "address", "the source address; mandatory for fc"),
    identity("host-iface", "name", "the interface to leave by (tcp)"),
    identity("host-nqn", "NQN", "the NQN to introduce the host with"),
    ControllerField {
        name: "host-id",
        value: "UUID",
        help: "the host ID that belongs to host-nqn",
        set: Set::Parameter(|parameters, text| {
            let valid = crate::core::hostid::is_uuid(text);
            parameters.host_id = Some(text.to_owned()).filter(|_| valid);
            if valid { Ok(()) } else { Err("expected a UUID".to_owned()) }
        }),
    },
    parameter("hdr-digest", "true|false", keys::hdr_digest),
    parameter("data-digest", "true|false", keys::data_digest),
    parameter("nr-io-queues", "number", keys::nr_io_queues),
    parameter("nr-write-queues", "number", keys::nr_write_queues),
    parameter("nr-poll-queues", "number", keys::nr_poll_queues),
    parameter("queue-size", "number", keys::queue_size),
    parameter("kato", "seconds", keys::kato),
    parameter("reconnect-delay", "seconds", keys::reconnect_delay),
    parameter("ctrl-loss-tmo", "seconds", keys::ctrl_loss_tmo),
    parameter("disable-sqflow", "true|false", keys::disable_sqflow),
    parameter("fast-io-fail-tmo", "seconds", keys::fast_io_fail_tmo),
    parameter("tos", "number", keys::tos),
    protection("dhchap-secret", "secret", "the host's secret", |parameters, text| {
        parameters.dhchap_secret = Some(secret(text)?);
        Ok(())
    }),
    protection("dhchap-ctrl-secret", "secret", "the controller's secret", |parameters, text| {
        parameters.dhchap_ctrl_secret = Some(secret(text)?);
        Ok(())
    }),
    protection(
        "dhchap-secret-file",
        "path",
        "the file of the host's secret",
        |parameters, text| {
            parameters.dhchap_secret = Some(Secret::File(absolute(text)?));
            Ok(())
        },
    ),
    protection(
        "dhchap-ctrl-secret-file",
        "path",
        "the file of the controller's secret",
        |parameters, text| {
            parameters.dhchap_ctrl_secret = Some(Secret::File(absolute(text)?));
            Ok(())
        },
    ),
    protection("tls", "true|false", "whether to use TLS (tcp)", |parameters, text| {
        parameters.tls = Some(values::boolean(text)?);
        Ok(())
    }),
    protection("tls-key", "serial", "the TLS key", |parameters, text| {
        parameters.tls_key = Some(values::serial(text)?);
        Ok(())
    }),
    protection("keyring", "serial", "the keyring of the TLS key", |parameters, text| {
        parameters.keyring = Some(values::serial(text)?);
        Ok(())
    }),
];

fn secret(text: &str) -> Result<Secret, String> {
    Secret::parse(text).map_err(|error| error.to_string())
}

fn absolute(path: &str) -> Result<String, String> {
    let valid = path.starts_with('/');
    if valid { Ok(path.to_owned()) } else { Err("expected an absolute path".to_owned()) }
}

/// Reads a `controller=` entry. The complaints name fields but repeat no value of a protection.
#[must_use]
pub fn parse(text: &str, line: u32) -> (Configured, Vec<String>) {
    let (mut entry, mut complaints) = (Configured { line, ..Configured::default() }, Vec::new());
    for piece in pieces(text) {
        let (name, value) = match piece {
            Ok(pair) => pair,
            Err(complaint) => {
                complaints.push(complaint);
                continue;
            }
        };
        let known = if name == "subsysnqn" { "nqn" } else { name };
        let Some(field) = CONTROLLER_FIELDS.iter().find(|field| field.name == known) else {
            complaints.push(format!("unknown field '{}', ignored", name.escape_debug()));
            continue;
        };
        complaints.extend(apply(&mut entry, field, value));
    }
    (entry, complaints)
}

fn apply(entry: &mut Configured, field: &ControllerField, value: &str) -> Option<String> {
    let name = field.name;
    match field.set {
        Set::Identity => {
            if let Some(slot) = entry.fields.get_mut(name) {
                value.clone_into(slot);
            }
            None
        }
        Set::Parameter(set) => {
            let error = set(&mut entry.overrides, value).err()?;
            Some(format!("invalid value '{}' of field {name}: {error}", value.escape_debug()))
        }
        Set::Protection(set) => {
            let error = set(&mut entry.overrides, value).err()?;
            entry.overrides.unusable = Some(name);
            Some(format!("invalid value of field {name}: {error}; it will not be connected"))
        }
    }
}

/// Reads an `exclude=` entry; `None` when it must not be used.
#[must_use]
pub fn parse_exclusion(text: &str, line: u32) -> (Option<Exclusion>, Vec<String>) {
    let (mut fields, mut complaints, mut usable) = (Fields::default(), Vec::new(), true);
    for piece in pieces(text) {
        match piece {
            Ok((name, value)) => match fields.get_mut(name) {
                Some(slot) => value.clone_into(slot),
                None => {
                    // Without the field the entry would match more than was meant.
                    usable = false;
                    let name = name.escape_debug();
                    complaints.push(format!("unknown field '{name}', exclusion ignored"));
                }
            },
            Err(complaint) => complaints.push(complaint),
        }
    }
    let exclusion = if usable { Exclusion::new(&fields, line) } else { None };
    if usable && exclusion.is_none() {
        complaints.push("exclusion without a field to compare, ignored".to_owned());
    }
    (exclusion, complaints)
}

/// The fields of an entry, split at semicolons and at the first `=` of each.
fn pieces(text: &str) -> impl Iterator<Item = Result<(&str, &str), String>> {
    text.split(';').map(str::trim).filter(|piece| !piece.is_empty()).map(|piece| {
        match piece.split_once('=') {
            Some((name, value)) => Ok((name.trim(), value.trim())),
            None => Err(format!("field '{}' has no value, ignored", piece.escape_debug())),
        }
    })
}

#[cfg(test)]
mod tests;
