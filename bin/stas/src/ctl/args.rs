// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command lines of `stafctl` and `stacctl`: the tables, and what they record.
//!
//! Owns the words, their defaults and their checks one by one. Which options belong together is
//! checked where the command is carried out. stacctl has the commands of stafctl that are not about
//! log pages, and shares their entries.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use plinth::cli::{Command, Flag, Program};

use crate::core::control::Seven;

/// Selects the output form when no option does: `python`, `json` or `table`.
pub const OUTPUT_VARIABLE: &str = "STAS_OUTPUT";

/// The subsystem NQN that every discovery controller answers to.
const DISCOVERY_NQN: &str = "nqn.2014-08.org.nvmexpress.discovery";

/// The transports that `dlp` takes.
const TRANSPORTS: &[&str] = &["tcp", "rdma", "fc", "loop"];

/// Longest time that `wait` takes, in seconds: a year.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A Python literal, as the reference prints it.
    #[default]
    Python,
    /// One JSON document.
    Json,
    /// A table for people.
    Table,
}

/// What the command line says.
#[derive(Clone, Debug, PartialEq)]
pub struct Args {
    /// `-o FORMAT`, or the environment.
    pub output: Format,
    /// `--json`, which outdoes both.
    pub json: bool,
    /// `--socket PATH`: no bus, this socket.
    pub socket: Option<PathBuf>,
    /// `-d`.
    pub detailed: bool,
    /// The discovery controller of `dlp`; the host NQN is filled in later when it is absent.
    pub seven: Seven,
    /// Was `--host-nqn` given?
    pub host_nqn_given: bool,
    /// How many connections `wait` waits for.
    pub count: usize,
    /// How long `wait` waits.
    pub timeout: Duration,
}

impl Default for Args {
    fn default() -> Self {
        let mut seven = Seven::default();
        let [transport, _, _, subsysnqn, ..] = &mut seven;
        *transport = "tcp".into();
        *subsysnqn = DISCOVERY_NQN.into();
        Self {
            output: Format::default(),
            json: false,
            socket: None,
            detailed: false,
            seven,
            host_nqn_given: false,
            count: 1,
            timeout: Duration::from_secs(30),
        }
    }
}

