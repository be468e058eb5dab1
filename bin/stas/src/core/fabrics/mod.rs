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

/// Options without which nothing is connected: written whatever the kernel says, since what it says
/// is not always complete.
const BASIC: [&str; 7] =
    ["nqn", "transport", "traddr", "trsvcid", "host_traddr", "hostnqn", "hostid"];

/// Further options of every kernel that can do fabrics.
const ALWAYS: [&str; 13] = [
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
        BASIC.contains(&option) || self.options.contains(option)
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
    if let Some(setting) = parameters.unusable {
        return Err(OptionError::Security(setting));
    }
    let mut list = List { text: String::new(), support };
    target(&mut list, tid)?;
    host(&mut list, tid, identity, parameters)?;
    if is_dc && tid.subsysnqn() != DISC_NQN {
        list.flag("discovery", Some(true));
    }
    secrets(&mut list, identity, parameters)?;
    if !is_dc {
        list.number("nr_io_queues", parameters.nr_io_queues);
        list.number("nr_write_queues", parameters.nr_write_queues);
        list.number("nr_poll_queues", parameters.nr_poll_queues);
        list.number("queue_size", parameters.queue_size);
    }
    list.number("keep_alive_tmo", parameters.kato.filter(|&kato| kato != 0));
    if tid.transport() != "loop" {
        list.number("reconnect_delay", parameters.reconnect_delay);
        list.number("ctrl_loss_tmo", parameters.ctrl_loss_tmo);
        list.number("fast_io_fail_tmo", parameters.fast_io_fail_tmo);
        list.number("tos", parameters.tos);
    }
    list.flag("disable_sqflow", parameters.disable_sqflow);
    if tid.transport() == "tcp" {
        list.flag("hdr_digest", parameters.hdr_digest);
        list.flag("data_digest", parameters.data_digest);
    }
    tls(&mut list, tid, parameters)?;
    if list.text.len() > OPTIONS_LEN_MAX {
        return Err(OptionError::Length(list.text.len()));
    }
    Ok(list.text)
}

fn target(list: &mut List<'_>, tid: &Tid) -> Result<(), OptionError> {
    list.nqn("nqn", tid.subsysnqn())?;
    list.value("transport", tid.transport())?;
    if tid.transport() != "loop" {
        list.value("traddr", tid.traddr())?;
        list.value("host_traddr", tid.host_traddr())?;
    }
    if tid.transport() == "tcp" {
        list.value("host_iface", tid.host_iface())?;
    }
    list.value("trsvcid", tid.trsvcid())
}

/// The host's NQN with the ID that belongs to it: kernels refuse a pair that they know otherwise.
fn host(
    list: &mut List<'_>,
    tid: &Tid,
    identity: &Identity,
    parameters: &Parameters,
) -> Result<(), OptionError> {
    let nqn = tid.host_nqn();
    if nqn.is_empty() {
        return Ok(()); // the kernel makes up a pair; an ID without its NQN would confuse it
    }
    let id = match &parameters.host_id {
        Some(id) => id.clone(),
        None if nqn == identity.nqn => identity.id.clone(),
        None => hostid::uuid_of_nqn(nqn).ok_or_else(|| OptionError::NoHostId(nqn.to_owned()))?,
    };
    if !id.is_empty() && !hostid::is_uuid(&id) {
        return Err(OptionError::HostId(id));
    }
    list.nqn("hostnqn", nqn)?;
    list.value("hostid", &id)
}

/// The entry's own secrets come before the host's key.
fn secrets(
    list: &mut List<'_>,
    identity: &Identity,
    parameters: &Parameters,
) -> Result<(), OptionError> {
    let host = parameters.dhchap_secret.as_ref().or(identity.key.as_ref());
    let controller = parameters.dhchap_ctrl_secret.as_ref();
    if controller.is_some() && host.is_none() {
        return Err(OptionError::SecretMissing("dhchap_secret"));
    }
    for (option, secret) in [("dhchap_secret", host), ("dhchap_ctrl_secret", controller)] {
        let Some(secret) = secret else { continue };
        let text = secret.expose().ok_or(OptionError::SecretMissing(option))?;
        list.protection(option, text)?;
    }
    Ok(())
}

