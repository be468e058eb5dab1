// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal mkvolume`: makes the image of a volume, with a file system, where there is none.
//!
//! An image appears whole, under its name, or not at all: it is made under another name, which a
//! lock tells apart from what a run that was killed left behind. What exists is never touched.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plinth::err::{FAILED, Failure, tell};
use plinth::proc::{self, Limits};
use plinth::sys::exec;
use plinth::text::escape_control;
use rustix::fs::{CWD, FlockOperation, IFlags, OFlags, RenameFlags};
use rustix::process::Signal;

use super::{Call, find_program, usage};
use crate::cli::{CONFLICT, NO_PROGRAM, World};

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;
/// The program that makes a file system may take this long, and say this much.
const MKFS: Limits = Limits { time: Duration::from_secs(3600), output: 1 << 20 };

/// A file system that can be made: its name, the option for the label, the bytes of a label.
struct Kind {
    name: &'static str,
    label: &'static str,
    label_max: usize,
}

const KINDS: &[Kind] = &[
    Kind { name: "ext2", label: "-L", label_max: 16 },
    Kind { name: "ext3", label: "-L", label_max: 16 },
    Kind { name: "ext4", label: "-L", label_max: 16 },
    Kind { name: "xfs", label: "-L", label_max: 12 },
    Kind { name: "btrfs", label: "-L", label_max: 255 },
    Kind { name: "vfat", label: "-n", label_max: 11 },
];

/// Why there is no image.
#[derive(Debug)]
enum VolumeError {
    /// The directory of the image does not exist.
    NoDirectory(PathBuf),
    /// Another process makes the same image.
    Busy(PathBuf),
    /// The program that makes the file system is not installed; what asks for it.
    NoProgram(String, String),
    /// That program failed, saying this.
    Mkfs(String, String),
    /// The system refused an operation.
    Io(&'static str, PathBuf, io::Error),
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDirectory(path) => write!(f, "the directory {} is missing", path.display()),
            Self::Busy(path) => write!(f, "another process is making {}", path.display()),
            Self::NoProgram(program, key) => {
                write!(f, "{program} not found, needed by {key}.fsType")
            }
            Self::Mkfs(program, words) => write!(f, "{program} failed: {words}"),
            Self::Io(what, path, _) => write!(f, "cannot {what} {}", path.display()),
        }
    }
}

impl std::error::Error for VolumeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, _, error) => Some(error),
            _ => None,
        }
    }
}

impl VolumeError {
    /// What `main` reports, with the status that stands for the error.
    fn failure(self) -> Failure {
        let status = match self {
            Self::NoProgram(..) => NO_PROGRAM,
            Self::Busy(_) => CONFLICT,
            _ => FAILED,
        };
        Failure::new(status, self)
    }
}

fn failed<'a, E: Into<io::Error>>(
    what: &'static str,
    path: &'a Path,
) -> impl Fn(E) -> VolumeError + 'a {
    move |error| VolumeError::Io(what, path.to_owned(), error.into())
}

/// An image to be.
struct Volume<'a> {
    image: PathBuf,
    size: u64,
    kind: &'static Kind,
    label: Option<String>,
    key: String,
    /// More words for the program that makes the file system.
    extra: &'a [OsString],
}

pub(super) fn run(call: &Call<'_>, world: &World<'_>) -> Result<u8, Failure> {
    let options = call.options;
    let Some((image, extra)) = call.words.split_first() else {
        return Err(usage("argument IMAGE is missing"));
    };
    let name = call.need(options.fs.as_ref(), "fs")?;
    let kind = KINDS.iter().find(|kind| kind.name == name);
    let kind = kind.ok_or_else(|| usage(format!("no file system {name} can be made")))?;
    let mib = call.need(options.size_mib.as_ref(), "size-mib")?;
    let size = mib.checked_mul(MIB).filter(|size| *size > 0);
    let volume = Volume {
        image: image.into(),
        size: size.ok_or_else(|| usage("option --size-mib: out of range"))?,
        kind,
        label: options.label.as_deref().map(|label| label_for(kind, label)).transpose()?,
        key: options.key.clone().unwrap_or_else(|| "this volume".to_owned()),
        extra,
    };
    volume.ensure(options.name.as_deref(), (world.env)("PATH")).map_err(VolumeError::failure)?;
    Ok(0)
}

/// The label as the file system has it.
fn label_for(kind: &Kind, label: &str) -> Result<String, Failure> {
    if label.len() > kind.label_max {
        let (name, max) = (kind.name, kind.label_max);
        return Err(usage(format!("option --label: {name} has labels of at most {max} bytes")));
    }
    let upper = label.to_ascii_uppercase();
    if kind.name == "vfat" && upper != label {
        notice(&format!("vfat has labels in capitals: {upper}"));
        return Ok(upper);
    }
    Ok(label.to_owned())
}

fn notice(text: &str) {
    tell(format_args!("microvm: {}", escape_control(text)));
}

