// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A socket filter that spares a process the kernel's news of virtual devices.
//!
//! Pure: writes the program, by which the kernel decides from the head of a message
//! (`ACTION@DEVPATH`) alone. Disks, network devices of containers and most of what comes and goes
//! by the dozen lives below `/devices/virtual`; a subscriber who wants one directory of it, besides
//! all real hardware, is then not woken for the rest. What does not look like such a message
//! passes: judging it is left to the receiver.

use crate::sys::filter::Instruction;

/// Where devices live that stand for no hardware.
const VIRTUAL: &str = "/devices/virtual/";
/// Length of the shortest action, and of the other frequent ones: `change`, `remove`, `unbind`.
const ADD: u32 = 3;
const CHANGE: u32 = 6;

/// The program has two instructions for four bytes, and a jump leads over at most 255.
const DIRECTORY_LEN_MAX: usize = 255;

/// Codes of the machine's instructions (linux/bpf_common.h). X is where the path begins.
mod code {
    pub(super) const LOAD_LENGTH: u16 = 0x80;
    pub(super) const LOAD_BYTE: u16 = 0x30;
    pub(super) const LOAD_BYTE_FROM_X: u16 = 0x50;
    pub(super) const LOAD_WORD_FROM_X: u16 = 0x40;
    pub(super) const SET_X: u16 = 0x01;
    pub(super) const IS_EQUAL: u16 = 0x15;
    pub(super) const IS_AT_LEAST: u16 = 0x35;
    pub(super) const RETURN: u16 = 0x06;
}

/// Where a comparison leads that fails; one that succeeds leads to the next instruction.
#[derive(Clone, Copy)]
enum Otherwise {
    /// To the next instruction as well, while success leads over some.
    OnlySkip(u8),
    Pass,
    Drop,
}

/// The program, as far as it is written.
#[derive(Default)]
struct Draft(Vec<(u16, u32, Otherwise)>);

impl Draft {
    fn carry_out(&mut self, code: u16, operand: u32) {
        self.test(code, operand, Otherwise::OnlySkip(0));
    }

    fn test(&mut self, code: u16, operand: u32, otherwise: Otherwise) {
        self.0.push((code, operand, otherwise));
    }

    /// Compares the path, from its byte `at` on, with `text`.
    fn compare(&mut self, at: usize, text: &str, otherwise: Otherwise) {
        let mut at = number(at);
        let (words, bytes) = text.as_bytes().split_at(text.len() - text.len() % 4);
        for word in words.chunks_exact(4) {
            let word = word.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            self.carry_out(code::LOAD_WORD_FROM_X, at);
            self.test(code::IS_EQUAL, word, otherwise);
            at += 4;
        }
        for byte in bytes {
            self.carry_out(code::LOAD_BYTE_FROM_X, at);
            self.test(code::IS_EQUAL, u32::from(*byte), otherwise);
            at += 1;
        }
    }

    /// Adds both ends, and turns their names into distances.
    fn finish(mut self) -> Vec<Instruction> {
        let pass = self.0.len();
        self.carry_out(code::RETURN, u32::MAX);
        self.carry_out(code::RETURN, 0);
        let written = self.0.into_iter().enumerate();
        let instruction = |(at, (code, operand, otherwise))| {
            let (yes, no) = match otherwise {
                Otherwise::OnlySkip(count) => (count, 0),
                Otherwise::Pass => (0, distance(at, pass)),
                Otherwise::Drop => (0, distance(at, pass + 1)),
            };
            Instruction { code, yes, no, operand }
        };
        written.map(instruction).collect()
    }
}

/// A program that drops the kernel's messages of all virtual devices but those below
/// `/devices/virtual/DIRECTORY/`; nothing when that name is too long for the machine's jumps.
pub(super) fn virtual_devices_except(directory: &str) -> Option<Vec<Instruction>> {
    if directory.len() > DIRECTORY_LEN_MAX {
        return None;
    }
    let wanted = format!("{directory}/");
    let mut draft = Draft::default();
    // A read beyond its end would drop the message.
    let needed = CHANGE + 1 + number(VIRTUAL.len() + wanted.len());
    draft.carry_out(code::LOAD_LENGTH, 0);
    draft.test(code::IS_AT_LEAST, needed, Otherwise::Pass);
    let other = [code::SET_X, code::LOAD_BYTE, code::IS_EQUAL].len();
    draft.carry_out(code::SET_X, ADD + 1);
    draft.carry_out(code::LOAD_BYTE, ADD);
    draft.test(code::IS_EQUAL, u32::from(b'@'), Otherwise::OnlySkip(distance(0, other + 1)));
    draft.carry_out(code::SET_X, CHANGE + 1);
    draft.carry_out(code::LOAD_BYTE, CHANGE);
    draft.test(code::IS_EQUAL, u32::from(b'@'), Otherwise::Pass);
    draft.compare(0, VIRTUAL, Otherwise::Pass);
    draft.compare(VIRTUAL.len(), &wanted, Otherwise::Drop);
    Some(draft.finish())
}

