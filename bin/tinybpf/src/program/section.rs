// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a section's name says about the hook, for programs that attach themselves.
//!
//! Owns the targets; the kinds of sections are [`crate::elf::sections`]'.

use std::borrow::Cow;

use crate::elf::sections;

/// A hook as a section names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Auto<'a> {
    Kprobe {
        function: &'a str,
        offset: u64,
        returns: bool,
    },
    Ksyscall {
        name: &'a str,
        returns: bool,
    },
    KprobeMulti {
        pattern: &'a str,
        returns: bool,
    },
    Uprobe {
        path: &'a str,
        symbol: &'a str,
        offset: u64,
        returns: bool,
    },
    UprobeMulti {
        path: &'a str,
        pattern: &'a str,
        returns: bool,
    },
    Usdt {
        path: &'a str,
        provider: &'a str,
        name: &'a str,
    },
    Tracepoint {
        category: &'a str,
        name: &'a str,
    },
    RawTracepoint {
        name: &'a str,
    },
    /// Bound to its function by the load: fentry and its kin, LSM, `tp_btf`, freplace.
    Bound,
    Iterator,
}

/// What the section says; `None` when it names no hook, the reason when it names half of one.
pub(super) fn auto(section: &str) -> Option<Result<Auto<'_>, Cow<'static, str>>> {
    let section = sections::parse(section);
    let (kind, rest) = (section.rule?.name, section.target.unwrap_or(""));
    let kind = kind.strip_suffix(".s").unwrap_or(kind);
    let returns = kind.contains("ret");
    let hook = match kind {
        "kprobe" | "kretprobe" => {
            function(rest).map(|(function, offset)| Auto::Kprobe { function, offset, returns })
        }
        "ksyscall" | "kretsyscall" => named(rest).map(|name| Auto::Ksyscall { name, returns }),
        "kprobe.multi" | "kretprobe.multi" | "kprobe.session" => {
            named(rest).map(|pattern| Auto::KprobeMulti { pattern, returns })
        }
        "uprobe" | "uretprobe" => uprobe(rest, returns),
        "uprobe.multi" | "uretprobe.multi" | "uprobe.session" => {
            file(rest).map(|(path, pattern)| Auto::UprobeMulti { path, pattern, returns })
        }
        "usdt" => usdt(rest),
        "tp" | "tracepoint" => rest
            .split_once('/')
            .map(|(category, name)| Auto::Tracepoint { category, name })
            .ok_or_else(|| "the section names no CATEGORY/NAME".into()),
        "raw_tp" | "raw_tracepoint" | "raw_tp.w" | "raw_tracepoint.w" => {
            named(rest).map(|name| Auto::RawTracepoint { name })
        }
        "tp_btf" | "fentry" | "fexit" | "fmod_ret" | "fsession" | "freplace" | "lsm" => {
            Ok(Auto::Bound)
        }
        "iter" => Ok(Auto::Iterator),
        _ => return None,
    };
    Some(hook)
}

type Hook<T> = Result<T, Cow<'static, str>>;

fn named(rest: &str) -> Hook<&str> {
    if rest.is_empty() { Err("the section names no target".into()) } else { Ok(rest) }
}

/// `do_unlinkat+0x10`.
fn function(rest: &str) -> Hook<(&str, u64)> {
    let (name, offset) = rest.split_once('+').unwrap_or((rest, "0"));
    Ok((named(name)?, number(offset)?))
}

fn number(text: &str) -> Hook<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("'{text}' is not an offset").into())
}

/// `/usr/bin/x:function`.
fn file(rest: &str) -> Hook<(&str, &str)> {
    rest.split_once(':').ok_or_else(|| "the section names no PATH:FUNCTION".into())
}

fn uprobe(rest: &str, returns: bool) -> Hook<Auto<'_>> {
    let (path, target) = file(rest)?;
    let (symbol, offset) = function(target)?;
    Ok(Auto::Uprobe { path, symbol, offset, returns })
}

fn usdt(rest: &str) -> Hook<Auto<'_>> {
    let (path, probe) = file(rest)?;
    let (provider, name) =
        probe.split_once(':').ok_or("the section names no PATH:PROVIDER:NAME")?;
    Ok(Auto::Usdt { path, provider, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_name_their_hooks() {
        let cases = [
            (
                "kprobe/do_unlinkat+0x10",
                Auto::Kprobe { function: "do_unlinkat", offset: 16, returns: false },
            ),
            ("kretprobe/x.isra.0", Auto::Kprobe { function: "x.isra.0", offset: 0, returns: true }),
            (
                "?tp/sched/sched_switch",
                Auto::Tracepoint { category: "sched", name: "sched_switch" },
            ),
            ("raw_tp.w/x", Auto::RawTracepoint { name: "x" }),
            ("fentry.s/x", Auto::Bound),
            ("iter.s/task", Auto::Iterator),
            (
                "uprobe//bin/x:main+4",
                Auto::Uprobe { path: "/bin/x", symbol: "main", offset: 4, returns: false },
            ),
            (
                "usdt/libc.so.6:libc:setjmp",
                Auto::Usdt { path: "libc.so.6", provider: "libc", name: "setjmp" },
            ),
            ("ksyscall/unlink", Auto::Ksyscall { name: "unlink", returns: false }),
        ];
        for (section, hook) in cases {
            assert_eq!(auto(section), Some(Ok(hook)), "{section}");
        }
    }

    #[test]
    fn half_a_hook_is_an_error_and_none_is_none() {
        for section in ["kprobe", "tp/sched", "uprobe/x", "usdt/a:b", "kprobe/x+y"] {
            assert!(matches!(auto(section), Some(Err(_))), "{section}");
        }
        for section in ["xdp", "tcx/ingress", "cgroup/connect4", "socket", ""] {
            assert_eq!(auto(section), None, "{section}");
        }
    }
}
