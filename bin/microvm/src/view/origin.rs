// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where things come from: words of a command line, and values of options.

use crate::config::Vm;
use crate::plan::{Origin, Plan, Word};
use crate::schema::{self, HOST, HYPERVISORS, Key, Kind};
use crate::source::{Node, Place};

/// Words that belong together: a flag and what follows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Group<'a> {
    /// The words.
    pub words: Vec<&'a Word>,
    /// Why they are there.
    pub origin: Origin,
}

impl Group<'_> {
    /// The option by its path, such as `volumes[0]`; empty for what is always there.
    #[must_use]
    pub fn path(&self) -> String {
        match self.origin.index {
            Some(index) => format!("{}[{index}]", self.origin.option),
            None => self.origin.option.to_owned(),
        }
    }

    /// The flag, if the group begins with one.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        let first = self.words.first()?.shown();
        first.starts_with('-').then_some(first)
    }
}

/// The words of a plan, a group for each flag.
#[must_use]
pub fn groups(plan: &Plan) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for word in &plan.words {
        let begins = word.shown().starts_with('-');
        match groups.last_mut() {
            Some(group) if !begins && group.origin == word.origin => group.words.push(word),
            _ => groups.push(Group { words: vec![word], origin: word.origin }),
        }
    }
    groups
}

/// Where the option at `path` is set; `None` if the description says nothing of it.
///
/// For a table or list this is where it is opened; indices count elements of the merged list.
#[must_use]
pub fn set_at(tree: &Node, path: &str) -> Option<Place> {
    let (place, is_whole) = tree.follow(path);
    place.filter(|_| is_whole)
}

/// What is known of an option, besides its value.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its key.
    pub key: &'static Key,
    /// What it is set to, in words.
    pub kind: String,
    /// Who heeds it, in words.
    pub who: String,
}

/// The option at a path, with or without indices.
#[must_use]
pub fn option(path: &str) -> Option<Known> {
    let key = schema::find(path)?;
    Some(Known { key, kind: kind(key.kind), who: who(key) })
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Int(min, max, _) => format!("integer, {min} to {max}"),
        Kind::Size => "size in MiB, or a text such as \"2G\"".to_owned(),
        Kind::Text | Kind::AnyText => "text".to_owned(),
        Kind::Version => "version, such as 9.1".to_owned(),
        Kind::TextOrOff => "text, or false for none".to_owned(),
        Kind::IntOr([]) => "integer".to_owned(),
        Kind::IntOr(words) => format!("integer, or {}", words.join(", ")),
        Kind::Path => "path, from the directory of the description".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Words => "list of words; layers append".to_owned(),
        Kind::Lines => "lines of text; layers append".to_owned(),
        Kind::Texts => "table of texts".to_owned(),
        Kind::LinesByName => "table of lines of text; layers append to each".to_owned(),
        Kind::Paths => "table of paths".to_owned(),
        Kind::Any => "table, handed on as it is".to_owned(),
        Kind::Table(keys) => format!("table of {}", names(keys)),
        Kind::Tables(keys, _) => format!("list of tables of {}", names(keys)),
    }
}

fn names(keys: &[Key]) -> String {
    keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

fn who(key: &Key) -> String {
    if key.who & schema::ALL == schema::ALL {
        return "every hypervisor".to_owned();
    }
    let of = |(name, bit): &(&'static str, schema::Who)| (key.who & bit != 0).then_some(*name);
    let mut names: Vec<&str> = HYPERVISORS.iter().filter_map(of).collect();
    if key.who & HOST != 0 {
        names.push("scripts and units of the host");
    }
    names.join(", ")
}

/// Does the hypervisor of this machine, or the host, heed the option?
#[must_use]
pub fn is_heeded(key: &Key, vm: &Vm) -> bool {
    key.who & (vm.hypervisor.who() | HOST) != 0
}
