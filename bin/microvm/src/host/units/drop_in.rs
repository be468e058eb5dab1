// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What one machine adds to the unit of all.

use super::super::profile::Profile;
use super::super::settings::Settings;
use super::sandbox;

/// Seconds that systemd waits longer than the stop command does.
const GRACE: u64 = 15;

/// The drop-in for a package.
#[must_use]
pub fn drop_in(settings: &Settings, profile: &Profile) -> String {
    let mut text = String::from("# Written by microvm; it is replaced at the next update.\n");
    if profile.registered {
        text.push_str("[Unit]\nWants=systemd-machined.service\nAfter=systemd-machined.service\n\n");
    }
    text.push_str("[Service]\n");
    text.push_str(if profile.notify { "Type=notify\n" } else { "Type=simple\n" });
    let stop = profile.shutdown_timeout.saturating_add(GRACE);
    text.push_str(&format!("TimeoutStopSec={stop}\n"));
    for (key, value) in ["CPUWeight", "MemoryMax", "AllowedCPUs"].iter().zip(&profile.resources) {
        if let Some(value) = value {
            text.push_str(&format!("{key}={}\n", escaped(value)));
        }
    }
    // A window of a desktop session cannot come from a caged service anyway.
    if settings.sandbox && !profile.graphics {
        text.push_str(&sandbox::lines(settings, profile));
    }
    text
}

/// `value` with specifiers taken literally, on one line.
fn escaped(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).collect::<String>().replace('%', "%%")
}

/// `value` as one word of a unit file.
pub(super) fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+:@-".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' => out.push_str("%%"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
