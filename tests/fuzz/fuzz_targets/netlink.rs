// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Datagrams of the route protocol.
//!
//! What was understood must survive being written, and the table must bear any mixture.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plinth::netlink::interface;
use plinth::netlink::message::messages;
use plinth::netlink::route::{self, Change};

fuzz_target!(|data: &[u8]| {
    let (mut links, mut addresses) = (Vec::new(), Vec::new());
    for message in messages(data) {
        let Ok(message) = message else { break };
        assert!(message.payload.len() < data.len());
        let _ = message.errno();
        let Ok(Some(change)) = route::decode(&message) else { continue };
        let again = route::encode(&change, 1);
        let again = messages(&again).next().expect("one message").expect("well-formed");
        assert_eq!(route::decode(&again), Ok(Some(change.clone())));
        match change {
            Change::Link(link) => links.push(link),
            Change::Address(address) => addresses.push(address),
            _ => {}
        }
    }
    let table = interface::assemble(links, &addresses);
    for mac in table.iter().filter_map(|it| it.mac) {
        for vlan in [None, Some(1)] {
            let found = interface::find_by_mac(&table, mac, vlan);
            assert!(vlan.is_none() || found.is_none_or(|it| it.vlan == vlan));
        }
    }
});
