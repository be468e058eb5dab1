// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemons' settings: from the texts of their files to one checked value.
//!
//! Owns the meaning of every section and key ([`keys::KEYS`]) and of the fields of a controller
//! entry ([`controller::CONTROLLER_FIELDS`]); the syntax is left to [`plinth::config::ini`].
//! Nothing in a file is fatal: what is wrong becomes a [`Diagnostic`] and the default stays.
//! Diagnostics never repeat a secret.

pub mod controller;
pub mod keys;
mod read;
pub mod timing;
mod values;

use std::fmt;
use std::time::Duration;

use super::exclude::Exclusion;
use super::iface::Family;
use super::secret::{self, Secret};
pub use controller::Configured;
pub(super) use read::has_comment;
pub use timing::Timing;

/// Which daemon the settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `stafd`, which connects discovery controllers.
    Finder,
    /// `stacd`, which connects I/O controllers.
    Connector,
}

/// The address families in use; never none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv4 and IPv6.
    Both,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Families {
    /// Whether addresses of `family` may be connected.
    #[must_use]
    pub const fn contains(self, family: Family) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => matches!(family, Family::V4),
            Self::V6 => matches!(family, Family::V6),
        }
    }
}

/// Which connections `stacd` may disconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those it made or adopted.
    OnlyStas,
    /// Those, and every other one of the transports listed.
    AllMatching,
    /// None.
    NoDisconnect,
}

/// Whether connections are entered in the host's registry of owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    /// Where there is one.
    Auto,
    /// Make one where there is none.
    Yes,
    /// Never.
    No,
}

/// What a connection is made with; `None` leaves the choice to the kernel (or to the base).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Header digests (TCP).
    pub hdr_digest: Option<bool>,
    /// Data digests (TCP).
    pub data_digest: Option<bool>,
    /// No submission queue flow control.
    pub disable_sqflow: Option<bool>,
    /// Keep-alive timeout, seconds; 0 writes nothing.
    pub kato: Option<u32>,
    /// Entries of each I/O queue, 16 to 1024.
    pub queue_size: Option<u32>,
    /// I/O queues, at least 1.
    pub nr_io_queues: Option<u32>,
    /// Further queues for writes, at least 1.
    pub nr_write_queues: Option<u32>,
    /// Further queues for polling, at least 1.
    pub nr_poll_queues: Option<u32>,
    /// Seconds between the kernel's attempts to reconnect, at least 1.
    pub reconnect_delay: Option<u32>,
    /// Seconds until the kernel gives a lost controller up; -1 is never.
    pub ctrl_loss_tmo: Option<i32>,
    /// Seconds until I/O fails while reconnecting; -1 is never.
    pub fast_io_fail_tmo: Option<i32>,
    /// Type of service of the TCP connections.
    pub tos: Option<u8>,
    /// The host ID that belongs to the entry's host NQN.
    pub host_id: Option<String>,
    /// The host's DH-HMAC-CHAP secret.
    pub dhchap_secret: Option<Secret>,
    /// The controller's DH-HMAC-CHAP secret.
    pub dhchap_ctrl_secret: Option<Secret>,
    /// TLS.
    pub tls: Option<bool>,
    /// Serial number of the keyring to take the TLS key from.
    pub keyring: Option<u32>,
    /// Serial number of the TLS key.
    pub tls_key: Option<u32>,
    /// A setting that protects the connection but cannot be understood: nothing may be connected
    /// without it.
    pub unusable: Option<&'static str>,
}

impl Parameters {
    /// These parameters, with the gaps filled from `base`.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        Self {
            hdr_digest: self.hdr_digest.or(base.hdr_digest),
            data_digest: self.data_digest.or(base.data_digest),
            disable_sqflow: self.disable_sqflow.or(base.disable_sqflow),
            kato: self.kato.or(base.kato),
            queue_size: self.queue_size.or(base.queue_size),
            nr_io_queues: self.nr_io_queues.or(base.nr_io_queues),
            nr_write_queues: self.nr_write_queues.or(base.nr_write_queues),
            nr_poll_queues: self.nr_poll_queues.or(base.nr_poll_queues),
            reconnect_delay: self.reconnect_delay.or(base.reconnect_delay),
            ctrl_loss_tmo: self.ctrl_loss_tmo.or(base.ctrl_loss_tmo),
            fast_io_fail_tmo: self.fast_io_fail_tmo.or(base.fast_io_fail_tmo),
            tos: self.tos.or(base.tos),
            host_id: self.host_id.clone().or_else(|| base.host_id.clone()),
            dhchap_secret: self.dhchap_secret.clone().or_else(|| base.dhchap_secret.clone()),
            dhchap_ctrl_secret: self
                .dhchap_ctrl_secret
                .clone()
                .or_else(|| base.dhchap_ctrl_secret.clone()),
            tls: self.tls.or(base.tls),
            keyring: self.keyring.or(base.keyring),
            tls_key: self.tls_key.or(base.tls_key),
            unusable: self.unusable.or(base.unusable),
        }
    }
}

