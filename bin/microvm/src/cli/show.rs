// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm show`: a machine in every form that somebody may need.

use plinth::err::Failure;
use serde_json::{Value, json};

use super::args::View;
use super::load::{first_word, overlay_fits};
use super::machine::{Machine, machines};
use super::{Args, World, host};
use crate::package::RUNNER;
use crate::quote::shell;
use crate::view;

/// `microvm show`
pub(super) fn show(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let found = machines(first_word(args), args)?;
    overlay_fits(&args.words, args)?;
    let mut all = serde_json::Map::new();
    let are_many = found.len() > 1;
    for machine in found {
        if args.json {
            all.insert(machine.name.clone(), as_json(&machine, args));
            continue;
        }
        if are_many {
            world.print(&format!("# {}\n", machine.name))?;
        }
        world.print(&text(&machine, args))?;
    }
    if args.json {
        world.print(&format!("{:#}\n", Value::Object(all)))?;
    }
    Ok(0)
}

/// Everything at once, for programs.
fn as_json(machine: &Machine, args: &Args) -> Value {
    let runner = machine.tree.get(RUNNER).map(|entry| entry.bytes()).unwrap_or_default();
    let runner: Value = serde_json::from_slice(runner).unwrap_or_default();
    json!({
        "config": machine.config,
        "argv": machine.argv,
        "capabilities": runner.get("capabilities"),
        "fstab": view::fstab(&machine.vm),
        "modules": view::modules(&machine.vm),
        "netSetup": view::net_setup(&machine.vm),
        "unit": host::drop_in(args, &machine.tree),
    })
}

fn text(machine: &Machine, args: &Args) -> String {
    let lines = |lines: Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect();
    let vm = &machine.vm;
    match args.describe.view {
        View::Options => {
            let options = view::options(&machine.config).into_iter();
            lines(options.map(|(key, value)| format!("{key} = {value}")).collect())
        }
        View::Argv => lines(machine.argv.iter().map(|word| shell(word)).collect()),
        View::Fstab => lines(view::fstab(vm)),
        View::Modules => lines(view::modules(vm).into_iter().map(str::to_owned).collect()),
        View::NetSetup => lines(view::net_setup(vm)),
        View::Units => {
            let path = format!("microvm@{}.service.d/10-microvm.conf", machine.name);
            let text = host::drop_in(args, &machine.tree).unwrap_or_default();
            format!("# {path}\n{text}")
        }
    }
}
