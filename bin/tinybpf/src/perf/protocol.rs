// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The records of a perf buffer (perf_event_open(2), "MMAP layout").
//!
//! Owns the reading of one record, which may begin at the end of the buffer and go on at its
//! beginning. Samples are padded so that their length and their bytes together are a multiple of
//! eight; the padding is whatever was there before, and is handed out with the sample.

/// `PERF_RECORD_LOST`.
const LOST: u32 = 2;
/// `PERF_RECORD_SAMPLE`.
const SAMPLE: u32 = 9;
/// Bytes of `struct perf_event_header`.
const HEADER: u64 = 8;
/// The most bytes of padding behind a sample.
pub const PADDING_MAX: usize = 7;

/// The bytes between what was read and what was written.
pub trait Buffer {
    /// Bytes of the buffer, a power of two.
    fn size(&self) -> u64;
    /// Copies bytes from `offset` on, which is below the size and is not passed over its end.
    fn copy(&self, offset: usize, into: &mut [u8]);
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A sample; its bytes are in the scratch space.
    Sample,
    /// So many samples were lost before this one.
    Lost(u64),
    /// Something that nobody asked for.
    Other,
}

/// Copies `into.len()` bytes from `position` on, around the end.
fn copy(buffer: &impl Buffer, position: u64, into: &mut [u8]) {
    let size = buffer.size();
    let offset = position & (size - 1);
    let until_end = usize::try_from(size - offset).unwrap_or(usize::MAX).min(into.len());
    let (first, rest) = into.split_at_mut(until_end);
    buffer.copy(usize::try_from(offset).unwrap_or_default(), first);
    if !rest.is_empty() {
        buffer.copy(0, rest);
    }
}

/// Takes the record at `tail` out of what was written up to `head`; a sample's bytes replace those
/// in `scratch`. Returns the record and the position behind it; `None` when there is none, or when
/// what is there is no record, after which the buffer has nothing to say any more.
pub fn take(
    buffer: &impl Buffer,
    tail: u64,
    head: u64,
    scratch: &mut Vec<u8>,
) -> Option<(Record, u64)> {
    let written = head.wrapping_sub(tail);
    if written < HEADER || written > buffer.size() {
        return None;
    }
    let mut header = [0; 8];
    copy(buffer, tail, &mut header);
    let [a, b, c, d, _, _, low, high] = header;
    let kind = u32::from_ne_bytes([a, b, c, d]);
    let whole = u64::from(u16::from_ne_bytes([low, high]));
    if whole < HEADER || whole > written {
        return None;
    }
    let body = whole - HEADER;
    let word = |at: u64| {
        let mut word = [0; 8];
        copy(buffer, tail.wrapping_add(HEADER + at), &mut word);
        word
    };
    let record = match kind {
        SAMPLE if body >= 4 => {
            let [a, b, c, d, ..] = word(0);
            let size = u64::from(u32::from_ne_bytes([a, b, c, d])).min(body - 4);
            scratch.resize(usize::try_from(size).ok()?, 0);
            copy(buffer, tail.wrapping_add(HEADER + 4), scratch);
            Record::Sample
        }
        LOST if body >= 16 => Record::Lost(u64::from_ne_bytes(word(8))),
        _ => Record::Other,
    };
    Some((record, tail.wrapping_add(whole)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Bytes(Vec<u8>);

    impl Buffer for Bytes {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn copy(&self, offset: usize, into: &mut [u8]) {
            into.copy_from_slice(&self.0[offset..offset + into.len()]);
        }
    }

    impl Bytes {
        /// Writes a record as the kernel does; returns the new head.
        fn put(&mut self, head: u64, kind: u32, body: &[u8]) -> u64 {
            let mut record = kind.to_ne_bytes().to_vec();
            record.extend(0_u16.to_ne_bytes());
            record.extend(u16::try_from(8 + body.len()).expect("short").to_ne_bytes());
            record.extend(body);
            for (at, byte) in (head..).zip(&record) {
                let at = usize::try_from(at % self.0.len() as u64).expect("small");
                self.0[at] = *byte;
            }
            head + record.len() as u64
        }

        fn sample(&mut self, head: u64, data: &[u8]) -> u64 {
            let mut body = u32::try_from(data.len()).expect("short").to_ne_bytes().to_vec();
            body.extend(data);
            self.put(head, SAMPLE, &body)
        }
    }

    #[test]
    fn samples_wrap_around_the_end() {
        let mut buffer = Bytes(vec![0; 64]);
        for start in 0..64 {
            let head = buffer.sample(start, b"twenty bytes of data");
            let mut scratch = Vec::new();
            let found = take(&buffer, start, head, &mut scratch);
            assert_eq!(found, Some((Record::Sample, start + 32)), "from {start}");
            assert_eq!(scratch, b"twenty bytes of data");
        }
    }

    #[test]
    fn losses_are_counted_and_other_records_skipped() {
        let mut buffer = Bytes(vec![0; 128]);
        let mut body = 7_u64.to_ne_bytes().to_vec();
        body.extend(4591_u64.to_ne_bytes());
        let middle = buffer.put(0, LOST, &body);
        let head = buffer.put(middle, 3, &[0; 24]);
        let mut scratch = Vec::new();
        assert_eq!(take(&buffer, 0, head, &mut scratch), Some((Record::Lost(4591), 24)));
        assert_eq!(take(&buffer, middle, head, &mut scratch), Some((Record::Other, head)));
        assert_eq!(take(&buffer, head, head, &mut scratch), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 64),
            tail: u64,
            written in 0_u64..80,
        ) {
            let buffer = Bytes(bytes);
            let (mut scratch, mut at) = (Vec::new(), tail);
            let head = tail.wrapping_add(written);
            while let Some((_, next)) = take(&buffer, at, head, &mut scratch) {
                prop_assert!(next.wrapping_sub(at) >= 8 && scratch.len() <= 64);
                at = next;
            }
        }
    }
}
