// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command as the tests run it: what it said, and what it ended with.

use std::process::Command;

use plinth::testing::output;
use serde_json::Value;

pub(crate) const TINYBPF: &str = env!("CARGO_BIN_EXE_tinybpf");

/// How the command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn tinybpf(words: &[&str]) -> Said {
    under(&[], words)
}

/// The same, run by another command that changes what it may do: that one's words come first.
pub(crate) fn under(runner: &[&str], words: &[&str]) -> Said {
    let all = [runner, &[TINYBPF], words].concat();
    let output = output(Command::new(all[0]).args(&all[1..]));
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What it prints when it succeeds.
pub(crate) fn done(words: &[&str]) -> String {
    let said = tinybpf(words);
    assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
    said.out
}

pub(crate) fn json(words: &[&str]) -> Value {
    let text = done(&[&["-j"], words].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
}

/// That it fails with this status, and with a message in one line that holds this phrase.
pub(crate) fn fails(words: &[&str], code: i32, phrase: &str) {
    let said = tinybpf(words);
    assert_eq!(said.code, Some(code), "{words:?}: {said:?}");
    let first = said.err.lines().next().unwrap_or_default();
    assert!(first.starts_with("tinybpf: ") && first.contains(phrase), "{words:?}: {said:?}");
    assert_eq!(said.out, "", "{words:?}");
}

impl Said {
    /// That it failed with this status, and with exactly this message, hint and all.
    pub(crate) fn failed(self, code: i32, message: &str) {
        let lines: Vec<&str> = self.err.lines().collect();
        let wanted: Vec<String> =
            message.lines().map(|line| format!("tinybpf: {}", line.trim_start())).collect();
        assert_eq!((self.code, lines), (Some(code), wanted.iter().map(String::as_str).collect()));
        assert_eq!(self.out, "");
    }
}
