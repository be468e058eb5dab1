// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm host install`, `host apply` and `host doctor`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use plinth::config::layers::Layer;
use plinth::config::toml::Problems;
use plinth::err::{FAILED, Failure, tell};
use plinth::file::replace_atomic;

use super::super::load::no_action;
use super::super::{Args, CONFLICT, INVALID, World};
use super::{fail, name, usage, word};
use crate::host::apply::{Decision, Entry, There, entry, is_wanted, plan};
use crate::host::change::{self, CURRENT};
use crate::host::seen::Id;
use crate::host::units::{Piece, pieces};
use crate::host::{
    Built, Hands, Host, HostError, Level, Manager, Name, Request, built, doctor, install, prepare,
};
use crate::parallel::parallel;

/// The declared machines.
const DECLARED: &str = "/etc/microvm/vms.d";
/// The bridges that QEMU's helper may use.
const BRIDGES: &str = "/etc/qemu/bridge.conf";

/// `microvm host`
pub(super) fn host(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let action = word(args, 0)?;
    let run: fn(&Args, &Host<'_>, &mut World<'_>) -> Result<u8, Failure> = match action {
        "install" => set_up,
        "apply" => apply,
        "doctor" => look,
        _ => return Err(no_action("host", action, "install, apply and doctor")),
    };
    fits(action, args)?;
    run(args, host, world)
}

/// Refuses what the action would not heed.
fn fits(action: &str, args: &Args) -> Result<(), Failure> {
    let said = &args.host;
    for (option, is_said, actions) in [
        ("prefix", said.prefix, &["install"][..]),
        ("dry-run", said.dry_run, &["install", "apply"]),
        ("bridge", !said.bridges.is_empty(), &["install"]),
        ("prune", said.prune, &["apply"]),
        ("jobs", said.jobs.is_some(), &["apply"]),
        ("net", said.net, &["doctor"]),
    ] {
        if is_said && !actions.contains(&action) {
            return Err(usage(format!("option --{option} is not for host {action}")));
        }
    }
    if args.words.len() > 1 && action != "doctor" {
        return Err(usage(format!("host {action} takes no NAME")));
    }
    Ok(())
}

fn set_up(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut pieces = pieces(&host.settings, &host.program);
    pieces.extend(bridges(args, host));
    if args.host.dry_run {
        for piece in pieces {
            world.print(&match &piece {
                Piece::File(path, text) => format!("# {path}\n{text}\n"),
                Piece::Link(path, target) => format!("# {path} -> {target}\n\n"),
            })?;
        }
        return Ok(0);
    }
    for piece in &pieces {
        let sign = put(host, piece).map_err(fail)?;
        world.print(&format!("{sign} {}\n", piece.path()))?;
    }
    // Only the system's own root has accounts to make and a manager to tell.
    let is_system = args.host.root.is_none();
    if is_system {
        accounts(host);
    }
    host.own_state().map_err(fail)?;
    for name in host.names().map_err(fail)? {
        drop_in(host, &name).map_err(fail)?;
    }
    if is_system && host.manager == Manager::Systemd {
        host.reload().map_err(fail)?;
    }
    Ok(0)
}

/// The file that lets QEMU's helper use bridges, with those that are asked for.
fn bridges(args: &Args, host: &Host<'_>) -> Option<Piece> {
    if args.host.bridges.is_empty() {
        return None;
    }
    let mut text = host.root.read_text(BRIDGES).unwrap_or_default();
    for bridge in &args.host.bridges {
        let line = format!("allow {bridge}");
        if !text.lines().any(|it| it.trim() == line) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&format!("{line}\n"));
        }
    }
    Some(Piece::File(BRIDGES.to_owned(), text))
}

/// Puts a piece in its place; the sign of what was done.
fn put(host: &Host<'_>, piece: &Piece) -> Result<char, HostError> {
    let path = host.root.join(piece.path());
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(HostError::io("create", directory))?;
    let is_there = path.symlink_metadata().is_ok();
    let is_same = match piece {
        Piece::File(_, text) => fs::read_to_string(&path).is_ok_and(|it| it == *text),
        Piece::Link(_, target) => fs::read_link(&path).is_ok_and(|it| it == Path::new(target)),
    };
    if is_same {
        return Ok('=');
    }
    match piece {
        Piece::File(_, text) => {
            replace_atomic(&path, text.as_bytes(), 0o644).map_err(HostError::io("write", &path))?
        }
        Piece::Link(_, target) => {
            let draft = directory.join(".microvm.new");
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(HostError::io("remove", draft)(error));
                }
                _ => {}
            }
            symlink(target, &draft)
                .and_then(|()| fs::rename(&draft, &path))
                .map_err(HostError::io("link", &path))?;
        }
    }
    Ok(if is_there { '~' } else { '+' })
}

/// Makes the accounts that are missing, if this system can.
fn accounts(host: &Host<'_>) {
    if host.user().is_some() && host.group().is_some() {
        return;
    }
    let made = host.command("systemd-sysusers").arg("/etc/sysusers.d/microvm.conf").status();
    if !made.is_ok_and(|status| status.success()) {
        let (user, group) = (&host.settings.user, &host.settings.group);
        tell(format_args!(
            "microvm: make the group {group} and its account {user}: nothing here does"
        ));
    }
}

/// Writes the drop-in of a machine that was there before the units.
fn drop_in(host: &Host<'_>, name: &Name) -> Result<(), HostError> {
    let seen = host.look(name)?;
    let Some(profile) = host.profile(name, CURRENT) else { return Ok(()) };
    let Some(text) = host.drop_in(&profile).filter(|text| seen.drop_in.as_ref() != Some(text))
    else {
        return Ok(());
    };
    Hands::new(host, name).carry_out(&[change::Action::WriteDropIn(text)], None)
}

