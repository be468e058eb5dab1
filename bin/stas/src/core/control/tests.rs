// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the control-socket codec: both directions, hostile lines, framing.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn seven() -> Seven {
    ["tcp", "192.0.2.1", "8009", "nqn.2014-08.org.nvmexpress.discovery", "", "eth0", "nqn.x:é\"\n"]
        .map(str::to_owned)
}

fn every_call() -> Vec<Call> {
    vec![
        Call::ProcessInfo,
        Call::ControllerInfo(seven()),
        Call::ListControllers { detailed: true },
        Call::ListControllers { detailed: false },
        Call::GetLogPages(seven()),
        Call::GetAllLogPages { detailed: true },
        Call::GetTron,
        Call::SetTron(true),
        Call::SetTron(false),
        Call::GetLogLevel,
        Call::ReloadConfig,
        Call::Rescan,
        Call::Subscribe,
    ]
}

fn decode(text: &str) -> Result<Request, RequestError> {
    Request::decode(text.trim_end_matches('\n').as_bytes())
}

#[test]
fn every_request_survives_the_wire() {
    for call in every_call() {
        for id in [None, Some(0), Some(u64::MAX)] {
            let request = Request { id, call: call.clone() };
            let line = request.encode();
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert_eq!(decode(&line), Ok(request));
        }
    }
}

#[test]
fn a_request_has_the_documented_form() {
    let call = Call::ListControllers { detailed: true };
    let line = Request { id: Some(1), call }.encode();
    assert_eq!(line, "{\"detailed\":true,\"id\":1,\"method\":\"list_controllers\"}\n");
}

