// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A manifest's object held against the object file: names that must exist, values that must fit,
//! hooks that must suit their programs; and what comes out, with every pin's path.

use std::collections::BTreeMap;

use plinth::config::toml::{Problem, Spanned};
use plinth::sorting;

use super::state::{Digests, PinKind};
use super::{Attach, Manifest, Map, Object, Pin, Reuse, paths};
use crate::btf::{ByteOrder, TypeId};
use crate::elf::{self, Inspection, Program};
use crate::hook::{Hook, PerfCounter};
use crate::kinds::{MapType, ProgType};
use crate::number;
use crate::value::{Encode, Shape, Value};
use plinth::near::nearest;

/// Bytes of the largest page: no ring buffer is smaller than a page.
const PAGE_MAX: u32 = 1 << 16;

/// What maps must have in common for one to stand for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapShape {
    /// The type.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u64,
    /// Bytes of a value.
    pub value_size: u64,
    /// Entries.
    pub max_entries: u32,
    /// `BPF_F_*` of map creation.
    pub flags: u32,
}

impl MapShape {
    /// The first difference, as a phrase; `None` if the maps are compatible. The kernel chooses the
    /// entries of some maps, and rounds those of others: 0 stands for any number.
    #[must_use]
    pub fn difference(&self, have: &Self) -> Option<String> {
        let fields = [
            ("type", u64::from(have.map_type.0), u64::from(self.map_type.0)),
            ("key size", have.key_size, self.key_size),
            ("value size", have.value_size, self.value_size),
            ("flags", have.flags.into(), self.flags.into()),
        ];
        let (have_max, want_max) = (have.max_entries, self.max_entries);
        let entries = (want_max != 0 && have_max != want_max && !self.is_rounded(have_max))
            .then_some(("max_entries", u64::from(have_max), u64::from(want_max)));
        let mut all = fields.into_iter().chain(entries);
        let (what, have, want) = all.find(|it| it.1 != it.2)?;
        Some(format!("{what} is {have}, wanted is {want}"))
    }

    fn is_rounded(&self, have: u32) -> bool {
        let is_ring = matches!(self.map_type, MapType::RINGBUF | MapType::USER_RINGBUF);
        let is_next = have / 2 < self.max_entries || have <= PAGE_MAX;
        is_ring && have.is_power_of_two() && have >= self.max_entries && is_next
    }
}

/// A program to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedProgram {
    /// Its name.
    pub name: String,
    /// Its pin.
    pub pin: String,
}

/// A map of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedMap {
    /// Its name.
    pub name: String,
    /// What it will be.
    pub shape: MapShape,
    /// Its pin, if it has one.
    pub pin: Option<String>,
    /// Whether the pin is below the object's directory.
    pub is_own: bool,
    /// What becomes of a map that is pinned there.
    pub reuse: Reuse,
    /// Entries other than the object says.
    pub max_entries: Option<u32>,
    /// Keys and values to write.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether it is frozen then.
    pub freeze: bool,
}

/// An attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedLink {
    /// The program.
    pub program: String,
    /// Where, `auto` resolved.
    pub hook: Hook,
    /// Its pin.
    pub pin: String,
    /// Whether a failure is only a warning.
    pub optional: bool,
    /// Whether an old attachment goes first.
    pub gap: bool,
}

/// An object that was checked and can be planned for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The object file.
    pub path: String,
    /// Custom type information.
    pub btf: Option<String>,
    /// What it is made from.
    pub digests: Digests,
    /// Whether a failure is more than a warning.
    pub required: bool,
    /// The directory of its own pins.
    pub home: String,
    /// The directories that its pins are in, and those above them, the outermost first.
    pub directories: Vec<String>,
    /// Variables and their bytes.
    pub globals: Vec<(String, Vec<u8>)>,
    /// Its programs.
    pub programs: Vec<WantedProgram>,
    /// Its maps, those of variables left out.
    pub maps: Vec<WantedMap>,
    /// Its attachments.
    pub links: Vec<WantedLink>,
}

