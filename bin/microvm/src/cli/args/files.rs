// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands that make files which descriptions name: kernels, images, descriptions themselves.

use plinth::cli::{Arity, Command, Flag};

use super::Args;
use super::flags::{OUT_FILE, SET, one, place, text};
use crate::image::Kind;

/// What was said of images.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// How they are laid out.
    pub kind: Option<Kind>,
    /// Their label.
    pub label: Option<String>,
    /// Flags of the program that makes them.
    pub flags: Vec<String>,
}

const TYPE: Flag<Args> = Flag::<Args>::option(
    None,
    "type",
    "TYPE",
    "the layout of the image, in place of the described one",
    |args, value| {
        let kind = text(value)?;
        args.image.kind = Some(Kind::by_name(&kind).ok_or("not erofs or squashfs")?);
        Ok(())
    },
)
.choices(&["erofs", "squashfs"])
.default("erofs");

const LABEL: Flag<Args> = Flag::option(
    None,
    "label",
    "LABEL",
    "a label for an erofs image; needs version 1.7 of its tools",
    |args: &mut Args, value| {
        args.image.label = Some(text(value)?);
        Ok(())
    },
);

const FLAG: Flag<Args> = Flag::option(
    None,
    "flag",
    "FLAG",
    "a flag for the program that makes the image, in place of the usual ones",
    |args: &mut Args, value| {
        args.image.flags.push(text(value)?);
        Ok(())
    },
);

pub(super) const KERNEL: Command<Args> = Command {
    name: "kernel",
    summary: "take the uncompressed kernel out of a compressed one",
    flags: &[OUT_FILE],
    positionals: &[
        one("ACTION", "what to do: extract"),
        place("VMLINUZ", "the compressed kernel", Arity::Required),
    ],
};

pub(super) const IMAGE: Command<Args> = Command {
    name: "image",
    summary: "make a root image of a directory, the same bytes each time",
    flags: &[OUT_FILE, TYPE, LABEL, FLAG, SET],
    positionals: &[
        one("ACTION", "what to do: build or verify"),
        place(
            "PATH",
            "build: a directory or a description; verify: an image and its directory",
            Arity::Some,
        ),
    ],
};

pub(super) const IMPORT_NIX: Command<Args> = Command {
    name: "import-nix",
    summary: "turn evaluated options of microvm.nix into a description",
    flags: &[],
    positionals: &[place(
        "FILE",
        "the evaluated options `config.microvm`, as `nix eval --json` prints them",
        Arity::Required,
    )],
};
