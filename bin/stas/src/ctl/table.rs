// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Prints what the daemons tell as tables, for people.
//!
//! Owns the choice of columns and the summary of a daemon. The programs' forms are
//! [`super::python`] and [`super::json`]: tables may gain columns at any time.

use std::collections::BTreeMap;
use std::time::Duration;

use plinth::text::{Table, escape_control};
use serde_json::Value;

/// Headings and keys of a list of controllers.
const CONTROLLER: [(&str, &str); 7] = [
    ("DEVICE", "device"),
    ("TRANSPORT", "transport"),
    ("TRADDR", "traddr"),
    ("TRSVCID", "trsvcid"),
    ("SUBSYSNQN", "subsysnqn"),
    ("HOST-TRADDR", "host-traddr"),
    ("HOST-IFACE", "host-iface"),
];

/// What a detailed list has in addition.
const DETAILS: [(&str, &str); 5] = [
    ("ATTEMPTS", "connect attempts"),
    ("RETRY", "retry connect timer"),
    ("MODEL", "model"),
    ("SERIAL", "serial"),
    ("ORIGIN", "origin"),
];

/// Headings and keys of log page entries.
const ENTRY: [(&str, &str); 7] = [
    ("SUBTYPE", "subtype"),
    ("TRTYPE", "trtype"),
    ("TRADDR", "traddr"),
    ("TRSVCID", "trsvcid"),
    ("SUBNQN", "subnqn"),
    ("PORTID", "portid"),
    ("EFLAGS", "eflags"),
];

/// What the kernel tells about the daemon's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Since it was started.
    pub uptime: Option<Duration>,
    /// Memory in use, in bytes.
    pub resident_bytes: Option<u64>,
}

/// The reply of `list_controllers`.
#[must_use]
pub fn controllers(list: &Value, detailed: bool) -> String {
    let mut columns: Vec<(&str, &str)> = CONTROLLER.to_vec();
    if detailed {
        columns.insert(1, ("STATE", ""));
        columns.extend(DETAILS);
    }
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let mut table = Table::new(&headings);
    for controller in list.as_array().into_iter().flatten() {
        table.row(columns.iter().map(|(_, key)| match *key {
            "" => state(controller),
            key => text(controller, key),
        }));
    }
    table.to_string()
}

/// The reply of `get_log_pages`.
#[must_use]
pub fn log_pages(list: &Value) -> String {
    let headings: Vec<&str> = ENTRY.iter().map(|(heading, _)| *heading).collect();
    let mut table = Table::new(&headings);
    for entry in list.as_array().into_iter().flatten() {
        table.row(ENTRY.iter().map(|(_, key)| text(entry, key)));
    }
    table.to_string()
}

/// The reply of `get_all_log_pages`: the same, with the device that each entry came from.
#[must_use]
pub fn all_log_pages(list: &Value) -> String {
    let headings: Vec<&str> =
        std::iter::once("DEVICE").chain(ENTRY.iter().map(|(heading, _)| *heading)).collect();
    let mut table = Table::new(&headings);
    for page in list.as_array().into_iter().flatten() {
        let device = page.get("discovery-controller").map_or("", |dc| text(dc, "device"));
        for entry in page.get("log-pages").and_then(Value::as_array).into_iter().flatten() {
            let cells = ENTRY.iter().map(|(_, key)| text(entry, key));
            table.row(std::iter::once(device).chain(cells));
        }
    }
    table.to_string()
}

/// A daemon in a few lines, then its controllers. `status` is the merged object.
#[must_use]
pub fn status(daemon: &str, status: &Value, process: Option<&Process>) -> String {
    let mut out = match process {
        Some(process) => format!("{daemon}: {}\n", summary(process)),
        None => format!("{daemon}: running\n"),
    };
    let list = status.get("controllers").unwrap_or(&Value::Null);
    out.push_str(&format!("controllers: {}\n", tally(list)));
    let trace = if status.get("tron") == Some(&Value::Bool(true)) { "on" } else { "off" };
    out.push_str(&format!("trace: {trace}\n"));
    for (heading, key) in [("host NQN", "hostnqn"), ("host ID", "hostid")] {
        let value = Some(text(status, key)).filter(|value| !value.is_empty()).unwrap_or("none");
        out.push_str(&format!("{heading}: {}\n", escape_control(value)));
    }
    if list.as_array().is_some_and(|list| !list.is_empty()) {
        out.push('\n');
        out.push_str(&controllers(list, true));
    }
    out
}

fn summary(process: &Process) -> String {
    let mut parts = vec![format!("pid {}", process.pid)];
    parts.extend(process.uptime.map(|uptime| format!("up {}", span(uptime))));
    parts.extend(process.resident_bytes.map(|bytes| {
        // Tenths of a MiB, without leaving whole numbers.
        let tenths = bytes.saturating_mul(10) / (1024 * 1024);
        format!("{}.{} MiB resident", tenths / 10, tenths % 10)
    }));
    parts.join(", ")
}

