// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the simulated administrator wrote into the files.

use std::collections::BTreeSet;

use plinth::rand::Rng;
use stas::core::fabrics::Support;
use stas::core::identity::Identity;
use stas::core::port::Configuration;
use stas::core::settings::{Role, Settings};

use crate::fabric::{Fabric, Place};
use crate::kernel::Endpoint;

/// The host's NQN.
pub(crate) const HOST: &str =
    "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";

/// The files of both daemons, in essence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// Discovery controllers in `stafd.conf`; the flag adds an entry with an interface.
    pub(crate) controllers: Vec<(Place, bool)>,
    /// One of them is given by name.
    pub(crate) named: bool,
    /// I/O controllers in `stacd.conf`.
    pub(crate) connections: BTreeSet<Endpoint>,
    /// Excluded subsystem.
    pub(crate) excluded: Option<String>,
    /// `disconnect-scope`.
    pub(crate) scope: &'static str,
    /// `persistent-connections`.
    pub(crate) persistent: bool,
    /// `connect-attempts-on-ncc`, and with it `probe-tcp`.
    pub(crate) probe: bool,
}

impl Files {
    /// Some files for this fabric.
    pub(crate) fn draw(fabric: &Fabric, rng: &mut Rng) -> Self {
        let mut controllers: Vec<(Place, bool)> =
            fabric.logs.keys().map(|place| (*place, rng.chance(1, 5))).collect();
        controllers.retain(|_| rng.chance(2, 3));
        if controllers.is_empty()
            && let Some(first) = fabric.logs.keys().next()
        {
            controllers.push((*first, false));
        }
        let connections = fabric.subsystems.iter().filter(|_| rng.chance(1, 6)).cloned().collect();
        let scopes = [
            "only-stas-connections",
            "all-connections-matching-disconnect-trtypes",
            "no-disconnect",
        ];
        Self {
            controllers,
            named: rng.chance(1, 4),
            connections,
            excluded: rng.chance(1, 5).then(|| "nqn.2024-01.sim:s1".to_owned()),
            scope: scopes[usize::try_from(rng.below(10)).expect("small").saturating_sub(7)],
            persistent: rng.chance(3, 4),
            probe: rng.chance(3, 4),
        }
    }

    /// The value that a daemon loads.
    pub(crate) fn load(&self, role: Role) -> Configuration {
        let text = match role {
            Role::Finder => self.stafd(),
            Role::Connector => self.stacd(),
        };
        let (settings, diagnostics) = Settings::parse(role, &[("sim.conf", &text)]);
        assert!(diagnostics.is_empty(), "{diagnostics:?} in:\n{text}");
        let options = "transport=,traddr=,trsvcid=,nqn=,hostnqn=,hostid=,host_traddr=,host_iface=,\
                       keep_alive_tmo=,discovery,hdr_digest,data_digest";
        Configuration {
            settings,
            identity: Identity {
                nqn: HOST.to_owned(),
                id: "11111111-2222-3333-4444-555555555555".to_owned(),
                ..Identity::default()
            },
            support: Support::from_listing(options),
            tron: false,
            state_file: String::new(),
        }
    }

    fn probe(&self) -> &'static str {
        if self.probe { "true" } else { "false" }
    }

    fn excludes(&self) -> String {
        self.excluded.as_ref().map(|nqn| format!("exclude=nqn={nqn}\n")).unwrap_or_default()
    }

    fn stafd(&self) -> String {
        let mut text = format!(
            "[Global]\nprobe-tcp={}\n[Discovery controller connection management]\n\
             persistent-connections={}\n[Controllers]\n{}",
            self.probe(),
            self.persistent,
            self.excludes(),
        );
        for (n, ((address, port), both)) in self.controllers.iter().enumerate() {
            let address =
                if n == 0 && self.named { name_of(*address) } else { address.to_string() };
            text += &format!("controller=transport=tcp;traddr={address};trsvcid={port}\n");
            if *both {
                text += &format!(
                    "controller=transport=tcp;traddr={address};trsvcid={port};host-iface=eth0\n"
                );
            }
        }
        text
    }

    fn stacd(&self) -> String {
        let mut text = format!(
            "[Global]\nprobe-tcp={}\n[I/O controller connection management]\n\
             disconnect-scope={}\n[Controllers]\n{}",
            self.probe(),
            self.scope,
            self.excludes(),
        );
        for Endpoint { traddr, trsvcid, nqn } in &self.connections {
            text +=
                &format!("controller=transport=tcp;traddr={traddr};trsvcid={trsvcid};nqn={nqn}\n");
        }
        text
    }
}

/// The host name of an address.
pub(crate) fn name_of(address: std::net::IpAddr) -> String {
    format!("host-{}.sim", address.to_string().replace('.', "-"))
}
