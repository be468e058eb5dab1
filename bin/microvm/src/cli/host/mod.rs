// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands that manage the machines of this host: the words around [`crate::host`].

mod apply;
mod deploy;
mod internal;
mod list;
mod machines;
mod manage;
mod running;
pub(super) mod short;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use plinth::err::{Failure, USAGE, tell};
use plinth::file::Root;

use super::{Args, World, args};
use crate::host::{
    Builder, Built, Host, HostError, Manager, Name, Request, generator, settings, units,
};
use crate::{build, pipeline};

/// The commands of this family.
pub(super) fn dispatch(
    command: &str,
    args: &Args,
    world: &mut World<'_>,
) -> Option<Result<u8, Failure>> {
    let run: fn(&Args, &Host<'_>, &mut World<'_>) -> Result<u8, Failure> = match command {
        "create" => machines::create,
        "update" => machines::update,
        "remove" => machines::remove,
        "rollback" => machines::rollback,
        "gc" => machines::gc,
        "enable" => |args, host, world| machines::mark(args, host, world, true),
        "disable" => |args, host, world| machines::mark(args, host, world, false),
        "volume" => machines::volume,
        "list" => list::list,
        "status" => list::status,
        "run" => running::run,
        "start" => running::start,
        "stop" => running::stop,
        "restart" => running::restart,
        "shell" | "ssh" => running::shell,
        "console" => running::console,
        "balloon" => running::balloon,
        "host" => manage::host,
        "deploy" => deploy::deploy,
        "internal" if internal::is_ours(args) => internal::run,
        _ => return None,
    };
    Some(with_host(args, |host| run(args, host, world)))
}

/// This process as the generator of systemd, if it was called so; the words are its directories.
pub(super) fn generator(name: &OsStr, words: &[OsString]) -> Option<u8> {
    if Path::new(name).file_name() != Some(OsStr::new(generator::NAME)) {
        return None;
    }
    let Some(directory) = words.first() else { return Some(1) };
    let done = with_host(&Args::default(), |host| {
        Ok(generator::run(host, Path::new(directory)).map(|()| 0)?)
    });
    // systemd logs what is said, and boots on.
    if let Err(failure) = &done {
        tell(format_args!("{}: {failure}", generator::NAME));
    }
    Some(done.unwrap_or(1))
}

/// The package behind a link of the machine that `word` names, such as `current`, if there is one.
pub(super) fn package(args: &Args, word: &Path, link: &str) -> Option<PathBuf> {
    let name = Name::parse(word.to_str()?)?;
    with_host(args, |host| Ok(host.package(&name, link))).ok().flatten()
}

/// Where the description of the machine that `word` names is, if that is written down.
pub(super) fn source(args: &Args, word: &Path) -> Option<PathBuf> {
    let name = Name::parse(word.to_str()?)?;
    let seen = with_host(args, |host| host.look(&name).map_err(fail)).ok()?;
    seen.source.map(PathBuf::from).filter(|path| path.is_file())
}

/// What is added to the unit of a machine with this package.
pub(super) fn drop_in(args: &Args, tree: &crate::package::Tree) -> Option<String> {
    let read = |path: &str| tree.get(path).map(|entry| entry.bytes().to_vec());
    let profile = crate::host::profile::Profile::of(&read);
    with_host(args, |host| Ok(units::drop_in(&host.settings, &profile))).ok()
}

/// Makes the host that `args` speak of, and hands it on.
fn with_host<T>(
    args: &Args,
    then: impl FnOnce(&Host<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let root = args.host.root.as_ref().or(args.internal.root.as_ref());
    // Scripts run elsewhere, and their paths begin here.
    let root = root.map(std::path::absolute).transpose()?.map_or_else(Root::system, Root::at);
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    let build: &Builder<'_> = &packages;
    let host = Host {
        settings: settings::load(&root)
            .map_err(|problems| Failure::new(super::INVALID, problems))?,
        manager: Manager::of(&root),
        root,
        program,
        tools: None,
        build,
        after_action: &|| (),
    };
    then(&host)
}

/// Makes packages from a description.
fn packages(path: &Path, request: &Request) -> Result<Vec<Built>, Failure> {
    let load = pipeline::Options {
        set: request.set.clone(),
        declarative: request.declarative,
        ..pipeline::Options::default()
    };
    let options = build::Options { load, helper: request.helper.clone(), ..Default::default() };
    let mut outcome = build::build(path, &options)?;
    if request.helper.is_some() {
        // Its files are to be on another machine.
        outcome.report.retain(|it| it.code != super::load::MISSING);
    }
    let text = outcome.report.text(&outcome.files);
    if outcome.report.has_errors() {
        return Err(Failure::new(super::INVALID, Invalid(text)));
    }
    // Warnings belong to the whole description, and are told once.
    let mut warnings: Vec<String> = text.lines().map(str::to_owned).collect();
    let built = |it: build::Built| Built {
        name: it.name,
        tree: it.tree,
        warnings: std::mem::take(&mut warnings),
    };
    Ok(outcome.packages.into_iter().map(built).collect())
}

/// All that is wrong with a description, a line each.
#[derive(Debug)]
struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.trim_end().replace('\n', "; "))
    }
}

impl std::error::Error for Invalid {}

/// The failure with the status of its kind.
fn fail(error: HostError) -> Failure {
    Failure::new(error.status(), error)
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::new(USAGE, plinth::cli::UsageError::new(text))
}

/// The word at this place, as text.
fn word(args: &Args, at: usize) -> Result<&str, Failure> {
    let word = args.words.get(at).ok_or_else(|| usage("an argument is missing"))?;
    word.to_str().ok_or_else(|| usage("an argument is not UTF-8"))
}

/// The name of a machine at this place.
fn name(args: &Args, at: usize) -> Result<Name, Failure> {
    let word = word(args, at)?;
    Name::parse(word).ok_or_else(|| fail(HostError::BadName(word.to_owned())))
}

/// All words as names; at least one.
fn names(args: &Args) -> Result<Vec<Name>, Failure> {
    if args.words.is_empty() {
        return Err(usage("argument NAME is missing"));
    }
    (0..args.words.len()).map(|at| name(args, at)).collect()
}

/// Whether to colour what goes to standard output.
fn paint(args: &Args, world: &World<'_>) -> crate::host::list::Paint {
    let is_dumb = (world.env)("TERM").is_some_and(|it| it == "dumb");
    let is_refused = (world.env)("NO_COLOR").is_some_and(|it| !it.is_empty());
    let is_wanted = world.terminal && !is_dumb && !is_refused;
    crate::host::list::Paint(match args.host.color {
        args::Color::Auto => is_wanted,
        args::Color::Always => true,
        args::Color::Never => false,
    })
}

/// Does `each` to all names; goes on past failures, whose worst status is the result.
fn for_each(
    names: &[Name],
    mut each: impl FnMut(&Name) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut status = 0;
    for name in names {
        if let Err(failure) = each(name) {
            if names.len() == 1 {
                return Err(failure);
            }
            tell(format_args!("microvm: {failure}"));
            status = status.max(failure.exit);
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_have_and_want_some() {
        for (variable, value, is_painted) in [
            ("NO_COLOR", "", true),
            ("NO_COLOR", "1", false),
            ("TERM", "xterm", true),
            ("TERM", "dumb", false),
        ] {
            let env = |name: &str| (name == variable).then(|| OsString::from(value));
            for terminal in [true, false] {
                let world = World { env: &env, out: &mut Vec::new(), terminal };
                let is = paint(&Args::default(), &world).0;
                assert_eq!(is, is_painted && terminal, "{variable}={value}");
            }
        }
    }
}
