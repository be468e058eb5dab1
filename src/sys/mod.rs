// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What rustix does not offer, behind safe functions: the only unsafe code of the crate.
//!
//! Descriptors are borrowed in and owned out. Every function is safe to call with any argument. One
//! file per kernel interface; each opens `unsafe_code` for itself and says why.

pub mod backing;
pub mod exec;
pub mod fd;
pub mod filter;
pub mod inherit;
mod ioctl;
pub mod kvm;
pub mod netlink;
pub mod nvme;
pub mod signal;
pub mod socket;
pub mod tun;
pub mod vsock;
