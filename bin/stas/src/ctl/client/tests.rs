// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the commands, against daemons that answer as they are told.

use std::io::Write;

use super::*;
use crate::core::control::{self, ACCESS_DENIED, FAILED as ERROR_FAILED, Signal, UNKNOWN_METHOD};
use crate::ctl::testing::{Place, Reply, request};

/// Runs `words` against the socket of `place`, which is the root as well: status and output.
fn run(client: &Client, place: &Place, words: &str) -> (Result<u8, Failure>, String) {
    let mut out = Vec::new();
    let root = place.0.root();
    let mut world =
        World { env: &|_| None, root, superuser: false, out: &mut out, terminal: false };
    let socket = place.socket().into_os_string();
    let words = words.split_whitespace().map(OsString::from);
    let result = client.run(["--socket".into(), socket].into_iter().chain(words), &mut world);
    (result, String::from_utf8(out).expect("UTF-8"))
}

fn controller(device: &str, connected: &str) -> Value {
    json!({
        "transport": "tcp", "traddr": "192.0.2.1", "trsvcid": "8009", "subsysnqn": "nqn.dc",
        "host-traddr": "192.0.2.9", "host-iface": "eth0", "host-nqn": "nqn.host",
        "device": device, "connected": connected,
    })
}

fn controller_seven() -> Seven {
    ["tcp", "192.0.2.1", "8009", "nqn.dc", "192.0.2.9", "eth0", "nqn.host"].map(str::to_owned)
}

/// A daemon with one controller and everything in working order.
fn good(call: &Call) -> Reply {
    Ok(match call {
        Call::ProcessInfo => json!({ "tron": false, "hostkey": null }),
        Call::ListControllers { .. } => json!([controller("nvme0", "True")]),
        Call::ControllerInfo(_) => json!({ "connect attempts": "1", "device": "nvme0" }),
        Call::GetLogPages(_) => json!([{ "subtype": "nvme", "subnqn": "nqn.s" }]),
        Call::GetAllLogPages { .. } => {
            let controller = json!({ "device": "nvme0" });
            json!([{ "discovery-controller": controller, "log-pages": [{ "eflags": "4" }] }])
        }
        Call::GetTron => json!(true),
        _ => Value::Null,
    })
}

#[test]
fn tracing_is_switched_and_read_back() {
    for (words, set, text) in [
        ("tron", true, "tron = True\n"),
        ("troff", false, "tron = True\n"),
        ("tron -o table", true, "tron = True\n"),
        ("tron --json", true, "{\"tron\":true}\n"),
    ] {
        let place = Place::new();
        let daemon = place.answering(good);
        let (result, out) = run(&STACCTL_CLIENT, &place, words);
        assert_eq!((result.expect("done"), out.as_str()), (0, text));
        assert_eq!(daemon.join().expect("well"), [Call::SetTron(set), Call::GetTron]);
    }
}

#[test]
fn a_denial_is_reported_as_one() {
    let place = Place::new();
    let daemon = place.answering(|_| Err((ACCESS_DENIED, "you are uid 1000")));
    let (result, out) = run(&STAFCTL_CLIENT, &place, "troff");
    let failure = result.expect_err("denied");
    assert_eq!((failure.exit, out.as_str()), (1, ""));
    let text = failure.to_string();
    assert!(text.contains("root is needed") && text.contains("you are uid 1000"), "{text}");
    assert_eq!(daemon.join().expect("well").len(), 1);
}

#[test]
fn a_daemons_error_is_reported_with_name_and_text() {
    let place = Place::new();
    let daemon = place.answering(|_| Err((ERROR_FAILED, "it broke\u{1b}[2J")));
    let (result, _) = run(&STAFCTL_CLIENT, &place, "ls");
    let failure = result.expect_err("failed");
    let text = "stafd answered org.freedesktop.DBus.Error.Failed: it broke\\u{1b}[2J";
    assert_eq!((failure.exit, failure.to_string().as_str()), (1, text));
    daemon.join().expect("well");
}

#[test]
fn a_daemon_that_does_not_run_has_its_own_words() {
    let place = Place::new();
    for words in ["ls", "status", "tron", "dlp -a x -s 1", "adlp", "wait --timeout 0"] {
        let (result, out) = run(&STAFCTL_CLIENT, &place, words);
        let failure = result.expect_err("nobody is there");
        assert!(failure.cause.is::<Verbatim>(), "{failure}");
        assert!(failure.to_string().starts_with("Unable to communicate with stafd over "));
        assert_eq!((failure.exit, out.as_str()), (1, ""));
    }
}

