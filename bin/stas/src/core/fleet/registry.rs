// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which kernel controllers are entered as ours in the host's registry of owners.
//!
//! The registry (libnvme's, under `/run/nvme/registry`) tells the tools of a host whose connection
//! is whose, so that none takes down what another depends on. Ours is what was made here, and what
//! was adopted and belongs to nobody; what belongs to others is used, but never cut. Reading and
//! writing the registry is left to the shell.

use super::super::cid::{Device, OWNER};
use super::super::port::{Action, DeviceId};
use super::super::settings::Registry;
use super::{Env, Fleet, Role};

impl<R: Role> Fleet<R> {
    /// A controller of ours is served by `device` from now on.
    pub(super) fn claim(&mut self, env: &mut Env<'_>, device: &DeviceId) {
        let make = match env.config.settings.registry {
            Registry::No => return,
            Registry::Auto => false,
            Registry::Yes => true,
        };
        let seen = self.scan.devices.iter().find(|seen| seen.id == *device);
        if seen.is_some_and(Device::is_others) || !self.claimed.insert(device.clone()) {
            return;
        }
        if seen.is_none_or(|seen| seen.owner != OWNER) {
            env.out.push(Action::Claim { device: device.clone(), make });
        }
    }

    /// A kernel controller is gone.
    pub(super) fn disclaim(&mut self, env: &mut Env<'_>, device: &DeviceId) {
        if self.claimed.remove(device) {
            env.out.push(Action::Disclaim { device: device.clone() });
        }
    }

    /// A look at the kernel came.
    pub(super) fn disclaim_gone(&mut self, env: &mut Env<'_>) {
        let present = |device: &&DeviceId| self.scan.devices.iter().any(|seen| seen.id == **device);
        let gone: Vec<DeviceId> =
            self.claimed.iter().filter(|device| !present(device)).cloned().collect();
        for device in gone {
            self.disclaim(env, &device);
        }
    }

