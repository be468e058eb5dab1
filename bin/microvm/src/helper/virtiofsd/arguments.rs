// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemons of a package, and their arguments on this host.
//!
//! The package says `{"virtiofsd": [{"tag", "socket", "args": [..]}]}` in its description. What
//! depends on the host is put in here: how many threads, how many open files.

use std::path::PathBuf;

use serde_json::Value;

/// The most shares of a machine.
const SHARES_MAX: usize = 256;
/// How many files a daemon is to have open, if it can be had.
pub const FILES_WANTED: u64 = 1 << 20;

/// One daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// The tag of its share.
    pub tag: String,
    /// Where it listens.
    pub socket: PathBuf,
    /// Its arguments as the package has them.
    pub args: Vec<String>,
}

/// What this host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Processors that this process may use.
    pub processors: usize,
    /// Files that a process may have open.
    pub files: u64,
}

/// The daemons of a package, from its description.
///
/// # Errors
/// What is wrong with it.
pub fn daemons(runner: &[u8]) -> Result<Vec<Daemon>, String> {
    let runner: Value = serde_json::from_slice(runner).map_err(|error| error.to_string())?;
    let list = match runner.get("virtiofsd") {
        None => return Ok(Vec::new()),
        Some(list) => list.as_array().ok_or("virtiofsd is no list")?,
    };
    if list.len() > SHARES_MAX {
        return Err("too many shares".to_owned());
    }
    list.iter().map(daemon).collect()
}

fn daemon(entry: &Value) -> Result<Daemon, String> {
    let text = |name: &str| {
        let value = entry.get(name).and_then(Value::as_str).filter(|it| !it.is_empty());
        value.map(str::to_owned).ok_or_else(|| format!("a share of virtiofsd has no {name}"))
    };
    let args = entry.get("args").and_then(Value::as_array).ok_or("a share has no args")?;
    let args = args.iter().map(|it| it.as_str().map(str::to_owned));
    let args = args.collect::<Option<Vec<String>>>().ok_or("an argument is no text")?;
    Ok(Daemon { tag: text("tag")?, socket: text("socket")?.into(), args })
}

/// The program that the description names.
#[must_use]
pub fn binary(runner: &[u8]) -> Option<String> {
    let runner: Value = serde_json::from_slice(runner).ok()?;
    runner.pointer("/config/virtiofsd/binary")?.as_str().map(str::to_owned)
}

impl Daemon {
    /// The directory that it serves.
    #[must_use]
    pub fn source(&self) -> Option<PathBuf> {
        let mut sources = self.args.iter().filter_map(|it| it.strip_prefix("--shared-dir="));
        sources.next_back().map(PathBuf::from)
    }

    /// The arguments on `host`.
    #[must_use]
    pub fn arguments(&self, host: Host) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let said = self.args.iter().any(|it| it.starts_with("--rlimit-nofile"));
        for argument in &self.args {
            let after_pool = out.last().is_some_and(|it| it == "--thread-pool-size");
            if after_pool && is_nproc(argument) {
                out.push(host.processors.to_string());
            } else {
                out.push(argument.clone());
            }
            if argument.starts_with("--shared-dir=") && !said {
                // Its own default is more than many hosts allow, and then it does not start.
                out.push(format!("--rlimit-nofile={}", host.files));
            }
        }
        out
    }
}

/// The word that stands for the number of processors, with the shell's quotes or without.
fn is_nproc(word: &str) -> bool {
    matches!(word, "nproc" | "`nproc`")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RUNNER: &str = r#"{
        "config": {"virtiofsd": {"binary": "/usr/libexec/virtiofsd"}},
        "virtiofsd": [{"tag": "home", "socket": "a.sock", "args": [
            "--socket-path=a.sock", "--shared-dir=/srv/a b", "--thread-pool-size", "`nproc`",
            "--cache=auto"]}]
    }"#;
    const HOST: Host = Host { processors: 6, files: 4096 };

    #[test]
    fn what_depends_on_the_host_is_filled_in() {
        let daemons = daemons(RUNNER.as_bytes()).expect("daemons");
        assert_eq!(daemons[0].tag, "home");
        assert_eq!(daemons[0].source(), Some("/srv/a b".into()));
        let expected = [
            "--socket-path=a.sock",
            "--shared-dir=/srv/a b",
            "--rlimit-nofile=4096",
            "--thread-pool-size",
            "6",
            "--cache=auto",
        ];
        assert_eq!(daemons[0].arguments(HOST), expected);
        assert_eq!(binary(RUNNER.as_bytes()).as_deref(), Some("/usr/libexec/virtiofsd"));
    }

    #[test]
    fn the_users_own_words_stay() {
        let args = ["--shared-dir=a", "--rlimit-nofile=7", "--thread-pool-size", "2", "nproc"];
        let args = args.map(str::to_owned).to_vec();
        let daemon = Daemon { tag: "t".to_owned(), socket: "s".into(), args: args.clone() };
        assert_eq!(daemon.arguments(HOST), args);
    }

    #[test]
    fn odd_descriptions_are_errors() {
        assert_eq!(daemons(b"{}"), Ok(Vec::new()));
        for odd in [
            "",
            "{\"virtiofsd\": {}}",
            "{\"virtiofsd\": [{}]}",
            "{\"virtiofsd\": [{\"tag\": \"\", \"socket\": \"s\", \"args\": []}]}",
            "{\"virtiofsd\": [{\"tag\": \"t\", \"socket\": \"s\", \"args\": [1]}]}",
        ] {
            assert!(daemons(odd.as_bytes()).is_err(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_daemons_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            drop(daemons(&bytes));
            prop_assert_eq!(binary(&bytes), None);
        }
    }
}