/// What a jump at `from` to `to` leaves out.
fn distance(from: usize, to: usize) -> u8 {
    u8::try_from(to - from - 1).unwrap_or(u8::MAX)
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::sys::filter::attach;
    use crate::udev::Uevent;
    use crate::udev::packet::Format;

    fn event(action: &str, devpath: &str) -> Vec<u8> {
        let event = Uevent {
            action: action.to_owned(),
            devpath: devpath.to_owned(),
            subsystem: "any".to_owned(),
            seqnum: Some(7),
            ..Uevent::default()
        };
        event.encode(Format::Kernel)
    }

    /// What the kernel lets through of `messages`, in order.
    fn passed(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (from, to) = UnixDatagram::pair().expect("a pair");
        let program = virtual_devices_except("nvme-fabrics").expect("a program");
        attach(to.as_fd(), &program).expect("a valid program");
        to.set_nonblocking(true).expect("a socket");
        for message in messages {
            from.send(message).expect("room");
        }
        let mut buffer = [0; 4096];
        let mut next = || {
            let len = to.recv(&mut buffer).ok()?;
            Some(buffer[..len].to_vec())
        };
        std::iter::from_fn(&mut next).collect()
    }

    #[test]
    fn virtual_devices_are_dropped_but_for_the_wanted_ones() {
        let fabrics = "/devices/virtual/nvme-fabrics/ctl/nvme3";
        for action in ["add", "change", "remove", "unbind"] {
            for (devpath, passes) in [
                (fabrics, true),
                ("/devices/pci0000:00/0000:00:04.0/nvme/nvme0", true),
                ("/devices/virtuel/net/veth0", true),
                ("/devices/virtual/net/veth0", false),
                ("/devices/virtual/nvme-subsystem/nvme-subsys3/nvme3n1", false),
                ("/devices/virtual/nvme-fabricss/ctl/nvme3", false),
                ("/devices/virtual/bdi/259:1", false),
            ] {
                let message = event(action, devpath);
                let expected = if passes { vec![message.clone()] } else { Vec::new() };
                assert_eq!(passed(&[message]), expected, "{action}@{devpath}");
            }
        }
    }

    #[test]
    fn what_is_no_such_message_passes() {
        let udevd = {
            let devpath = "/devices/virtual/net/veth0".to_owned();
            let event = Uevent { devpath, ..Uevent::default() };
            event.encode(Format::Udev)
        };
        // Rare actions are of other lengths; the receiver drops what it does not want.
        let rare = event("online", "/devices/virtual/net/veth0");
        let offline = event("offline", "/devices/virtual/net/veth0");
        let short = b"add@/devices/virtual/net/veth0".to_vec();
        let odd = vec![b'@'; 200];
        let messages = [udevd, offline, short[..20].to_vec(), odd];
        assert_eq!(passed(&messages), messages);
        assert_eq!(passed(&[rare]), Vec::<Vec<u8>>::new(), "as long as a change");
    }

    #[test]
    fn a_program_is_as_long_as_its_jumps_at_most() {
        let (socket, _) = UnixDatagram::pair().expect("a pair");
        let name = "x".repeat(DIRECTORY_LEN_MAX);
        let longest = virtual_devices_except(&name).expect("a program");
        attach(socket.as_fd(), &longest).expect("a valid program");
        assert!(longest.iter().all(|it| it.no < u8::MAX), "no jump was cut short");
        assert_eq!(virtual_devices_except(&(name + "x")), None);
    }

    #[test]
    fn a_program_that_makes_no_sense_is_refused() {
        let (socket, _) = UnixDatagram::pair().expect("a pair");
        let endless = Instruction { code: code::SET_X, yes: 0, no: 0, operand: 0 };
        for program in [vec![], vec![endless]] {
            let error = attach(socket.as_fd(), &program).expect_err("refused");
            assert_eq!(error.raw_os_error(), Some(22));
        }
    }
}
