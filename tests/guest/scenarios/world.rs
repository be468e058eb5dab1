// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What many scenarios set up alike: a target with a few subsystems, both daemons, a bus or none.

use std::time::Duration;

use crate::inside::process::Process;
use crate::inside::stas::{self, Role};
use crate::inside::uevents::Recorder;
use crate::inside::{Outcome, bus, controllers, nvmet, say, wait};

/// The port on which the target announces and serves.
pub(super) const PORT: u16 = 8009;
/// Names of the target's subsystems.
pub(super) const NQNS: [&str; 3] =
    ["nqn.2024-01.test:one", "nqn.2024-01.test:two", "nqn.2024-01.test:three"];
/// For what the daemons do within seconds, on an emulated processor beside other work.
pub(super) const LIMIT: Duration = Duration::from_secs(40);
/// For a process to stop; the promise is one second on a real processor.
pub(super) const STOP: Duration = Duration::from_secs(3);
/// Reconnects of the kernel come quickly, nothing looks for services on the network.
pub(super) const FINDER: &str = "\
[Global]
reconnect-delay=1
[Service Discovery]
zeroconf=disabled
";
/// The same for the connector.
pub(super) const CONNECTOR: &str = "[Global]\nreconnect-delay=1\n";

/// A target on loopback with the first `count` subsystems, one namespace each.
pub(super) fn target(count: usize) -> Outcome {
    nvmet::port(1, "127.0.0.1", PORT)?;
    for nqn in &NQNS[..count] {
        nvmet::subsystem(nqn, 1)?;
        nvmet::link(1, nqn)?;
    }
    Ok(())
}

/// The finder's configuration with these discovery controllers on loopback.
pub(super) fn finder(ports: &[u16]) -> String {
    let lines: String = ports.iter().map(|port| stas::line("127.0.0.1", *port, None)).collect();
    format!("{FINDER}[Controllers]\n{lines}")
}

/// The connector's configuration with more settings and these subsystems on loopback.
pub(super) fn connector(settings: &str, nqns: &[&str]) -> String {
    let line = |nqn: &&str| stas::line("127.0.0.1", PORT, Some(nqn));
    let lines: String = nqns.iter().map(line).collect();
    format!("{CONNECTOR}{settings}[Controllers]\n{lines}")
}

/// A target as [`target`] makes it, and both daemons configured to follow it.
pub(super) fn follow(count: usize) -> Outcome {
    target(count)?;
    stas::configure(Role::Finder, &finder(&[PORT]))?;
    stas::configure(Role::Connector, &connector("", &[]))
}

/// Sees for a while that exactly `count` storage connections live.
pub(super) fn storage_stays(what: &str, count: usize, span: Duration) -> Outcome {
    wait::throughout(what, span, || controllers::live_nqns().len() == count)
}

/// Reports the memory of both daemons.
pub(super) fn say_resident(finder: &Process, connector: &Process) -> Outcome {
    say::value("stafd_resident_kib", &finder.resident_kib()?);
    say::value("stacd_resident_kib", &connector.resident_kib()?);
    Ok(())
}

/// Both daemons, running, with what they run beside.
pub(super) struct World {
    pub(super) recorder: Recorder,
    pub(super) finder: Process,
    pub(super) connector: Process,
    /// Dropped last: the daemons outlive no bus.
    pub(super) bus: Option<Process>,
}

impl World {
    /// Starts what is configured; with a bus or without.
    pub(super) fn start(with_bus: bool) -> Outcome<Self> {
        let bus = if with_bus { Some(bus::start()?) } else { None };
        let recorder = Recorder::start()?;
        let finder = stas::start(Role::Finder)?;
        let connector = stas::start(Role::Connector)?;
        Ok(Self { recorder, finder, connector, bus })
    }

    /// Stops both daemons, each of which must end well and soon.
    pub(super) fn stop(&mut self) -> Outcome {
        self.connector.stop(STOP)?;
        self.finder.stop(STOP).map(drop)
    }
}
