// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf version`.

use plinth::err::Failure;
use serde_json::json;

use super::{Args, World};
use crate::host::Host;

pub(super) fn version(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let (_, _, libbpf) = crate::libbpf_version();
    let target = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let machine = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let linkage = if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" };
    let host = Host::system();
    let (kernel, btf) = (host.release(), host.has_kernel_btf());
    let text = if args.json {
        let value = json!({
            "version": crate::VERSION,
            "libbpf": libbpf,
            "target": machine,
            "linkage": linkage,
            "kernel": kernel,
            "kernel_btf": btf,
        });
        format!("{value}\n")
    } else {
        let types = if btf { "with BTF" } else { "without BTF" };
        format!(
            "{target}\nlibbpf {libbpf}\ntarget {machine}, {linkage}\nkernel {kernel}, {types}\n"
        )
    };
    world.print(&text)?;
    Ok(0)
}
