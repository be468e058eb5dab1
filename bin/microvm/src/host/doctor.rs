// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Looks for what keeps machines of this host from starting.
//!
//! Changes nothing. Each finding says what is there, and what to do when it is not well.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plinth::proc::Limits;
use serde_json::{Value, json};

use super::change::CURRENT;
use super::units::{self, Piece};
use super::{Host, HostError, Manager, Name};
use crate::helper::kvm::{LIMIT, Usable, usable};

/// A program that is asked for its version.
const VERSION: Limits = Limits { time: Duration::from_secs(10), output: 1 << 16 };
/// Where administrators' programs are, whatever the search path says.
const PLACES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Where the helper for bridges is installed.
const BRIDGE_HELPERS: [&str; 2] =
    ["/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper"];

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// Some machines may miss it.
    Note,
    /// Machines of this host fail for it.
    Bad,
}

/// Something about this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub text: String,
}

impl Finding {
    fn new(level: Level, what: impl Into<String>, text: impl Into<String>) -> Self {
        Self { level, what: what.into(), text: text.into() }
    }

    /// The line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let sign = match self.level {
            Level::Good => "ok  ",
            Level::Note => "note",
            Level::Bad => "bad ",
        };
        format!("{sign} {}: {}\n", self.what, plinth::text::escape_control(&self.text))
    }

    /// The same for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let level = match self.level {
            Level::Good => "ok",
            Level::Note => "note",
            Level::Bad => "bad",
        };
        json!({ "level": level, "what": self.what, "text": self.text })
    }
}

/// What is to be said of the host, or of one machine.
///
/// # Errors
/// The state directory cannot be read; there is no such machine.
pub fn doctor(host: &Host<'_>, only: Option<&Name>) -> Result<Vec<Finding>, HostError> {
    let mut findings = vec![kvm(host), service(host), accounts(host)];
    findings.extend(files(host));
    let names = match only {
        Some(name) => vec![name.clone()],
        None => host.names()?,
    };
    let mut needs: Vec<(String, String)> = Vec::new();
    for name in &names {
        let seen = host.look(name)?;
        if only.is_some() && !seen.is_machine() {
            return Err(HostError::NotFound(name.clone()));
        }
        findings.extend(machine(host, name, &seen));
        if let Some(profile) = host.profile(name, CURRENT) {
            needs.push((program_of(&profile.hypervisor).to_owned(), name.to_string()));
            let has_ip = profile.tap || profile.macvtap;
            needs.extend(has_ip.then(|| ("ip".to_owned(), name.to_string())));
            let script = host.package(name, CURRENT).map(|it| it.join("bin/virtiofsd-run"));
            let has_daemon = script.is_some_and(|path| path.is_file());
            needs.extend(has_daemon.then(|| ("virtiofsd".to_owned(), name.to_string())));
        }
    }
    needs.push(("ssh".to_owned(), "microvm shell".to_owned()));
    needs.sort_unstable();
    needs.dedup_by(|a, b| a.0 == b.0);
    findings
        .extend(needs.iter().filter(|it| !it.0.is_empty()).map(|it| program(host, &it.0, &it.1)));
    findings.extend(bridge_helper(host));
    findings.push(ksm(host));
    Ok(findings)
}

fn program_of(hypervisor: &str) -> &str {
    match hypervisor {
        "qemu" => match std::env::consts::ARCH {
            "aarch64" => "qemu-system-aarch64",
            _ => "qemu-system-x86_64",
        },
        "kvmtool" => "lkvm",
        other => other,
    }
}

/// Where a program is.
fn find(host: &Host<'_>, program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = host.tools.clone().into_iter();
    own.chain(std::env::split_paths(&path))
        .chain(PLACES.iter().map(|place| host.root.join(place)))
        .map(|place| place.join(program))
        .find(|path| path.is_file())
}

fn program(host: &Host<'_>, name: &str, needed: &str) -> Finding {
    let Some(path) = find(host, name) else {
        // Debian keeps this one where no search path leads.
        let elsewhere = host.root.join("/usr/libexec/virtiofsd");
        if name == "virtiofsd" && elsewhere.is_file() {
            let text = "is /usr/libexec/virtiofsd; say so with virtiofsd.binary";
            return Finding::new(Level::Note, name, text);
        }
        return Finding::new(Level::Bad, name, format!("is not installed, needed by {needed}"));
    };
    if name == "virtiofsd" && is_old_virtiofsd(host, &path) {
        let text = format!("{} is the old C program, which takes other options", path.display());
        return Finding::new(Level::Bad, name, text);
    }
    Finding::new(Level::Good, name, path.display().to_string())
}

fn is_old_virtiofsd(host: &Host<'_>, path: &Path) -> bool {
    let mut command = std::process::Command::new(path);
    command.arg("--version");
    let said = host.run(command, "", VERSION);
    said.is_ok_and(|said| said.contains("FUSE") || said.contains("QEMU"))
}

