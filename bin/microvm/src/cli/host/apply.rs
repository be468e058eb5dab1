// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm host apply`: the plan told, then carried out.
//!
//! What is to be done is decided in [`crate::host::apply`], in which order in
//! [`crate::host::turns`]. What goes wrong with one machine is told and keeps no other one waiting;
//! the worst status is that of the command.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use plinth::config::layers::Layer;
use plinth::err::{Failure, tell};

use super::super::{Args, CONFLICT, INVALID, World};
use super::fail;
use crate::host::apply::{Attempt, Decision, Entry, Offer, There, entry, is_wanted, plan};
use crate::host::change::{BOOTED, CURRENT};
use crate::host::profile::Profile;
use crate::host::turns::{Turn, Turns};
use crate::host::{
    Built, Host, HostError, Marks, Name, Request, built_if_meant, install_anyway, prepare,
};
use crate::parallel::parallel;
use crate::validate::used_cid;

/// The declared machines.
const DECLARED: &str = "/etc/microvm/vms.d";

/// `microvm host apply`
pub(super) fn apply(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut work = Work { host, status: 0, entries: Vec::new(), builds: BTreeMap::new() };
    work.read_entries()?;
    let there = there(host)?;
    work.build(args, &there);
    let attempts = work.builds.iter().map(|(name, build)| (name.clone(), attempt(build)));
    let plan = plan(&work.entries, &there, &attempts.collect(), args.host.prune);
    let mut text = String::new();
    for (name, decision) in &plan {
        let told = plinth::text::escape_control(&decision.to_string()).into_owned();
        text.push_str(&format!("{} {name}: {told}\n", decision.sign()));
        work.status = work.status.max(decision.status());
    }
    world.print(&text)?;
    if !args.host.dry_run {
        let mut held =
            there.iter().filter_map(|(name, it)| Some((name.clone(), it.cid?))).collect();
        if args.host.prune {
            work.prune(world, &plan, &mut held)?;
        }
        let changed = work.install(&plan, held);
        work.restart(world, &there, changed)?;
    }
    Ok(work.status)
}

/// The machines that are there.
fn there(host: &Host<'_>) -> Result<BTreeMap<Name, There>, Failure> {
    let running = host.activities().map_err(fail)?;
    let mut there = BTreeMap::new();
    for name in host.names().map_err(fail)? {
        let active = running.get(&name).is_some_and(|it| it.active);
        let seen = host.look(&name).map_err(fail)?;
        let cid = seen.current.as_ref().and_then(|_| cid(host, &name, CURRENT));
        there.insert(name, There { seen, active, cid });
    }
    Ok(there)
}

/// The address in the kernel that the package behind a link takes.
fn cid(host: &Host<'_>, name: &Name, link: &str) -> Option<u32> {
    host.profile(name, link)?.kernel_cid()
}

fn attempt(build: &Result<Option<Built>, String>) -> Attempt {
    match build {
        Ok(built) => Ok(built.as_ref().map(|it| Offer::of(&it.tree))),
        Err(why) => Err(why.clone()),
    }
}

/// What is declared, and how far it has come.
struct Work<'a> {
    host: &'a Host<'a>,
    /// The worst status so far.
    status: u8,
    entries: Vec<Entry>,
    builds: BTreeMap<Name, Result<Option<Built>, String>>,
}

