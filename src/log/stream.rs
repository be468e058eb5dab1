// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Standard error or output: one line each, for people, or with `<N>` for a manager that reads
//! along.

use std::io::{self, Write};

use super::{Line, Sink};
use crate::text::escape_control;

/// How a line is written to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `program: text`.
    Plain,
    /// `<N>text`, the severity first, as sd-daemon(3) has it.
    Prefixed,
}

/// A stream.
#[derive(Debug)]
pub struct Stream<W> {
    to: W,
    form: Form,
    program: String,
}

impl<W: Write + Send> Stream<W> {
    /// Lines of `program` to `to`.
    pub fn new(to: W, form: Form, program: &str) -> Self {
        Self { to, form, program: program.to_owned() }
    }
}

impl<W: Write + Send> Sink for Stream<W> {
    /// A stream is the last resort: when it fails there is nobody left to tell, and the line is
    /// lost.
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let text = escape_control(&line.text);
        let out = match self.form {
            Form::Plain => format!("{}: {text}\n", self.program),
            Form::Prefixed => format!("<{}>{text}\n", line.severity()),
        };
        // One call, so that lines of several processes on one terminal do not mix.
        drop(self.to.write_all(out.as_bytes()));
        drop(self.to.flush());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn written(form: Form, line: &Line) -> String {
        let mut stream = Stream::new(Vec::new(), form, "stafd");
        stream.write(line).expect("never fails");
        String::from_utf8(stream.to).expect("UTF-8")
    }

    #[test]
    fn both_forms_stay_on_one_line() {
        let line = Line::new(Level::Warn, "lost\n\u{1b}[2J");
        assert_eq!(written(Form::Plain, &line), "stafd: lost\\n\\u{1b}[2J\n");
        assert_eq!(written(Form::Prefixed, &line), "<4>lost\\n\\u{1b}[2J\n");
    }
}
