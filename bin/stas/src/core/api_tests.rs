// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What clients are told, by both daemons.

use std::collections::BTreeMap;

use log::Level;
use serde_json::{Value, json};

use super::super::DISC_NQN;
use super::super::connector::Connector;
use super::super::finder::Finder;
use super::super::machine::Parts;
use super::super::port::{Action, DeviceEvent, Input, Notice, StafdEvent};
use super::super::report::{self, Validity};
use super::super::secret::Secret;
use super::super::testing::{
    ECONNREFUSED, HOST, NQN, SECOND, SOAK, World, config, dc, dc_fields, io, io_fields, page,
    record, wants_dc, wants_io,
};
use super::super::tid::Fields;
use super::{Reply, Request};

const TARGET: &str = "10.0.0.5";
const ALL: Request = Request::ListControllers { detailed: true };

fn connecting() -> World<Connector> {
    let mut world = World::connector(&wants_io(TARGET, ""));
    world.pass(SOAK);
    world
}

fn finding(records: &[Vec<u8>]) -> World<Finder> {
    let mut world = World::finder(&wants_dc("10.0.0.1"));
    world.pass(SOAK);
    world.connected(dc("nvme0", "10.0.0.1"));
    world.serve("nvme0", 1, records);
    world
}

fn dicts<C: Parts>(world: &mut World<C>, request: &Request) -> Vec<BTreeMap<String, String>> {
    match world.ask(request) {
        Reply::Dicts(dicts) => dicts,
        other => panic!("{request:?} brought {other:?}"),
    }
}

fn info<C: Parts>(world: &mut World<C>, fields: Fields) -> Value {
    world.ask_json(&Request::ControllerInfo(fields))
}

// R082
#[test]
fn a_new_controller_is_shown_with_its_first_connect() {
    let mut world = connecting();
    let shown = info(&mut world, io_fields(TARGET, NQN));
    assert_eq!(
        shown,
        json!({
            "transport": "tcp", "traddr": TARGET, "trsvcid": "4420", "subsysnqn": NQN,
            "host-traddr": "", "host-iface": "", "host-nqn": HOST, "device": "nvme?",
            "connect attempts": "1", "retry connect timer": "60.0s [off]",
            "connect operation": "{'fail count': 0, 'completed': False, 'alive': True}",
        })
    );
}

// R082
#[test]
fn details_without_a_device_are_empty() {
    let mut world = connecting();
    let shown = dicts(&mut world, &ALL).remove(0);
    for key in ["hostid", "hostnqn", "model", "serial", "dctype", "cntrltype"] {
        assert_eq!(shown[key], "", "{key}");
    }
    assert_eq!((&*shown["connected"], &*shown["dlpe"]), ("False", "None"));
    assert_eq!(shown["dlpe.eflags.ncc"], "False");
}

// R082, R112
#[test]
fn details_of_a_connected_controller_come_from_sysfs_and_the_log_page() {
    let mut world = World::connector("");
    world.stafd(&page(&[record(TARGET, NQN, 4)]));
    world.connected(io("nvme3", TARGET, NQN));
    let shown = dicts(&mut world, &ALL).remove(0);
    assert_eq!((&*shown["device"], &*shown["connected"]), ("nvme3", "True"));
    assert_eq!((&*shown["model"], &*shown["serial"]), ("model of nvme3", ""));
    assert_eq!((&*shown["state"], &*shown["dlpe.eflags.ncc"]), ("live", "True"));
    assert!(shown["dlpe"].contains("'eflags': '4'"), "{}", shown["dlpe"]);
    assert!(!shown.contains_key("connect operation"));
    let brief = dicts(&mut world, &Request::ListControllers { detailed: false }).remove(0);
    let keys: Vec<&str> = brief.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "device",
            "host-iface",
            "host-nqn",
            "host-traddr",
            "subsysnqn",
            "traddr",
            "transport",
            "trsvcid"
        ]
    );
}

// R082
#[test]
fn timers_are_shown_while_they_run() {
    let mut world = connecting();
    world.refused(ECONNREFUSED);
    world.pass(SECOND);
    let shown = info(&mut world, io_fields(TARGET, NQN));
    assert_eq!(shown["retry connect timer"], "3.0s [2.0s]");
    assert!(shown.get("connect operation").is_none());
}

