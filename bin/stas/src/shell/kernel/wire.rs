// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packets between a daemon and its kernel helper: one job or one answer per packet.
//!
//! Pure. Owns the byte layout: little-endian integers, an operation number first, a kind byte next,
//! variable data last, so that the packet's end is the data's end. Both sides are one executable,
//! so that the format has no version; packets are decoded with all checks nevertheless, because
//! a helper may have been started from a file that an upgrade has replaced since.

use std::fmt;

use crate::core::port::{AdminCommand, AdminError, DeviceId, OpId};

/// The longest option list: the kernel copies at most one page.
pub const OPTIONS_LEN_MAX: usize = 4095;
/// The longest data of one admin command.
pub const DATA_LEN_MAX: u32 = 4096;
/// The longest device name that is believed.
pub const NAME_LEN_MAX: usize = 32;
/// The longest packet of either direction, with room for the fixed fields.
pub const PACKET_LEN_MAX: usize = 4096 + 64;

/// One blocking kernel call to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Write the option list to `/dev/nvme-fabrics` and read the answer.
    Connect {
        /// The comma-separated list.
        options: String,
    },
    /// Write `1` to the controller's `delete_controller`.
    Delete {
        /// The controller.
        device: DeviceId,
    },
    /// Send an admin command.
    Admin {
        /// The controller.
        device: DeviceId,
        /// The command; at most [`DATA_LEN_MAX`] bytes of data.
        command: AdminCommand,
        /// Limit that the kernel applies, in milliseconds.
        limit_ms: u32,
    },
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call succeeded and brought this (nothing, for a delete).
    Done(Vec<u8>),
    /// The call failed with an errno, or the controller refused the command.
    Failed(AdminError),
}

/// Why a packet is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The packet ends inside its fixed fields.
    Short,
    /// The kind byte, or a flag, has no meaning.
    Kind(u8),
    /// The variable part is longer than allowed, or not text.
    Data,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "helper packet is too short"),
            Self::Kind(kind) => write!(f, "helper packet has unknown kind {kind}"),
            Self::Data => write!(f, "helper packet carries bad data"),
        }
    }
}

impl std::error::Error for WireError {}

const CONNECT: u8 = 1;
const DELETE: u8 = 2;
const GET_LOG: u8 = 3;
const IDENTIFY: u8 = 4;

const DONE: u8 = 1;
const ERRNO: u8 = 2;
const STATUS: u8 = 3;

/// The packet for `job`, named `op`.
#[must_use]
pub fn encode_job(op: OpId, job: &Job) -> Vec<u8> {
    let mut out = op.0.to_le_bytes().to_vec();
    match job {
        Job::Connect { options } => {
            out.push(CONNECT);
            out.extend_from_slice(options.as_bytes());
        }
        Job::Delete { device } => {
            out.push(DELETE);
            put_device(&mut out, device);
        }
        Job::Admin { device, command, limit_ms } => {
            match *command {
                AdminCommand::GetLog { lid, lsp, rae, offset, len } => {
                    out.extend_from_slice(&[GET_LOG, lid, lsp, u8::from(rae)]);
                    out.extend_from_slice(&offset.to_le_bytes());
                    out.extend_from_slice(&len.to_le_bytes());
                }
                AdminCommand::Identify => out.push(IDENTIFY),
            }
            out.extend_from_slice(&limit_ms.to_le_bytes());
            put_device(&mut out, device);
        }
    }
    out
}

/// The job in `packet`.
///
/// # Errors
/// See [`WireError`].
pub fn decode_job(packet: &[u8]) -> Result<(OpId, Job), WireError> {
    let mut rest = packet;
    let op = OpId(u64::from_le_bytes(take(&mut rest)?));
    let [kind] = take(&mut rest)?;
    let job = match kind {
        CONNECT => Job::Connect { options: text(rest, OPTIONS_LEN_MAX)? },
        DELETE => Job::Delete { device: device(rest)? },
        GET_LOG => {
            let [lid, lsp, rae] = take(&mut rest)?;
            if rae > 1 {
                return Err(WireError::Kind(rae));
            }
            let offset = u64::from_le_bytes(take(&mut rest)?);
            let len = u32::from_le_bytes(take(&mut rest)?);
            if len > DATA_LEN_MAX {
                return Err(WireError::Data);
            }
            let limit_ms = u32::from_le_bytes(take(&mut rest)?);
            let command = AdminCommand::GetLog { lid, lsp, rae: rae == 1, offset, len };
            Job::Admin { device: device(rest)?, command, limit_ms }
        }
        IDENTIFY => {
            let limit_ms = u32::from_le_bytes(take(&mut rest)?);
            Job::Admin { device: device(rest)?, command: AdminCommand::Identify, limit_ms }
        }
        unknown => return Err(WireError::Kind(unknown)),
    };
    Ok((op, job))
}

/// The packet that says how the job `op` ended.
#[must_use]
pub fn encode_outcome(op: OpId, outcome: &Outcome) -> Vec<u8> {
    let mut out = op.0.to_le_bytes().to_vec();
    match outcome {
        Outcome::Done(data) => {
            out.push(DONE);
            out.extend_from_slice(data);
        }
        Outcome::Failed(AdminError::Errno(errno)) => {
            out.push(ERRNO);
            out.extend_from_slice(&errno.to_le_bytes());
        }
        Outcome::Failed(AdminError::Status(status)) => {
            out.push(STATUS);
            out.extend_from_slice(&status.to_le_bytes());
        }
    }
    out
}

