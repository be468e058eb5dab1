// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A private dbus-daemon: started, stopped, frozen and thawed by the test, and bounded in time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::bus::Address;

/// Whatever becomes of the test, its daemon does not live longer.
const LIFETIME_SECONDS: &str = "120";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The daemon, and the directory with its configuration and socket.
pub(super) struct Daemon {
    directory: PathBuf,
    running: Option<(Child, Pid)>,
}

impl Daemon {
    /// A place for a daemon that does not run yet.
    pub(super) fn absent() -> Self {
        let name = format!("plinth-bus-{}-{}", id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).expect("a directory of our own");
        Self { directory, running: None }
    }

    /// A running daemon with these extra lines in its configuration.
    pub(super) fn with(extra: &str) -> Self {
        let mut daemon = Self::absent();
        daemon.start_with(extra);
        daemon
    }

    pub(super) fn new() -> Self {
        Self::with("")
    }

    pub(super) fn address_text(&self) -> String {
        format!("unix:path={}", self.directory.join("bus").display())
    }

    pub(super) fn address(&self) -> Address {
        Address::At(self.address_text())
    }

    pub(super) fn start(&mut self) {
        self.start_with("");
    }

    fn start_with(&mut self, extra: &str) {
        assert!(self.running.is_none(), "one daemon at a time");
        let config = self.directory.join("bus.conf");
        let text = format!(
            "<busconfig><type>custom</type><listen>{}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
             <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/></policy>\
             <limit name=\"max_replies_per_connection\">4096</limit>{extra}</busconfig>",
            self.address_text()
        );
        fs::write(&config, text).expect("a configuration");
        fs::remove_file(self.directory.join("bus")).unwrap_or_default();
        let mut child = Command::new("timeout")
            .args(["--kill-after=5", LIFETIME_SECONDS, "dbus-daemon", "--nofork", "--nopidfile"])
            .args(["--nosyslog", "--print-pid=1", "--print-address=1", "--config-file"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("timeout and dbus-daemon are installed");
        // Both lines are written when the socket listens.
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut line = || lines.next().expect("dbus-daemon started").expect("a line");
        let (first, second) = (line(), line());
        let number = if first.starts_with("unix:") { second } else { first };
        let pid = number.parse().ok().and_then(Pid::from_raw).expect("a process id");
        self.running = Some((child, pid));
    }

    fn signal(&self, signal: Signal) {
        let (_, pid) = self.running.as_ref().expect("a running daemon");
        kill_process(*pid, signal).expect("our own daemon");
    }

    /// Stops its execution: it accepts connections (the kernel does), but does not answer.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub(super) fn kill(&mut self) {
        if let Some((mut child, pid)) = self.running.take() {
            kill_process(pid, Signal::KILL).unwrap_or_default();
            child.wait().expect("timeout ends with its child");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        fs::remove_dir_all(&self.directory).unwrap_or_default();
    }
}
