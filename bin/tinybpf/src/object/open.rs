// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a file to an open object, and from there to a loaded one.

use std::borrow::Cow;
use std::ffi::{CString, OsStr};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::{About, Object, OpenMap, OpenProgram, Source, unknown};
use crate::bpffs::{self, c_path, c_text};
use crate::btf::{self, Btf, ByteOrder};
use crate::diagnosis::load as judge;
use crate::diagnosis::log::Log;
use crate::diagnosis::permission::{self, Refused};
use crate::elf::{self, Refusal};
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::host::Host;
use crate::kinds::{AttachType, MapType, ProgType};
use crate::sys::object::{self as sys, Handle};
use crate::sys::print::{Detail, capture};
use plinth::near::nearest;

/// Bytes of the longest name that the kernel keeps.
const NAME_MAX: usize = 15;

/// Whether and where a token comes from, which lets a user namespace use bpf(2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Token {
    /// From `/sys/fs/bpf`, when that delegates something; else none.
    #[default]
    Auto,
    /// None.
    Disabled,
    /// From the bpf file system mounted here.
    Bpffs(PathBuf),
}

/// How an object is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    name: Option<String>,
    pin_root: Option<PathBuf>,
    kernel_btf: Option<PathBuf>,
    kconfig: Option<String>,
    token: Token,
    log_level: u32,
    relaxed_maps: bool,
}

impl OpenOptions {
    /// The usual way.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The object's name, in place of the file's without its extension.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Where maps are pinned that ask for it by name; `/sys/fs/bpf` when not said.
    #[must_use]
    pub fn pin_root(mut self, directory: &Path) -> Self {
        self.pin_root = Some(directory.to_owned());
        self
    }

    /// A file with the types that fields are relocated against, in place of the kernel's own.
    /// Programs bound to kernel functions need the kernel's in any case.
    #[must_use]
    pub fn kernel_btf(mut self, file: &Path) -> Self {
        self.kernel_btf = Some(file.to_owned());
        self
    }

    /// Lines of kernel configuration for `extern .. __kconfig` variables, besides the system's.
    #[must_use]
    pub fn kconfig(mut self, extra: &str) -> Self {
        self.kconfig = Some(extra.to_owned());
        self
    }

