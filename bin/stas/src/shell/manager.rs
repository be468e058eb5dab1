// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the service manager is told: readiness, reloads, the end, a status line, signs of life.
//!
//! Without a manager everything here does nothing. What it does not take in time is lost: a daemon
//! never waits for its manager.

use std::ffi::OsString;
use std::io;
use std::process;
use std::time::Duration;

use plinth::event::Loop;
use plinth::service::{Notifier, watchdog_period};
use plinth::time::Time;

use super::key::Key;

/// The manager, if there is one.
pub struct Manager {
    notifier: Option<Notifier>,
    period: Option<Duration>,
    armed: bool,
    said: String,
}

impl Manager {
    /// The manager that the environment names.
    #[must_use]
    pub fn from_env(env: impl Fn(&str) -> Option<OsString>) -> Self {
        let notifier = Notifier::from_env(&env);
        let period = notifier.as_ref().and_then(|_| watchdog_period(&env, process::id()));
        Self { notifier, period, armed: false, said: String::new() }
    }

    /// The daemon is up, or done with reloading.
    pub fn ready(&self) {
        self.tell(Notifier::ready);
    }

    /// The daemon reloads since `now`.
    pub fn reloading(&self, now: Time) {
        self.tell(|notifier| notifier.reloading(now));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell(Notifier::stopping);
    }

    /// Tells the status line when it has changed. It is not even made without a manager.
    pub fn status(&mut self, text: impl FnOnce() -> String) {
        if self.notifier.is_none() {
            return;
        }
        let text = text();
        if text != self.said {
            self.tell(|notifier| notifier.status(&text));
            self.said = text;
        }
    }

    /// The time for a sign of life has come.
    pub fn woken(&mut self, _: &Loop<Key>) {
        self.armed = false;
        self.tell(Notifier::watchdog);
    }

    /// Arms the timer. To be called once a turn.
    pub fn settle(&mut self, lp: &mut Loop<Key>) {
        if let Some(period) = self.period.filter(|_| !self.armed) {
            self.armed = true;
            lp.set_timer(lp.now() + period, Key::Watchdog);
        }
    }

    fn tell(&self, what: impl FnOnce(&Notifier) -> io::Result<()>) {
        if let Some(Err(error)) = self.notifier.as_ref().map(what) {
            log::debug!("Cannot tell the service manager: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn a_status_is_told_once() {
        let path = std::env::temp_dir().join(format!("stas-manager-{}", process::id()));
        drop(std::fs::remove_file(&path));
        let ear = UnixDatagram::bind(&path).unwrap();
        ear.set_nonblocking(true).unwrap();
        let mut manager =
            Manager::from_env(|name| (name == "NOTIFY_SOCKET").then(|| path.clone().into()));
        manager.status(|| "1 of 2".to_owned());
        manager.status(|| "1 of 2".to_owned());
        manager.status(|| "2 of 2".to_owned());
        manager.stopping();
        let mut heard = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(len) = ear.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
        }
        assert_eq!(heard, ["STATUS=1 of 2", "STATUS=2 of 2", "STOPPING=1"]);
        drop(std::fs::remove_file(&path));
    }

    #[test]
    fn without_a_manager_nothing_is_made() {
        let mut manager = Manager::from_env(|_| None);
        manager.status(|| unreachable!("nobody listens"));
        manager.ready();
    }
}
