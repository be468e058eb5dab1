// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Types as C declarations, in the order in which C needs them, which libbpf knows to find.
#![allow(unsafe_code, reason = "libbpf writes through a callback in C")]

use std::ffi::{c_char, c_void};
use std::ptr::{self, NonNull};

use libbpf_sys::{self as ffi, __va_list_tag};

use super::{check, last};
use crate::errno::Errno;

/// A table of libbpf's.
struct Table(NonNull<ffi::btf>);

impl Table {
    fn parse(bytes: &[u8]) -> Result<Self, Errno> {
        let size = u32::try_from(bytes.len()).map_err(|_| Errno::TOO_BIG)?;
        // SAFETY: libbpf copies the bytes, whose length it is told.
        let table = unsafe { ffi::btf__new(bytes.as_ptr().cast(), size) };
        let errno = last();
        NonNull::new(table).map(Self).ok_or(errno)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: made by us and freed here only.
        unsafe { ffi::btf__free(self.0.as_ptr()) };
    }
}

/// A printer of a table.
struct Printer(NonNull<ffi::btf_dump>);

impl Drop for Printer {
    fn drop(&mut self) {
        // SAFETY: made by us and freed here only, before its table.
        unsafe { ffi::btf_dump__free(self.0.as_ptr()) };
    }
}

/// All types of a table, as C.
///
/// # Errors
/// libbpf's number for a table that it does not understand.
pub fn declarations(bytes: &[u8]) -> Result<String, Errno> {
    super::print::install();
    let table = Table::parse(bytes)?;
    let mut text = String::new();
    let context = ptr::from_mut(&mut text).cast::<c_void>();
    // SAFETY: the table and the text outlive the printer, which is dropped before them.
    let printer =
        unsafe { ffi::btf_dump__new(table.0.as_ptr(), Some(on_text), context, ptr::null()) };
    let errno = last();
    let printer = NonNull::new(printer).map(Printer).ok_or(errno)?;
    // SAFETY: the table lives.
    let count = unsafe { ffi::btf__type_cnt(table.0.as_ptr()) };
    for id in 1..count {
        // SAFETY: the printer and its table live, and the number is one of theirs.
        check(unsafe { ffi::btf_dump__dump_type(printer.0.as_ptr(), id) })?;
    }
    drop(printer);
    Ok(text)
}

/// libbpf's callback: appends to the text that is its context.
unsafe extern "C" fn on_text(
    context: *mut c_void,
    format: *const c_char,
    list: *mut __va_list_tag,
) {
    // SAFETY: libbpf passes a format with its list, which nobody has read from.
    let Some(piece) = (unsafe { super::print::formatted(format, list) }) else { return };
    // SAFETY: the context is the text of `declarations`, which nobody else touches meanwhile.
    let text = unsafe { &mut *context.cast::<String>() };
    text.push_str(&piece);
}
