// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Discovery log pages, as a controller sends them, through the machine that fetches them.
//!
//! Entries that count as usable cannot leave their place in an option list.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plinth::time::Time;
use stas::core::fetch::{Fetch, Step};
use stas::core::logpage::{ENTRY_LEN, Entry};
use stas::core::port::AdminCommand;

/// Commands that one fetch may send here; the generation may change in every page.
const COMMANDS_MAX: usize = 64;

fuzz_target!(|data: &[u8]| {
    for chunk in data.chunks(ENTRY_LEN) {
        let Some(entry) = Entry::decode(chunk) else { continue };
        if entry.usable() {
            assert!(!entry.traddr.contains([',', '\n', '\0']));
            assert!(!entry.subnqn.contains([',', '\n', '\0']));
        }
        assert!(!entry.python().is_empty());
        let json = serde_json::json!(entry.dictionary());
        let again = Entry::from_dictionary(json.as_object().expect("a dictionary"));
        assert_eq!((again.portid, again.cntlid), (entry.portid, entry.cntlid));
    }
    // A controller that holds these bytes, and repeats them beyond their end.
    let (mut fetch, mut command) = Fetch::start(Time::ZERO, 0, 3);
    for _ in 0..COMMANDS_MAX {
        let AdminCommand::GetLog { offset, len, .. } = command else { panic!("{command:?}") };
        let offset = usize::try_from(offset).expect("64 bits");
        let len = usize::try_from(len).expect("64 bits");
        assert!(len <= 1 << 20, "{command:?}");
        let mut answer = Vec::with_capacity(len + data.len());
        if !data.is_empty() {
            answer.extend(&data[offset % data.len()..]);
            while answer.len() < len {
                answer.extend(data);
            }
            answer.truncate(len);
        }
        match fetch.answer(Time::ZERO, Ok(&answer)) {
            Step::Send(next) => command = next,
            Step::Done(_) | Step::Failed(_) => return,
        }
    }
});
