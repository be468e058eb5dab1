// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The consumer's side of a BPF ring buffer (`kernel/bpf/ringbuf.c` of Linux).
//!
//! Owns the positions and the order of accesses; the memory is the caller's, so that tests put a
//! producer of their own behind it. A record is a header of eight bytes (length with two flags,
//! then a number of the kernel's), the data, and padding to a multiple of eight.
//!
//! The kernel wakes a reader only when the record it commits is the one that the reader's position
//! points to. Storing that position and then finding nothing is therefore a race, which the
//! machine closes: before it says that there is nothing, it passes a full fence and looks again.

use std::sync::atomic::{Ordering, fence};

/// Bytes before each record's data.
pub const HEADER: u64 = 8;
/// The record is reserved, but not committed.
pub const BUSY: u32 = 1 << 31;
/// The record was given up and is to be skipped.
pub const DISCARD: u32 = 1 << 30;

/// The shared memory, as the reader sees it.
pub trait Memory {
    /// How far the producers got, in bytes since the beginning; all that they wrote is visible.
    fn producer(&self) -> u64;
    /// Tells the producers how far the reader got; all its reads happened before.
    fn store_consumer(&self, position: u64);
    /// The first word of the header at this offset of the data; what was committed is visible.
    fn header(&self, offset: usize) -> u32;
}

/// Where a sample lies in the data area, which is mapped twice so that no sample is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Bytes from the beginning.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// The reader's position.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// What the producers were told.
    stored: u64,
    /// Behind the record that was handed out.
    position: u64,
    /// How far the producers were when last asked.
    producer: u64,
    size: u64,
}

impl Cursor {
    /// A reader at `position` of a ring of `size` bytes, which is a power of two.
    #[must_use]
    pub fn new(position: u64, size: u64) -> Self {
        assert!(size.is_power_of_two(), "the kernel makes no other rings");
        Self { stored: position, position, producer: position, size }
    }

    /// How far the reader got.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Gives the record that was handed out last back to the producers.
    #[inline]
    pub fn release(&mut self, memory: &impl Memory) {
        if self.stored != self.position {
            memory.store_consumer(self.position);
            self.stored = self.position;
        }
    }

    /// Gives the last record back and looks for the next. `None` means that the producers will wake
    /// the reader once there is one: nothing is there, or it is reserved and not committed.
    #[inline(always)]
    #[must_use]
    pub fn next(&mut self, memory: &impl Memory) -> Option<Span> {
        self.release(memory);
        let mut fenced = false;
        loop {
            let found = self.look(memory);
            if found.is_some() || fenced {
                return found;
            }
            // Between the store of our position and this look there has to be a full fence, so that
            // either we see the new record or its producer sees that we wait for it.
            fence(Ordering::SeqCst);
            fenced = true;
        }
    }

    /// Whether a record is ready. The last one is given back.
    #[must_use]
    pub fn pending(&mut self, memory: &impl Memory) -> bool {
        let before = self.position;
        let found = self.next(memory).is_some();
        if found {
            // Discarded records may have been skipped; the one that was found stays.
            self.position = self.stored.max(before);
        }
        found
    }

