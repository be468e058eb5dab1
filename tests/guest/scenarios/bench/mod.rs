// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Measurements in a guest, for `make bench`: they report values and judge none of them.
//!
//! All but one run on a steady clock, which goes by the guest's instructions: what else the host
//! does then changes nothing, and repetitions differ by less than a percent. The exception shows
//! what the same turns take on the host's clock.
//!
//! A value that is reported several times is one measurement repeated; whoever reads the report
//! takes the median.

mod latency;
mod peers;
mod start;

use super::{Kernel, Needs, Scenario};

/// What the comparison with others takes.
const PEERS: Needs = Needs {
    stas: true,
    bus: true,
    udev: true,
    nvme_cli: true,
    reference: true,
    memory_mib: 1536,
    ..Needs::BARE
};

/// Every measurement; apart from the scenarios, since each takes minutes of undisturbed time.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "bench-peers",
        about: "64 subsystems: ours beside nvme-cli and the reference, in turns",
        needs: PEERS,
        kernels: &[Kernel::V6_1],
        seconds: 2400,
        run: peers::run_turns,
    },
    Scenario {
        name: "bench-steady",
        about: "64 subsystems: the same with a clock that goes by the guest's instructions",
        needs: Needs { steady: true, ..PEERS },
        kernels: &[Kernel::V6_1],
        seconds: 2400,
        run: peers::run,
    },
    Scenario {
        name: "bench-latency",
        about: "from an event to the log being asked for; stopping in every state",
        needs: Needs { stas: true, bus: true, steady: true, modules: &["dummy"], ..Needs::BARE },
        kernels: &[Kernel::V6_1],
        seconds: 900,
        run: latency::run,
    },
    Scenario {
        name: "bench-start",
        about: "from the start of a daemon to its name on the bus; can run bare",
        needs: Needs { stas: true, bus: true, steady: true, ..Needs::BARE },
        kernels: &[Kernel::V6_1],
        seconds: 120,
        run: start::run,
    },
];
