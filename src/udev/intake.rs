// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Decides which received messages become events: by sender, by number, by subsystem.
//!
//! Pure: the monitor does the receiving. A message that is not believed, or not wanted, leaves no
//! trace; of a kernel message that is only not wanted, the number still counts.

use super::packet::{Format, Packet};
use super::{Group, Lost, Uevent};
use crate::sys::netlink::Envelope;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    /// Wanted subsystems; none means all.
    subsystems: Vec<String>,
    /// The highest number that a kernel message had.
    newest: Option<u64>,
    /// The same, unless the next number may be any.
    counted: Option<u64>,
    /// The kernel was asked to leave messages out.
    filtered: bool,
}

/// What comes of one message. When both are there, the loss happened before the event.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) lost: Option<Lost>,
    pub(super) event: Option<Uevent>,
}

impl Intake {
    pub(super) fn new(subsystems: &[&str]) -> Self {
        let subsystems = subsystems.iter().map(|&name| name.to_owned()).collect();
        Self { subsystems, newest: None, counted: None, filtered: false }
    }

    /// Judges one message.
    pub(super) fn take(&mut self, envelope: &Envelope, bytes: &[u8]) -> Outcome {
        if envelope.truncated {
            // What is left may be unreadable, but its sender is known.
            let trusted = [Format::Kernel, Format::Udev].iter().any(|&it| is_trusted(envelope, it));
            return Outcome { lost: trusted.then_some(Lost::Overrun), event: None };
        }
        let Ok(packet) = Packet::parse(bytes) else { return Outcome::default() };
        if !is_trusted(envelope, packet.format()) {
            return Outcome::default();
        }
        let Ok(seqnum) = packet.seqnum() else { return Outcome::default() };
        let lost = match packet.format() {
            Format::Kernel => self.count(seqnum),
            // Told by the kernel already, before the monitor changed over to udevd.
            Format::Udev if self.newest.is_some_and(|newest| seqnum <= newest) => {
                return Outcome::default();
            }
            Format::Udev => None,
        };
        let event = self.wants(&packet).then(|| packet.to_event().ok()).flatten();
        Outcome { lost, event }
    }

    /// Kernels from 6.11 on give numbers out before they line events up, so that neighbours may
    /// swap places. The late one is told all the same.
    fn count(&mut self, seqnum: u64) -> Option<Lost> {
        self.newest = self.newest.max(Some(seqnum));
        if self.filtered {
            return None;
        }
        let after = self.counted.unwrap_or(seqnum.saturating_sub(1));
        self.counted = Some(after.max(seqnum));
        (seqnum > after.saturating_add(1)).then_some(Lost::Gap { after, found: seqnum })
    }

    /// What the next number leaves out is known to be lost.
    pub(super) const fn expect_gap(&mut self) {
        self.counted = None;
    }

    /// Numbers are left out from now on without a loss.
    pub(super) const fn ignore_gaps(&mut self) {
        self.filtered = true;
    }

    fn wants(&self, packet: &Packet<'_>) -> bool {
        let subsystem = packet.property("SUBSYSTEM").unwrap_or_default();
        self.subsystems.is_empty() || self.subsystems.iter().any(|it| it.as_bytes() == subsystem)
    }
}

