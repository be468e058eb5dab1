// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ours and the reference side by side (R255): each daemon and client against the other's peer.

use std::time::Duration;

use super::world::{self, NQNS, PORT, STOP};
use super::{Guest, Kernel, Needs, Scenario};
use crate::inside::process::Process;
use crate::inside::stas::{self, Role};
use crate::inside::uevents::Recorder;
use crate::inside::{
    Outcome, bus, controllers, ensure, ensure_eq, nvmet, process, reference, say, wait,
};

const NEEDS: Needs =
    Needs { stas: true, bus: true, udev: true, reference: true, memory_mib: 1536, ..Needs::BARE };
/// The reference is slow on an emulated processor.
const LIMIT: Duration = Duration::from_secs(60);
/// It knows no reconnect delay of a second in this form, but its own keys.
const ZEROCONF_OFF: &str = "[Service Discovery]\nzeroconf=disabled\n";

/// The reference alone, which proves that its surroundings here suit it.
pub const REFERENCE: Scenario = Scenario {
    name: "reference",
    about: "the rig: the reference's daemons on their own disk connect and follow",
    needs: Needs { stas: false, ..NEEDS },
    kernels: &[Kernel::V6_1],
    seconds: 400,
    run: alone,
};

fn alone(_: &Guest) -> Outcome {
    let _surroundings = begin()?;
    reference::configure(Role::Finder, &finder_text())?;
    reference::configure(Role::Connector, world::CONNECTOR)?;
    let finder = reference::start(Role::Finder)?;
    let connector = reference::start(Role::Connector)?;
    follows()?;
    world::say_resident(&finder, &connector)?;
    let client = bus::Client::connect()?;
    ensure_eq("controllers", &client.list_controllers(Role::Connector, true)?.len(), &3)
}

/// Our finder, the reference's connector.
pub const MIXED_FINDER: Scenario = Scenario {
    name: "mixed-finder",
    about: "our stafd with the reference's stacd, and each one's clients",
    needs: NEEDS,
    run: mixed_finder,
    ..REFERENCE
};

/// The reference's finder, our connector.
pub const MIXED_CONNECTOR: Scenario = Scenario {
    name: "mixed-connector",
    about: "the reference's stafd with our stacd, and each one's clients",
    run: mixed_connector,
    ..MIXED_FINDER
};

/// From the reference to ours without a lost connection (R256).
pub const UPGRADE: Scenario = Scenario {
    name: "upgrade",
    about: "the reference's daemons are replaced by ours: no connection is lost or made",
    run: upgrade,
    ..MIXED_FINDER
};

/// The finder's configuration in words that both understand.
fn finder_text() -> String {
    let lines = stas::line("127.0.0.1", PORT, None);
    format!("{ZEROCONF_OFF}[Controllers]\n{lines}")
}

/// Target, device manager and bus.
fn begin() -> Outcome<(Process, Process)> {
    world::target(3)?;
    reference::prepare()?;
    let udevd = ["/lib/systemd/systemd-udevd", "--resolve-names=never"];
    let udevd = Process::start("udevd", &udevd, &[])?;
    let bus = bus::start()?;
    wait::until("the device manager listens", LIMIT, || {
        std::path::Path::new("/run/udev/control").exists()
    })?;
    say::step("target, device manager and bus are up");
    Ok((udevd, bus))
}

/// The target withdraws and offers a subsystem; storage follows.
fn follows() -> Outcome {
    let spent = controllers::await_storage(&NQNS, LIMIT)?;
    say::value("connected_ms", &spent.as_millis());
    nvmet::unlink(1, NQNS[2])?;
    controllers::await_withdrawn(NQNS[2], LIMIT)?;
    // The kernel may have dropped it first. While the connector still wants it, it tries again in 3
    // s, then in 60 s; so let it forget.
    let client = bus::Client::connect()?;
    wait::until("the connector forgets it", LIMIT, || {
        client.list_controllers(Role::Connector, false).is_ok_and(|list| list.len() == 2)
    })?;
    nvmet::link(1, NQNS[2])?;
    controllers::await_storage(&NQNS, LIMIT).map(drop)
}

