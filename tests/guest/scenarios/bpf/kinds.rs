// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every kind of program that can be attached: loaded, attached, made to run, detached, by the
//! library in a static program. What a kernel is too old for must be refused as unsupported.
//!
//! Each row reports `kind/NAME` as a measurement: `run` when the program was seen to run, `load`
//! when it was loaded only, `refused` when this kernel cannot. The host's tests write the same
//! words, and the table of both says where each kind was shown.

use std::os::fd::AsFd as _;
use std::path::Path;

use bpf::error::{Error, Kind as Failure};
use bpf::hook::{Hook, Place, XdpMode};
use bpf::link::Link;
use bpf::map::Map;
use bpf::object::Object;
use bpf::program::attach::{At, IterTarget, PerfEventOpts, Rate, UprobeOpts, UsdtOpts};
use bpf::program::network::{Beside, CgroupOpts, IfaceRef, NetfilterOpts, NetnsRef};
use bpf::program::{Program, TestRun};
use rustix::process::{getpgid, getpid};

use super::OBJECTS;
use super::matrix::{self, Device, LIMIT, Row, Special};
use crate::inside::bpf::{self as hand, Trigger};
use crate::inside::trouble::Naming as _;
use crate::inside::{Outcome, Trouble, ensure, ensure_eq, say, wait};
use crate::scenarios::{Guest, Kernel, Scenario};

/// The whole matrix.
pub const KINDS: Scenario = Scenario {
    name: "bpf-kinds",
    about: "every kind of BPF program loaded, attached, run, detached, by the library",
    needs: OBJECTS,
    kernels: &Kernel::KNOWN,
    seconds: 180,
    run: kinds,
};

fn kinds(guest: &Guest) -> Outcome {
    hand::prepare()?;
    hand::mounts()?;
    let specials: &[Special] = &[
        ("lsm", denial),
        ("xdp", xdp),
        ("netkit", netkit),
        ("iter", iterators),
        ("freplace", replacement),
        ("struct_ops", congestion),
        ("flow_dissector", dissector),
        ("load only", loads),
    ];
    matrix::walk(guest, show, specials);
    Ok(())
}

/// Words for an error of the library, its log included.
fn told(error: &Error) -> Trouble {
    Trouble::new(format!("{error:#}"))
}

fn attach(program: &Program, hook: &Hook) -> Result<Link, Error> {
    let loopback = IfaceRef::Name("lo");
    match hook {
        Hook::Cgroup { path, .. } => program.attach_cgroup(Path::new(path), CgroupOpts::default()),
        Hook::Netns(_) => program.attach_netns(NetnsRef::Own),
        Hook::Tc { direction, .. } => program.attach_tc(loopback, *direction, 0, 0),
        Hook::Tcx { direction, .. } => program.attach_tcx(loopback, *direction, Beside::Nothing),
        Hook::Netfilter { hook, priority, .. } => program.attach_netfilter(NetfilterOpts {
            family: 2,
            hook: *hook,
            priority: *priority,
            defragment: false,
        }),
        Hook::Perf(counter) => program.attach_perf_event(&PerfEventOpts {
            hardware: counter.is_hardware,
            config: counter.config,
            rate: Rate::Period(100_000),
            cpu: Some(0),
            pid: None,
            cookie: 0,
        }),
        Hook::Uprobe { path, at: Place::Symbol { name, .. }, is_return: returns, .. } => {
            if program.section().contains(".multi") {
                return program.attach_uprobe_multi(path, name, None, *returns);
            }
            program.attach_uprobe(&UprobeOpts {
                path,
                at: At::Symbol(name, 0),
                pid: None,
                returns: *returns,
                reference_counter: 0,
                cookie: 7,
            })
        }
        Hook::Usdt { path, provider, name, .. } => {
            program.attach_usdt(&UsdtOpts { path, provider, name, pid: None, cookie: 9 })
        }
        _ => program.attach(),
    }
}

/// Loads, attaches, triggers, reads the counter, detaches; or sees it refused.
fn show(row: &Row, kernel: Kernel) -> Outcome {
    let hook: Hook = row.hook.parse().named(row.hook)?;
    let attached = hand::only(row.object, row.program).and_then(|object| {
        let link = attach(&object.program(row.program)?, &hook)?;
        Ok((object, link))
    });
    if kernel < row.since {
        return refused(row.kind, attached.map(drop));
    }
    let (object, link) = attached.map_err(|error| told(&error))?;
    wait::until_found("the program runs", LIMIT, || {
        row.trigger.pull()?;
        Ok((hand::variable(&object, row.counter)? > 0).then_some(()))
    })?;
    link.detach().map_err(|error| told(&error))?;
    let before = hand::variable(&object, row.counter)?;
    row.trigger.pull()?;
    ensure_eq("its runs after the detach", &hand::variable(&object, row.counter)?, &before)?;
    hand::kind(row.kind, "run");
    Ok(())
}

