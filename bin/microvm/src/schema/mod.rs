// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keys of a description, as one table.
//!
//! Owns name, type, default, meaning and audience of every key. The check, the merge, the JSON
//! Schema, `explain` and the test of the manual read this table; nobody else lists keys. The names
//! are those of microvm.nix, so that its documentation can be searched for them.

mod gone;
mod json;
mod keys;
mod machine;
mod vmm;

pub use gone::{GONE, Gone};
pub use json::{default, json_schema};
pub use keys::KEYS;

/// A set of hypervisors, as bits.
pub type Who = u16;

/// QEMU.
pub const Q: Who = 1;
/// Cloud Hypervisor.
pub const CH: Who = 1 << 1;
/// Firecracker.
pub const FC: Who = 1 << 2;
/// crosvm.
pub const CR: Who = 1 << 3;
/// kvmtool.
pub const KT: Who = 1 << 4;
/// `StratoVirt`.
pub const SV: Who = 1 << 5;
/// Alioth.
pub const AL: Who = 1 << 6;
/// vfkit.
pub const VF: Who = 1 << 7;
/// Everyone.
pub const ALL: Who = 0xff;
/// No hypervisor: scripts and units of the host, or the guest.
pub const HOST: Who = 1 << 8;

/// Every hypervisor with its bit, in the order of the manual.
pub const HYPERVISORS: [(&str, Who); 8] = [
    ("qemu", Q),
    ("cloud-hypervisor", CH),
    ("firecracker", FC),
    ("crosvm", CR),
    ("kvmtool", KT),
    ("stratovirt", SV),
    ("alioth", AL),
    ("vfkit", VF),
];

/// Their names.
pub const HYPERVISOR_NAMES: &[&str] = &{
    let mut names = [""; HYPERVISORS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = HYPERVISORS[at].0;
        at += 1;
    }
    names
};

/// The code of a number out of a range that no rule knows.
pub const RANGE: &str = "MV004";

/// What a key is set to.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number of this range, and the code under which another one is refused.
    Int(i64, i64, &'static str),
    /// Mebibytes: a number, or a text such as `512M` or `2G`.
    Size,
    /// A text that is not empty.
    Text,
    /// A text that may be empty, or that a rule judges.
    AnyText,
    /// Numbers with points between.
    Version,
    /// A text, or `false` for none.
    TextOrOff,
    /// A number, or one of these words.
    IntOr(&'static [&'static str]),
    /// A path that is taken from the directory of the description.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts; layers append.
    Words,
    /// Lines of text; layers append.
    Lines,
    /// A table of texts; an absent value is `false`.
    Texts,
    /// A table of lines of text; layers append to each.
    LinesByName,
    /// A table of paths that are taken from the directory of the description.
    Paths,
    /// A table that is handed on as it is.
    Any,
    /// A table.
    Table(&'static [Key]),
    /// A list of tables. Layers merge those that agree in all of the named keys.
    Tables(&'static [Key], &'static [&'static str]),
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the table it belongs to.
    pub name: &'static str,
    /// What it is set to.
    pub kind: Kind,
    /// What holds when it is absent; empty for nothing.
    pub default: &'static str,
    /// Who heeds it.
    pub who: Who,
    /// What it means: a phrase without full stop.
    pub about: &'static str,
    /// Must it be there?
    pub required: bool,
}

impl Key {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        who: Who,
        about: &'static str,
    ) -> Self {
        Self { name, kind, default, who, about, required: false }
    }

    /// The same, but it must be there.
    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The keys of the table, or of each table of the list.
    #[must_use]
    pub const fn inner(&self) -> &'static [Self] {
        match self.kind {
            Kind::Table(keys) | Kind::Tables(keys, _) => keys,
            _ => &[],
        }
    }

    /// Is it set to something else than a table of other keys?
    const fn kind_is_value(&self) -> bool {
        self.inner().is_empty()
    }
}

/// Calls `visit` for every key, with its path: `volumes[].image`.
pub fn walk(visit: &mut impl FnMut(&str, &'static Key)) {
    fn inner(prefix: &str, keys: &'static [Key], visit: &mut impl FnMut(&str, &'static Key)) {
        for key in keys {
            let path = format!("{prefix}{}", key.name);
            visit(&path, key);
            let dot = if matches!(key.kind, Kind::Tables(..)) { "[]." } else { "." };
            inner(&format!("{path}{dot}"), key.inner(), visit);
        }
    }
    inner("", KEYS, visit);
}

/// The key at a path, whatever stands between brackets in it.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    let mut keys = KEYS;
    let mut found = None;
    for step in path.split('.') {
        let name = step.split('[').next().unwrap_or(step);
        let key: &'static Key = keys.iter().find(|key| key.name == name)?;
        (keys, found) = (key.inner(), Some(key));
    }
    found
}
