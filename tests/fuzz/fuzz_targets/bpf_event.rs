// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Samples of ring and perf buffers through tables that are no less hostile: the first two bytes
//! say how long the table is, the sample follows.
//!
//! Every sample becomes one line of valid JSON.
#![no_main]

use bpf::btf::Btf;
use bpf::event::{Choice, Form, Padding, Stream, Variant, choose};
use bpf::value::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((len, rest)) = data.split_first_chunk::<2>() else { return };
    let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
    let (table, sample) = rest.split_at(len);
    let btf = Btf::parse(table).ok();
    let variant = Variant { offset: 0, size: 1, value: 1, name: "event".to_owned() };
    let tagged = Choice { variants: vec![variant], ..Choice::default() };
    for choice in [Choice::default(), tagged] {
        let Ok(chosen) = choose(btf.as_ref(), "events", &choice) else { continue };
        for padding in [Padding::None, Padding::Perf] {
            for form in [Form::Json, Form::Text, Form::Hex] {
                let chosen = chosen.clone();
                let format = Format { all: true, ..Format::default() };
                let mut stream = Stream::new("events", chosen, form, format, vec![], padding);
                let mut line = String::new();
                assert!(stream.push(sample, Some(0), &mut line));
                assert_eq!(line.matches('\n').count(), 1);
                if form == Form::Json {
                    serde_json::from_str::<serde::de::IgnoredAny>(&line).expect("JSON");
                }
            }
        }
    }
});