impl Work<'_> {
    /// Writes down what became of a machine; whether that is well.
    fn note(&mut self, name: &Name, done: &Result<(), Failure>) -> bool {
        if let Err(failure) = done {
            tell(format_args!("microvm: {name}: {failure}"));
            self.status = self.status.max(failure.exit);
        }
        done.is_ok()
    }

    /// Reads the files of `vms.d`, in the order of their names.
    fn read_entries(&mut self) -> Result<(), Failure> {
        let root = &self.host.root;
        let files = match root.list(DECLARED) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(fail(HostError::io("read", DECLARED)(error))),
        };
        for file in files {
            let Some(stem) = file.strip_suffix(".toml").filter(|it| !it.starts_with('.')) else {
                continue;
            };
            let path = PathBuf::from(format!("{DECLARED}/{file}"));
            let Some(name) = Name::parse(stem) else {
                let why = HostError::BadName(stem.to_owned());
                tell(format_args!("microvm: {}: {why}", path.display()));
                self.status = self.status.max(INVALID);
                continue;
            };
            let read = root.read_text(&path).map_err(HostError::io("read", &path));
            self.entries.push(match read {
                Err(error) => Entry::wrong(&name, fail(error).to_string()),
                Ok(text) => entry(&name, Layer { path, text }).unwrap_or_else(|problems| {
                    let why = problems.to_string();
                    Entry::wrong(&name, why.trim_end().replace('\n', "; "))
                }),
            });
        }
        Ok(())
    }

    /// The description that an entry is built from.
    fn description(&self, entry: &Entry) -> PathBuf {
        match &entry.source {
            Some(source) => self.host.root.join(source),
            None => self.host.root.join(format!("{DECLARED}/{}.toml", entry.name)),
        }
    }

    fn build(&mut self, args: &Args, there: &BTreeMap<Name, There>) {
        let wanted = self.entries.iter().filter(|it| is_wanted(it, there.get(&it.name)));
        let wanted: Vec<(Name, PathBuf, Request)> = wanted
            .map(|entry| {
                let declarative = entry.source.is_none();
                let request = Request { declarative, ..Request::default() };
                (entry.name.clone(), self.description(entry), request)
            })
            .collect();
        let build = self.host.build;
        let done = parallel(&wanted, args.host.jobs, &|(name, path, request)| {
            built_if_meant(build, name, path, request).map_err(|failure| failure.to_string())
        });
        self.builds = wanted.into_iter().map(|(name, ..)| name).zip(done).collect();
    }

    fn built(&self, name: &Name) -> Option<&Built> {
        self.builds.get(name)?.as_ref().ok()?.as_ref()
    }

    /// The address that the package takes which was built for a machine.
    fn cid(&self, name: &Name) -> Option<u32> {
        self.built(name).and_then(|built| Offer::of(&built.tree).cid)
    }

    /// Removes machines that are declared no more, so that others can have what they had.
    fn prune(
        &mut self,
        world: &mut World<'_>,
        plan: &BTreeMap<Name, Decision>,
        held: &mut BTreeMap<Name, u32>,
    ) -> Result<(), Failure> {
        for (name, _) in plan.iter().filter(|(_, it)| matches!(it, Decision::Orphan)) {
            let done = self.remove(name);
            if self.note(name, &done) {
                held.remove(name);
                world.print(&format!("Removed MicroVM {name}, its data stays\n"))?;
            }
        }
        Ok(())
    }

    fn remove(&self, name: &Name) -> Result<(), Failure> {
        if self.host.activity(name).map_err(fail)?.active {
            super::running::stop_names(self.host, std::slice::from_ref(name), true)?;
        }
        self.host.remove(name, true)
    }

    /// Gives machines their packages; those that are to be restarted, and the addresses of these.
    fn install(
        &mut self,
        plan: &BTreeMap<Name, Decision>,
        held: BTreeMap<Name, u32>,
    ) -> BTreeMap<Name, Option<u32>> {
        let ours = plan.iter().filter(|(name, _)| self.built(name).is_some());
        let ours = ours.filter(|(_, it)| it.status() == 0 && !matches!(it, Decision::Left));
        let waiting = ours.map(|(name, decision)| {
            (name.clone(), self.cid(name).filter(|_| decision.is_change()))
        });
        let mut turns = Turns::new(held, waiting.collect());
        let mut restarts = BTreeMap::new();
        while let Some(turn) = turns.take() {
            let (name, done) = match turn {
                Turn::Behind(name, other) => {
                    let done = self.shares(&name, &other);
                    (name, done)
                }
                // In a circle the one that begins has an address twice for a moment.
                Turn::Free(name) | Turn::Circle(name) => {
                    let done = self.put(&name);
                    (name, done)
                }
            };
            if !self.note(&name, &done) {
                continue;
            }
            let cid = self.cid(&name);
            let decision = plan.get(&name);
            if decision.is_some_and(Decision::is_change) {
                turns.took(&name, cid);
            }
            if decision.is_some_and(Decision::is_restart) {
                restarts.insert(name, cid);
            }
        }
        restarts
    }

    /// Refuses a machine what another one was to give up, and did not.
    fn shares(&self, name: &Name, other: &Name) -> Result<(), Failure> {
        let cid = self.cid(name);
        let used = cid.map(|cid| (cid, other.to_string())).into_iter().collect();
        let found = used_cid(name.as_str(), cid, &used);
        found.map_or(Ok(()), |it| Err(fail(HostError::Refused(Box::new(it)))))
    }

    /// Gives a machine its package and its marks.
    fn put(&self, name: &Name) -> Result<(), Failure> {
        let entry = self.entries.iter().find(|entry| entry.name == *name);
        let Some((entry, built)) = entry.zip(self.built(name)) else { return Ok(()) };
        built.warnings.iter().for_each(tell);
        let host = self.host;
        let (_lock, seen) = prepare(host, name).map_err(fail)?;
        let source = match &entry.update_source {
            Some(later) => host.root.join(later),
            None => self.description(entry),
        };
        let autostart = entry.autostart(&Profile::of_tree(&built.tree));
        let source = Some(source.to_string_lossy().into_owned());
        let declarative = entry.source.is_none();
        let marks = Marks { source, declarative, autostart: Some(autostart) };
        install_anyway(host, name, seen, &built.tree, marks).map_err(fail)?;
        host.serve(name).map_err(fail)
    }

    /// Restarts machines, each when what it takes is free.
    fn restart(
        &mut self,
        world: &mut World<'_>,
        there: &BTreeMap<Name, There>,
        waiting: BTreeMap<Name, Option<u32>>,
    ) -> Result<(), Failure> {
        if waiting.is_empty() {
            return Ok(());
        }
        let host = self.host;
        let active = there.iter().filter(|(_, it)| it.active);
        let held = active.filter_map(|(name, _)| Some((name.clone(), cid(host, name, BOOTED)?)));
        let mut turns = Turns::new(held.collect(), waiting);
        while let Some(turn) = turns.take() {
            match turn {
                Turn::Free(name) => {
                    world.print(&format!("Rebooting MicroVM {name}\n"))?;
                    let names = std::slice::from_ref(&name);
                    let done = super::running::restart_names(host, names, true).map(drop);
                    if self.note(&name, &done) {
                        turns.took(&name, self.cid(&name));
                    }
                }
                Turn::Circle(name) => {
                    let names = std::slice::from_ref(&name);
                    let done = super::running::stop_names(host, names, true).map(drop);
                    if self.note(&name, &done) {
                        turns.took(&name, None);
                        turns.wait(&name, self.cid(&name));
                    }
                }
                Turn::Behind(name, other) => {
                    let text = format!("is not restarted: {other} runs with the address it needs");
                    self.note(&name, &Err(Failure::new(CONFLICT, text)));
                }
            }
        }
        Ok(())
    }
}
