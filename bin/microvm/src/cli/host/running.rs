// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands that start, stop and reach machines.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plinth::err::{Failure, tell};
use plinth::proc::{Limits, run as run_to_end};

use super::super::{Args, NOT_FOUND, World};
use super::{fail, for_each, names, usage, word};
use crate::host::change::{BOOTED, CURRENT};
use crate::host::{
    Host, HostError, Manager, Name, Target, become_program, generator, has_proxy, ssh_words,
};

/// ssh reads its configuration.
const RESOLVE: Limits = Limits { time: Duration::from_secs(10), output: 1 << 20 };

/// `microvm run`
pub(super) fn run(args: &Args, host: &Host<'_>, _world: &mut World<'_>) -> Result<u8, Failure> {
    let word = word(args, 0)?;
    let machine = Name::parse(word).and_then(|it| Some((host.package(&it, CURRENT)?, it)));
    let Some((package, name)) = machine else {
        let package = Path::new(word).canonicalize().unwrap_or_default();
        let script = package.join("bin/microvm-run");
        if !script.is_file() {
            let text = format!("{word} is neither a machine nor a package");
            return Err(Failure::new(NOT_FOUND, text));
        }
        if args.host.setup {
            return Err(usage("--setup is for machines of this host"));
        }
        return Err(fail(become_program(Command::new(script), "to run the machine")));
    };
    if host.activity(&name).map_err(fail)?.active {
        return Err(fail(HostError::Running(name)));
    }
    if args.host.setup {
        return host.run_with_setup(&name).map_err(fail);
    }
    let mut command = Command::new(package.join("bin/microvm-run"));
    command.current_dir(host.directory(&name));
    Err(fail(become_program(command, "to run the machine")))
}

/// `microvm start`
pub(super) fn start(args: &Args, host: &Host<'_>, _world: &mut World<'_>) -> Result<u8, Failure> {
    let names = if args.host.autostart {
        if !args.words.is_empty() {
            return Err(usage("--autostart takes no names"));
        }
        let running = host.activities().map_err(fail)?;
        let is_stopped = |name: &Name| !running.get(name).is_some_and(|it| it.active);
        generator::wanted(host).into_iter().filter(is_stopped).collect()
    } else {
        names(args)?
    };
    if names.is_empty() {
        return Ok(0);
    }
    start_names(host, &names, !args.host.no_block)
}

pub(super) fn start_names(host: &Host<'_>, names: &[Name], wait: bool) -> Result<u8, Failure> {
    exist(host, names)?;
    match host.manager {
        Manager::Systemd => {
            let (running, units): (Vec<Name>, Vec<Name>) =
                names.iter().cloned().partition(|name| host.is_ours(name));
            end(host, &left(host, &units))?;
            if !units.is_empty() {
                host.order("start", &units, wait).map_err(fail)?;
            }
            for_each(&running, |name| Err(fail(HostError::Running(name.clone()))))
        }
        Manager::Own => for_each(names, |name| {
            let _lock = host.lock(name).map_err(fail)?;
            host.start(name).map_err(fail)
        }),
    }
}

/// The machines of which something is there that this program has set up, and no unit knows.
fn left(host: &Host<'_>, names: &[Name]) -> Vec<Name> {
    names.iter().filter(|name| host.is_left(name)).cloned().collect()
}

/// Ends machines that this program has started, and takes down what they left.
fn end(host: &Host<'_>, names: &[Name]) -> Result<u8, Failure> {
    for_each(names, |name| {
        let _lock = host.lock(name).map_err(fail)?;
        host.stop(name).map_err(fail)
    })
}

fn exist(host: &Host<'_>, names: &[Name]) -> Result<(), Failure> {
    names.iter().try_for_each(|name| host.machine(name).map(drop).map_err(fail))
}

/// `microvm stop`
pub(super) fn stop(args: &Args, host: &Host<'_>, _world: &mut World<'_>) -> Result<u8, Failure> {
    stop_names(host, &names(args)?, !args.host.no_block)
}

pub(super) fn stop_names(host: &Host<'_>, names: &[Name], wait: bool) -> Result<u8, Failure> {
    // Nothing that a machine puts there keeps it from being stopped.
    names.iter().try_for_each(|name| host.exists(name).map_err(fail))?;
    match host.manager {
        Manager::Systemd => {
            host.order("stop", names, wait).map_err(fail)?;
            end(host, &left(host, names))
        }
        Manager::Own => end(host, names),
    }
}

