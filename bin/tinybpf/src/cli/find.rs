// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From references to handles, and walks over all that is in the kernel.
//!
//! Identifiers vanish while they are walked: what is gone by the time it is opened is skipped.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plinth::sorting;

use crate::bpffs::{self, What};
use crate::btf::Btf;
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::ids::{self, Table};
use crate::link::Link;
use crate::map::Map;
use crate::program::Program;
use crate::reference::Reference;

/// Bytes of a name that the kernel keeps.
const NAME_MAX: usize = 15;
/// How deep directories of pins may be nested; bpffs has no links that lead back.
const DEPTH_MAX: usize = 16;

/// A name as the kernel keeps it.
fn cut(name: &str) -> &str {
    name.get(..NAME_MAX).unwrap_or(name)
}

/// The only one of `found`; else an error that lists the candidates.
fn only<T>(what: &str, reference: &Reference, mut found: Vec<(u32, T)>) -> Result<T> {
    let error = |kind| Error::new(kind, Op::Find, reference.to_string());
    match found.pop() {
        None => Err(error(Kind::NotFound).with_detail(format!("no such {what} in the kernel"))),
        Some((_, only)) if found.is_empty() => Ok(only),
        Some((last, _)) => {
            let mut ids: Vec<String> = found.iter().map(|(id, _)| id.to_string()).collect();
            ids.push(last.to_string());
            let detail = format!("several {what}s have it: id {}", ids.join(", id "));
            Err(error(Kind::InvalidArgument).with_detail(detail))
        }
    }
}

/// The program that `reference` names.
pub(super) fn program(reference: &Reference) -> Result<Program> {
    match reference {
        Reference::Id(id) => Program::from_id(*id),
        Reference::Pin(path) => Program::from_pin(Path::new(path)),
        Reference::Name(name) => {
            pick("program", reference, ids::programs(), |program| program.name() == cut(name))
        }
        Reference::Tag(tag) => pick("program", reference, ids::programs(), |program| {
            program.info().is_ok_and(|info| info.tag == *tag)
        }),
    }
}

/// The map that `reference` names.
pub(super) fn map(reference: &Reference) -> Result<Map> {
    match reference {
        Reference::Id(id) => Map::from_id(*id),
        Reference::Pin(path) => Map::from_pin(Path::new(path)),
        Reference::Name(name) => pick("map", reference, ids::maps(), |map| map.name() == cut(name)),
        Reference::Tag(_) => Err(unnamed("maps have no tags", reference)),
    }
}

/// The one of `all` that `fits`.
fn pick<T>(
    what: &str,
    reference: &Reference,
    all: impl Iterator<Item = Result<(u32, T)>>,
    fits: impl Fn(&T) -> bool,
) -> Result<T> {
    let found = all.filter(|it| it.as_ref().map_or(true, |(_, it)| fits(it)));
    only(what, reference, found.collect::<Result<_>>()?)
}

/// The link that `reference` names.
pub(super) fn link(reference: &Reference) -> Result<Link> {
    match reference {
        Reference::Id(id) => Link::from_id(*id),
        Reference::Pin(path) => Link::from_pin(Path::new(path)),
        _ => Err(unnamed("links are found by id or pin", reference)),
    }
}

fn unnamed(why: &'static str, reference: &Reference) -> Error {
    Error::new(Kind::InvalidArgument, Op::Find, reference.to_string()).with_detail(why)
}

/// The table of types with this identifier; of a module: laid over the kernel's.
pub(super) fn btf(id: u32) -> Result<Arc<Btf>> {
    let table = Table::from_id(id)?;
    if !table.is_kernel || table.name == "vmlinux" {
        return table.parse();
    }
    let parsed = Btf::parse_split(&table.bytes, Arc::new(kernel_btf()?));
    parsed.map(Arc::new).map_err(|error| {
        Error::new(Kind::Type, Op::Parse, format!("BTF {id}")).with_detail(error.to_string())
    })
}

