// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers, sizes and bytes as people type them.
//!
//! Integers are decimal, `0x`, `0o`, `0b` or a character in quotes (`'c'`); digits may be grouped
//! with `_`. Sizes also take one of the suffixes `k`, `M`, `G`, powers of 1024.

use std::fmt;

/// Text that is no number.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NumberError {
    /// Not of any form that is known.
    Syntax(String),
    /// A number that its place cannot hold.
    Range(String),
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(text) => write!(f, "'{text}' is not a number"),
            Self::Range(text) => write!(f, "{text} is out of range"),
        }
    }
}

impl std::error::Error for NumberError {}

/// Reads an integer; a sign may stand in front.
///
/// # Errors
/// The text is of none of the forms, or beyond 128 bits.
pub fn integer(text: &str) -> Result<i128, NumberError> {
    let syntax = || NumberError::Syntax(text.to_owned());
    if let Some(c) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        let mut chars = c.chars();
        return match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(u32::from(c).into()),
            _ => Err(syntax()),
        };
    }
    let (is_negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (radix, digits) = match magnitude.get(..2) {
        Some("0x" | "0X") => (16, magnitude.get(2..).unwrap_or_default()),
        Some("0o") => (8, magnitude.get(2..).unwrap_or_default()),
        Some("0b") => (2, magnitude.get(2..).unwrap_or_default()),
        _ => (10, magnitude),
    };
    let is_grouped = digits.starts_with('_') || digits.ends_with('_');
    if digits.is_empty() || is_grouped || !digits.chars().all(|c| c == '_' || c.is_digit(radix)) {
        return Err(syntax());
    }
    let number = i128::from_str_radix(&digits.replace('_', ""), radix);
    let number = number.map_err(|_| NumberError::Range(text.to_owned()))?;
    Ok(if is_negative { -number } else { number })
}

/// Reads an integer of the type that is asked for.
///
/// # Errors
/// As [`integer`], and numbers that the type cannot hold.
pub fn parse<T: TryFrom<i128>>(text: &str) -> Result<T, NumberError> {
    T::try_from(integer(text)?).map_err(|_| NumberError::Range(text.to_owned()))
}

/// Reads a number of bytes or elements: `4096`, `64k`, `1M`, `0x10`.
///
/// # Errors
/// As [`integer`]; negative numbers, and sizes beyond 64 bits.
pub fn size(text: &str) -> Result<u64, NumberError> {
    let (digits, factor) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1 << 10),
        Some((at, 'M')) => (text.get(..at), 1 << 20),
        Some((at, 'G')) => (text.get(..at), 1 << 30),
        _ => (Some(text), 1_u64),
    };
    let range = || NumberError::Range(text.to_owned());
    let number = integer(digits.unwrap_or_default()).map_err(|error| match error {
        NumberError::Syntax(_) => NumberError::Syntax(text.to_owned()),
        NumberError::Range(_) => range(),
    })?;
    u64::try_from(number).ok().and_then(|it| it.checked_mul(factor)).ok_or_else(range)
}

/// Reads pairs of hexadecimal digits, with or without blanks or colons between the pairs.
#[must_use]
pub fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .bytes()
        .filter(|byte| !matches!(byte, b' ' | b':'))
        .map(|byte| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_have_four_bases_and_characters() {
        for (text, value) in [
            ("0", 0),
            ("-17", -17),
            ("0x1F", 31),
            ("-0x10", -16),
            ("0o17", 15),
            ("0b101", 5),
            ("1_000_000", 1_000_000),
            ("'c'", 99),
            ("'\u{e9}'", 0xe9),
            ("18446744073709551615", i128::from(u64::MAX)),
        ] {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
        for text in
            ["", "-", "0x", "1.5", "+1", "--1", "_1", "1_", "0xg", "''", "'ab'", "1k", " 1", "0x-1"]
        {
            assert_eq!(integer(text), Err(NumberError::Syntax(text.to_owned())), "{text}");
        }
        let wide = "9".repeat(40);
        assert_eq!(integer(&wide), Err(NumberError::Range(wide)));
    }

    #[test]
    fn numbers_fit_their_place() {
        assert_eq!(parse::<u32>("0xffffffff"), Ok(u32::MAX));
        assert_eq!(
            parse::<u32>("-1").map_err(|it| it.to_string()),
            Err("-1 is out of range".to_owned())
        );
        assert_eq!(parse::<i8>("-128"), Ok(-128));
        assert!(parse::<i8>("128").is_err());
    }

    #[test]
    fn sizes_take_suffixes() {
        for (text, value) in [
            ("0", 0),
            ("64k", 65536),
            ("64K", 65536),
            ("2M", 2 << 20),
            ("1G", 1 << 30),
            ("0x10k", 16384),
        ] {
            assert_eq!(size(text), Ok(value), "{text}");
        }
        for text in ["", "k", "1kk", "1T", "1 k", "-1", "99999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(size("k").map_err(|it| it.to_string()), Err("'k' is not a number".to_owned()));
    }

    #[test]
    fn bytes_are_pairs_of_digits() {
        assert_eq!(hex_bytes("00 ff:0A"), Some(vec![0, 255, 10]));
        assert_eq!(hex_bytes(""), Some(vec![]));
        for text in ["0", "0g", "0x00", "\u{e9}\u{e9}"] {
            assert_eq!(hex_bytes(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any::<i64>()) {
            let value = i128::from(value);
            let sign = if value < 0 { "-" } else { "" };
            let hex = format!("{sign}0x{:x}", value.unsigned_abs());
            prop_assert_eq!(integer(&hex), Ok(value));
            prop_assert_eq!(integer(&value.to_string()), Ok(value));
        }

        #[test]
        fn no_text_is_fatal(text in "[-+0-9a-fxobkMG_' é]{0,12}") {
            drop(integer(&text));
            drop(size(&text));
            drop(hex_bytes(&text));
        }
    }
}
