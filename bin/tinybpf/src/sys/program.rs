// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs by descriptor: information, trial loads, test runs, pins and identifiers.
#![allow(unsafe_code, reason = "bpf(2) takes raw buffers")]

use std::ffi::{CStr, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use libbpf_sys as ffi;

use super::{check, length, owned, size_field, size_word};
use crate::errno::Errno;

/// What the kernel says of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Its identifier, unique while it lives.
    pub id: u32,
    /// The number of its type.
    pub kind: u32,
    /// A digest of its instructions.
    pub tag: [u8; 8],
    /// Its name, cut to 15 bytes.
    pub name: String,
    /// When it was loaded, in nanoseconds since boot.
    pub load_time_ns: u64,
    /// Who loaded it.
    pub uid: u32,
    /// The maps it uses.
    pub map_ids: Vec<u32>,
    /// The id of its BTF object; 0 for none.
    pub btf: u32,
    /// Its license allows helpers that ask for the GPL.
    pub gpl_compatible: bool,
    /// How often it ran, while statistics were on.
    pub run_count: u64,
    /// How long that took, in nanoseconds.
    pub run_time_ns: u64,
    /// How often it did not run since it was running already.
    pub recursion_misses: u64,
    /// Instructions that the verifier looked at.
    pub verified_instructions: u32,
    /// Bytes of machine code; 0 when not compiled or not to be seen.
    pub jited_size: u32,
    /// Bytes of translated instructions.
    pub translated_size: u32,
    /// The interface it is offloaded to; 0 for none.
    pub ifindex: u32,
    /// The id of the kernel's type of the function it is bound to; 0 for none.
    pub attach_btf: u32,
}

/// A name in a structure of the kernel.
pub(super) fn name_of(raw: &[c_char]) -> String {
    let bytes: Vec<u8> =
        raw.iter().map(|c| c.to_ne_bytes()[0]).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the kernel says of the program behind `fd`.
///
/// # Errors
/// The kernel's number.
pub fn info(fd: BorrowedFd<'_>) -> Result<Info, Errno> {
    let mut raw = ffi::bpf_prog_info::default();
    raw_info(fd, &mut raw)?;
    let count = raw.nr_map_ids as usize;
    let mut map_ids = vec![0_u32; count];
    if count > 0 {
        let mut again = ffi::bpf_prog_info {
            nr_map_ids: raw.nr_map_ids,
            map_ids: map_ids.as_mut_ptr().expose_provenance() as u64,
            ..Default::default()
        };
        raw_info(fd, &mut again)?;
    }
    Ok(Info {
        id: raw.id,
        kind: raw.type_,
        tag: raw.tag,
        name: name_of(&raw.name),
        load_time_ns: raw.load_time,
        uid: raw.created_by_uid,
        map_ids,
        btf: raw.btf_id,
        gpl_compatible: raw.gpl_compatible() != 0,
        run_count: raw.run_cnt,
        run_time_ns: raw.run_time_ns,
        recursion_misses: raw.recursion_misses,
        verified_instructions: raw.verified_insns,
        jited_size: raw.jited_prog_len,
        translated_size: raw.xlated_prog_len,
        ifindex: raw.ifindex,
        attach_btf: raw.attach_btf_id,
    })
}

fn raw_info(fd: BorrowedFd<'_>, raw: &mut ffi::bpf_prog_info) -> Result<(), Errno> {
    let mut size = size_word::<ffi::bpf_prog_info>();
    // SAFETY: the kernel writes at most `size` bytes of plain numbers, and the ids where the
    // structure points, of which it was told the number.
    check(unsafe {
        ffi::bpf_obj_get_info_by_fd(fd.as_raw_fd(), ptr::from_mut(raw).cast(), &raw mut size)
    })
}

/// One run of a program without a hook.
#[derive(Debug, Default)]
pub struct Run<'a> {
    /// The packet.
    pub data: &'a [u8],
    /// The context structure.
    pub context: &'a [u8],
    /// Room for the packet afterwards.
    pub data_out: &'a mut [u8],
    /// Room for the context afterwards.
    pub context_out: &'a mut [u8],
    /// How often; 0 is once, without asking for repetition.
    pub repeat: u32,
    /// Flags of `BPF_PROG_TEST_RUN`.
    pub flags: u32,
    /// The CPU, with the flag that says so.
    pub cpu: u32,
    /// Packets per batch of live frames.
    pub batch: u32,
}

