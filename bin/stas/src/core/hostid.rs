// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Deriving the host's NQN and ID from what identifies the machine.
//!
//! Owns the derivations as pure functions of file contents. They must give the same result for
//! ever: storage arrays know the host by it. Reading the files and rolling dice is left to the
//! callers. The sources, best first: machine-id, SMBIOS product UUID, partition UUID of the device
//! tree.

use hmac_sha256::HMAC;

/// What every host NQN of the UUID form begins with.
pub const NQN_PREFIX: &str = "nqn.2014-08.org.nvmexpress:uuid:";

/// The machine's own identifier, derived but never shown.
pub const MACHINE_ID_FILE: &str = "/etc/machine-id";
/// The SMBIOS system UUID; readable by root only.
pub const PRODUCT_UUID_FILE: &str = "/sys/class/dmi/id/product_uuid";
/// The partition's UUID on POWER; readable by root only.
pub const PARTITION_UUID_FILE: &str = "/proc/device-tree/ibm,partition-uuid";

/// Keeps the derived UUID apart from those that other programs derive from the same machine-id.
const APPLICATION: &[u8; 16] = b"$nvmexpress.org$";

/// Product UUIDs that vendors leave in place of real ones.
const GARBAGE: [&str; 3] = [
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "03000200-0400-0500-0006-000700080009",
];

/// The host NQN with this UUID.
#[must_use]
pub fn nqn_of_uuid(uuid: &str) -> String {
    format!("{NQN_PREFIX}{uuid}")
}

/// The UUID inside an NQN of the form `nqn.2014-08.org.nvmexpress:uuid:<UUID>`, in lower case: the
/// host ID that belongs to that NQN.
#[must_use]
pub fn uuid_of_nqn(nqn: &str) -> Option<String> {
    let uuid = nqn.strip_prefix(NQN_PREFIX)?;
    is_uuid(uuid).then(|| uuid.to_ascii_lowercase())
}

/// Whether `text` is a UUID: 32 hexadecimal digits in five groups.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let mut groups = text.split('-');
    let good = |group: &str, length| {
        group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    lengths.into_iter().all(|length| groups.next().is_some_and(|group| good(group, length)))
        && groups.next().is_none()
}

/// The UUID derived from `/etc/machine-id`: HMAC-SHA-256 of the identifier's 16 bytes under a fixed
/// key, cut to 16 bytes and marked as version 4 (RFC 9562). `None` when the text holds no
/// identifier, as on images that were not booted yet (`uninitialized`).
#[must_use]
pub fn from_machine_id(text: &str) -> Option<String> {
    let digits = text.get(..32)?;
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = hex_digit(*pair.first()?)? << 4 | hex_digit(*pair.last()?)?;
    }
    let mac = HMAC::mac(id, APPLICATION);
    let mut uuid = [0; 16];
    for (byte, derived) in uuid.iter_mut().zip(mac) {
        *byte = derived;
    }
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Some(format_uuid(&uuid))
}

fn hex_digit(byte: u8) -> Option<u8> {
    u8::try_from(char::from(byte).to_digit(16)?).ok()
}

fn format_uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (position, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&position) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The UUID made of the SMBIOS system UUID: its first three fields are stored in the other byte
/// order. `None` for texts that are too short, no UUID, or known to stand in for a missing one.
#[must_use]
pub fn from_product_uuid(text: &str) -> Option<String> {
    let uuid = usable(text)?;
    let mut groups = uuid.split('-');
    let mut swapped = String::with_capacity(36);
    for _ in 0..3 {
        let group = groups.next()?;
        let pairs: Option<Vec<&str>> =
            (0..group.len()).step_by(2).map(|at| group.get(at..at + 2)).rev().collect();
        swapped.push_str(&pairs?.concat());
        swapped.push('-');
    }
    swapped.push_str(groups.next()?);
    swapped.push('-');
    swapped.push_str(groups.next()?);
    Some(swapped)
}

/// The UUID of the device tree's partition, unchanged but for letter case.
#[must_use]
pub fn from_partition_uuid(text: &str) -> Option<String> {
    usable(text)
}

/// The UUID that `text` begins with, in lower case, unless it is known as garbage.
fn usable(text: &str) -> Option<String> {
    let uuid = text.get(..36)?.to_ascii_lowercase();
    (is_uuid(&uuid) && !GARBAGE.contains(&uuid.as_str())).then_some(uuid)
}

/// What the sources of a host NQN say; `None` for a file that is missing or may not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources<'a> {
    /// Text of [`MACHINE_ID_FILE`].
    pub machine_id: Option<&'a str>,
    /// Text of [`PRODUCT_UUID_FILE`].
    pub product_uuid: Option<&'a str>,
    /// Text of [`PARTITION_UUID_FILE`].
    pub partition_uuid: Option<&'a str>,
}