// R077
#[test]
fn seven_strings_find_a_controller_in_any_spelling() {
    let mut world = connecting();
    let exact = io_fields(TARGET, NQN);
    for fields in [
        Fields { transport: "TCP".into(), ..exact.clone() },
        Fields { traddr: "::ffff:10.0.0.5".into(), ..exact.clone() },
        Fields { trsvcid: "04420".into(), ..exact.clone() },
        Fields { host_nqn: HOST.into(), ..exact.clone() },
    ] {
        assert_eq!(info(&mut world, fields.clone())["traddr"], TARGET, "{fields:?}");
    }
    let other = Fields { host_nqn: "nqn.2024-01.test:host".into(), ..exact.clone() };
    assert_eq!(info(&mut world, other), json!({}));
    assert_eq!(info(&mut world, Fields { traddr: "10.0.0.6".into(), ..exact }), json!({}));
    let mut world = finding(&[record(TARGET, NQN, 0)]);
    let defaulted = Fields { trsvcid: String::new(), ..dc_fields("10.0.0.1") };
    assert_eq!(dicts(&mut world, &Request::GetLogPages(defaulted)).len(), 1);
    let unknown = Request::GetLogPages(dc_fields("10.0.0.9"));
    assert!(dicts(&mut world, &unknown).is_empty());
}

// R082, R084
#[test]
fn log_pages_have_the_known_keys() {
    let mut world = finding(&[record(TARGET, NQN, 3), record("0.0.0.0", NQN, 0)]);
    let pages = dicts(&mut world, &Request::GetLogPages(dc_fields("10.0.0.1")));
    let expected = [
        ("trtype", "tcp"),
        ("adrfam", "ipv4"),
        ("subtype", "nvme"),
        ("treq", "not specified"),
        ("portid", "0"),
        ("cntlid", "0"),
        ("asqsz", "0"),
        ("eflags", "3"),
        ("trsvcid", "4420"),
        ("subnqn", NQN),
        ("traddr", TARGET),
        ("tsas", "{'sectype': 'none'}"),
    ];
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    assert_eq!(pages, [expected]);
}

// R082, R090
#[test]
fn all_pages_read_back_as_they_were_written() {
    let mut world = finding(&[record(TARGET, NQN, 0)]);
    for detailed in [false, true] {
        let Reply::Json(text) = world.ask(&Request::GetAllLogPages { detailed }) else { panic!() };
        let sources = report::decode(&text).unwrap();
        assert_eq!(sources.len(), 1);
        assert_eq!(sources[0].validity, Validity::Fetched);
        assert_eq!(&*sources[0].fields.subsysnqn, DISC_NQN);
        assert_eq!(&*sources[0].entries[0].traddr, TARGET);
    }
}

// R078, R090
#[test]
fn before_the_first_reconcile_answers_come_from_the_state_file() {
    let mut first = finding(&[record(TARGET, NQN, 0)]);
    first.tell(Input::Stop);
    let state = first.saved.last().cloned().unwrap();
    let mut world = World::finder_after(&wants_dc("10.0.0.1"), Some(&state), Vec::new());
    let Reply::Json(text) = world.ask(&Request::GetAllLogPages { detailed: true }) else {
        panic!()
    };
    let sources = report::decode(&text).unwrap();
    assert_eq!((sources[0].validity, sources[0].entries.len()), (Validity::Cached, 1));
}

// R159, R090
#[test]
fn a_restart_of_the_finder_costs_no_connection() {
    fn all_pages(finder: &mut World<Finder>) -> String {
        match finder.ask(&Request::GetAllLogPages { detailed: true }) {
            Reply::Json(text) => text,
            other => panic!("{other:?}"),
        }
    }
    let mut finder = finding(&[record(TARGET, NQN, 0)]);
    let mut connector = World::connector("");
    connector.stafd(&all_pages(&mut finder));
    connector.connected(io("nvme3", TARGET, NQN));
    finder.tell(Input::Stop);
    connector.tell(Input::Stafd(StafdEvent::Vanished));
    let state = finder.saved.last().cloned().unwrap();
    let mut finder = World::finder_after(&wants_dc("10.0.0.1"), Some(&state), Vec::new());
    connector.tell(Input::Stafd(StafdEvent::Appeared));
    connector.pass(10 * SECOND);
    connector.stafd_answers(Ok(&all_pages(&mut finder)));
    assert!(connector.is_bound(TARGET));
    // The discovery controller answers at last, first that it cannot, then with an empty page.
    finder.pass(SOAK);
    finder.refused(ECONNREFUSED);
    connector.stafd_changes(&all_pages(&mut finder));
    assert!(connector.is_bound(TARGET));
    finder.pass(3 * SECOND);
    finder.connected(dc("nvme0", "10.0.0.1"));
    connector.stafd_changes(&all_pages(&mut finder));
    assert!(connector.is_bound(TARGET));
    finder.serve("nvme0", 2, &[]);
    connector.stafd_changes(&all_pages(&mut finder));
    assert_eq!(connector.deleted(), "nvme3");
}

