// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packs the long texts that the command can print or write: its manual page, and the BPF headers
//! of `tinybpf headers`. Plain they would be a tenth of the program; `gzip` packs them, which every
//! system that builds software has, and zlib, which libelf brings, unpacks them.
//!
//! The headers are those of the libbpf that is linked in, without their comments, which are two
//! thirds of them. What says who wrote them and under which licence stays.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a comment contains that is kept.
const KEPT: &[&str] = &["SPDX", "Copyright", "auto-generated"];

/// The manual page, as it is installed.
const PAGE: &str = "../../man/tinybpf.8";

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

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

/// Names and texts of the headers in a directory.
fn headers(from: &Path) -> Outcome<Vec<(String, String)>> {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(from)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    names.retain(|path| path.extension().is_some_and(|extension| extension == "h"));
    names.sort();
    let one = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, bare(&std::fs::read_to_string(path)?)))
    };
    names.into_iter().map(one).collect()
}

/// Writes `text` to a file, packed.
fn pack(text: &str, to: &Path) -> Outcome {
    let mut gzip = Command::new("gzip")
        .args(["-9", "-n"])
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(to)?)
        .spawn()
        .map_err(|error| format!("gzip: {error}"))?;
    gzip.stdin.take().ok_or("gzip has no input")?.write_all(text.as_bytes())?;
    let status = gzip.wait()?;
    if status.success() { Ok(()) } else { Err(format!("gzip: {status}").into()) }
}

fn main() -> Outcome {
    println!("cargo:rerun-if-changed=build.rs");
    // Set by `make static`: see src/sys/absent.rs.
    println!("cargo:rustc-check-cfg=cfg(small)");
    println!("cargo:rerun-if-changed={PAGE}");
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    // Set by libbpf-sys, when that is compiled at all.
    let (Some(include), Some(out)) = (variable("DEP_BPF_INCLUDE"), variable("OUT_DIR")) else {
        return Ok(());
    };
    let page = std::fs::read_to_string(PAGE).map_err(|error| format!("{PAGE}: {error}"))?;
    let (mut list, mut all) = (format!("(&[(\"\", {}),\n", page.len()), page);
    for (name, text) in headers(&include.join("bpf"))? {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "({name:?}, {}),", text.len());
        all.push_str(&text);
    }
    let packed = out.join("texts.gz");
    pack(&all, &packed)?;
    let _ = writeln!(list, "], include_bytes!({:?}))", packed.display().to_string());
    std::fs::write(out.join("texts.rs"), list)?;
    Ok(())
}
