// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values with one slot per possible CPU.
//!
//! The kernel lays slots out at multiples of eight bytes, for every CPU that there may ever be.

use super::{Flags, Map};
use crate::error::{Error, Kind, Op, Result};

/// What can be summed over CPUs.
pub trait Summand: Sized {
    /// The sum, until it no longer fits.
    fn sum(slots: impl Iterator<Item = Option<Self>>) -> Option<Self>;
    /// The number in native byte order; `None` for another length.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! summand {
    ($($integer:ty),+) => {$(
        impl Summand for $integer {
            fn sum(slots: impl Iterator<Item = Option<Self>>) -> Option<Self> {
                let mut sum = 0_i128;
                for slot in slots {
                    sum = sum.checked_add(i128::from(slot?))?;
                }
                sum.try_into().ok()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_ne_bytes)
            }
        }
    )+};
}

summand!(u8, u16, u32, u64, i8, i16, i32, i64);

impl Summand for f64 {
    fn sum(slots: impl Iterator<Item = Option<Self>>) -> Option<Self> {
        slots.sum()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_ne_bytes)
    }
}

/// The slots of a value of `size` bytes each.
pub(super) fn slots(value: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    let stride = size.next_multiple_of(8).max(8);
    value.chunks_exact(stride).filter_map(move |slot| slot.get(..size))
}

impl Map {
    fn check_percpu(&self, op: Op) -> Result<()> {
        if self.is_percpu() {
            return Ok(());
        }
        let detail = "the map has one value for all CPUs: use the plain operations";
        Err(Error::new(Kind::InvalidArgument, op, self.name.clone()).with_detail(detail))
    }

    /// The value of `key` on each possible CPU; `None` when there is none.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] for a map of another type; else as for [`Map::get`].
    pub fn get_percpu(&self, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        self.check_percpu(Op::Lookup)?;
        self.check_key(key, Op::Lookup)?;
        let mut value = vec![0; self.elements.value_size()];
        let found = self.found(self.elements.lookup(key, &mut value, 0), Op::Lookup)?;
        let split = || slots(&value, self.value_size()).map(<[u8]>::to_vec).collect();
        Ok(found.then(split))
    }

    /// The slots of a value that [`Map::iter`] or [`Map::for_each_batch`] gave.
    pub fn slots_of<'v>(&self, value: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
        slots(value, self.value_size())
    }

    /// Writes the value of `key` on each possible CPU.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] for another number of values or another length; else as for
    /// [`Map::set`].
    pub fn set_percpu(&self, key: &[u8], values: &[&[u8]], flags: Flags) -> Result<()> {
        self.check_percpu(Op::Update)?;
        self.check_key(key, Op::Update)?;
        let (size, all) = (self.value_size(), self.elements.value_size());
        let stride = size.next_multiple_of(8).max(8);
        let (got, want) = (values.len(), all / stride);
        if got != want {
            let detail = format!("{got} values for {want} possible CPUs");
            return Err(
                Error::new(Kind::Mismatch, Op::Update, self.name.clone()).with_detail(detail)
            );
        }
        let mut bytes = vec![0; all];
        for (slot, value) in bytes.chunks_exact_mut(stride).zip(values) {
            if value.len() != size {
                return Err(self.size_error("value", value.len(), size, Op::Update));
            }
            if let Some(slot) = slot.get_mut(..size) {
                slot.copy_from_slice(value);
            }
        }
        self.elements.update(key, &bytes, flags.0).map_err(|errno| self.error(errno, Op::Update))
    }

    /// The sum over all CPUs; `None` when there is no such key.
    ///
    /// # Errors
    /// [`Kind::OutOfRange`] when the sum does not fit, [`Kind::Mismatch`] when values have another
    /// size than `T`.
    pub fn sum_percpu<T: Summand>(&self, key: &[u8]) -> Result<Option<T>> {
        if size_of::<T>() != self.value_size() {
            return Err(self.size_error("number", size_of::<T>(), self.value_size(), Op::Lookup));
        }
        let Some(values) = self.get_percpu(key)? else { return Ok(None) };
        let sum = T::sum(values.iter().map(|value| T::from_bytes(value)));
        let overflow = || {
            Error::new(Kind::OutOfRange, Op::Lookup, self.name.clone())
                .with_detail("the sum over all CPUs does not fit the type")
        };
        sum.map(Some).ok_or_else(overflow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_lie_at_multiples_of_eight() {
        let value: Vec<u8> = (0..32).collect();
        let found: Vec<&[u8]> = slots(&value, 4).collect();
        assert_eq!(found, [&value[0..4], &value[8..12], &value[16..20], &value[24..28]]);
        assert_eq!(slots(&value, 12).collect::<Vec<_>>(), [&value[0..12], &value[16..28]]);
    }

    #[test]
    fn sums_notice_when_they_do_not_fit() {
        let sum = |list: &[i8]| i8::sum(list.iter().copied().map(Some));
        assert_eq!(sum(&[100, 20, -20]), Some(100));
        assert_eq!(sum(&[100, 100, -100]), Some(100), "only the end counts");
        assert_eq!(sum(&[100, 100]), None);
        assert_eq!(u64::sum([u64::MAX, 1].map(Some).into_iter()), None);
        assert_eq!(f64::sum([0.5, 0.25].map(Some).into_iter()), Some(0.75));
    }
}
