// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Carries out what a core asks for, and turns what came of it into inputs.
//!
//! Nothing here blocks: an action is either done at once, or handed to a part that answers later.

use std::io;

use plinth::event::Loop;

use super::Daemon;
use crate::core::fabrics;
use crate::core::iface::{Interface, Interfaces};
use crate::core::machine::Machine;
use crate::core::port::{
    Action, AdminError, ConnectError, DeviceId, Input, Notice, OpId, Record, Scan, StafdEvent,
};
use crate::shell::kernel::wire::{Job, Outcome};
use crate::shell::key::Key;
use crate::shell::probe::Probe;
use crate::shell::registry;
use crate::shell::sysfs::Sysfs;

/// The kind of a blocking call under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Action::Connect`].
    Connect,
    /// [`Action::Delete`].
    Delete,
    /// [`Action::Admin`].
    Admin,
}

impl<C: Machine> Daemon<C> {
    /// Carries out `actions`, in order.
    ///
    /// # Errors
    /// The loop cannot change a watch.
    pub(super) fn carry_out(&mut self, lp: &mut Loop<Key>, actions: Vec<Action>) -> io::Result<()> {
        for action in actions {
            match action {
                Action::Scan => {
                    let scan = self.scan();
                    self.inputs.push_front(Input::Scanned(Box::new(scan)));
                }
                Action::Probe { op, to, source, iface, limit } => {
                    self.prober.submit(op, Probe { to, source, iface, limit });
                }
                Action::Connect { op, options } => {
                    self.call(op, Call::Connect, Job::Connect { options });
                }
                Action::Delete { op, device } => {
                    self.call(op, Call::Delete, Job::Delete { device });
                }
                Action::Admin { op, device, command, limit } => {
                    let limit_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
                    self.call(op, Call::Admin, Job::Admin { device, command, limit_ms });
                }
                Action::Resolve { op, host } => self.resolver.submit(op, host),
                Action::QueryStafd { op } => match &mut self.peer {
                    Some(peer) => peer.query(lp, Some(&mut self.front), op)?,
                    None => {
                        let result = Err("this daemon does not ask stafd".to_owned());
                        let answer = StafdEvent::Answer { op, result };
                        self.inputs.push_back(Input::Stafd(answer));
                    }
                },
                Action::Claim { device, make } => self.claim(&device, make),
                Action::Disclaim { device } => self.disclaim(&device),
                Action::Publish(notice) => {
                    if let Notice::Tron(on) = notice {
                        crate::shell::start::trace(on);
                    }
                    self.front.notice(&notice);
                    if let Some(server) = &mut self.server {
                        server.notice(lp, &notice)?;
                    }
                }
                Action::Save(text) => self.state.save(&text),
                Action::Log(record) => write(&record),
                Action::Exit => lp.stop(0),
            }
        }
        Ok(())
    }

    /// Enters a controller in the registry, unless its name has passed to another.
    fn claim(&self, device: &DeviceId, make: bool) {
        if self.sysfs.id(&device.name).as_ref() == Some(device) {
            let result = registry::claim(&self.source.root, &device.name, make);
            complain(device, result);
        }
    }

    /// Takes the entry of a controller out, unless its name has passed to another.
    fn disclaim(&self, device: &DeviceId) {
        if self.sysfs.id(&device.name).is_none() {
            complain(device, registry::disclaim(&self.source.root, &device.name));
        }
    }

    fn call(&mut self, op: OpId, call: Call, job: Job) {
        self.calls.insert(op, call);
        self.kernel.submit(op, job);
    }

    fn scan(&mut self) -> Scan {
        let interfaces = match self.route.dump_interfaces() {
            Ok(list) => list,
            Err(error) => {
                log::warn!("Cannot list the network interfaces: {error}");
                Vec::new()
            }
        };
        let interfaces = interfaces
            .into_iter()
            .map(|found| Interface {
                index: found.index,
                name: found.name,
                up: found.up && found.carrier,
                mac: found.mac,
                addresses: found.addresses,
            })
            .collect();
        Scan { devices: self.sysfs.scan(), interfaces: Interfaces(interfaces) }
    }

