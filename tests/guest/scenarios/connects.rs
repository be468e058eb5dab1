// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rig itself: a target, the foreign command, data that arrives.

use std::time::Duration;

use super::{Guest, Kernel, Needs, Scenario};
use crate::inside::{Outcome, controllers, digest, ensure, ensure_eq, nvmet, process, say, wait};

const NQN: &str = "nqn.2024-01.test:rig";
const LIMIT: Duration = Duration::from_secs(60);

/// nvme-cli connects to the kernel's target.
pub const CONNECTS: Scenario = Scenario {
    name: "connects",
    about: "the rig: the kernel's target, nvme-cli, data through a disk, target gone and back",
    needs: Needs { nvme_cli: true, ..Needs::BARE },
    kernels: &Kernel::ALL,
    seconds: 60,
    run: connects,
};

fn connects(_: &Guest) -> Outcome {
    nvmet::subsystem(NQN, 2)?;
    nvmet::port(1, "127.0.0.1", 4420)?;
    nvmet::link(1, NQN)?;
    say::step("target up");

    let log = process::output(&["nvme", "discover", "-t", "tcp", "-a", "127.0.0.1", "-s", "4420"])?;
    ensure(log.contains(NQN), format_args!("the discovery log lacks the subsystem: {log}"))?;
    let words = ["nvme", "connect", "-t", "tcp", "-a", "127.0.0.1", "-s", "4420", "-n", NQN];
    process::output(&[&words[..], &["-i", "1", "-c", "1", "-l", "60"]].concat())?;
    let spent = controllers::await_storage(&[NQN], LIMIT)?;
    say::step(format!("connected, live after {} ms", spent.as_millis()));
    ensure_eq("the host name", &*controllers::storage()[0].host_nqn, controllers::HOST_NQN)?;
    ensure(process::run(&words)?.code != 0, "a second connection to the same path was made")?;

    wait::until("two disks", LIMIT, || controllers::disks(NQN).len() == 2)?;
    digest::travels(&controllers::disks(NQN)[0], &nvmet::backing(NQN, 1), 1)?;
    digest::travels(&controllers::disks(NQN)[1], &nvmet::backing(NQN, 2), 2)?;
    say::step("data travels");

    nvmet::unlink(1, NQN)?;
    wait::until("the controller misses its target", LIMIT, || controllers::live_nqns().is_empty())?;
    nvmet::link(1, NQN)?;
    let spent = controllers::await_storage(&[NQN], LIMIT)?;
    say::value("return_ms", &spent.as_millis());

    process::output(&["nvme", "disconnect", "-n", NQN])?;
    wait::until("no controller is left", LIMIT, || controllers::storage().is_empty())?;
    nvmet::unlink(1, NQN)?;
    nvmet::remove_subsystem(NQN)
}
