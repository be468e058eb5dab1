// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal balloon`: takes memory from the machine, and prints how much is taken, in MiB.

use plinth::err::Failure;

use super::{Call, usage};
use crate::cli::World;
use crate::ctl::CtlError;
use crate::ctl::balloon::Balloon;

pub(super) fn run(call: &Call<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    call.at_most(1)?;
    let options = call.options;
    let amount = match call.words.first() {
        Some(_) => {
            let word = call.word(0, "MIB")?;
            Some(word.parse().map_err(|_| usage("MIB: not a number of MiB"))?)
        }
        None => None,
    };
    let balloon = Balloon {
        hypervisor: call.need(options.hypervisor.as_ref(), "hypervisor")?,
        // kvmtool has none; whoever needs it says that it is not there.
        socket: options.socket.clone().unwrap_or_default(),
        mem: call.need(options.mem.as_ref(), "mem")?,
        name: options.name.clone().unwrap_or_default(),
        program: options.program.clone(),
    };
    let taken = balloon.run(amount).map_err(CtlError::failure)?;
    world.print(&format!("{taken}\n"))?;
    Ok(0)
}