fn kvm(host: &Host<'_>) -> Finding {
    let path = host.root.join("/dev/kvm");
    let opened = std::fs::File::options().read(true).write(true).open(path);
    match opened {
        Ok(_) => works(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::new(
            Level::Note,
            "/dev/kvm",
            "is not there; machines need qemu with qemu.accel = \"tcg\"",
        ),
        Err(error) => Finding::new(Level::Bad, "/dev/kvm", format!("cannot be opened: {error}")),
    }
}

/// A device that can be opened may still hang with the first instruction.
fn works() -> Finding {
    match usable(LIMIT) {
        Ok(Usable::Yes) => Finding::new(Level::Good, "/dev/kvm", "works"),
        Ok(found) => {
            let text = format!("{found}; set qemu.accel = \"tcg\"");
            Finding::new(Level::Bad, "/dev/kvm", text)
        }
        Err(error) => Finding::new(Level::Bad, "/dev/kvm", format!("cannot be tried: {error}")),
    }
}

fn service(host: &Host<'_>) -> Finding {
    match host.manager {
        Manager::Systemd => Finding::new(Level::Good, "service manager", "systemd"),
        Manager::Own => Finding::new(
            Level::Note,
            "service manager",
            "none that we know; start machines with microvm start",
        ),
    }
}

fn accounts(host: &Host<'_>) -> Finding {
    let (user, group) = (&host.settings.user, &host.settings.group);
    let what = format!("account {user}:{group}");
    match (host.user(), host.group()) {
        (Some(_), Some(_)) => Finding::new(Level::Good, what, "exists"),
        _ => Finding::new(Level::Bad, what, "is missing; systemd-sysusers makes it after install"),
    }
}

/// Units and the like, against what this version installs.
fn files(host: &Host<'_>) -> Vec<Finding> {
    if host.manager == Manager::Own && !host.has_units() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for piece in units::pieces(&host.settings, &host.program) {
        let path = host.root.join(piece.path());
        let is_same = match &piece {
            Piece::File(_, text) => std::fs::read_to_string(&path).is_ok_and(|it| it == *text),
            Piece::Link(_, target) => {
                std::fs::read_link(&path).is_ok_and(|it| it == Path::new(target))
            }
        };
        if !is_same {
            let there = path.symlink_metadata().is_ok();
            let text = if there { "differs from this version's" } else { "is missing" };
            let text = format!("{text}; microvm host install puts it there");
            findings.push(Finding::new(Level::Bad, piece.path(), text));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::new(Level::Good, "units", "are those of this version"));
    }
    findings
}

fn machine(host: &Host<'_>, name: &Name, seen: &super::seen::Seen) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !seen.is_machine() {
        if seen.directory && (!seen.generations.is_empty() || seen.source.is_some()) {
            let text = "was not created to the end; create it again or remove it";
            findings.push(Finding::new(Level::Note, name.as_str(), text));
        }
        return findings;
    }
    if seen.current_id().is_none() {
        findings.push(Finding::new(Level::Bad, name.as_str(), "has no package; update it"));
    }
    let wanted = host.profile(name, CURRENT).and_then(|profile| host.drop_in(&profile));
    if seen.pending || seen.drop_in != wanted {
        let text = "its unit is behind its package; microvm update or host install mends it";
        findings.push(Finding::new(Level::Bad, name.as_str(), text));
    }
    if let Some(source) = seen.source.as_ref().filter(|path| !host.root.exists(path)) {
        let text = format!("its description {source} is gone");
        findings.push(Finding::new(Level::Note, name.as_str(), text));
    }
    if findings.is_empty() {
        findings.push(Finding::new(Level::Good, name.as_str(), "has its package and its unit"));
    }
    findings
}

/// Capabilities of the helper are reported, never given.
fn bridge_helper(host: &Host<'_>) -> Option<Finding> {
    let path = BRIDGE_HELPERS.iter().find(|path| host.root.exists(path))?;
    let mode = host.root.join(path).metadata().map_or(0, |it| it.mode());
    Some(if mode & 0o4000 == 0 {
        let text = "has no set-user-ID bit: interfaces of type bridge need it, or CAP_NET_ADMIN";
        Finding::new(Level::Note, *path, text)
    } else {
        Finding::new(Level::Good, *path, "may attach machines to the bridges of bridge.conf")
    })
}

fn ksm(host: &Host<'_>) -> Finding {
    let text = host.root.read_text("/sys/kernel/mm/ksm/run").unwrap_or_default();
    match text.trim() {
        "1" => Finding::new(Level::Good, "same-page merging", "is on"),
        _ => Finding::new(Level::Note, "same-page merging", "is off, which machines do not need"),
    }
}
