// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Command lines as the tool from which the options come takes them: `-u NAME`, `-c NAME -f FILE`.
//!
//! Pure: words in, words out. Also puts `--` where a command's words are another program's.

use std::ffi::OsString;

use plinth::cli::UsageError;

/// The words that the tables understand.
///
/// # Errors
/// A short form that has no meaning here, or lacks a word.
pub(crate) fn expand(words: Vec<OsString>) -> Result<Vec<OsString>, UsageError> {
    let first = words.first().and_then(|word| word.to_str()).unwrap_or_default().to_owned();
    match first.as_str() {
        "shell" | "ssh" => Ok(separate(words)),
        "-l" => Ok(command("list", &words)),
        "-r" => Ok(command("run", &words)),
        "-u" => Ok(command("update", &words)),
        "-s" => Ok(separate(command("shell", &words))),
        "-c" | "-f" => create(&words),
        "-C" => Err(UsageError::new("option '-C' does nothing, and is refused")),
        _ => Ok(words),
    }
}

fn command(name: &str, words: &[OsString]) -> Vec<OsString> {
    std::iter::once(name.into()).chain(words.iter().skip(1).cloned()).collect()
}

/// `shell NAME WORDS`: what stands behind the name is not ours to understand.
fn separate(mut words: Vec<OsString>) -> Vec<OsString> {
    let mut at = 1;
    while let Some(word) = words.get(at).filter(|it| it.as_encoded_bytes().starts_with(b"--root")) {
        at += if word == "--root" { 2 } else { 1 };
    }
    let is_name = words.get(at).is_some_and(|it| !it.as_encoded_bytes().starts_with(b"-"));
    let is_bare = words.get(at + 1).is_some_and(|it| it != "--");
    if is_name && is_bare {
        words.insert(at + 1, "--".into());
    }
    words
}

fn create(words: &[OsString]) -> Result<Vec<OsString>, UsageError> {
    let (mut name, mut file, mut rest) = (None, None, Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let place = match word.to_str() {
            Some("-c") => &mut name,
            Some("-f") => &mut file,
            _ => {
                rest.push(word.clone());
                continue;
            }
        };
        *place = words.next().cloned();
    }
    match (name, file) {
        (Some(name), Some(file)) => {
            Ok(["create".into(), name, file].into_iter().chain(rest).collect())
        }
        _ => Err(UsageError::new("both are needed: '-f FILE' and '-c NAME'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        match expand(words) {
            Ok(words) => words.join(" ".as_ref()).to_string_lossy().into_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn short_forms_are_commands() {
        for (short, long) in [
            ("-l", "list"),
            ("-u a b -R", "update a b -R"),
            ("-r a", "run a"),
            ("-s a uname -a", "shell a -- uname -a"),
            ("-f x.toml -c a", "create a x.toml"),
            ("-c a -f x.toml --start", "create a x.toml --start"),
            ("list -l", "list -l"),
            ("-C", "option '-C' does nothing, and is refused"),
            ("-c a", "both are needed: '-f FILE' and '-c NAME'"),
        ] {
            assert_eq!(expanded(short), long);
        }
    }

    #[test]
    fn words_for_ssh_are_left_to_ssh() {
        for (said, meant) in [
            ("shell vm uname -a", "shell vm -- uname -a"),
            ("shell vm -- -l root -i K", "shell vm -- -l root -i K"),
            ("ssh vm -l me", "ssh vm -- -l me"),
            ("shell vm", "shell vm"),
            ("shell --root /r vm uname -a", "shell --root /r vm -- uname -a"),
            ("shell --root=/r vm -l me", "shell --root=/r vm -- -l me"),
            ("shell --root /r vm", "shell --root /r vm"),
            ("shell --root", "shell --root"),
            ("shell --help", "shell --help"),
        ] {
            assert_eq!(expanded(said), meant);
        }
    }
}