    /// Where a token comes from.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.token = token;
        self
    }

    /// The verifier's level: 1 and 2 for its reasoning, 4 for statistics; 0 to hear it only after a
    /// failure. The buffer grows as needed, [`crate::diagnosis::log::BYTES_MAX`] of it are kept.
    #[must_use]
    pub const fn verifier_log(mut self, level: u32) -> Self {
        self.log_level = level;
        self
    }

    /// Accept attributes of maps that this version does not know.
    #[must_use]
    pub const fn relaxed_maps(mut self, on: bool) -> Self {
        self.relaxed_maps = on;
        self
    }

    /// Reads a file. Nothing reaches the kernel, and no privileges are needed.
    ///
    /// # Errors
    /// [`Kind::NotFound`] and [`Kind::Permission`] for the file; [`Kind::NotAnObject`],
    /// [`Kind::WrongArch`] and [`Kind::MissingBtf`] for what is in it.
    pub fn open(self, path: &Path) -> Result<OpenObject> {
        let subject = path.display().to_string();
        check_file(path).map_err(|finding| finding_of(&subject, finding))?;
        let file = c_path(path, Op::Open)?;
        let source = Source::File(path.to_owned());
        self.open_source(sys::Source::File(&file), source, &default_name(path))
    }

    /// Reads an object from the bytes of the file at `path`, which its caller looked at already:
    /// what was judged is what is opened, whatever becomes of the file.
    ///
    /// # Errors
    /// As for [`OpenOptions::open`].
    pub fn open_read(self, path: &Path, data: &[u8]) -> Result<OpenObject> {
        check_header(data).map_err(|early| finding_of(&path.display().to_string(), early))?;
        let source = Source::File(path.to_owned());
        self.open_source(sys::Source::Bytes(data), source, &default_name(path))
    }

    /// Reads an object from memory, which is not needed afterwards.
    ///
    /// # Errors
    /// As for [`OpenOptions::open`].
    pub fn open_bytes(self, data: &[u8]) -> Result<OpenObject> {
        check_header(data).map_err(|early| finding_of("memory", early))?;
        self.open_source(sys::Source::Bytes(data), Source::Memory, "memory")
    }

    fn open_source(self, from: sys::Source<'_>, source: Source, name: &str) -> Result<OpenObject> {
        let subject = source.text();
        let name = c_text(self.name.as_deref().unwrap_or(name), Op::Open)?;
        let path =
            |path: &Option<PathBuf>| path.as_deref().map(|path| c_path(path, Op::Open)).transpose();
        let (pin_root, kernel_btf) = (path(&self.pin_root)?, path(&self.kernel_btf)?);
        let kconfig = self.kconfig.as_deref().map(|text| c_text(text, Op::Open)).transpose()?;
        let token = self.token_path()?;
        let request = sys::Request {
            name: Some(&name),
            pin_root: pin_root.as_deref(),
            kernel_btf: kernel_btf.as_deref(),
            kconfig: kconfig.as_deref(),
            token: Some(&token),
            log_level: self.log_level,
            relaxed_maps: self.relaxed_maps,
        };
        let (opened, log) = capture(Detail::Normal, || Handle::open(from, &request));
        let log = Log::from_lines(log);
        match opened {
            Ok(handle) => {
                let uses_token = !token.is_empty();
                Ok(OpenObject {
                    handle,
                    source,
                    log,
                    log_level: self.log_level,
                    btf: OnceLock::new(),
                    targets: Vec::new(),
                    uses_token,
                })
            }
            Err(errno) => {
                let finding = judge::open(errno, &log);
                Err(finding.into_error(Op::Open, &subject, errno).with_log(log))
            }
        }
    }

    /// What libbpf is told, which is always something: left alone it would read the environment.
    fn token_path(&self) -> Result<CString> {
        match &self.token {
            Token::Disabled => Ok(CString::default()),
            Token::Bpffs(path) => c_path(path, Op::Open),
            Token::Auto => {
                let delegates = Host::system().delegating_bpffs(Path::new(bpffs::DEFAULT));
                Ok(if delegates { c_text(bpffs::DEFAULT, Op::Open)? } else { CString::default() })
            }
        }
    }
}

/// `/lib/exec.bpf.o` -> `exec`.
fn default_name(path: &Path) -> String {
    let file = path.file_name().map(OsStr::to_string_lossy).unwrap_or(Cow::Borrowed("object"));
    let stem = file.strip_suffix(".o").unwrap_or(&file);
    let stem = stem.strip_suffix(".bpf").unwrap_or(stem);
    let mut end = stem.len().min(NAME_MAX);
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    stem.get(..end).filter(|name| !name.is_empty()).unwrap_or("object").to_owned()
}

