// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm show`: a machine in every form that somebody may need.

use plinth::err::Failure;
use serde_json::{Value, json};

use super::args::View;
use super::load::{chosen, first_word, plan_options, valid};
use super::{Args, World};
use crate::pipeline::Machine;
use crate::plan::{Plan, plan};
use crate::quote::shell_word;
use crate::view;

/// `microvm show`
pub(super) fn show(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let describe = &args.describe;
    let loaded = valid(first_word(args), args)?;
    let options = plan_options(args);
    let mut all = serde_json::Map::new();
    for machine in chosen(&loaded, describe)? {
        let plan = plan(&machine.vm, &options);
        if args.json {
            all.insert(machine.name.clone(), as_json(machine, &plan));
            continue;
        }
        if loaded.is_fleet {
            world.print(&format!("# {}\n", machine.name))?;
        }
        world.print(&text(machine, &plan, describe.view))?;
    }
    if args.json {
        world.print(&format!("{:#}\n", Value::Object(all)))?;
    }
    Ok(0)
}

/// Everything at once, for programs.
fn as_json(machine: &Machine, plan: &Plan) -> Value {
    let words = plan.words.iter().map(crate::plan::Word::shown);
    let argv: Vec<String> = std::iter::once(plan.program.clone()).chain(words).collect();
    json!({
        "config": machine.vm.to_json(),
        "argv": argv,
        "capabilities": {
            "canShutdown": plan.shutdown.is_some(),
            "supportsNotifySocket": plan.notify,
            "tapMultiQueue": plan.tap_multi_queue,
        },
        "fstab": view::fstab(&machine.vm),
        "modules": view::modules(&machine.vm),
        "netSetup": view::net_setup(&machine.vm),
    })
}

fn text(machine: &Machine, plan: &Plan, form: View) -> String {
    let lines = |lines: Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect();
    match form {
        View::Options => lines(
            view::options(&machine.vm.to_json())
                .into_iter()
                .map(|(key, value)| format!("{key} = {value}"))
                .collect(),
        ),
        View::Argv => {
            let program = crate::quote::shell(&plan.program);
            lines(std::iter::once(program).chain(plan.words.iter().map(shell_word)).collect())
        }
        View::Fstab => lines(view::fstab(&machine.vm)),
        View::Modules => lines(view::modules(&machine.vm).into_iter().map(str::to_owned).collect()),
        View::NetSetup => lines(view::net_setup(&machine.vm)),
    }
}
