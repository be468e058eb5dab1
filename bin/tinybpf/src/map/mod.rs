// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Maps: handles, information, elements.
//!
//! Owns the checks that make an error out of a mistake before the kernel is asked (lengths, wrong
//! kinds of access), and the meaning of the kernel's numbers per type of map. Elements are bytes
//! here; what they mean is in [`crate::value`]. A map of an object keeps the object open; one
//! from a pin, an identifier or [`Map::create`] owns its descriptor.

mod batch;
mod iter;
mod percpu;
mod typed;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

pub use crate::sys::map::Info as MapInfo;
pub use crate::sys::object::Shape;
pub use batch::BATCH;
pub use iter::{Iter, STEPS_EXTRA};
pub use percpu::Summand;
pub use typed::{DynamicMap, TypedMap};

use crate::bpffs::{self, What, c_text};
use crate::diagnosis::permission::Refused;
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::host::explained;
use crate::ids;
use crate::kinds::MapType;
use crate::sys::map::{self as sys, Creation, Elements};
use crate::sys::object::{Fd, Handle};
use crate::sys::program::Sort;

/// How an element is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u64);

impl Flags {
    /// Whether or not the key exists.
    pub const ANY: Self = Self(0);
    /// Only a new key.
    pub const NOEXIST: Self = Self(1);
    /// Only an existing key; for queues: push out the oldest element when full.
    pub const EXIST: Self = Self(2);
    /// Under the spin lock that the value contains.
    pub const LOCK: Self = Self(4);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where a handle came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An object that was loaded here.
    Object,
    /// A pin.
    Pin,
    /// An identifier.
    Id,
    /// Created here.
    Created,
}

/// A map.
#[derive(Debug)]
pub struct Map {
    elements: Elements,
    name: String,
    shape: Shape,
    origin: Origin,
}

/// What a map of one's own is to be.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    /// Its name, of letters, digits, `_` and `.`; 15 bytes of it are kept.
    pub name: &'a str,
    /// Its type.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// The most elements.
    pub max_entries: u32,
    /// Creation flags (`BPF_F_..`).
    pub flags: u32,
    /// What the type makes of it.
    pub extra: u64,
    /// The template of the maps in it.
    pub inner: Option<&'a Map>,
}

impl Map {
    /// The map of this index in a loaded object; `None` for one that was not created.
    pub(crate) fn of_object(handle: &Arc<Handle>, index: usize) -> Option<Self> {
        let (elements, info) = Elements::new(handle.keep_map(index)?).ok()?;
        let name = handle.map_name(index);
        // Ids of types in the object's own table, which is at hand; the kernel's copy is not.
        let declared = handle.map_shape(index);
        let shape =
            Shape { key_type: declared.key_type, value_type: declared.value_type, ..info.shape };
        Some(Self { elements, name, shape, origin: Origin::Object })
    }

    /// Opens a pinned map.
    ///
    /// # Errors
    /// As for [`bpffs::open`]; [`Kind::Mismatch`] for the pin of something else.
    pub fn from_pin(path: &Path) -> Result<Self> {
        let fd = bpffs::open_as(path, What::Map)?;
        Self::standalone(fd, Origin::Pin, &path.display().to_string())
    }

    /// Opens the map with an identifier.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Permission`].
    pub fn from_id(id: u32) -> Result<Self> {
        let (fd, subject) = ids::open(Sort::Map, id)?;
        Self::standalone(fd, Origin::Id, &subject)
    }

    /// Makes a map that belongs to no object.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] for sizes that the type cannot have; [`Kind::Unsupported`],
    /// [`Kind::Permission`], [`Kind::Limit`].
    pub fn create(spec: &Spec<'_>) -> Result<Self> {
        check_spec(spec)?;
        let name = kernel_name(spec.name)?;
        let mut max_entries = spec.max_entries;
        if spec.map_type == MapType::PERF_EVENT_ARRAY && max_entries == 0 {
            let cpus = crate::sys::system::possible_cpus();
            max_entries = u32::try_from(cpus).unwrap_or(u32::MAX);
        }
        let mut flags = spec.flags;
        if spec.map_type == MapType::LPM_TRIE {
            flags |= libbpf_sys::BPF_F_NO_PREALLOC;
        }
        let creation = Creation {
            name: Some(&name),
            shape: Shape {
                map_type: spec.map_type.0,
                key_size: spec.key_size,
                value_size: spec.value_size,
                max_entries,
                flags,
                extra: spec.extra,
                ..Shape::default()
            },
            inner: spec.inner.map(Map::as_fd),
            ..Creation::default()
        };
        let fd = sys::create(&creation).map_err(|errno| created_error(errno, spec))?;
        Self::standalone(fd, Origin::Created, spec.name)
    }

