// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long a daemon takes from its start to its name on the bus.

use std::time::Duration;

use super::super::Guest;
use crate::inside::stas::Role;
use crate::inside::{Outcome, bus, measure, say};

const RUNS: usize = 21;
const STOP: Duration = Duration::from_secs(5);

pub(super) fn run(_: &Guest) -> Outcome {
    let _bus = bus::start()?;
    for _ in 0..RUNS {
        for role in [Role::Finder, Role::Connector] {
            let name = role.daemon();
            let program = format!("/usr/sbin/{name}");
            let (mut daemon, spent) = measure::start_to_name(role, name, &[&program])?;
            say::value(&format!("start_{name}_us"), &spent.as_micros());
            daemon.stop(STOP)?;
        }
    }
    Ok(())
}
