// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How errors look to user space (asm-generic/errno.h).
#![allow(missing_docs, reason = "the names are the documentation")]

pub(crate) const EINTR: i32 = 4;
pub(crate) const EIO: i32 = 5;
pub(crate) const EAGAIN: i32 = 11;
pub(crate) const EBUSY: i32 = 16;
pub(crate) const ENODEV: i32 = 19;
pub(crate) const ETIMEDOUT: i32 = 110;
pub(crate) const ECONNREFUSED: i32 = 111;
pub(crate) const EALREADY: i32 = 114;
