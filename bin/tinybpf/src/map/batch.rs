// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many elements per system call, where the type of map can (kernel 5.6 and later).
//!
//! Owns the protocol: the end comes as `ENOENT` together with elements, `ENOSPC` asks for a larger
//! buffer, and types without batches answer in three ways, on which the slow walk takes over.

use std::ops::ControlFlow;

use super::{Flags, Map};
use crate::errno::Errno;
use crate::error::{Error, Kind, Op, Result};
use crate::sys::map::Batch;

/// Elements per call when the caller does not say; more is not faster.
pub const BATCH: usize = 4096;

/// What is done with each element.
type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Types that know no batches.
const fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::NOTSUPP | Errno::OPNOTSUPP | Errno::INVAL)
}

impl Map {
    /// Calls `f` with each key and value (all slots of a per-CPU value), in batches where the map
    /// can, until it breaks. `batch` is the number of elements to ask for at once.
    ///
    /// # Errors
    /// As for [`Map::iter`].
    pub fn for_each_batch(
        &self,
        batch: usize,
        mut f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        match self.read_batches(Batch::Lookup, batch, &mut f)? {
            Some(_) => Ok(()),
            None => self.each_slowly(&mut f),
        }
    }

    fn each_slowly(&self, f: Each<'_>) -> Result<()> {
        for element in self.iter() {
            let (key, value) = element?;
            if f(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Takes all elements out and calls `f` with each; without batches one after the other.
    ///
    /// # Errors
    /// As for [`Map::iter`] and [`Map::delete`].
    pub fn pop_all(&self, mut f: impl FnMut(&[u8], &[u8])) -> Result<u64> {
        let mut each = |key: &[u8], value: &[u8]| {
            f(key, value);
            ControlFlow::Continue(())
        };
        if self.map_type().is_keyless() {
            let mut count = 0;
            while let Some(value) = self.pop()? {
                f(&[], &value);
                count += 1;
            }
            return Ok(count);
        }
        if let Some(count) = self.read_batches(Batch::LookupAndDelete, BATCH, &mut each)? {
            return Ok(count);
        }
        let mut count = 0;
        for element in self.iter() {
            let (key, value) = element?;
            if self.delete(&key)? {
                f(&key, &value);
                count += 1;
            }
        }
        Ok(count)
    }

    /// `None` when the map knows no batches; nothing was handed out then.
    fn read_batches(&self, how: Batch, batch: usize, f: Each<'_>) -> Result<Option<u64>> {
        let (key, value) = (self.key_size(), self.elements.value_size());
        let most = (self.max_entries() as usize).max(1);
        let mut room = batch.clamp(1, most);
        if key == 0 || value == 0 {
            return Ok(None);
        }
        let mut token = vec![0; self.elements.token_size()];
        let (mut keys, mut values) = (vec![0; room * key], vec![0; room * value]);
        let (mut start, mut all) = (true, 0);
        // Every batch but the last is full, or doubles the room; twice for those that change.
        let calls_max = most.div_ceil(room) * 2 + usize::BITS as usize + 64;
        for _ in 0..calls_max {
            let answer = self.elements.read_batch(how, start, &mut token, &mut keys, &mut values);
            let (count, errno) = answer.map_err(|errno| self.error(errno, Op::Iterate))?;
            match errno {
                Some(errno) if start && is_unsupported(errno) => return Ok(None),
                Some(Errno::NOSPC) if room < most => {
                    room = (room * 2).min(most);
                    keys.resize(room * key, 0);
                    values.resize(room * value, 0);
                    continue;
                }
                None | Some(Errno::NOENT) => {}
                Some(errno) => return Err(self.error(errno, Op::Iterate)),
            }
            start = false;
            for (key, value) in keys.chunks_exact(key).zip(values.chunks_exact(value)).take(count) {
                all += 1;
                if f(key, value).is_break() {
                    return Ok(Some(all));
                }
            }
            if errno == Some(Errno::NOENT) {
                return Ok(Some(all));
            }
        }
        let detail = format!("gave up after {all} elements, since the map kept changing");
        Err(Error::new(Kind::IterationAborted, Op::Iterate, self.name.clone()).with_detail(detail))
    }

    /// Writes many elements; `keys` and `values` are one after the other. Returns how many were
    /// written, which is all of them unless there is an error.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] when the buffers do not hold whole elements, or not as many; else as for
    /// [`Map::set`].
    pub fn set_many(&self, keys: &[u8], values: &[u8], flags: Flags) -> Result<usize> {
        let (key, value) = (self.key_size(), self.elements.value_size());
        let pairs = |bytes: usize, size: usize| {
            if size == 0 || bytes % size != 0 { None } else { Some(bytes / size) }
        };
        let count = pairs(keys.len(), key);
        if count.is_none() || count != pairs(values.len(), value) {
            let detail = format!("keys of {key} bytes and values of {value} bytes must pair up");
            return Err(
                Error::new(Kind::Mismatch, Op::Update, self.name.clone()).with_detail(detail)
            );
        }
        match self.elements.write_batch(keys, values, flags.0) {
            Ok(count) => Ok(count),
            Err((0, errno)) if is_unsupported(errno) => {
                let mut count = 0;
                for (key, value) in keys.chunks_exact(key).zip(values.chunks_exact(value)) {
                    self.elements
                        .update(key, value, flags.0)
                        .map_err(|errno| self.error(errno, Op::Update))?;
                    count += 1;
                }
                Ok(count)
            }
            Err((_, errno)) => Err(self.error(errno, Op::Update)),
        }
    }

    /// Removes all elements; arrays are filled with zeros. Returns how many there were.
    ///
    /// # Errors
    /// As for [`Map::iter`] and [`Map::delete`].
    pub fn delete_all(&self) -> Result<u64> {
        if self.is_array() && !self.map_type().holds_descriptors() {
            let zeros = vec![0; self.elements.value_size()];
            for index in 0..self.max_entries() {
                self.elements
                    .update(&index.to_ne_bytes(), &zeros, 0)
                    .map_err(|errno| self.error(errno, Op::Update))?;
            }
            return Ok(u64::from(self.max_entries()));
        }
        if self.map_type().is_keyless() {
            return self.pop_all(|_, _| {});
        }
        let mut count = 0;
        let mut keys = Vec::new();
        for key in self.keys() {
            keys.extend_from_slice(&key?);
            if keys.len() >= BATCH * self.key_size() {
                count += self.delete_many(&keys)?;
                keys.clear();
            }
        }
        Ok(count + self.delete_many(&keys)?)
    }

    fn delete_many(&self, keys: &[u8]) -> Result<u64> {
        if keys.is_empty() {
            return Ok(0);
        }
        match self.elements.delete_batch(keys) {
            Ok(count) => Ok(count as u64),
            // A key that was gone ends the batch early; one by one that does no harm.
            Err((done, errno)) if errno == Errno::NOENT || is_unsupported(errno) => {
                let mut count = done as u64;
                for key in keys.chunks_exact(self.key_size()).skip(done) {
                    count += u64::from(self.delete(key)?);
                }
                Ok(count)
            }
            Err((_, errno)) => Err(self.error(errno, Op::Delete)),
        }
    }
}
