// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Words of a command line, each with the option it comes from.

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// The absolute working directory of the machine, inside a URI.
    WorkingDirectory,
    /// The absolute directory of the package.
    Package,
    /// The path of this program.
    Helper,
    /// The same as a word of a command, inside a value of QEMU's.
    HelperInside,
    /// The socket of the Wayland compositor, from the environment.
    WaylandSocket,
}

/// Why a word is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The option, such as `volumes` or `qemu.machine`; empty for what is always there.
    pub option: &'static str,
    /// The element of the list, if the option is one.
    pub index: Option<usize>,
    /// What the words do: a phrase.
    pub rule: &'static str,
}

/// One word of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its parts.
    pub pieces: Vec<Piece>,
    /// Why it is there.
    pub origin: Origin,
}

impl Word {
    /// A word that is known as a whole.
    pub fn text(text: impl Into<String>) -> Self {
        Self { pieces: vec![Piece::Text(text.into())], origin: Origin::default() }
    }

    /// The word with names in place of what is known at the start only.
    #[must_use]
    pub fn shown(&self) -> String {
        let shown = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::WorkingDirectory => "$PWD".to_owned(),
            Piece::Package => "$PACKAGE".to_owned(),
            Piece::Helper | Piece::HelperInside => "$MICROVM".to_owned(),
            Piece::WaylandSocket => "$XDG_RUNTIME_DIR/$WAYLAND_DISPLAY".to_owned(),
        };
        self.pieces.iter().map(shown).collect()
    }
}

/// Collects words.
#[derive(Debug, Default)]
pub struct Builder {
    words: Vec<Word>,
    origin: Origin,
}

impl Builder {
    /// What follows comes from `option`, and does what `rule` says.
    pub const fn from(&mut self, option: &'static str, rule: &'static str) -> &mut Self {
        self.origin = Origin { option, index: None, rule };
        self
    }

    /// What follows comes from one element of the list `option`.
    pub const fn element(
        &mut self,
        option: &'static str,
        index: usize,
        rule: &'static str,
    ) -> &mut Self {
        self.origin = Origin { option, index: Some(index), rule };
        self
    }

    /// Adds a word.
    pub fn word(&mut self, text: impl Into<String>) -> &mut Self {
        self.pieces(vec![Piece::Text(text.into())])
    }

    /// Adds a flag and its value.
    pub fn pair(&mut self, flag: &str, value: impl Into<String>) -> &mut Self {
        self.word(flag).word(value)
    }

    /// Adds several words.
    pub fn words<T: AsRef<str>>(&mut self, words: impl IntoIterator<Item = T>) -> &mut Self {
        for word in words {
            self.word(word.as_ref());
        }
        self
    }

    /// Adds a word with parts that are known at the start only.
    pub fn pieces(&mut self, pieces: Vec<Piece>) -> &mut Self {
        self.words.push(Word { pieces, origin: self.origin });
        self
    }

    /// The words.
    #[must_use]
    pub fn finish(self) -> Vec<Word> {
        self.words
    }
}
