// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the command says of itself: `schema` and `completions`.

use plinth::cli::SHELLS;
use plinth::err::Failure;

use super::load::{first_word, usage};
use super::{Args, MICROVM, World};
use crate::schema::json_schema;

/// `microvm schema`
pub(super) fn schema(world: &mut World<'_>) -> Result<u8, Failure> {
    world.print(&format!("{:#}\n", json_schema()))?;
    Ok(0)
}

/// `microvm completions`
pub(super) fn completions(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let shell = first_word(args).to_string_lossy();
    let script = MICROVM.completions(&shell).ok_or_else(|| {
        usage(format!("no completions for '{shell}': one of {}", SHELLS.join(", ")))
    })?;
    world.print(&script)?;
    Ok(0)
}
