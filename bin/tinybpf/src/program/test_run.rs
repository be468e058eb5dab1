// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Running a program without a hook (`BPF_PROG_TEST_RUN`).

use std::time::Duration;

use super::Program;
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::kinds::ProgType;
use crate::sys::program as sys;

/// Bytes of an Ethernet header, which every packet begins with.
const PACKET_MIN: usize = 14;

/// What a program is run with.
#[derive(Clone, Debug, Default)]
pub struct TestRun {
    /// The packet, for programs that see packets.
    pub data_in: Vec<u8>,
    /// Room for the packet afterwards; 0 to leave it.
    pub data_out_max: usize,
    /// The context structure, for programs that take one.
    pub context_in: Vec<u8>,
    /// Room for the context afterwards; 0 to leave it.
    pub context_out_max: usize,
    /// How often; 0 and 1 are once.
    pub repeat: u32,
    /// Flags (`BPF_F_TEST_..`).
    pub flags: u32,
    /// The CPU, with the flag `BPF_F_TEST_RUN_ON_CPU`.
    pub cpu: u32,
    /// Packets per batch, with the flag `BPF_F_TEST_XDP_LIVE_FRAMES`.
    pub batch: u32,
}

/// What a run left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestResult {
    /// What the program returned.
    pub retval: u32,
    /// An average run.
    pub duration: Duration,
    /// The packet afterwards.
    pub data_out: Vec<u8>,
    /// The context afterwards.
    pub context_out: Vec<u8>,
}

impl Program {
    /// Runs the program.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for types that cannot be run so; [`Kind::InvalidArgument`] for a
    /// packet shorter than 14 bytes; [`Kind::Full`] when there was too little room, with the size
    /// that is needed.
    pub fn test_run(&self, test: &TestRun) -> Result<TestResult> {
        let mut data_out = vec![0; test.data_out_max];
        let mut context_out = vec![0; test.context_out_max];
        let mut run = sys::Run {
            data: &test.data_in,
            context: &test.context_in,
            data_out: &mut data_out,
            context_out: &mut context_out,
            repeat: if self.prog_type() == ProgType::SYSCALL { 0 } else { test.repeat },
            flags: test.flags,
            cpu: test.cpu,
            batch: test.batch,
        };
        let outcome = sys::test_run(self.as_fd(), &mut run)
            .map_err(|(errno, outcome)| self.run_error(errno, outcome, test))?;
        data_out.truncate(outcome.data_size as usize);
        context_out.truncate(outcome.context_size as usize);
        Ok(TestResult {
            retval: outcome.retval,
            duration: Duration::from_nanos(u64::from(outcome.duration_ns)),
            data_out,
            context_out,
        })
    }

    fn run_error(&self, errno: Errno, outcome: sys::Outcome, test: &TestRun) -> Error {
        let error = self.error(errno, Op::TestRun);
        match errno {
            Errno::NOSPC => {
                let (need, have) = (outcome.data_size, test.data_out_max);
                error.with_detail(format!("the packet is {need} bytes afterwards, room was {have}"))
            }
            Errno::NOTSUPP | Errno::OPNOTSUPP => error.with_detail(format!(
                "programs of type {} cannot be run without a hook",
                self.prog_type()
            )),
            Errno::INVAL if takes_packets(self.prog_type()) && test.data_in.len() < PACKET_MIN => {
                let got = test.data_in.len();
                let detail = format!("packet data must be at least {PACKET_MIN} bytes, got {got}");
                error.with_kind(Kind::InvalidArgument).with_detail(detail)
            }
            _ => error,
        }
    }
}

const fn takes_packets(kind: ProgType) -> bool {
    matches!(
        kind,
        ProgType::SOCKET_FILTER
            | ProgType::SCHED_CLS
            | ProgType::SCHED_ACT
            | ProgType::XDP
            | ProgType::CGROUP_SKB
            | ProgType::LWT_IN
            | ProgType::LWT_OUT
            | ProgType::LWT_XMIT
            | ProgType::FLOW_DISSECTOR
    )
}