#[test]
fn missing_arguments_have_defaults_and_unknown_keys_are_ignored() {
    let request = decode(r#"{"method":"list_controllers","colour":"red"}"#);
    assert_eq!(request, Ok(Request { id: None, call: Call::ListControllers { detailed: false } }));
    let request = decode(r#"{"method":"get_log_pages","traddr":"192.0.2.7"}"#);
    let mut seven = Seven::default();
    "192.0.2.7".clone_into(&mut seven[1]);
    assert_eq!(request, Ok(Request { id: None, call: Call::GetLogPages(seven) }));
}

#[test]
fn a_bad_request_says_what_is_wrong_with_it() {
    let deep = "[".repeat(10_000);
    for (line, id, name, part) in [
        ("", None, INVALID_ARGS, "no JSON"),
        ("nonsense", None, INVALID_ARGS, "no JSON"),
        (deep.as_str(), None, INVALID_ARGS, "no JSON"),
        ("[1]", None, INVALID_ARGS, "no JSON object"),
        (r#"{"id":4}"#, Some(4), INVALID_ARGS, "names no method"),
        (r#"{"id":4,"method":7}"#, Some(4), INVALID_ARGS, "names no method"),
        (r#"{"id":4,"method":"tron\n"}"#, Some(4), UNKNOWN_METHOD, r#""tron\n""#),
        (r#"{"id":-1,"method":"set_tron"}"#, None, INVALID_ARGS, "'value' is missing"),
        (r#"{"id":"a","method":"set_tron","value":1}"#, None, INVALID_ARGS, "no boolean"),
        (r#"{"method":"list_controllers","detailed":"yes"}"#, None, INVALID_ARGS, "'detailed'"),
        (r#"{"method":"controller_info","traddr":5}"#, None, INVALID_ARGS, "'traddr'"),
    ] {
        let error = decode(line).expect_err("refused");
        assert_eq!((error.id, error.name), (id, name), "{line:.40}");
        assert!(error.to_string().contains(part), "{error} of {line:.40}");
    }
}

#[test]
fn only_what_changes_the_daemon_is_privileged() {
    let privileged: Vec<_> =
        every_call().iter().filter(|call| call.is_privileged()).map(Call::method).collect();
    assert_eq!(privileged, ["set_tron", "set_tron", "reload_config", "rescan"]);
}

#[test]
fn replies_survive_the_wire() {
    let value = json!([{ "device": "nvme0", "traddr": "a\nb" }]);
    let line = reply(Some(7), &value);
    assert_eq!(line.matches('\n').count(), 1);
    assert_eq!(Message::decode(line.as_bytes()), Ok(Message::Result { id: Some(7), value }));
    let line = reply_error(Some(8), FAILED, "no such \"thing\"\n");
    assert_eq!(line.matches('\n').count(), 1);
    let (name, text) = (FAILED.to_owned(), "no such \"thing\"\n".to_owned());
    assert_eq!(Message::decode(line.as_bytes()), Ok(Message::Error { id: Some(8), name, text }));
    assert_eq!(reply(None, &Value::Null), "{\"result\":null}\n");
}

#[test]
fn a_result_given_as_text_over_several_lines_stays_one_line() {
    let line = reply_json(Some(1), "{\n  \"a\": \"x\\ny\"\r\n}");
    assert_eq!(line.matches('\n').count(), 1);
    let value = json!({ "a": "x\ny" });
    assert_eq!(Message::decode(line.as_bytes()), Ok(Message::Result { id: Some(1), value }));
}

#[test]
fn an_answer_beyond_the_bound_becomes_an_error() {
    let fits = "x".repeat(REPLY_BYTES_MAX - 2 - "{\"id\":1,\"result\":}".len());
    let line = reply(Some(1), &Value::String(fits.clone()));
    assert_eq!(line.len(), REPLY_BYTES_MAX + 1);
    let line = reply(Some(1), &Value::String(fits + "x"));
    let Ok(Message::Error { id: Some(1), name, .. }) = Message::decode(line.as_bytes()) else {
        panic!("no error: {line:.80}");
    };
    assert_eq!(name, LIMITS_EXCEEDED);
}

#[test]
fn signals_survive_the_wire() {
    for signal in [
        Signal::LogPagesChanged { seven: Box::new(seven()), device: "nvme0".into() },
        Signal::DcRemoved,
        Signal::TronChanged(true),
    ] {
        let line = signal.encode();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(Message::decode(line.as_bytes()), Ok(Message::Signal(signal)));
    }
    assert_eq!(Message::decode(br#"{"signal":"solar_eclipse"}"#), Ok(Message::Unknown));
}

#[test]
fn a_bad_message_is_refused() {
    for line in [
        "",
        "7",
        "{}",
        r#"{"id":1}"#,
        r#"{"error":"text"}"#,
        r#"{"signal":7}"#,
        r#"{"signal":"log_pages_changed","tid":7}"#,
        r#"{"signal":"log_pages_changed","tid":{"traddr":7}}"#,
        r#"{"signal":"tron_changed","value":"on"}"#,
    ] {
        assert!(Message::decode(line.as_bytes()).is_err(), "{line}");
    }
}

#[test]
fn lines_come_out_whole_in_order_and_without_their_ends() {
    let mut lines = Lines::new(8);
    lines.push(b"ab");
    assert_eq!(lines.next_line(), Ok(None));
    lines.push(b"cd\r\n\n\r\nef\ngh");
    assert_eq!(lines.next_line(), Ok(Some(b"abcd".to_vec())));
    assert_eq!(lines.next_line(), Ok(Some(b"ef".to_vec())));
    assert_eq!(lines.next_line(), Ok(None));
    lines.push(b"\n");
    assert_eq!(lines.next_line(), Ok(Some(b"gh".to_vec())));
    assert_eq!(lines.next_line(), Ok(None));
}

#[test]
fn a_line_of_the_bound_passes_and_a_longer_one_does_not() {
    let too_long = LineTooLong { bytes_max: 4 };
    let mut lines = Lines::new(4);
    lines.push(b"abcd");
    assert_eq!(lines.next_line(), Ok(None));
    lines.push(b"\nabcde\n");
    assert_eq!(lines.next_line(), Ok(Some(b"abcd".to_vec())));
    assert_eq!(lines.next_line(), Err(too_long));
    let mut lines = Lines::new(4);
    lines.push(b"abcde");
    assert_eq!(lines.next_line(), Err(too_long));
    assert_eq!(too_long.to_string(), "line longer than 4 bytes");
}

proptest! {
    #[test]
    fn no_bytes_upset_the_decoders(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(Request::decode(&bytes));
        drop(Message::decode(&bytes));
    }

    #[test]
    fn any_strings_survive_a_request(seven in proptest::array::uniform7(any::<String>())) {
        let request = Request { id: Some(1), call: Call::ControllerInfo(seven) };
        prop_assert_eq!(decode(&request.encode()), Ok(request));
    }

    #[test]
    fn the_cutting_does_not_depend_on_the_pieces(
        text in "[ab\n\r]{0,60}",
        cuts in proptest::collection::vec(1_usize..7, 1..20),
    ) {
        let take = |lines: &mut Lines| {
            std::iter::from_fn(|| lines.next_line().expect("short enough")).collect::<Vec<_>>()
        };
        let mut whole = Lines::new(100);
        whole.push(text.as_bytes());
        let expected = take(&mut whole);
        let (mut pieces, mut got, mut rest) = (Lines::new(100), Vec::new(), text.as_bytes());
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            pieces.push(piece);
            got.extend(take(&mut pieces));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(got, expected);
    }
}