impl Volume<'_> {
    fn ensure(&self, name: Option<&str>, path: Option<OsString>) -> Result<(), VolumeError> {
        if self.exists(name)? {
            return Ok(());
        }
        match self.image.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) if !parent.is_dir() => Err(VolumeError::NoDirectory(parent.to_owned())),
            _ => self.make(path),
        }
    }

    /// Whether the image is there, of whatever kind; says how it can grow when it is too small.
    fn exists(&self, name: Option<&str>) -> Result<bool, VolumeError> {
        match fs::symlink_metadata(&self.image) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("look at", &self.image)(error)),
        }
        if let Ok(found) = fs::metadata(&self.image) {
            if found.is_file() && found.len() < self.size {
                // A machine's working directory has its name.
                let here = std::env::current_dir().ok();
                let here = here.as_deref().and_then(Path::file_name).map(|it| it.to_string_lossy());
                let name = name.map(Into::into).or(here).unwrap_or_else(|| "NAME".into());
                let (there, wanted) = (found.len() / MIB, self.size / MIB);
                let image = self.image.display();
                notice(&format!(
                    "{image} has {there} MiB, less than the {wanted} MiB of its description; \
                     to grow it: microvm volume grow {name} {image}"
                ));
            }
        }
        Ok(true)
    }

    fn make(&self, path: Option<OsString>) -> Result<(), VolumeError> {
        let program = format!("mkfs.{}", self.kind.name);
        let Some(found) = find_program(&program, path) else {
            return Err(VolumeError::NoProgram(program, self.key.clone()));
        };
        let mut partial = self.image.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let Some(file) = self.claim(&partial)? else { return Ok(()) };
        let made = self.fill(&file, &partial, &found, program);
        if made.is_err() {
            // It is ours. What cannot be removed now is taken for stale by the next run.
            drop(fs::remove_file(&partial));
        }
        made
    }

    /// Makes the file under its temporary name, and locks it; `None` when the image came to be in
    /// the meantime.
    fn claim(&self, partial: &Path) -> Result<Option<File>, VolumeError> {
        loop {
            let mut options = File::options();
            options.read(true).write(true).mode(0o600);
            // A link that leads nowhere is there to the first call below, and is not to the second.
            options.custom_flags(i32::from_ne_bytes(OFlags::NOFOLLOW.bits().to_ne_bytes()));
            let (file, fresh) = match options.clone().create_new(true).open(partial) {
                Ok(file) => (file, true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    match options.open(partial) {
                        Ok(file) => (file, false),
                        Err(error) if error.kind() == ErrorKind::NotFound => continue,
                        Err(error) => return Err(failed("open", partial)(error)),
                    }
                }
                Err(error) => return Err(failed("create", partial)(error)),
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(VolumeError::Busy(self.image.clone()));
                }
                Err(errno) => return Err(failed("lock", partial)(errno)),
            }
            // Between the two calls another run may have removed it, or given it its name.
            let ours = file.metadata().map_err(failed("look at", partial))?;
            let same = fs::symlink_metadata(partial).is_ok_and(|it| it.ino() == ours.ino());
            if !same {
                if fs::symlink_metadata(&self.image).is_ok() {
                    return Ok(None);
                }
            } else if fresh {
                return Ok(Some(file));
            } else {
                fs::remove_file(partial).map_err(failed("remove", partial))?;
            }
        }
    }

    fn fill(
        &self,
        file: &File,
        partial: &Path,
        program: &Path,
        name: String,
    ) -> Result<(), VolumeError> {
        // Before the first byte, or it has no effect. Few file systems know it; no image needs it.
        if let Ok(flags) = rustix::fs::ioctl_getflags(file) {
            let _ = rustix::fs::ioctl_setflags(file, flags | IFlags::NOCOW);
        }
        file.set_len(self.size).map_err(failed("grow", partial))?;
        let mut command = Command::new(program);
        if let Some(label) = &self.label {
            command.arg(self.kind.label).arg(label);
        }
        // A name that begins with a dash is no option.
        let image =
            if partial.is_absolute() { partial.to_owned() } else { Path::new(".").join(partial) };
        command.args(self.extra).arg(image);
        exec::die_with_parent(&mut command, Signal::KILL);
        let output = proc::run(command, MKFS).map_err(failed("start", program))?;
        if !output.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(VolumeError::Mkfs(name, escape_control(&words).into_owned()));
        }
        file.sync_all().map_err(failed("synchronise", partial))?;
        let noreplace = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(CWD, partial, CWD, &self.image, noreplace) {
            // Not every file system can promise that.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                fs::rename(partial, &self.image).map_err(failed("rename", partial))?;
            }
            renamed => renamed.map_err(failed("rename", partial))?,
        }
        let parent = self.image.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        File::open(parent).and_then(|it| it.sync_all()).map_err(failed("synchronise", parent))
    }
}
