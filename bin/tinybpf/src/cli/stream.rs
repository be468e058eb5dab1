// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf events`, and the loop that it shares with `tinybpf run`: from buffers to lines.
//!
//! The readers are watched by their descriptors, edge-triggered, and drained in portions; a portion
//! is not taken while the reader of our output is behind, so that losses are the kernel's to count
//! and memory stays bounded. A signal, the end of the time or of the count, and a closed output end
//! the loop; then hooks are detached and what is left in the buffers is written.

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use plinth::err::{Failure, tell_text};
use plinth::event::{Direction, Handler, Loop, Progress};
use plinth::sys::signal::Signals;
use plinth::time::Time;

use super::args::EventForm;
use super::drops::Drops;
use super::sink::Sink;
use super::source::{News, Source};
use super::wait::ENDING;
use super::words::{Words, usage};
use super::{Args, BAD_INPUT, World, find, notice};
use crate::btf::Btf;
use crate::error::Result;
use crate::event::{Choice, Chosen, Padding, Stream, choose, push_loss};
use crate::kinds::MapType;
use crate::map::Map;

/// Samples taken in one portion.
const PORTION: usize = 4096;
/// Bytes of output at which a portion ends early.
const OUTPUT_MAX: usize = 1 << 18;
/// How often buffers are looked at without being announced, and drops are counted.
const TICK: Duration = Duration::from_secs(1);
/// How long a reader that is behind is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// A map whose events are wanted, and the types that they may have.
pub(super) struct Feed {
    pub(super) map: Map,
    pub(super) btf: Option<Arc<Btf>>,
}

/// `tinybpf events`
pub(super) fn events(args: &Args, world: &mut World<'_>) -> std::result::Result<u8, Failure> {
    let mut words = Words::of(args);
    let mut feeds = Vec::new();
    while !words.is_empty() {
        let map = find::map(&words.reference("MAP")?)?;
        let btf = find::btf_of_events(&map)?;
        feeds.push(Feed { map, btf });
    }
    let signals = Signals::new(ENDING)?;
    let drops = args.drop_var.as_deref().map(Drops::of_map).transpose()?;
    let session = Session::new(&feeds, args, drops)?;
    session.run(signals, args, world, || Ok(()))
}

/// What wakes the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Signal,
    Source(usize),
    Output,
    Tick,
    End,
}

/// A stream from its first event to its last.
pub(super) struct Session {
    sources: Vec<Source>,
    /// For each source, the lines of its maps.
    lines: Vec<Vec<Lines>>,
    drops: Option<Drops>,
    rate: Option<Rate>,
    left: Option<u64>,
}

/// The lines of a map's events.
struct Lines {
    map: String,
    stream: Stream,
    form: EventForm,
}

impl Session {
    /// Opens the buffers of `feeds`.
    pub(super) fn new(
        feeds: &[Feed],
        args: &Args,
        drops: Option<Drops>,
    ) -> std::result::Result<Self, Failure> {
        let choice = Choice { name: args.kind.clone(), variants: args.variants.clone() };
        let (mut sources, mut lines) = (Vec::<Source>::new(), Vec::<Vec<Lines>>::new());
        for feed in feeds {
            let kind = feed.map.map_type();
            let chosen = choose(feed.btf.as_deref(), feed.map.name(), &choice)
                .map_err(|error| Failure::new(BAD_INPUT, error))?;
            if let (Chosen::Hex(why), EventForm::Json | EventForm::Text) = (&chosen, args.form) {
                notice(args, why);
            }
            let padding = match kind {
                MapType::PERF_EVENT_ARRAY => Padding::Perf,
                _ => Padding::None,
            };
            let (map, filters) = (feed.map.name().to_owned(), args.filters.clone());
            let stream = Stream::new(&map, chosen, args.form.line(), args.format, filters, padding);
            let line = Lines { map, stream, form: args.form };
            // One reader for all ring buffers, one for each perf buffer.
            let at = sources.iter_mut().position(|it| it.takes(kind));
            match at.and_then(|at| Some((sources.get_mut(at)?, lines.get_mut(at)?))) {
                Some((source, lines)) => {
                    source.add(&feed.map)?;
                    lines.push(line);
                }
                None => {
                    sources.push(Source::open(&feed.map)?);
                    lines.push(vec![line]);
                }
            }
        }
        Ok(Self { sources, lines, drops, rate: args.rate.map(Rate::new), left: args.count })
    }

