// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command lines of `stafd` and `stacd`: two tables that differ in a path.
//!
//! Owns the words and what they record; nothing is read or checked here.

use std::ffi::OsString;
use std::path::PathBuf;

use plinth::cli::{Flag, Program};

use crate::core::settings::Role;

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// `-f FILE`.
    pub conf_file: Option<PathBuf>,
    /// `-s`.
    pub syslog: bool,
    /// `--tron`.
    pub tron: bool,
    /// `--check`.
    pub check: bool,
}

/// Where stafd's configuration is by default.
pub const STAFD_CONF: &str = "/etc/stas/stafd.conf";
/// Where stacd's configuration is by default.
pub const STACD_CONF: &str = "/etc/stas/stacd.conf";

/// The finder's command line.
pub static STAFD: Program<Args> = Program {
    name: "stafd",
    summary: "find NVMe over Fabrics storage and keep its log pages",
    flags: &STAFD_FLAGS,
    positionals: &[],
    commands: &[],
};

/// The connector's command line.
pub static STACD: Program<Args> = Program {
    name: "stacd",
    summary: "connect the NVMe over Fabrics storage that is wanted",
    flags: &STACD_FLAGS,
    positionals: &[],
    commands: &[],
};

static STAFD_FLAGS: [Flag<Args>; 4] = flags(STAFD_CONF);
static STACD_FLAGS: [Flag<Args>; 4] = flags(STACD_CONF);

const fn flags(conf_file: &'static str) -> [Flag<Args>; 4] {
    [
        Flag::<Args>::option(
            Some('f'),
            "conf-file",
            "FILE",
            "read FILE instead of the default",
            set_conf_file,
        )
        .default(conf_file),
        Flag::switch(Some('s'), "syslog", "log to the journal or to syslog", set_syslog),
        Flag::switch(None, "tron", "trace on: log at debug level", set_tron),
        Flag::switch(None, "check", "check the configuration and exit", set_check),
    ]
}

fn set_conf_file(args: &mut Args, value: OsString) -> Result<(), String> {
    if value.is_empty() {
        return Err("is empty".into());
    }
    args.conf_file = Some(value.into());
    Ok(())
}

fn set_syslog(args: &mut Args, _: OsString) -> Result<(), String> {
    args.syslog = true;
    Ok(())
}

fn set_tron(args: &mut Args, _: OsString) -> Result<(), String> {
    args.tron = true;
    Ok(())
}

fn set_check(args: &mut Args, _: OsString) -> Result<(), String> {
    args.check = true;
    Ok(())
}

/// The table of a role.
#[must_use]
pub const fn program(role: Role) -> &'static Program<Args> {
    match role {
        Role::Finder => &STAFD,
        Role::Connector => &STACD,
    }
}

impl Args {
    /// The configuration file of a role.
    #[must_use]
    pub fn file(&self, role: Role) -> PathBuf {
        self.conf_file.clone().unwrap_or_else(|| match role {
            Role::Finder => STAFD_CONF.into(),
            Role::Connector => STACD_CONF.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use plinth::cli::Outcome;

    use super::*;

    fn parse(words: &[&str]) -> Result<Args, String> {
        match STAFD.parse(words.iter().map(OsString::from), |_| None) {
            Ok(Outcome::Run { args, .. }) => Ok(args),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_forms_of_the_reference_are_understood() {
        let file = |args: Args| args.file(Role::Finder);
        assert_eq!(file(parse(&[]).unwrap()), PathBuf::from(STAFD_CONF));
        for words in [&["-f", "x"][..], &["-fx"], &["--conf-file=x"], &["--conf", "x"]] {
            assert_eq!(file(parse(words).unwrap()), PathBuf::from("x"), "{words:?}");
        }
        let joined = parse(&["-sf", "x", "--tron"]).unwrap();
        let expected = Args { conf_file: Some("x".into()), syslog: true, tron: true, check: false };
        assert_eq!(joined, expected);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for words in [&["--idl"][..], &["extra"], &["-f"], &["--conf-file="], &["--tron=yes"]] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
