// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What units and other hosts call: actions of `internal` that know the state directory.

use std::io;

use plinth::err::{FAILED, Failure};

use super::super::{Args, World};
use super::{fail, name, usage, word};
use crate::host::change::{BOOTED, CURRENT, Outcome};
use crate::host::{Host, LOCK_PATIENCE, import};
use crate::package::Hash;

/// The actions.
const OURS: [&str; 8] =
    ["stop", "hook", "set-booted", "unset-booted", "have", "import", "have-image", "import-image"];

/// Whether `internal` was called for one of these actions.
pub(super) fn is_ours(args: &Args) -> bool {
    let action = args.words.first().and_then(|word| word.to_str());
    action.is_some_and(|action| OURS.contains(&action))
}

/// `microvm internal ACTION`
pub(super) fn run(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    match word(args, 0)? {
        "stop" => {
            let name = name(args, 1)?;
            let pid = (world.env)("MAINPID").and_then(|pid| pid.to_str()?.parse().ok());
            host.shut_down(&name, pid).map(|()| 0).map_err(fail)
        }
        "hook" => {
            let name = name(args, 1)?;
            let (link, script) = match word(args, 2)? {
                "register" => (CURRENT, "microvm-register"),
                "unregister" if host.package(&name, BOOTED).is_some() => {
                    (BOOTED, "microvm-unregister")
                }
                "unregister" => (CURRENT, "microvm-unregister"),
                _ => return Err(usage("a hook is register or unregister")),
            };
            let words: Vec<String> =
                args.words.iter().skip(3).map(|it| it.to_string_lossy().into_owned()).collect();
            host.hook(&name, link, script, &words).map(|()| 0).map_err(fail)
        }
        "set-booted" => {
            let name = name(args, 1)?;
            // A start by a service manager waits for whoever changes the machine.
            let _lock = host.lock_within(&name, LOCK_PATIENCE).map_err(fail)?;
            host.set_booted(&name).map(|()| 0).map_err(fail)
        }
        "unset-booted" => host.unset_booted(&name(args, 1)?).map(|()| 0).map_err(fail),
        "have" => {
            let is_there = host.have(&hash(args, 1)?).map_err(fail)?.is_some();
            Ok(if is_there { 0 } else { FAILED })
        }
        "have-image" => {
            let (path, is_there) = host.image_for_later(&hash(args, 1)?);
            world.print(&format!("{path}\n"))?;
            Ok(if is_there { 0 } else { FAILED })
        }
        "import-image" => {
            host.take_image(&hash(args, 1)?, io::stdin().lock()).map(|()| 0).map_err(fail)
        }
        _ => take(args, host, world),
    }
}

fn hash(args: &Args, at: usize) -> Result<Hash, Failure> {
    Hash::parse(word(args, at)?).ok_or_else(|| usage("a hash has 64 hexadecimal digits"))
}

/// `microvm internal import NAME HASH [restart]`
fn take(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut args = args.clone();
    args.host.restart = args.words.get(3).is_some_and(|word| word == "restart");
    let args = &args;
    let name = name(args, 1)?;
    let written = import(host, &name, &hash(args, 2)?, io::stdin().lock()).map_err(fail)?;
    world.print(&match written.outcome {
        Outcome::Created => format!("Created MicroVM {name}\n"),
        Outcome::Changed => super::machines::differences(&written),
        Outcome::Same => "No change\n".to_owned(),
    })?;
    super::machines::conclude(args, host, world, &name, &written)?;
    Ok(0)
}
