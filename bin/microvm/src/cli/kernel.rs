// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm kernel extract`: the uncompressed kernel out of a compressed one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plinth::err::{FAILED, Failure};
use plinth::proc::Limits;
use rustix::fs::{MemfdFlags, memfd_create};

use super::load::{first_word, no_action, usage};
use super::{Args, NOT_FOUND, World, tool};
use crate::kernel::{Payload, payload};

/// The largest image that is read: ten times what distributions have.
const IMAGE_MAX: usize = 256 << 20;
/// The largest kernel that comes out of one.
const UNPACKED_MAX: usize = 1 << 30;
/// A program that unpacks may take this long, and give this much.
const UNPACKING: Limits = Limits { time: Duration::from_secs(600), output: UNPACKED_MAX };

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

/// Gives the packed bytes to the program that knows them; its output becomes the file `to`.
fn unpack(found: &Payload, packed: &[u8], to: &Path, image: &Path) -> Result<(), Failure> {
    let (program, words) = found.packing.program();
    let failed = |text: String| Failure::new(FAILED, format!("{}: {text}", image.display()));
    let mut input = File::from(memfd_create(c"packed", MemfdFlags::CLOEXEC)?);
    input.write_all(packed)?;
    input.rewind()?;
    let mut command = Command::new(program);
    command.args(words);
    let purpose = format!("to unpack {}", image.display());
    let kernel = tool::run(command, Some(input.into()), UNPACKING, &purpose)
        .map_err(|failure| Failure::new(failure.exit, format!("{}: {failure}", image.display())))?;
    let length = kernel.len();
    if found.unpacked.is_some_and(|wanted| length as u64 & 0xffff_ffff != u64::from(wanted)) {
        return Err(failed(format!(
            "{program} gave {length} bytes, which is not the whole kernel"
        )));
    }
    let written = File::create(to).and_then(|mut file| {
        file.write_all(&kernel)?;
        file.sync_all()
    });
    written.map_err(|error| Failure::new(FAILED, format!("cannot write {}: {error}", to.display())))
}