/// Why a file is refused before libbpf is asked, whose answers would mislead.
type Early = (Kind, Option<Errno>, Cow<'static, str>);

/// Looks at the header alone; libbpf reads the rest.
fn check_header(header: &[u8]) -> std::result::Result<(), Early> {
    let refusal = match elf::identify(header) {
        Ok(ByteOrder::NATIVE) => return Ok(()),
        Ok(order) => Refusal::ByteOrder(order),
        Err(refusal) => refusal,
    };
    let kind = match refusal {
        Refusal::Machine(_) | Refusal::Linked | Refusal::ByteOrder(_) => Kind::WrongArch,
        _ => Kind::NotAnObject,
    };
    Err((kind, None, format!("the file {refusal}").into()))
}

fn check_file(path: &Path) -> std::result::Result<(), Early> {
    let number = |error: io::Error| Errno(error.raw_os_error().unwrap_or(libc::EIO));
    let failed = |error: io::Error| match number(error) {
        Errno::NOENT => (Kind::NotFound, Some(Errno::NOENT), "no such file".into()),
        Errno::ACCES => (Kind::Permission, Some(Errno::ACCES), "the file may not be read".into()),
        Errno::ISDIR => {
            (Kind::NotAnObject, None, format!("the file {}", Refusal::Directory).into())
        }
        errno => (Kind::of(errno), Some(errno), "the file cannot be read".into()),
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut header = Vec::new();
    file.take(elf::HEADER_LEN as u64).read_to_end(&mut header).map_err(failed)?;
    check_header(&header)
}

fn finding_of(subject: &str, (kind, errno, detail): Early) -> Error {
    let error = Error::new(kind, Op::Open, subject).with_detail(detail);
    match errno {
        Some(errno) => error.with_errno(errno),
        None => error,
    }
}

/// An object that is not loaded yet.
#[derive(Debug)]
pub struct OpenObject {
    pub(super) handle: Handle,
    pub(super) source: Source,
    pub(super) log_level: u32,
    pub(super) btf: OnceLock<Option<Arc<Btf>>>,
    /// Programs that functions are replaced in: libbpf remembers their numbers until the load.
    pub(super) targets: Vec<OwnedFd>,
    log: Log,
    uses_token: bool,
}

impl OpenObject {
    /// The object's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.handle.name()
    }

    /// Where it came from.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// What libbpf said while it was opened.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The object's type information in the kernel's format, offsets of variables included.
    #[must_use]
    pub fn btf_bytes(&self) -> Option<&[u8]> {
        self.handle.btf()
    }

    /// The names of its programs, in ELF order.
    #[must_use]
    pub fn program_names(&self) -> Vec<String> {
        (0..self.handle.program_count()).map(|index| self.handle.program_names(index).0).collect()
    }

    /// The program of this name.
    ///
    /// # Errors
    /// [`Kind::NoSuchProgram`], with the names there are.
    pub fn program(&mut self, name: &str) -> Result<OpenProgram<'_>> {
        let names = self.program_names();
        match names.iter().position(|known| known == name) {
            Some(index) => Ok(OpenProgram { object: self, index }),
            None => Err(unknown(Kind::NoSuchProgram, "program", name, names.into_iter())),
        }
    }

    /// The names of its maps, those of variables included, in ELF order.
    #[must_use]
    pub fn map_names(&self) -> Vec<String> {
        (0..self.handle.map_count()).map(|index| self.handle.map_name(index)).collect()
    }

    /// The map of this name.
    ///
    /// # Errors
    /// [`Kind::NoSuchMap`], with the names there are.
    pub fn map(&mut self, name: &str) -> Result<OpenMap<'_>> {
        let names = self.map_names();
        match names.iter().position(|known| known == name) {
            Some(index) => Ok(OpenMap { object: self, index }),
            None => Err(unknown(Kind::NoSuchMap, "map", name, names.into_iter())),
        }
    }

    /// Creates the maps and loads the programs. A failed object cannot be tried again, which is why
    /// this consumes it.
    ///
    /// # Errors
    /// [`Kind::Verifier`], [`Kind::Relocation`], [`Kind::Permission`], [`Kind::NoSuchTarget`],
    /// [`Kind::NoKernelBtf`] and others; the log says more.
    pub fn load(mut self) -> Result<Object> {
        let detail = if self.log_level == 0 { Detail::Normal } else { Detail::Debug };
        let (loaded, log) = capture(detail, || self.handle.load());
        let log = Log::from_lines(log);
        if let Err(errno) = loaded {
            return Err(self.explain(errno, log));
        }
        let about = About { source: self.source, log, btf: self.btf };
        Ok(Object { handle: Arc::new(self.handle), about: Arc::new(about) })
    }

    fn explain(&self, errno: Errno, log: Log) -> Error {
        let mut finding = judge::load(errno, &log);
        if let Some(newer) = self.newer_map(&log) {
            (finding.kind, finding.detail) = (Kind::Unsupported, newer.into());
        }
        if finding.kind == Kind::NoSuchTarget {
            let wanted = log.quoted_after(judge::UNKNOWN_TYPE).unwrap_or_default();
            let near = kernel_names_near(wanted);
            if !near.is_empty() {
                finding.hint = Some(format!("there are: {}", near.join(", ")).into());
            }
        }
        let refused = finding.kind == Kind::Permission;
        let error = finding.into_error(Op::Load, &self.source.text(), errno);
        if !refused {
            return error.with_log(log);
        }
        let facts = Host::system().facts(self.uses_token);
        let found = permission::diagnose(self.refused(&log), &facts);
        error.with_detail(found.detail).with_hint(found.hint).with_log(log)
    }

    /// What a map that was not created needs of the kernel, when that is a newer one.
    fn newer_map(&self, log: &Log) -> Option<String> {
        let kernel = Host::system().kernel();
        (0..self.handle.map_count()).find_map(|index| {
            let (name, shape) = (self.handle.map_name(index), self.handle.map_shape(index));
            if !log.contains(&format!("map '{name}': failed to create")) {
                return None;
            }
            let kind = MapType(shape.map_type);
            let (major, minor) = match kind {
                MapType::RINGBUF => (5, 8),
                MapType::BLOOM_FILTER => (5, 16),
                MapType::USER_RINGBUF => (6, 1),
                MapType::CGRP_STORAGE => (6, 2),
                MapType::STRUCT_OPS if shape.flags & libbpf_sys::BPF_F_LINK != 0 => (6, 4),
                MapType::ARENA => (6, 9),
                _ => return None,
            };
            let text =
                format!("map '{name}': this kind of {kind} map needs kernel {major}.{minor}");
            (kernel < (major, minor)).then_some(text)
        })
    }

    /// What sort of program was refused: the one the log names, else the most demanding.
    fn refused(&self, log: &Log) -> Refused {
        let name = log.rejection().map(|rejection| rejection.program);
        let named = log.quoted_after("prog").map(str::to_owned).or(name);
        let indices = 0..self.handle.program_count();
        let of = |index: usize| self.handle.program_type(index);
        let chosen =
            indices.clone().find(|index| Some(self.handle.program_names(*index).0) == named);
        let (kind, attach) = chosen.or_else(|| indices.clone().next()).map(of).unwrap_or_default();
        refused_kind(ProgType(kind), AttachType(attach))
    }
}

