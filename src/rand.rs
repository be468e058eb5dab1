// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random numbers: a seeded generator for decisions that a simulation repeats, and the kernel's for
//! names.
//!
//! [`Rng`] is `xoshiro256**` (Blackman and Vigna), filled by SplitMix64: fast, repeatable, and not
//! fit for secrets. [`uuid_v4`] asks the kernel each time (RFC 9562, section 5.4).

use std::fmt::Write as _;

/// A repeatable sequence of numbers. Equal seeds give equal sequences on every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let mut fill = seed;
        let state = [(); 4].map(|()| {
            fill = fill.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (fill ^ (fill >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        });
        Self { state }
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let out = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        out
    }

    /// A number from zero up to, not including, `n`, each as likely as the others; zero for `n`
    /// zero.
    pub const fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        // The top of the range that is no whole multiple of `n` would favour small answers.
        let fair = u64::MAX - u64::MAX % n;
        loop {
            let drawn = self.next_u64();
            if drawn < fair {
                return drawn % n;
            }
        }
    }

    /// True in `num` of `den` cases; always when `num` is not below `den`.
    pub const fn chance(&mut self, num: u64, den: u64) -> bool {
        self.below(den) < num
    }

    /// Puts `items` in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for left in (1..items.len()).rev() {
            let drawn = self.below(left as u64 + 1);
            items.swap(left, usize::try_from(drawn).unwrap_or(left));
        }
    }
}

/// A seed that nobody predicts, for programs that are not being replayed.
///
/// A kernel that has no randomness yet (early boot) is not waited for: the clock serves instead.
#[must_use]
pub fn seed_from_os() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(8) => u64::from_ne_bytes(bytes),
        _ => crate::time::Time::monotonic().as_nanos(),
    }
}

/// A random UUID (RFC 9562, version 4) in its usual text form, lower case.
///
/// Waits, in early boot, until the kernel can give unpredictable bits.
///
/// # Panics
/// When the kernel refuses `getrandom(2)`, which no supported kernel does.
#[must_use]
pub fn uuid_v4() -> String {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while let Some(rest @ [_, ..]) = bytes.get_mut(filled..) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(errno) => assert!(errno == rustix::io::Errno::INTR, "getrandom: {errno}"),
        }
    }
    format_v4(bytes)
}

fn format_v4(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40; // version
    bytes[8] = bytes[8] & 0x3f | 0x80; // variant
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_sequences_for_ever() {
        let mut rng = Rng::seeded(0);
        // The first outputs of the published algorithms; a change would invalidate recorded seeds.
        assert_eq!(rng.next_u64(), 0x99EC_5F36_CB75_F2B4);
        assert_eq!(rng.next_u64(), 0xBF6E_1F78_4956_452A);
        assert_ne!(Rng::seeded(1), Rng::seeded(2));
    }

    #[test]
    fn below_covers_its_range_and_nothing_else() {
        let mut rng = Rng::seeded(7);
        let mut seen = [0_u32; 6];
        for _ in 0..6000 {
            seen[usize::try_from(rng.below(6)).expect("small")] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn chance_has_certain_ends() {
        let mut rng = Rng::seeded(3);
        assert!((0..100).all(|_| !rng.chance(0, 5)));
        assert!((0..100).all(|_| rng.chance(5, 5)));
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let (mut rng, mut items) = (Rng::seeded(9), (0..50).collect::<Vec<_>>());
        rng.shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
        rng.shuffle::<u8>(&mut []);
    }

    #[test]
    fn uuids_have_version_variant_and_shape() {
        assert_eq!(format_v4([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(format_v4([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_ne!(uuid_v4(), uuid_v4());
        assert_ne!(seed_from_os(), seed_from_os());
    }
}
