// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The boot manifest: which objects are loaded, set up, attached and pinned, and what it takes to
//! make the kernel so.
//!
//! Owns the file's form and meaning ([`read`], by way of `table`), the conditions ([`when`]), the
//! order of objects ([`order`]), what an object's manifest means for its programs and maps
//! ([`wanted`]), what is remembered between runs ([`state`]), the judgement of what is there
//! ([`mod@decide`]), and the machine that turns all this into actions ([`run`]).
//!
//! An apply goes through them in this order: [`read::parse`]; [`when::When::obstacle`] for each
//! object; [`wanted::wanted`] for those that are wanted here, with the inspected file;
//! [`decide::watched`] says which pins to look at; [`decide::decide`] and [`decide::orphans`] make
//! the [`run::Plan`]; then [`run::Run`] is asked and answered until it has nothing more to do.
//! Checking stops before the last step, and the status is [`decide::health`].
//!
//! Nothing here touches the kernel or a file: facts come in, actions go out. The machine is built
//! so that it may be killed between any two actions, and between an action and its record: before
//! the first change of an object, the state names every pin that the object may come to have, so
//! that the next run knows what it owns, and treats whatever it finds there as old.

pub mod decide;
pub mod order;
pub mod paths;
pub mod read;
pub mod run;
pub mod state;
mod table;
pub mod wanted;
pub mod when;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use plinth::config::toml::{Problem, Sources, Spanned};
use plinth::sorting;

use crate::hook::Hook;
use crate::value::{Format, Value};
use when::When;

/// The version of the file's form.
pub const VERSION: u32 = 1;
/// Where pins go unless the manifest says otherwise.
pub const PIN_ROOT: &str = "/sys/fs/bpf/tinybpf";
/// Where the state is kept unless the manifest says otherwise.
pub const STATE_PATH: &str = "/run/tinybpf/state.json";
/// Objects of a manifest.
pub const OBJECTS_MAX: usize = 256;
/// Maps and attachments of an object.
pub const PARTS_MAX: usize = 1024;

/// A file system that programs need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mount {
    /// Pins: `/sys/fs/bpf`.
    Bpf,
    /// Tracepoints: `/sys/kernel/tracing`.
    Tracefs,
    /// Control groups: `/sys/fs/cgroup`.
    Cgroup2,
}

impl Mount {
    /// The name in the manifest and for the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Tracefs => "tracefs",
            Self::Cgroup2 => "cgroup2",
        }
    }
}

/// What a failure does to the other objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// All that the run did is undone.
    #[default]
    Rollback,
    /// They are applied.
    Continue,
}

/// What becomes of a map that is pinned already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// It is used if there is one, and must be compatible.
    #[default]
    Keep,
    /// A new one takes its place.
    Replace,
    /// It must be there.
    Require,
}

impl Reuse {
    /// The word in the manifest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Replace => "replace",
            Self::Require => "require",
        }
    }
}

/// Where a map is pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// Below the object's directory.
    #[default]
    Default,
    /// Nowhere.
    No,
    /// At this path.
    At(String),
}

/// What is said of a map.
#[derive(Clone, Debug)]
pub struct Map {
    /// Its name in the object.
    pub name: Spanned<String>,
    /// Entries, if not as many as the object says.
    pub max_entries: Option<u32>,
    /// Where it is pinned.
    pub pin: Pin,
    /// What becomes of a map that is pinned there.
    pub reuse: Reuse,
    /// Entries that are written before any program is attached.
    pub entries: Vec<Entry>,
    /// Whether members that entries leave out are zero.
    pub defaults: bool,
    /// Whether nobody may write it from user space afterwards.
    pub freeze: bool,
}

/// An entry of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Spanned<Value>,
    /// The value.
    pub value: Spanned<Value>,
}

/// An attachment.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The program's name in the object.
    pub program: Spanned<String>,
    /// Where.
    pub hook: Spanned<Hook>,
    /// Whether a failure is only a warning.
    pub optional: bool,
    /// Whether, on a change, the old attachment goes before the new one comes.
    pub gap: bool,
}