/// `microvm restart`
pub(super) fn restart(args: &Args, host: &Host<'_>, _: &mut World<'_>) -> Result<u8, Failure> {
    restart_names(host, &names(args)?, !args.host.no_block)
}

pub(super) fn restart_names(host: &Host<'_>, names: &[Name], wait: bool) -> Result<u8, Failure> {
    exist(host, names)?;
    match host.manager {
        Manager::Systemd => {
            let status = end(host, &left(host, names))?;
            host.order("restart", names, wait).map(|()| status).map_err(fail)
        }
        Manager::Own => for_each(names, |name| {
            let _lock = host.lock(name).map_err(fail)?;
            host.stop(name).and_then(|()| host.start(name)).map_err(fail)
        }),
    }
}

/// The link to the package that a running machine was started with.
fn running(host: &Host<'_>, name: &Name) -> Result<&'static str, Failure> {
    host.machine(name).map_err(fail)?;
    if !host.activity(name).map_err(fail)?.active {
        return Err(fail(HostError::NotRunning(name.clone())));
    }
    Ok(if host.package(name, BOOTED).is_some() { BOOTED } else { CURRENT })
}

/// A script of that package.
fn script(host: &Host<'_>, name: &Name, script: &str) -> Result<Option<PathBuf>, Failure> {
    let package = host.package(name, running(host, name)?);
    Ok(package.map(|it| it.join("bin").join(script)).filter(|it| it.is_file()))
}

/// `microvm shell`
pub(super) fn shell(args: &Args, host: &Host<'_>, _world: &mut World<'_>) -> Result<u8, Failure> {
    let name = super::name(args, 0)?;
    let link = running(host, &name)?;
    let profile = host.profile(&name, link).unwrap_or_default();
    let directory = host.directory(&name).to_string_lossy().into_owned();
    let target = Target::of(&profile, &directory)
        .ok_or_else(|| fail(HostError::Lacks(name.clone(), "vsock.cid, so no way in")))?;
    let said: Vec<String> = (1..args.words.len())
        .map(|at| word(args, at).map(str::to_owned))
        .collect::<Result<_, _>>()?;
    let mut ask = host.command("ssh");
    ask.arg("-G").arg(target.host());
    let resolved = run_to_end(ask, RESOLVE)
        .map_err(|_| fail(HostError::NoProgram("ssh".to_owned(), "by microvm shell")))?;
    let is_taken_care_of = has_proxy(&String::from_utf8_lossy(&resolved.stdout));
    let proxy = (!is_taken_care_of).then_some(host.program.as_str());
    tell(format_args!("Connecting to {name} via VSOCK..."));
    let mut command = host.command("ssh");
    command.args(ssh_words(&target, proxy, &said));
    Err(fail(become_program(command, "by microvm shell")))
}

/// `microvm console`
pub(super) fn console(args: &Args, host: &Host<'_>, _: &mut World<'_>) -> Result<u8, Failure> {
    let name = super::name(args, 0)?;
    let script = script(host, &name, "microvm-console")?;
    let mut command = if let Some(script) = script {
        Command::new(script)
    } else if host.manager == Manager::Systemd {
        let mut command = host.command("journalctl");
        command.args(["--follow", "--output=cat", "--unit"]).arg(name.unit());
        command
    } else {
        let mut command = host.command("tail");
        command.args(["-n", "+1", "-f", "console.log"]);
        command
    };
    command.current_dir(host.directory(&name));
    Err(fail(become_program(command, "to show the console")))
}

/// `microvm balloon`
pub(super) fn balloon(args: &Args, host: &Host<'_>, _: &mut World<'_>) -> Result<u8, Failure> {
    let name = super::name(args, 0)?;
    let Some(script) = script(host, &name, "microvm-balloon")? else {
        return Err(fail(HostError::Lacks(name, "balloon")));
    };
    let mut command = Command::new(script);
    command.args(args.words.iter().skip(1)).current_dir(host.directory(&name));
    Err(fail(become_program(command, "to move the balloon")))
}
