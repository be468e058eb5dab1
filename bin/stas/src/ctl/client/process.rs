// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the kernel tells about a daemon's process, from `proc(5)`.
//!
//! Asking the kernel and not the daemon also works with daemons that do not tell, and is no load
//! on them. Everything here may be missing: a process may end or be hidden at any moment.

use std::time::Duration;

use serde_json::{Value, json};

use crate::ctl::table::Process;

/// Clock ticks in a second, in every file of `/proc` (`USER_HZ`).
const TICKS: u64 = 100;

/// Looks at process `pid`; `read` returns the text of a file.
pub(super) fn look(pid: u32, read: &dyn Fn(&str) -> Option<String>) -> Process {
    let stat = read(&format!("/proc/{pid}/stat"));
    let status = read(&format!("/proc/{pid}/status"));
    let started = stat.as_deref().and_then(start_of);
    let now = read("/proc/uptime").as_deref().and_then(uptime_of);
    Process {
        pid,
        uptime: started.zip(now).map(|(started, now)| now.saturating_sub(started)),
        resident_bytes: status.as_deref().and_then(resident_of),
    }
}

/// The same, for programs.
pub(super) fn as_json(process: &Process) -> Value {
    json!({
        "pid": process.pid,
        "uptime": process.uptime.map(|uptime| uptime.as_secs()),
        "rss": process.resident_bytes,
    })
}

/// When the process was started, after boot: field 22 of `stat`. Field 2, the name, may contain
/// blanks and brackets, so the fields are counted behind its last bracket.
fn start_of(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    Some(Duration::from_millis(ticks.checked_mul(1000 / TICKS)?))
}

/// The time since boot: the first number of `uptime`, in seconds.
fn uptime_of(uptime: &str) -> Option<Duration> {
    let seconds: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The resident memory: `VmRSS` of `status`, in bytes.
fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (sta) d (x) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";

    #[test]
    fn a_process_is_described_by_three_files() {
        let read = |path: &str| {
            Some(match path {
                "/proc/7/stat" => STAT.to_owned(),
                "/proc/7/status" => "Name:\tstafd\nVmRSS:\t    4608 kB\n".to_owned(),
                "/proc/uptime" => "200.50 99.00\n".to_owned(),
                other => panic!("{other}"),
            })
        };
        let process = look(7, &read);
        assert_eq!(process.uptime, Some(Duration::from_millis(77_050)));
        assert_eq!(process.resident_bytes, Some(4608 * 1024));
        assert_eq!(as_json(&process), json!({ "pid": 7, "uptime": 77, "rss": 4_718_592 }));
    }

    #[test]
    fn what_is_missing_or_strange_is_left_out() {
        let bare = Process { pid: 9, uptime: None, resident_bytes: None };
        assert_eq!(look(9, &|_| None), bare);
        for text in ["", "9 (x", "9 (x) S 1", "VmRSS: many kB\n", "VmRSS: 99999999999999999999 kB"]
        {
            assert_eq!(look(9, &|_| Some(text.to_owned())), bare);
        }
        assert_eq!(uptime_of("-1 0"), None);
        assert_eq!(uptime_of("NaN"), None);
        assert_eq!(as_json(&bare), json!({ "pid": 9, "uptime": null, "rss": null }));
    }
}
