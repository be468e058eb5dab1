// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm host install` and `host doctor`, and the way to `host apply`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

use plinth::err::{FAILED, Failure, tell};
use plinth::file::replace_atomic;

use super::super::load::no_action;
use super::super::{Args, World};
use super::apply::apply;
use super::{fail, name, usage, word};
use crate::host::change::{self, CURRENT};
use crate::host::units::{Piece, pieces};
use crate::host::{Hands, Host, HostError, Level, Manager, Name, doctor};

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