#[test]
fn ls_prints_the_list_in_each_form() {
    for (words, detailed, part) in [
        ("ls", false, "[{'connected': 'True',\n  'device': 'nvme0',\n"),
        ("ls -d", true, "[{'connected': 'True',\n"),
        ("--json ls --detailed", true, "\"typed\":{\"connected\":true,\"trsvcid\":8009}"),
        ("ls -otable", false, "DEVICE  TRANSPORT"),
        ("ls -do table", true, "nvme0   connected  tcp"),
    ] {
        let place = Place::new();
        let daemon = place.answering(good);
        let (result, out) = run(&STAFCTL_CLIENT, &place, words);
        assert_eq!(result.expect("done"), 0);
        assert!(out.contains(part) && out.ends_with('\n'), "{words}: {out}");
        assert_eq!(daemon.join().expect("well"), [Call::ListControllers { detailed }]);
    }
}

#[test]
fn the_status_joins_what_three_calls_tell() {
    let place = Place::new();
    let daemon = place.answering(good);
    let (result, out) = run(&STAFCTL_CLIENT, &place, "status --json");
    assert_eq!(result.expect("done"), 0);
    let status: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(status["tron"], json!(false));
    assert_eq!(status["process"]["pid"], json!(std::process::id()));
    let first = &status["controllers"][0];
    assert_eq!(first["traddr"], "192.0.2.1");
    assert_eq!(first["connect attempts"], "1");
    assert_eq!(first["log_pages"][0]["subnqn"], "nqn.s");
    let calls = [
        Call::ProcessInfo,
        Call::ListControllers { detailed: true },
        Call::GetLogPages(controller_seven()),
        Call::ControllerInfo(controller_seven()),
    ];
    assert_eq!(daemon.join().expect("well"), calls);
}

#[test]
fn the_status_of_the_connector_has_no_log_pages() {
    let place = Place::new();
    let daemon = place.answering(good);
    let (result, out) = run(&STACCTL_CLIENT, &place, "status");
    assert_eq!(result.expect("done"), 0);
    assert!(!out.contains("log_pages") && out.contains("'connect attempts': '1'"), "{out}");
    assert!(!out.contains("process"), "the reference has no such key: {out}");
    let calls = daemon.join().expect("well");
    assert!(!calls.iter().any(|call| matches!(call, Call::GetLogPages(_))));
}

#[test]
fn the_table_of_the_status_begins_with_the_process() {
    let place = Place::new();
    let daemon = place.answering(good);
    let pid = std::process::id();
    place.file("proc/uptime", "1000.0 1.0");
    let stat = format!("{pid} (stafd) S {} 90000 0", "0 ".repeat(18));
    place.file(&format!("proc/{pid}/stat"), &stat);
    place.file(&format!("proc/{pid}/status"), "VmRSS:\t  1024 kB\n");
    let (result, out) = run(&STAFCTL_CLIENT, &place, "status -o table");
    assert_eq!(result.expect("done"), 0);
    let first = format!("stafd: pid {pid}, up 1 min 40 s, 1.0 MiB resident");
    assert_eq!(out.lines().next(), Some(first.as_str()));
    assert_eq!(out.lines().nth(1), Some("controllers: 1 (1 connected)"));
    daemon.join().expect("well");
}

#[test]
fn a_secret_that_a_daemon_tells_is_not_passed_on() {
    for words in ["ls", "ls --json", "ls -o table", "status", "status --json"] {
        let place = Place::new();
        let daemon = place.answering(|call| match call {
            Call::ListControllers { .. } => {
                Ok(json!([{ "device": "nvme0 DHHC-1:00:c2VjcmV0:", "dhchap-secret": "c2VjcmV0" }]))
            }
            Call::ProcessInfo => Ok(json!({ "hostkey": "c2VjcmV0" })),
            other => good(other),
        });
        let (result, out) = run(&STAFCTL_CLIENT, &place, words);
        assert_eq!(result.expect("done"), 0);
        assert!(!out.contains("c2VjcmV0"), "{words}: {out}");
        daemon.join().expect("well");
    }
}

#[test]
fn members_that_an_older_daemon_lacks_are_done_without() {
    let place = Place::new();
    let daemon = place.answering(|call| match call {
        Call::ControllerInfo(_) | Call::GetLogPages(_) => Err((UNKNOWN_METHOD, "what?")),
        other => good(other),
    });
    let (result, out) = run(&STAFCTL_CLIENT, &place, "status");
    assert_eq!(result.expect("done"), 0);
    assert!(out.contains("'log_pages': []"), "{out}");
    daemon.join().expect("well");
}

#[test]
fn dlp_asks_for_exactly_the_controller_named() {
    for (words, host_nqn) in [
        ("dlp -a 192.0.2.1 -s 8009", "nqn.2014-08.org.example:this-host"),
        ("dlp -a 192.0.2.1 -s 8009 -q nqn.other", "nqn.other"),
        ("dlp -a 192.0.2.1 -s 8009 --host-nqn=", ""),
    ] {
        let place = Place::new();
        let daemon = place.answering(good);
        place.file("etc/nvme/hostnqn", "nqn.2014-08.org.example:this-host\n");
        place.file("etc/nvme/hostid", "01234567-0123-0123-0123-0123456789ab\n");
        let (result, out) = run(&STAFCTL_CLIENT, &place, words);
        assert_eq!(result.expect("done"), 0);
        assert_eq!(out, "[{'subnqn': 'nqn.s', 'subtype': 'nvme'}]\n");
        let dc = "nqn.2014-08.org.nvmexpress.discovery";
        let seven = ["tcp", "192.0.2.1", "8009", dc, "", "", host_nqn].map(str::to_owned);
        assert_eq!(daemon.join().expect("well"), [Call::GetLogPages(seven)]);
    }
}

