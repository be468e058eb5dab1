// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way of `microvm shell` into a machine, hop by hop: the first that fails is named.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use plinth::time::Time;

use super::machine::Machine;
use super::{Finding, Level, VERSION};
use crate::ctl::vsock;
use crate::host::{Target, has_proxy};

/// How long the guest may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The port of ssh.
const SSH: u32 = 22;
/// How each server of ssh begins.
const GREETING: &[u8] = b"SSH-";

pub(super) fn way(machine: &Machine<'_>, is_active: bool) -> Vec<Finding> {
    let what = "microvm shell";
    let say = |level, text: String| Finding::new(level, what, text);
    let directory = machine.host.directory(machine.name);
    let Some(target) = Target::of(&machine.profile, &directory.to_string_lossy()) else {
        return vec![say(Level::Note, format!("{} has no vsock.cid, so no way in", machine.name))];
    };
    let mut ask = machine.host.command("ssh");
    ask.arg("-G").arg(target.host());
    let Ok(resolved) = machine.host.run(ask, "", VERSION) else {
        return vec![say(Level::Bad, "there is no ssh".to_owned())];
    };
    let proxy = if has_proxy(&resolved) { "a proxy of ssh's own settings" } else { "microvm" };
    let mut findings = vec![say(Level::Good, format!("ssh goes through {proxy}"))];
    if !is_active {
        let text = format!("{} does not run, so its sshd was not tried", machine.name);
        findings.push(say(Level::Note, text));
        return findings;
    }
    findings.push(match greeting(&target) {
        Ok(()) => say(Level::Good, format!("an sshd answers at {}", target.host())),
        Err(why) => {
            let text = format!(
                "no sshd at {}: {why}; the guest needs vsock, and an sshd that listens on it",
                target.host()
            );
            say(Level::Bad, text)
        }
    });
    findings
}

fn greeting(target: &Target) -> Result<(), String> {
    let parsed = vsock::Target::parse(&target.host()).ok_or("an odd address")?;
    let socket = parsed.connect(SSH, Time::monotonic() + ANSWER);
    let socket = socket.map_err(|error| plinth::err::chain(&error))?;
    // Sockets of every family are read alike.
    let mut stream = UnixStream::from(socket);
    let mut bytes = [0; GREETING.len()];
    let read = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(ANSWER)))
        .and_then(|()| stream.read_exact(&mut bytes));
    match read {
        Ok(()) if bytes == GREETING => Ok(()),
        Ok(()) => Err("something else answers".to_owned()),
        Err(error) => Err(format!("it says nothing: {error}")),
    }
}
