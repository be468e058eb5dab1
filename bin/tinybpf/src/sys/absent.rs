// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the static program has in the place of an unwinder and of compression.
//!
//! Owns the names by which the C library and the standard library ask for an unwinder: for
//! exceptions that pass through C, for cancelled threads, for the backtrace of a panic. None of it
//! happens here: a panic aborts, nobody cancels a thread, and a program without symbols and unwind
//! tables (`static.ld`) has no frames to name. The backtrace therefore ends before its first frame,
//! and everything else ends the process. The same goes for the functions of zlib that compress:
//! libelf offers what nobody here asks for.
//!
//! With these definitions the linker takes neither the compiler's unwinder, nor what the standard
//! library reads debugging information with, nor half of zlib: a tenth of the program. The names
//! are those of the exception handling part of the Itanium C++ ABI and of `zlib.h`. Where a library
//! brings one of them all the same, the linker takes the first that it saw, which is this one
//! (`-z muldefs`). Only `make static` asks for all that, with `--cfg small`.
#![allow(unsafe_code, reason = "the linker finds these by their names")]

use std::ffi::{c_int, c_void};

/// `_URC_END_OF_STACK`.
const END_OF_STACK: c_int = 5;

/// Calls `trace` for no frame.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
    END_OF_STACK
}

/// Functions that nobody calls here; the arguments do not matter.
macro_rules! unreached {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> ! {
            std::process::abort()
        }
    )*};
}

unreached! {
    _Unwind_DeleteException
    _Unwind_ForcedUnwind
    _Unwind_GetCFA
    _Unwind_GetDataRelBase
    _Unwind_GetIP
    _Unwind_GetIPInfo
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_GetTextRelBase
    _Unwind_RaiseException
    _Unwind_Resume
    _Unwind_SetGR
    _Unwind_SetIP
    __gcc_personality_v0
    deflate
    deflateEnd
    deflateInit2_
    deflateInit_
    deflateParams
    deflateReset
}
