// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names the cause of a failed open or load from libbpf's number and log.
//!
//! Owns the reading of both, since the number alone says little: a missing type section is
//! `ENOENT`, and the verifier's refusal is `EACCES`. What needs facts beyond the log (privileges,
//! the file's own header) is left to the callers, who ask before or after.

use std::borrow::Cow;

use super::log::{Log, Rejection};
use crate::elf::sections;
use crate::errno::Errno;
use crate::error::{Error, Kind, Op};

/// What libbpf says before the name of a section that it does not know.
const UNKNOWN_SECTION: &str = "missing BPF prog type, check ELF section name";

/// What libbpf says before the name of a function that the kernel does not have.
pub(crate) const UNKNOWN_TYPE: &str = "failed to find kernel BTF type ID of";

/// What is said of a kernel that does not know bpf(2).
pub(crate) const NO_BPF: &str = "this kernel was built without BPF";

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What sort of failure it is.
    pub kind: Kind,
    /// The cause, as a phrase.
    pub detail: Cow<'static, str>,
    /// What may help.
    pub hint: Option<Cow<'static, str>>,
}

impl Finding {
    fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The finding as the error of `op` on `subject`.
    #[must_use]
    pub fn into_error(self, op: Op, subject: &str, errno: Errno) -> Error {
        let error = Error::new(self.kind, op, subject).with_errno(errno).with_detail(self.detail);
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Why an object could not be opened.
#[must_use]
pub fn open(errno: Errno, log: &Log) -> Finding {
    if log.contains("BTF is required, but is missing or corrupted") {
        return Finding::new(Kind::MissingBtf, "no BTF in the object").hint("compile with -g");
    }
    if log.contains("should be map-in-map or prog-array") {
        let hint = "values of a ring buffer carry no type: leave out '__array(values, ..)'";
        return Finding::new(Kind::NotAnObject, "a map declares values it cannot have").hint(hint);
    }
    match errno {
        Errno::NOENT => Finding::new(Kind::NotFound, "no such file"),
        Errno::ACCES => Finding::new(Kind::Permission, "the file may not be read"),
        Errno::ENDIAN => Finding::new(Kind::WrongArch, "the object has the other byte order"),
        Errno::LIBELF => Finding::new(Kind::NotAnObject, "not an ELF object"),
        Errno::FORMAT => Finding::new(Kind::NotAnObject, "the object is truncated or damaged"),
        _ => Finding::new(
            Kind::of(errno),
            last_line(log).unwrap_or("libbpf refused the object").to_owned(),
        ),
    }
}

/// Why an object could not be loaded. A refusal for want of privileges is `Kind::Permission`; who
/// wants to say more asks [`super::permission`].
#[must_use]
pub fn load(errno: Errno, log: &Log) -> Finding {
    if let Some(found) = log.relocation_failure() {
        let text = format!(
            "program '{}' needs {} of {}, which this kernel does not have",
            found.program, found.what, found.target
        );
        let hint = "guard the access with bpf_core_field_exists() or bpf_core_type_exists()";
        return Finding::new(Kind::Relocation, text).hint(hint);
    }
    if log.contains(UNKNOWN_SECTION) {
        return unknown_section(log);
    }
    if let Some(found) = missing_in_kernel(log) {
        return found;
    }
    if let Some(name) = unresolved_symbol(log) {
        let text = format!("the kernel has no symbol '{name}'");
        return Finding::new(Kind::Unsupported, text)
            .hint("declare it __weak if it may be missing");
    }
    if let Some(name) = log.quoted_after(UNKNOWN_TYPE) {
        return Finding::new(
            Kind::NoSuchTarget,
            format!("the kernel has no function or type '{name}'"),
        );
    }
    if log.contains("failed to parse target BTF") {
        return match errno {
            Errno::NOENT => Finding::new(Kind::NotFound, "there is no such file with kernel types"),
            Errno::ACCES => Finding::new(Kind::Permission, "the kernel types may not be read"),
            _ => Finding::new(Kind::MissingBtf, "the file with kernel types holds none"),
        };
    }
    if log.contains("kernel BTF is missing at") || log.contains("Error loading vmlinux BTF") {
        let hint = "name a file with kernel types (--btf), which serves all but programs and maps \
                    bound to types of the running kernel";
        return Finding::new(Kind::NoKernelBtf, "the kernel has no BTF").hint(hint);
    }
    if errno == Errno::NOSYS {
        return Finding::new(Kind::Unsupported, NO_BPF);
    }
    by_number(errno, log)
}

fn by_number(errno: Errno, log: &Log) -> Finding {
    let trivial = log.contains("Couldn't load trivial BPF program");
    if let Some(program) = unknown_type(errno, log).filter(|_| !trivial) {
        let text = format!("program '{program}': this kernel does not know its type or its hook");
        return Finding::new(Kind::Unsupported, text);
    }
    if let Some(found) = log.rejection().filter(|_| !trivial) {
        if errno != Errno::PERM || !found.reason.is_empty() {
            return verifier(errno, &found);
        }
    }
    match errno {
        Errno::PERM => Finding::new(Kind::Permission, "the kernel refused to load it"),
        Errno::ACCES => Finding::new(Kind::Verifier, "rejected by the verifier"),
        Errno::TOO_BIG => Finding::new(Kind::Limit, "a program is too large or too complex"),
        Errno::ENDIAN => Finding::new(Kind::WrongArch, "the object has the other byte order"),
        _ => {
            if let Some(map) =
                log.find(": failed to create").and_then(|line| line.split('\'').nth(1))
            {
                let text = format!("map '{map}' cannot be created");
                let hint =
                    "a ring buffer has no types of key and value; a map of maps needs a template";
                let finding = Finding::new(Kind::of(errno), text);
                return if errno == Errno::INVAL { finding.hint(hint) } else { finding };
            }
            let text = last_line(log);
            let text = text.map_or_else(|| Kind::of(errno).phrase().to_owned(), plain);
            Finding::new(Kind::of(errno), text)
        }
    }
}

/// The verifier's refusal: where it stopped, and its last word.
fn verifier(errno: Errno, found: &Rejection) -> Finding {
    let mut text = format!("program '{}' rejected", found.program);
    if let Some(instruction) = found.instruction {
        text.push_str(&format!(" at instruction {instruction}"));
    }
    if let Some(source) = &found.source {
        text.push_str(&format!(" ({source})"));
    }
    let reason = if found.reason.is_empty() { "no reason given" } else { &found.reason };
    text.push_str(": ");
    text.push_str(reason);
    let finding = Finding::new(Kind::Verifier, text);
    if reason.contains("GPL-restricted") || reason.contains("GPL compatible") {
        return finding
            .hint("declare a GPL-compatible license: char LICENSE[] SEC(\"license\") = \"GPL\"");
    }
    if errno == Errno::TOO_BIG {
        return finding.hint("the program has too many states: bound its loops, or split it");
    }
    finding
}

/// The program that the kernel refused before its verifier looked at it.
fn unknown_type(errno: Errno, log: &Log) -> Option<String> {
    let line = log.find("BPF program load failed")?;
    let silent = log.rejection().is_none_or(|found| found.reason.is_empty());
    let program = line.split_once("prog '")?.1.split('\'').next()?;
    (errno == Errno::INVAL && silent).then(|| program.to_owned())
}

fn unresolved_symbol(log: &Log) -> Option<&str> {
    let line = log.find(": not found in kernel or module BTFs").or_else(|| {
        log.find("extern (var ksym)").filter(|line| line.contains("not found in kernel BTF"))
    })?;
    line.split('\'').nth(1)
}

fn unknown_section(log: &Log) -> Finding {
    let program = log.quoted_after("prog").unwrap_or_default();
    let section = log.quoted_after(UNKNOWN_SECTION).unwrap_or_default();
    let text = format!("program '{program}': unknown section '{section}'");
    let finding = Finding::new(Kind::NotAnObject, text);
    let near = sections::near(section);
    if near.is_empty() {
        return finding.hint("the section's name selects the program type");
    }
    finding
        .hint(format!("the section's name selects the program type; near are: {}", near.join(", ")))
}

/// What the object needs of the kernel besides types and functions.
fn missing_in_kernel(log: &Log) -> Option<Finding> {
    if let Some(line) = log.find("(strong): not resolved") {
        let name = line.split('\'').nth(1).unwrap_or_default();
        let text = format!("the kernel's configuration has no value for '{name}'");
        return Some(Finding::new(Kind::Unsupported, text).hint(
            "declare it __weak, or give its value; /proc/config.gz and /boot are looked into",
        ));
    }
    if let Some(line) = log.find("is not found in kernel BTF") {
        let name = line.split("struct bpf_struct_ops_").nth(1)?.split(' ').next()?;
        let text = format!("the kernel has no operations '{name}' to implement");
        return Some(Finding::new(Kind::Unsupported, text));
    }
    None
}

/// The last line that is not about the whole object.
fn last_line(log: &Log) -> Option<&str> {
    let says = |line: &&str| !line.contains("failed to load object") && !line.trim().is_empty();
    log.lines().rev().find(says)
}

/// A line of libbpf without its prefix.
fn plain(line: &str) -> String {
    line.trim_start_matches("libbpf: ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Log {
        Log::from_lines(lines.iter().map(|line| (*line).to_owned()))
    }

    fn rejected(reason: &str) -> Log {
        log(&[
            "libbpf: prog 'p': -- BEGIN PROG LOAD LOG --",
            "; x @ p.c:4",
            "1: (85) call 6",
            reason,
            "processed 2 insns (limit 1)",
            "-- END PROG LOAD LOG --",
        ])
    }

    #[test]
    fn missing_type_information_is_not_a_missing_file() {
        let found =
            open(Errno::NOENT, &log(&["libbpf: BTF is required, but is missing or corrupted."]));
        assert_eq!(
            (found.kind, found.hint.as_deref()),
            (Kind::MissingBtf, Some("compile with -g"))
        );
        assert_eq!(open(Errno::NOENT, &Log::default()).kind, Kind::NotFound);
    }

    #[test]
    fn the_verifiers_refusal_is_not_a_permission_problem() {
        let found = load(Errno::ACCES, &rejected("R1 invalid mem access 'scalar'"));
        assert_eq!(found.kind, Kind::Verifier);
        let text = "program 'p' rejected at instruction 1 (p.c:4): R1 invalid mem access 'scalar'";
        assert_eq!(found.detail, text);
    }

    #[test]
    fn a_refusal_without_a_word_of_the_verifier_is_about_the_type() {
        let failed = "libbpf: prog 'accept': BPF program load failed: -EINVAL";
        let silent =
            ["libbpf: prog 'accept': -- BEGIN PROG LOAD LOG --", "processed 0 insns (limit 1)"];
        for lines in [&[failed][..], &[failed, silent[0], silent[1]]] {
            let found = load(Errno::INVAL, &log(lines));
            assert_eq!(found.kind, Kind::Unsupported, "{lines:?}");
            let text = "program 'accept': this kernel does not know its type or its hook";
            assert_eq!(found.detail, text);
        }
        assert_ne!(load(Errno::PERM, &log(&[failed])).kind, Kind::Unsupported);
    }

    #[test]
    fn a_missing_license_has_a_hint() {
        let found = load(
            Errno::INVAL,
            &rejected("cannot call GPL-restricted function from non-GPL compatible program"),
        );
        assert_eq!(found.kind, Kind::Verifier);
        assert!(found.hint.is_some_and(|hint| hint.contains("license")));
    }

    #[test]
    fn symbols_targets_sections_and_types_are_named() {
        let cases = [
            (
                "libbpf: extern (func ksym) 'nope': not found in kernel or module BTFs",
                Errno::INVAL,
                Kind::Unsupported,
                "nope",
            ),
            (
                "libbpf: prog 'f': failed to find kernel BTF type ID of 'do_nothing': -ESRCH",
                Errno::SRCH,
                Kind::NoSuchTarget,
                "do_nothing",
            ),
            (
                "libbpf: prog 'q': missing BPF prog type, check ELF section name 'nonsense/foo'",
                Errno::INVAL,
                Kind::NotAnObject,
                "unknown section",
            ),
            (
                "libbpf: kernel BTF is missing at '/sys/kernel/btf/vmlinux', was CONFIG_X enabled?",
                Errno::SRCH,
                Kind::NoKernelBtf,
                "no BTF",
            ),
        ];
        for (line, errno, kind, word) in cases {
            let found = load(errno, &log(&[line]));
            assert_eq!(found.kind, kind, "{line}");
            assert!(found.detail.contains(word), "{}", found.detail);
        }
    }

    #[test]
    fn a_refusal_with_an_empty_verifier_log_is_a_permission_problem() {
        let found = load(
            Errno::PERM,
            &log(&[
                "libbpf: prog 'p': -- BEGIN PROG LOAD LOG --",
                "processed 0 insns",
                "-- END PROG LOAD LOG --",
            ]),
        );
        assert_eq!(found.kind, Kind::Permission);
    }

    #[test]
    fn numbers_speak_where_the_log_is_silent() {
        for (errno, kind) in [
            (Errno::NOSYS, Kind::Unsupported),
            (Errno::TOO_BIG, Kind::Limit),
            (Errno::ENDIAN, Kind::WrongArch),
            (Errno::BUSY, Kind::Busy),
        ] {
            assert_eq!(load(errno, &Log::default()).kind, kind, "{errno}");
        }
    }
}