/// What a run left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the program returned.
    pub retval: u32,
    /// Nanoseconds of an average run.
    pub duration_ns: u32,
    /// Bytes of the packet afterwards, those that did not fit included.
    pub data_size: u32,
    /// Bytes of the context afterwards.
    pub context_size: u32,
}

/// Runs the program behind `fd`.
///
/// # Errors
/// The kernel's number; with `ENOSPC` the outcome says how much room is needed.
pub fn test_run(fd: BorrowedFd<'_>, run: &mut Run<'_>) -> Result<Outcome, (Errno, Outcome)> {
    let nothing = Outcome::default();
    let sizes = [run.data, run.context, &*run.data_out, &*run.context_out].map(length);
    let [Ok(data), Ok(context), Ok(data_out), Ok(context_out)] = sizes else {
        return Err((Errno::TOO_BIG, nothing));
    };
    let input = |bytes: &[u8]| if bytes.is_empty() { ptr::null() } else { bytes.as_ptr().cast() };
    let output = |bytes: &mut [u8]| {
        if bytes.is_empty() { ptr::null_mut() } else { bytes.as_mut_ptr().cast() }
    };
    let mut options = ffi::bpf_test_run_opts {
        sz: size_field::<ffi::bpf_test_run_opts>(),
        data_in: input(run.data),
        data_size_in: data,
        data_out: output(run.data_out),
        data_size_out: data_out,
        ctx_in: input(run.context),
        ctx_size_in: context,
        ctx_out: output(run.context_out),
        ctx_size_out: context_out,
        repeat: i32::try_from(run.repeat).unwrap_or(i32::MAX),
        flags: run.flags,
        cpu: run.cpu,
        batch_size: run.batch,
        ..Default::default()
    };
    // SAFETY: the kernel reads and writes the buffers within the sizes given.
    let code = unsafe { ffi::bpf_prog_test_run_opts(fd.as_raw_fd(), &raw mut options) };
    let outcome = Outcome {
        retval: options.retval,
        duration_ns: options.duration,
        data_size: options.data_size_out,
        context_size: options.ctx_size_out,
    };
    check(code).map(|()| outcome).map_err(|errno| (errno, outcome))
}

/// A program that is loaded only to see whether the kernel takes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trial<'a> {
    /// The number of the type.
    pub kind: u32,
    /// The number of the attach type.
    pub attach_type: u32,
    /// Load flags.
    pub flags: u32,
    /// The id of the kernel function in the kernel's BTF.
    pub function: u32,
    /// The program whose function is replaced.
    pub program: Option<BorrowedFd<'a>>,
    /// The program's own types, and the id of its function among them.
    pub types: Option<(BorrowedFd<'a>, u32)>,
}

/// `r0 = 0; exit`.
const NOTHING: [ffi::bpf_insn; 2] = [instruction(0xb7), instruction(0x95)];

const fn instruction(code: u8) -> ffi::bpf_insn {
    ffi::bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: ffi::__BindgenBitfieldUnit::new([0]),
        off: 0,
        imm: 0,
    }
}

