// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `check`: what a daemon would complain about, without a daemon.
//!
//! Owns the choice of the reader for a file and the comparison of the host's names with those that
//! existing connections use. What is wrong in a file is decided by the readers of the daemons.

use std::collections::BTreeMap;
use std::path::Path;

use log::Level;
use plinth::config::ini::Ini;
use plinth::err::{FAILED, Failure, USAGE};

use super::args::Args;
use super::{AdminError, Files, SECTION};
use crate::core::identity::Identity;
use crate::core::settings::{Diagnostic, Role};
use crate::ctl::World;
use crate::shell::config::Source;

/// Where the kernel shows its controllers.
const CONTROLLERS: &str = "/sys/class/nvme";

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Daemon(Role),
    Host,
}

/// Prints the problems of a file, one a line; the exit status says whether there are any.
pub(super) fn check(files: &Files, args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let path = match &args.checked {
        Some(path) => files.absolute(path)?,
        None => files.config.clone(),
    };
    let text = match files.root.read_text(&path) {
        Ok(text) => text,
        // The usual file need not exist.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && args.checked.is_none() => {
            String::new()
        }
        Err(source) => return Err(AdminError::Read { path, source }.into()),
    };
    let kind = if args.checked.is_none() { Some(Kind::Host) } else { kind_of(&path, &text) };
    let Some(kind) = kind else {
        let text = format!("cannot tell whose configuration {} is", path.display());
        return Err(Failure::new(USAGE, text));
    };
    let mut problems = match kind {
        Kind::Host => host(files, &path, &text),
        Kind::Daemon(role) => {
            let (file, root) = (path.clone(), files.root.clone());
            let source = Source { role, file, root, credentials: None };
            let own = path.to_string_lossy().into_owned();
            let mut found = source.load().diagnostics;
            found.retain(|diagnostic| diagnostic.path.starts_with(&own));
            found
        }
    };
    problems.retain(|problem| problem.level <= Level::Warn);
    let mut out = String::new();
    for problem in &problems {
        out.push_str(&plinth::text::escape_control(&problem.to_string()));
        out.push('\n');
    }
    world.print(&out)?;
    Ok(if problems.is_empty() { 0 } else { FAILED })
}

/// Tells the three files apart by their names, else by sections that only one of them has.
fn kind_of(path: &Path, text: &str) -> Option<Kind> {
    let name = path.file_name()?.to_string_lossy();
    for (part, kind) in [
        ("stafd", Kind::Daemon(Role::Finder)),
        ("stacd", Kind::Daemon(Role::Connector)),
        ("sys", Kind::Host),
    ] {
        if name.starts_with(part) {
            return Some(kind);
        }
    }
    let ini = Ini::parse(text).ok()?;
    ini.sections.iter().find_map(|(section, _)| match section.as_str() {
        SECTION => Some(Kind::Host),
        "Service Discovery" | "Discovery controller connection management" => {
            Some(Kind::Daemon(Role::Finder))
        }
        "I/O controller connection management" => Some(Kind::Daemon(Role::Connector)),
        _ => None,
    })
}

fn host(files: &Files, path: &Path, text: &str) -> Vec<Diagnostic> {
    let shown = path.to_string_lossy().into_owned();
    let mut read =
        |file: &str| files.root.read_text(file).map_err(|error| format!("{file}: {error}"));
    match Identity::load(&shown, Some(text), &mut read) {
        Ok((identity, mut found)) => {
            for (what, value) in [("NQN", &identity.nqn), ("ID", &identity.id)] {
                if value.is_empty() {
                    found.push(warning(&shown, format!("the host {what} is empty")));
                }
            }
            found.extend(conflicts(files, &shown, &identity));
            found
        }
        Err(error) => vec![Diagnostic::unreadable(&shown, None, &error.to_string())],
    }
}

/// Kernels since 6.5 refuse a connection whose host ID is in use with another host NQN, or the
/// other way round.
fn conflicts(files: &Files, path: &str, identity: &Identity) -> Vec<Diagnostic> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for device in files.root.list(CONTROLLERS).unwrap_or_default() {
        let attribute = |name: &str| {
            let text = files.root.read_text(format!("{CONTROLLERS}/{device}/{name}"));
            text.unwrap_or_default().trim().to_owned()
        };
        let (nqn, id) = (attribute("hostnqn"), attribute("hostid"));
        if nqn.is_empty() || id.is_empty() {
            continue;
        }
        let other = if nqn == identity.nqn && !id.eq_ignore_ascii_case(&identity.id) {
            format!("uses this host NQN with the host ID {id}")
        } else if id.eq_ignore_ascii_case(&identity.id) && nqn != identity.nqn {
            format!("uses this host ID with the host NQN {nqn}")
        } else {
            continue;
        };
        found.entry(other).or_insert(device);
    }
    let text = |(other, device)| format!("{device} {other}: the kernel may refuse connections");
    found.into_iter().map(text).map(|text| warning(path, text)).collect()
}

fn warning(path: &str, text: String) -> Diagnostic {
    Diagnostic::new(Level::Warn, path, None, text)
}
