// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Delays and limits of the state machines, and the `[Debug]` section that changes them in tests.
//!
//! Owns the values. A key of `[Debug]` is the field's name with dashes: `config-soak=0.1`.

use std::time::Duration;

use crate::core::timespan;

/// How long an mDNS-discovered controller is retried when the settings say nothing: three days.
pub const ZEROCONF_PERSISTENCE: Duration = Duration::from_secs(72 * 3600);

/// How often a discovery controller is polled that wants no lasting connection.
pub const POLL_INTERVAL: Duration = Duration::from_secs(3600);

/// Every delay and limit that is not a setting of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the last change of the wanted set to its reconciliation.
    pub config_soak: Duration,
    /// The same while stafd is gone.
    pub config_soak_long: Duration,
    /// From a kernel `add` event to the audit.
    pub add_soak: Duration,
    /// From news of the network to the retry of what waits.
    pub network_soak: Duration,
    /// From the first failed connect attempt, or from the loss of a device, to the next attempt.
    pub retry_fast: Duration,
    /// Between later attempts.
    pub retry: Duration,
    /// By how many percent later attempts vary.
    pub retry_jitter_percent: u32,
    /// From a failed fetch of a log page to the next.
    pub log_page_retry: Duration,
    /// How often a fetch starts again when the log changes meanwhile.
    pub fetch_attempts: u32,
    /// From a failed registration to the next.
    pub registration_retry: Duration,
    /// From a failed look at the supported log pages to the next.
    pub supported_pages_retry: Duration,
    /// Between looks at controllers that wait for their disposal.
    pub disposal_audit: Duration,
    /// Between attempts to disconnect a controller that is busy.
    pub disconnect_retry: Duration,
    /// How many such attempts follow the first.
    pub disconnect_retries: u32,
    /// Limit for a probing TCP connection.
    pub probe_limit: Duration,
    /// Limit for an admin command.
    pub admin_limit: Duration,
    /// How long a reconciliation waits for names.
    pub name_limit: Duration,
    /// Between look-ups of a name that failed; the last step repeats.
    pub name_retry: Vec<Duration>,
    /// From the start to an audit although stafd never answered.
    pub audit_wait: Duration,
    /// How long a second opinion on a mass disconnect takes.
    pub confirm_wait: Duration,
    /// Limit for the end of the process.
    pub stop_limit: Duration,
    /// Between looks for the mDNS daemon.
    pub avahi_kick: Duration,
    /// Between probes of an announced service; the last step repeats.
    pub announce_retry: Vec<Duration>,
    /// How long repeated errors of the event source stay silent.
    pub monitor_quiet: Duration,
}

fn seconds(steps: &[u64]) -> Vec<Duration> {
    steps.iter().copied().map(Duration::from_secs).collect()
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            config_soak: Duration::from_millis(1500),
            config_soak_long: Duration::from_secs(10),
            add_soak: Duration::from_secs(1),
            network_soak: Duration::from_millis(500),
            retry_fast: Duration::from_secs(3),
            retry: Duration::from_secs(60),
            retry_jitter_percent: 10,
            log_page_retry: Duration::from_secs(20),
            fetch_attempts: 6,
            registration_retry: Duration::from_secs(5),
            supported_pages_retry: Duration::from_secs(5),
            disposal_audit: Duration::from_secs(30),
            disconnect_retry: Duration::from_secs(1),
            disconnect_retries: 3,
            probe_limit: Duration::from_secs(3),
            admin_limit: Duration::from_secs(60),
            name_limit: Duration::from_secs(5),
            name_retry: seconds(&[2, 5, 10, 30, 60]),
            audit_wait: Duration::from_secs(60),
            confirm_wait: Duration::from_secs(10),
            stop_limit: Duration::from_secs(1),
            avahi_kick: Duration::from_secs(60),
            announce_retry: seconds(&[2, 5, 10, 30, 60, 300, 600]),
            monitor_quiet: Duration::from_secs(2),
        }
    }
}

