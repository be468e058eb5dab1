// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `.BTF.ext` section: how many relocations of types and fields an object has.

use super::parse::{Reader, header, section};
use super::{BtfError, TypeId};

/// Bytes of a relocation: instruction, type, access string, kind.
const RECORD_LEN_MIN: usize = 16;

/// Counts the CO-RE relocations that a `.BTF.ext` section holds. Sections of compilers that know
/// none of them hold none.
///
/// # Errors
/// The section is not what it says, or ends too early.
pub fn core_relocations(bytes: &[u8]) -> Result<u64, BtfError> {
    let (order, mut fields, body) = header(bytes)?;
    section(&mut fields, body, "function records")?;
    section(&mut fields, body, "line records")?;
    if fields.is_at_end() {
        return Ok(0);
    }
    let relocations = section(&mut fields, body, "relocations")?;
    let mut reader = Reader::new(relocations, order, "relocations");
    if reader.is_at_end() {
        return Ok(0);
    }
    let record_len = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    if record_len < RECORD_LEN_MIN {
        return Err(BtfError::Malformed { id: TypeId::VOID, what: "relocation record" });
    }
    let mut found = 0_u64;
    while !reader.is_at_end() {
        let (_section_name, count) = (reader.u32()?, reader.u32()?);
        let len = usize::try_from(count).ok().and_then(|count| count.checked_mul(record_len));
        reader.skip(len.ok_or(BtfError::Truncated("relocations"))?)?;
        found += u64::from(count);
    }
    Ok(found)
}