impl Wanted {
    /// Every pin that it will have.
    pub fn pins(&self) -> impl Iterator<Item = (&str, PinKind)> {
        let links = self.links.iter().map(|it| (it.pin.as_str(), PinKind::Link));
        let programs = self.programs.iter().map(|it| (it.pin.as_str(), PinKind::Program));
        let maps = self.maps.iter().filter_map(|it| Some((it.pin.as_deref()?, PinKind::Map)));
        links.chain(programs).chain(maps)
    }
}

/// Holds an object of the manifest against its file. `cpus` are those on which a counter counts
/// that names none.
///
/// # Errors
/// Everything that does not fit, each at its place in the manifest.
pub fn wanted(
    manifest: &Manifest,
    object: &Object,
    file: &Inspection,
    digests: Digests,
    cpus: &[u32],
) -> Result<Wanted, Vec<Problem>> {
    let root = paths::directory(&manifest.pin_root, object.name.get_ref());
    let key = format!("object.{}", object.name.get_ref());
    let mut binder = Binder { manifest, object, file, key, cpus, problems: Vec::new() };
    let globals = binder.globals();
    let programs = binder.programs(&root);
    let maps = binder.maps(&root);
    let links = binder.links(&root);
    let mut wanted = Wanted {
        name: object.name.get_ref().clone(),
        path: object.path.get_ref().clone(),
        btf: object.btf.as_ref().map(|it| it.get_ref().clone()),
        digests,
        required: object.required,
        home: root,
        directories: Vec::new(),
        globals,
        programs,
        maps,
        links,
    };
    binder.collisions(&wanted);
    let mut directories: Vec<String> =
        wanted.pins().flat_map(|(path, _)| paths::parents(path)).map(str::to_owned).collect();
    sorting::sort(&mut directories);
    directories.dedup();
    wanted.directories = directories;
    if binder.problems.is_empty() { Ok(wanted) } else { Err(binder.problems) }
}

struct Binder<'a> {
    manifest: &'a Manifest,
    object: &'a Object,
    file: &'a Inspection,
    key: String,
    cpus: &'a [u32],
    problems: Vec<Problem>,
}

/// The hooks that one stands for, with the ends of their pins: a counter without CPU and process is
/// a link on each CPU, which the CPU names, so that one that comes later changes no other.
fn each(hook: &Hook, cpus: &[u32]) -> Vec<(Hook, String)> {
    match hook {
        Hook::Perf(all) if all.cpu.is_none() && all.pid.is_none() && !cpus.is_empty() => cpus
            .iter()
            .map(|&cpu| {
                let one = PerfCounter { cpu: Some(cpu), ..all.clone() };
                (Hook::Perf(one), format!("_cpu{cpu}"))
            })
            .collect(),
        _ => vec![(hook.clone(), String::new())],
    }
}

/// `; there are a, b` with what is near first, or all if they are few.
fn known<'a>(name: &str, all: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = nearest(name, all.clone(), 5);
    let mut list = if near.is_empty() { all.take(8).collect() } else { near };
    if list.is_empty() {
        list.push("(none)");
    }
    format!("; there are {}", list.join(", "))
}

/// The bytes of a value whose type nobody knows: hexadecimal digits, or an integer.
fn raw(value: &Value, size: u64) -> Option<Vec<u8>> {
    let size = usize::try_from(size).ok()?;
    match value {
        Value::Str(text) => {
            let text = std::str::from_utf8(text).ok()?;
            number::hex_bytes(text.strip_prefix("hex:").unwrap_or(text))
                .filter(|bytes| bytes.len() == size)
        }
        value => {
            let number = u64::try_from(value.as_integer()?).ok()?;
            let is_fit =
                matches!(size, 8) || number.checked_shr(u32::try_from(size * 8).ok()?) == Some(0);
            let bytes = match ByteOrder::NATIVE {
                ByteOrder::Little => number.to_le_bytes().get(..size)?.to_vec(),
                ByteOrder::Big => number.to_be_bytes().get(8_usize.checked_sub(size)?..)?.to_vec(),
            };
            is_fit.then_some(bytes)
        }
    }
}

