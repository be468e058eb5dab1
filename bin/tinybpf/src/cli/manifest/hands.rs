// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Carries out what the machine of a manifest asks for, one action at a time.
//!
//! Holds what was loaded until it is pinned or taken back: objects by name, links by the path of
//! their pin. What is pinned outlives this.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};

use super::super::hooks;
use super::super::load;
use super::super::{Args, input};
use super::{digest, what};
use crate::bpffs;
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::hook::Hook;
use crate::link::Link;
use crate::manifest::run::{Action, Loaded, Outcome, Run, Source};
use crate::manifest::state::PinKind;
use crate::manifest::wanted::{Wanted, WantedMap};
use crate::manifest::{Manifest, Mount};
use crate::map::{Flags, Map};
use crate::object::Object;
use crate::program::Program;
use plinth::err::tell_text;

/// What a run holds.
pub(super) struct Hands<'a> {
    wanted: Vec<Wanted>,
    state_path: PathBuf,
    args: &'a Args,
    pin_root: PathBuf,
    objects: BTreeMap<String, Object>,
    links: BTreeMap<String, Link>,
}

impl<'a> Hands<'a> {
    pub(super) fn new(
        wanted: Vec<Wanted>,
        manifest: &Manifest,
        state_path: PathBuf,
        args: &'a Args,
    ) -> Self {
        Self {
            wanted,
            state_path,
            args,
            pin_root: PathBuf::from(&manifest.pin_root),
            objects: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    /// Carries out a whole run; `after` is called behind each action that was done.
    pub(super) fn carry_out(&mut self, run: &mut Run, after: &dyn Fn()) {
        while let Some(action) = run.next_action() {
            match self.act(&action) {
                Ok(outcome) => {
                    after();
                    run.succeeded(outcome);
                }
                Err(error) => {
                    if self.args.verbose > 0 {
                        if let Some(log) = error.log() {
                            tell_text(&log.terminal_text());
                        }
                    }
                    run.failed(&match error.hint() {
                        Some(hint) => format!("{error} ({hint})"),
                        None => error.to_string(),
                    });
                }
            }
        }
        for (_, link) in std::mem::take(&mut self.links) {
            hooks::let_go(link);
        }
    }

    fn act(&mut self, action: &Action) -> Result<Outcome> {
        match action {
            Action::Mount(what) => mounted(*what),
            Action::Write(state) => self.write(&state.encode()),
            Action::MakeDirectory(path) => {
                bpffs::make_directories(Path::new(path))?.keep();
                Ok(Outcome::Done)
            }
            Action::RemoveDirectory(path) => remove_directory(Path::new(path)),
            Action::Load { object, reuse } => self.load(object, reuse),
            Action::Fill { object, map } => self.fill(object, map),
            Action::Freeze { object, map } => {
                self.object(object)?.map(map)?.freeze()?;
                Ok(Outcome::Done)
            }
            Action::Pin { object, kind, name, path } => self.pin(object, *kind, name, path),
            Action::Attach { program, hook, path } => self.attach(program, hook, path),
            Action::Update { link, program } => {
                let program = self.program(program)?;
                Link::from_pin(Path::new(link))?.update(&program, None)?;
                Ok(Outcome::Done)
            }
            Action::Remove { kind, path } => self.remove(*kind, path),
            Action::Rename { from, to } => {
                let renamed = rustix::fs::rename(from, to);
                renamed.map_err(|errno| Error::from_errno(errno.into(), Op::Pin, to.clone()))?;
                if let Some(link) = self.links.remove(from) {
                    self.links.insert(to.clone(), link);
                }
                Ok(Outcome::Done)
            }
            Action::Close(object) => {
                self.objects.remove(object);
                Ok(Outcome::Done)
            }
        }
    }

    fn write(&self, text: &str) -> Result<Outcome> {
        plinth::file::replace_atomic(&self.state_path, text.as_bytes(), 0o600).map_err(
            |error| {
                let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
                Error::from_errno(errno, Op::Write, self.state_path.display().to_string())
            },
        )?;
        Ok(Outcome::Done)
    }

    fn wanted(&self, object: &str) -> Result<&Wanted> {
        let found = self.wanted.iter().find(|it| it.name == object);
        found.ok_or_else(|| Error::new(Kind::NotFound, Op::Find, object))
    }

    fn object(&self, name: &str) -> Result<&Object> {
        self.objects.get(name).ok_or_else(|| Error::new(Kind::NotFound, Op::Find, name))
    }

    /// Opens, sets up and loads an object; nothing is pinned by itself.
    fn load(&mut self, name: &str, reuse: &[(String, String)]) -> Result<Outcome> {
        let wanted = self.wanted(name)?.clone();
        let mut options = load::options(self.args).pin_root(&self.pin_root);
        if let Some(btf) = &wanted.btf {
            options = options.kernel_btf(Path::new(btf));
        }
        let path = Path::new(&wanted.path);
        let bytes = input(path)?;
        // What was judged is what is loaded.
        if digest(&bytes) != wanted.digests.object {
            return Err(Error::new(Kind::Mismatch, Op::Open, &*wanted.path)
                .with_detail("the file is another one than when it was checked"));
        }
        let mut object = options.open_read(path, &bytes)?;
        for program in object.program_names() {
            let is_wanted = wanted.programs.iter().any(|it| it.name == program);
            object.program(&program)?.set_autoload(is_wanted)?;
        }
        for (variable, bytes) in &wanted.globals {
            object.set_global_bytes(variable, bytes)?;
        }
        for map in object.map_names() {
            object.map(&map)?.set_pin_path(None)?;
        }
        for map in &wanted.maps {
            if let Some(most) = map.max_entries {
                object.map(&map.name)?.set_max_entries(most)?;
            }
        }
        for (map, pin) in reuse {
            object.map(map)?.reuse(&Map::from_pin(Path::new(pin))?)?;
        }
        for link in &wanted.links {
            hooks::prepare(&mut object, &link.program, &link.hook)?;
        }
        let object = object.load()?;
        let mut loaded = Loaded::default();
        for program in object.programs() {
            loaded.tags.insert(program.name().to_owned(), program.info()?.tag);
        }
        for map in object.maps() {
            loaded.maps.insert(map.name().to_owned(), map.info()?.id);
        }
        self.objects.insert(name.to_owned(), object);
        Ok(Outcome::Loaded(loaded))
    }

    fn fill(&self, object: &str, name: &str) -> Result<Outcome> {
        let map = self.object(object)?.map(name)?;
        let wanted = self.wanted(object)?.maps.iter().find(|it| it.name == name);
        for (key, value) in wanted.map_or(&[][..], |it: &WantedMap| it.entries.as_slice()) {
            if map.map_type().is_keyless() {
                map.push(value, Flags::ANY)?;
            } else if map.is_percpu() {
                let cpus = crate::sys::system::possible_cpus();
                map.set_percpu(key, &vec![value.as_slice(); cpus], Flags::ANY)?;
            } else {
                map.set(key, value, Flags::ANY)?;
            }
        }
        Ok(Outcome::Done)
    }

    fn pin(&self, object: &str, kind: PinKind, name: &str, path: &str) -> Result<Outcome> {
        let object = self.object(object)?;
        let path = Path::new(path);
        if kind == PinKind::Map {
            let map = object.map(name)?;
            map.pin(path)?;
            return Ok(Outcome::Id(map.info()?.id));
        }
        let program = object.program(name)?;
        program.pin(path)?;
        Ok(Outcome::Id(program.info()?.id))
    }

    fn program(&self, source: &Source) -> Result<Program> {
        match source {
            Source::Loaded { object, program } => self.object(object)?.program(program),
            Source::Pinned(path) => Program::from_pin(Path::new(path)),
        }
    }

    fn attach(&mut self, program: &Source, hook: &Hook, path: &str) -> Result<Outcome> {
        let links = match (hook, program) {
            (Hook::StructOps { map }, Source::Loaded { object, .. }) => {
                vec![Map::attach_struct_ops(self.object(object)?, map)?]
            }
            _ => hooks::attach(&self.program(program)?, hook)?,
        };
        let Ok([mut link]) = <[Link; 1]>::try_from(links) else {
            return Err(Error::new(Kind::InvalidArgument, Op::Attach, hook.to_string())
                .with_detail("which CPUs are online is not known")
                .with_hint("name one with cpu=N"));
        };
        link.pin(Path::new(path))?;
        let id = link.info()?.id;
        self.links.insert(path.to_owned(), link);
        Ok(Outcome::Id(id))
    }

    fn remove(&mut self, kind: PinKind, path: &str) -> Result<Outcome> {
        if let Some(link) = self.links.remove(path) {
            link.detach()?;
            return Ok(Outcome::Done);
        }
        let path = Path::new(path);
        if path.symlink_metadata().is_err() {
            return Ok(Outcome::Done);
        }
        // Somebody else's thing may have come to be there.
        drop(bpffs::open_as(path, what(kind))?);
        bpffs::unpin(path)?;
        Ok(Outcome::Done)
    }
}

/// Mounts a file system where it belongs.
fn mounted(what: Mount) -> Result<Outcome> {
    let place = match what {
        Mount::Bpf => bpffs::DEFAULT,
        Mount::Tracefs => "/sys/kernel/tracing",
        Mount::Cgroup2 => "/sys/fs/cgroup",
    };
    let done = mount(what.name(), place, what.name(), MountFlags::empty(), None);
    done.map_err(|errno| {
        let errno = Errno::from(errno);
        Error::from_errno(errno, Op::Mount, format!("{} on {place}", what.name()))
    })?;
    Ok(Outcome::Done)
}

/// Removes a directory that is empty.
fn remove_directory(path: &Path) -> Result<Outcome> {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTEMPTY) => Ok(Outcome::Done),
        Err(errno) => Err(Error::from_errno(errno.into(), Op::Delete, path.display().to_string())),
    }
}
