// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm image`: root images made of directories, and held to them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plinth::err::{FAILED, Failure};
use plinth::proc::Limits;

use super::load::{no_action, usage, valid_without_files};
use super::{Args, CONFLICT, World, tool};
use crate::build as packages;
use crate::config::{Vm, made_image};
use crate::image::{Kind, Plan, content_hash};
use crate::package::Hash;

/// The program that makes an image may take this long, and say this much: some show progress.
const MAKING: Limits = Limits { time: Duration::from_secs(3600), output: 16 << 20 };

/// An image to be made.
struct Wanted {
    source: PathBuf,
    kind: Kind,
    flags: Vec<String>,
    /// Where it goes; the content's hash takes the place of `{}`.
    out: PathBuf,
    /// The link that leads to it.
    link: Option<PathBuf>,
}

/// `microvm image`
pub(super) fn image(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let words: Vec<&Path> = args.words.iter().skip(1).map(Path::new).collect();
    let action = args.words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    match (action.as_ref(), words.as_slice()) {
        ("build", [source]) => {
            for wanted in wanted(source, args)? {
                let path = build(&wanted, args)?;
                if let Some(link) = &wanted.link {
                    lead(link, &path)?;
                }
                world.print(&format!("{}\n", path.display()))?;
            }
            Ok(0)
        }
        ("verify", _) if args.out.is_some() => Err(usage("option --out is not for image verify")),
        ("verify", _) if !args.set.is_empty() => Err(usage("option --set is not for image verify")),
        ("verify", [image, source]) => verify(image, source, args, world),
        ("build", _) => Err(usage("image build needs one directory or description")),
        ("verify", _) => Err(usage("image verify needs an image and its directory")),
        _ => Err(no_action("image", &action, "build and verify")),
    }
}

/// What a directory, or the machines of a description, ask for.
fn wanted(source: &Path, args: &Args) -> Result<Vec<Wanted>, Failure> {
    let given = args.image.kind;
    if source.is_dir() {
        if !args.set.is_empty() {
            let source = source.display();
            return Err(usage(format!("--set is for descriptions; {source} is a directory")));
        }
        let kind = given.unwrap_or_default();
        let out = args.out.clone();
        let out = out.unwrap_or_else(|| PathBuf::from(format!("image-{{}}.{}", kind.name())));
        return Ok(vec![Wanted {
            source: source.to_owned(),
            kind,
            flags: flags(kind, args),
            out,
            link: None,
        }]);
    }
    let loaded = valid_without_files(source.as_os_str(), args)?;
    let of = |vm: &Vm| {
        let directory = vm.store_disk_source.as_ref()?;
        let kind = given.or_else(|| Kind::by_name(&vm.store_disk_type)).unwrap_or_default();
        let flags = match kind {
            Kind::Erofs => vm.store_disk_erofs_flags.clone(),
            Kind::Squashfs => vm.store_disk_squashfs_flags.clone(),
        };
        let name = format!("{}-{{}}.{}", vm.host_name, kind.name());
        let out = args.out.clone().unwrap_or_else(|| source.with_file_name(name));
        // By this name the description has the image, unless it says another.
        let base = packages::absolute(source.parent().unwrap_or(source)).ok()?;
        let link = made_image(&base, &vm.host_name, kind.name());
        let is_used = args.out.is_none() && vm.store_disk.as_ref() == Some(&link);
        let link = is_used.then(|| PathBuf::from(link));
        Some(Wanted { source: PathBuf::from(directory), kind, flags, out, link })
    };
    let all: Vec<Wanted> = loaded.machines.iter().filter_map(|machine| of(&machine.vm)).collect();
    if all.is_empty() {
        return Err(usage(format!("{}: no machine has storeDiskSource", source.display())));
    }
    Ok(all)
}