    /// Whether `device` belongs to somebody else, as far as the last look tells.
    pub(super) fn is_others(&self, device: &DeviceId) -> bool {
        self.scan.devices.iter().any(|seen| seen.id == *device && seen.is_others())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::connector::Connector;
    use super::super::super::port::{DeviceEvent, Input};
    use super::super::super::testing::{NQN, SECOND, SOAK, World, io, page, record, wants_io};
    use super::*;

    const TARGET: &str = "10.0.0.5";
    const OTHER: &str = "nqn.2024-01.test:other";

    fn owned(owner: &str) -> Device {
        Device { owner: owner.to_owned(), ..io("nvme3", TARGET, NQN) }
    }

    /// What was asked of the registry since this was last called.
    fn asked(world: &mut World<Connector>) -> Vec<String> {
        let tell = |action: &Action| match action {
            Action::Claim { device, make: false } => format!("claim {}", device.name),
            Action::Claim { device, make: true } => format!("make and claim {}", device.name),
            Action::Disclaim { device } => format!("disclaim {}", device.name),
            other => panic!("{other:?}"),
        };
        std::mem::take(&mut world.registry).iter().map(tell).collect()
    }

    fn keeps_registry(key: &str) -> String {
        format!("[Global]\nregistry={key}\n")
    }

    // R216
    #[test]
    fn what_is_made_here_is_entered_until_it_is_gone() {
        for (key, expected) in [("auto", "claim nvme3"), ("yes", "make and claim nvme3")] {
            let mut world = World::connector(&(keeps_registry(key) + &wants_io(TARGET, "")));
            world.pass(SOAK);
            world.connected(io("nvme3", TARGET, NQN));
            assert_eq!(asked(&mut world), [expected]);
            world.vanish("nvme3");
            assert_eq!(asked(&mut world), ["disclaim nvme3"]);
        }
        let mut world = World::connector(&(keeps_registry("no") + &wants_io(TARGET, "")));
        world.pass(SOAK);
        world.connected(io("nvme3", TARGET, NQN));
        world.vanish("nvme3");
        assert!(asked(&mut world).is_empty());
    }

    // R216
    #[test]
    fn what_is_adopted_is_entered_if_it_belongs_to_nobody() {
        let wants = keeps_registry("auto") + &wants_io(TARGET, "");
        for (owner, expected) in [("", vec!["claim nvme3"]), ("stas", vec![]), ("nbft", vec![])] {
            let mut world = World::connector_after(&wants, None, vec![owned(owner)]);
            world.pass(SOAK);
            assert!(world.is_bound(TARGET));
            assert_eq!(asked(&mut world), expected, "{owner}");
        }
    }

    // R216
    #[test]
    fn a_disconnect_ends_the_entry() {
        let mut world = World::connector(&(keeps_registry("auto") + &wants_io(TARGET, "")));
        world.pass(SOAK);
        world.connected(io("nvme3", TARGET, NQN));
        world.reload(&keeps_registry("auto"));
        world.deleted();
        assert_eq!(asked(&mut world), ["claim nvme3", "disclaim nvme3"]);
    }

    // R216, R050
    #[test]
    fn what_belongs_to_others_is_used_but_not_cut() {
        for (owner, deleted) in [("nbft", 0), ("discoverd", 0), ("", 1), ("stas", 1)] {
            let wants = keeps_registry("no") + &wants_io(TARGET, "");
            let mut world = World::connector_after(&wants, None, vec![owned(owner)]);
            world.pass(SOAK);
            assert!(world.is_bound(TARGET));
            world.reload("");
            assert_eq!((world.targets().len(), world.deletes().len()), (0, deleted), "{owner}");
        }
    }

    // R050, R216
    #[test]
    fn an_audit_passes_over_what_belongs_to_others() {
        let text = "[I/O controller connection management]\n\
                    disconnect-scope=all-connections-matching-disconnect-trtypes\n";
        for (owner, deleted) in [("nbft", 0), ("", 1), ("stas", 1)] {
            let mut world = World::connector_after(text, None, vec![owned(owner)]);
            world.stafd(&page(&[]));
            assert_eq!(world.targets().len(), deleted, "{owner}");
            world.pass(SOAK);
            if deleted > 0 {
                world.stafd_answers(Ok(&page(&[])));
            }
            world.pass(60 * SECOND);
            assert_eq!(world.deletes().len(), deleted, "{owner}");
        }
        // Somebody else's since the audit.
        let mut world = World::connector_after(text, None, vec![owned("")]);
        world.stafd(&page(&[]));
        assert_eq!(world.targets(), [TARGET]);
        world.kernel.devices[0].owner = "discoverd".to_owned();
        world.pass(SOAK);
        world.stafd_answers(Ok(&page(&[])));
        assert!(world.targets().is_empty() && world.deletes().is_empty());
    }

    // R162
    #[test]
    fn without_a_state_file_the_registry_tells_what_is_ours() {
        let foreign = io("nvme9", "10.0.0.9", OTHER);
        let dying = Device {
            state: super::super::super::cid::State::Deleting,
            owner: "stas".to_owned(),
            ..io("nvme8", "10.0.0.8", OTHER)
        };
        let devices = vec![owned("stas"), foreign, dying];
        let mut world = World::connector_after("", None, devices.clone());
        assert_eq!(world.targets(), [TARGET]);
        // It is judged like what a state file names: not before stafd has answered.
        world.pass(600 * SECOND);
        assert!(world.is_bound(TARGET) && world.deletes().is_empty());
        world.stafd(&page(&[record("10.0.0.6", NQN, 0)]));
        assert_eq!(world.deletes(), ["nvme3"]);
        // A state file knows better, and other scopes need no import.
        let empty = r#"{"version":1}"#;
        let world = World::connector_after("", Some(empty), devices.clone());
        assert!(world.targets().is_empty());
        let text = "[I/O controller connection management]\ndisconnect-scope=no-disconnect\n";
        assert!(World::connector_after(text, None, devices).targets().is_empty());
    }

    // R216
    #[test]
    fn the_entry_of_an_older_device_of_the_same_name_is_ended_alone() {
        let mut world = World::connector(&(keeps_registry("auto") + &wants_io(TARGET, "")));
        world.pass(SOAK);
        world.connected(io("nvme3", TARGET, NQN));
        let again = DeviceId { name: "nvme3".to_owned(), instance: 2 };
        world.kernel.devices = vec![Device { id: again, ..owned("") }];
        world.tell(Input::Device(DeviceEvent::Removed { name: "nvme3".to_owned() }));
        world.pass(3 * SECOND);
        assert_eq!(asked(&mut world), ["claim nvme3", "disclaim nvme3", "claim nvme3"]);
    }
}
