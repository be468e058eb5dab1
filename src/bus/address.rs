// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where a message bus listens.
//!
//! Owns the defaults and the environment variables that override them. Implements the D-Bus
//! Specification, section "Well-known Message Bus Instances". The environment is an argument.

use std::ffi::OsString;

/// Which bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The system's: `DBUS_SYSTEM_BUS_ADDRESS`, or the well-known socket.
    System,
    /// The user's: `DBUS_SESSION_BUS_ADDRESS`, or the socket in `XDG_RUNTIME_DIR`.
    Session,
    /// The one at this address, such as `unix:path=/run/bus`.
    At(String),
}

/// The second one is for systems whose `/run` and `/var/run` differ.
const SYSTEM: &str =
    "unix:path=/run/dbus/system_bus_socket;unix:path=/var/run/dbus/system_bus_socket";

impl Address {
    /// The address as text, for libdbus; `None` when the environment names no session bus, or what
    /// it says is not valid UTF-8 or contains a NUL.
    #[must_use]
    pub fn resolve(&self, env: impl Fn(&str) -> Option<OsString>) -> Option<String> {
        let from = |name: &str| match env(name) {
            Some(value) if !value.is_empty() => Some(value.into_string().ok()),
            _ => None,
        };
        let address = match self {
            Self::At(address) => address.clone(),
            Self::System => match from("DBUS_SYSTEM_BUS_ADDRESS") {
                Some(address) => address?,
                None => SYSTEM.to_owned(),
            },
            Self::Session => match from("DBUS_SESSION_BUS_ADDRESS") {
                Some(address) => address?,
                None => format!("unix:path={}/bus", escape(&from("XDG_RUNTIME_DIR")??)),
            },
        };
        (!address.contains('\0')).then_some(address)
    }
}

/// Escapes a value of an address, byte by byte.
fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_/.\\*".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(address: &Address, env: &[(&str, &str)]) -> Option<String> {
        address.resolve(|name| {
            env.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_environment_overrides_the_well_known_socket() {
        assert_eq!(resolve(&Address::System, &[]), Some(SYSTEM.to_owned()));
        let env =
            [("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/a"), ("XDG_RUNTIME_DIR", "/run/user/7 %")];
        assert_eq!(resolve(&Address::System, &env), Some("unix:path=/a".to_owned()));
        assert_eq!(
            resolve(&Address::System, &[("DBUS_SYSTEM_BUS_ADDRESS", "")]),
            Some(SYSTEM.to_owned())
        );
        assert_eq!(
            resolve(&Address::Session, &env),
            Some("unix:path=/run/user/7%20%25/bus".to_owned())
        );
        let env =
            [("DBUS_SESSION_BUS_ADDRESS", "unix:path=/b"), ("XDG_RUNTIME_DIR", "/run/user/7")];
        assert_eq!(resolve(&Address::Session, &env), Some("unix:path=/b".to_owned()));
    }

    #[test]
    fn no_session_is_no_address_and_a_nul_is_refused() {
        assert_eq!(resolve(&Address::Session, &[]), None);
        assert_eq!(resolve(&Address::At("unix:path=/a\0b".to_owned()), &[]), None);
    }
}