/// Loads a program that does nothing.
///
/// # Errors
/// The kernel's number.
pub fn try_load(trial: &Trial<'_>) -> Result<OwnedFd, Errno> {
    // `struct bpf_func_info`: the first instruction of a function, and its type.
    let function = [0, trial.types.map_or(0, |(_, id)| id)];
    let functions = u32::from(trial.types.is_some());
    let options = ffi::bpf_prog_load_opts {
        sz: size_field::<ffi::bpf_prog_load_opts>(),
        prog_btf_fd: trial.types.map_or(0, |(fd, _)| fd.as_raw_fd().unsigned_abs()),
        func_info: function.as_ptr().cast(),
        func_info_cnt: functions,
        func_info_rec_size: size_word::<[u32; 2]>(),
        expected_attach_type: trial.attach_type,
        prog_flags: trial.flags,
        attach_btf_id: trial.function,
        attach_prog_fd: trial.program.map_or(0, |fd| fd.as_raw_fd().unsigned_abs()),
        ..Default::default()
    };
    // SAFETY: instructions, license, options and function live throughout the call.
    owned(unsafe {
        ffi::bpf_prog_load(
            trial.kind,
            c"trial".as_ptr(),
            c"GPL".as_ptr(),
            NOTHING.as_ptr(),
            NOTHING.len() as ffi::size_t,
            (&raw const options).cast_mut(),
        )
    })
}

/// Hands a type table to the kernel.
///
/// # Errors
/// `EINVAL` for a table that it does not take.
pub fn load_types(table: &[u8]) -> Result<OwnedFd, Errno> {
    let size = length(table)?;
    // SAFETY: the kernel reads `size` bytes; there are no options.
    owned(unsafe { ffi::bpf_btf_load(table.as_ptr().cast(), size.into(), ptr::null_mut()) })
}

/// Whether the kernel has a program type; it lies for tracing programs.
///
/// # Errors
/// The kernel's number, where the probe itself failed.
pub fn probe_type(kind: u32) -> Result<bool, Errno> {
    super::print::install();
    // SAFETY: takes numbers and no options.
    let code = unsafe { ffi::libbpf_probe_bpf_prog_type(kind, ptr::null()) };
    check(code).map(|()| code > 0)
}

/// Whether the kernel has a map type.
///
/// # Errors
/// The kernel's number, where the probe itself failed.
pub fn probe_map_type(kind: u32) -> Result<bool, Errno> {
    super::print::install();
    // SAFETY: takes numbers and no options.
    let code = unsafe { ffi::libbpf_probe_bpf_map_type(kind, ptr::null()) };
    check(code).map(|()| code > 0)
}

/// Whether programs of a type may call a helper.
///
/// # Errors
/// The kernel's number, where the probe itself failed.
pub fn probe_helper(kind: u32, helper: u32) -> Result<bool, Errno> {
    super::print::install();
    // SAFETY: takes numbers and no options.
    let code = unsafe { ffi::libbpf_probe_bpf_helper(kind, helper, ptr::null()) };
    check(code).map(|()| code > 0)
}

/// Keeps a map alive as long as a program.
///
/// # Errors
/// The kernel's number.
pub fn bind_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes numbers and no options.
    check(unsafe { ffi::bpf_prog_bind_map(program.as_raw_fd(), map.as_raw_fd(), ptr::null()) })
}

/// Reads what a program printed to one of its streams; returns the bytes read.
///
/// # Errors
/// The kernel's number; `EINVAL` before 6.17.
pub fn read_stream(fd: BorrowedFd<'_>, stream: u32, into: &mut [u8]) -> Result<usize, Errno> {
    let size = length(into)?;
    let mut options =
        ffi::bpf_prog_stream_read_opts { sz: size_field::<ffi::bpf_prog_stream_read_opts>() };
    let start = into.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `size` bytes.
    let code =
        unsafe { ffi::bpf_prog_stream_read(fd.as_raw_fd(), stream, start, size, &raw mut options) };
    check(code)?;
    usize::try_from(code).map_err(|_| Errno::INVAL)
}

/// Gives a program, map or link a name on a bpf file system.
///
/// # Errors
/// The kernel's number.
pub fn pin(fd: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    // SAFETY: the path is a C string.
    check(unsafe { ffi::bpf_obj_pin(fd.as_raw_fd(), path.as_ptr()) })
}

