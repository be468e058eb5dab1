// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Object files as they are on disk: whether one is an eBPF object, and what is in it.
//!
//! Owns the judgement of files before any loader sees them, since a loader says the same of a text
//! file and of a damaged object, and the reading of an object without loading it, in either byte
//! order. The layout of ELF files is left to the `object` crate; reading files is left to others.

mod externs;
mod inspect;
mod maps;
mod needs;
pub mod sections;

#[cfg(test)]
pub(crate) mod build;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::btf::ByteOrder;

pub use externs::{Extern, ExternKind};
pub use inspect::{Global, Inspection, Program, inspect};
pub use maps::{Map, Pinning};
pub use needs::{Needs, needs};

/// Bytes of the header of a 64-bit ELF file.
pub const HEADER_LEN: usize = 64;
/// The machine of eBPF (`EM_BPF`).
const MACHINE_BPF: u16 = 247;
/// An object file, not linked (`ET_REL`).
const TYPE_RELOCATABLE: u16 = 1;

/// Why a file is not taken, as the end of a sentence that begins with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is a directory.
    Directory,
    /// It is something else, or too short for a header.
    NotElf,
    /// It begins as ELF and ends too early, or is inconsistent.
    Damaged,
    /// It is for another machine (`e_machine`).
    Machine(u16),
    /// It is eBPF, and no object file.
    Linked,
    /// It is for machines of the other byte order.
    ByteOrder(ByteOrder),
    /// It has no type information.
    NoBtf,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("is a directory"),
            Self::NotElf => f.write_str("is not an ELF object"),
            Self::Damaged => f.write_str("is truncated or damaged"),
            Self::Machine(number) => match machine_name(*number) {
                Some(name) => write!(f, "is ELF for {name}, not eBPF"),
                None => write!(f, "is ELF for machine {number}, not eBPF"),
            },
            Self::Linked => f.write_str("is ELF for eBPF, but no object file"),
            Self::ByteOrder(order) => {
                write!(f, "is {order}, this machine is {}", ByteOrder::NATIVE)
            }
            Self::NoBtf => f.write_str("has no BTF; compile with -g"),
        }
    }
}

impl std::error::Error for Refusal {}

const fn machine_name(number: u16) -> Option<&'static str> {
    Some(match number {
        3 => "x86",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "PowerPC64",
        22 => "S/390",
        40 => "ARM",
        62 => "x86-64",
        183 => "AArch64",
        243 => "RISC-V",
        258 => "LoongArch",
        _ => return None,
    })
}

/// The byte order of an eBPF object, judged by its header.
///
/// # Errors
/// The file is something else.
pub fn identify(bytes: &[u8]) -> Result<ByteOrder, Refusal> {
    let header = bytes.first_chunk::<HEADER_LEN>().ok_or(Refusal::NotElf)?;
    let [0x7f, b'E', b'L', b'F', class, order, ..] = *header else { return Err(Refusal::NotElf) };
    let order = match order {
        1 => ByteOrder::Little,
        2 => ByteOrder::Big,
        _ => return Err(Refusal::Damaged),
    };
    let half = |pair: [u8; 2]| match order {
        ByteOrder::Little => u16::from_le_bytes(pair),
        ByteOrder::Big => u16::from_be_bytes(pair),
    };
    let [kind, machine] = [[header[16], header[17]], [header[18], header[19]]].map(half);
    match (machine, class, kind) {
        (MACHINE_BPF, 2, TYPE_RELOCATABLE) => Ok(order),
        (MACHINE_BPF, 2, _) => Err(Refusal::Linked),
        (MACHINE_BPF, ..) => Err(Refusal::Damaged),
        (machine, ..) => Err(Refusal::Machine(machine)),
    }
}

/// Whether the file can be loaded here, as far as its form goes: an eBPF object of this machine's
/// byte order that is whole and has type information.
///
/// # Errors
/// The first thing that is in the way.
pub fn check_loadable(bytes: &[u8]) -> Result<(), Refusal> {
    let found = inspect(bytes)?;
    if found.order != ByteOrder::NATIVE {
        return Err(Refusal::ByteOrder(found.order));
    }
    found.btf.map(|_| ()).ok_or(Refusal::NoBtf)
}