    fn standalone(fd: OwnedFd, origin: Origin, subject: &str) -> Result<Self> {
        let (elements, info) = Elements::new(Fd::Owned(fd))
            .map_err(|errno| Error::from_errno(errno, Op::Info, subject))?;
        Ok(Self { elements, name: info.name, shape: info.shape, origin })
    }

    /// A second handle with its own descriptor, which needs no object.
    ///
    /// # Errors
    /// [`Kind::Limit`] when the process is out of descriptors.
    pub fn try_clone(&self) -> Result<Self> {
        let error = |errno| Error::from_errno(errno, Op::Open, self.name.clone());
        let fd = rustix::io::fcntl_dupfd_cloexec(self.as_fd(), 3).map_err(|e| error(e.into()))?;
        let (elements, _) = Elements::new(Fd::Owned(fd)).map_err(error)?;
        Ok(Self { elements, name: self.name.clone(), shape: self.shape, origin: self.origin })
    }

    /// The map's name: in full for a map of an object, else what the kernel kept of it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    #[must_use]
    pub const fn map_type(&self) -> MapType {
        MapType(self.shape.map_type)
    }

    /// Its shape. The types are ids in the table of its object, or in the kernel's copy of that
    /// table ([`MapInfo::btf`]) for a map that came without an object.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes of a key.
    #[must_use]
    pub const fn key_size(&self) -> usize {
        self.elements.key_size()
    }

    /// Bytes of a value; of one slot, where there is one for each CPU.
    #[must_use]
    pub const fn value_size(&self) -> usize {
        if self.is_percpu() { self.shape.value_size as usize } else { self.elements.value_size() }
    }

    /// The most elements.
    #[must_use]
    pub const fn max_entries(&self) -> u32 {
        self.shape.max_entries
    }

    /// Whether a value has one slot per possible CPU.
    #[must_use]
    pub const fn is_percpu(&self) -> bool {
        self.map_type().is_percpu()
    }