    /// Streams until the end; `detach` is called before the last look at the buffers.
    pub(super) fn run(
        self,
        signals: Signals,
        args: &Args,
        world: &mut World<'_>,
        detach: impl FnOnce() -> Result<()>,
    ) -> std::result::Result<u8, Failure> {
        let mut lp = Loop::new()?;
        lp.watch(signals.fd(), Key::Signal)?;
        for (index, source) in self.sources.iter().enumerate() {
            lp.watch(source.fd(), Key::Source(index))?;
        }
        let mut running = Running {
            session: self,
            sink: Sink::new(world),
            signals,
            text: Vec::new(),
            due: Vec::new(),
            closed: false,
        };
        if let Some(fd) = running.sink.fd() {
            lp.watch_for(fd, Direction::Write, Key::Output)?;
        }
        let now = Time::monotonic();
        lp.set_timer(now + TICK, Key::Tick);
        if let Some(duration) = args.duration {
            lp.set_timer(now + duration, Key::End);
        }
        let ran = if running.session.left == Some(0) { Ok(0) } else { lp.run(&mut running) };
        let detached = detach();
        let wrote = ran.and_then(|_| running.finish());
        if let Some(left_out) = running.session.rate.map(|rate| rate.left_out).filter(|it| *it > 0)
        {
            notice(args, &format!("{left_out} events were left out by --rate"));
        }
        match wrote {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                notice(args, "the reader of the output did not take the last events");
            }
            other => other?,
        }
        detached?;
        Ok(0)
    }
}

/// The loop's view of a session.
struct Running<'w> {
    session: Session,
    sink: Sink<'w>,
    signals: Signals,
    text: Vec<u8>,
    /// Sources that are looked at in the next turn without being announced.
    due: Vec<usize>,
    closed: bool,
}

impl Running<'_> {
    /// Writes a portion of a source; whether more is waiting there.
    fn portion(&mut self, index: usize) -> io::Result<bool> {
        if self.sink.is_behind() {
            return Ok(false); // taken up again when the reader is
        }
        let Session { sources, lines, rate, left, .. } = &mut self.session;
        let (Some(source), Some(lines)) = (sources.get_mut(index), lines.get_mut(index)) else {
            return Ok(false);
        };
        let (text, mut line) = (&mut self.text, String::new());
        if let Some(rate) = rate {
            rate.begin(Time::monotonic());
        }
        let drained = source.drain(PORTION, |news| {
            let Some(lines) = lines.get_mut(news.map()) else { return ControlFlow::Continue(()) };
            line.clear();
            let is_event = matches!(news, News::Sample { .. });
            let Some(bytes) = lines.of(&news, &mut line) else {
                return ControlFlow::Continue(());
            };
            // Of losses each is told, and they are no events that count.
            if is_event && rate.as_mut().is_some_and(|rate| !rate.takes()) {
                return ControlFlow::Continue(());
            }
            text.extend_from_slice(bytes);
            if let Some(left) = left.as_mut().filter(|_| is_event) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return ControlFlow::Break(());
                }
            }
            if text.len() >= OUTPUT_MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        self.write()?;
        Ok(drained.more || drained.stopped)
    }

    fn write(&mut self) -> io::Result<()> {
        let result = self.sink.write(&self.text);
        self.text.clear();
        result
    }

    fn is_full(&self) -> bool {
        self.session.left == Some(0)
    }

    fn count_drops(&mut self) -> io::Result<()> {
        let Some(drops) = &mut self.session.drops else { return Ok(()) };
        let lines = self.session.lines.iter().flatten().next();
        if let (Some(lost), Some(lines)) = (drops.grown(), lines) {
            let mut line = String::new();
            push_loss(drops.name(), lost, None, lines.form.line(), &mut line);
            self.text.extend_from_slice(lines.or_beside(&line).unwrap_or_default());
        }
        self.write()
    }

    /// What is left, once nothing is attached any more; not what others send meanwhile.
    fn finish(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        for index in 0..self.session.sources.len() {
            let mut more = true;
            let ends = self.positions(index);
            while more && !self.is_full() {
                self.sink.finish(PATIENCE)?;
                let now = self.positions(index);
                let mut left = now.iter().zip(&ends).map(|(now, end)| end.1.wrapping_sub(now.0));
                // What was read beyond the end is less than nothing.
                more = left.any(|it| it != 0 && it <= u64::MAX / 2) && self.portion(index)?;
            }
        }
        self.count_drops()?;
        self.sink.finish(PATIENCE)
    }

    fn positions(&self, index: usize) -> Vec<(u64, u64)> {
        self.session.sources.get(index).map(Source::positions).unwrap_or_default()
    }

    fn stop_when_closed(&mut self, lp: &mut Loop<Key>, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                lp.stop(0);
                Ok(())
            }
            other => other,
        }
    }
}

