// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm kernel extract`: the uncompressed kernel out of a compressed one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use plinth::err::{FAILED, Failure};

use super::load::{first_word, no_action, usage};
use super::{Args, NO_PROGRAM, NOT_FOUND, World};
use crate::kernel::{Payload, payload};

/// The largest image that is read: ten times what distributions have.
const IMAGE_MAX: usize = 256 << 20;

/// `microvm kernel`
pub(super) fn kernel(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    match first_word(args).to_string_lossy().as_ref() {
        "extract" => extract(args, world),
        action => Err(no_action("kernel", action, "extract")),
    }
}

fn extract(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let [_, image] = args.words.as_slice() else {
        return Err(usage("argument VMLINUZ is missing"));
    };
    let out = args.out.clone().ok_or_else(|| usage("kernel extract needs --out FILE"))?;
    let path = Path::new(image);
    let bytes = plinth::file::read(path, IMAGE_MAX).map_err(|error| {
        let status = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { FAILED };
        Failure::new(status, format!("cannot read {}: {error}", path.display()))
    })?;
    let found = payload(&bytes)
        .map_err(|error| Failure::new(FAILED, format!("{}: {error}", path.display())))?;
    // A rename would put a file in the place of a device.
    if fs::metadata(&out).is_ok_and(|there| !there.is_file()) {
        return Err(Failure::new(FAILED, format!("{} is no regular file", out.display())));
    }
    let packed = bytes.get(found.bytes.clone()).unwrap_or_default();
    let partial = partial(&out);
    let unpacked = unpack(&found, packed, &partial, path);
    match unpacked.and_then(|()| Ok(fs::rename(&partial, &out)?)) {
        Ok(()) => {
            let length = fs::metadata(&out)?.len();
            world.print(&format!("{}: {length} bytes\n", out.display()))?;
            Ok(0)
        }
        Err(failure) => {
            // The failure itself matters more.
            drop(fs::remove_file(&partial));
            Err(failure)
        }
    }
}

/// The name of a file that is not whole yet, beside the one that it becomes.
fn partial(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or(OsStr::new("out")).to_owned();
    name.push(".partial");
    out.with_file_name(name)
}

/// Pipes the packed bytes through the program that knows them, into the file `to`.
fn unpack(found: &Payload, packed: &[u8], to: &Path, image: &Path) -> Result<(), Failure> {
    let (program, words) = found.packing.program();
    let failed = |text: String| Failure::new(FAILED, format!("{}: {text}", image.display()));
    let file = File::create(to)
        .map_err(|error| Failure::new(FAILED, format!("cannot write {}: {error}", to.display())))?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let text = format!("{program} is needed to unpack {}: {error}", image.display());
        Failure::new(if missing { NO_PROGRAM } else { FAILED }, text)
    })?;
    let pipe = child.stdin.take();
    let (fed, output) = thread::scope(|scope| {
        let feeder = scope.spawn(move || match pipe {
            Some(mut pipe) => pipe.write_all(packed),
            None => Ok(()),
        });
        let output = child.wait_with_output();
        (feeder.join(), output)
    });
    let output = output?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("{program} failed: {}", said.trim())));
    }
    if !matches!(fed, Ok(Ok(()))) {
        return Err(failed(format!("{program} did not take all of it")));
    }
    let length = file.metadata()?.len();
    if found.unpacked.is_some_and(|wanted| length & 0xffff_ffff != u64::from(wanted)) {
        return Err(failed(format!(
            "{program} gave {length} bytes, which is not the whole kernel"
        )));
    }
    file.sync_all()?;
    Ok(())
}