// R089
#[test]
fn a_finder_that_knows_nothing_yet_or_any_more_does_not_say_that_there_is_nothing() {
    let mut world = World::finder(&wants_dc("10.0.0.1"));
    let all = Request::GetAllLogPages { detailed: true };
    assert!(matches!(world.ask(&all), Reply::NotReady(_)));
    world.pass(SOAK);
    assert!(matches!(world.ask(&all), Reply::Json(_)));
    world.tell(Input::Stop);
    assert!(matches!(world.ask(&all), Reply::NotReady(_)));
}

// R079, R018
#[test]
fn setting_tron_is_announced_when_it_changes_something() {
    let mut world = connecting();
    assert_eq!(world.ask(&Request::GetTron), Reply::Bool(false));
    assert_eq!(world.ask(&Request::GetLogLevel), Reply::Text("INFO".to_owned()));
    for on in [true, true, false] {
        assert_eq!(world.ask(&Request::SetTron(on)), Reply::Unit);
        assert_eq!(world.ask(&Request::GetTron), Reply::Bool(on));
    }
    assert_eq!(world.notices, [Notice::Tron(true), Notice::Tron(false)]);
}

// R018
#[test]
fn the_trace_option_survives_a_reload_until_a_user_switches_it_off() {
    let mut world = connecting();
    let mut tracing = config(Connector::ROLE, &wants_io(TARGET, ""));
    tracing.tron = true;
    world.tell(Input::Reload(Box::new(tracing.clone())));
    assert_eq!(world.ask(&Request::GetLogLevel), Reply::Text("DEBUG".to_owned()));
    world.ask(&Request::SetTron(false));
    world.tell(Input::Reload(Box::new(tracing)));
    assert_eq!(world.ask(&Request::GetTron), Reply::Bool(false));
}

// R072
#[test]
fn changed_parameters_leave_the_connection_alone_and_are_shown() {
    let mut world = connecting();
    world.connected(io("nvme3", TARGET, NQN));
    assert!(!dicts(&mut world, &ALL)[0].contains_key("config-stale"));
    world.reload(&wants_io(TARGET, ";hdr-digest=true"));
    assert!(world.waiting.is_empty() && world.is_bound(TARGET));
    assert_eq!(dicts(&mut world, &ALL)[0]["config-stale"], "True");
    world.vanish("nvme3");
    world.pass(3 * SECOND);
    assert!(world.connects()[0].contains("hdr_digest"));
    world.connected(io("nvme3", TARGET, NQN));
    assert!(!dicts(&mut world, &ALL)[0].contains_key("config-stale"));
}

// R083
#[test]
fn secrets_reach_the_kernel_and_nothing_else() {
    const SECRET: &str = "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:";
    let mut configuration = config(Connector::ROLE, &wants_io(TARGET, ""));
    let key = Secret::parse(SECRET).unwrap();
    configuration.identity.key = Some(key.clone());
    for entry in &mut configuration.settings.controllers {
        entry.overrides.dhchap_ctrl_secret = Some(key.clone());
        entry.overrides.dhchap_secret = Some(key.clone());
    }
    let mut world = World::connector("");
    world.tell(Input::Reload(Box::new(configuration)));
    world.pass(SOAK);
    assert!(world.connects()[0].contains(SECRET), "{:?}", world.connects());
    let mut said = String::new();
    let mut listen = |world: &mut World<Connector>| {
        for request in [ALL, Request::ProcessInfo, Request::ControllerInfo(io_fields(TARGET, NQN))]
        {
            said += &format!("{:?}", world.ask(&request));
        }
    };
    listen(&mut world);
    world.refused(ECONNREFUSED);
    world.pass(3 * SECOND);
    world.refused(22);
    world.pass(66 * SECOND);
    world.connected(io("nvme3", TARGET, NQN));
    listen(&mut world);
    world.tell(Input::Stop);
    said += &format!("{:?}{:?}{:?}", world.log, world.saved, world.notices);
    assert!(!said.contains("ia6zGodOr4SEG0"), "{said}");
    assert!(said.contains("***"), "its presence is shown");
}