    /// Where the handle came from.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The map's descriptor.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.elements.as_fd()
    }

    /// What the kernel says of the map now.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn info(&self) -> Result<MapInfo> {
        sys::info(self.as_fd()).map_err(|errno| self.error(errno, Op::Info))
    }

    /// Whether user space may no longer write, and the bytes of kernel memory it takes; as far as
    /// `/proc` tells.
    #[must_use]
    pub fn frozen_and_memory(&self) -> (Option<bool>, Option<u64>) {
        use std::os::fd::AsRawFd as _;
        let path = format!("/proc/self/fdinfo/{}", self.as_fd().as_raw_fd());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(':')?.trim().parse::<u64>().ok()
        };
        (field("frozen").map(|frozen| frozen != 0), field("memlock"))
    }

    fn error(&self, errno: Errno, op: Op) -> Error {
        let error = Error::from_errno(errno, op, self.name.clone());
        let of_type = |text: &str| format!("{text} by maps of type {}", self.map_type());
        match (errno, op) {
            (Errno::NOTSUPP | Errno::OPNOTSUPP, _) => {
                error.with_detail(of_type("operation not supported"))
            }
            (Errno::TOO_BIG, Op::Update) if self.is_array() => error
                .with_kind(Kind::OutOfRange)
                .with_detail(format!("the map has {} elements", self.max_entries())),
            (Errno::TOO_BIG, Op::Update) => {
                let text = format!("the map is full ({} elements)", self.max_entries());
                error.with_kind(Kind::Full).with_detail(text)
            }
            (Errno::PERM, Op::Update | Op::Delete) => {
                error.with_kind(Kind::ReadOnly).with_detail("the map is frozen or read-only")
            }
            (Errno::EXIST, Op::Update) => error.with_detail("the key exists already"),
            (Errno::NOENT, Op::Update) => {
                error.with_kind(Kind::NotFound).with_detail("the key does not exist")
            }
            (Errno::INVAL, Op::Delete) if self.is_array() => error
                .with_kind(Kind::Unsupported)
                .with_detail("elements of an array cannot be deleted"),
            (Errno::INVAL, Op::Lookup | Op::Update | Op::Delete) => {
                error.with_kind(Kind::Unsupported).with_detail(of_type("not possible"))
            }
            _ => error,
        }
    }

    const fn is_array(&self) -> bool {
        matches!(
            self.map_type(),
            MapType::ARRAY
                | MapType::PERCPU_ARRAY
                | MapType::PROG_ARRAY
                | MapType::PERF_EVENT_ARRAY
                | MapType::CGROUP_ARRAY
                | MapType::ARRAY_OF_MAPS
        )
    }

    fn check_key(&self, key: &[u8], op: Op) -> Result<()> {
        let (got, want) = (key.len(), self.key_size());
        if got == want { Ok(()) } else { Err(self.size_error("key", got, want, op)) }
    }

    fn check_value(&self, got: usize, op: Op) -> Result<()> {
        if self.is_percpu() {
            let detail = "the map has a value per CPU: use the per-CPU operations";
            return Err(
                Error::new(Kind::InvalidArgument, op, self.name.clone()).with_detail(detail)
            );
        }
        let want = self.value_size();
        if got == want { Ok(()) } else { Err(self.size_error("value", got, want, op)) }
    }

    fn size_error(&self, what: &str, got: usize, want: usize, op: Op) -> Error {
        let detail = format!("the {what} has {got} bytes, the map wants {want}");
        Error::new(Kind::Mismatch, op, self.name.clone()).with_detail(detail)
    }

    /// The value of `key`; `None` when there is none. Without a key (queue, stack): the next
    /// element, left in place.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] for a wrong length, [`Kind::InvalidArgument`] for a per-CPU map,
    /// [`Kind::Unsupported`] for a type without look-up.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_size()];
        Ok(self.get_into(key, &mut value)?.then_some(value))
    }

    /// The same into a buffer of exactly the value's size; `false` when there is none.
    ///
    /// # Errors
    /// As for [`Map::get`].
    pub fn get_into(&self, key: &[u8], value: &mut [u8]) -> Result<bool> {
        self.check_key(key, Op::Lookup)?;
        self.check_value(value.len(), Op::Lookup)?;
        self.found(self.elements.lookup(key, value, 0), Op::Lookup)
    }

    fn found(&self, result: std::result::Result<(), Errno>, op: Op) -> Result<bool> {
        match result {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.error(errno, op)),
        }
    }

    /// Whether there is a value for `key`; for a bloom filter: whether `key` was probably pushed.
    ///
    /// # Errors
    /// As for [`Map::get`].
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        if self.map_type() == MapType::BLOOM_FILTER {
            self.check_value(key.len(), Op::Lookup)?;
            let mut value = key.to_vec();
            return self.found(self.elements.lookup(&[], &mut value, 0), Op::Lookup);
        }
        self.check_key(key, Op::Lookup)?;
        let mut value = vec![0; self.elements.value_size()];
        self.found(self.elements.lookup(key, &mut value, 0), Op::Lookup)
    }

    /// Writes the value of `key`. Maps that hold descriptors want the descriptor's number.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] for wrong lengths, [`Kind::Full`], [`Kind::OutOfRange`],
    /// [`Kind::Exists`], [`Kind::NotFound`], [`Kind::ReadOnly`].
    pub fn set(&self, key: &[u8], value: &[u8], flags: Flags) -> Result<()> {
        self.check_key(key, Op::Update)?;
        self.check_value(value.len(), Op::Update)?;
        self.elements.update(key, value, flags.0).map_err(|errno| self.error(errno, Op::Update))
    }

    /// Writes the value of a new key.
    ///
    /// # Errors
    /// As for [`Map::set`]; [`Kind::Exists`] when the key is there.
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.set(key, value, Flags::NOEXIST)
    }

    /// Writes the value of an existing key.
    ///
    /// # Errors
    /// As for [`Map::set`]; [`Kind::NotFound`] when the key is not there.
    pub fn replace(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.set(key, value, Flags::EXIST)
    }

    /// Removes `key`; `false` when it was not there.
    ///
    /// # Errors
    /// [`Kind::Mismatch`], [`Kind::Unsupported`], [`Kind::ReadOnly`].
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.check_key(key, Op::Delete)?;
        self.found(self.elements.delete(key), Op::Delete)
    }

    /// Adds an element to a queue, stack or bloom filter.
    ///
    /// # Errors
    /// As for [`Map::set`]; [`Kind::Unsupported`] for a map with keys.
    pub fn push(&self, value: &[u8], flags: Flags) -> Result<()> {
        self.check_keyless(Op::Update)?;
        self.set(&[], value, flags)
    }

    /// The next element of a queue or stack, left in place; `None` when it is empty.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for a map with keys.
    pub fn peek(&self) -> Result<Option<Vec<u8>>> {
        self.check_keyless(Op::Lookup)?;
        self.get(&[])
    }

    /// Takes the next element of a queue or stack; `None` when it is empty.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for a map with keys.
    pub fn pop(&self) -> Result<Option<Vec<u8>>> {
        self.check_keyless(Op::Lookup)?;
        self.take(&[])
    }

    /// Reads the value of `key` and removes it, as one step.
    ///
    /// # Errors
    /// As for [`Map::get`]; hash maps can from kernel 5.14 on.
    pub fn take(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check_key(key, Op::Lookup)?;
        let mut value = vec![0; self.value_size()];
        self.check_value(value.len(), Op::Lookup)?;
        let found = self.found(self.elements.take(key, &mut value), Op::Lookup)?;
        Ok(found.then_some(value))
    }

    fn check_keyless(&self, op: Op) -> Result<()> {
        if self.map_type().is_keyless() {
            return Ok(());
        }
        let detail = format!("maps of type {} have keys", self.map_type());
        Err(Error::new(Kind::Unsupported, op, self.name.clone()).with_detail(detail))
    }

    /// Makes the map read-only for user space, for ever.
    ///
    /// # Errors
    /// [`Kind::Busy`] when it is frozen already or mapped for writing.
    pub fn freeze(&self) -> Result<()> {
        self.elements.freeze().map_err(|errno| self.error(errno, Op::Freeze))
    }

    /// Gives the map a name on a bpf file system.
    ///
    /// # Errors
    /// As for [`bpffs::pin`].
    pub fn pin(&self, path: &Path) -> Result<()> {
        bpffs::pin(self.as_fd(), path)
    }
}