/// The outcome in `packet`.
///
/// # Errors
/// See [`WireError`].
pub fn decode_outcome(packet: &[u8]) -> Result<(OpId, Outcome), WireError> {
    let mut rest = packet;
    let op = OpId(u64::from_le_bytes(take(&mut rest)?));
    let [kind] = take(&mut rest)?;
    let outcome = match kind {
        DONE if packet.len() > PACKET_LEN_MAX => return Err(WireError::Data),
        DONE => Outcome::Done(rest.to_vec()),
        ERRNO => Outcome::Failed(AdminError::Errno(i32::from_le_bytes(take(&mut rest)?))),
        STATUS => Outcome::Failed(AdminError::Status(u16::from_le_bytes(take(&mut rest)?))),
        unknown => return Err(WireError::Kind(unknown)),
    };
    Ok((op, outcome))
}

fn put_device(out: &mut Vec<u8>, device: &DeviceId) {
    out.extend_from_slice(&device.instance.to_le_bytes());
    out.extend_from_slice(device.name.as_bytes());
}

/// A device name becomes part of a path: only `nvme` and a number is one.
fn device(mut rest: &[u8]) -> Result<DeviceId, WireError> {
    let instance = u64::from_le_bytes(take(&mut rest)?);
    let name = text(rest, NAME_LEN_MAX)?;
    if is_device_name(&name) { Ok(DeviceId { name, instance }) } else { Err(WireError::Data) }
}

/// Whether `name` is `nvme` followed by a decimal number.
#[must_use]
pub fn is_device_name(name: &str) -> bool {
    name.strip_prefix("nvme").is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn text(bytes: &[u8], len_max: usize) -> Result<String, WireError> {
    if bytes.len() > len_max {
        return Err(WireError::Data);
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| WireError::Data)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(WireError::Short)?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a_device() -> impl Strategy<Value = DeviceId> {
        (0u32.., any::<u64>())
            .prop_map(|(number, instance)| DeviceId { name: format!("nvme{number}"), instance })
    }

    fn a_command() -> impl Strategy<Value = AdminCommand> {
        let log =
            (any::<u8>(), any::<u8>(), any::<bool>(), any::<u64>(), 0..=DATA_LEN_MAX).prop_map(
                |(lid, lsp, rae, offset, len)| AdminCommand::GetLog { lid, lsp, rae, offset, len },
            );
        prop_oneof![log, Just(AdminCommand::Identify)]
    }

    fn a_job() -> impl Strategy<Value = Job> {
        prop_oneof![
            "[ -~]{0,200}".prop_map(|options| Job::Connect { options }),
            a_device().prop_map(|device| Job::Delete { device }),
            (a_device(), a_command(), any::<u32>())
                .prop_map(|(device, command, limit_ms)| Job::Admin { device, command, limit_ms }),
        ]
    }

    fn an_outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..4096).prop_map(Outcome::Done),
            any::<i32>().prop_map(|errno| Outcome::Failed(AdminError::Errno(errno))),
            any::<u16>().prop_map(|status| Outcome::Failed(AdminError::Status(status))),
        ]
    }

    proptest! {
        #[test]
        fn a_job_survives_the_wire(op in any::<u64>(), job in a_job()) {
            let packet = encode_job(OpId(op), &job);
            prop_assert!(packet.len() <= PACKET_LEN_MAX);
            prop_assert_eq!(decode_job(&packet), Ok((OpId(op), job)));
        }

        #[test]
        fn an_outcome_survives_the_wire(op in any::<u64>(), outcome in an_outcome()) {
            let packet = encode_outcome(OpId(op), &outcome);
            prop_assert!(packet.len() <= PACKET_LEN_MAX);
            prop_assert_eq!(decode_outcome(&packet), Ok((OpId(op), outcome)));
        }

        #[test]
        fn any_bytes_are_a_packet_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok((op, job)) = decode_job(&bytes) {
                prop_assert_eq!(encode_job(op, &job), bytes.clone());
            }
            // Numbers may be followed by bytes that mean nothing: only the decoding is checked.
            drop(decode_outcome(&bytes));
        }
    }

    #[test]
    fn the_longest_option_list_fits_and_one_byte_more_does_not() {
        let fits = Job::Connect { options: "x".repeat(OPTIONS_LEN_MAX) };
        assert_eq!(decode_job(&encode_job(OpId(1), &fits)), Ok((OpId(1), fits)));
        let over = Job::Connect { options: "x".repeat(OPTIONS_LEN_MAX + 1) };
        assert_eq!(decode_job(&encode_job(OpId(1), &over)), Err(WireError::Data));
    }

    #[test]
    fn a_name_that_would_leave_the_directory_is_refused() {
        for name in ["../nvme0", "nvme", "nvme0/", "nvme0n1", "", "NVME0"] {
            let job = Job::Delete { device: DeviceId { name: name.to_owned(), instance: 1 } };
            assert_eq!(decode_job(&encode_job(OpId(1), &job)), Err(WireError::Data), "{name:?}");
        }
    }

    #[test]
    fn data_beyond_the_limit_is_not_asked_for() {
        let command =
            AdminCommand::GetLog { lid: 0x70, lsp: 0, rae: true, offset: 0, len: DATA_LEN_MAX + 1 };
        let device = DeviceId { name: "nvme0".to_owned(), instance: 1 };
        let job = Job::Admin { device, command, limit_ms: 1 };
        assert_eq!(decode_job(&encode_job(OpId(1), &job)), Err(WireError::Data));
    }
}
