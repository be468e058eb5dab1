// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names of pins. The kernel takes no dots in them, so that a dot becomes an underscore.

/// What the name of a new pin ends in while the old one is still in its place.
pub const STAGED: &str = "__next";
/// Bytes of an object's name.
const NAME_LEN_MAX: usize = 64;

/// A name as part of a pin's path.
#[must_use]
pub fn component(name: &str) -> String {
    name.replace('.', "_")
}

/// Whether an object may be called so.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match name {
        "" => Err("the name is empty".to_owned()),
        name if name.len() > NAME_LEN_MAX => {
            Err(format!("the name has more than {NAME_LEN_MAX} bytes"))
        }
        name if !name.chars().all(is_plain) => {
            Err("names have letters, digits, '.', '_' and '-' only".to_owned())
        }
        name if name.ends_with(STAGED) => Err(format!("names do not end in {STAGED}")),
        _ => Ok(()),
    }
}

/// The directory of an object's pins.
#[must_use]
pub fn directory(pin_root: &str, object: &str) -> String {
    format!("{pin_root}/{}", component(object))
}

/// The path of a pin while another one is in its place.
#[must_use]
pub fn staged(path: &str) -> String {
    format!("{path}{STAGED}")
}

/// The directories above a path, the outermost first, the root left out.
pub fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|it| it.0).filter(|&at| at > 0).filter_map(|at| path.get(..at))
}