/// The kernel cannot, and the library says just that; or the verifier does, which knows where a
/// program may sleep.
fn refused(kind: &str, tried: Result<(), Error>) -> Outcome {
    match tried {
        Ok(()) => Err(Trouble::new("it was attached to a kernel that cannot")),
        Err(error) if matches!(error.kind(), Failure::Unsupported | Failure::Verifier) => {
            say::text(&format!("{kind}: {error}"));
            hand::kind(kind, "refused");
            Ok(())
        }
        Err(error) => Err(told(&error)),
    }
}

/// A security hook refuses what it was told to refuse, and nothing else.
fn denial(_: &Guest) -> Outcome {
    let own = u32::try_from(getpid().as_raw_nonzero().get())?;
    let object = hand::only("lsm", "deny").map_err(|e| told(&e))?;
    let program = object.program("deny").map_err(|e| told(&e))?;
    let link = program.attach().map_err(|e| told(&e))?;
    ensure(getpgid(Some(getpid())).is_ok(), "it is denied at once")?;
    hand::set_variable(&object, "denied_pid", own)?;
    let answer = getpgid(Some(getpid()));
    ensure_eq("the answer to a denied call", &answer, &Err(rustix::io::Errno::PERM))?;
    ensure_eq("calls denied", &hand::variable(&object, "denied")?, &1)?;
    link.detach().map_err(|e| told(&e))?;
    ensure(getpgid(Some(getpid())).is_ok(), "it is denied still")
}

/// In the generic mode on the loopback interface, in the driver's on a pair of virtual ones.
fn xdp(_: &Guest) -> Outcome {
    let pair = Device::pair()?;
    for (kind, interface, mode) in
        [("xdp", "lo", XdpMode::Skb), ("xdp native", "v1", XdpMode::Native)]
    {
        let object = hand::only("xdp", "pass").map_err(|e| told(&e))?;
        let program = object.program("pass").map_err(|e| told(&e))?;
        let link = program.attach_xdp(IfaceRef::Name(interface), mode).map_err(|e| told(&e))?;
        let packets = object.map("packets").map_err(|e| told(&e))?;
        wait::until_found("packets are counted", LIMIT, || {
            if interface == "lo" {
                Trigger::Datagram.pull()?
            } else {
                pair.ask()?
            };
            let counts = packets.get_percpu(&0_u32.to_ne_bytes()).map_err(|e| told(&e))?;
            let counts = counts.unwrap_or_default();
            Ok(counts.iter().flatten().any(|&byte| byte != 0).then_some(()))
        })?;
        link.detach().map_err(|e| told(&e))?;
        hand::kind(kind, "run");
    }
    let object = hand::only("xdp", "pass_frags").map_err(|e| told(&e))?;
    let program = object.program("pass_frags").map_err(|e| told(&e))?;
    let link = program.attach_xdp(IfaceRef::Name("v1"), XdpMode::Native).map_err(|e| told(&e))?;
    link.detach().map_err(|e| told(&e))?;
    hand::kind("xdp.frags", "run");
    pair.remove()
}

/// A device that exists from 6.7 on.
fn netkit(guest: &Guest) -> Outcome {
    let exists = guest.kernel >= Kernel::V6_12;
    let kit = exists.then(Device::kit).transpose()?;
    let interface = IfaceRef::Name(if exists { "kit0" } else { "lo" });
    let attached = hand::only("netkit", "primary").and_then(|object| {
        let link = object.program("primary")?.attach_netkit(interface, true, Beside::Nothing)?;
        Ok((object, link))
    });
    let Some(kit) = kit else { return refused("netkit", attached.map(drop)) };
    let (object, link) = attached.map_err(|e| told(&e))?;
    wait::until_found("packets are counted", LIMIT, || {
        kit.ask()?;
        Ok((hand::variable(&object, "primary_packets")? > 0).then_some(()))
    })?;
    link.detach().map_err(|e| told(&e))?;
    hand::kind("netkit", "run");
    kit.remove()
}

