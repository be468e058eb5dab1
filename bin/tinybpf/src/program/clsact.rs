// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The queueing discipline that classic filters live in (`clsact`): made when the first filter
//! needs it, removed when it was made here and no filter is left.
//!
//! Whether filters are left is asked over rtnetlink, since libbpf finds only those it is told
//! about. When the kernel's answer is not understood, the discipline stays.

use plinth::netlink::message::{DONE, DUMP, ERROR, Encoder, Header, REQUEST, messages};
use plinth::sys::netlink::{Protocol, Reception, Socket};

use crate::sys::filter::destroy_clsact;

/// `RTM_NEWTFILTER` and `RTM_GETTFILTER`.
const NEW_FILTER: u16 = 44;
const GET_FILTER: u16 = 46;

/// The two sides of `clsact`, as parents of filters.
const SIDES: [u32; 2] = [0xffff_fff2, 0xffff_fff3];

/// Messages that are read of one answer.
const ANSWERS_MAX: usize = 64;

/// Removes the discipline of an interface unless it has filters. Whoever removed it first was as
/// right.
pub(crate) fn remove_if_empty(ifindex: i32) {
    let empty = SIDES.iter().all(|side| has_filters(ifindex, *side) == Some(false));
    if empty {
        let _gone = destroy_clsact(ifindex);
    }
}

/// Whether there are filters at one side; `None` when that cannot be told.
fn has_filters(ifindex: i32, side: u32) -> Option<bool> {
    let socket = Socket::open(Protocol::Route, 0).ok()?;
    let header = Header { kind: GET_FILTER, flags: REQUEST | DUMP, sequence: 1, port: 0 };
    socket.send(0, &Encoder::new(header, &request(ifindex, side)).finish()).ok()?;
    let mut buffer = vec![0; 1 << 15];
    for _ in 0..ANSWERS_MAX {
        let Reception::Message(envelope) = socket.receive(&mut buffer).ok()? else { return None };
        if envelope.port == 0 {
            let found = judge(buffer.get(..envelope.len)?);
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

/// `struct tcmsg` of `linux/rtnetlink.h`.
fn request(ifindex: i32, side: u32) -> Vec<u8> {
    let words = [0, u32::from_ne_bytes(ifindex.to_ne_bytes()), 0, side, 0];
    words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
}

/// What a part of the answer says: a filter, the end without one, or nothing yet.
fn judge(datagram: &[u8]) -> Option<bool> {
    messages(datagram).find_map(|message| match message.ok()?.header.kind {
        NEW_FILTER => Some(true),
        // An interface without the discipline has no filters either.
        DONE | ERROR => Some(false),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16) -> Vec<u8> {
        Encoder::new(Header { kind, ..Header::default() }, &[0; 20]).finish()
    }

    #[test]
    fn one_filter_is_enough_and_the_end_is_none() {
        assert_eq!(judge(&[message(NEW_FILTER), message(DONE)].concat()), Some(true));
        assert_eq!(judge(&message(DONE)), Some(false));
        assert_eq!(judge(&message(99)), None);
        assert_eq!(judge(b"x"), None);
    }

    #[test]
    fn the_request_is_as_long_as_the_kernels_structure() {
        assert_eq!(request(7, SIDES[0]).len(), 20);
        assert_eq!(request(7, SIDES[0])[4..8], 7_i32.to_ne_bytes());
    }
}
