// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The places of a real system, and the order in which a [`Target`] prefers them.

use std::path::PathBuf;

use super::{Form, Journal, Kmsg, Sink, Stream, Syslog, Target};

/// Finds places. The rank orders them: 0 is the one that is wanted most.
pub trait Places {
    /// The best place better than `rank` that exists now, with its own rank.
    fn better_than(&mut self, target: Target, rank: usize) -> Option<(usize, Box<dyn Sink>)>;

    /// The place that always exists.
    fn last_resort(&mut self, target: Target) -> Box<dyn Sink>;

    /// Whether a better place may still appear, so that holding lines back for it makes sense.
    fn worth_waiting(&self, target: Target) -> bool;
}

/// Where things are; changed by tests alone.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The journal's socket.
    pub journal: PathBuf,
    /// The syslog socket.
    pub syslog: PathBuf,
    /// The kernel's buffer.
    pub kmsg: PathBuf,
    /// The file that exists in an initramfs only.
    pub initrd: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            journal: "/run/systemd/journal/socket".into(),
            syslog: "/dev/log".into(),
            kmsg: "/dev/kmsg".into(),
            initrd: "/etc/initrd-release".into(),
        }
    }
}

/// The system the program runs on.
#[derive(Debug)]
pub struct System {
    program: String,
    paths: Paths,
    stderr_is_journal: bool,
}

impl System {
    /// `journal_stream` is the value of `JOURNAL_STREAM`, to be compared with our standard error.
    #[must_use]
    pub fn new(program: &str, paths: Paths, journal_stream: Option<&str>) -> Self {
        let stderr_is_journal = journal_stream.is_some_and(|stream| {
            rustix::fs::fstat(std::io::stderr())
                .is_ok_and(|stat| names(stream, stat.st_dev, stat.st_ino))
        });
        Self { program: program.to_owned(), paths, stderr_is_journal }
    }

    fn wanted(&self, target: Target) -> &'static [Place] {
        match target {
            Target::Auto if self.stderr_is_journal => &[Place::Journal],
            Target::Auto | Target::Stderr | Target::Stdout => &[],
            Target::Syslog => &[Place::Journal, Place::Syslog, Place::InitrdKmsg],
            Target::Kmsg => &[Place::Kmsg],
        }
    }

    fn open(&self, place: Place) -> Option<Box<dyn Sink>> {
        match place {
            Place::Journal => {
                let sink = Journal::open(&self.paths.journal, &self.program).ok()?;
                Some(Box::new(sink))
            }
            Place::Syslog => {
                let sink = Syslog::open(&self.paths.syslog, &self.program).ok()?;
                Some(Box::new(sink))
            }
            Place::InitrdKmsg if !self.paths.initrd.exists() => None,
            Place::Kmsg | Place::InitrdKmsg => {
                let sink = Kmsg::open(&self.paths.kmsg, &self.program).ok()?;
                Some(Box::new(sink))
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Journal,
    Syslog,
    Kmsg,
    InitrdKmsg,
}

impl Places for System {
    fn better_than(&mut self, target: Target, rank: usize) -> Option<(usize, Box<dyn Sink>)> {
        let mut better = self.wanted(target).iter().copied().enumerate().take(rank);
        better.find_map(|(rank, place)| Some((rank, self.open(place)?)))
    }

    fn last_resort(&mut self, target: Target) -> Box<dyn Sink> {
        let form = if self.stderr_is_journal { Form::Prefixed } else { Form::Plain };
        match target {
            Target::Stdout => Box::new(Stream::new(std::io::stdout(), Form::Plain, &self.program)),
            _ => Box::new(Stream::new(std::io::stderr(), form, &self.program)),
        }
    }

    fn worth_waiting(&self, target: Target) -> bool {
        target == Target::Syslog
    }
}

/// Whether `stream`, the value of `JOURNAL_STREAM`, names the file with these numbers.
fn names(stream: &str, device: u64, inode: u64) -> bool {
    stream
        .split_once(':')
        .is_some_and(|(left, right)| left.parse() == Ok(device) && right.parse() == Ok(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_stream_names_device_and_inode() {
        assert!(names("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "8", "", "8:1234:5", ":", "x:1234"] {
            assert!(!names(other, 8, 1234), "{other}");
        }
    }

    #[test]
    fn standard_error_is_the_journal_only_when_the_numbers_match() {
        let stat = rustix::fs::fstat(std::io::stderr()).expect("stderr");
        let stream = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(System::new("x", Paths::default(), Some(&stream)).stderr_is_journal);
        assert!(!System::new("x", Paths::default(), Some("0:0")).stderr_is_journal);
        assert!(!System::new("x", Paths::default(), None).stderr_is_journal);
    }
}
