// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a program costs: time, memory, and how often it is woken.
//!
//! A daemon is measured with all its descendants, because one of ours keeps a helper process for
//! calls that block. Memory is `VmRSS` of `/proc/PID/status`, added up: pages that two processes
//! share count twice.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use dbus::blocking::Connection;
use dbus::message::{MatchRule, MessageType};
use plinth::time::Time;

use super::process::Process;
use super::stas::Role;
use super::trouble::Naming;
use super::{Outcome, Trouble, ensure, ensure_eq};

/// For a daemon to come to the bus.
const NAME_LIMIT: Duration = Duration::from_secs(60);

/// One process of `/proc`: its number and that of its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = folder.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name stands in brackets and may hold some itself.
            let (_, rest) = text.rsplit_once(')')?;
            Some((pid, rest.split_whitespace().nth(1)?.parse().ok()?))
        })
        .collect()
}

/// A process and all its descendants.
#[must_use]
pub fn family(process: u32) -> Vec<u32> {
    let all = parents();
    let mut found = vec![process];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found
}

fn status(path: &str, key: &str) -> Outcome<u64> {
    let text = fs::read_to_string(path).named(path)?;
    let rest = text.lines().find_map(|line| line.strip_prefix(key));
    let word = rest.and_then(|rest| rest.split_whitespace().next());
    Ok(word.ok_or_else(|| Trouble::new(format!("no {key} in {path}")))?.parse()?)
}

/// Resident memory of a process and its descendants, in KiB.
///
/// # Errors
/// When one of them goes away meanwhile.
pub fn resident_kib(process: u32) -> Outcome<u64> {
    family(process)
        .iter()
        .map(|pid| status(&format!("/proc/{pid}/status"), "VmRSS:"))
        .sum::<Outcome<u64>>()
}

/// Processor time that a process and its descendants have had so far.
///
/// # Errors
/// When one of them goes away meanwhile.
pub fn processor_time(process: u32) -> Outcome<Duration> {
    family(process).into_iter().map(own_time).sum()
}

/// The processor time that each process has had so far, kernel threads included, by number.
#[must_use]
pub fn everyone() -> BTreeMap<u32, (String, Duration)> {
    let one = |pid: u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let time = own_time(pid).ok()?;
        Some((pid, (name.trim().to_owned(), time)))
    };
    parents().into_iter().filter_map(|(pid, _)| one(pid)).collect()
}

/// Who has used the processor most since `before`, in words.
#[must_use]
pub fn busiest(before: &BTreeMap<u32, (String, Duration)>) -> String {
    let mut used: BTreeMap<String, Duration> = BTreeMap::new();
    for (pid, (name, time)) in everyone() {
        let earlier = before.get(&pid).map_or(Duration::ZERO, |(_, time)| *time);
        *used.entry(name).or_default() += time.saturating_sub(earlier);
    }
    let mut used: Vec<(Duration, String)> = used.into_iter().map(|(n, t)| (t, n)).collect();
    used.sort();
    let words = used.iter().rev().take(12).map(|(t, n)| format!("{n} {}", t.as_millis()));
    words.collect::<Vec<_>>().join(", ")
}

fn own_time(pid: u32) -> Outcome<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // Time on a processor, time in the queue for one, number of turns.
        nanos += status(&thread.path().join("schedstat").to_string_lossy(), "")?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// How often the threads of these processes were switched off and on so far, of their own will or
/// not.
fn switches(processes: &[u32]) -> Outcome<u64> {
    let mut sum = 0;
    for pid in processes {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let path = thread.path().join("status").to_string_lossy().into_owned();
            sum += status(&path, "voluntary_ctxt_switches:")?;
            sum += status(&path, "nonvoluntary_ctxt_switches:")?;
        }
    }
    Ok(sum)
}

/// Context switches of several daemons, each with its descendants, over `span`.
///
/// # Errors
/// When a process comes or goes meanwhile: then nothing was idle.
pub fn idle_switches(daemons: &[&Process], span: Duration) -> Outcome<Vec<u64>> {
    let families = || daemons.iter().map(|d| family(d.pid())).collect::<Vec<_>>();
    let before = families();
    let first = before.iter().map(|f| switches(f)).collect::<Outcome<Vec<u64>>>()?;
    super::wait::pause(span);
    let last = before.iter().map(|f| switches(f)).collect::<Outcome<Vec<u64>>>()?;
    ensure_eq("the processes of the daemons", &families(), &before)?;
    Ok(first.iter().zip(last).map(|(first, last)| last - first).collect())
}

/// Runs a program to its end, which must be a good one; the time that took.
///
/// # Errors
/// It cannot be run, or fails.
pub fn timed(words: &[&str]) -> Outcome<Duration> {
    let (program, arguments) =
        words.split_first().ok_or_else(|| Trouble::new("no program to start"))?;
    let start = Time::monotonic();
    let said = Command::new(program)
        .args(arguments)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .named(words.join(" "))?;
    let spent = start.until(Time::monotonic());
    let err = String::from_utf8_lossy(&said.stderr);
    ensure(said.status.success(), format_args!("'{}' fails: {err}", words.join(" ")))?;
    Ok(spent)
}

/// Starts a daemon and waits for its name on the bus; the time from before the start until the
/// bus told of the name.
///
/// # Errors
/// It does not come up.
pub fn start_to_name(role: Role, name: &str, words: &[&str]) -> Outcome<(Process, Duration)> {
    let connection = Connection::new_system().named("the bus")?;
    let wanted = role.bus_name();
    let rule = MatchRule::new()
        .with_type(MessageType::Signal)
        .with_sender("org.freedesktop.DBus")
        .with_member("NameOwnerChanged");
    let (send, owned) = std::sync::mpsc::channel();
    connection
        .add_match(rule, move |(name, _, owner): (String, String, String), _, _| {
            if name == wanted && !owner.is_empty() {
                // The receiver lives as long as the connection.
                let _ = send.send(Time::monotonic());
            }
            true
        })
        .named("a subscription")?;
    let start = Time::monotonic();
    let daemon = Process::start(name, words, &[])?;
    loop {
        connection.process(Duration::from_secs(1)).named("the bus")?;
        if let Ok(at) = owned.try_recv() {
            return Ok((daemon, start.until(at)));
        }
        if start.until(Time::monotonic()) > NAME_LIMIT {
            return Err(Trouble::new(format!("{wanted} has no owner: {}", daemon.log())));
        }
    }
}
