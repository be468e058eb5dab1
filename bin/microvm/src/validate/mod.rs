// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether the values of machines make sense together, alone and side by side.
//!
//! Owns every rule that needs more than one value, or more than its type: MV101 to MV170, and what
//! one hypervisor cannot do, MV200 to MV235. All findings are collected in one run. Pure: what has
//! to be asked of the host comes through [`Facts`], and changes findings, never what is generated.
//! Places are not known here; a finding names the path of the option, and `pipeline` looks it up.

mod boot;
mod cloud;
mod devices;
mod disks;
mod effect;
mod fleet;
mod hypervisor;
mod memory;
mod names;
mod network;
mod shares;
mod sockets;
mod texts;

use crate::config::Vm;
use crate::diag::{Diagnostic, Report};

pub use fleet::{among, kernel_cid, used_cid};
pub(crate) use names::no_host_name;

/// A machine that is judged.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its name, under which findings are filed.
    pub name: &'a str,
    /// The machine.
    pub vm: &'a Vm,
}

/// What the rules depend on besides the machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory in which each machine has its working directory.
    pub state_dir: String,
    /// Is a kernel that is absent here an error?
    pub strict: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { state_dir: "/var/lib/microvms".to_owned(), strict: false }
    }
}

/// What is known about something that can be there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It is there.
    Present,
    /// It is provably not there.
    Absent,
    /// There is no telling.
    Unknown,
}

/// Answers about files of the host; `None` where nobody looks.
pub trait Facts {
    /// Is there a file at this path?
    fn exists(&self, path: &str) -> Option<bool>;
    /// Is it a directory?
    fn is_directory(&self, path: &str) -> Option<bool>;
    /// The first bytes of the file, as many as it has of them.
    fn head(&self, path: &str) -> Option<[u8; 4]>;
    /// Has the kernel at this path BTF type information?
    fn btf(&self, path: &str) -> Option<Evidence>;
}

/// Looks at nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFacts;

impl Facts for NoFacts {
    fn exists(&self, _path: &str) -> Option<bool> {
        None
    }

    fn is_directory(&self, _path: &str) -> Option<bool> {
        None
    }

    fn head(&self, _path: &str) -> Option<[u8; 4]> {
        None
    }

    fn btf(&self, _path: &str) -> Option<Evidence> {
        None
    }
}

/// Judges machines, each alone and all together.
#[must_use]
pub fn validate(machines: &[Subject<'_>], facts: &dyn Facts, options: &Options) -> Report {
    let mut report = Report::default();
    for machine in machines {
        let mut found = Findings { report: Report::default() };
        one(machine.vm, facts, options, &mut found);
        for it in found.report.iter_mut() {
            it.vm = Some(machine.name.to_owned());
        }
        report.extend(found.report);
    }
    report.extend(among(machines));
    report
}

fn one(vm: &Vm, facts: &dyn Facts, options: &Options, found: &mut Findings) {
    names::check(vm, found);
    memory::check(vm, found);
    boot::check(vm, facts, options, found);
    network::check(vm, found);
    disks::check(vm, options, found);
    shares::check(vm, options, found);
    devices::check(vm, found);
    sockets::check(vm, options, found);
    texts::check(vm, found);
    hypervisor::check(vm, found);
    cloud::check(vm, found);
    effect::check(vm, found);
}

/// Collects what is found about one machine.
struct Findings {
    report: Report,
}

impl Findings {
    /// An error about the option at `path`.
    fn error(&mut self, code: &'static str, path: impl Into<String>, message: impl Into<String>) {
        self.report.push(Diagnostic::error(code, path, message));
    }

    /// A warning about the option at `path`.
    fn warn(&mut self, code: &'static str, path: impl Into<String>, message: impl Into<String>) {
        self.report.push(Diagnostic::warning(code, path, message));
    }

    /// A finding with a hint.
    fn push(&mut self, diagnostic: Diagnostic) {
        self.report.push(diagnostic);
    }
}

/// Does every byte of `text` satisfy `fits`, and is there at least one?
fn all(text: &str, fits: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(fits)
}

/// Calls `again` with the place of each element whose key an earlier element has, and the earlier
/// one's place.
fn duplicates<K: Ord>(
    keys: impl IntoIterator<Item = (usize, K)>,
    mut again: impl FnMut(usize, usize),
) {
    let mut seen = std::collections::BTreeMap::new();
    for (at, key) in keys {
        match seen.get(&key) {
            Some(first) => again(at, *first),
            None => {
                seen.insert(key, at);
            }
        }
    }
}