/// The types that the events of a map may have: those of a program that uses it, since the kernel
/// keeps none for buffers.
pub(super) fn btf_of_events(map: &Map) -> Result<Option<Arc<Btf>>> {
    let info = map.info()?;
    if info.btf != 0 {
        return btf(info.btf).map(Some);
    }
    for item in ids::programs() {
        let Ok(user) = item.and_then(|(_, program)| program.info()) else { continue };
        if user.btf != 0 && user.map_ids.contains(&info.id) {
            return btf(user.btf).map(Some);
        }
    }
    Ok(None)
}

/// The kernel's own types.
pub(super) fn kernel_btf() -> Result<Btf> {
    const PATH: &str = "/sys/kernel/btf/vmlinux";
    let bytes = std::fs::read(PATH).map_err(|error| {
        let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
        Error::from_errno(errno, Op::Read, PATH)
            .with_kind(Kind::NoKernelBtf)
            .with_detail("this kernel does not show its types")
    })?;
    Btf::parse(&bytes)
        .map_err(|error| Error::new(Kind::Type, Op::Parse, PATH).with_detail(error.to_string()))
}

/// A pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    /// Where.
    pub(super) path: PathBuf,
    /// What is pinned.
    pub(super) what: What,
    /// Its identifier.
    pub(super) id: u32,
}

/// The pins below a directory, by path; those that are gone meanwhile are left out.
///
/// # Errors
/// [`Kind::Permission`] and [`Kind::Unsupported`]: what may not be opened is no less there.
pub(super) fn pins(directory: &Path) -> Result<Vec<Pin>> {
    let mut found = Vec::new();
    walk(directory, DEPTH_MAX, &mut found)?;
    sorting::sort_by_key(&mut found, |pin: &Pin| pin.path.clone());
    Ok(found)
}

/// The pins that are directly in `directory`, in the order of their paths.
///
/// # Errors
/// As for [`pins`].
pub(super) fn pins_in(directory: &Path) -> Result<Vec<Pin>> {
    let mut found = Vec::new();
    walk(directory, 0, &mut found)?;
    sorting::sort_by_key(&mut found, |pin: &Pin| pin.path.clone());
    Ok(found)
}

fn walk(directory: &Path, depth: usize, found: &mut Vec<Pin>) -> Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let subject = directory.display().to_string();
            return Err(Error::from_errno(Errno::ACCES, Op::Open, subject));
        }
        Err(_) => return Ok(()),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|it| it.is_dir());
        if is_directory && depth > 0 {
            walk(&path, depth - 1, found)?;
        } else {
            found.extend(pin_at(path)?);
        }
    }
    Ok(())
}

fn pin_at(path: PathBuf) -> Result<Option<Pin>> {
    let fd = match bpffs::open(&path) {
        Err(error) if matches!(error.kind(), Kind::Permission | Kind::Unsupported) => {
            return Err(error);
        }
        opened => opened.ok(),
    };
    Ok(fd.and_then(|fd| {
        let what = bpffs::what_is(fd.as_fd())?;
        let id = id_of(what, fd.as_fd())?;
        Some(Pin { path, what, id })
    }))
}

/// The identifier of what a descriptor stands for.
pub(super) fn id_of(what: What, fd: BorrowedFd<'_>) -> Option<u32> {
    match what {
        What::Program => crate::sys::program::info(fd).ok().map(|info| info.id),
        What::Map => crate::sys::map::info(fd).ok().map(|info| info.id),
        What::Link => crate::sys::link::info(fd).ok().map(|info| info.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_several_is_answered_with_all_of_them() {
        let reference = Reference::Name("x".to_owned());
        assert_eq!(only("map", &reference, vec![(3, 'a')]).expect("one"), 'a');
        let error = only("map", &reference, vec![(3, 'a'), (9, 'b')]).expect_err("two");
        assert_eq!(error.to_string(), "find 'name x': several maps have it: id 3, id 9");
        let error = only::<char>("map", &reference, vec![]).expect_err("none");
        assert_eq!(error.kind(), Kind::NotFound);
    }

    #[test]
    fn names_are_cut_as_the_kernel_does() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut("a_very_long_name_of_a_map"), "a_very_long_nam");
    }
}
