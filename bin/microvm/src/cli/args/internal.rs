// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of `internal`: what generated scripts and units call.
//!
//! The first word is the action; each takes some of the options. Words behind `--` go to the
//! program that an action starts, so that no option is looked for among them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use plinth::cli::{Arity, Command, Flag, Positional};

use super::Args;
use crate::ctl::stop::How;

/// A macvtap whose device is opened under descriptors of fixed numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvtap {
    /// The interface.
    pub id: String,
    /// The number of the first descriptor.
    pub first: i32,
    /// How many there are: one for each queue.
    pub count: i32,
}

/// What was said to `internal`.
#[derive(Clone, Debug, Default)]
pub struct Internal {
    /// The first argument of the program.
    pub argv0: Option<OsString>,
    /// Macvtaps to open.
    pub macvtaps: Vec<Macvtap>,
    /// Interfaces whose device path takes the place of a word.
    pub tap_paths: Vec<(String, String)>,
    /// With a terminal of its own.
    pub pty: bool,
    /// Programs that run beside it.
    pub with: Vec<Vec<String>>,
    /// Sockets that must be there first, and the seconds to wait for them.
    pub awaited: Vec<(Duration, PathBuf)>,
    /// More arguments, separated by blanks.
    pub split: Option<OsString>,
    /// The size of a volume, in MiB.
    pub size_mib: Option<u64>,
    /// Its file system.
    pub fs: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// The key of the description that an error names.
    pub key: Option<String>,
    /// The hypervisor.
    pub hypervisor: Option<String>,
    /// Its control socket.
    pub socket: Option<PathBuf>,
    /// How long to wait.
    pub timeout: Option<Duration>,
    /// What the guest sees of a stop.
    pub how: How,
    /// A process.
    pub pid: Option<i32>,
    /// A machine's memory, in MiB.
    pub mem: Option<u64>,
    /// A machine's name.
    pub name: Option<String>,
    /// A hypervisor's program.
    pub program: Option<String>,
    /// A socket to listen on.
    pub unix: Option<PathBuf>,
    /// A vsock port to listen on.
    pub vsock: Option<u32>,
    /// The only machine that is heard there.
    pub cid: Option<u32>,
    /// A runner package.
    pub package: Option<PathBuf>,
    /// The program of a daemon.
    pub binary: Option<String>,
    /// What stands for the root directory.
    pub root: Option<PathBuf>,
    /// Leave devices that are as they should be.
    pub keep: bool,
}

fn text(value: OsString) -> Result<String, String> {
    value.into_string().map_err(|_| "not UTF-8".to_owned())
}

fn num<T: std::str::FromStr>(value: OsString) -> Result<T, String> {
    text(value)?.parse().map_err(|_| "not a number of that range".to_owned())
}

/// `ID:FIRSTFD:COUNT`.
fn macvtap(value: OsString) -> Result<Macvtap, String> {
    const FORM: &str = "not of the form ID:FIRSTFD:COUNT";
    let value = text(value)?;
    let mut parts = value.rsplitn(3, ':');
    let mut part = || parts.next().ok_or_else(|| FORM.to_owned());
    let count = part()?.parse::<i32>().map_err(|_| FORM)?;
    let first = part()?.parse::<i32>().map_err(|_| FORM)?;
    if !(3..1024).contains(&first) || !(1..=256).contains(&count) {
        return Err("descriptors out of range".to_owned());
    }
    Ok(Macvtap { id: part()?.to_owned(), first, count })
}

/// A program and its arguments, a line each: a script can put them together from what it knows only
/// at the start, and no word of a description holds a line feed.
fn words(value: OsString) -> Result<Vec<String>, String> {
    let words: Vec<String> = text(value)?.split('\n').map(str::to_owned).collect();
    let is_program = words.first().is_some_and(|program| !program.is_empty());
    if is_program { Ok(words) } else { Err("no program in it".to_owned()) }
}

