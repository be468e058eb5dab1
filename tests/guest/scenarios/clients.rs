// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every command of the clients, against running daemons, stopped ones, and as an ordinary user.

use plinth::time::Time;
use serde_json::Value;

use super::world::{self, LIMIT, NQNS, World};
use super::{Guest, Kernel, Needs, Scenario};
use crate::inside::process::{self, Said};
use crate::inside::stas::{self, Role};
use crate::inside::trouble::Naming;
use crate::inside::{Outcome, Trouble, controllers, ensure, ensure_eq, say};

const BOTH: [Role; 2] = [Role::Finder, Role::Connector];
const NOBODY: u32 = 65534;
/// Asks for the discovery controller of these scenarios.
const DLP: [&str; 5] = ["dlp", "-a", "127.0.0.1", "-s", "8009"];

/// Every command over the bus.
pub const CLIENTS: Scenario = Scenario {
    name: "clients",
    about: "every command of stafctl and stacctl, daemons up and down, root and nobody",
    needs: Needs { stas: true, bus: true, ..Needs::BARE },
    kernels: &[Kernel::V6_1],
    seconds: 120,
    run: clients,
};

/// Every command over the control socket.
pub const CLIENTS_NO_BUS: Scenario = Scenario {
    name: "clients-no-bus",
    about: "every command of stafctl and stacctl where there is no bus",
    needs: Needs { stas: true, ..Needs::BARE },
    kernels: &[Kernel::V6_1],
    seconds: 120,
    run: clients_no_bus,
};

fn setting() -> Outcome {
    world::follow(2)
}

fn clients(_: &Guest) -> Outcome {
    setting()?;
    let mut world = World::start(true)?;
    controllers::await_storage(&NQNS[..2], LIMIT)?;
    stas::await_announced(&NQNS[..2], LIMIT)?;
    answers(&[])?;
    say::step("answered over the bus");
    for role in BOTH {
        answers_of(role, &["--socket", &format!("/run/{}/ctl.sock", role.daemon())])?;
    }
    say::step("answered over the socket on demand");

    for role in BOTH {
        let said = run_as_nobody(role, &["ls"])?;
        ensure_eq("nobody's ls", &said.code, &0)?;
        let said = run_as_nobody(role, &["tron"])?;
        ensure_eq("nobody's tron", &said.code, &1)?;
        ensure(said.err.contains("root"), format_args!("nobody is told '{}'", said.err))?;
        let said = run_as_nobody(role, &["--json", "status"])?;
        ensure_eq("nobody's status", &said.code, &0)?;
    }
    say::step("an ordinary user may read and is told what not");
    world.stop()?;
    silence(Some("Unable to communicate with"))?;
    drop(world);
    silence(None)
}

fn clients_no_bus(_: &Guest) -> Outcome {
    setting()?;
    let mut world = World::start(false)?;
    controllers::await_storage(&NQNS[..2], LIMIT)?;
    stas::await_announced(&NQNS[..2], LIMIT)?;
    answers(&[])?;
    for role in BOTH {
        let said = run_as_nobody(role, &["ls"])?;
        ensure_eq("nobody's ls without a bus", &said.code, &1)?;
        let said = stas::client(role, &["wait", "--count", "9", "--timeout", "0.5"])?;
        ensure_eq("waiting for what does not come", &said.code, &1)?;
    }
    world.stop()?;
    silence(None)
}

fn run_as_nobody(role: Role, words: &[&str]) -> Outcome<Said> {
    let program = format!("/usr/bin/{}", role.client());
    process::run_as(NOBODY, &[&[program.as_str()], words].concat())
}

/// Each command fails with status 1 and the known words; usage is a matter of its own.
fn silence(words: Option<&str>) -> Outcome {
    for role in BOTH {
        for command in ["tron", "troff", "status", "ls"] {
            let said = stas::client(role, &[command])?;
            ensure_eq(&format!("{command} without a daemon"), &said.code, &1)?;
            ensure_eq("its output", &said.out.as_str(), &"")?;
            let wanted = words.map_or_else(
                || role.daemon().to_owned(),
                |words| format!("{words} {} over D-Bus. Is {0} running?", role.daemon()),
            );
            ensure(said.err.contains(&wanted), format_args!("{command} says '{}'", said.err))?;
        }
    }
    let said = stas::client(Role::Finder, &DLP)?;
    ensure_eq("dlp without a daemon", &said.code, &1)
}

fn answers(options: &[&str]) -> Outcome {
    for role in BOTH {
        answers_of(role, options)?;
    }
    Ok(())
}

/// What a client prints, as JSON.
fn json(role: Role, options: &[&str], words: &[&str]) -> Outcome<Value> {
    let all = [options, &["--json"], words].concat();
    let said = stas::client(role, &all)?;
    let during = format!("{} {}", role.client(), all.join(" "));
    ensure_eq(&during, &(said.code, said.err.as_str()), &(0, ""))?;
    serde_json::from_str(&said.out).named(format!("{during}: {}", said.out))
}