/// One value of the section, for writing.
enum Slot<'a> {
    Span(&'a mut Duration),
    Steps(&'a mut Vec<Duration>),
    Number(&'a mut u32),
}

impl Timing {
    /// The names of all keys, in the order of the fields.
    pub const KEYS: [&'static str; 24] = [
        "config-soak",
        "config-soak-long",
        "add-soak",
        "network-soak",
        "retry-fast",
        "retry",
        "retry-jitter-percent",
        "log-page-retry",
        "fetch-attempts",
        "registration-retry",
        "supported-pages-retry",
        "disposal-audit",
        "disconnect-retry",
        "disconnect-retries",
        "probe-limit",
        "admin-limit",
        "name-limit",
        "name-retry",
        "audit-wait",
        "confirm-wait",
        "stop-limit",
        "avahi-kick",
        "announce-retry",
        "monitor-quiet",
    ];

    fn slot(&mut self, key: &str) -> Option<Slot<'_>> {
        Some(match key {
            "config-soak" => Slot::Span(&mut self.config_soak),
            "config-soak-long" => Slot::Span(&mut self.config_soak_long),
            "add-soak" => Slot::Span(&mut self.add_soak),
            "network-soak" => Slot::Span(&mut self.network_soak),
            "retry-fast" => Slot::Span(&mut self.retry_fast),
            "retry" => Slot::Span(&mut self.retry),
            "retry-jitter-percent" => Slot::Number(&mut self.retry_jitter_percent),
            "log-page-retry" => Slot::Span(&mut self.log_page_retry),
            "fetch-attempts" => Slot::Number(&mut self.fetch_attempts),
            "registration-retry" => Slot::Span(&mut self.registration_retry),
            "supported-pages-retry" => Slot::Span(&mut self.supported_pages_retry),
            "disposal-audit" => Slot::Span(&mut self.disposal_audit),
            "disconnect-retry" => Slot::Span(&mut self.disconnect_retry),
            "disconnect-retries" => Slot::Number(&mut self.disconnect_retries),
            "probe-limit" => Slot::Span(&mut self.probe_limit),
            "admin-limit" => Slot::Span(&mut self.admin_limit),
            "name-limit" => Slot::Span(&mut self.name_limit),
            "name-retry" => Slot::Steps(&mut self.name_retry),
            "audit-wait" => Slot::Span(&mut self.audit_wait),
            "confirm-wait" => Slot::Span(&mut self.confirm_wait),
            "stop-limit" => Slot::Span(&mut self.stop_limit),
            "avahi-kick" => Slot::Span(&mut self.avahi_kick),
            "announce-retry" => Slot::Steps(&mut self.announce_retry),
            "monitor-quiet" => Slot::Span(&mut self.monitor_quiet),
            _ => return None,
        })
    }

    /// Sets the value called `key`: a time span, spans joined by `+`, or a number.
    ///
    /// # Errors
    /// The key is unknown, or its value is not of its kind.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match self.slot(key).ok_or("unknown key")? {
            Slot::Span(slot) => *slot = span(value).ok_or("not a time span")?,
            Slot::Number(slot) => {
                *slot = value.parse().ok().filter(|&n| n <= NUMBER_MAX).ok_or("not a number")?;
            }
            Slot::Steps(slot) => {
                let steps: Option<Vec<Duration>> = value.split('+').map(span).collect();
                *slot = steps.ok_or("not a list of time spans")?;
            }
        }
        Ok(())
    }
}

/// The largest number that a key of the section takes.
const NUMBER_MAX: u32 = 1000;

/// A span that is not negative.
fn span(value: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(timespan::parse(value)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // R094
    #[test]
    fn delays_are_the_documented_ones() {
        let timing = Timing::default();
        let seconds = Duration::from_secs;
        assert_eq!(timing.config_soak, Duration::from_millis(1500));
        assert_eq!((timing.config_soak_long, timing.add_soak), (seconds(10), seconds(1)));
        assert_eq!(timing.network_soak, Duration::from_millis(500));
        assert_eq!((timing.retry_fast, timing.retry), (seconds(3), seconds(60)));
        assert_eq!((timing.log_page_retry, timing.registration_retry), (seconds(20), seconds(5)));
        assert_eq!(
            (timing.supported_pages_retry, timing.disposal_audit),
            (seconds(5), seconds(30))
        );
        assert_eq!((timing.avahi_kick, timing.monitor_quiet), (seconds(60), seconds(2)));
        assert_eq!(timing.announce_retry, [2, 5, 10, 30, 60, 300, 600].map(seconds));
        assert_eq!(timing.fetch_attempts, 6);
        assert_eq!(ZEROCONF_PERSISTENCE, seconds(259_200));
    }
}
