// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Explains a refusal (`EPERM`) from facts about the caller and the system.
//!
//! Owns the order of the questions: capabilities first, then filters of system calls, user
//! namespace and token, lockdown, security modules, the kind of attachment, memory limits last and
//! only on kernels that have them. Gathering the facts is left to the caller, so that every answer
//! can be tested.

use std::borrow::Cow;

/// A capability, by its number in `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(pub u32);

impl Capability {
    /// Read any file and search any directory.
    pub const DAC_READ_SEARCH: Self = Self(2);
    /// Administer the network.
    pub const NET_ADMIN: Self = Self(12);
    /// Everything that has no capability of its own.
    pub const SYS_ADMIN: Self = Self(21);
    /// Trace and profile.
    pub const PERFMON: Self = Self(38);
    /// Use bpf(2).
    pub const BPF: Self = Self(39);

    /// `CAP_BPF` and so on.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            2 => "CAP_DAC_READ_SEARCH",
            12 => "CAP_NET_ADMIN",
            21 => "CAP_SYS_ADMIN",
            38 => "CAP_PERFMON",
            39 => "CAP_BPF",
            _ => "another capability",
        }
    }
}

/// A set of capabilities, as the bits of `/proc/self/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Whether `capability` is in the set. `CAP_SYS_ADMIN` implies the two that were split off it.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        let has = |bit: u32| self.0 >> bit & 1 == 1;
        let split = capability.0 == Capability::BPF.0 || capability.0 == Capability::PERFMON.0;
        has(capability.0) || (split && has(Capability::SYS_ADMIN.0))
    }
}

/// How far the kernel is locked down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lockdown {
    /// Not at all, or unknown.
    #[default]
    None,
    /// User space may not change the running kernel.
    Integrity,
    /// Nor read from it.
    Confidentiality,
}

/// What a refusal is explained from.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The caller's effective capabilities.
    pub capabilities: Capabilities,
    /// The caller is in a user namespace that is not the initial one.
    pub user_namespace: bool,
    /// A token was used.
    pub token: bool,
    /// How far the kernel is locked down.
    pub lockdown: Lockdown,
    /// Security modules in force that judge BPF, such as `selinux`.
    pub security_modules: Vec<String>,
    /// A filter of system calls keeps bpf(2) from the caller.
    pub filtered: bool,
    /// The kernel's version.
    pub kernel: (u32, u32),
}

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A program of a type that needs only `CAP_BPF`, or a map.
    Plain,
    /// A program for network interfaces or control groups.
    Network,
    /// A tracing program that is loaded for a perf event or raw tracepoint.
    Tracing,
    /// A program bound to a kernel function or hook: fentry, fexit, `fmod_ret`, LSM, freplace.
    Function,
    /// The attachment to a tracepoint, whose files in tracefs are root's.
    Tracefs,
    /// Something by its number, or a walk over all numbers.
    Number,
}

/// The cause and what may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The cause, as a phrase.
    pub detail: Cow<'static, str>,
    /// What may help.
    pub hint: Cow<'static, str>,
}

impl Diagnosis {
    fn new(detail: impl Into<Cow<'static, str>>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), hint: hint.into() }
    }
}

/// Why the kernel refused.
#[must_use]
pub fn diagnose(refused: Refused, facts: &Facts) -> Diagnosis {
    let missing = missing(refused, facts);
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
        let hint = match refused {
            Refused::Number => "without it, name things by their pins",
            _ => "run as root, or give the program these capabilities",
        };
        return Diagnosis::new(format!("the caller lacks {}", names.join(", ")), hint);
    }
    if facts.filtered {
        return Diagnosis::new(
            "a seccomp filter forbids the system call bpf",
            "allow it where the filter is set: in the container's or the unit's configuration",
        );
    }
    if facts.user_namespace && !facts.token {
        return Diagnosis::new(
            "the caller is in a user namespace and has no token",
            "mount bpffs with delegate_cmds, delegate_maps, delegate_progs and delegate_attachs, \
             and name it with --token",
        );
    }
    let tracing = matches!(refused, Refused::Tracing | Refused::Function | Refused::Tracefs);
    if facts.lockdown == Lockdown::Confidentiality && tracing {
        return Diagnosis::new(
            "the kernel is locked down (confidentiality) and lets nobody read its memory",
            "boot without lockdown=confidentiality",
        );
    }
    if let Some(module) = facts.security_modules.first() {
        return Diagnosis::new(
            format!("a policy of the security module '{module}' may forbid it"),
            "look into the audit log",
        );
    }
    if refused == Refused::Function {
        return Diagnosis::new(
            "this kernel refuses programs bound to its functions",
            "use a raw tracepoint, tracepoint or kprobe instead",
        );
    }
    if facts.kernel < (5, 11) {
        return Diagnosis::new(
            "the limit of locked memory may be too low",
            "raise it with 'ulimit -l' or LimitMEMLOCK=",
        );
    }
    Diagnosis::new("the kernel refused although all capabilities are there", "look into dmesg")
}