fn answers_of(role: Role, options: &[&str]) -> Outcome {
    let ask = |words: &[&str]| stas::client(role, &[options, words].concat());
    let said = ask(&["troff"])?;
    ensure_eq("troff", &(said.code, said.out.as_str()), &(0, "tron = False\n"))?;
    let said = ask(&["tron"])?;
    ensure_eq("tron", &(said.code, said.out.as_str()), &(0, "tron = True\n"))?;

    let wanted = if role == Role::Finder { 1 } else { 2 };
    let list = json(role, options, &["ls"])?;
    let list = list.as_array().cloned().unwrap_or_default();
    ensure_eq("the length of the list", &list.len(), &wanted)?;
    ensure_eq("traddr", &list[0]["traddr"].as_str(), &Some("127.0.0.1"))?;
    ensure(list[0].get("connected").is_none(), "the short list is a detailed one")?;
    let detailed = json(role, options, &["ls", "-d"])?;
    ensure_eq("connected", &detailed[0]["connected"].as_str(), &Some("True"))?;
    ensure_eq("hostid", &detailed[0]["hostid"].as_str(), &Some(controllers::HOST_ID))?;
    let device = detailed[0]["device"].as_str().unwrap_or_default().to_owned();
    let kernel = controllers::all();
    ensure(kernel.iter().any(|c| c.name == device), format_args!("the kernel has no {device}"))?;

    let status = json(role, options, &["status"])?;
    let shown = status["controllers"].as_array().map_or(0, Vec::len);
    ensure_eq("controllers in the status", &shown, &wanted)?;
    ensure_eq("tron in the status", &status["tron"].as_bool(), &Some(true))?;

    // The default form is a Python literal: keys sorted, single quotes.
    let said = ask(&["ls"])?;
    let begins = said.out.starts_with("[{'device': 'nvme");
    ensure(begins, format_args!("the Python form begins otherwise: {}", said.out))?;
    let said = ask(&["wait", "--count", &wanted.to_string(), "--timeout", "10"])?;
    ensure_eq("waiting for what is there", &said.code, &0)?;
    if role == Role::Finder {
        pages(options)?;
    }
    usage(role)
}

fn pages(options: &[&str]) -> Outcome {
    let page = json(Role::Finder, options, &DLP)?;
    ensure_eq("records of the page", &page.as_array().map_or(0, Vec::len), &3)?;
    for words in [&["adlp"][..], &["adlp", "-d"]] {
        let all = json(Role::Finder, options, words)?;
        let records = all[0]["log-pages"].as_array().map_or(0, Vec::len);
        ensure_eq("records of all pages", &records, &3)?;
        let address = all[0]["discovery-controller"]["traddr"].as_str();
        ensure_eq("the page's controller", &address, &Some("127.0.0.1"))?;
    }
    let unknown = ["dlp", "-a", "192.0.2.99", "-s", "8009"];
    let page = json(Role::Finder, options, &unknown)?;
    ensure_eq("the page of an unknown controller", &page, &Value::Array(Vec::new()))
}

fn usage(role: Role) -> Outcome {
    let said = stas::client(role, &[])?;
    ensure_eq("no command", &said.code, &1)?;
    ensure(said.out.to_lowercase().contains("usage"), "no command prints no usage on stdout")?;
    for words in [&["frobnicate"][..], &["ls", "--nonsense"], &["ls", "stray"]] {
        let said = stas::client(role, words)?;
        ensure_eq(&words.join(" "), &(said.code, said.out.as_str()), &(2, ""))?;
        ensure(!said.err.is_empty(), "bad usage is not explained")?;
    }
    if role == Role::Connector {
        ensure_eq("stacctl dlp", &stas::client(role, &["dlp"])?.code, &2)?;
    }
    let said = stas::client(role, &["-v"])?;
    let one_line = said.out.starts_with("nvme-stas ") && said.out.lines().count() == 1;
    ensure(one_line && said.code == 0, format_args!("-v says '{}'", said.out))
}

/// What starting, asking and stopping cost. Times are measured, not judged: the processor is
/// emulated.
pub const COST: Scenario = Scenario {
    name: "cost",
    about: "how long starts, answers and stops take, and that an idle daemon stays small",
    needs: Needs { stas: true, bus: true, ..Needs::BARE },
    kernels: &[Kernel::V6_1],
    seconds: 120,
    run: cost,
};

fn cost(_: &Guest) -> Outcome {
    let timed = |words: &[&str]| {
        let begin = Time::monotonic();
        let said = process::run(words)?;
        ensure_eq(&words.join(" "), &said.code, &0)?;
        Ok::<_, Trouble>(begin.until(Time::monotonic()).as_millis())
    };
    say::value("true_ms", &timed(&["/bin/busybox", "true"])?);
    say::value("stafctl_version_ms", &timed(&["/usr/bin/stafctl", "--version"])?);
    let mut world = World::start(true)?;
    world.stop()?;
    for _ in 0..3 {
        world.finder = stas::start_with(Role::Finder, &[], &[])?;
        let spent = stas::ready(Role::Finder, &mut world.finder)?;
        say::value("start_ms", &spent.as_millis());
        say::value("ls_ms", &timed(&["/usr/bin/stafctl", "ls"])?);
        let resident = world.finder.resident_kib()?;
        say::value("resident_kib", &resident);
        ensure(resident <= 5 << 10, format_args!("an idle stafd holds {resident} KiB"))?;
        let spent = world.finder.stop(world::STOP)?;
        say::value("stop_ms", &spent.as_millis());
    }
    Ok(())
}
