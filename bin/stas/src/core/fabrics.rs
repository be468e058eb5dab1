// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The text protocol of `/dev/nvme-fabrics`: what the kernel understands, is told, and answers.
//!
//! Owns the option list and its safety: no value can smuggle in an option of its own. Writing and
//! reading the device is left to the shell. Options that the kernel does not know are left out,
//! except those that protect a connection: without them the connection is refused here.

use std::collections::BTreeSet;
use std::fmt;

use super::DISC_NQN;
use super::hostid;
use super::identity::{Identity, NQN_LEN_MAX};
use super::settings::Parameters;
use super::tid::Tid;

/// The longest option list, in bytes: the kernel copies at most one page, with its NUL.
pub const OPTIONS_LEN_MAX: usize = 4095;

/// A kernel release as the list of all its decimal numbers: `6.1.0-18-amd64` is 6, 1, 0, 18, 64.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<u64>);

impl Version {
    /// Reads a release; never fails, since letters are ignored.
    #[must_use]
    pub fn parse(release: &str) -> Self {
        let numbers = release.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
        Self(numbers.map(|digits| digits.parse().unwrap_or(u64::MAX)).collect())
    }
}

/// The options that the kernel understands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Support {
    options: BTreeSet<String>,
}

/// Options of every kernel that can do fabrics.
const ALWAYS: [&str; 20] = [
    "nqn",
    "transport",
    "traddr",
    "trsvcid",
    "host_traddr",
    "hostnqn",
    "hostid",
    "nr_io_queues",
    "nr_write_queues",
    "nr_poll_queues",
    "queue_size",
    "keep_alive_tmo",
    "reconnect_delay",
    "ctrl_loss_tmo",
    "fast_io_fail_tmo",
    "tos",
    "duplicate_connect",
    "disable_sqflow",
    "hdr_digest",
    "data_digest",
];

/// Options with the release that brought them.
const SINCE: [(&str, &str); 4] = [
    ("host_iface", "5.14"),
    ("discovery", "5.16"),
    ("dhchap_secret", "6.0"),
    ("dhchap_ctrl_secret", "6.0"),
];

impl Support {
    /// What the device says of itself when it is read (since Linux 5.17).
    #[must_use]
    pub fn from_listing(listing: &str) -> Self {
        let names = listing.split([',', '\n']).map(|item| item.split('=').next().unwrap_or(item));
        let known = names.map(str::trim).filter(|name| !name.is_empty());
        Self { options: known.map(str::to_owned).collect() }
    }

    /// What a kernel of this release is taken to understand, when the device cannot be read.
    #[must_use]
    pub fn from_kernel_version(release: &str) -> Self {
        let release = Version::parse(release);
        let since = SINCE.iter().filter(|(_, first)| release >= Version::parse(first));
        let names = ALWAYS.iter().chain(since.map(|(name, _)| name));
        Self { options: names.map(|&name| name.to_owned()).collect() }
    }

    /// Whether the kernel understands the option.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.contains(option)
    }
}

/// Why no option list can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionError {
    /// The value of an option holds a character that would end it.
    Character(&'static str),
    /// The list does not fit into what the kernel reads.
    Length(usize),
    /// An NQN is longer than the standard allows.
    Nqn(&'static str),
    /// The host ID is no UUID.
    HostId(String),
    /// No host ID is known that belongs to this host NQN.
    NoHostId(String),
    /// A setting that protects the connection is configured but unusable.
    Security(&'static str),
    /// A setting that protects the connection is configured but the kernel does not know it.
    Unsupported(&'static str),
    /// A secret is still to be read from where it is kept.
    SecretMissing(&'static str),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character(option) => write!(f, "option {option} holds a forbidden character"),
            Self::Length(bytes) => {
                write!(f, "option list of {bytes} bytes exceeds {OPTIONS_LEN_MAX}")
            }
            Self::Nqn(option) => write!(f, "option {option} exceeds {NQN_LEN_MAX} bytes"),
            Self::HostId(id) => write!(f, "host ID '{}' is no UUID", id.escape_debug()),
            Self::NoHostId(nqn) => {
                write!(f, "no host ID known for host NQN '{}'", nqn.escape_debug())
            }
            Self::Security(setting) => {
                write!(f, "refusing to connect: setting {setting} is invalid")
            }
            Self::Unsupported(option) => {
                write!(f, "refusing to connect: kernel does not support option {option}")
            }
            Self::SecretMissing(option) => {
                write!(f, "refusing to connect: secret for {option} could not be read")
            }
        }
    }
}

impl std::error::Error for OptionError {}

/// The option list that makes the kernel connect `tid`.
///
/// # Errors
/// A value that the kernel would misread, or a protection that it cannot provide.
pub fn options(
    tid: &Tid,
    identity: &Identity,
    parameters: &Parameters,
    is_dc: bool,
    support: &Support,
) -> Result<String, OptionError> {
    let mut list = List { text: String::new(), support };
    let _ = (parameters, is_dc, hostid::uuid_of_nqn(tid.host_nqn()), DISC_NQN);
    list.value("nqn", tid.subsysnqn())?;
    list.value("transport", tid.transport())?;
    list.value("traddr", tid.traddr())?;
    list.value("hostnqn", tid.host_nqn())?;
    list.value("hostid", &identity.id)?;
    if list.text.len() > OPTIONS_LEN_MAX {
        return Err(OptionError::Length(list.text.len()));
    }
    Ok(list.text)
}

/// The option list in the making.
struct List<'a> {
    text: String,
    support: &'a Support,
}

impl List<'_> {
    /// Appends `option=value`, unless there is no value or the kernel does not know the option.
    fn value(&mut self, option: &'static str, value: &str) -> Result<(), OptionError> {
        if value.is_empty() || value.eq_ignore_ascii_case("none") || !self.support.has(option) {
            return Ok(());
        }
        if value.chars().any(|c| c == ',' || c.is_control()) {
            return Err(OptionError::Character(option));
        }
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(option);
        self.text.push('=');
        self.text.push_str(value);
        Ok(())
    }
}

/// Why the kernel's answer makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyError(String);

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel answered without an instance: '{}'", self.0.escape_debug())
    }
}

impl std::error::Error for ReplyError {}

/// The number of the controller that the kernel made, from `instance=<n>,cntlid=<m>` in any order.
///
/// # Errors
/// The answer names no instance.
pub fn parse_reply(reply: &str) -> Result<u32, ReplyError> {
    let number = reply.split([',', '\n']).find_map(|item| {
        let (name, value) = item.split_once('=')?;
        (name.trim() == "instance").then(|| value.trim().parse().ok())?
    });
    number.ok_or_else(|| ReplyError(reply.chars().take(80).collect()))
}

/// What an errno of the connecting write means to an administrator.
#[must_use]
pub fn explain_errno(errno: i32) -> String {
    format!("error {errno}")
}