/// The hook that a section names, in the grammar of hooks; [`Hook::Auto`] for kinds that the
/// grammar does not have, which the loader attaches.
fn of_section(program: &Program) -> Option<Hook> {
    let meaning = program.meaning();
    if !meaning.attaches() {
        return None;
    }
    let (name, target) = (meaning.rule?.name, meaning.target?);
    let spec = match name.strip_suffix(".s").unwrap_or(name) {
        "tp" | "tracepoint" => format!("tp:{target}"),
        "raw_tp" | "raw_tp.w" | "raw_tracepoint" | "raw_tracepoint.w" => format!("raw_tp:{target}"),
        kind @ ("kprobe" | "kretprobe" | "ksyscall" | "kprobe.multi" | "uprobe" | "uretprobe"
        | "usdt" | "fentry" | "fexit" | "lsm") => format!("{kind}:{target}"),
        _ => return Some(Hook::Auto),
    };
    Some(spec.parse().unwrap_or(Hook::Auto))
}

impl Binder<'_> {
    fn complain<T>(&mut self, at: &Spanned<T>, message: &str) {
        let message = format!("{}.{message}", self.key);
        self.problems.push(self.manifest.problem(at, message));
    }

    fn encode(
        &mut self,
        path: &str,
        (ty, size): (Option<TypeId>, u64),
        value: &Spanned<Value>,
        options: Encode,
    ) -> Vec<u8> {
        let encoded = match (&self.file.btf, ty) {
            (Some(btf), Some(ty)) => match Shape::of(btf, ty) {
                Ok(shape) => {
                    shape.encode(path, value.get_ref(), options).map_err(|it| it.to_string())
                }
                Err(error) => Err(format!("{path}: {error}")),
            },
            _ => raw(value.get_ref(), size)
                .ok_or_else(|| format!("{path}: {size} bytes as hexadecimal digits are needed")),
        };
        encoded.unwrap_or_else(|why| {
            self.complain(value, &why);
            Vec::new()
        })
    }

    fn globals(&mut self) -> Vec<(String, Vec<u8>)> {
        let object = self.object;
        let mut found = Vec::new();
        for (name, value) in &object.set {
            let Some(global) = self.file.globals.iter().find(|it| it.name == *name) else {
                let names = self.file.globals.iter().map(|it| it.name.as_str());
                let known = known(name, names);
                self.complain(value, &format!("set: the object has no variable '{name}'{known}"));
                continue;
            };
            let ty = (Some(global.ty), global.size);
            let bytes = self.encode(&format!("set.{name}"), ty, value, Encode::default());
            found.push((name.clone(), bytes));
        }
        found
    }

    fn programs(&mut self, root: &str) -> Vec<WantedProgram> {
        let object = self.object;
        let names: Vec<String> = match &object.programs {
            None => {
                let loaded = self.file.programs.iter().filter(|it| it.meaning().is_loaded);
                loaded.map(|it| it.name.clone()).collect()
            }
            Some(list) => {
                for name in list {
                    if !self.file.programs.iter().any(|it| it.name == *name.get_ref()) {
                        let names = self.file.programs.iter().map(|it| it.name.as_str());
                        let known = known(name.get_ref(), names);
                        let name = name.get_ref();
                        let at =
                            list.iter().find(|it| it.get_ref() == name).unwrap_or(&object.name);
                        let message =
                            format!("programs: the object has no program '{name}'{known}");
                        self.complain(at, &message);
                    }
                }
                list.iter().map(|it| it.get_ref().clone()).collect()
            }
        };
        names
            .into_iter()
            .map(|name| WantedProgram {
                pin: format!("{root}/progs/{}", paths::component(&name)),
                name,
            })
            .collect()
    }

    fn maps(&mut self, root: &str) -> Vec<WantedMap> {
        let object = self.object;
        for said in &object.maps {
            let name = said.name.get_ref();
            if !self.file.maps.iter().any(|it| it.name == *name) {
                let known = known(name, self.file.maps.iter().map(|it| it.name.as_str()));
                self.complain(&said.name, &format!("map: the object has no map '{name}'{known}"));
            }
        }
        let file = self.file;
        file.maps.iter().map(|map| self.map(root, map)).collect()
    }

    fn map(&mut self, root: &str, map: &elf::Map) -> WantedMap {
        let object = self.object;
        let said: Option<&Map> = object.maps.iter().find(|it| *it.name.get_ref() == map.name);
        let default = format!("{root}/maps/{}", paths::component(&map.name));
        // A table of callbacks is not data; what keeps it alive is its link.
        let is_data = map.map_type != MapType::STRUCT_OPS;
        let pin = match said.map(|it| &it.pin) {
            Some(Pin::At(path)) => Some(path.clone()),
            Some(Pin::No) => None,
            Some(Pin::Default) => Some(default.clone()),
            None => is_data.then_some(default.clone()),
        };
        let mut entries = Vec::new();
        for (at, entry) in said.iter().flat_map(|it| it.entries.iter().enumerate()) {
            let options = Encode { defaults: said.is_some_and(|it| it.defaults), no_nul: false };
            let path = format!("map.{}.entries[{at}]", map.name);
            let key = (map.key, map.key_size);
            let value = (map.value, map.value_size);
            entries.push((
                self.encode(&format!("{path}.key"), key, &entry.key, options),
                self.encode(&format!("{path}.value"), value, &entry.value, options),
            ));
        }
        let max_entries = said.and_then(|it| it.max_entries);
        WantedMap {
            name: map.name.clone(),
            shape: MapShape {
                map_type: map.map_type,
                key_size: map.key_size,
                value_size: map.value_size,
                max_entries: max_entries.unwrap_or(map.max_entries),
                flags: map.flags,
            },
            is_own: pin.as_ref() == Some(&default),
            pin,
            reuse: said.map_or(Reuse::Keep, |it| it.reuse),
            max_entries,
            entries,
            freeze: said.is_some_and(|it| it.freeze),
        }
    }

    fn links(&mut self, root: &str) -> Vec<WantedLink> {
        let (object, file) = (self.object, self.file);
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        let mut found = Vec::new();
        for attach in &object.attach {
            let name = attach.program.get_ref();
            let Some(program) = file.programs.iter().find(|it| it.name == *name) else {
                let known = known(name, file.programs.iter().map(|it| it.name.as_str()));
                let message = format!("attach: the object has no program '{name}'{known}");
                self.complain(&attach.program, &message);
                continue;
            };
            if object.programs.is_none() && !program.meaning().is_loaded {
                let message = format!("attach.{name}: the program is loaded only if it is listed");
                self.complain(&attach.program, &message);
            }
            let Some(hook) = self.hook(attach, program) else { continue };
            let count = counts.entry(name).or_default();
            *count += 1;
            let suffix = if *count == 1 { String::new() } else { format!("_{count}") };
            let pin = format!("{root}/links/{}{suffix}", paths::component(name));
            found.extend(each(&hook, self.cpus).into_iter().map(|(hook, end)| WantedLink {
                program: name.clone(),
                hook,
                pin: format!("{pin}{end}"),
                optional: attach.optional,
                gap: attach.gap,
            }));
        }
        found
    }

    fn hook(&mut self, attach: &Attach, program: &Program) -> Option<Hook> {
        let (name, hook) = (&program.name, attach.hook.get_ref());
        let prog_type = program.meaning().rule.map_or(ProgType::UNSPEC, |it| it.prog_type);
        if *hook != Hook::Auto {
            if let Err(error) = hook.check_fits(name, prog_type) {
                self.complain(&attach.hook, &format!("attach.{name}: {error}"));
            }
            return Some(hook.clone());
        }
        match of_section(program) {
            None => {
                let message = format!(
                    "attach.{name}: section '{}' ({prog_type}) has no automatic hook; name one",
                    program.section
                );
                self.complain(&attach.hook, &message);
                None
            }
            Some(hook) => {
                if !hook.can_be_pinned() {
                    let message =
                        format!("attach.{name}: {hook} cannot be pinned; attach it with 'run'");
                    self.complain(&attach.hook, &message);
                }
                Some(hook)
            }
        }
    }

    fn collisions(&mut self, wanted: &Wanted) {
        let mut seen: BTreeMap<&str, PinKind> = BTreeMap::new();
        for (path, kind) in wanted.pins() {
            let message = match seen.insert(path, kind) {
                Some(_) => format!("name: two parts would be pinned at {path} ('.' counts as '_')"),
                None if path.ends_with(paths::STAGED) => {
                    format!("name: the pin {path} ends in {}", paths::STAGED)
                }
                None => continue,
            };
            let object = self.object;
            self.complain(&object.name, &message);
        }
    }
}
