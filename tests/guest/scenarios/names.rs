// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Host names instead of addresses, one that resolves and one that does not yet.

use std::fs;
use std::time::Duration;

use super::world::{self, LIMIT, STOP};
use super::{Guest, Kernel, Needs, Scenario};
use crate::fakedc::{Fake, Persona};
use crate::inside::stas::{self, Role};
use crate::inside::{Outcome, controllers, ensure_eq, say, wait};

/// A name that resolves, one that comes to resolve, and an outage of names.
pub const NAMES: Scenario = Scenario {
    name: "names",
    about: "controllers by host name: one resolves, one only later, then no name resolves any more",
    needs: Needs { stas: true, ..Needs::BARE },
    kernels: &[Kernel::V6_1],
    seconds: 150,
    run: names,
};

const HOSTS: &str = "127.0.0.1 localhost\n";

fn names(_: &Guest) -> Outcome {
    let known = Fake::start("127.0.0.2:8009", Persona::default(), Vec::new())?;
    let late = Fake::start("127.0.0.3:8009", Persona::default(), Vec::new())?;
    fs::write("/etc/hosts", format!("{HOSTS}127.0.0.2 known.test\n"))?;
    let text = format!(
        "{}[Controllers]\n{}{}",
        world::FINDER,
        stas::line("known.test", 8009, None),
        stas::line("late.test", 8009, None)
    );
    stas::configure(Role::Finder, &text)?;
    let mut finder = stas::start(Role::Finder)?;
    let spent = wait::until("the name that resolves is connected", LIMIT, || {
        !known.seen().hosts.is_empty()
    })?;
    say::value("known_connected_ms", &spent.as_millis());
    controllers::await_discovery(1, LIMIT)?;
    finder.says("late.test", LIMIT)?;
    ensure_eq("connections by a name without address", &late.seen().connections, &0)?;

    fs::write("/etc/hosts", format!("{HOSTS}127.0.0.2 known.test\n127.0.0.3 late.test\n"))?;
    // The steps of the next looks are 2, 5, 10 and 30 s.
    let spent = wait::until("the late name is connected", Duration::from_secs(45), || {
        !late.seen().hosts.is_empty()
    })?;
    say::value("late_connected_ms", &spent.as_millis());
    controllers::await_discovery(2, LIMIT)?;

    fs::write("/etc/hosts", HOSTS)?;
    stas::reload(&finder)?;
    wait::throughout("connections survive an outage of names", Duration::from_secs(10), || {
        controllers::discovery().len() == 2
    })?;
    let connections = (known.seen().hosts.len(), late.seen().hosts.len());
    ensure_eq("connections made", &connections, &(1, 1))?;

    stas::configure(Role::Finder, &format!("{}[Controllers]\n", world::FINDER))?;
    stas::reload(&finder)?;
    wait::until("what is not configured any more goes", LIMIT, || {
        controllers::discovery().is_empty()
    })?;
    finder.stop(STOP)?;
    Ok(())
}
