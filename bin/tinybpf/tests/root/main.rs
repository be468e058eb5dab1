// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The library on the running kernel, as root: a module for each part.
#![cfg(feature = "libbpf")]

mod attach;
mod commands;
#[path = "../compiled/mod.rs"]
mod compiled;
mod errors;
mod features;
mod globals;
mod lacking;
mod load;
mod manifests;
mod maps;
mod network;
mod perf;
mod refusals;
mod ring;
mod said;
mod skeleton;
mod sockets;
mod streams;
mod support;
mod token;