/// Both clients of a role agree on what its daemon says.
fn clients_agree(role: Role, wanted: usize) -> Outcome {
    let client = bus::Client::connect()?;
    ensure_eq("controllers on the bus", &client.list_controllers(role, true)?.len(), &wanted)?;
    for words in [&["ls"][..], &["ls", "-d"], &["status"], &["tron"], &["troff"]] {
        let ours = stas::client(role, words)?;
        let theirs = reference::client(role, words)?;
        let name = format!("{} {}", role.client(), words.join(" "));
        ensure_eq(&format!("our {name}"), &(ours.code, ours.err.as_str()), &(0, ""))?;
        ensure_eq(
            &format!("the reference's {name}"),
            &(theirs.code, theirs.err.as_str()),
            &(0, ""),
        )?;
        if words == ["ls"] || words[0].starts_with("tro") {
            ensure_eq(&format!("what {name} prints"), &ours.out, &theirs.out)?;
        }
    }
    if role == Role::Finder {
        for words in [&["adlp"][..], &["dlp", "-a", "127.0.0.1", "-s", "8009"]] {
            let (ours, theirs) = (stas::client(role, words)?, reference::client(role, words)?);
            ensure_eq(&format!("what {} prints", words.join(" ")), &ours.out, &theirs.out)?;
        }
    }
    Ok(())
}

fn mixed_finder(_: &Guest) -> Outcome {
    let _surroundings = begin()?;
    stas::configure(Role::Finder, &world::finder(&[PORT]))?;
    reference::configure(Role::Connector, world::CONNECTOR)?;
    let mut finder = stas::start(Role::Finder)?;
    let connector = reference::start(Role::Connector)?;
    follows()?;
    say::step("storage follows");
    clients_agree(Role::Finder, 1)?;
    clients_agree(Role::Connector, 3)?;
    finder.stop(STOP)?;
    let calm = Duration::from_secs(5);
    world::storage_stays("storage stays", 3, calm)?;
    drop(connector);
    Ok(())
}

fn mixed_connector(_: &Guest) -> Outcome {
    let _surroundings = begin()?;
    reference::configure(Role::Finder, &finder_text())?;
    stas::configure(Role::Connector, &world::connector("", &[]))?;
    let finder = reference::start(Role::Finder)?;
    let mut connector = stas::start(Role::Connector)?;
    follows()?;
    say::step("storage follows");
    clients_agree(Role::Finder, 1)?;
    clients_agree(Role::Connector, 3)?;
    let recorder = Recorder::start()?;
    drop(finder);
    world::storage_stays("storage stays without the finder", 3, Duration::from_secs(12))?;
    let finder = reference::start(Role::Finder)?;
    world::storage_stays("storage stays with a new finder", 3, Duration::from_secs(15))?;
    let (_, removed) = recorder.made_and_removed();
    ensure_eq("controllers removed", &removed, &0)?;
    connector.stop(STOP)?;
    drop(finder);
    Ok(())
}

fn upgrade(_: &Guest) -> Outcome {
    let _surroundings = begin()?;
    let text = finder_text();
    reference::configure(Role::Finder, &text)?;
    reference::configure(Role::Connector, "")?;
    let mut old = [reference::start(Role::Finder)?, reference::start(Role::Connector)?];
    controllers::await_storage(&NQNS, LIMIT)?;
    controllers::await_discovery(1, LIMIT)?;
    say::step("the reference has connected everything");
    let recorder = Recorder::start()?;
    for daemon in old.iter_mut().rev() {
        daemon.stop(Duration::from_secs(40))?;
    }
    stas::configure(Role::Finder, &text)?;
    stas::configure(Role::Connector, "")?;
    let mut finder = stas::start(Role::Finder)?;
    let mut connector = stas::start(Role::Connector)?;
    wait::until("ours holds every connection", LIMIT, || {
        let list = stas::list(Role::Connector).unwrap_or_default();
        list.len() == 3 && list.iter().all(|c| c["connected"] == "True")
    })?;
    stas::await_announced(&NQNS, LIMIT)?;
    ensure_eq("controllers made and removed", &recorder.made_and_removed(), &(0, 0))?;
    let said = process::run(&["/usr/bin/stacctl", "ls"])?;
    ensure(said.code == 0, format_args!("stacctl says '{}'", said.err))?;
    connector.stop(STOP)?;
    finder.stop(STOP).map(drop)
}