/// The two largest units that matter: `3 d 4 h`, `5 min 0 s`, `7 s`.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days} d {} h", hours % 24)
    } else if hours > 0 {
        format!("{hours} h {} min", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

/// Number of controllers, and how many are in which state.
fn tally(list: &Value) -> String {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for controller in list {
        *states.entry(state(controller)).or_default() += 1;
    }
    let parts: Vec<String> =
        states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    if parts.is_empty() { "0".into() } else { format!("{} ({})", list.len(), parts.join(", ")) }
}

/// A controller's state in one word, from its detailed dictionary: what the kernel says of it, or
/// what the daemon does about it. (Not every daemon passes the kernel's word on.)
fn state(controller: &Value) -> &str {
    let told = text(controller, "state");
    if !told.is_empty() {
        told
    } else if is_connected(controller) {
        "connected"
    } else if controller.get("connect operation").is_some() {
        "connecting"
    } else {
        "waiting"
    }
}

/// Does a detailed dictionary say that the controller is connected?
#[must_use]
pub fn is_connected(controller: &Value) -> bool {
    text(controller, "connected") == "True"
}

fn text<'v>(object: &'v Value, key: &str) -> &'v str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn two() -> Value {
        json!([
            { "device": "nvme0", "transport": "tcp", "traddr": "192.0.2.1", "trsvcid": "8009",
              "subsysnqn": "nqn.a", "host-iface": "eth0", "host-traddr": "", "connected": "True",
              "connect attempts": "1", "retry connect timer": "60.0s [off]", "model": "M 1",
              "serial": "S\u{1b}[2J", "origin": "configured" },
            { "device": "nvme?", "transport": "fc", "traddr": "nn-0x1:pn-0x2", "trsvcid": "",
              "subsysnqn": "nqn.b", "connected": "False", "connect operation": "{}" },
        ])
    }

    #[test]
    fn controllers_stand_in_columns() {
        let expected = "\
DEVICE  TRANSPORT  TRADDR         TRSVCID  SUBSYSNQN  HOST-TRADDR  HOST-IFACE
nvme0   tcp        192.0.2.1      8009     nqn.a      -            eth0
nvme?   fc         nn-0x1:pn-0x2  -        nqn.b      -            -
";
        assert_eq!(controllers(&two(), false), expected);
    }

    #[test]
    fn details_add_columns_and_hostile_text_stays_inside_its_cell() {
        let table = controllers(&two(), true);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("DEVICE  STATE       TRANSPORT"), "{table}");
        assert!(lines[0].ends_with("ATTEMPTS  RETRY        MODEL  SERIAL      ORIGIN"), "{table}");
        assert!(lines[1].contains("connected ") && lines[1].contains(r"S\u{1b}[2J"), "{table}");
        assert!(lines[2].contains("connecting"), "{table}");
    }

    #[test]
    fn the_kernels_word_for_the_state_goes_first() {
        let list = json!([
            { "state": "live", "connected": "True" },
            { "state": "resetting", "connected": "True" },
            { "state": "", "connected": "False" },
            { "state": "live", "connected": "True" },
        ]);
        assert_eq!(tally(&list), "4 (2 live, 1 resetting, 1 waiting)");
    }

    #[test]
    fn log_pages_stand_in_columns() {
        let entry = json!({ "subtype": "nvme", "trtype": "tcp", "traddr": "::1", "trsvcid": "4420",
                            "subnqn": "nqn.s", "portid": "1", "eflags": "0" });
        let expected = "\
SUBTYPE  TRTYPE  TRADDR  TRSVCID  SUBNQN  PORTID  EFLAGS
nvme     tcp     ::1     4420     nqn.s   1       0
";
        assert_eq!(log_pages(&json!([entry])), expected);
        let all = all_log_pages(&json!([
            { "discovery-controller": { "device": "nvme0" }, "log-pages": [entry] },
            { "discovery-controller": { "device": "nvme1" }, "log-pages": [] },
        ]));
        assert_eq!(
            all.lines().nth(1),
            Some("nvme0   nvme     tcp     ::1     4420     nqn.s   1       0")
        );
        assert_eq!(all.lines().count(), 2);
    }

    #[test]
    fn the_status_begins_with_a_summary() {
        let object =
            json!({ "tron": true, "hostnqn": "nqn.h", "hostid": null, "controllers": two() });
        let process = Process {
            pid: 7,
            uptime: Some(Duration::from_secs(3_725)),
            resident_bytes: Some(4 * 1024 * 1024 + 512 * 1024),
        };
        let text = status("stafd", &object, Some(&process));
        let head: Vec<&str> = text.lines().take(6).collect();
        assert_eq!(
            head,
            [
                "stafd: pid 7, up 1 h 2 min, 4.5 MiB resident",
                "controllers: 2 (1 connected, 1 connecting)",
                "trace: on",
                "host NQN: nqn.h",
                "host ID: none",
                "",
            ]
        );
        let idle = status("stacd", &json!({ "controllers": [] }), None);
        assert_eq!(idle.lines().next(), Some("stacd: running"));
        assert_eq!(idle.lines().nth(1), Some("controllers: 0"));
    }

    #[test]
    fn spans_name_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_599, "59 min 59 s"),
            (86_399, "23 h 59 min"),
            (200_000, "2 d 7 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn odd_replies_make_empty_tables() {
        for odd in [json!(null), json!({}), json!("x"), json!([null, 5])] {
            for text in [controllers(&odd, true), log_pages(&odd), all_log_pages(&odd)] {
                assert!(text.lines().all(|line| !line.contains("null")), "{text}");
            }
        }
    }
}