impl Args {
    /// The form that all of the command line and the environment amount to.
    #[must_use]
    pub const fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

/// Stores a string at place `N` of the seven.
fn store<const N: usize>(args: &mut Args, value: OsString) -> Result<(), String> {
    let text = value.into_string().map_err(|_| "not UTF-8")?;
    if text.contains('\0') {
        return Err("contains a zero byte".into());
    }
    if let Some(place) = args.seven.get_mut(N) {
        *place = text;
    }
    Ok(())
}

fn transport(args: &mut Args, value: OsString) -> Result<(), String> {
    match value.to_str() {
        Some(known) if TRANSPORTS.contains(&known) => store::<0>(args, value),
        _ => Err(format!("not one of {}", TRANSPORTS.join(", "))),
    }
}

fn host_nqn(args: &mut Args, value: OsString) -> Result<(), String> {
    args.host_nqn_given = true;
    store::<6>(args, value)
}

fn output(args: &mut Args, value: OsString) -> Result<(), String> {
    args.output = match value.into_string().as_deref() {
        Ok("python") => Format::Python,
        Ok("json") => Format::Json,
        Ok("table") => Format::Table,
        _ => return Err("not one of python, json, table".into()),
    };
    Ok(())
}

fn count(args: &mut Args, value: OsString) -> Result<(), String> {
    args.count =
        value.into_string().ok().and_then(|text| text.parse().ok()).ok_or("not a number")?;
    Ok(())
}

fn timeout(args: &mut Args, value: OsString) -> Result<(), String> {
    let seconds: Option<f64> = value.into_string().ok().and_then(|text| text.parse().ok());
    match seconds {
        Some(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => {
            args.timeout = Duration::from_secs_f64(seconds);
            Ok(())
        }
        _ => Err("not a number of seconds".into()),
    }
}

const GLOBAL: &[Flag<Args>] = &[
    Flag::<Args>::option(Some('o'), "output", "FORMAT", "print results in this form", output)
        .choices(&["python", "json", "table"])
        .default("python")
        .env(OUTPUT_VARIABLE),
    Flag::switch(
        None,
        "json",
        "the same as --output=json, and outdoes it",
        |args: &mut Args, _| {
            args.json = true;
            Ok(())
        },
    ),
    Flag::option(
        None,
        "socket",
        "PATH",
        "use the control socket PATH and not the message bus",
        |args: &mut Args, value| {
            args.socket = Some(value.into());
            Ok(())
        },
    ),
];

const DETAILED: &[Flag<Args>] =
    &[Flag::switch(Some('d'), "detailed", "print everything that is known", |args, _| {
        args.detailed = true;
        Ok(())
    })];

const DLP: &[Flag<Args>] = &[
    Flag::<Args>::option(Some('t'), "transport", "TRTYPE", "its transport", transport)
        .choices(TRANSPORTS)
        .default("tcp"),
    Flag::option(Some('a'), "traddr", "TRADDR", "its address (required)", store::<1>),
    Flag::option(Some('s'), "trsvcid", "TRSVCID", "its port (required)", store::<2>),
    Flag::option(Some('w'), "host-traddr", "TRADDR", "the host's address", store::<4>),
    Flag::option(Some('f'), "host-iface", "IFACE", "the host's interface", store::<5>),
    Flag::<Args>::option(Some('q'), "host-nqn", "NQN", "the host's NQN", host_nqn)
        .default("that of sys.conf"),
    Flag::<Args>::option(Some('n'), "nqn", "NQN", "its NQN", store::<3>).default(DISCOVERY_NQN),
];

const WAIT: &[Flag<Args>] = &[
    Flag::<Args>::option(None, "count", "N", "how many connections to wait for", count)
        .default("1"),
    Flag::<Args>::option(None, "timeout", "SECONDS", "how long to wait", timeout).default("30"),
];

const fn command(name: &'static str, summary: &'static str) -> Command<Args> {
    Command { name, summary, flags: &[], positionals: &[] }
}

const TRON: Command<Args> = command("tron", "switch tracing on");
const TROFF: Command<Args> = command("troff", "switch tracing off");
const STATUS: Command<Args> = command("status", "print the state of the daemon");
const LS: Command<Args> =
    Command { name: "ls", summary: "list the controllers", flags: DETAILED, positionals: &[] };
const WAIT_COMMAND: Command<Args> = Command {
    name: "wait",
    summary: "wait until controllers are connected",
    flags: WAIT,
    positionals: &[],
};

/// The command line of `stafctl`.
pub static STAFCTL: Program<Args> = Program {
    name: "stafctl",
    summary: "ask stafd about discovery controllers and their log pages",
    flags: GLOBAL,
    positionals: &[],
    commands: &[
        TRON,
        TROFF,
        STATUS,
        LS,
        Command {
            name: "dlp",
            summary: "print the discovery log page of one controller",
            flags: DLP,
            positionals: &[],
        },
        Command {
            name: "adlp",
            summary: "print the discovery log pages of all controllers",
            flags: DETAILED,
            positionals: &[],
        },
        WAIT_COMMAND,
    ],
};

/// The command line of `stacctl`.
pub static STACCTL: Program<Args> = Program {
    name: "stacctl",
    summary: "ask stacd about I/O controllers",
    flags: GLOBAL,
    positionals: &[],
    commands: &[TRON, TROFF, STATUS, LS, WAIT_COMMAND],
};

#[cfg(test)]
mod tests {
    use plinth::cli::{Outcome, UsageError};

    use super::*;

    fn parse(words: &[&str]) -> Result<(Option<&'static str>, Args), UsageError> {
        parse_with(words, None)
    }

    fn parse_with(
        words: &[&str],
        variable: Option<&str>,
    ) -> Result<(Option<&'static str>, Args), UsageError> {
        let env = |name: &str| variable.filter(|_| name == OUTPUT_VARIABLE).map(OsString::from);
        match STAFCTL.parse(words.iter().map(OsString::from), env)? {
            Outcome::Run { command, args } => Ok((command, args)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_form_is_python_unless_someone_says_otherwise() {
        let format =
            |words: &[&str], variable| parse_with(words, variable).expect("good").1.format();
        assert_eq!(format(&["ls"], None), Format::Python);
        assert_eq!(format(&["ls"], Some("json")), Format::Json);
        assert_eq!(format(&["ls", "-o", "python"], Some("json")), Format::Python);
        assert_eq!(format(&["-otable", "ls"], Some("json")), Format::Table);
        assert_eq!(format(&["ls", "--out=table"], None), Format::Table);
        assert_eq!(format(&["ls", "--json"], Some("table")), Format::Json);
        assert_eq!(format(&["--json", "ls"], None), Format::Json);
        let error = parse_with(&["ls"], Some("yaml")).expect_err("no such form");
        assert!(error.to_string().contains(OUTPUT_VARIABLE), "{error}");
    }

    #[test]
    fn dlp_records_all_seven_strings() {
        let words = "dlp -t rdma -a 192.0.2.1 -s 4420 -w 192.0.2.9 -f eth0 -q nqn.host -n nqn.dc";
        let words: Vec<&str> = words.split(' ').collect();
        let (command, args) = parse(&words).expect("good");
        assert_eq!(command, Some("dlp"));
        let seven = ["rdma", "192.0.2.1", "4420", "nqn.dc", "192.0.2.9", "eth0", "nqn.host"];
        assert_eq!(args.seven, seven);
        assert!(args.host_nqn_given);
        let (_, args) = parse(&["dlp", "--traddr=::1", "--trsvcid=8009"]).expect("good");
        assert_eq!(args.seven, ["tcp", "::1", "8009", DISCOVERY_NQN, "", "", ""]);
        assert!(!args.host_nqn_given);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_word_at_fault() {
        for (words, part) in [
            (&["dlp", "-t", "tdp"][..], "'tdp'"),
            (&["dlp", "-a", "a\0b"], "zero byte"),
            (&["wait", "--count", "many"], "'many'"),
            (&["wait", "--count=-1"], "'-1'"),
            (&["wait", "--timeout=-1"], "'-1'"),
            (&["wait", "--timeout=NaN"], "'NaN'"),
            (&["wait", "--timeout=inf"], "'inf'"),
            (&["wait", "--timeout=1e30"], "'1e30'"),
            (&["-o", "yaml", "ls"], "'yaml'"),
            (&["lsd"], "'lsd'"),
            (&["ls", "-a"], "'-a'"),
            (&["ls", "more"], "'more'"),
            (&["status", "-d"], "'-d'"),
        ] {
            let error = parse(words).expect_err("refused").to_string();
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }

    #[test]
    fn wait_has_defaults_and_takes_fractions() {
        let (_, args) = parse(&["wait"]).expect("good");
        assert_eq!((args.count, args.timeout), (1, Duration::from_secs(30)));
        let (_, args) = parse(&["wait", "--count=3", "--timeout", "0.25"]).expect("good");
        assert_eq!((args.count, args.timeout), (3, Duration::from_millis(250)));
    }

    #[test]
    fn the_connectors_client_knows_no_log_pages() {
        let names = |program: &Program<Args>| {
            program.commands.iter().map(|command| command.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&STAFCTL), ["tron", "troff", "status", "ls", "dlp", "adlp", "wait"]);
        assert_eq!(names(&STACCTL), ["tron", "troff", "status", "ls", "wait"]);
    }
}