/// The host's UUID from the first source that works, else `random`, a UUID of version 4.
#[must_use]
pub fn host_uuid(sources: &Sources<'_>, random: &str) -> String {
    let machine = || sources.machine_id.and_then(from_machine_id);
    let product = || sources.product_uuid.and_then(from_product_uuid);
    let partition = || sources.partition_uuid.and_then(from_partition_uuid);
    machine().or_else(product).or_else(partition).unwrap_or_else(|| random.to_owned())
}

/// The host ID for a host NQN: the UUID inside it, else `random`. Kernels since 6.5 tie both.
#[must_use]
pub fn host_id(nqn: Option<&str>, random: &str) -> String {
    nqn.and_then(uuid_of_nqn).unwrap_or_else(|| random.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RANDOM: &str = "b3b4b5b6-0000-4000-8000-000000000001";

    // R205
    #[test]
    fn the_machine_id_gives_the_documented_uuid() {
        for (machine_id, uuid) in [
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "3da64a01-16c5-4e10-ac46-397e2372b964"),
            ("0123456789abcdef0123456789abcdef\n", "f2782346-4809-484a-9a8b-952a04b57ba4"),
            ("0123456789ABCDEF0123456789ABCDEF and more", "f2782346-4809-484a-9a8b-952a04b57ba4"),
        ] {
            assert_eq!(from_machine_id(machine_id).as_deref(), Some(uuid));
        }
    }

    // R209
    #[test]
    fn what_is_no_machine_id_gives_nothing() {
        for text in ["", "uninitialized\n", "0123", "0123456789abcdef0123456789abcdeg", "éééééé"]
        {
            assert_eq!(from_machine_id(text), None, "{text:?}");
        }
    }

    // R205
    #[test]
    fn the_product_uuid_is_swapped() {
        for (text, uuid) in [
            (
                "00112233-4455-6677-8899-AABBCCDDEEFF\n",
                Some("33221100-5544-7766-8899-aabbccddeeff"),
            ),
            ("00112233-4455-6677-8899-aabbccddeef", None),
            ("00112233x4455-6677-8899-aabbccddeeff", None),
            ("", None),
        ] {
            assert_eq!(from_product_uuid(text).as_deref(), uuid, "{text}");
            let plain = uuid.map(|_| text.trim().to_lowercase());
            assert_eq!(from_partition_uuid(text), plain, "{text}");
        }
    }

    // R209
    #[test]
    fn uuids_that_stand_for_a_missing_one_are_rejected() {
        for text in [
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "ffffffff-ffff-ffff-ffff-ffffffffffff\n",
            "03000200-0400-0500-0006-000700080009",
        ] {
            assert_eq!(from_product_uuid(text), None, "{text}");
            assert_eq!(from_partition_uuid(text), None, "{text}");
        }
    }

    // R205
    #[test]
    fn the_first_source_that_works_counts() {
        let machine_id = Some("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        let product_uuid = Some("00112233-4455-6677-8899-aabbccddeeff");
        let all = Sources { machine_id, product_uuid, partition_uuid: product_uuid };
        for (sources, uuid) in [
            (all, "3da64a01-16c5-4e10-ac46-397e2372b964"),
            (Sources { machine_id: Some("x"), ..all }, "33221100-5544-7766-8899-aabbccddeeff"),
            (
                Sources { machine_id: None, product_uuid: Some(GARBAGE[0]), ..all },
                "00112233-4455-6677-8899-aabbccddeeff",
            ),
            (Sources::default(), RANDOM),
        ] {
            assert_eq!(host_uuid(&sources, RANDOM), uuid);
        }
    }

    // R206
    #[test]
    fn the_host_id_follows_the_host_nqn() {
        let uuid = "3da64a01-16c5-4e10-ac46-397e2372b964";
        let nqn = nqn_of_uuid(uuid);
        assert_eq!(nqn, "nqn.2014-08.org.nvmexpress:uuid:3da64a01-16c5-4e10-ac46-397e2372b964");
        assert_eq!(host_id(Some(&nqn), RANDOM), uuid);
        assert_eq!(host_id(Some("nqn.2024-01.example:host"), RANDOM), RANDOM);
        assert_eq!(host_id(Some("nqn.2014-08.org.nvmexpress:uuid:nope"), RANDOM), RANDOM);
        assert_eq!(host_id(None, RANDOM), RANDOM);
    }

    proptest! {
        // R205
        #[test]
        fn every_derived_uuid_has_version_and_variant(id in "[0-9a-f]{32}") {
            let uuid = from_machine_id(&id).expect("32 digits");
            prop_assert!(is_uuid(&uuid));
            prop_assert_eq!(&uuid[14..15], "4");
            prop_assert!("89ab".contains(&uuid[19..20]));
        }

        #[test]
        fn no_text_makes_a_derivation_panic(text in any::<String>()) {
            for uuid in [from_machine_id(&text), from_product_uuid(&text)].into_iter().flatten() {
                prop_assert!(is_uuid(&uuid));
            }
        }
    }
}