/// The flags of an image that no description speaks of.
fn flags(kind: Kind, args: &Args) -> Vec<String> {
    let words: &[&str] = match kind {
        _ if !args.image.flags.is_empty() => return args.image.flags.clone(),
        Kind::Erofs => &["-zlz4hc"],
        Kind::Squashfs => &["-comp", "zstd"],
    };
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Makes the image, whole or not at all; its path.
fn build(wanted: &Wanted, args: &Args) -> Result<PathBuf, Failure> {
    let hash = hash(&wanted.source)?;
    let name = wanted.out.file_name().unwrap_or_default().to_string_lossy();
    let name = name.replace("{}", &hash.directory());
    let out = wanted.out.with_file_name(&name);
    let partial = out.with_file_name(format!("{name}.partial"));
    // A killed run may have left one.
    drop(fs::remove_file(&partial));
    let made = make(wanted, args, &hash, &partial);
    match made.and_then(|()| Ok(fs::rename(&partial, &out)?)) {
        Ok(()) => Ok(out),
        Err(failure) => {
            drop(fs::remove_file(&partial));
            Err(failure)
        }
    }
}

/// Makes `link` lead to the image beside it, in one step.
fn lead(link: &Path, image: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(FAILED, format!("cannot make the link {}: {error}", link.display()))
    };
    if fs::symlink_metadata(link).is_ok_and(|it| !it.is_symlink()) {
        let text = format!("{} is in the way; set storeDisk to it, or remove it", link.display());
        return Err(Failure::new(CONFLICT, text));
    }
    let mut name = link.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = link.with_file_name(name);
    // A killed run may have left one.
    drop(fs::remove_file(&partial));
    symlink(image.file_name().unwrap_or_default(), &partial).map_err(failed)?;
    fs::rename(&partial, link).map_err(failed)
}

fn hash(source: &Path) -> Result<Hash, Failure> {
    content_hash(source).map_err(|(path, error)| {
        Failure::new(FAILED, format!("cannot read {}: {error}", path.display()))
    })
}

fn make(wanted: &Wanted, args: &Args, hash: &Hash, to: &Path) -> Result<(), Failure> {
    let program = wanted.kind.program();
    let plan = Plan {
        kind: wanted.kind,
        flags: &wanted.flags,
        label: args.image.label.as_deref(),
        source: &wanted.source,
    };
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command
        .args(plan.words(hash, to))
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        // mksquashfs takes times from here or from its options, and refuses both.
        .env_remove("SOURCE_DATE_EPOCH");
    let purpose = format!("for {} images", wanted.kind.name());
    tool::run(command, None, MAKING, &purpose).map_err(|failure| {
        // What programs say whose C library reads their options.
        let is_unknown = failure.to_string().contains("invalid option -- 'L'");
        if args.image.label.is_some() && is_unknown {
            let text = format!("--label needs {program} 1.7; the one here does not know -L");
            return Failure::new(FAILED, text);
        }
        failure
    })?;
    File::open(to)?.sync_all()?;
    Ok(())
}

/// Makes the image once more, and compares.
fn verify(image: &Path, source: &Path, args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let extension = image.extension().and_then(|it| it.to_str()).and_then(Kind::by_name);
    let kind = args.image.kind.or(extension).unwrap_or_default();
    let mut name = image.file_name().unwrap_or_default().to_owned();
    name.push(".verify");
    let again = image.with_file_name(name);
    let wanted = Wanted {
        source: source.to_owned(),
        kind,
        flags: flags(kind, args),
        out: again.clone(),
        link: None,
    };
    let hash = hash(source)?;
    let made = make(&wanted, args, &hash, &again);
    let same = made.and_then(|()| Ok(digest(image)? == digest(&again)?));
    drop(fs::remove_file(&again));
    let same = same?;
    let word = if same { "is what the directory gives" } else { "differs from the directory" };
    world.print(&format!("{}: {word}\n", image.display()))?;
    Ok(if same { 0 } else { FAILED })
}

/// The hash of a file.
fn digest(path: &Path) -> Result<[u8; 32], Failure> {
    use std::io::Read as _;
    let failed = |error: io::Error| {
        let status =
            if error.kind() == io::ErrorKind::NotFound { super::NOT_FOUND } else { FAILED };
        Failure::new(status, format!("cannot read {}: {error}", path.display()))
    };
    let mut hash = hmac_sha256::Hash::new();
    let mut file = File::open(path).map_err(failed)?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        match file.read(&mut bytes).map_err(failed)? {
            0 => return Ok(hash.finalize()),
            count => hash.update(bytes.get(..count).unwrap_or_default()),
        }
    }
}
