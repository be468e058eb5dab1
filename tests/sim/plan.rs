// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The disturbances of a run: what goes wrong, and who interferes.

use std::time::Duration;

use stas::core::DISC_NQN;
use stas::core::port::{DeviceId, Input, StafdEvent};
use stas::core::settings::Role;

use crate::config::Files;
use crate::fabric::{Mood, Place};
use crate::kernel::Asker;
use crate::process::Daemon;
use crate::world::{Happening, World};

/// One disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A portal stops serving.
    Portal(Place, Mood),
    /// A page changes.
    Page(Place),
    /// A process is killed.
    Kill(Daemon),
    /// A process is asked to stop.
    Stop(Daemon),
    /// The bus is gone.
    Bus,
    /// The name service is gone.
    Names,
    /// The files change, and both daemons are told.
    Reload,
    /// Somebody disconnects a controller.
    Disconnect(u32),
    /// Somebody connects a subsystem.
    Connect(usize),
    /// A state file is lost.
    Forget(Daemon),
    /// A daemon's event socket overflows.
    Overflow(Daemon),
    /// The host's link is down.
    Link,
}

impl World {
    /// Fills the schedule with disturbances up to `span` from now.
    pub(crate) fn plan(&mut self, span: Duration) {
        let places: Vec<Place> = self.fabric.moods.keys().copied().collect();
        let logs: Vec<Place> = self.fabric.logs.keys().copied().collect();
        for _ in 0..self.rng.below(30) {
            let daemon = Daemon::BOTH[usize::from(self.rng.chance(1, 2))];
            let place = self.pick(&places);
            let fault = match self.rng.below(22) {
                0..=2 => Fault::Portal(place, Mood::Refusing),
                3..=4 => Fault::Portal(place, Mood::Silent),
                5 => Fault::Portal(place, Mood::Mute),
                6..=10 => Fault::Page(self.pick(&logs)),
                11..=12 => Fault::Kill(daemon),
                13 => Fault::Stop(daemon),
                14 => Fault::Bus,
                15 => Fault::Names,
                16 => Fault::Reload,
                17 => Fault::Disconnect(u32::try_from(self.rng.below(8)).unwrap_or(0)),
                18 => Fault::Connect(usize::try_from(self.rng.below(16)).unwrap_or(0)),
                19 => Fault::Forget(daemon),
                _ => Fault::Overflow(daemon),
            };
            let at = self.rng.below(u64::try_from(span.as_millis()).unwrap_or(1));
            self.schedule.after(Duration::from_millis(at), Happening::Disturb(fault));
        }
        let outages = if self.unsteady { self.rng.below(10) } else { 0 };
        for _ in 0..outages {
            let at = self.rng.below(u64::try_from(span.as_millis()).unwrap_or(1));
            self.schedule.after(Duration::from_millis(at), Happening::Disturb(Fault::Link));
        }
    }

    fn portal_fails(&mut self, place: Place, mood: Mood) {
        self.fabric.moods.insert(place, mood);
        let all: Vec<DeviceId> = self.kernel.controllers.values().map(|c| c.id.clone()).collect();
        for id in &all {
            let found = self.kernel.get(id);
            if found.is_some_and(|c| c.request.endpoint().portal() == place) {
                self.path_lost(id);
            }
        }
    }

    fn link(&mut self, up: bool) {
        self.kernel.link_down = !up;
        for daemon in Daemon::BOTH {
            self.tell(daemon, Input::NetworkChanged);
        }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.rng.below(of.len() as u64)).unwrap_or(0)]
    }

    /// A disturbance sets in.
    pub(crate) fn disturb(&mut self, fault: Fault) {
        self.note(|| format!("*** {fault:?}"));
        let passes = Duration::from_millis(100 + self.rng.below(100_000));
        match fault {
            Fault::Portal(place, mood) => {
                self.schedule.after(passes, Happening::Calm(fault));
                self.portal_fails(place, mood);
            }
            Fault::Page(place) => {
                let before = self.fabric.clone();
                self.fabric.change(place, &mut self.rng);
                let pages = (&before, &self.fabric);
                self.judge.page_changed(&self.processes, pages, &self.files);
                self.announce_change(place);
            }
            Fault::Kill(daemon) => self.kill(daemon),
            Fault::Stop(daemon) => {
                if daemon == Daemon::Finder && !self.files.persistent {
                    self.judge.finder_stops();
                }
                self.tell(daemon, Input::Stop);
            }
            Fault::Bus => {
                self.bus = false;
                self.bus_signal(StafdEvent::Vanished);
                self.schedule.after(passes, Happening::Calm(fault));
            }
            Fault::Names => {
                self.names = false;
                self.schedule.after(passes, Happening::Calm(fault));
            }
            Fault::Reload => {
                let drawn = Files::draw(&self.fabric, &mut self.rng);
                let before = std::mem::replace(&mut self.files, drawn);
                self.judge.files_changed(&before, &self.files);
                for daemon in Daemon::BOTH {
                    let config = self.files.load(match daemon {
                        Daemon::Finder => Role::Finder,
                        Daemon::Connector => Role::Connector,
                    });
                    self.tell(daemon, Input::Reload(Box::new(config)));
                }
            }
            Fault::Disconnect(number) => {
                let id = self.kernel.controllers.get(&number).map(|c| c.id.clone());
                if let Some(id) = id {
                    self.delete(Asker::Person, &id);
                }
            }
            Fault::Connect(number) => {
                let index = number % self.fabric.subsystems.len();
                let endpoint = self.fabric.subsystems[index].clone();
                self.judge.person_connected(&endpoint);
                self.person_connects(&Self::list_for(&endpoint));
            }
            Fault::Forget(daemon) => {
                self.states.remove(&daemon);
                self.judge.forgotten();
            }
            Fault::Overflow(daemon) => self.tell(daemon, Input::EventsLost),
            Fault::Link => {
                self.link(false);
                self.schedule.after(passes, Happening::Calm(fault));
            }
        }
    }

    /// A disturbance passes.
    pub(crate) fn calm(&mut self, fault: Fault) {
        self.note(|| format!("*** over: {fault:?}"));
        match fault {
            Fault::Portal(place, _) => {
                self.fabric.moods.insert(place, Mood::Serving);
            }
            Fault::Bus if !self.bus => {
                self.bus = true;
                if self.processes.contains_key(&Daemon::Finder) {
                    self.bus_signal(StafdEvent::Appeared);
                }
            }
            Fault::Names => self.names = true,
            Fault::Link => self.link(true),
            _ => {}
        }
    }

    /// Everything works from now on.
    pub(crate) fn calm_all(&mut self) {
        self.note(|| "*** all quiet".to_owned());
        self.schedule
            .retain(|happening| !matches!(happening, Happening::Disturb(_) | Happening::Calm(_)));
        self.chaos = false;
        self.uevents.loss_per_mille = 0;
        for mood in self.fabric.moods.values_mut() {
            *mood = Mood::Serving;
        }
        self.names = true;
        self.kernel.link_down = false;
        self.calm(Fault::Bus);
        for daemon in Daemon::BOTH {
            self.start(daemon);
        }
        debug_assert!(DISC_NQN.starts_with("nqn."));
    }
}
