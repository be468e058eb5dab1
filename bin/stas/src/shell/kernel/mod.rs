// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Blocking kernel calls, made by a helper process so that the daemon itself never waits.
//!
//! A write to `/dev/nvme-fabrics` may sit in the kernel for a minute where no signal ends it, and a
//! thread of the daemon that sits there would keep the whole process from ending. The daemon
//! therefore starts itself once more, with a hidden first argument, and exchanges packets with
//! that [`helper`] over a socket; [`client`] is the daemon's side, [`wire`] the packets, [`calls`]
//! the calls themselves. The helper is started when it is first needed, ends some time after it was
//! last needed, and on the end of the daemon finishes only what it is in the middle of.

pub mod calls;
pub mod client;
pub mod helper;
pub mod wire;
