// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf apply`, `check`, `status` and `remove`: the world around the machine of
//! [`crate::manifest`].
//!
//! Owns reading the manifest and its files, the lock, and the report. What is there is found out by
//! [`observe`]; actions are carried out by [`hands`].

mod hands;
mod observe;
mod report;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plinth::config::toml::Problem;
use plinth::err::{FAILED, Failure, tell};
use plinth::file::{self, Lock};
use plinth::sorting;
use plinth::time::Time;

use super::wait::Pauses;
use super::words::Words;
use super::{Args, BAD_INPUT, World, input, notice};
use crate::elf;
use crate::host::Host;
use crate::manifest::decide::{self, Facts};
use crate::manifest::run::{Plan, Planned, Run};
use crate::manifest::state::{Digests, PinKind, PinRecord, Record, State};
use crate::manifest::wanted::{self, Wanted};
use crate::manifest::{Manifest, Object, read, when};
use hands::Hands;

/// A condition does not hold: a change is pending, or something is not as it was left.
const PENDING: u8 = 9;
/// Bytes of the largest manifest.
const MANIFEST_MAX: usize = 1 << 20;
/// Bytes of the largest state: every part of every object of several manifests.
const STATE_MAX: usize = 64 << 20;
/// How long another run is waited for, and how often it is asked.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// A manifest with everything that its files say.
struct Read {
    /// Its path, which names whose its objects are.
    path: String,
    manifest: Manifest,
    /// Those that are wanted here, in their order.
    wanted: Vec<Wanted>,
    /// Those that are not, and why.
    skipped: Vec<(String, String)>,
}

