// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Conditions: on which machines an object is wanted.

use std::collections::BTreeSet;
use std::ops::Range;

use plinth::config::toml::{DeValue, Spanned};

use super::table::{Read, Reader, kind};

/// The features that may be asked for; the probe answers by these names.
pub const FEATURES: [&str; 22] = [
    "btf",
    "global_data",
    "batch",
    "fentry",
    "freplace",
    "lsm",
    "cgroup_link",
    "netns_link",
    "xdp_link",
    "ringbuf",
    "iter",
    "sleepable",
    "memcg",
    "perf_link",
    "bloom_filter",
    "kprobe",
    "kprobe_multi",
    "user_ringbuf",
    "tcx",
    "uprobe_multi",
    "netkit",
    "token",
];

/// How a version is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

/// A bound of the kernel's version: `>=5.8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    relation: Relation,
    version: (u32, u32, u32),
    /// How many numbers were given; only these are compared.
    depth: usize,
}

/// When an object is wanted: all that is said must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    kernel: Vec<Bound>,
    arch: Vec<String>,
    features: Vec<String>,
    path_exists: Vec<String>,
}

/// A text or several.
#[derive(Debug)]
struct OneOrMore(Vec<String>);

impl Read for OneOrMore {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::String(one) => Some(Self(vec![one.into_owned()])),
            DeValue::Array(_) => Read::read(reader, at, value).map(Self),
            other => reader.wrong(at, &kind(&other), "a string or a sequence of them"),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct RawWhen {
    kernel: Option<Spanned<String>>,
    arch: Option<Spanned<OneOrMore>>,
    features: Option<Spanned<OneOrMore>>,
    path_exists: Option<Spanned<OneOrMore>>,
}

impl Read for RawWhen {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        let mut table = reader.table(at, value)?;
        let raw = Self {
            kernel: table.optional("kernel"),
            arch: table.optional("arch"),
            features: table.optional("features"),
            path_exists: table.optional("path_exists"),
        };
        table.close();
        Some(raw)
    }
}

/// What is so on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's version.
    pub kernel: (u32, u32, u32),
    /// `uname -m`.
    pub arch: String,
    /// The features that the probe found, by the names of [`FEATURES`].
    pub features: BTreeSet<String>,
    /// Those of the paths that conditions name which exist.
    pub paths: BTreeSet<String>,
}

/// The version at the beginning of a release such as `6.1.0-13-cloud-amd64`; missing numbers are 0.
#[must_use]
pub fn version(release: &str) -> Option<(u32, u32, u32)> {
    let end = release.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(release.len());
    let numbers = release.get(..end)?.trim_end_matches('.').split('.');
    let mut numbers = numbers.map(|it| it.parse::<u32>().ok());
    let first = numbers.next()??;
    Some((first, numbers.next().flatten().unwrap_or(0), numbers.next().flatten().unwrap_or(0)))
}

fn bound(text: &str) -> Option<Bound> {
    let text = text.trim();
    let relations = [
        (">=", Relation::AtLeast),
        ("<=", Relation::AtMost),
        ("==", Relation::Equal),
        (">", Relation::More),
        ("<", Relation::Less),
        ("=", Relation::Equal),
    ];
    let (relation, rest) =
        relations.iter().find_map(|(sign, it)| Some((*it, text.strip_prefix(sign)?.trim())))?;
    let is_plain = rest.chars().all(|c| c == '.' || c.is_ascii_digit());
    let depth = rest.split('.').count();
    let is_whole = rest.split('.').all(|part| !part.is_empty());
    if !is_plain || !is_whole || depth > 3 {
        return None;
    }
    Some(Bound { relation, version: version(rest)?, depth })
}

impl When {
    /// Checks the form of the conditions.
    pub(super) fn new(raw: RawWhen) -> Result<Self, (Range<usize>, String)> {
        let mut when = Self::default();
        if let Some(kernel) = raw.kernel {
            for part in kernel.get_ref().split(',') {
                let Some(bound) = bound(part) else {
                    let why = format!("kernel: '{}' is not of the form >=5.8", part.trim());
                    return Err((kernel.span(), why));
                };
                when.kernel.push(bound);
            }
        }
        let list =
            |it: Option<Spanned<OneOrMore>>| it.map(|it| it.into_inner().0).unwrap_or_default();
        when.arch = list(raw.arch);
        if let Some(features) = raw.features {
            let at = features.span();
            when.features = features.into_inner().0;
            if let Some(name) = when.features.iter().find(|it| !FEATURES.contains(&it.as_str())) {
                let why = format!("features: '{name}' is none of {}", FEATURES.join(", "));
                return Err((at, why));
            }
        }
        when.path_exists = list(raw.path_exists);
        Ok(when)
    }

    /// The paths that have to be looked for.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.path_exists.iter().map(String::as_str)
    }

    /// The features that have to be probed for.
    pub fn features(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(String::as_str)
    }

    /// Why the object is not wanted on this machine; `None` if it is.
    #[must_use]
    pub fn obstacle(&self, machine: &Machine) -> Option<String> {
        let (a, b, c) = machine.kernel;
        if let Some(bound) = self.kernel.iter().find(|it| !it.holds(machine.kernel)) {
            return Some(format!("the kernel is {a}.{b}.{c}, wanted is {bound}"));
        }
        if !self.arch.is_empty() && !self.arch.contains(&machine.arch) {
            let wanted = self.arch.join(" or ");
            return Some(format!("the machine is {}, wanted is {wanted}", machine.arch));
        }
        if let Some(name) = self.features.iter().find(|it| !machine.features.contains(*it)) {
            return Some(format!("the kernel lacks {name}"));
        }
        let path = self.path_exists.iter().find(|it| !machine.paths.contains(*it))?;
        Some(format!("{path} does not exist"))
    }
}

impl Bound {
    fn holds(&self, (a, b, c): (u32, u32, u32)) -> bool {
        let (d, e, f) = self.version;
        let (have, want) = ([a, b, c], [d, e, f]);
        let order = have.iter().take(self.depth).cmp(want.iter().take(self.depth));
        match self.relation {
            Relation::Less => order.is_lt(),
            Relation::AtMost => order.is_le(),
            Relation::Equal => order.is_eq(),
            Relation::AtLeast => order.is_ge(),
            Relation::More => order.is_gt(),
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.relation {
            Relation::Less => "<",
            Relation::AtMost => "<=",
            Relation::Equal => "=",
            Relation::AtLeast => ">=",
            Relation::More => ">",
        };
        let (a, b, c) = self.version;
        match self.depth {
            1 => write!(f, "{sign}{a}"),
            2 => write!(f, "{sign}{a}.{b}"),
            _ => write!(f, "{sign}{a}.{b}.{c}"),
        }
    }
}
