// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal shutdown`: asks the machine to stop, and returns when its hypervisor has ended.

use plinth::err::Failure;
use rustix::process::Pid;

use super::Call;
use crate::ctl::CtlError;
use crate::ctl::stop::{Stop, TIMEOUT, stop};

pub(super) fn run(call: &Call<'_>) -> Result<u8, Failure> {
    call.at_most(0)?;
    let options = call.options;
    let order = Stop {
        hypervisor: call.need(options.hypervisor.as_ref(), "hypervisor")?,
        socket: call.need(options.socket.as_ref(), "socket")?,
        timeout: options.timeout.unwrap_or(TIMEOUT),
        how: options.how,
        pid: options.pid.filter(|pid| *pid > 0).and_then(Pid::from_raw),
        program: options.program.clone(),
    };
    stop(&order).map_err(CtlError::failure)?;
    Ok(0)
}