/// What stops a command before it has begun.
enum Stop {
    /// The manifest or a file that it names is wrong.
    Problems(Vec<Problem>),
    Failure(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

/// Prints what is wrong with a manifest, each on its line.
fn concluded(result: Result<u8, Stop>) -> Result<u8, Failure> {
    match result {
        Ok(status) => Ok(status),
        Err(Stop::Failure(failure)) => Err(failure),
        Err(Stop::Problems(problems)) => {
            for problem in problems {
                tell(format_args!(
                    "tinybpf: {}",
                    plinth::text::escape_control(&problem.to_string())
                ));
            }
            Ok(BAD_INPUT)
        }
    }
}

/// `tinybpf apply`
pub(super) fn apply(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    concluded(try_apply(args, world))
}

fn try_apply(args: &Args, world: &mut World<'_>) -> Result<u8, Stop> {
    let manifest = parse(args)?;
    let _lock = lock(&manifest.1.state)?;
    let read = judge(manifest)?;
    for (name, why) in &read.skipped {
        notice(args, &format!("object '{name}' is skipped: {why}"));
    }
    let (state, facts) = known(&read, args)?;
    let plan = plan(&read, &state, &facts, args);
    let wanted = plan.objects.iter().map(|it| it.wanted.clone()).collect();
    let state_path = PathBuf::from(&read.manifest.state);
    let mut run = Run::apply(plan, state, facts);
    let mut hands = Hands::new(wanted, &read.manifest, state_path, args);
    hands.carry_out(&mut run, world.after_action);
    let report = run.report();
    report::print(report, &read.skipped, args, world)?;
    Ok(report.exit())
}

/// `tinybpf check`
pub(super) fn check(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut checked = || -> Result<u8, Stop> {
        let parsed = parse(args)?;
        if args.files {
            world.print(&report::files(&parsed.1.files(), args.json))?;
            return Ok(0);
        }
        let read = judge(parsed)?;
        let (state, facts) = known(&read, args)?;
        let plan = plan(&read, &state, &facts, args);
        let is_pending =
            !plan.orphans.is_empty() || plan.objects.iter().any(|it| it.decision.is_change());
        let is_refused =
            plan.objects.iter().any(|it| matches!(it.decision, decide::Decision::Refused(_)));
        world.print(&report::plan(&plan, &read.skipped, args.json))?;
        Ok(match (is_refused, is_pending) {
            (true, _) => FAILED,
            (false, true) => PENDING,
            (false, false) => 0,
        })
    };
    concluded(checked())
}

/// `tinybpf status`
pub(super) fn status(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut looked = || -> Result<u8, Stop> {
        let (path, manifest) = parse(args)?;
        let mut state = load_state(&manifest.state, args)?;
        state.objects.retain(|_, record| record.manifest == path);
        let facts = observe::facts(&decide::watched([], &state), &[], &state);
        let health = decide::health(&state, &facts);
        world.print(&report::health(&health, args.json))?;
        let is_fine = health.iter().all(|(_, _, health)| *health == decide::Health::Ok);
        Ok(if is_fine { 0 } else { PENDING })
    };
    concluded(looked())
}

/// `tinybpf remove`
pub(super) fn remove(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    concluded(try_remove(args, world))
}

fn try_remove(args: &Args, world: &mut World<'_>) -> Result<u8, Stop> {
    let manifest = parse(args)?;
    let _lock = lock(&manifest.1.state)?;
    let (path, state_path) = (manifest.0.clone(), PathBuf::from(&manifest.1.state));
    let mut state = load_state(&manifest.1.state, args)?;
    // What nobody remembers is proven ours by the directory of its pins.
    let lost: Vec<Wanted> = match judge((manifest.0.clone(), manifest.1.clone())) {
        Ok(read) => {
            read.wanted.into_iter().filter(|it| !state.objects.contains_key(&it.name)).collect()
        }
        // An object that cannot be read any more is removed by what is remembered of it.
        Err(_) => Vec::new(),
    };
    let facts = observe::facts(&decide::watched(&lost, &state), &lost, &state);
    for wanted in &lost {
        let record = found(wanted, &path, &facts);
        if !record.pins.is_empty() {
            state.objects.insert(wanted.name.clone(), record);
        }
    }
    let own = state.objects.iter().filter(|(_, record)| record.manifest == path);
    let names: Vec<String> = own.map(|(name, _)| name.clone()).collect();
    let mut run = Run::remove(&names, false, state, facts);
    let mut hands = Hands::new(Vec::new(), &manifest.1, state_path, args);
    hands.carry_out(&mut run, world.after_action);
    let report = run.report();
    report::print(report, &[], args, world)?;
    Ok(report.exit())
}

/// A record of what is pinned where the manifest would pin it, below the object's directory.
fn found(wanted: &Wanted, manifest: &str, facts: &Facts) -> Record {
    let below = format!("{}/", wanted.home);
    let pins =
        wanted.pins().filter(|(path, _)| path.starts_with(&below)).filter_map(|(path, _)| {
            let (kind, id) = facts.pins.get(path)?.identity()?;
            let pin = PinRecord { kind, id: Some(id), hook: None, is_ours: true };
            Some((path.to_owned(), pin))
        });
    let pins: BTreeMap<String, PinRecord> = sorting::gather(pins);
    let is_ours = |path: &&String| **path == wanted.home || path.starts_with(&below);
    let directories = wanted.directories.iter().filter(is_ours).cloned().collect();
    let digests = wanted.digests.clone();
    Record { manifest: manifest.to_owned(), digests, is_done: true, pins, directories }
}

/// Reads and parses the manifest that the words name.
fn parse(args: &Args) -> Result<(String, Manifest), Stop> {
    let mut words = Words::of(args);
    let path = words.path("MANIFEST")?;
    words.end()?;
    let bytes = input(&path)?;
    let full = path.canonicalize().unwrap_or_else(|_| path.clone());
    if bytes.len() > MANIFEST_MAX {
        let message = format!("'{}' is too large for a manifest", path.display());
        return Err(Failure::new(BAD_INPUT, message).into());
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(BAD_INPUT, format!("'{}' is not UTF-8", path.display())))?;
    let name = full.display().to_string();
    let mut manifest = read::parse(&name, &text).map_err(|problems| Stop::Problems(problems.0))?;
    if args.no_mount {
        manifest.mounts.clear();
    }
    Ok((name, manifest))
}

/// Holds the manifest against its files and this machine.
fn judge((path, manifest): (String, Manifest)) -> Result<Read, Stop> {
    let machine = observe::machine(&manifest);
    let (mut wanted, mut skipped, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for object in &manifest.objects {
        let name = object.name.get_ref().clone();
        if let Some(why) = object.when.obstacle(&machine) {
            skipped.push((name, why));
            continue;
        }
        match bind(&manifest, object) {
            Ok(it) => wanted.push(it),
            Err(found) if object.required => problems.extend(found),
            Err(found) => {
                let why = found.iter().map(ToString::to_string).collect::<Vec<_>>();
                skipped.push((name, why.join("; ")));
            }
        }
    }
    if !problems.is_empty() {
        return Err(Stop::Problems(problems));
    }
    Ok(Read { path, manifest, wanted, skipped })
}

/// Reads an object's files and holds it against them.
fn bind(manifest: &Manifest, object: &Object) -> Result<Wanted, Vec<Problem>> {
    let path = object.path.get_ref();
    let wrong = |message: String| vec![manifest.problem(&object.path, message)];
    let bytes = input(Path::new(path)).map_err(|error| wrong(error.to_string()))?;
    let hash = digest(&bytes);
    if object.sha256.is_some_and(|wanted| hex(&wanted) != hash) {
        return Err(wrong(format!("'{path}' has the SHA-256 {hash}")));
    }
    elf::check_loadable(&bytes).map_err(|refusal| wrong(format!("'{path}' {refusal}")))?;
    let file = elf::inspect(&bytes).map_err(|refusal| wrong(format!("'{path}' {refusal}")))?;
    let btf = match &object.btf {
        None => String::new(),
        Some(path) => {
            let name = path.get_ref();
            let bytes = input(Path::new(name))
                .map_err(|error| vec![manifest.problem(path, error.to_string())])?;
            digest(&bytes)
        }
    };
    let table = digest(object.canonical().as_bytes());
    let digests = Digests { object: hash, table, btf };
    wanted::wanted(manifest, object, &file, digests, &Host::system().online_cpus())
}

/// The SHA-256 of `bytes`, in lower-case digits.
fn digest(bytes: &[u8]) -> String {
    hex(&hmac_sha256::Hash::hash(bytes))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    crate::value::push_hex(&mut text, bytes);
    text
}

/// What is remembered, and what is there.
fn known(read: &Read, args: &Args) -> Result<(State, Facts), Failure> {
    let state = load_state(&read.manifest.state, args)?;
    let facts = observe::facts(&decide::watched(&read.wanted, &state), &read.wanted, &state);
    Ok((state, facts))
}

/// The state; a file that cannot be understood is as good as none. Not so one that may not be read:
/// nothing is known then of what an apply left.
fn load_state(path: &str, args: &Args) -> Result<State, Failure> {
    let bytes = match file::read(Path::new(path), STATE_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => {
            let status = match error.kind() {
                ErrorKind::PermissionDenied => super::PERMISSION,
                _ => FAILED,
            };
            return Err(Failure::new(status, format!("cannot read the state '{path}': {error}")));
        }
    };
    let text = String::from_utf8(bytes).ok();
    Ok(text.as_deref().and_then(State::decode).unwrap_or_else(|| {
        notice(args, &format!("the state in '{path}' cannot be understood and is ignored"));
        State::default()
    }))
}

fn plan(read: &Read, state: &State, facts: &Facts, _args: &Args) -> Plan {
    let objects: Vec<Planned> = decide::decide(read.wanted.clone(), &read.path, state, facts);
    Plan {
        manifest: read.path.clone(),
        on_error: read.manifest.on_error,
        mounts: read.manifest.mounts.clone(),
        objects,
        orphans: decide::orphans(state, &read.path, &read.wanted),
    }
}

/// Keeps other runs out as long as it is held.
fn lock(state: &str) -> Result<Lock, Failure> {
    let directory = Path::new(state).parent().unwrap_or(Path::new("/"));
    let cannot = |what: &str, error: std::io::Error| {
        let name = directory.display();
        let status = match error.kind() {
            ErrorKind::PermissionDenied => super::PERMISSION,
            _ => FAILED,
        };
        Failure::new(status, format!("cannot {what} '{name}': {error}"))
    };
    std::fs::create_dir_all(directory).map_err(|error| cannot("create", error))?;
    let path = directory.join("lock");
    let deadline = Time::monotonic() + LOCK_PATIENCE;
    let mut pauses = None;
    loop {
        if let Some(lock) = Lock::try_exclusive(&path).map_err(|error| cannot("lock", error))? {
            return Ok(lock);
        }
        if pauses.is_none() {
            pauses = Some(Pauses::new()?);
        }
        let is_ended = match &mut pauses {
            Some(pauses) => pauses.ended_within(LOCK_INTERVAL)?,
            None => false,
        };
        if is_ended || Time::monotonic() >= deadline {
            return Err(Failure::new(FAILED, "another apply is running"));
        }
    }
}

/// The version of the kernel that runs.
fn kernel() -> (u32, u32, u32) {
    when::version(&Host::system().release()).unwrap_or_default()
}

/// What a pin of this kind is for the library.
const fn what(kind: PinKind) -> crate::bpffs::What {
    match kind {
        PinKind::Link => crate::bpffs::What::Link,
        PinKind::Program => crate::bpffs::What::Program,
        PinKind::Map => crate::bpffs::What::Map,
    }
}
