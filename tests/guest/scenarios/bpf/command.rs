// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every kind of program that the command attaches: loaded, pinned, made to run, unloaded, each by
//! one line as a user would type it. What a kernel is too old for must be refused with the exit
//! code that says so.

use rustix::process::{getpgid, getpid};

use super::NEEDS;
use super::matrix::{self, Device, LIMIT, Row, Special};
use crate::inside::bpf::{self, Trigger};
use crate::inside::process::{self, Process};
use crate::inside::{Outcome, Trouble, ensure, ensure_eq, say, wait};
use crate::scenarios::{Guest, Kernel, Scenario};

/// The whole matrix.
pub const COMMAND: Scenario = Scenario {
    name: "bpf-command",
    about: "tinybpf: every kind of program loaded, attached, run, unloaded, by the command",
    needs: NEEDS,
    kernels: &Kernel::KNOWN,
    seconds: 240,
    run: command,
};

/// Exit codes of the command for what the kernel cannot do, and for what its verifier refuses: that
/// one knows where programs may sleep.
const REFUSED: [i32; 2] = [6, 7];

fn command(guest: &Guest) -> Outcome {
    bpf::prepare()?;
    bpf::mounts()?;
    say::text(&bpf::done(&["version"])?);
    let specials: &[Special] = &[
        ("lsm", denial),
        ("xdp", xdp),
        ("iter", iterator),
        ("freplace", replacement),
        ("struct_ops", congestion),
        ("netkit", netkit),
        ("load only", loads),
    ];
    matrix::walk(guest, show, specials);
    ensure_eq("what is left below bpffs", &std::fs::read_dir(bpf::BPFFS)?.count(), &0)
}

/// Loads, attaches, triggers, reads the counter, unloads; or sees it refused.
fn show(row: &Row, kernel: Kernel) -> Outcome {
    let hook = format!("{}={}", row.program, row.hook);
    let mut options = vec!["--prog", row.program];
    options.extend(if row.hook == "auto" { ["--attach", "auto"] } else { ["--hook", &hook] });
    // What has no link that could be pinned lives as long as its command.
    if ["tc:", "usdt:"].iter().any(|kind| row.hook.starts_with(kind)) {
        return hold(row.object, &options, row.trigger, row.counter);
    }
    let said = bpf::load(row.object, &options)?;
    if kernel < row.since {
        return refused(&said);
    }
    ensure(said.code == 0, format_args!("exit {}: {}", said.code, said.err))?;
    wait::until_found("the program runs", LIMIT, || {
        row.trigger.pull()?;
        Ok((bpf::global(row.object, row.counter)? > 0).then_some(()))
    })?;
    bpf::unload(row.object)
}

/// The same by a command that stays, until it is told to stop.
fn hold(object: &str, options: &[&str], trigger: Trigger, counter: &str) -> Outcome {
    let path = bpf::object(object);
    let words = [&[bpf::TINYBPF, "load", &path, "--hold"], options].concat();
    let mut holder = Process::start("hold", &words, &[])?;
    wait::until_found("the program runs", LIMIT, || {
        trigger.pull()?;
        ensure(holder.alive(), holder.log())?;
        Ok(bpf::global(object, counter).ok().filter(|&count| count > 0))
    })?;
    holder.stop(LIMIT).map(drop)
}

/// The kernel cannot, and the command says so in one line and by its code.
fn refused(said: &process::Said) -> Outcome {
    ensure(REFUSED.contains(&said.code), format_args!("exit {}: {}", said.code, said.err))?;
    ensure(!said.err.trim().is_empty(), "it was refused without a word")?;
    Ok(())
}

/// A security hook refuses what it was told to refuse, and nothing else.
fn denial(_: &Guest) -> Outcome {
    let own = format!("denied_pid={}", getpid().as_raw_nonzero());
    let options = ["--prog", "deny", "--attach", "auto", "--set", &own];
    let said = bpf::load("lsm", &options)?;
    ensure(said.code == 0, &said.err)?;
    let answer = getpgid(Some(getpid()));
    ensure_eq("the answer to a denied call", &answer, &Err(rustix::io::Errno::PERM))?;
    ensure_eq("calls denied", &bpf::global("lsm", "denied")?, &1)?;
    bpf::unload("lsm")?;
    ensure(getpgid(Some(getpid())).is_ok(), "it is denied still")
}