/// What the kernel would refuse with a bare `EINVAL`.
fn check_spec(spec: &Spec<'_>) -> Result<()> {
    let invalid = |detail: String| {
        Err(Error::new(Kind::InvalidArgument, Op::Create, spec.name).with_detail(detail))
    };
    if spec.map_type.is_stream() && spec.map_type != MapType::ARENA {
        let size = spec.max_entries as usize;
        if !size.is_power_of_two() || size % rustix::param::page_size() != 0 {
            return invalid(format!(
                "the size of a ring buffer is a power of two of pages, {size} bytes are not"
            ));
        }
        if spec.key_size != 0 || spec.value_size != 0 {
            return invalid("a ring buffer has neither keys nor values".to_owned());
        }
    } else if spec.map_type.is_keyless() && spec.key_size != 0 {
        return invalid(format!("maps of type {} have no keys", spec.map_type));
    } else if spec.max_entries == 0 && spec.map_type != MapType::PERF_EVENT_ARRAY {
        return invalid("max_entries is 0".to_owned());
    }
    Ok(())
}

fn created_error(errno: Errno, spec: &Spec<'_>) -> Error {
    let error = Error::from_errno(errno, Op::Create, spec.name);
    match errno {
        Errno::INVAL => error.with_kind(Kind::Unsupported).with_detail(format!(
            "the kernel has no maps of type {}, or not with these sizes and flags",
            spec.map_type
        )),
        Errno::TOO_BIG => error.with_kind(Kind::Limit).with_detail("the map would be too large"),
        _ => explained(error, Refused::Plain),
    }
}

/// What the kernel takes as a name: 15 bytes of letters, digits, `_` and `.`.
fn kernel_name(name: &str) -> Result<CString> {
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    let name: String = name.chars().take(15).map(fit).collect();
    c_text(&name, Op::Create)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(map_type: MapType, max_entries: u32) -> Spec<'static> {
        Spec {
            name: "m",
            map_type,
            key_size: 0,
            value_size: 0,
            max_entries,
            flags: 0,
            extra: 0,
            inner: None,
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_words() {
        let error = check_spec(&spec(MapType::RINGBUF, 5000)).expect_err("not a power of two");
        assert!(error.to_string().contains("5000 bytes are not"), "{error}");
        assert!(check_spec(&spec(MapType::RINGBUF, 1 << 20)).is_ok());
        assert!(check_spec(&spec(MapType::HASH, 0)).is_err());
        let queue = Spec { key_size: 4, ..spec(MapType::QUEUE, 1) };
        assert!(check_spec(&queue).is_err());
    }

    #[test]
    fn names_are_made_to_fit() {
        let name = kernel_name("a name/which.is long").expect("a name");
        assert_eq!(name.to_str(), Ok("a_name_which.is"));
    }

    #[test]
    fn flags_join() {
        assert_eq!(Flags::EXIST.and(Flags::LOCK), Flags(6));
    }
}
