// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Type signatures: are they valid, and where does one type end and the next begin.
//!
//! Owns the grammar of the D-Bus Specification, section "Type System", with its limits on length
//! and nesting. Values are left to [`super::value`]. Pure.

/// The longest signature, in bytes.
pub const SIGNATURE_LEN_MAX: usize = 255;

/// The deepest nesting of arrays, and of structs.
pub const NESTING_MAX: usize = 32;

/// Splits a signature into its single complete types; `None` when it is not valid.
#[must_use]
pub(super) fn split(signature: &str) -> Option<Vec<&str>> {
    if signature.len() > SIGNATURE_LEN_MAX {
        return None;
    }
    let mut types = Vec::new();
    let mut rest = signature;
    while !rest.is_empty() {
        let (first, tail) = rest.split_at_checked(complete(rest.as_bytes(), 0, 0)?)?;
        types.push(first);
        rest = tail;
    }
    Some(types)
}

/// Whether `signature` is exactly one complete type.
#[must_use]
pub(super) fn is_single(signature: &str) -> bool {
    split(signature).is_some_and(|types| types.len() == 1)
}

/// Whether `signature` may be the element of an array: one complete type, or one dictionary entry.
#[must_use]
pub(super) fn is_element(signature: &str) -> bool {
    signature.len() < SIGNATURE_LEN_MAX
        && element(signature.as_bytes(), 1, 0) == Some(signature.len())
}

const fn is_basic(code: u8) -> bool {
    matches!(
        code,
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'h'
    )
}

/// The length of the complete type that `bytes` begins with.
fn complete(bytes: &[u8], arrays: usize, structs: usize) -> Option<usize> {
    match *bytes.first()? {
        code if is_basic(code) => Some(1),
        b'v' => Some(1),
        b'a' if arrays < NESTING_MAX => Some(1 + element(bytes.get(1..)?, arrays + 1, structs)?),
        b'(' if structs < NESTING_MAX => {
            let mut len = 1;
            loop {
                len += complete(bytes.get(len..)?, arrays, structs + 1)?;
                if *bytes.get(len)? == b')' {
                    return Some(len + 1);
                }
            }
        }
        _ => None,
    }
}

/// The length of the array element that `bytes` begins with.
fn element(bytes: &[u8], arrays: usize, structs: usize) -> Option<usize> {
    if bytes.first() != Some(&b'{') {
        return complete(bytes, arrays, structs);
    }
    let key = bytes.get(1).copied().filter(|&code| is_basic(code));
    key?;
    let value = complete(bytes.get(2..)?, arrays, structs + 1)?;
    (bytes.get(2 + value) == Some(&b'}')).then_some(value + 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_signature_falls_apart_into_its_complete_types() {
        for (signature, types) in [
            ("", vec![]),
            ("s", vec!["s"]),
            ("iissssisqaayu", { vec!["i", "i", "s", "s", "s", "s", "i", "s", "q", "aay", "u"] }),
            ("aa{ss}b", vec!["aa{ss}", "b"]),
            ("sa{sv}as", vec!["s", "a{sv}", "as"]),
            ("(s(iu))v", vec!["(s(iu))", "v"]),
            ("a{sa{ov}}", vec!["a{sa{ov}}"]),
        ] {
            assert_eq!(split(signature), Some(types), "{signature}");
        }
    }

    #[test]
    fn what_the_grammar_forbids_is_refused() {
        for signature in
            ["a", "(", "()", "(s", "s)", "{ss}", "a{s}", "a{vs}", "a{sss}", "a{(s)s}", "z", "é"]
        {
            assert_eq!(split(signature), None, "{signature}");
        }
        assert!(is_element("{ss}") && is_element("s") && !is_element("ss") && !is_element(""));
        assert!(is_single("a{ss}") && !is_single("ss") && !is_single(""));
    }

    #[test]
    fn length_and_nesting_are_limited() {
        let arrays = |depth: usize| format!("{}s", "a".repeat(depth));
        let structs = |depth: usize| format!("{}s{}", "(".repeat(depth), ")".repeat(depth));
        assert!(is_single(&arrays(NESTING_MAX)) && !is_single(&arrays(NESTING_MAX + 1)));
        assert!(is_single(&structs(NESTING_MAX)) && !is_single(&structs(NESTING_MAX + 1)));
        assert!(is_element(&arrays(NESTING_MAX - 1)) && !is_element(&arrays(NESTING_MAX)));
        assert!(split(&"s".repeat(SIGNATURE_LEN_MAX)).is_some());
        assert!(split(&"s".repeat(SIGNATURE_LEN_MAX + 1)).is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_split_or_refused(text in "[a-z{}() é]{0,40}") {
            if let Some(types) = split(&text) {
                prop_assert_eq!(types.concat(), text.as_str());
                prop_assert!(types.into_iter().all(is_single));
            }
        }
    }
}