fn tls(list: &mut List<'_>, tid: &Tid, parameters: &Parameters) -> Result<(), OptionError> {
    let wanted = parameters.tls == Some(true) || parameters.tls_key.is_some();
    if !wanted {
        return Ok(());
    }
    if tid.transport() != "tcp" {
        return Err(OptionError::Security("tls"));
    }
    for (option, serial) in [("keyring", parameters.keyring), ("tls_key", parameters.tls_key)] {
        if let Some(serial) = serial {
            list.protection(option, &format!("{serial:#010x}"))?;
        }
    }
    if !list.support.has("tls") {
        return Err(OptionError::Unsupported("tls"));
    }
    list.flag("tls", Some(true));
    Ok(())
}

/// The option list in the making. Every value passes through [`List::value`], which is what keeps a
/// value from becoming an option.
struct List<'a> {
    text: String,
    support: &'a Support,
}

impl List<'_> {
    /// Appends `option=value`, unless there is no value or the kernel does not know the option.
    fn value(&mut self, option: &'static str, value: &str) -> Result<(), OptionError> {
        if value.is_empty() || value.eq_ignore_ascii_case("none") {
            return Ok(());
        }
        if value.chars().any(|c| c == ',' || c.is_control()) {
            return Err(OptionError::Character(option));
        }
        if self.support.has(option) {
            self.separate(option);
            self.text.push('=');
            self.text.push_str(value);
        }
        Ok(())
    }

    fn nqn(&mut self, option: &'static str, nqn: &str) -> Result<(), OptionError> {
        if nqn.len() > NQN_LEN_MAX {
            return Err(OptionError::Nqn(option));
        }
        self.value(option, nqn)
    }

    /// Appends an option that must not be left out.
    fn protection(&mut self, option: &'static str, value: &str) -> Result<(), OptionError> {
        if !self.support.has(option) {
            return Err(OptionError::Unsupported(option));
        }
        self.value(option, value)
    }

    fn number<N: fmt::Display>(&mut self, option: &'static str, number: Option<N>) {
        if let Some(number) = number.filter(|_| self.support.has(option)) {
            self.separate(option);
            self.text.push_str(&format!("={number}"));
        }
    }

    fn flag(&mut self, option: &'static str, on: Option<bool>) {
        if on == Some(true) && self.support.has(option) {
            self.separate(option);
        }
    }

    /// Appends the name of an option.
    fn separate(&mut self, option: &'static str) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(option);
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
    let known = ERRNOS.iter().find(|(number, ..)| *number == errno);
    known
        .map_or_else(|| format!("error {errno}"), |(_, name, meaning)| format!("{name}: {meaning}"))
}

/// Number (as in `asm-generic/errno.h`), name and meaning.
const ERRNOS: [(i32, &str, &str); 23] = [
    (4, "EINTR", "interrupted, will be retried"),
    (5, "EIO", "rejected by the controller, or lost during the connect command"),
    (11, "EAGAIN", "no answer to the connection request, will be retried"),
    (12, "ENOMEM", "out of memory"),
    (13, "EACCES", "authentication or TLS key problem"),
    (16, "EBUSY", "busy, will be retried"),
    (19, "ENODEV", "transport module or network interface is not available"),
    (22, "EINVAL", "bad or unsupported option, or host NQN and host ID do not belong together"),
    (95, "EOPNOTSUPP", "not supported by the transport or the controller"),
    (98, "EADDRINUSE", "source address is in use"),
    (99, "EADDRNOTAVAIL", "source address is not available (yet)"),
    (100, "ENETDOWN", "network is down"),
    (101, "ENETUNREACH", "network is unreachable"),
    (104, "ECONNRESET", "connection reset (a target that insists on TLS does this)"),
    (107, "ENOTCONN", "connection lost"),
    (110, "ETIMEDOUT", "target does not answer"),
    (111, "ECONNREFUSED", "nothing listens on that port"),
    (113, "EHOSTUNREACH", "no route to the target"),
    (114, "EALREADY", "already connected"),
    (126, "ENOKEY", "authentication or TLS key is missing"),
    (127, "EKEYEXPIRED", "authentication or TLS key has expired"),
    (128, "EKEYREVOKED", "authentication or TLS key was revoked"),
    (129, "EKEYREJECTED", "authentication key was rejected"),
];

#[cfg(test)]
mod tests;