/// Opens what is pinned, whatever it is.
///
/// # Errors
/// The kernel's number.
pub fn open_pin(path: &CStr) -> Result<OwnedFd, Errno> {
    // SAFETY: the path is a C string.
    owned(unsafe { ffi::bpf_obj_get(path.as_ptr()) })
}

/// The sorts of objects that have identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what it says")]
pub enum Sort {
    Program,
    Map,
    Link,
    Btf,
}

/// The identifier after `id`; `None` after the last.
///
/// # Errors
/// The kernel's number.
pub fn next_id(sort: Sort, id: u32) -> Result<Option<u32>, Errno> {
    let function = match sort {
        Sort::Program => ffi::bpf_prog_get_next_id,
        Sort::Map => ffi::bpf_map_get_next_id,
        Sort::Link => ffi::bpf_link_get_next_id,
        Sort::Btf => ffi::bpf_btf_get_next_id,
    };
    let mut next = 0;
    // SAFETY: the kernel writes one number.
    match check(unsafe { function(id, &raw mut next) }) {
        Ok(()) => Ok(Some(next)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A descriptor of the object with an identifier.
///
/// # Errors
/// `ENOENT` where it is gone.
pub fn open_id(sort: Sort, id: u32) -> Result<OwnedFd, Errno> {
    let function = match sort {
        Sort::Program => ffi::bpf_prog_get_fd_by_id,
        Sort::Map => ffi::bpf_map_get_fd_by_id,
        Sort::Link => ffi::bpf_link_get_fd_by_id,
        Sort::Btf => ffi::bpf_btf_get_fd_by_id,
    };
    // SAFETY: takes a number.
    owned(unsafe { function(id) })
}

/// Name and type information of a BTF object.
///
/// # Errors
/// The kernel's number.
pub fn btf_info(fd: BorrowedFd<'_>) -> Result<(u32, String, bool, Vec<u8>), Errno> {
    let mut name = vec![0_u8; 64];
    let mut raw = ffi::bpf_btf_info::default();
    raw_btf_info(fd, &mut raw)?;
    let mut bytes = vec![0_u8; raw.btf_size as usize];
    raw = ffi::bpf_btf_info {
        btf: bytes.as_mut_ptr().expose_provenance() as u64,
        btf_size: raw.btf_size,
        name: name.as_mut_ptr().expose_provenance() as u64,
        name_len: length(&name)?,
        ..Default::default()
    };
    raw_btf_info(fd, &mut raw)?;
    bytes.truncate(raw.btf_size as usize);
    let name: Vec<u8> = name.into_iter().take_while(|byte| *byte != 0).collect();
    Ok((raw.id, String::from_utf8_lossy(&name).into_owned(), raw.kernel_btf != 0, bytes))
}

fn raw_btf_info(fd: BorrowedFd<'_>, raw: &mut ffi::bpf_btf_info) -> Result<(), Errno> {
    let mut size = size_word::<ffi::bpf_btf_info>();
    // SAFETY: the kernel writes at most `size` bytes of plain numbers, and the buffers within the
    // sizes that the structure gives.
    check(unsafe {
        ffi::bpf_obj_get_info_by_fd(fd.as_raw_fd(), ptr::from_mut(raw).cast(), &raw mut size)
    })
}

/// Counts the runs of all programs while the descriptor is open.
///
/// # Errors
/// The kernel's number.
pub fn enable_statistics() -> Result<OwnedFd, Errno> {
    // SAFETY: takes a number.
    owned(unsafe { ffi::bpf_enable_stats(ffi::BPF_STATS_RUN_TIME) })
}

/// Makes a token from the root directory of a delegating bpf file system.
///
/// # Errors
/// `EINVAL` on another file system, `EOPNOTSUPP` in the initial user namespace.
pub fn create_token(bpffs: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: takes a number and no options.
    owned(unsafe { ffi::bpf_token_create(bpffs.as_raw_fd(), ptr::null_mut()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_the_first_zero() {
        let raw = [b'a', b'b', 0, b'c'].map(|byte| c_char::from_ne_bytes([byte]));
        assert_eq!(name_of(&raw), "ab");
    }
}