// R082, R008
#[test]
fn the_process_tells_of_itself() {
    let mut world = connecting();
    let told = world.ask_json(&Request::ProcessInfo);
    assert_eq!((&told["tron"], &told["log-level"]), (&json!(false), &json!("INFO")));
    assert_eq!((&told["hostnqn"], &told["hostkey"]), (&json!(HOST), &Value::Null));
    assert_eq!(told["symname"], Value::Null);
    assert_eq!(told["last known config file"], "/run/test/last-known-config.json");
    assert_eq!(told["config soak timer"], "1.5s [off]");
    assert_eq!(told["terminator.audit timer"], "30.0s [off]");
    assert_eq!(told["kernel support.TP8013"], "True");
    assert_eq!(told["kernel support.host_iface"], "True");
    assert_eq!(told["hostid"], "00000000-0000-4000-8000-000000000001");
    assert_eq!(told.as_object().unwrap().len(), 11, "{told}");
    world.reload("");
    let told = world.ask_json(&Request::ProcessInfo);
    let key = format!("terminator.controller.(tcp, {TARGET}, 4420, {NQN})");
    assert!(told[&key].as_str().unwrap().starts_with("{'transport': 'tcp', "), "{told}");
    assert_eq!(told["terminator.audit timer"], "30.0s [30.0s]");
}

// R082
#[test]
fn only_the_finder_tells_of_announcements_and_log_pages() {
    let mut world = finding(&[]);
    let avahi = &world.ask_json(&Request::ProcessInfo)["avahi"];
    assert_eq!(avahi["avahi wake up timer"], "60.0s [off]");
    assert_eq!((&avahi["service types"], &avahi["services"]), (&json!([]), &json!({})));
    let mut world = connecting();
    let pages = Request::GetLogPages(io_fields(TARGET, NQN));
    assert_eq!(world.ask(&pages), Reply::Unsupported);
    assert_eq!(world.ask(&Request::GetAllLogPages { detailed: true }), Reply::Unsupported);
}

// R082, R124
#[test]
fn a_discovered_controller_shows_how_long_it_is_kept() {
    let text = "[Discovery controller connection management]\n\
                zeroconf-connections-persistence=10\n";
    let mut world = World::finder(text);
    world.tell(Input::Announced(vec![dc_fields("10.0.0.1")]));
    world.pass(SOAK);
    let shown = info(&mut world, dc_fields("10.0.0.1"));
    assert_eq!(
        (&shown["origin"], &shown["unresponsive time"]),
        (&json!("discovered"), &json!("---"))
    );
    assert_eq!(shown["unresponsive timeout"], "10.0 sec");
    world.refused(ECONNREFUSED);
    world.tell(Input::Announced(Vec::new()));
    let shown = info(&mut world, dc_fields("10.0.0.1"));
    assert_eq!(shown["unresponsive timer"], "10.0s [10.0s]");
    assert_ne!(shown["unresponsive time"], "---");
    world.reload(&wants_dc("10.0.0.1"));
    assert!(info(&mut world, dc_fields("10.0.0.1")).get("unresponsive timer").is_none());
}

// R082
#[test]
fn the_state_of_a_fetch_is_shown() {
    let mut world = finding(&[]);
    let operation = |world: &mut World<Finder>| {
        info(world, dc_fields("10.0.0.1"))["get log page operation"].clone()
    };
    assert_eq!(operation(&mut world), "{'fail count': 0, 'completed': True, 'alive': False}");
    let name = "nvme0".to_owned();
    world.tell(Input::Device(DeviceEvent::Rediscover { name }));
    assert_eq!(operation(&mut world), "{'fail count': 0, 'completed': False, 'alive': True}");
    let (op, _) = world.take_admin("nvme0");
    let failed = Err(super::super::port::AdminError::Errno(5));
    world.tell(Input::AdminDone { op, result: failed });
    assert_eq!(
        operation(&mut world),
        "{'fail count': 1, 'completed': False, 'alive': True, 'retry timer': '20.0s [20.0s]', \
         'error': 'Get Log Page failed with errno 5'}"
    );
    assert_eq!(world.logged(Level::Error, "Get Log Page failed with errno 5"), 1);
    assert!(!world.waiting.iter().any(|action| matches!(action, Action::Admin { .. })));
}