/// The files of `vms.d`, in the order of their names.
fn entries(host: &Host<'_>) -> Result<Vec<Entry>, Failure> {
    let files = match host.root.list(DECLARED) {
        Ok(files) => files,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fail(HostError::io("read", DECLARED)(error))),
    };
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        let Some(stem) = file.strip_suffix(".toml").filter(|it| !it.starts_with('.')) else {
            continue;
        };
        let name = Name::parse(stem).ok_or_else(|| fail(HostError::BadName(stem.to_owned())))?;
        let path = PathBuf::from(format!("{DECLARED}/{file}"));
        let text =
            host.root.read_text(&path).map_err(HostError::io("read", &path)).map_err(fail)?;
        match entry(&name, Layer { path, text }) {
            Ok(entry) => entries.push(entry),
            Err(found) => problems.extend(found.0),
        }
    }
    if problems.is_empty() { Ok(entries) } else { Err(Failure::new(INVALID, Problems(problems))) }
}

/// The description that an entry is built from.
fn description(host: &Host<'_>, entry: &Entry) -> PathBuf {
    match &entry.source {
        Some(source) => host.root.join(source),
        None => host.root.join(format!("{DECLARED}/{}.toml", entry.name)),
    }
}

fn apply(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let entries = entries(host)?;
    let running = host.activities().map_err(fail)?;
    let mut there = BTreeMap::new();
    for name in host.names().map_err(fail)? {
        let active = running.get(&name).is_some_and(|it| it.active);
        there.insert(name.clone(), There { seen: host.look(&name).map_err(fail)?, active });
    }
    let wanted: Vec<(Name, PathBuf, Request)> = entries
        .iter()
        .filter(|entry| is_wanted(entry, there.get(&entry.name)))
        .map(|entry| {
            let declarative = entry.source.is_none();
            let request = Request { declarative, ..Request::default() };
            (entry.name.clone(), description(host, entry), request)
        })
        .collect();
    let build = host.build;
    let done = parallel(&wanted, args.host.jobs, &|(name, path, request)| {
        built(build, name, path, request).map_err(|failure| failure.to_string())
    });
    let builds: BTreeMap<Name, Result<Built, String>> =
        wanted.into_iter().map(|(name, ..)| name).zip(done).collect();
    let ids = builds.iter().map(|(name, built)| {
        let id = built.as_ref().map(|it| Id::new(it.tree.hash().to_string()));
        (name.clone(), id.map_err(Clone::clone))
    });
    let plan = plan(&entries, &there, &ids.collect());
    let mut text = String::new();
    for (name, decision) in &plan {
        let told = plinth::text::escape_control(&decision.to_string()).into_owned();
        text.push_str(&format!("{} {name}: {told}\n", decision.sign()));
    }
    world.print(&text)?;
    let is_refused = plan.values().any(|it| matches!(it, Decision::Refused(_)));
    if !args.host.dry_run {
        for (name, decision) in &plan {
            let entry = entries.iter().find(|entry| entry.name == *name);
            let built = builds.get(name).and_then(|it| it.as_ref().ok());
            make_so(args, host, world, (name, decision), entry.zip(built))?;
        }
    }
    let is_wrong = builds.values().any(Result::is_err);
    Ok(if is_wrong {
        INVALID
    } else if is_refused {
        CONFLICT
    } else {
        0
    })
}

/// Carries out one line of the plan.
fn make_so(
    args: &Args,
    host: &Host<'_>,
    world: &mut World<'_>,
    (name, decision): (&Name, &Decision),
    built: Option<(&Entry, &Built)>,
) -> Result<(), Failure> {
    match (decision, built) {
        (
            Decision::Create(_) | Decision::Update { .. } | Decision::Same(_),
            Some((entry, built)),
        ) => {
            built.warnings.iter().for_each(tell);
            prepare(host, name).map_err(fail)?;
            let lock = host.lock(name).map_err(fail)?;
            let seen = host.look(name).map_err(fail)?;
            let source = match &entry.update_source {
                Some(later) => host.root.join(later),
                None => description(host, entry),
            };
            let source = Some(source.to_string_lossy().into_owned());
            let facts = (source, entry.source.is_none(), Some(entry.autostart));
            install(host, name, seen, &built.tree, facts).map_err(fail)?;
            host.serve(name).map_err(fail)?;
            drop(lock);
            if matches!(decision, Decision::Update { restart: true, .. }) {
                world.print(&format!("Rebooting MicroVM {name}\n"))?;
                super::running::restart_names(host, std::slice::from_ref(name), true)?;
            }
            Ok(())
        }
        (Decision::Orphan, _) if args.host.prune => {
            if host.activity(name).map_err(fail)?.active {
                super::running::stop_names(host, std::slice::from_ref(name), true)?;
            }
            host.remove(name, true)?;
            world.print(&format!("Removed MicroVM {name}, its data stays\n"))
        }
        _ => Ok(()),
    }
}

fn look(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let only = if args.words.len() > 1 { Some(name(args, 1)?) } else { None };
    let findings = doctor(host, only.as_ref(), args.host.net).map_err(fail)?;
    if args.json {
        let list = findings.iter().map(crate::host::Finding::json).collect();
        world.print(&format!("{:#}\n", serde_json::Value::Array(list)))?;
    } else {
        world.print(&findings.iter().map(crate::host::Finding::line).collect::<String>())?;
    }
    Ok(if findings.iter().any(|it| it.level == Level::Bad) { FAILED } else { 0 })
}
