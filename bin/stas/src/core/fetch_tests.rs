// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the discovery log fetch: the command sequences, against a scripted controller.

use super::super::logpage::tests::raw;
use super::*;

const EIO: AdminError = AdminError::Errno(5);

/// What the controller of a test answers to one command: a header, entries, or a failure.
enum Say {
    Header(u64, u64),
    Entries(usize),
    Fail,
}
use Say::{Entries, Fail, Header as Head};

/// Runs a fetch against the script; returns the commands sent, as `H` or `E(offset,len,rae)`.
fn run(attempts: u32, script: &[Say]) -> (Vec<String>, Step) {
    let (mut fetch, mut command) = Fetch::start(Time::ZERO, 0, attempts);
    let mut sent = Vec::new();
    for say in script {
        let AdminCommand::GetLog { lid: 0x70, lsp: 0, rae, offset, len } = command else {
            panic!("unexpected command {command:?}")
        };
        let expects_header = matches!(say, Head(..)) || (matches!(say, Fail) && offset == 0);
        assert_eq!((offset == 0, len == HEADER_LEN), (expects_header, expects_header));
        sent.push(if offset == 0 {
            assert!(!rae);
            "H".to_owned()
        } else {
            format!("E({offset},{len},{})", u8::from(rae))
        });
        let bytes = match say {
            Head(genctr, numrec) => {
                let mut bytes = vec![0; 20];
                bytes[0..8].copy_from_slice(&genctr.to_le_bytes());
                bytes[8..16].copy_from_slice(&numrec.to_le_bytes());
                Ok(bytes)
            }
            Entries(count) => Ok(raw(3, 2, "10.0.0.1", "4420", "nqn.a").repeat(*count)),
            Fail => Err(EIO),
        };
        match fetch.answer(Time::ZERO, bytes.as_deref().map_err(|error| *error)) {
            Step::Send(next) => command = next,
            end => {
                assert_eq!(sent.len(), script.len(), "ended early: {end:?}");
                return (sent, end);
            }
        }
    }
    panic!("the script ended before the fetch, after {sent:?}");
}

fn page_len(step: &Step) -> Option<usize> {
    match step {
        Step::Done(page) => Some(page.entries.len()),
        _ => None,
    }
}

// R182, R121
#[test]
fn a_page_without_entries_takes_one_command() {
    let (sent, end) = run(6, &[Head(0, 0)]);
    assert_eq!(sent, ["H"]);
    assert_eq!(page_len(&end), Some(0));
}

// R182
#[test]
fn only_the_last_piece_of_the_entries_clears_rae() {
    let (sent, end) = run(6, &[Head(0, 4), Entries(4), Head(0, 4)]);
    assert_eq!((sent.join(" ").as_str(), page_len(&end)), ("H E(1024,4096,0) H", Some(4)));
    let (sent, end) = run(6, &[Head(0, 5), Entries(4), Entries(1), Head(0, 5)]);
    assert_eq!(
        (sent.join(" ").as_str(), page_len(&end)),
        ("H E(1024,4096,1) E(5120,1024,0) H", Some(5))
    );
}

// R182
#[test]
fn a_new_generation_restarts_at_the_entries() {
    let script = [Head(0, 1), Entries(1), Head(1, 2), Entries(2), Head(1, 2)];
    let (sent, end) = run(6, &script);
    assert_eq!(sent.join(" "), "H E(1024,1024,0) H E(1024,2048,0) H");
    assert!(matches!(end, Step::Done(Page { genctr: 1, ref entries }) if entries.len() == 2));
    let (_, emptied) = run(6, &[Head(0, 1), Entries(1), Head(1, 0)]);
    assert_eq!(page_len(&emptied), Some(0));
}

// R182
#[test]
fn a_page_that_keeps_changing_is_given_up() {
    let script = [Head(0, 1), Entries(1), Head(1, 1), Entries(1), Head(2, 1)];
    let (_, end) = run(2, &script);
    assert_eq!(end, Step::Failed(FetchError::KeepsChanging));
}

// R182
#[test]
fn a_failed_command_ends_the_fetch_without_a_page() {
    let failed = Step::Failed(FetchError::Command(EIO));
    assert_eq!(run(6, &[Fail]).1, failed);
    assert_eq!(run(6, &[Head(0, 1), Fail]).1, failed);
    assert_eq!(run(6, &[Head(0, 1), Entries(1), Fail]).1, failed);
}

// R182
#[test]
fn a_length_that_moves_without_its_generation_is_refused() {
    let (_, end) = run(6, &[Head(3, 1), Entries(1), Head(3, 2)]);
    assert_eq!(end, Step::Failed(FetchError::Inconsistent));
}

// R183
#[test]
fn an_absurd_number_of_entries_is_refused_before_anything_is_allocated() {
    let (sent, end) = run(6, &[Head(0, 1 << 40)]);
    assert_eq!(sent, ["H"]);
    assert_eq!(end, Step::Failed(FetchError::TooLarge(1 << 40)));
}

// R183
#[test]
fn a_controller_that_answers_too_slowly_is_given_up() {
    let (mut fetch, _) = Fetch::start(Time::ZERO, 0, 6);
    let late = Time::ZERO + TIME_MAX;
    assert_eq!(fetch.answer(late, Ok(&[0; 20])), Step::Failed(FetchError::TooSlow));
}

// R186
#[test]
fn extended_records_are_refused_not_misread() {
    let mut header = [0; 20];
    (header[8], header[16]) = (1, 1);
    let (mut fetch, _) = Fetch::start(Time::ZERO, 0, 6);
    assert_eq!(fetch.answer(Time::ZERO, Ok(&header)), Step::Failed(FetchError::Format(1)));
}

#[test]
fn short_answers_are_refused() {
    let (mut fetch, _) = Fetch::start(Time::ZERO, 0, 6);
    assert_eq!(fetch.answer(Time::ZERO, Ok(&[0; 17])), Step::Failed(FetchError::Short));
}

// R084
#[test]
fn entries_that_name_no_place_are_left_out() {
    let (mut fetch, _) = Fetch::start(Time::ZERO, 0, 6);
    let mut header = [0; 20];
    header[8] = 2;
    fetch.answer(Time::ZERO, Ok(&header));
    let mut entries = raw(3, 2, "0.0.0.0", "4420", "nqn.a");
    entries.extend(raw(3, 2, "10.0.0.2", "4420", "nqn.b"));
    fetch.answer(Time::ZERO, Ok(&entries));
    let Step::Done(page) = fetch.answer(Time::ZERO, Ok(&header)) else { panic!("no page") };
    let kept: Vec<_> = page.entries.iter().map(|entry| &*entry.traddr).collect();
    assert_eq!(kept, ["10.0.0.2"]);
}