/// Kernel messages come from port zero, those of udev daemons from a port of a process; both by
/// multicast to their own group, and from root.
fn is_trusted(envelope: &Envelope, format: Format) -> bool {
    let (group, from_kernel) = match format {
        Format::Kernel => (Group::Kernel, true),
        Format::Udev => (Group::Udev, false),
    };
    envelope.credentials.is_some_and(|sender| sender.uid == 0)
        && envelope.groups == group.mask()
        && (envelope.port == 0) == from_kernel
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netlink::Credentials;

    const KERNEL: Envelope = Envelope {
        len: 0,
        truncated: false,
        port: 0,
        groups: 1,
        credentials: Some(Credentials { pid: 0, uid: 0, gid: 0 }),
    };
    const UDEVD: Envelope = Envelope {
        port: 4711,
        groups: 2,
        credentials: Some(Credentials { pid: 4711, uid: 0, gid: 0 }),
        ..KERNEL
    };

    fn bytes(format: Format, seqnum: u64, subsystem: &str) -> Vec<u8> {
        let event = Uevent {
            action: "add".to_owned(),
            devpath: "/devices/virtual/nvme/nvme0".to_owned(),
            subsystem: subsystem.to_owned(),
            seqnum: Some(seqnum),
            ..Uevent::default()
        };
        event.encode(format)
    }

    /// `!` for a loss, then the number of the event.
    fn told(intake: &mut Intake, envelope: &Envelope, bytes: &[u8]) -> String {
        let outcome = intake.take(envelope, bytes);
        let loss = if outcome.lost.is_some() { "!" } else { "" };
        let number = outcome.event.and_then(|it| it.seqnum);
        loss.to_owned() + &number.map(|it| it.to_string()).unwrap_or_default()
    }

    fn kernel(intake: &mut Intake, seqnum: u64) -> String {
        told(intake, &KERNEL, &bytes(Format::Kernel, seqnum, "nvme"))
    }

    fn udevd(intake: &mut Intake, seqnum: u64) -> String {
        told(intake, &UDEVD, &bytes(Format::Udev, seqnum, "nvme"))
    }

    #[test]
    fn only_the_kernel_and_roots_udevd_are_believed() {
        // R188
        let nobody = Some(Credentials { pid: 4711, uid: 65534, gid: 65534 });
        let (from_kernel, from_udevd) =
            (bytes(Format::Kernel, 1, "nvme"), bytes(Format::Udev, 1, "nvme"));
        for (envelope, bytes, believed) in [
            (KERNEL, &from_kernel, true),
            (UDEVD, &from_udevd, true),
            (Envelope { port: 4711, ..KERNEL }, &from_kernel, false),
            (Envelope { credentials: nobody, ..KERNEL }, &from_kernel, false),
            (Envelope { credentials: None, ..KERNEL }, &from_kernel, false),
            (Envelope { groups: 0, ..KERNEL }, &from_kernel, false),
            (Envelope { groups: 2, ..KERNEL }, &from_kernel, false),
            (Envelope { credentials: nobody, ..UDEVD }, &from_udevd, false),
            (Envelope { credentials: None, ..UDEVD }, &from_udevd, false),
            (Envelope { groups: 0, ..UDEVD }, &from_udevd, false),
            (Envelope { groups: 1, ..UDEVD }, &from_udevd, false),
            (KERNEL, &from_udevd, false),
            (UDEVD, &from_kernel, false),
        ] {
            let got = told(&mut Intake::new(&[]), &envelope, bytes);
            assert_eq!(got, if believed { "1" } else { "" }, "{envelope:?}");
        }
    }

    #[test]
    fn a_message_that_is_not_believed_does_not_count() {
        let mut intake = Intake::new(&[]);
        assert_eq!(kernel(&mut intake, 5), "5");
        let forged = Envelope { port: 4711, ..KERNEL };
        assert_eq!(told(&mut intake, &forged, &bytes(Format::Kernel, 900, "nvme")), "");
        let cut = Envelope { truncated: true, ..forged };
        assert_eq!(told(&mut intake, &cut, &bytes(Format::Kernel, 6, "nvme")), "");
        assert_eq!(kernel(&mut intake, 6), "6");
    }

    #[test]
    fn other_subsystems_are_dropped_but_counted() {
        let mut intake = Intake::new(&["nvme", "fc"]);
        let told: Vec<_> = ["nvme", "block", "nvme-subsystem", "fc", "nvm"]
            .iter()
            .zip(10..)
            .map(|(name, seqnum)| told(&mut intake, &KERNEL, &bytes(Format::Kernel, seqnum, name)))
            .collect();
        assert_eq!(told, ["10", "", "", "13", ""]);
        assert_eq!(kernel(&mut intake, 15), "15", "no gap was seen");
    }

    #[test]
    fn a_missing_number_is_a_loss_told_before_the_event() {
        // R190
        let mut intake = Intake::new(&["nvme"]);
        assert_eq!(kernel(&mut intake, 7), "7", "the first number may be any");
        assert_eq!(kernel(&mut intake, 8), "8");
        let outcome = intake.take(&KERNEL, &bytes(Format::Kernel, 12, "nvme"));
        assert!(matches!(outcome.lost, Some(Lost::Gap { after: 8, found: 12 })));
        assert!(outcome.event.is_some());
        assert_eq!(kernel(&mut intake, 13), "13");
        assert_eq!(told(&mut intake, &KERNEL, &bytes(Format::Kernel, 15, "block")), "!");
    }

    #[test]
    fn a_gap_that_is_known_is_not_told_again() {
        let mut intake = Intake::new(&[]);
        assert_eq!(kernel(&mut intake, 7), "7");
        intake.expect_gap();
        assert_eq!(kernel(&mut intake, 12), "12");
        assert_eq!(udevd(&mut intake, 12), "", "what was told is still known");
        assert_eq!(kernel(&mut intake, 14), "!14");
    }

    #[test]
    fn numbers_that_a_filter_left_out_are_no_loss() {
        let mut intake = Intake::new(&[]);
        intake.ignore_gaps();
        assert_eq!([7, 12, 9].map(|seqnum| kernel(&mut intake, seqnum)), ["7", "12", "9"]);
        assert_eq!(udevd(&mut intake, 12), "", "what was told is still known");
    }

    #[test]
    fn swapped_neighbours_are_both_told() {
        let mut intake = Intake::new(&[]);
        let told: Vec<_> = [1, 3, 2, 4].map(|seqnum| kernel(&mut intake, seqnum)).into();
        assert_eq!(told, ["1", "!3", "2", "4"]);
    }

    #[test]
    fn the_order_of_udevd_is_no_loss() {
        let mut intake = Intake::new(&[]);
        let told: Vec<_> = [8, 3, 20, 4].map(|seqnum| udevd(&mut intake, seqnum)).into();
        assert_eq!(told, ["8", "3", "20", "4"]);
    }

    #[test]
    fn what_the_kernel_told_is_not_told_again_by_udevd() {
        // R189: the monitor changed over between 6 and 7.
        let mut intake = Intake::new(&[]);
        assert_eq!(kernel(&mut intake, 5), "5");
        assert_eq!(kernel(&mut intake, 6), "6");
        let told: Vec<_> = [6, 8, 5, 7].map(|seqnum| udevd(&mut intake, seqnum)).into();
        assert_eq!(told, ["", "8", "", "7"]);
    }

    #[test]
    fn a_message_cut_off_is_a_loss() {
        for (envelope, format) in [(KERNEL, Format::Kernel), (UDEVD, Format::Udev)] {
            let (cut, bytes) = (Envelope { truncated: true, ..envelope }, bytes(format, 1, "nvme"));
            assert_eq!(told(&mut Intake::new(&["fc"]), &cut, &bytes[..30]), "!");
        }
    }

    #[test]
    fn numbers_at_the_end_of_their_range_are_survived() {
        let mut intake = Intake::new(&[]);
        assert_eq!(kernel(&mut intake, u64::MAX), u64::MAX.to_string());
        assert_eq!(kernel(&mut intake, 0), "0");
        assert_eq!(kernel(&mut intake, u64::MAX), u64::MAX.to_string());
    }
}