/// In the generic mode on the loopback interface, in the driver's on a pair of virtual ones.
fn xdp(_: &Guest) -> Outcome {
    let pair = Device::pair()?;
    for (hook, frames) in [("pass=xdp:lo,mode=skb", false), ("pass=xdp:v1,mode=native", true)] {
        let said = bpf::load("xdp", &["--prog", "pass", "--hook", hook])?;
        ensure(said.code == 0, format_args!("{hook}: {}", said.err))?;
        wait::until_found("packets are counted", LIMIT, || {
            if frames {
                pair.ask()?;
            } else {
                Trigger::Datagram.pull()?;
            }
            let dump = bpf::json(&["map", "dump", "name", "packets"])?;
            Ok(largest(&dump).filter(|&count| count > 0))
        })?;
        bpf::unload("xdp")?;
    }
    let said = bpf::load("xdp", &["--prog", "pass_frags", "--hook", "pass_frags=xdp:v1"])?;
    ensure(said.code == 0, format_args!("frags: {}", said.err))?;
    bpf::unload("xdp")?;
    pair.remove()
}

/// The largest number anywhere in `value`.
fn largest(value: &serde_json::Value) -> Option<i64> {
    use serde_json::Value;
    match value {
        Value::Number(number) => number.as_i64(),
        Value::Array(items) => items.iter().filter_map(largest).max(),
        Value::Object(members) => members.values().filter_map(largest).max(),
        _ => None,
    }
}

/// The text of a task iterator names this process.
fn iterator(_: &Guest) -> Outcome {
    let said = bpf::load("iter", &["--prog", "tasks", "--attach", "auto"])?;
    ensure(said.code == 0, &said.err)?;
    let links = format!("{}/iter/links/tasks", bpf::BPFFS);
    let text = bpf::done(&["iter", "pin", &links])?;
    ensure(text.lines().any(|line| line.starts_with("1 1 ")), format_args!("it said '{text}'"))?;
    bpf::unload("iter")?;
    Ok(())
}

/// A function of a loaded program is replaced, and is itself again afterwards.
fn replacement(_: &Guest) -> Outcome {
    let said = bpf::load("freplace_target", &[])?;
    ensure(said.code == 0, &said.err)?;
    let target = format!("{}/freplace_target/progs/entry", bpf::BPFFS);
    std::fs::write("/tmp/packet", [0x55; 64])?;
    let verdict = || {
        let answer = bpf::json(&["test-run", "pin", &target, "--data", "/tmp/packet"])?;
        bpf::find(&answer, "retval").ok_or_else(|| Trouble::new(format!("no verdict in {answer}")))
    };
    ensure_eq("the verdict before", &verdict()?, &2)?;
    let hook = format!("stricter=freplace:pin {target}:decide");
    let said = bpf::load("freplace", &["--hook", &hook])?;
    ensure(said.code == 0, &said.err)?;
    ensure_eq("the verdict of the replacement", &verdict()?, &1)?;
    bpf::unload("freplace")?;
    ensure_eq("the verdict afterwards", &verdict()?, &2)?;
    bpf::unload("freplace_target")?;
    Ok(())
}

/// A congestion control, plain and as a link.
fn congestion(guest: &Guest) -> Outcome {
    for (kind, object, first) in [
        ("struct_ops", "struct_ops", Kernel::V6_1),
        ("struct_ops.link", "struct_ops_link", Kernel::V6_12),
    ] {
        let said = bpf::load(object, &["--attach", "auto"])?;
        if guest.kernel < first {
            refused(&said)?;
            continue;
        }
        ensure(said.code == 0, format_args!("{kind}: {}", said.err))?;
        Trigger::Congestion.pull()?;
        ensure(bpf::global(object, "acknowledged")? > 0, "it was not asked")?;
        bpf::unload(object)?;
    }
    Ok(())
}

/// A device that exists from 6.7 on.
fn netkit(guest: &Guest) -> Outcome {
    let load = |interface: &str| {
        let hook = format!("primary=netkit:{interface}/primary");
        bpf::load("netkit", &["--prog", "primary", "--hook", &hook])
    };
    if guest.kernel < Kernel::V6_12 {
        return refused(&load("lo")?);
    }
    let kit = Device::kit()?;
    let said = load("kit0")?;
    ensure(said.code == 0, &said.err)?;
    wait::until_found("packets are counted", LIMIT, || {
        kit.ask()?;
        Ok((bpf::global("netkit", "primary_packets")? > 0).then_some(()))
    })?;
    bpf::unload("netkit")?;
    kit.remove()
}

/// What hangs on sockets and routes of a process: the command loads it, a process attaches it.
fn loads(_: &Guest) -> Outcome {
    for object in ["socket", "sk_reuseport", "sockmap", "lwt"] {
        let said = bpf::load(object, &["--attach", "none"])?;
        ensure(said.code == 0, format_args!("{object}: {}", said.err))?;
        bpf::unload(object)?;
    }
    Ok(())
}
