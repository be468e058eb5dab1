// SPDX-License-Identifier: Apache-2.0 OR MIT
//! POSIX shell.

use crate::plan::{Piece, Word};

/// Does a shell take this as one word as it stands?
fn is_safe(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b",._+:@%/-".contains(&byte))
}

/// The text as one word of a shell: as it stands if that is safe, else in single quotes.
#[must_use]
pub fn shell(text: &str) -> String {
    if is_safe(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A word whose parts may be known at the start only; the script sets `package` and `MICROVM`.
#[must_use]
pub fn shell_word(word: &Word) -> String {
    let part = |piece: &Piece| match piece {
        Piece::Text(text) => shell(text),
        Piece::WorkingDirectory => "\"$PWD\"".to_owned(),
        Piece::Package => "\"$package\"".to_owned(),
        Piece::Helper => "\"$MICROVM\"".to_owned(),
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
