// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Talking to running hypervisors: each protocol a pure codec and a thin shell over it.
//!
//! | module | protocol |
//! |---|---|
//! | `qmp` | QEMU's and stratovirt's: JSON, a line each |
//! | `http` | cloud-hypervisor's, firecracker's and vfkit's: HTTP/1.1 over a Unix socket |
//! | `vsock` | a machine's vsock ports: `AF_VSOCK`, or the sockets that some hypervisors put before it |
//! | `process` | its end |
//!
//! [`stop`] and [`balloon`] are what is done with them. Every exchange has a deadline and every
//! message a limit: a hypervisor may hang, and what is on a socket need not be one.

pub mod balloon;
mod error;
pub mod http;
pub mod peer;
pub mod process;
pub mod qmp;
pub mod stop;
pub mod vsock;

pub use error::CtlError;