/// `SECONDS:SOCKET`.
fn awaited(value: OsString) -> Result<(Duration, PathBuf), String> {
    const FORM: &str = "not of the form SECONDS:SOCKET";
    let value = text(value)?;
    let (seconds, path) = value.split_once(':').filter(|(_, path)| !path.is_empty()).ok_or(FORM)?;
    Ok((Duration::from_secs(seconds.parse::<u32>().map_err(|_| FORM)?.into()), path.into()))
}

/// `ID=PLACEHOLDER`.
fn placeholder(value: OsString) -> Result<(String, String), String> {
    match text(value)?.split_once('=') {
        Some((id, word)) if !id.is_empty() && !word.is_empty() => {
            Ok((id.to_owned(), word.to_owned()))
        }
        _ => Err("not of the form ID=PLACEHOLDER".to_owned()),
    }
}

const FLAGS: &[Flag<Args>] = &[
    Flag::option(None, "argv0", "NAME", "launch: the name that the program gets", |a, v| {
        a.internal.argv0 = Some(v);
        Ok(())
    }),
    Flag::option(
        None,
        "macvtap",
        "ID:FIRSTFD:COUNT",
        "launch: open the device of a macvtap under these descriptors",
        |args: &mut Args, value| {
            args.internal.macvtaps.push(macvtap(value)?);
            Ok(())
        },
    ),
    Flag::option(
        None,
        "tap-path",
        "ID=PLACEHOLDER",
        "launch: put the device path of a macvtap in place of a text in the arguments",
        |args: &mut Args, value| {
            args.internal.tap_paths.push(placeholder(value)?);
            Ok(())
        },
    ),
    Flag::switch(None, "pty", "launch: give the program a terminal", |a: &mut Args, _| {
        a.internal.pty = true;
        Ok(())
    }),
    Flag::option(
        None,
        "with",
        "WORDS",
        "launch: run this beside it, a word on each line",
        |args: &mut Args, value| {
            args.internal.with.push(words(value)?);
            Ok(())
        },
    ),
    Flag::option(
        None,
        "await",
        "SECONDS:SOCKET",
        "launch: wait until this socket is there",
        |args: &mut Args, value| {
            args.internal.awaited.push(awaited(value)?);
            Ok(())
        },
    ),
    Flag::option(None, "split", "TEXT", "launch: more arguments, split at blanks", |a, v| {
        a.internal.split = Some(v);
        Ok(())
    }),
    Flag::option(None, "size-mib", "MIB", "mkvolume: the size", |a: &mut Args, v| {
        a.internal.size_mib = Some(num(v)?);
        Ok(())
    }),
    Flag::option(None, "fs", "TYPE", "mkvolume: the file system", |a: &mut Args, v| {
        a.internal.fs = Some(text(v)?);
        Ok(())
    }),
    Flag::option(None, "label", "LABEL", "mkvolume: its label", |a: &mut Args, v| {
        a.internal.label = Some(text(v)?);
        Ok(())
    }),
    Flag::option(None, "key", "KEY", "mkvolume: what asks for it", |a: &mut Args, v| {
        a.internal.key = Some(text(v)?);
        Ok(())
    }),
    Flag::option(None, "hypervisor", "NAME", "shutdown, balloon: who runs it", |a, v| {
        a.internal.hypervisor = Some(text(v)?);
        Ok(())
    }),
    Flag::option(None, "socket", "PATH", "shutdown, balloon: the control socket", |a, v| {
        a.internal.socket = Some(v.into());
        Ok(())
    }),
    Flag::<Args>::option(None, "timeout", "SECONDS", "shutdown: how long to wait", |a, v| {
        a.internal.timeout = Some(Duration::from_secs(num(v)?));
        Ok(())
    })
    .default("90"),
    Flag::<Args>::option(None, "how", "HOW", "shutdown: what the guest sees (qemu)", |a, v| {
        a.internal.how = match text(v)?.as_str() {
            "ctrl-alt-del" => How::CtrlAltDel,
            "powerdown" => How::Powerdown,
            _ => return Err("not ctrl-alt-del or powerdown".to_owned()),
        };
        Ok(())
    })
    .choices(&["ctrl-alt-del", "powerdown"])
    .default("ctrl-alt-del"),
    Flag::<Args>::option(None, "pid", "PID", "shutdown: the hypervisor's process", |a, v| {
        a.internal.pid = Some(num(v)?);
        Ok(())
    })
    .env("MAINPID"),
    Flag::option(None, "mem", "MIB", "balloon: the machine's memory", |a: &mut Args, v| {
        a.internal.mem = Some(num(v)?);
        Ok(())
    }),
    Flag::option(None, "name", "NAME", "mkvolume, balloon: the machine's name", |a, v| {
        a.internal.name = Some(text(v)?);
        Ok(())
    }),
    Flag::option(None, "program", "PROGRAM", "shutdown, balloon: the client", |a, v| {
        a.internal.program = Some(text(v)?);
        Ok(())
    }),
    Flag::option(None, "unix", "PATH", "notify-relay: listen on this socket", |a: &mut Args, v| {
        a.internal.unix = Some(v.into());
        Ok(())
    }),
    Flag::option(None, "vsock", "PORT", "notify-relay: listen on this port", |a: &mut Args, v| {
        a.internal.vsock = Some(num(v)?);
        Ok(())
    }),
    Flag::option(None, "cid", "CID", "notify-relay: hear this machine alone", |a: &mut Args, v| {
        a.internal.cid = Some(num(v)?);
        Ok(())
    }),
    Flag::option(None, "package", "DIR", "the runner package", |a: &mut Args, v| {
        a.internal.package = Some(v.into());
        Ok(())
    }),
    Flag::option(None, "binary", "PROGRAM", "virtiofsd: the daemon", |a: &mut Args, v| {
        a.internal.binary = Some(text(v)?);
        Ok(())
    }),
    Flag::option(None, "root", "DIR", "pci-setup: in place of the root", |a: &mut Args, v| {
        a.internal.root = Some(v.into());
        Ok(())
    }),
    Flag::switch(None, "keep", "net tap-up: leave what is right", |a: &mut Args, _| {
        a.internal.keep = true;
        Ok(())
    }),
];

