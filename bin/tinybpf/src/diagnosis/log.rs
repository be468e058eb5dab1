// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What libbpf and the verifier wrote while an operation ran.
//!
//! Owns the bounds (the kernel's text is untrusted and may be large) and the search for what
//! matters in it: the program that was rejected, where, and why. Never panics on any text.

use std::borrow::Cow;
use std::fmt::Write as _;

use plinth::text::escape_control;

/// Bytes kept of one log; head and tail of what is longer.
pub const BYTES_MAX: usize = 1 << 20;

/// What libbpf prints around the verifier's text.
const BEGIN: &str = "-- BEGIN PROG LOAD LOG --";
const END: &str = "-- END PROG LOAD LOG --";

/// The text of one operation, line by line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    lines: Vec<String>,
}

/// Why and where the verifier stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// The program's name.
    pub program: String,
    /// The index of the last instruction that was looked at.
    pub instruction: Option<u32>,
    /// The source line of that instruction, as `file.c:4`; kernels before 6.10 do not tell.
    pub source: Option<String>,
    /// The verifier's last word, such as `R1 invalid mem access 'scalar'`.
    pub reason: String,
}

/// A type or field that the object needs and the kernel does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelocationFailure {
    /// The program that needs it.
    pub program: String,
    /// What is asked of it, such as `byte_off`.
    pub what: String,
    /// The type and field, such as `struct task_struct.pid`.
    pub target: String,
}

impl Log {
    /// A log of messages, each of one or several lines.
    ///
    /// libbpf's advice about `ulimit -l` is left out, and so is the middle of what is longer than
    /// [`BYTES_MAX`].
    pub fn from_lines<I: IntoIterator<Item = String>>(messages: I) -> Self {
        let mut lines: Vec<String> = Vec::new();
        for message in messages {
            let kept = message.lines().filter(|line| !line.contains("try raising 'ulimit -l'"));
            lines.extend(kept.map(str::to_owned));
        }
        Self { lines: bounded(lines) }
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines, in order, as they were written.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Whether `text` stands anywhere in a line.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        self.find(text).is_some()
    }

    /// The first line that holds `text`.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<&str> {
        self.lines().find(|line| line.contains(text))
    }

    /// What stands in quotes directly after `before`, such as a name after `extern (func ksym) `.
    #[must_use]
    pub fn quoted_after(&self, before: &str) -> Option<&str> {
        let (_, rest) = self.find(before)?.split_once(before)?;
        rest.trim_start().strip_prefix('\'')?.split('\'').next()
    }

    /// The lines with control characters escaped, fit for a terminal.
    #[must_use]
    pub fn terminal_text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            // Tabs are the verifier's own, and harmless. Writing to a string cannot fail.
            let _ = writeln!(text, "{}", escape_control(&line.replace('\t', "    ")));
        }
        text
    }

    /// The verifier's text of each program that has one, by name.
    #[must_use]
    pub fn programs(&self) -> Vec<(&str, Vec<&str>)> {
        let mut programs: Vec<(&str, Vec<&str>)> = Vec::new();
        let mut open = false;
        for line in self.lines() {
            if line.contains(BEGIN) {
                programs.push((program_of(line).unwrap_or_default(), Vec::new()));
                open = true;
            } else if line.contains(END) {
                open = false;
            } else if let Some((_, text)) = programs.last_mut().filter(|_| open) {
                text.push(line);
            }
        }
        programs
    }

    /// The last program that the verifier rejected.
    #[must_use]
    pub fn rejection(&self) -> Option<Rejection> {
        let (program, text) = self.programs().pop()?;
        Some(rejection(program, &text))
    }

    /// The first relocation that could not be resolved and was needed.
    #[must_use]
    pub fn relocation_failure(&self) -> Option<RelocationFailure> {
        const MARK: &str = "failed to resolve CO-RE relocation ";
        let in_text = |(program, text): &(&str, Vec<&str>)| {
            let line = text.iter().find(|line| line.contains(MARK))?;
            Some(((*program).to_owned(), (*line).to_owned()))
        };
        let of_libbpf = || {
            let line = self.find("failed to resolve CO-RE relocation")?;
            Some((program_of(line).unwrap_or_default().to_owned(), line.to_owned()))
        };
        let (program, line) = self.programs().iter().find_map(in_text).or_else(of_libbpf)?;
        let (_, rest) = line.split_once(MARK)?;
        let (what, rest) = rest.split_once(' ')?;
        // `[5] struct S.field (0:1 @ offset 4)`; the number and the tail say nothing to a reader.
        let rest = rest.split_once("] ").map_or(rest, |(_, rest)| rest);
        let target = rest.split(" (").next().unwrap_or(rest).trim();
        let what = what.trim_matches(['<', '>']);
        Some(RelocationFailure { program, what: what.to_owned(), target: target.to_owned() })
    }
}

/// The name in `prog 'NAME':`, which opens libbpf's lines about one program.
fn program_of(line: &str) -> Option<&str> {
    line.split_once("prog '")?.1.split('\'').next()
}

fn rejection(program: &str, text: &[&str]) -> Rejection {
    let mut found = Rejection { program: program.to_owned(), ..Rejection::default() };
    for line in text {
        if let Some(index) = instruction_of(line) {
            found.instruction = Some(index);
        } else if let Some(comment) = line.strip_prefix("; ") {
            let place = comment.rsplit_once(" @ ").map(|(_, place)| place.trim().to_owned());
            found.source = place.or(found.source);
        }
    }
    let says = |line: &&&str| !line.trim().is_empty() && !is_statistics(line);
    let last = text.iter().rev().find(says).copied().unwrap_or_default();
    found.reason = if instruction_of(last).is_some() { String::new() } else { last.to_owned() };
    found
}

