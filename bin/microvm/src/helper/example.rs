// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal example-…`: what the scripts of the examples call. The first word is the package.

use std::ffi::OsString;
use std::path::Path;

use plinth::err::{FAILED, Failure};

use super::{Call, connect, usage};
use crate::cli::World;
use crate::cli::args::Internal;
use crate::trial::{self, Check, Package, check, is_open, test};

/// How often the benchmark sends each command, and over how many connections.
const REQUESTS: usize = 10_000;
const CLIENTS: usize = 10;

fn package(call: &Call<'_>) -> Result<Package, Failure> {
    Ok(Package::open(Path::new(call.word(0, "PACKAGE")?))?)
}

/// Starts the machine, tests it, stops it.
pub(super) fn run(call: &Call<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    call.at_most(1)?;
    let verdict = test(&package(call)?);
    world.print(&verdict.text())?;
    Ok(if verdict.passed() { 0 } else { FAILED })
}

/// Asks the server of a machine that runs.
pub(super) fn ask(call: &Call<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    call.at_most(2)?;
    let package = package(call)?;
    let name = call.word(1, "WHAT")?;
    let what = Check::by_name(name).ok_or_else(|| usage("WHAT: not http, valkey or vnc"))?;
    let port = if what == Check::Vnc { package.example.vnc } else { package.example.host };
    let port = port.ok_or_else(|| usage(format!("{} has no such server", package.name)))?;
    for line in check(what, port, package.times.command)? {
        world.print(&format!("{line}\n"))?;
    }
    Ok(0)
}

/// Measures how fast the server of a machine that runs answers.
pub(super) fn benchmark(call: &Call<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    call.at_most(1)?;
    let package = package(call)?;
    let service = package.example.service.as_deref().and_then(Check::by_name);
    let port = package.example.host.filter(|_| service == Some(Check::Valkey));
    let port = port.ok_or_else(|| usage(format!("{} has no such server", package.name)))?;
    for line in trial::benchmark(port, REQUESTS, CLIENTS, package.times.command)? {
        world.print(&format!("{line}\n"))?;
    }
    Ok(0)
}

/// Connects this terminal to a console.
pub(super) fn console(call: &Call<'_>) -> Result<u8, Failure> {
    call.at_most(2)?;
    let package = package(call)?;
    let port = match call.word(1, "CONSOLE")? {
        "serial" => package.example.serial,
        "virtio" => package.example.virtio,
        _ => return Err(usage("CONSOLE: not serial or virtio")),
    };
    let port = port.ok_or_else(|| usage(format!("{} has no such console", package.name)))?;
    let words = [OsString::from("localhost"), OsString::from(port.to_string())];
    connect::tcp(&Call { options: &Internal::default(), words: &words })
}

/// Says which consoles listen.
pub(super) fn status(call: &Call<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    call.at_most(1)?;
    let example = package(call)?.example;
    let mut all_open = true;
    for (name, port) in [("serial", example.serial), ("virtio", example.virtio)] {
        let Some(port) = port else { continue };
        let is_open = is_open(port);
        all_open &= is_open;
        let word = if is_open { "listens" } else { "nobody listens" };
        world.print(&format!("{name} console, port {port}: {word}\n"))?;
    }
    Ok(if all_open { 0 } else { FAILED })
}