/// An object and all that is said of it.
#[derive(Clone, Debug)]
pub struct Object {
    /// Names its pins and its state.
    pub name: Spanned<String>,
    /// The file.
    pub path: Spanned<String>,
    /// What the file must hash to.
    pub sha256: Option<[u8; 32]>,
    /// Whether a failure is more than a warning.
    pub required: bool,
    /// When it is wanted at all.
    pub when: When,
    /// Type information to relocate against, if not the kernel's.
    pub btf: Option<Spanned<String>>,
    /// The programs to load; `None` for all.
    pub programs: Option<Vec<Spanned<String>>>,
    /// Objects that come before it.
    pub after: Vec<Spanned<String>>,
    /// Variables, by name.
    pub set: BTreeMap<String, Spanned<Value>>,
    /// What is said of its maps.
    pub maps: Vec<Map>,
    /// Its attachments.
    pub attach: Vec<Attach>,
}

/// A manifest that was read and found well-formed.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The directory of all pins.
    pub pin_root: String,
    /// What is mounted where it is absent.
    pub mounts: Vec<Mount>,
    /// What a failure does to the other objects.
    pub on_error: OnError,
    /// The file that remembers.
    pub state: String,
    /// The objects, in the order in which they are applied.
    pub objects: Vec<Object>,
    /// The texts that it was made from.
    pub sources: Sources,
}

impl Manifest {
    /// Every file that the manifest names, those of objects with conditions too: what it needs on
    /// another machine, or in an initramfs.
    #[must_use]
    pub fn files(&self) -> BTreeSet<&str> {
        let named = self.objects.iter().flat_map(|it| [Some(&it.path), it.btf.as_ref()]);
        sorting::gather(named.flatten().map(|it| it.get_ref().as_str()))
    }

    /// A problem at the place of a value.
    #[must_use]
    pub fn problem<T>(&self, at: &Spanned<T>, message: impl Into<String>) -> Problem {
        self.sources.problem(&at.span(), message)
    }
}

impl Object {
    /// All that the manifest says of the object as one line, the same for the same meaning: what a
    /// change of the manifest is recognised by, once it is hashed.
    #[must_use]
    pub fn canonical(&self) -> String {
        let names = |list: &[Spanned<String>]| -> Vec<String> {
            list.iter().map(|it| it.get_ref().clone()).collect()
        };
        let set: BTreeMap<String, String> =
            sorting::gather(self.set.iter().map(|(name, it)| (name.clone(), shown(it))));
        serde_json::json!({
            "path": self.path.get_ref(),
            "sha256": self.sha256,
            "btf": self.btf.as_ref().map(Spanned::get_ref),
            "programs": self.programs.as_deref().map(names),
            "set": set,
            "map": self.maps.iter().map(Map::canonical).collect::<Vec<_>>(),
            "attach": self.attach.iter().map(Attach::canonical).collect::<Vec<_>>(),
        })
        .to_string()
    }
}

impl Map {
    fn canonical(&self) -> serde_json::Value {
        let entries: Vec<_> =
            self.entries.iter().map(|it| [shown(&it.key), shown(&it.value)]).collect();
        let pin = match &self.pin {
            Pin::Default => "yes",
            Pin::No => "no",
            Pin::At(path) => path,
        };
        serde_json::json!({
            "name": self.name.get_ref(),
            "max_entries": self.max_entries,
            "pin": pin,
            "reuse": self.reuse.name(),
            "entries": entries,
            "defaults": self.defaults,
            "freeze": self.freeze,
        })
    }
}

impl Attach {
    fn canonical(&self) -> serde_json::Value {
        serde_json::json!({
            "program": self.program.get_ref(),
            "hook": self.hook.get_ref().to_string(),
            "optional": self.optional,
            "gap": self.gap,
        })
    }
}

fn shown(value: &Spanned<Value>) -> String {
    value.get_ref().to_json(Format::default())
}
