// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What hypervisors say: QMP, HTTP, the handshake of vsock, sizes of balloons.
//!
//! Messages come in pieces of any size; how they are cut changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use microvm::ctl::http::Response;
use microvm::ctl::qmp::{Lines, Message};
use microvm::ctl::{balloon, vsock};

fn lines(data: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let (mut lines, mut found) = (Lines::default(), Vec::new());
    for piece in data.chunks(piece) {
        lines.feed(piece).expect("an input is shorter than the limit");
        found.extend(std::iter::from_fn(|| lines.next_line()));
    }
    found
}

fuzz_target!(|data: &[u8]| {
    let found = lines(data, 7);
    assert_eq!(found, lines(data, usize::MAX));
    for line in &found {
        drop(Message::parse(line));
    }
    if let Ok(Some(response)) = Response::parse(data) {
        drop(response.check());
        // What was an answer stays one, whatever follows.
        let more = [data, b"x"].concat();
        assert_eq!(Response::parse(&more).expect("an answer"), Some(response));
    }
    let _ = vsock::parse_answer(data).is_ok();
    let _ = balloon::cloud_hypervisor_size(data).is_ok();
    let _ = balloon::kvmtool_state(data).is_ok();
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = balloon::crosvm_size(text).is_ok();
        let _ = vsock::Target::parse(text);
    }
});