#[test]
fn dlp_works_on_a_host_without_a_name() {
    let place = Place::new();
    let daemon = place.answering(good);
    let (result, _) = run(&STAFCTL_CLIENT, &place, "dlp -a x -s 1");
    assert_eq!(result.expect("done"), 0);
    let calls = daemon.join().expect("well");
    assert!(matches!(&calls[..], [Call::GetLogPages([.., host_nqn])] if host_nqn.is_empty()));
}

#[test]
fn dlp_needs_address_and_port() {
    let place = Place::new();
    for (words, missing) in [("dlp -a x", "--trsvcid"), ("dlp -s 1", "--traddr")] {
        let (result, _) = run(&STAFCTL_CLIENT, &place, words);
        let failure = result.expect_err("incomplete");
        assert_eq!(failure.exit, USAGE);
        assert!(failure.to_string().contains(missing), "{failure}");
    }
}

#[test]
fn adlp_prints_all_pages() {
    let place = Place::new();
    let daemon = place.answering(good);
    let (result, out) = run(&STAFCTL_CLIENT, &place, "adlp -d --json");
    assert_eq!(result.expect("done"), 0);
    let pages = r#"[{"eflags":"4","typed":{"eflags":4}}]"#;
    let text = r#"[{"discovery-controller":{"device":"nvme0"},"log-pages":"#;
    assert_eq!(out, format!("{text}{pages}}}]\n"));
    assert_eq!(daemon.join().expect("well"), [Call::GetAllLogPages { detailed: true }]);
}

#[test]
fn waiting_ends_with_the_signal_that_brings_the_last_connection() {
    let place = Place::new();
    let daemon = place.daemon(|mut from, mut to| {
        let mut looks = 0;
        let subscribe = request(&mut from);
        assert_eq!(subscribe.call, Call::Subscribe);
        to.write_all(control::reply(subscribe.id, &Value::Null).as_bytes()).expect("sent");
        for lists in [json!([controller("nvme?", "False")]), json!([controller("nvme0", "True")])] {
            let look = request(&mut from);
            assert_eq!(look.call, Call::ListControllers { detailed: true });
            let mut text = control::reply(look.id, &lists);
            text.push_str(&Signal::DcRemoved.encode());
            to.write_all(text.as_bytes()).expect("sent");
            looks += 1;
        }
        looks
    });
    let (result, out) = run(&STAFCTL_CLIENT, &place, "wait --timeout 20");
    assert_eq!((result.expect("connected"), out.as_str()), (0, ""));
    assert_eq!(daemon.join().expect("well"), 2);
}

#[test]
fn waiting_in_vain_says_how_many_there_are() {
    let place = Place::new();
    let daemon = place.answering(good);
    let (result, _) = run(&STAFCTL_CLIENT, &place, "wait --count 2 --timeout 0");
    let failure = result.expect_err("too few");
    let text = "1 of 2 controllers connected after 0 s";
    assert_eq!((failure.exit, failure.to_string().as_str()), (FAILED, text));
    daemon.join().expect("well");
}

#[test]
fn waiting_does_not_need_signals() {
    let place = Place::new();
    let mut looks = 0;
    let daemon = place.answering(move |call| match call {
        Call::Subscribe => Err((UNKNOWN_METHOD, "what?")),
        Call::ListControllers { .. } => {
            looks += 1;
            Ok(json!([controller("nvme0", if looks > 1 { "True" } else { "False" })]))
        }
        other => panic!("{other:?}"),
    });
    let (result, _) = run(&STACCTL_CLIENT, &place, "wait --timeout 20");
    assert_eq!(result.expect("connected"), 0);
    assert_eq!(daemon.join().expect("well").len(), 3);
}

#[test]
fn waiting_for_a_silent_daemon_ends_in_time() {
    let place = Place::new();
    let daemon = place.daemon(|mut from, to| {
        request(&mut from);
        // The client hangs up first.
        let mut more = String::new();
        std::io::BufRead::read_line(&mut from, &mut more).expect("the end");
        drop(to);
        more
    });
    let (result, _) = run(&STAFCTL_CLIENT, &place, "wait --timeout 0.05");
    let failure = result.expect_err("silence");
    assert_eq!(failure.to_string(), "no answer from stafd within 0.25 s");
    assert_eq!(daemon.join().expect("well"), "");
}
