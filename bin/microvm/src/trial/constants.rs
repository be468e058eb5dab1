// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the examples share: ports, addresses, times. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::source::Files;

/// The file, as it stands beside the examples.
pub const TEXT: &str = include_str!("../../examples/constants.toml");

/// Times are this much longer where the processor is emulated.
const EMULATED: u32 = 4;

/// All constants.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constants {
    /// First and last port that an example may use, and those for VNC.
    pub ranges: BTreeMap<String, (u16, u16)>,
    /// The examples by their names.
    pub examples: BTreeMap<String, Example>,
    /// The machines inside of `microvms-host`.
    pub nested: Nested,
}

/// What belongs to one example.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Example {
    /// The port of the serial console.
    pub serial: Option<u16>,
    /// The port of the virtio console.
    pub virtio: Option<u16>,
    /// The port of the display.
    pub vnc: Option<u16>,
    /// The port of this host that is forwarded.
    pub host: Option<u16>,
    /// The port of the guest that it is forwarded to.
    pub guest: Option<u16>,
    /// What answers there.
    pub service: Option<String>,
    /// Memory in MiB.
    pub mem: u64,
    /// Processors.
    pub vcpu: u32,
    /// Seconds: between two looks, for a port, for the console, for one answer.
    pub times: (u32, u32, u32, u32),
    /// The tap, where it has one or may have one.
    pub tap: Option<String>,
    /// The bridge of the tap.
    pub bridge: Option<String>,
    /// The host on that bridge.
    pub gateway: Option<String>,
    /// The guest on that bridge.
    pub address: Option<String>,
    /// The guest's address.
    pub mac: Option<String>,
}

/// The network inside of `microvms-host`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nested {
    /// The first three numbers of the addresses.
    pub network: String,
    /// The last number of the first machine.
    pub first: u8,
    /// The bridge.
    pub bridge: String,
    /// Its address.
    pub gateway: String,
    /// Its address of the sixth version.
    pub prefix6: String,
    /// The password of the machines, insecure on purpose.
    pub password: String,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Between two looks.
    pub poll: Duration,
    /// Until a port is open.
    pub port: Duration,
    /// Until the guest answers on its console.
    pub boot: Duration,
    /// Until it answers once it is there.
    pub command: Duration,
}

impl Example {
    /// Every port of this host that it listens on.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        [self.serial, self.virtio, self.vnc, self.host].into_iter().flatten().collect()
    }

    /// How long things may take, on a processor that is emulated or not.
    #[must_use]
    pub fn times(&self, is_emulated: bool) -> Times {
        let factor = if is_emulated { EMULATED } else { 1 };
        let (poll, port, boot, command) = self.times;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Times {
            poll: seconds(poll),
            port: seconds(port) * factor,
            boot: seconds(boot) * factor,
            command: seconds(command) * factor,
        }
    }
}

/// What an example has that the file says nothing of.
#[must_use]
pub fn plain() -> Example {
    Example { mem: 512, vcpu: 1, times: (1, 120, 180, 5), ..Example::default() }
}

/// The constants.
///
/// # Errors
/// The file is not as it should be; the tests see to it that it is.
pub fn constants() -> Result<Constants, String> {
    let mut files = Files::default();
    let file = files.add("constants.toml", TEXT);
    let tree = files.parse(file).map_err(|errors| {
        errors.iter().map(|error| error.text(&files)).collect::<Vec<_>>().join("; ")
    })?;
    serde_json::from_value(tree.value.to_json()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_the_port_of_another() {
        let all = constants().expect("constants");
        let mut seen = BTreeMap::new();
        for (name, example) in &all.examples {
            for port in example.ports() {
                assert_eq!(seen.insert(port, name), None, "{port} of {name}");
            }
            let consoles = example.serial.into_iter().chain(example.virtio);
            let (first, last) = all.ranges[name];
            for port in consoles {
                assert!((first..=last).contains(&port), "{port} of {name}");
            }
            let (first, last) = all.ranges["vnc"];
            assert!(example.vnc.is_none_or(|port| (first..=last).contains(&port)), "{name}");
        }
        assert_eq!(seen.len(), 14, "{seen:?}");
    }

    #[test]
    fn ranges_of_ports_are_disjoint() {
        let all = constants().expect("constants");
        let mut ranges: Vec<(u16, u16)> = all.ranges.values().copied().collect();
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            assert!(pair[0].0 <= pair[0].1 && pair[0].1 < pair[1].0, "{pair:?}");
        }
        for name in all.examples.keys() {
            assert!(all.ranges.contains_key(name), "{name} has a range");
        }
    }

    #[test]
    fn no_two_examples_share_an_address() {
        let all = constants().expect("constants");
        let of = |get: fn(&Example) -> Option<&String>| {
            let mut values: Vec<&String> = all.examples.values().filter_map(get).collect();
            let count = values.len();
            values.sort();
            values.dedup();
            (count, values.len())
        };
        for (all, distinct) in [of(|it| it.tap.as_ref()), of(|it| it.mac.as_ref())] {
            assert_eq!(all, distinct);
        }
        assert_eq!(of(|it| it.address.as_ref()), (3, 3));
    }

    #[test]
    fn emulation_gets_four_times_as_long() {
        let times = plain().times(true);
        assert_eq!((times.poll.as_secs(), times.port.as_secs()), (1, 480));
        assert_eq!(plain().times(false).command.as_secs(), 5);
    }
}
