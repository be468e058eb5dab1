// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the command says of itself: `schema`, `completions` and `man`.

use plinth::cli::SHELLS;
use plinth::err::Failure;

use super::load::{first_word, usage};
use super::{Args, MICROVM, NOT_FOUND, World};
use crate::schema::json_schema;

/// The pages, as they are installed.
const PAGES: &[(&str, &str)] = &[
    ("microvm.1", include_str!("../../../../man/microvm.1")),
    ("microvm.toml.5", include_str!("../../../../man/microvm.toml.5")),
    ("microvm-alioth.7", include_str!("../../../../man/microvm-alioth.7")),
    ("microvm-cloud-hypervisor.7", include_str!("../../../../man/microvm-cloud-hypervisor.7")),
    ("microvm-crosvm.7", include_str!("../../../../man/microvm-crosvm.7")),
    ("microvm-diagnostics.7", include_str!("../../../../man/microvm-diagnostics.7")),
    ("microvm-firecracker.7", include_str!("../../../../man/microvm-firecracker.7")),
    ("microvm-host.7", include_str!("../../../../man/microvm-host.7")),
    ("microvm-kvmtool.7", include_str!("../../../../man/microvm-kvmtool.7")),
    ("microvm-qemu.7", include_str!("../../../../man/microvm-qemu.7")),
    ("microvm-runner.7", include_str!("../../../../man/microvm-runner.7")),
    ("microvm-stratovirt.7", include_str!("../../../../man/microvm-stratovirt.7")),
    ("microvm-vfkit.7", include_str!("../../../../man/microvm-vfkit.7")),
];

/// `microvm schema`
pub(super) fn schema(world: &mut World<'_>) -> Result<u8, Failure> {
    world.print(&format!("{:#}\n", json_schema()))?;
    Ok(0)
}

/// `microvm completions`
pub(super) fn completions(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let shell = first_word(args).to_string_lossy();
    let script = MICROVM.completions(&shell).ok_or_else(|| {
        usage(format!("no completions for '{shell}': one of {}", SHELLS.join(", ")))
    })?;
    world.print(&script)?;
    Ok(0)
}

/// `microvm man`
pub(super) fn man(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let wanted = args.words.first().map_or("microvm".into(), |word| word.to_string_lossy());
    let is_meant = |name: &str| {
        name == wanted || name.rsplit_once('.').is_some_and(|(page, _)| page == wanted)
    };
    let found = PAGES.iter().find(|(name, _)| is_meant(name));
    let Some((_, text)) = found else {
        let names: Vec<&str> = PAGES.iter().map(|(name, _)| *name).collect();
        let text = format!("no page '{wanted}': one of {}", names.join(", "));
        return Err(Failure::new(NOT_FOUND, text));
    };
    world.print(text)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_can_be_printed() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../man");
        let entries = std::fs::read_dir(dir).expect("the manual");
        let names =
            entries.map(|it| it.expect("a page").file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("microvm")).collect();
        let mut pages: Vec<&str> = PAGES.iter().map(|(name, _)| *name).collect();
        names.sort();
        pages.sort_unstable();
        assert_eq!(names, pages);
    }
}
