// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a machine that runs needs, so that a changed option counts for it.
//!
//! Pure. What is not known to be harmless needs a restart.

use std::fmt;

use serde_json::Value;

use super::Difference;
use crate::config::Hypervisor;

/// What is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it concerns the host, another hypervisor, or what is done later.
    Nothing,
    /// Taking memory with `microvm balloon`.
    Balloon,
    /// Another start.
    Restart,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "none",
            Self::Balloon => "balloon",
            Self::Restart => "restart",
        })
    }
}

/// Options that the host reads, or scripts that are called by people.
const OF_THE_HOST: &[&str] = &["autostart", "binScripts", "enable", "restartIfChanged"];

/// What `difference` needs of a machine that runs as `running` says, the JSON of its description;
/// `has_balloon` is whether its package can move a balloon.
#[must_use]
pub fn need(difference: &Difference, running: &Value, has_balloon: bool) -> Need {
    let key = difference.key.split(['.', '[']).next().unwrap_or_default();
    let used = running.get("hypervisor").and_then(Value::as_str);
    let is_anothers = used.is_some_and(|used| used != key) && Hypervisor::by_name(key).is_some();
    if OF_THE_HOST.contains(&key) || is_anothers {
        return Need::Nothing;
    }
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<u64>().ok());
    let is_less = number(&difference.after) < number(&difference.before);
    match key {
        "mem" if has_balloon && is_less => Need::Balloon,
        "initialBalloonMem" if has_balloon => Need::Balloon,
        _ => Need::Restart,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_the_hypervisor_was_told_needs_a_restart() {
        let running = json!({ "hypervisor": "qemu" });
        for (key, before, after, has_balloon, wanted) in [
            ("mem", "512", "256", true, Need::Balloon),
            ("mem", "512", "256", false, Need::Restart),
            ("mem", "256", "512", true, Need::Restart),
            ("initialBalloonMem", "0", "64", true, Need::Balloon),
            ("vcpu", "1", "2", true, Need::Restart),
            ("autostart", "true", "false", false, Need::Nothing),
            ("binScripts.backup", "\"a\"", "\"b\"", false, Need::Nothing),
            ("qemu.accel", "\"kvm\"", "\"tcg\"", false, Need::Restart),
            ("crosvm.binary", "\"a\"", "\"b\"", false, Need::Nothing),
            ("hypervisor", "\"qemu\"", "\"crosvm\"", false, Need::Restart),
        ] {
            let difference = Difference {
                key: key.to_owned(),
                before: Some(before.to_owned()),
                after: Some(after.to_owned()),
            };
            assert_eq!(need(&difference, &running, has_balloon), wanted, "{key}");
        }
    }
}
