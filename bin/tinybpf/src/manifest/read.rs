// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Text to manifest: every problem at once, each with its place and the path of its key.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use plinth::config::layers::Layer;
use plinth::config::toml::{
    self, DeValue, Loaded, PROBLEMS_MAX, Problem, Problems, Sources, Spanned,
};
use plinth::sorting;

use super::table::{self, Read, Reader};
use super::when::{RawWhen, When};
use super::{
    Attach, Entry, Manifest, Map, Mount, OBJECTS_MAX, Object, OnError, PARTS_MAX, PIN_ROOT, Pin,
    Reuse, STATE_PATH, VERSION, order, paths,
};
use crate::hook::Hook;
use crate::number;
use crate::value::Value;

#[derive(Debug)]
struct RawManifest {
    version: Spanned<u32>,
    pin_root: Option<Spanned<String>>,
    mount: Vec<Spanned<String>>,
    on_error: Option<Spanned<String>>,
    state: Option<Spanned<String>>,
    object: Vec<RawObject>,
}

impl Read for RawManifest {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        let mut table = reader.table(at, value)?;
        let version = table.required("version");
        let pin_root = table.optional("pin_root");
        let mount = table.optional("mount").unwrap_or_default();
        let on_error = table.optional("on_error");
        let state = table.optional("state");
        let object = table.optional("object").unwrap_or_default();
        table.close();
        Some(Self { version: version?, pin_root, mount, on_error, state, object })
    }
}

#[derive(Debug)]
struct RawObject {
    name: Spanned<String>,
    path: Spanned<String>,
    sha256: Option<Spanned<String>>,
    required: Option<bool>,
    when: RawWhen,
    btf: Option<Spanned<String>>,
    programs: Option<Vec<Spanned<String>>>,
    after: Vec<Spanned<String>>,
    set: BTreeMap<String, Spanned<Value>>,
    map: Vec<RawMap>,
    attach: Vec<RawAttach>,
}

impl Read for RawObject {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        let mut table = reader.table(at, value)?;
        let (name, path) = (table.required("name"), table.required("path"));
        let sha256 = table.optional("sha256");
        let required = table.optional("required");
        let when = table.optional("when").unwrap_or_default();
        let btf = table.optional("btf");
        let programs = table.optional("programs");
        let after = table.optional("after").unwrap_or_default();
        let set = table.optional("set").unwrap_or_default();
        let map = table.optional("map").unwrap_or_default();
        let attach = table.optional("attach").unwrap_or_default();
        table.close();
        let (name, path) = (name?, path?);
        Some(Self { name, path, sha256, required, when, btf, programs, after, set, map, attach })
    }
}

#[derive(Debug)]
struct RawMap {
    name: Spanned<String>,
    max_entries: Option<u32>,
    pin: Option<Spanned<Value>>,
    reuse: Option<Spanned<String>>,
    entries: Vec<RawEntry>,
    defaults: bool,
    freeze: bool,
}

impl Read for RawMap {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        let mut table = reader.table(at, value)?;
        let name = table.required("name");
        let max_entries = table.optional("max_entries");
        let pin = table.optional("pin");
        let reuse = table.optional("reuse");
        let entries = table.optional("entries").unwrap_or_default();
        let defaults = table.optional("defaults").unwrap_or_default();
        let freeze = table.optional("freeze").unwrap_or_default();
        table.close();
        Some(Self { name: name?, max_entries, pin, reuse, entries, defaults, freeze })
    }
}

#[derive(Debug)]
struct RawEntry {
    key: Spanned<Value>,
    value: Spanned<Value>,
}

impl Read for RawEntry {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        let mut table = reader.table(at, value)?;
        let (key, value) = (table.required("key"), table.required("value"));
        table.close();
        Some(Self { key: key?, value: value? })
    }
}

#[derive(Debug)]
struct RawAttach {
    program: Spanned<String>,
    hook: Spanned<String>,
    optional: bool,
    gap: bool,
}

impl Read for RawAttach {
    fn read(reader: &mut Reader<'_>, at: &Range<usize>, value: DeValue<'_>) -> Option<Self> {
        let mut table = reader.table(at, value)?;
        let (program, hook) = (table.required("program"), table.required("hook"));
        let optional = table.optional("optional").unwrap_or_default();
        let gap = table.optional("gap").unwrap_or_default();
        table.close();
        Some(Self { program: program?, hook: hook?, optional, gap })
    }
}