/// What scripts and units call.
pub(super) const INTERNAL: Command<Args> = Command {
    name: "internal",
    summary: "what generated scripts call; see microvm-runner(7)",
    flags: FLAGS,
    positionals: &[
        Positional {
            name: "ACTION",
            help: "what to do",
            arity: Arity::Required,
            set: |args, word| {
                args.words.push(word);
                Ok(())
            },
        },
        Positional {
            name: "WORD",
            help: "what it is done with",
            arity: Arity::Many,
            set: |args, word| {
                args.words.push(word);
                Ok(())
            },
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_values_are_checked() {
        let three = Macvtap { id: "vm-a".to_owned(), first: 3, count: 4 };
        assert_eq!(macvtap("vm-a:3:4".into()), Ok(three));
        for odd in ["vm-a", "vm-a:3", "vm-a:2:1", "vm-a:3:0", "vm-a:x:1", "vm-a:3:257"] {
            assert!(macvtap(odd.into()).is_err(), "{odd}");
        }
        assert_eq!(words("a b\n".into()), Ok(vec!["a b".to_owned(), String::new()]));
        for odd in ["", "\na"] {
            assert!(words(odd.into()).is_err(), "{odd}");
        }
        assert_eq!(awaited("10:a:b".into()), Ok((Duration::from_secs(10), "a:b".into())));
        for odd in ["", "10", "10:", ":a", "-1:a"] {
            assert!(awaited(odd.into()).is_err(), "{odd}");
        }
        assert_eq!(placeholder("a=@b".into()), Ok(("a".to_owned(), "@b".to_owned())));
        for odd in ["", "a", "=b", "a="] {
            assert!(placeholder(odd.into()).is_err(), "{odd}");
        }
    }
}
