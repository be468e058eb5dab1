// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values of the hypervisors' options.
//!
//! Owns the characters that each program takes for its own. What is not listed here a program takes
//! as it stands, or cannot be told at all.

/// A word of its own that is a path. One that begins with a dash would be taken for an option.
#[must_use]
pub fn bare(path: &str) -> String {
    if path.starts_with('-') { format!("./{path}") } else { path.to_owned() }
}

/// A value among others that commas separate, for QEMU: a comma is doubled.
#[must_use]
pub fn qemu(text: &str) -> String {
    text.replace(',', ",,")
}

/// The path of a disk image for QEMU, to which a colon before any slash ends a protocol.
#[must_use]
pub fn qemu_file(path: &str) -> String {
    let has_protocol = path.find([':', '/']).is_some_and(|at| path[at..].starts_with(':'));
    qemu(&if has_protocol { format!("./{path}") } else { path.to_owned() })
}

/// The first value of a list for QEMU, whose key may be left out unless an equals sign would end
/// one.
#[must_use]
pub fn qemu_first(key: &str, text: &str) -> String {
    let key = if text.contains('=') { format!("{key}=") } else { String::new() };
    format!("{key}{}", qemu(text))
}

/// A value for cloud-hypervisor: in quotes, which are doubled inside, where it would end otherwise.
#[must_use]
pub fn cloud_hypervisor(text: &str) -> String {
    let plain = !text.contains([',', '[', ']', '"']) && text.trim() == text;
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// A value for crosvm: in quotes where it would end otherwise; a backslash escapes inside.
#[must_use]
pub fn crosvm(text: &str) -> String {
    if text.is_empty() || text.contains([',', '[', ']', '"', '\'']) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        text.to_owned()
    }
}

/// The first value of a list for crosvm, whose key is left out: it is quoted too where it begins
/// like a key, one of `keys` or any word before an equals sign.
#[must_use]
pub fn crosvm_first(keys: &[&str], text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let (name, rest) = text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()));
    let value = crosvm(text);
    if value == text && (rest.starts_with('=') || keys.contains(&name)) {
        format!("\"{}\"", text.replace('\\', "\\\\"))
    } else {
        value
    }
}

/// The path of a disk image for kvmtool, to which a prefix means a target in the kernel.
#[must_use]
pub fn kvmtool_disk(path: &str) -> String {
    if path.starts_with("scsi:") { format!("./{path}") } else { bare(path) }
}

/// A path inside a URI.
#[must_use]
pub fn uri_path(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3F").replace('#', "%23")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_should() {
        assert_eq!(bare("-x"), "./-x");
        assert_eq!(qemu("a,b"), "a,,b");
        assert_eq!(qemu_file("a:b,c"), "./a:b,,c");
        assert_eq!(qemu_file("/a:b"), "/a:b");
        assert_eq!(qemu_file("d/a:b"), "d/a:b");
        assert_eq!(qemu_first("path", "a=b"), "path=a=b");
        assert_eq!(cloud_hypervisor("a b"), "a b");
        assert_eq!(cloud_hypervisor("a,b\"c"), "\"a,b\"\"c\"");
        assert_eq!(cloud_hypervisor(" a"), "\" a\"");
        assert_eq!(crosvm("a\\b"), "a\\b");
        assert_eq!(crosvm("a'\\\"b"), "\"a'\\\\\\\"b\"");
        assert_eq!(crosvm_first(&["ro"], "data.img"), "data.img");
        assert_eq!(crosvm_first(&["ro"], "ro.img"), "\"ro.img\"");
        assert_eq!(crosvm_first(&["ro"], "a=b"), "\"a=b\"");
        assert_eq!(kvmtool_disk("scsi:x"), "./scsi:x");
        assert_eq!(uri_path("a?b#c%d"), "a%3Fb%23c%25d");
    }
}