fn missing(refused: Refused, facts: &Facts) -> Vec<Capability> {
    let split = facts.kernel >= (5, 8) || facts.kernel == (0, 0);
    let needed: &[Capability] = match refused {
        _ if !split => &[Capability::SYS_ADMIN],
        Refused::Number => &[Capability::SYS_ADMIN],
        Refused::Plain => &[Capability::BPF],
        Refused::Network => &[Capability::BPF, Capability::NET_ADMIN],
        Refused::Tracing | Refused::Function => &[Capability::BPF, Capability::PERFMON],
        Refused::Tracefs => &[Capability::PERFMON, Capability::DAC_READ_SEARCH],
    };
    needed.iter().copied().filter(|needed| !facts.capabilities.has(*needed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(list: &[Capability]) -> Capabilities {
        Capabilities(list.iter().fold(0, |bits, capability| bits | 1 << capability.0))
    }

    fn facts(list: &[Capability]) -> Facts {
        Facts { capabilities: caps(list), kernel: (6, 18), ..Facts::default() }
    }

    const FULL: &[Capability] =
        &[Capability::SYS_ADMIN, Capability::NET_ADMIN, Capability::DAC_READ_SEARCH];

    #[test]
    fn each_program_type_misses_its_own_capabilities() {
        let cases: [(&[Capability], Refused, &str); 5] = [
            (&[], Refused::Plain, "lacks CAP_BPF"),
            (&[Capability::BPF], Refused::Network, "lacks CAP_NET_ADMIN"),
            (&[Capability::BPF], Refused::Tracing, "lacks CAP_PERFMON"),
            (&[], Refused::Function, "lacks CAP_BPF, CAP_PERFMON"),
            (
                &[Capability::BPF, Capability::PERFMON],
                Refused::Tracefs,
                "lacks CAP_DAC_READ_SEARCH",
            ),
        ];
        for (list, refused, words) in cases {
            let found = diagnose(refused, &facts(list));
            assert!(found.detail.ends_with(words), "{refused:?}: {}", found.detail);
        }
    }

    #[test]
    fn old_kernels_know_one_capability() {
        let old = Facts { kernel: (5, 4), ..facts(&[Capability::NET_ADMIN]) };
        assert_eq!(diagnose(Refused::Tracing, &old).detail, "the caller lacks CAP_SYS_ADMIN");
        let root = Facts { kernel: (5, 4), ..facts(FULL) };
        assert!(diagnose(Refused::Plain, &root).hint.contains("ulimit -l"));
    }

    #[test]
    fn the_order_is_namespace_lockdown_module_kind() {
        let mut facts = Facts {
            user_namespace: true,
            lockdown: Lockdown::Confidentiality,
            security_modules: vec!["selinux".to_owned()],
            ..facts(FULL)
        };
        let mut next = |words: &str| {
            let found = diagnose(Refused::Function, &facts).detail;
            assert!(found.contains(words), "{found}");
            if facts.user_namespace && !facts.token {
                facts.token = true;
            } else if facts.lockdown == Lockdown::Confidentiality {
                facts.lockdown = Lockdown::Integrity;
            } else {
                facts.security_modules.clear();
            }
        };
        next("no token");
        next("confidentiality");
        next("selinux");
        next("refuses programs bound to its functions");
    }

    #[test]
    fn a_filter_is_blamed_before_the_kernel_and_after_the_caller() {
        let found = |list| diagnose(Refused::Function, &Facts { filtered: true, ..facts(list) });
        assert_eq!(found(FULL).detail, "a seccomp filter forbids the system call bpf");
        assert!(found(&[]).detail.contains("lacks CAP_BPF"));
    }

    #[test]
    fn numbers_are_the_administrators() {
        let found = diagnose(Refused::Number, &facts(&[Capability::BPF, Capability::PERFMON]));
        assert_eq!(found.detail, "the caller lacks CAP_SYS_ADMIN");
        assert_eq!(found.hint, "without it, name things by their pins");
    }

    #[test]
    fn memory_limits_are_blamed_on_old_kernels_only() {
        let found = diagnose(Refused::Plain, &facts(FULL));
        assert!(!found.hint.contains("ulimit"));
        assert_eq!(found.hint, "look into dmesg");
    }
}