impl Handler for Running<'_> {
    type Key = Key;

    fn ready(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
        match key {
            Key::Signal => {
                while self.signals.next().is_some() {
                    lp.stop(0);
                }
            }
            Key::Source(index) => self.take(lp, index)?,
            Key::Output => {
                let result = if self.sink.is_closed() {
                    Err(ErrorKind::BrokenPipe.into())
                } else {
                    self.sink.flush()
                };
                self.stop_when_closed(lp, result)?;
                // What was left while the reader was behind announces itself no more.
                self.look_around(lp);
            }
            Key::Tick | Key::End => {}
        }
        Ok(Progress::Drained)
    }

    fn timer(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<()> {
        match key {
            Key::End => lp.stop(0),
            Key::Source(index) => {
                self.due.retain(|it| *it != index);
                self.take(lp, index)?;
            }
            _ => self.tick(lp)?,
        }
        Ok(())
    }

    fn settle(&mut self, _: &mut Loop<Key>) -> io::Result<()> {
        Ok(())
    }
}

impl Running<'_> {
    fn tick(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        if !self.sink.is_behind() {
            let result = self.count_drops();
            self.stop_when_closed(lp, result)?;
        }
        self.look_around(lp);
        lp.set_timer(lp.now() + TICK, Key::Tick);
        Ok(())
    }

    /// Takes a portion from a source. What is left there has its turn after signals and timers: a
    /// source may never be empty.
    fn take(&mut self, lp: &mut Loop<Key>, index: usize) -> io::Result<()> {
        if self.closed || self.is_full() {
            return Ok(());
        }
        let mut more = false;
        let result = self.portion(index).map(|it| more = it);
        self.stop_when_closed(lp, result)?;
        if self.is_full() {
            lp.stop(0);
        } else if more {
            self.again(lp, index);
        }
        Ok(())
    }

    /// Has a source looked at in the next turn.
    fn again(&mut self, lp: &mut Loop<Key>, index: usize) {
        if !self.due.contains(&index) {
            self.due.push(index);
            lp.set_timer(lp.now(), Key::Source(index));
        }
    }

    /// Has every source looked at in the next turn.
    fn look_around(&mut self, lp: &mut Loop<Key>) {
        for index in 0..self.session.sources.len() {
            self.again(lp, index);
        }
    }
}

impl Lines {
    /// What is written of what came: the sample as it is, or a line, which `line` is for.
    fn of<'a>(&mut self, news: &News<'a>, line: &'a mut String) -> Option<&'a [u8]> {
        match *news {
            News::Sample { data, .. } if self.form == EventForm::Raw => {
                self.stream.passes(data).then_some(data)
            }
            News::Sample { cpu, data, .. } => {
                self.stream.push(data, cpu, line).then_some(line.as_bytes())
            }
            News::Lost { cpu, count } => {
                push_loss(&self.map, count, Some(cpu), self.form.line(), line);
                self.or_beside(line)
            }
        }
    }

    /// A line about events; beside them on standard error where they have no lines.
    fn or_beside<'a>(&self, line: &'a str) -> Option<&'a [u8]> {
        if self.form != EventForm::Raw {
            return Some(line.as_bytes());
        }
        tell_text(&format!("tinybpf: {line}"));
        None
    }
}

/// So many events a second, and no more.
struct Rate {
    most: u64,
    taken: u64,
    until: Time,
    left_out: u64,
}

impl Rate {
    fn new(most: u64) -> Self {
        Self { most, taken: 0, until: Time::monotonic(), left_out: 0 }
    }

    /// A second that is over makes room again.
    fn begin(&mut self, now: Time) {
        if now >= self.until {
            self.taken = 0;
            self.until = now + TICK;
        }
    }

    const fn takes(&mut self) -> bool {
        if self.taken < self.most {
            self.taken += 1;
            return true;
        }
        self.left_out += 1;
        false
    }
}

/// That events can be read from a map of this type.
pub(super) fn check_stream(map: &Map) -> std::result::Result<(), Failure> {
    match map.map_type() {
        MapType::RINGBUF | MapType::PERF_EVENT_ARRAY => Ok(()),
        kind => {
            let text =
                format!("map '{}' is {kind}, expected ringbuf or perf_event_array", map.name());
            Err(usage(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_leaves_out_and_counts_what_is_too_much() {
        let mut rate = Rate::new(2);
        let start = Time::from_nanos(1_000_000_000_000);
        rate.until = start;
        rate.begin(start);
        assert_eq!([rate.takes(), rate.takes(), rate.takes()], [true, true, false]);
        rate.begin(start + Duration::from_millis(999));
        assert!(!rate.takes());
        rate.begin(start + TICK);
        assert!(rate.takes());
        assert_eq!(rate.left_out, 2);
    }
}