/// Text about every task, every entry of a map, every control group.
fn iterators(_: &Guest) -> Outcome {
    let read = |link: &Link| -> Outcome<String> {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut link.read_iter().map_err(|e| told(&e))?, &mut text)?;
        Ok(text)
    };
    let object = hand::only("iter", "tasks").map_err(|e| told(&e))?;
    let link = object.program("tasks").and_then(|it| it.attach()).map_err(|e| told(&e))?;
    let text = read(&link)?;
    ensure(text.lines().any(|line| line.starts_with("1 1 ")), format_args!("it said '{text}'"))?;

    let object = hand::only("iter", "elements").map_err(|e| told(&e))?;
    let map = object.map("walked").map_err(|e| told(&e))?;
    let any = bpf::map::Flags::ANY;
    map.set(&3_u32.to_ne_bytes(), &33_u64.to_ne_bytes(), any).map_err(|e| told(&e))?;
    let program = object.program("elements").map_err(|e| told(&e))?;
    let link = program.attach_iter(IterTarget::MapFd(&map)).map_err(|e| told(&e))?;
    ensure_eq("the map's text", read(&link)?.as_str(), "3=33\n")?;

    let object = hand::only("iter", "cgroups").map_err(|e| told(&e))?;
    let program = object.program("cgroups").map_err(|e| told(&e))?;
    let root = std::fs::File::open(hand::CGROUPS)?;
    let target = IterTarget::Cgroup(root.as_fd());
    let link = program.attach_iter(target).map_err(|e| told(&e))?;
    ensure_eq("the text of the control groups", read(&link)?.as_str(), "level 0\n")?;
    hand::kind("iter", "run");
    Ok(())
}

/// A function of a loaded program is replaced, and is itself again afterwards.
fn replacement(_: &Guest) -> Outcome {
    let target = hand::only("freplace_target", "entry").map_err(|e| told(&e))?;
    let target = target.program("entry").map_err(|e| told(&e))?;
    let packet = TestRun { data_in: vec![0x55; 64], ..TestRun::default() };
    let verdict = || target.test_run(&packet).map(|it| it.retval).map_err(|e| told(&e));
    ensure_eq("the verdict before", &verdict()?, &2)?;
    let mut open = hand::opened("freplace").map_err(|e| told(&e))?;
    // The descriptor that names the target may be gone by the time of the load.
    let passing = target.as_fd().try_clone_to_owned()?;
    let program = open.program("stricter");
    program
        .and_then(|mut it| it.set_attach_target(Some(passing.as_fd()), "decide"))
        .map_err(|e| told(&e))?;
    drop(passing);
    let object = open.load().map_err(|e| told(&e))?;
    let link = object.program("stricter").and_then(|it| it.attach()).map_err(|e| told(&e))?;
    ensure_eq("the verdict of the replacement", &verdict()?, &1)?;
    ensure_eq("its runs", &hand::variable(&object, "decisions")?, &1)?;
    link.detach().map_err(|e| told(&e))?;
    ensure_eq("the verdict afterwards", &verdict()?, &2)?;
    hand::kind("freplace", "run");
    Ok(())
}

/// A congestion control, plain and as a link, which another one then takes over.
fn congestion(guest: &Guest) -> Outcome {
    for (kind, name, first) in [
        ("struct_ops", "struct_ops", Kernel::V6_1),
        ("struct_ops.link", "struct_ops_link", Kernel::V6_12),
    ] {
        let attached = hand::opened(name).and_then(|open| open.load()).and_then(|object| {
            let link = Map::attach_struct_ops(&object, "plinth_reno")?;
            Ok((object, link))
        });
        if guest.kernel < first {
            refused(kind, attached.map(drop))?;
            continue;
        }
        let (object, link) = attached.map_err(|e| told(&e))?;
        Trigger::Congestion.pull()?;
        ensure(hand::variable(&object, "acknowledged")? > 0, "it was not asked")?;
        link.detach().map_err(|e| told(&e))?;
        ensure(Trigger::Congestion.pull().is_err(), "it is known still")?;
        hand::kind(kind, "run");
    }
    Ok(())
}

/// A flow dissector, which test runs call as the kernel does.
fn dissector(_: &Guest) -> Outcome {
    let object = hand::only("netns", "dissect").map_err(|e| told(&e))?;
    let program = object.program("dissect").map_err(|e| told(&e))?;
    let link = program.attach_netns(NetnsRef::Own).map_err(|e| told(&e))?;
    // An Ethernet header that announces IPv4.
    let mut packet = vec![0; 64];
    packet[12] = 8;
    program.test_run(&TestRun { data_in: packet, ..TestRun::default() }).map_err(|e| told(&e))?;
    ensure(hand::variable(&object, "dissections")? > 0, "it did not run")?;
    link.detach().map_err(|e| told(&e))?;
    hand::kind("flow_dissector", "run");
    Ok(())
}

/// What hangs on sockets and routes: loaded here, attached in the tests of the host.
fn loads(_: &Guest) -> Outcome {
    for name in ["socket", "sk_reuseport", "sockmap", "lwt"] {
        let object = hand::opened(name).and_then(|open| open.load());
        let object: Object = object.map_err(|e| told(&e).during(name))?;
        ensure(object.programs().count() > 0, format_args!("{name} has no program"))?;
        hand::kind(name, "load");
    }
    Ok(())
}