/// Reads a manifest; `path` is for messages.
///
/// # Errors
/// Everything that is wrong with it, at most [`PROBLEMS_MAX`] problems.
pub fn parse(path: &str, text: &str) -> Result<Manifest, Problems> {
    let layer = Layer { path: path.into(), text: text.to_owned() };
    let Loaded { value: raw, sources } = toml::read(vec![layer], table::read::<RawManifest>)?;
    let mut checker = Checker { sources: &sources, problems: Vec::new() };
    let manifest = checker.manifest(raw);
    let mut problems = checker.problems;
    let objects = match order::sorted(manifest.objects, &sources) {
        Ok(objects) => objects,
        Err(problem) => {
            problems.push(*problem);
            Vec::new()
        }
    };
    problems.truncate(PROBLEMS_MAX);
    if problems.is_empty() {
        Ok(Manifest { objects, sources, ..manifest })
    } else {
        Err(Problems(problems))
    }
}

struct Checker<'a> {
    sources: &'a Sources,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn complain<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.problems.push(self.sources.problem(&at.span(), message));
    }

    /// The meaning of a word, of which there are a few.
    fn word<T: Copy + Default>(
        &mut self,
        key: &str,
        word: Option<&Spanned<String>>,
        known: &[(&str, T)],
    ) -> T {
        let Some(word) = word else { return T::default() };
        if let Some((_, meaning)) = known.iter().find(|it| it.0 == word.get_ref()) {
            return *meaning;
        }
        let names: Vec<&str> = known.iter().map(|it| it.0).collect();
        let message = format!("{key}: '{}' is none of {}", word.get_ref(), names.join(", "));
        self.complain(word, message);
        T::default()
    }

    /// An absolute path in its shortest spelling.
    fn path(&mut self, key: &str, path: &Spanned<String>) {
        let text = path.get_ref();
        let is_odd = |part: &str| matches!(part, "" | "." | "..");
        let parts = text.strip_prefix('/');
        if parts.is_none_or(|parts| parts.split('/').any(is_odd)) || text.contains('\0') {
            self.complain(path, format!("{key}: '{text}' is no plain absolute path"));
        }
    }

    fn manifest(&mut self, raw: RawManifest) -> Manifest {
        if *raw.version.get_ref() != VERSION {
            let message =
                format!("version: {} is not known, only {VERSION}", raw.version.get_ref());
            self.complain(&raw.version, message);
        }
        let known = [Mount::Bpf, Mount::Tracefs, Mount::Cgroup2].map(|it| (it.name(), Some(it)));
        let mounts: BTreeSet<Mount> =
            sorting::gather(raw.mount.iter().filter_map(|it| self.word("mount", Some(it), &known)));
        let modes = [("rollback", OnError::Rollback), ("continue", OnError::Continue)];
        let on_error = self.word("on_error", raw.on_error.as_ref(), &modes);
        for (key, path) in [("pin_root", &raw.pin_root), ("state", &raw.state)] {
            if let Some(path) = path {
                self.path(key, path);
            }
        }
        if let Some(root) = &raw.pin_root {
            if root.get_ref().contains('.') {
                self.complain(root, "pin_root: bpffs names must not contain '.'");
            }
        }
        let mut names: BTreeMap<String, ()> = BTreeMap::new();
        if let Some(extra) = raw.object.get(OBJECTS_MAX) {
            self.complain(&extra.name, format!("object: more than {OBJECTS_MAX}"));
        }
        for object in &raw.object {
            let name = object.name.get_ref();
            if names.insert(paths::component(name), ()).is_some() {
                let message = format!("object.{name}: the name is taken ('.' counts as '_')");
                self.complain(&object.name, message);
            }
        }
        Manifest {
            pin_root: raw.pin_root.map_or(PIN_ROOT.to_owned(), Spanned::into_inner),
            mounts: mounts.into_iter().collect(),
            on_error,
            state: raw.state.map_or(STATE_PATH.to_owned(), Spanned::into_inner),
            objects: raw.object.into_iter().map(|it| self.object(it)).collect(),
            sources: Sources::default(),
        }
    }

    fn object(&mut self, raw: RawObject) -> Object {
        let key = format!("object.{}", raw.name.get_ref());
        if let Err(why) = paths::check_name(raw.name.get_ref()) {
            self.complain(&raw.name, format!("{key}: {why}"));
        }
        self.path(&format!("{key}.path"), &raw.path);
        if let Some(btf) = &raw.btf {
            self.path(&format!("{key}.btf"), btf);
        }
        let sha256 = raw.sha256.as_ref().and_then(|text| {
            let bytes = number::hex_bytes(text.get_ref());
            let digest = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            if digest.is_none() {
                self.complain(text, format!("{key}.sha256: a digest has 64 hexadecimal digits"));
            }
            digest
        });
        let when = match When::new(raw.when) {
            Ok(when) => when,
            Err((at, why)) => {
                self.problems.push(self.sources.problem(&at, format!("{key}.when.{why}")));
                When::default()
            }
        };
        self.unique(&key, "map", raw.map.iter().map(|it| &it.name));
        if let Some(programs) = &raw.programs {
            self.unique(&key, "programs", programs.iter());
        }
        if let Some(extra) = raw.attach.get(PARTS_MAX) {
            self.complain(&extra.program, format!("{key}.attach: more than {PARTS_MAX}"));
        }
        let maps = raw.map.into_iter().map(|it| self.map(&key, it)).collect();
        let programs = raw.programs;
        let attach = raw
            .attach
            .into_iter()
            .filter_map(|it| self.attach(&key, it, programs.as_deref()))
            .collect();
        Object {
            name: raw.name,
            path: raw.path,
            sha256,
            required: raw.required.unwrap_or(true),
            when,
            btf: raw.btf,
            programs,
            after: raw.after,
            set: raw.set,
            maps,
            attach,
        }
    }

    fn unique<'a>(
        &mut self,
        key: &str,
        part: &str,
        names: impl Iterator<Item = &'a Spanned<String>>,
    ) {
        let mut seen = BTreeSet::new();
        for (at, name) in names.enumerate() {
            if at == PARTS_MAX {
                self.complain(name, format!("{key}.{part}: more than {PARTS_MAX}"));
            }
            if !seen.insert(name.get_ref()) {
                self.complain(name, format!("{key}.{part}: '{}' is there twice", name.get_ref()));
            }
        }
    }

    fn map(&mut self, key: &str, raw: RawMap) -> Map {
        let key = format!("{key}.map.{}", raw.name.get_ref());
        let words =
            [("keep", Reuse::Keep), ("replace", Reuse::Replace), ("require", Reuse::Require)];
        let reuse = self.word(&format!("{key}.reuse"), raw.reuse.as_ref(), &words);
        let pin = match raw.pin.as_ref().map(|it| (it, it.get_ref())) {
            None | Some((_, Value::Bool(true))) => Pin::Default,
            Some((_, Value::Bool(false))) => Pin::No,
            Some((at, Value::Str(text))) => {
                let path = Spanned::new(at.span(), String::from_utf8_lossy(text).into_owned());
                self.path(&format!("{key}.pin"), &path);
                if path.get_ref().contains('.') {
                    self.complain(at, format!("{key}.pin: bpffs names must not contain '.'"));
                }
                Pin::At(path.into_inner())
            }
            Some((at, other)) => {
                let got = other.describe();
                self.complain(at, format!("{key}.pin: true, false or a path is needed, not {got}"));
                Pin::Default
            }
        };
        if let (Some(at), Pin::No) = (raw.reuse.as_ref().filter(|_| reuse != Reuse::Replace), &pin)
        {
            self.complain(at, format!("{key}.reuse: without a pin there is nothing to reuse"));
        }
        let entries =
            raw.entries.into_iter().map(|it| Entry { key: it.key, value: it.value }).collect();
        Map {
            name: raw.name,
            max_entries: raw.max_entries,
            pin,
            reuse,
            entries,
            defaults: raw.defaults,
            freeze: raw.freeze,
        }
    }

    fn attach(
        &mut self,
        key: &str,
        raw: RawAttach,
        programs: Option<&[Spanned<String>]>,
    ) -> Option<Attach> {
        let name = raw.program.get_ref();
        let key = format!("{key}.attach.{name}");
        if programs.is_some_and(|all| !all.iter().any(|it| it.get_ref() == name)) {
            self.complain(&raw.program, format!("{key}: not among the programs to load"));
        }
        let hook = match raw.hook.get_ref().parse::<Hook>() {
            Ok(hook) => hook,
            Err(error) => {
                self.complain(&raw.hook, format!("{key}.{error}"));
                return None;
            }
        };
        if !hook.can_be_pinned() {
            let message = format!("{key}.hook: {hook} cannot be pinned; attach it with 'run'");
            self.complain(&raw.hook, message);
        }
        let hook = Spanned::new(raw.hook.span(), hook);
        Some(Attach { program: raw.program, hook, optional: raw.optional, gap: raw.gap })
    }
}
