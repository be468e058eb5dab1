// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Looks for what keeps machines of this host from starting.
//!
//! Changes nothing. Each finding says what is there, and what to do when it is not well. Here is
//! the host, in [`machine`] what one machine needs of it, in [`net`] what it is attached to, in
//! [`way`] how its shell is reached.

mod machine;
mod net;
mod way;

use std::path::{Path, PathBuf};
use std::time::Duration;

use plinth::proc::Limits;
use serde_json::{Value, json};

use self::machine::Machine;
use super::change::CURRENT;
use super::units::{self, Piece};
use super::{Host, HostError, Manager, Name};
use crate::helper::kvm::{LIMIT, Usable, usable};
use crate::helper::virtiofsd::PLACES as VIRTIOFSD_PLACES;

/// What runs machines at full speed.
const KVM: &str = "/dev/kvm";
/// A program that is asked for its version.
const VERSION: Limits = Limits { time: Duration::from_secs(10), output: 1 << 16 };
/// Where administrators' programs are, whatever the search path says.
const PLACES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

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

/// What is to be said of the host, or of one machine; of networks when it is asked for, or for one
/// machine.
///
/// # Errors
/// The state directory cannot be read; there is no such machine.
pub fn doctor(
    host: &Host<'_>,
    only: Option<&Name>,
    with_net: bool,
) -> Result<Vec<Finding>, HostError> {
    let mut findings = vec![kvm(host), service(host), accounts(host)];
    findings.extend(files(host));
    let names = match only {
        Some(name) => vec![name.clone()],
        None => host.names()?,
    };
    let mut needs: Vec<(String, String)> = vec![("ssh".to_owned(), "microvm shell".to_owned())];
    let mut helpers = Vec::new();
    for name in &names {
        let seen = host.look(name)?;
        if only.is_some() && !seen.is_machine() {
            return Err(HostError::NotFound(name.clone()));
        }
        let machine = Machine::read(host, name);
        let mut own = state(host, name, &seen);
        if let Some(machine) = &machine {
            own.extend(machine.findings());
            if with_net || only.is_some() {
                own.extend(net::interfaces(machine));
            }
            needs.extend(programs(machine).into_iter().map(|it| (it, name.to_string())));
            if machine.profile.bridge {
                helpers.push(machine.text("/qemu/bridgeHelper").unwrap_or_default().to_owned());
            }
        }
        if own.is_empty() && seen.is_machine() {
            own.push(Finding::new(Level::Good, name.as_str(), "has all that it needs"));
        }
        findings.extend(own);
        if let (Some(machine), true) = (&machine, only.is_some()) {
            if machine.is_emulated() {
                // It would be told of something that it has no use for.
                findings.retain(|it| it.what != KVM);
            }
            findings.extend(way::way(machine, host.activity(name)?.active));
        }
    }
    needs.sort_unstable();
    needs.dedup_by(|a, b| a.0 == b.0);
    findings.extend(needs.iter().map(|(name, needed)| program(host, name, needed)));
    helpers.sort_unstable();
    helpers.dedup();
    if helpers.is_empty() {
        findings.extend(net::helper(host, None));
    }
    findings.extend(helpers.iter().filter_map(|path| net::helper(host, Some(path))));
    if with_net {
        findings.extend(net::host(host));
    }
    findings.push(ksm(host));
    Ok(findings)
}

/// The programs that a machine needs.
fn programs(machine: &Machine<'_>) -> Vec<String> {
    let profile = &machine.profile;
    let hypervisor = machine.program().unwrap_or_else(|| program_of(&profile.hypervisor));
    let mut programs = vec![hypervisor.to_owned()];
    if profile.tap || profile.macvtap {
        programs.push("ip".to_owned());
    }
    if !profile.served.is_empty() && profile.hypervisor != "vfkit" {
        programs.push(machine.text("/virtiofsd/binary").unwrap_or("virtiofsd").to_owned());
    }
    programs.retain(|it| !it.is_empty());
    programs
}

/// What the hypervisor of another tool's package is called.
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
    if program.contains('/') {
        return Some(host.root.join(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = host.tools.clone().into_iter();
    // Distributions keep this one where no search path leads.
    let more: &[&str] = if program == "virtiofsd" { &VIRTIOFSD_PLACES } else { &[] };
    own.chain(std::env::split_paths(&path))
        .chain(PLACES.iter().chain(more).map(|place| host.root.join(place)))
        .map(|place| place.join(program))
        .find(|path| path.is_file())
}

fn program(host: &Host<'_>, name: &str, needed: &str) -> Finding {
    let Some(path) = find(host, name) else {
        if name == "ip" {
            let text = "is not installed; scripts make interfaces without it";
            return Finding::new(Level::Note, name, text);
        }
        return Finding::new(Level::Bad, name, format!("is not installed, needed by {needed}"));
    };
    if path.ends_with("virtiofsd") && is_old_virtiofsd(host, &path) {
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
    let path = host.root.join(KVM);
    let opened = std::fs::File::options().read(true).write(true).open(path);
    match opened {
        Ok(_) => works(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::new(
            Level::Note,
            KVM,
            "is not there; machines need qemu with qemu.accel = \"tcg\"",
        ),
        Err(error) => Finding::new(Level::Bad, KVM, format!("cannot be opened: {error}")),
    }
}

/// A device that can be opened may still hang with the first instruction.
fn works() -> Finding {
    match usable(LIMIT) {
        Ok(Usable::Yes) => Finding::new(Level::Good, KVM, "works"),
        Ok(found) => {
            let text = format!("{found}; set qemu.accel = \"tcg\"");
            Finding::new(Level::Bad, KVM, text)
        }
        Err(error) => Finding::new(Level::Bad, KVM, format!("cannot be tried: {error}")),
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
        _ => Finding::new(Level::Bad, what, "is missing; microvm host install makes it"),
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

/// Whether the machine is as the last command left it.
fn state(host: &Host<'_>, name: &Name, seen: &super::seen::Seen) -> Vec<Finding> {
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
    findings
}

fn ksm(host: &Host<'_>) -> Finding {
    let text = host.root.read_text("/sys/kernel/mm/ksm/run").unwrap_or_default();
    match text.trim() {
        "1" => Finding::new(Level::Good, "same-page merging", "is on"),
        _ => Finding::new(Level::Note, "same-page merging", "is off, which machines do not need"),
    }
}