    #[inline(always)]
    fn look(&mut self, memory: &impl Memory) -> Option<Span> {
        loop {
            if self.producer == self.position {
                self.producer = memory.producer();
            }
            let filled = self.producer.wrapping_sub(self.position);
            if filled < HEADER || filled > self.size {
                return None;
            }
            let offset = usize::try_from(self.position & (self.size - 1)).ok()?;
            let word = memory.header(offset);
            let length = u64::from(word & !(BUSY | DISCARD));
            let whole = (length + HEADER).next_multiple_of(8);
            if word & BUSY != 0 || whole > self.size {
                return None;
            }
            self.position = self.position.wrapping_add(whole);
            if word & DISCARD == 0 {
                let offset = offset + usize::try_from(HEADER).ok()?;
                return Some(Span { offset, size: usize::try_from(length).ok()? });
            }
            // A run of discarded records must not look like a full ring to the producers.
            self.release(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const SIZE: u64 = 64;

    /// A ring without a kernel; `on_look` acts as a producer in the middle of the reader's steps.
    #[derive(Default)]
    struct Fake {
        producer: Cell<u64>,
        consumer: Cell<u64>,
        words: RefCell<std::collections::BTreeMap<usize, u32>>,
        looks: Cell<u32>,
        late: Cell<Option<(u32, u32)>>,
    }

    impl Fake {
        fn put(&self, word: u32) {
            let at = self.producer.get();
            self.words.borrow_mut().insert(usize::try_from(at % SIZE).expect("small"), word);
            let length = u64::from(word & !(BUSY | DISCARD));
            self.producer.set(at + (length + HEADER).next_multiple_of(8));
        }

        fn commit(&self, at: u64, word: u32) {
            self.words.borrow_mut().insert(usize::try_from(at % SIZE).expect("small"), word);
        }
    }

    impl Memory for Fake {
        fn producer(&self) -> u64 {
            self.looks.set(self.looks.get() + 1);
            let found = self.producer.get();
            // The record arrives right after this look.
            if let Some((_, word)) = self.late.get().filter(|(look, _)| *look == self.looks.get()) {
                self.put(word);
            }
            found
        }

        fn store_consumer(&self, position: u64) {
            assert!(position > self.consumer.get(), "positions only grow");
            self.consumer.set(position);
        }

        fn header(&self, offset: usize) -> u32 {
            self.words.borrow()[&offset]
        }
    }

    fn spans(cursor: &mut Cursor, fake: &Fake) -> Vec<(usize, usize)> {
        std::iter::from_fn(|| cursor.next(fake)).map(|span| (span.offset, span.size)).collect()
    }

    #[test]
    fn samples_come_in_order_and_are_given_back_one_step_later() {
        let (fake, mut cursor) = (Fake::default(), Cursor::new(0, SIZE));
        fake.put(5);
        fake.put(16);
        assert_eq!(cursor.next(&fake), Some(Span { offset: 8, size: 5 }));
        assert_eq!(fake.consumer.get(), 0, "the reader still looks at it");
        assert_eq!(cursor.next(&fake), Some(Span { offset: 24, size: 16 }));
        assert_eq!(fake.consumer.get(), 16);
        assert_eq!(cursor.next(&fake), None);
        assert_eq!(fake.consumer.get(), 40);
    }

    #[test]
    fn discarded_records_are_skipped_and_given_back() {
        let (fake, mut cursor) = (Fake::default(), Cursor::new(0, SIZE));
        fake.put(DISCARD | 8);
        fake.put(DISCARD | 8);
        assert_eq!(spans(&mut cursor, &fake), []);
        assert_eq!(fake.consumer.get(), 32);
    }

    #[test]
    fn a_busy_record_blocks_those_behind_it() {
        let (fake, mut cursor) = (Fake::default(), Cursor::new(0, SIZE));
        fake.put(BUSY | 8);
        fake.put(4);
        assert_eq!(cursor.next(&fake), None);
        assert!(!cursor.pending(&fake));
        fake.commit(0, 8);
        assert_eq!(spans(&mut cursor, &fake), [(8, 8), (24, 4)]);
    }

    #[test]
    fn a_record_that_arrives_during_the_last_look_is_seen() {
        for look in 1..=2 {
            let (fake, mut cursor) = (Fake::default(), Cursor::new(0, SIZE));
            fake.put(8);
            assert!(cursor.next(&fake).is_some());
            fake.looks.set(0);
            fake.late.set(Some((look, 8)));
            let found = cursor.next(&fake);
            // Behind the last look the producer sees that we wait: position 16 was stored before.
            assert_eq!(found.is_some(), look == 1);
            assert_eq!(fake.consumer.get(), 16);
        }
    }

    #[test]
    fn asking_for_pending_records_consumes_none() {
        let (fake, mut cursor) = (Fake::default(), Cursor::new(0, SIZE));
        fake.put(DISCARD | 8);
        fake.put(3);
        assert!(cursor.pending(&fake));
        assert!(cursor.pending(&fake));
        assert_eq!(fake.consumer.get(), 16, "the discarded record is gone");
        assert_eq!(spans(&mut cursor, &fake), [(24, 3)]);
        assert!(!cursor.pending(&fake));
    }

    #[test]
    fn positions_wrap_around_the_ring_and_the_number() {
        let start = u64::MAX - 7;
        let (fake, mut cursor) = (Fake::default(), Cursor::new(start, SIZE));
        fake.words.borrow_mut().insert(56, 8);
        fake.producer.set(start.wrapping_add(16));
        let span = cursor.look(&fake).expect("a record across the end of the number");
        assert_eq!((span.offset, span.size), (64, 8));
        assert_eq!(cursor.position(), 8);
    }

    #[test]
    fn nonsense_is_no_record() {
        let (fake, mut cursor) = (Fake::default(), Cursor::new(0, SIZE));
        fake.commit(0, 4096);
        fake.producer.set(16);
        assert_eq!(cursor.next(&fake), None, "longer than the ring");
        fake.producer.set(1 << 40);
        assert_eq!(cursor.next(&fake), None, "further ahead than the ring is long");
    }
}
