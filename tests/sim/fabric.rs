// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The targets of the simulated fabric: portals, discovery controllers, their pages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use plinth::rand::Rng;
use stas::core::DISC_NQN;
use stas::core::logpage::ENTRY_LEN;
use stas::core::port::AdminCommand;

use crate::kernel::Endpoint;

/// Address and port.
pub(crate) type Place = (IpAddr, u16);

/// What a portal does with those who come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It serves them.
    Serving,
    /// Nobody listens.
    Refusing,
    /// Packets vanish.
    Silent,
    /// It accepts the connection and never speaks.
    Mute,
}

/// A discovery controller's page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// Generation.
    pub(crate) genctr: u64,
    /// Subsystems: where, and which.
    pub(crate) subsystems: BTreeSet<Endpoint>,
    /// Other discovery controllers.
    pub(crate) referrals: BTreeSet<Place>,
}

impl Log {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; ENTRY_LEN];
        let count = (self.subsystems.len() + self.referrals.len()) as u64;
        bytes[0..8].copy_from_slice(&self.genctr.to_le_bytes());
        bytes[8..16].copy_from_slice(&count.to_le_bytes());
        for endpoint in &self.subsystems {
            bytes.extend(entry(2, &endpoint.traddr, &endpoint.trsvcid, &endpoint.nqn));
        }
        for (address, port) in &self.referrals {
            bytes.extend(entry(1, &address.to_string(), &port.to_string(), DISC_NQN));
        }
        bytes
    }

    /// What Get Log Page brings.
    pub(crate) fn read(&self, command: &AdminCommand) -> Vec<u8> {
        let AdminCommand::GetLog { offset, len, .. } = *command else { return Vec::new() };
        let mut bytes = self.bytes();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let mut piece = bytes.split_off(from);
        piece.resize(usize::try_from(len).expect("short"), 0);
        piece
    }
}

fn entry(subtype: u8, traddr: &str, trsvcid: &str, nqn: &str) -> Vec<u8> {
    let mut bytes = vec![0; ENTRY_LEN];
    (bytes[0], bytes[1], bytes[2]) = (3, 1, subtype);
    bytes[32..64].fill(b' ');
    bytes[512..768].fill(b' ');
    bytes[32..32 + trsvcid.len()].copy_from_slice(trsvcid.as_bytes());
    bytes[256..256 + nqn.len()].copy_from_slice(nqn.as_bytes());
    bytes[512..512 + traddr.len()].copy_from_slice(traddr.as_bytes());
    bytes
}

/// All targets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fabric {
    /// What each portal does.
    pub(crate) moods: BTreeMap<Place, Mood>,
    /// The discovery controllers.
    pub(crate) logs: BTreeMap<Place, Log>,
    /// All subsystems there are, on pages or not.
    pub(crate) subsystems: Vec<Endpoint>,
}

impl Fabric {
    /// A small fabric.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut fabric = Self::default();
        for n in 0..1 + rng.below(3) {
            let place: Place = (format!("10.0.0.{}", n + 1).parse().expect("literal"), 8009);
            fabric.moods.insert(place, Mood::Serving);
            fabric.logs.insert(place, Log::default());
        }
        let portals = 1 + rng.below(3);
        for n in 0..portals {
            let place: Place = (format!("10.0.1.{}", n + 1).parse().expect("literal"), 4420);
            fabric.moods.insert(place, Mood::Serving);
            for s in 0..1 + rng.below(4) {
                fabric.subsystems.push(Endpoint {
                    traddr: place.0.to_string(),
                    trsvcid: "4420".to_owned(),
                    nqn: format!("nqn.2024-01.sim:s{s}"),
                });
            }
        }
        let places: Vec<Place> = fabric.logs.keys().copied().collect();
        for place in places {
            for _ in 0..4 {
                fabric.change(place, rng);
            }
        }
        fabric
    }

    /// Changes one entry of a page: comes if it was not there, goes if it was.
    pub(crate) fn change(&mut self, place: Place, rng: &mut Rng) {
        let others: Vec<Place> =
            self.logs.keys().copied().filter(|other| *other != place).collect();
        let Some(log) = self.logs.get_mut(&place) else { return };
        log.genctr += 1;
        if !others.is_empty() && rng.chance(1, 4) {
            let other = others[usize::try_from(rng.below(others.len() as u64)).expect("small")];
            if !log.referrals.remove(&other) {
                log.referrals.insert(other);
            }
            return;
        }
        let pick = usize::try_from(rng.below(self.subsystems.len() as u64)).expect("small");
        let endpoint = self.subsystems[pick].clone();
        if !log.subsystems.remove(&endpoint) {
            log.subsystems.insert(endpoint);
        }
    }

    /// The discovery controllers that `roots` lead to.
    pub(crate) fn reachable(&self, roots: impl IntoIterator<Item = Place>) -> BTreeSet<Place> {
        let mut queue: Vec<Place> = roots.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(place) = queue.pop() {
            if seen.insert(place)
                && let Some(log) = self.logs.get(&place)
            {
                queue.extend(log.referrals.iter().copied());
            }
        }
        seen
    }

    /// Whether a portal serves those who come.
    pub(crate) fn serves(&self, place: &Place) -> bool {
        self.moods.get(place) == Some(&Mood::Serving)
    }
}
