// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The systemd generator: this program, called as `microvm-generator`.
//!
//! Links the units of machines that start at boot into the wants of `microvms.target`. It runs at
//! boot before file systems are mounted, and at each reload; it fails silently rather than hold up
//! a boot. Where the state directory was not there yet, `microvms-autostart.service` does the same
//! later.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Host, Name, units};

/// The name under which systemd calls it.
pub const NAME: &str = "microvm-generator";

/// The links below a generator's directory, and where they lead.
#[must_use]
pub fn links(names: &BTreeSet<Name>) -> Vec<(String, String)> {
    let link = |name: &Name| {
        let unit = name.unit();
        let path = format!("microvms.target.wants/{unit}");
        (path, format!("{}/microvm@.service", units::UNITS))
    };
    names.iter().map(link).collect()
}

/// The machines that start at boot: marked or listed, with a package.
#[must_use]
pub fn wanted(host: &Host<'_>) -> BTreeSet<Name> {
    let names = host.names().unwrap_or_default();
    let is_wanted = |name: &Name| {
        let Ok(seen) = host.look(name) else { return false };
        let is_marked = seen.autostart || host.settings.autostart.contains(name);
        is_marked && seen.foreign.is_empty() && seen.current_id().is_some()
    };
    names.into_iter().filter(is_wanted).collect()
}

/// Writes the links into `directory`, the first of the three that systemd gives.
///
/// # Errors
/// What symlink(2) says.
pub fn run(host: &Host<'_>, directory: &Path) -> std::io::Result<()> {
    let wanted = wanted(host);
    if wanted.is_empty() || !host.has_units() {
        return Ok(());
    }
    for (path, target) in links(&wanted) {
        let path: PathBuf = directory.join(path);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        match symlink(target, &path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