/// `12: (85) call ...` -> 12.
fn instruction_of(line: &str) -> Option<u32> {
    let (index, rest) = line.split_once(": ")?;
    if rest.starts_with('(') { index.parse().ok() } else { None }
}

/// Lines that close the verifier's text, whatever happened.
fn is_statistics(line: &str) -> bool {
    ["processed ", "verification time ", "stack depth ", "max_states_per_insn "]
        .iter()
        .any(|start| line.starts_with(start))
}

/// Head and tail of `lines`, [`BYTES_MAX`] in sum, with a line that says what is missing.
fn bounded(mut lines: Vec<String>) -> Vec<String> {
    let half = BYTES_MAX / 2;
    for line in &mut lines {
        if line.len() + 1 > half {
            *line = shortened(line, half - 64).into_owned();
        }
    }
    let (mut head, mut bytes) = (0, 0);
    for line in &lines {
        bytes += line.len() + 1;
        if bytes > half {
            break;
        }
        head += 1;
    }
    let (mut tail, mut bytes) = (lines.len(), 0);
    for (index, line) in lines.iter().enumerate().skip(head).rev() {
        bytes += line.len() + 1;
        if bytes > half {
            break;
        }
        tail = index;
    }
    if tail > head {
        let note = format!("[{} lines left out]", tail - head);
        lines.splice(head..tail, [note]);
    }
    lines
}

fn shortened(line: &str, max: usize) -> Cow<'_, str> {
    let mut end = max;
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.get(..end).map_or(Cow::Borrowed(line), |head| Cow::Owned(format!("{head}[cut]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REJECTED: &str = "\
libbpf: prog 'bad': BPF program load failed: Permission denied
libbpf: prog 'bad': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
; int bad(void *ctx) @ bad.bpf.c:4
0: (b7) r1 = 0                        ; R1_w=0
; return *(int *)0; @ bad.bpf.c:5
1: (61) r0 = *(u32 *)(r1 +0)
R1 invalid mem access 'scalar'
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
-- END PROG LOAD LOG --
libbpf: prog 'bad': failed to load: -13
libbpf: permission error while running as root; try raising 'ulimit -l'? current value: 64.0 KiB
";

    fn log(text: &str) -> Log {
        Log::from_lines([text.to_owned()])
    }

    #[test]
    fn a_rejection_names_program_instruction_line_and_reason() {
        let found = log(REJECTED).rejection().expect("a rejection");
        assert_eq!(found.program, "bad");
        assert_eq!(found.instruction, Some(1));
        assert_eq!(found.source.as_deref(), Some("bad.bpf.c:5"));
        assert_eq!(found.reason, "R1 invalid mem access 'scalar'");
    }

    #[test]
    fn kernels_that_name_no_file_leave_the_line_open() {
        let text = REJECTED.replace(" @ bad.bpf.c:4", "").replace(" @ bad.bpf.c:5", "");
        assert_eq!(log(&text).rejection().expect("a rejection").source, None);
    }

    #[test]
    fn the_false_advice_is_dropped() {
        assert!(!log(REJECTED).contains("ulimit"));
        assert!(log(REJECTED).contains("failed to load: -13"));
    }

    #[test]
    fn a_needed_relocation_is_told_from_other_rejections() {
        let text = "\
libbpf: prog 'core': -- BEGIN PROG LOAD LOG --
0: <invalid CO-RE relocation>
failed to resolve CO-RE relocation <byte_off> [5] struct task_struct.invented (0:0 @ offset 0)
processed 1 insns (limit 1000000)
-- END PROG LOAD LOG --
";
        let found = log(text).relocation_failure().expect("a relocation");
        assert_eq!(found.program, "core");
        assert_eq!(
            (found.what.as_str(), found.target.as_str()),
            ("byte_off", "struct task_struct.invented")
        );
        assert_eq!(log(REJECTED).relocation_failure(), None);
    }

    #[test]
    fn quoted_names_are_found_after_their_mark() {
        let log = log("libbpf: extern (func ksym) 'nope': not found in kernel or module BTFs\n");
        assert_eq!(log.quoted_after("extern (func ksym)"), Some("nope"));
        assert_eq!(log.quoted_after("extern (var ksym)"), None);
    }

    #[test]
    fn long_logs_keep_head_and_tail() {
        let lines = (0..100_000).map(|n| format!("line {n} of a long log, wide enough to fill it"));
        let log = Log::from_lines(lines);
        let bytes: usize = log.lines().map(|line| line.len() + 1).sum();
        assert!(bytes <= BYTES_MAX + 64, "{bytes}");
        assert_eq!(log.lines().next(), Some("line 0 of a long log, wide enough to fill it"));
        assert!(log.lines().next_back().is_some_and(|line| line.starts_with("line 99999 ")));
        assert!(log.contains("lines left out]"));
    }

    #[test]
    fn one_endless_line_is_cut_at_a_character() {
        let log = Log::from_lines(["ä".repeat(BYTES_MAX)]);
        let line = log.lines().next().expect("a line");
        assert!(line.len() < BYTES_MAX && line.ends_with("ä[cut]"));
    }

    #[test]
    fn damaged_logs_are_read_as_far_as_they_go() {
        for text in [
            "-- BEGIN PROG LOAD LOG --",
            "prog '",
            "prog 'x",
            "failed to resolve CO-RE relocation ",
            "9999999999999: (b7)",
        ] {
            let log = log(text);
            drop((log.rejection(), log.relocation_failure(), log.quoted_after("prog")));
        }
        assert_eq!(log("").rejection(), None);
    }
}
