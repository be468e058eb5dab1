// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The lines in which a guest reports over its second serial port.
//!
//! `@t SECONDS TEXT` is progress, `@val KEY VALUE` a measurement, `@fail TEXT` a finding that fails
//! the run, `@end CODE` the last word (0 when the scenario came to its end). Every other line is
//! talk, shown when the run fails. A run passes when it ends with `@end 0` and holds no `@fail`.

use std::fmt;

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Progress: seconds since the guest's kernel started (as text), and what is being done.
    Step(String, String),
    /// A named measurement.
    Value(String, String),
    /// A finding that fails the run.
    Fail(String),
    /// The scenario is over, with its exit code.
    End(u8),
    /// Anything else.
    Talk(String),
}

impl Line {
    /// Reads one line; what does not follow the form is [`Line::Talk`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim_end_matches(['\r', '\n']);
        let talk = || Self::Talk(text.to_owned());
        let Some((word, rest)) = text.split_once(' ') else { return talk() };
        match (word, rest.split_once(' ')) {
            ("@t", Some((at, what))) => Self::Step(at.to_owned(), what.to_owned()),
            ("@val", Some((key, value))) => Self::Value(key.to_owned(), value.to_owned()),
            ("@fail", _) => Self::Fail(rest.to_owned()),
            ("@end", None) => rest.parse().map_or_else(|_| talk(), Self::End),
            _ => talk(),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One report is one line: a line break inside would forge another.
        let flat = |text: &str| text.replace(['\n', '\r'], " | ");
        match self {
            Self::Step(at, what) => write!(f, "@t {at} {}", flat(what)),
            Self::Value(key, value) => write!(f, "@val {key} {}", flat(value)),
            Self::Fail(what) => write!(f, "@fail {}", flat(what)),
            Self::End(code) => write!(f, "@end {code}"),
            Self::Talk(what) => f.write_str(&flat(what)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_the_way_through_a_serial_port() {
        for line in [
            Line::Step("1.25".into(), "target up".into()),
            Line::Value("rss_kib".into(), "1700".into()),
            Line::Fail("no controller".into()),
            Line::End(3),
            Line::Talk("some words".into()),
        ] {
            assert_eq!(Line::parse(&format!("{line}\r\n")), line);
        }
    }

    #[test]
    fn a_finding_of_several_lines_stays_one_line() {
        let line = Line::Fail("a\n@end 0".into()).to_string();
        assert_eq!(Line::parse(&line), Line::Fail("a | @end 0".into()));
    }

    #[test]
    fn half_a_report_is_talk() {
        for text in ["@end", "@end x", "@end 1 2", "@t", "@t 1.0", "@val key", "", "@end 256"] {
            assert_eq!(Line::parse(text), Line::Talk(text.into()), "{text}");
        }
    }
}
