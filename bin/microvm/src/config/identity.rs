// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Identities that follow from names alone, so that they survive a move to another host.

use std::fmt::Write as _;

use hmac_sha256::Hash;

fn digits(text: &str) -> String {
    let mut digits = String::new();
    for byte in Hash::hash(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// The UUID of the machine of this name: the first 32 digits of the SHA-256 of `microvm.nix:` and
/// the name, which is what microvm.nix gives it.
#[must_use]
pub fn machine_id(host_name: &str) -> String {
    let digits = digits(&format!("microvm.nix:{host_name}"));
    let part = |from, to| digits.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// The address of an interface whose `mac` is `auto`: `02:` and the first five bytes of the SHA-256
/// of `hostName/id`. It is locally administered and unicast.
#[must_use]
pub fn automatic_mac(host_name: &str, id: &str) -> String {
    let mut mac = "02".to_owned();
    for byte in Hash::hash(format!("{host_name}/{id}").as_bytes()).iter().take(5) {
        let _ = write!(mac, ":{byte:02x}");
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_those_of_upstream() {
        for (name, id) in [
            ("web1", "115da406-dfb8-b88d-0dbd-d4cc391fe2a3"),
            ("db1", "c9d9ffc8-7c74-9e5b-5fbd-fed903d0e108"),
            ("lab", "e0530f86-52c9-a6fe-b485-f512b989863c"),
        ] {
            assert_eq!(machine_id(name), id);
        }
        let mac = automatic_mac("web1", "net0");
        assert!(mac.starts_with("02:") && mac.len() == 17, "{mac}");
        assert_ne!(mac, automatic_mac("web1", "net1"));
    }
}