/// Functions and tracepoints of the kernel that may have been meant by `name`.
fn kernel_names_near(name: &str) -> Vec<String> {
    let bytes = Host::system().kernel_btf();
    let Some(btf) = bytes.ok().and_then(|bytes| Btf::parse(&bytes).ok()) else {
        return Vec::new();
    };
    let tracepoints =
        btf.names(btf::Kind::Typedef).filter_map(|name| name.strip_prefix("btf_trace_"));
    let names = btf.names(btf::Kind::Func).chain(tracepoints);
    nearest(name, names, 5).into_iter().map(str::to_owned).collect()
}

/// What a program type needs.
pub(crate) const fn refused_kind(kind: ProgType, attach: AttachType) -> Refused {
    match kind {
        ProgType::TRACING | ProgType::LSM | ProgType::EXT => match attach {
            AttachType::TRACE_RAW_TP | AttachType::TRACE_ITER => Refused::Tracing,
            _ => Refused::Function,
        },
        ProgType::KPROBE
        | ProgType::TRACEPOINT
        | ProgType::PERF_EVENT
        | ProgType::RAW_TRACEPOINT
        | ProgType::RAW_TRACEPOINT_WRITABLE => Refused::Tracing,
        ProgType::UNSPEC | ProgType::SOCKET_FILTER | ProgType::SYSCALL => Refused::Plain,
        _ => Refused::Network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files_and_fit_the_kernel() {
        for (path, name) in [
            ("/lib/exec.bpf.o", "exec"),
            ("x.o", "x"),
            ("plain", "plain"),
            ("a_very_long_object_name.bpf.o", "a_very_long_obj"),
            (".bpf.o", "object"),
        ] {
            assert_eq!(default_name(Path::new(path)), name);
        }
    }

    #[test]
    fn missing_files_and_directories_are_told_before_libbpf_is_asked() {
        let open = |path: &Path| OpenOptions::new().open(path).expect_err("not an object");
        let error = open(Path::new("/nonexistent/x.bpf.o"));
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().starts_with("open '/nonexistent/x.bpf.o': no such file"));
        let error = open(&std::env::temp_dir());
        assert_eq!(error.kind(), Kind::NotAnObject);
        assert!(error.to_string().ends_with("the file is a directory"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_object_are_refused() {
        for bytes in [&b""[..], b"text", b"\x7fELF\x02\x01\x01"] {
            let error = OpenOptions::new().open_bytes(bytes).expect_err("not an object");
            assert_eq!(error.kind(), Kind::NotAnObject, "{error}");
        }
    }
}
