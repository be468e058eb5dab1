// SPDX-License-Identifier: Apache-2.0 OR MIT
//! POSIX shell.

use crate::plan::{Piece, Word};

/// Does a shell take this as one word as it stands?
fn is_safe(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b",._+:@%/-".contains(&byte))
}

/// Parts that are known at the start only and stand inside another language: the variable that the
/// script has them in, the one they come from, and what makes one of the other, for sed(1).
pub const EDITS: &[(Piece, &str, &str, &str)] = &[
    // In a URI; as `uri_path`.
    (Piece::WorkingDirectory, "directory", "PWD", "s/%/%25/g; s/?/%3F/g; s/#/%23/g"),
    // In a command that QEMU takes apart as a shell does, inside a value in which commas are
    // doubled.
    (Piece::HelperInside, "helper", "MICROVM", r#"s/[[:blank:]"'\\#]/\\&/g; s/,/,,/g"#),
];

/// The text as one word of a shell: as it stands if that is safe, else in single quotes.
#[must_use]
pub fn shell(text: &str) -> String {
    if is_safe(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A word whose parts may be known at the start only; the script sets `package` and `MICROVM`, and
/// by [`EDITS`] those that stand inside another language.
#[must_use]
pub fn shell_word(word: &Word) -> String {
    let part = |piece: &Piece| match piece {
        Piece::Text(text) => shell(text),
        Piece::WorkingDirectory => "\"$directory\"".to_owned(),
        Piece::Package => "\"$package\"".to_owned(),
        Piece::Helper => "\"$MICROVM\"".to_owned(),
        Piece::HelperInside => "\"$helper\"".to_owned(),
        Piece::WaylandSocket => "\"$XDG_RUNTIME_DIR/$WAYLAND_DISPLAY\"".to_owned(),
    };
    word.pieces.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_is_quoted() {
        for (text, word) in [
            ("a,b.c_d+e:f@g%h/i-J9", "a,b.c_d+e:f@g%h/i-J9"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("~", "'~'"),
            ("é", "'é'"),
            ("a=b", "'a=b'"),
        ] {
            assert_eq!(shell(text), word);
        }
    }
}
