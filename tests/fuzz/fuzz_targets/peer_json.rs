// SPDX-License-Identifier: Apache-2.0 OR MIT
//! JSON from others: the finder's answer, the control socket in both directions, the state file.
//!
//! What was understood must survive being written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stas::core::control::{Lines, Message, Request};
use stas::core::lkc::State;
use stas::core::report;

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = Request::decode(data) {
        let line = request.encode();
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert_eq!(Request::decode(line.trim_end().as_bytes()), Ok(request));
    }
    drop(Message::decode(data));
    let mut lines = Lines::new(4096);
    lines.push(data);
    while let Ok(Some(line)) = lines.next_line() {
        assert!(line.len() < data.len());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(sources) = report::decode(text) {
        assert!(sources.iter().all(|it| !it.key().is_empty()));
    }
    if let Ok(state) = State::decode(text) {
        let again = State::decode(&state.encode()).expect("what we wrote");
        assert_eq!(again.encode(), state.encode());
    }
});