/// All settings of one daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Debug messages.
    pub tron: bool,
    /// Address families that may be connected.
    pub families: Families,
    /// Ignore every `host-iface`, whatever its source.
    pub ignore_iface: bool,
    /// Ask discovery controllers for the entries of their own port only.
    pub pleo: bool,
    /// What connections are made with, unless the controller's entry says otherwise.
    pub parameters: Parameters,
    /// Look for discovery controllers by mDNS.
    pub zeroconf: bool,
    /// Keep connections to discovery controllers when the finder stops.
    pub persistent_connections: bool,
    /// Disconnect from discovery controllers that do not want lasting connections, and poll them.
    pub poll_unless_persistent: bool,
    /// Between such polls.
    pub poll_interval: Duration,
    /// How long an unreachable discovery controller that is no longer announced is retried; `None`
    /// is for ever.
    pub zeroconf_persistence: Option<Duration>,
    /// Which connections may be disconnected.
    pub disconnect_scope: Scope,
    /// The transports of [`Scope::AllMatching`].
    pub disconnect_trtypes: Vec<String>,
    /// Connect attempts while an entry says "not connected to CDC"; 0 is no limit.
    pub attempts_on_ncc: u32,
    /// Disconnect I/O controllers whose log page entry vanished.
    pub honor_zoning: bool,
    /// Let audits disconnect what the running system was booted from, too.
    pub disconnect_boot: bool,
    /// Drop log page entries of another transport than the reporting controller's.
    pub skip_foreign_transport: bool,
    /// Try a TCP connection before the kernel is asked for one.
    pub probe_tcp: bool,
    /// Keep nvme-cli's udev rules from connecting while the finder runs.
    pub udev_override: bool,
    /// Enter connections in the host's registry of owners.
    pub registry: Registry,
    /// Audit although stafd never answered.
    pub audit_without_stafd: bool,
    /// Delays and limits.
    pub timing: Timing,
    /// Configured controllers, in order; no two of them with equal identifiers.
    pub controllers: Vec<Configured>,
    /// What must not be connected.
    pub excludes: Vec<Exclusion>,
}

impl Settings {
    /// The settings of a daemon without any file.
    #[must_use]
    pub fn new(role: Role) -> Self {
        let parameters = Parameters {
            hdr_digest: Some(false),
            data_digest: Some(false),
            kato: (role == Role::Finder).then_some(30),
            ..Parameters::default()
        };
        Self {
            tron: false,
            families: Families::Both,
            ignore_iface: false,
            pleo: true,
            parameters,
            zeroconf: true,
            persistent_connections: true,
            poll_unless_persistent: false,
            poll_interval: timing::POLL_INTERVAL,
            zeroconf_persistence: Some(timing::ZEROCONF_PERSISTENCE),
            disconnect_scope: Scope::OnlyStas,
            disconnect_trtypes: vec!["tcp".to_owned()],
            attempts_on_ncc: 0,
            honor_zoning: true,
            disconnect_boot: false,
            skip_foreign_transport: false,
            probe_tcp: true,
            udev_override: true,
            registry: Registry::Auto,
            audit_without_stafd: false,
            timing: Timing::default(),
            controllers: Vec::new(),
            excludes: Vec::new(),
        }
    }

    /// Reads the main file and its drop-ins, given as path and text in the order in which they
    /// count. A file that is no INI at all is reported by a fatal diagnostic and skipped whole.
    #[must_use]
    pub fn parse(role: Role, files: &[(&str, &str)]) -> (Self, Vec<Diagnostic>) {
        read::settings(role, files)
    }

    /// Replaces every secret that is kept elsewhere by the secret itself. `read` returns the text
    /// of the place; a controller whose secret cannot be read stays, but must not be connected.
    pub fn resolve_secrets(&mut self, path: &str, read: &mut secret::Read<'_>) -> Vec<Diagnostic> {
        let mut out = Vec::new();
        for entry in &mut self.controllers {
            let parameters = &mut entry.overrides;
            let secrets = [
                ("dhchap-secret", parameters.dhchap_secret.as_mut()),
                ("dhchap-ctrl-secret", parameters.dhchap_ctrl_secret.as_mut()),
            ];
            for (name, secret) in secrets {
                if let Some(Err(error)) = secret.map(|secret| secret.resolve(read)) {
                    parameters.unusable = Some(name);
                    let text = format!("{name}: {error}; it will not be connected");
                    out.push(Diagnostic::new(log::Level::Error, path, Some(entry.line), text));
                }
            }
        }
        out
    }
}

/// Something to tell the administrator about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Severity.
    pub level: log::Level,
    /// The file.
    pub path: String,
    /// The line, from 1, where there is one.
    pub line: Option<u32>,
    /// What is wrong and what happens instead.
    pub text: String,
    /// Whether the file as a whole could not be used: a reload keeps the previous settings.
    pub fatal: bool,
}

impl Diagnostic {
    /// A file that cannot be read at all: `reason` is the cause, without the path.
    #[must_use]
    pub fn unreadable(path: &str, line: Option<u32>, reason: &str) -> Self {
        let level = log::Level::Error;
        Self { level, path: path.to_owned(), line, text: reason.to_owned(), fatal: true }
    }

    /// A complaint after which the rest of the file stays effective.
    #[must_use]
    pub fn new(level: log::Level, path: &str, line: Option<u32>, text: String) -> Self {
        Self { level, path: path.to_owned(), line, text, fatal: false }
    }
}

impl fmt::Display for Diagnostic {
    /// `path:line: text`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.text)
    }
}

#[cfg(test)]
mod tests;
