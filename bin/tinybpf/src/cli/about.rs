// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the command says of itself: `tinybpf help`, `man` and `completion`; and `headers`, which
//! come with it.

use std::path::PathBuf;

use plinth::cli::SHELLS;
use plinth::err::{FAILED, Failure};
use serde_json::json;

use super::texts::Texts;
use super::words::{Words, usage};
use super::{Args, TINYBPF, World};

/// `tinybpf help`
pub(super) fn help(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut words = Words::of(args);
    let command = if words.is_empty() {
        None
    } else {
        let name = words.text("COMMAND")?;
        words.end()?;
        let known = TINYBPF.command(&name);
        Some(known.ok_or_else(|| usage(format!("unknown command '{name}'")))?)
    };
    world.print(&TINYBPF.help(command))?;
    Ok(0)
}

/// What is packed.
fn texts() -> Result<Texts, Failure> {
    Texts::new().map_err(|errno| Failure::new(FAILED, format!("cannot unpack the text: {errno}")))
}

/// `tinybpf man`
pub(super) fn man(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    Words::of(args).end()?;
    world.print(texts()?.page())?;
    Ok(0)
}

/// `tinybpf completion`
pub(super) fn completion(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut words = Words::of(args);
    let shell = words.text("SHELL")?;
    words.end()?;
    let script = TINYBPF.completions(&shell).ok_or_else(|| {
        usage(format!("no completions for '{shell}': one of {}", SHELLS.join(", ")))
    })?;
    world.print(&script)?;
    Ok(0)
}

/// `tinybpf headers`
pub(super) fn headers(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut words = Words::of(args);
    // Sources include them as <bpf/bpf_helpers.h>.
    let directory: PathBuf = words.path("DIR")?.join("bpf");
    words.end()?;
    let failed = |error: std::io::Error| {
        Failure::new(FAILED, format!("cannot write to '{}': {error}", directory.display()))
    };
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let (texts, mut names) = (texts()?, Vec::new());
    for (name, text) in texts.headers() {
        std::fs::write(directory.join(name), text).map_err(failed)?;
        names.push(name);
    }
    let text = if args.json {
        format!("{}\n", json!({ "headers": names }))
    } else {
        format!("wrote {} headers to {}\n", names.len(), directory.display())
    };
    world.print(&text)?;
    Ok(0)
}
