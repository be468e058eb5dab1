// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machines inside of the example `microvms-host`: one for each hypervisor, with addresses that
//! follow from its name. Pure.

use hmac_sha256::Hash;

use super::constants::Nested;
use crate::config::Hypervisor;

/// Letters of a hypervisor's name in that of its tap: with `vm-` before them, 15 bytes.
const LETTERS: usize = 12;

/// A machine inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner {
    /// What runs it.
    pub hypervisor: Hypervisor,
    /// Its tap.
    pub tap: String,
    /// Its address.
    pub mac: String,
    /// Its address on the network inside.
    pub address: String,
}

/// The machines, one for each hypervisor.
#[must_use]
pub fn machines(network: &Nested) -> Vec<Inner> {
    let of = |(index, hypervisor): (usize, Hypervisor)| {
        let name = hypervisor.name();
        let letters: String = name.chars().take(LETTERS).collect();
        let last = usize::from(network.first) + index;
        Inner {
            hypervisor,
            tap: format!("vm-{letters}"),
            mac: mac(name),
            address: format!("{}.{last}", network.network),
        }
    };
    Hypervisor::ALL.into_iter().enumerate().map(of).collect()
}

/// An address of the kind that nobody sells: the second digit is 2, the others are of a hash.
fn mac(name: &str) -> String {
    let hash = Hash::hash(name.as_bytes());
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let pair = |at: usize| digits.get(at..at + 2).unwrap_or_default();
    let first = digits.get(..1).unwrap_or_default();
    let rest = [2, 4, 6, 8, 10].map(pair).join(":");
    format!("{first}2:{rest}")
}

#[cfg(test)]
mod tests {
    use super::super::constants::constants;
    use super::*;

    #[test]
    fn addresses_follow_from_the_names() {
        let found: Vec<(String, String)> = machines(&constants().expect("constants").nested)
            .into_iter()
            .map(|it| (it.mac, it.address))
            .collect();
        let wanted = [
            ("42:09:26:4a:58:78", "10.0.0.2"),
            ("92:ef:e1:be:91:76", "10.0.0.3"),
            ("c2:d8:72:a1:34:38", "10.0.0.4"),
            ("42:08:27:c5:3f:19", "10.0.0.5"),
            ("02:3b:e3:d7:10:16", "10.0.0.6"),
            ("92:3a:cb:84:36:60", "10.0.0.7"),
            ("f2:69:d5:49:53:e6", "10.0.0.8"),
            ("82:30:cb:b0:9b:03", "10.0.0.9"),
        ];
        let wanted = wanted.map(|(mac, address)| (mac.to_owned(), address.to_owned()));
        assert_eq!(found, wanted);
    }

    #[test]
    fn names_of_taps_fit_the_kernel() {
        for it in machines(&constants().expect("constants").nested) {
            assert!(it.tap.len() <= 15, "{}", it.tap);
        }
    }
}
