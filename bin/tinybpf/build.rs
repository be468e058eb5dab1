// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Prepares the BPF headers that `tinybpf headers` writes: those of the libbpf that is linked in,
//! without their comments, which are two thirds of them and would be an eighth of the program.
//! What says who wrote them and under which licence stays.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What a comment contains that is kept.
const KEPT: &[&str] = &["SPDX", "Copyright", "auto-generated"];

/// `text` without block comments and the empty lines they leave.
fn bare(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        let (comment, behind) = after.split_once("*/").unwrap_or((after, ""));
        out.push_str(before);
        if KEPT.iter().any(|mark| comment.contains(mark)) {
            out.extend(["/*", comment, "*/"]);
        }
        rest = behind;
    }
    out.push_str(rest);
    let lines = out.lines().map(str::trim_end).filter(|line| !line.is_empty());
    lines.fold(String::new(), |mut text, line| {
        text.push_str(line);
        text.push('\n');
        text
    })
}

fn headers(from: &Path, to: &Path) -> std::io::Result<String> {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(from)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    names.retain(|path| path.extension().is_some_and(|extension| extension == "h"));
    names.sort();
    let mut list = String::from("&[\n");
    for path in names {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let place = to.join(&name);
        std::fs::write(&place, bare(&std::fs::read_to_string(&path)?))?;
        // Writing to a string cannot fail.
        let _ = writeln!(list, "({name:?}, include_str!({:?})),", place.display().to_string());
    }
    list.push_str("]\n");
    Ok(list)
}

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    // Set by libbpf-sys, when that is compiled at all.
    let (Some(include), Some(out)) = (variable("DEP_BPF_INCLUDE"), variable("OUT_DIR")) else {
        return Ok(());
    };
    let list = headers(&include.join("bpf"), &out)?;
    std::fs::write(out.join("headers.rs"), list)
}