    /// Turns what has been finished into inputs.
    pub(super) fn collect(&mut self) {
        for (op, outcome) in self.kernel.take_done() {
            if let Some(call) = self.calls.remove(&op) {
                let input = finished(op, call, outcome, &self.sysfs);
                self.inputs.push_back(input);
            }
        }
        for (op, result) in self.prober.take_done() {
            self.inputs.push_back(Input::ProbeDone { op, result });
        }
        for (op, result) in self.resolver.take_done() {
            self.inputs.push_back(Input::Resolved { op, result });
        }
    }
}

/// What the core is told of a call that has ended.
fn finished(op: OpId, call: Call, outcome: Outcome, sysfs: &Sysfs) -> Input {
    match call {
        Call::Connect => {
            let result = match outcome {
                Outcome::Done(reply) => connected(&reply, sysfs),
                Outcome::Failed(AdminError::Errno(errno)) => Err(ConnectError::Errno(errno)),
                Outcome::Failed(AdminError::Status(status)) => {
                    Err(ConnectError::Reply(format!("NVMe status {status:#x}")))
                }
            };
            Input::ConnectDone { op, result }
        }
        Call::Delete => {
            let result = match outcome {
                Outcome::Done(_) => Ok(()),
                Outcome::Failed(AdminError::Errno(errno)) => Err(errno),
                Outcome::Failed(AdminError::Status(_)) => Err(libc_eio()),
            };
            Input::DeleteDone { op, result }
        }
        Call::Admin => {
            let result = match outcome {
                Outcome::Done(data) => Ok(data),
                Outcome::Failed(error) => Err(error),
            };
            Input::AdminDone { op, result }
        }
    }
}

fn complain(device: &DeviceId, result: io::Result<()>) {
    if let Err(error) = result {
        log::warn!("Cannot change the entry of {} in the registry: {error}", device.name);
    }
}

const fn libc_eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}

/// The controller that the kernel's answer names, as sysfs shows it now.
fn connected(reply: &[u8], sysfs: &Sysfs) -> Result<Box<crate::core::cid::Device>, ConnectError> {
    let text = String::from_utf8_lossy(reply);
    let number = fabrics::parse_reply(&text).map_err(|_| ConnectError::Reply(text.into()))?;
    let name = format!("nvme{number}");
    match sysfs.new_device(&name) {
        Some(device) => Ok(Box::new(device)),
        None => Err(ConnectError::Vanished(name)),
    }
}

/// One line of the log, with its fields.
fn write(record: &Record) {
    if record.level > log::max_level() {
        return;
    }
    let mut fields = Vec::new();
    fields.extend(record.controller.as_deref().map(|controller| ("controller", controller)));
    fields.extend(record.device.as_deref().map(|device| ("device", device)));
    log::logger().log(
        &log::Record::builder()
            .level(record.level)
            .target("stas")
            .args(format_args!("{}", record.text))
            .key_values(&fields.as_slice())
            .build(),
    );
}

#[cfg(test)]
mod tests {
    use plinth::file::Root;

    use super::*;

    fn nowhere() -> Sysfs {
        Sysfs::new(Root::at("/nonexistent"))
    }

    #[test]
    fn a_connect_is_done_only_when_the_device_is_there() {
        let done = |text: &str| {
            let outcome = Outcome::Done(text.as_bytes().to_vec());
            match finished(OpId(7), Call::Connect, outcome, &nowhere()) {
                Input::ConnectDone { op: OpId(7), result } => result.unwrap_err(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(done("instance=3,cntlid=1\n"), ConnectError::Vanished("nvme3".to_owned()));
        assert_eq!(done("garbage"), ConnectError::Reply("garbage".to_owned()));
    }

    #[test]
    fn failures_keep_their_number() {
        let failed = |call| {
            let outcome = Outcome::Failed(AdminError::Errno(111));
            finished(OpId(7), call, outcome, &nowhere())
        };
        let (op, result) = (OpId(7), Err(ConnectError::Errno(111)));
        assert_eq!(failed(Call::Connect), Input::ConnectDone { op, result });
        assert_eq!(failed(Call::Delete), Input::DeleteDone { op, result: Err(111) });
        let result = Err(AdminError::Errno(111));
        assert_eq!(failed(Call::Admin), Input::AdminDone { op, result });
    }
}
