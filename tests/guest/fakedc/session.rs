// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One connection to the fake discovery controller: greeting, then commands until the host goes.
//!
//! Reads have a short time limit, after which the session looks whether an event is to be raised.
//! The order on the wire is that of the commands, save for the event request, which is answered
//! when there is an event. A host that breaks the protocol is hung up on.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use plinth::time::Time;

use super::wire::{self, Command};
use super::{Fault, STATUS_INVALID_FIELD, Shared, lock};

/// The longest that a raised event waits for its session to notice.
const LOOK: Duration = Duration::from_millis(20);
/// Longest unit from a host: a command with 8 KiB of data.
const UNIT_BYTES_MAX: usize = 64 + 8 + (8 << 10) + 512;
/// The event "discovery log changed" (notice, 0xf0, log page 0x70).
const EVENT: u64 = 0x70_f002;

const OP_GET_LOG: u8 = 0x02;
const OP_IDENTIFY: u8 = 0x06;
const OP_SET_FEATURES: u8 = 0x09;
const OP_EVENT_REQUEST: u8 = 0x0c;
const OP_KEEP_ALIVE: u8 = 0x18;
const OP_REGISTER: u8 = 0x21;
const OP_FABRICS: u8 = 0x7f;
const FABRICS_SET: u8 = 0x00;
const FABRICS_CONNECT: u8 = 0x01;
const FABRICS_GET: u8 = 0x04;

struct Session<'a> {
    stream: TcpStream,
    shared: &'a Shared,
    controller: u16,
    /// Controller configuration, as the host set it.
    configuration: u32,
    /// Commands taken, which is also the queue's head.
    head: u16,
    /// Event request that waits for an event.
    waiting: Option<u16>,
    /// Changes of the log that this host knows of, or has been told of.
    told: u64,
    /// An event was sent and the log not read with the retain bit clear since.
    masked: bool,
}

/// Serves one host until it goes, or until the fault of the moment says otherwise.
pub(super) fn serve(stream: TcpStream, shared: &Shared) {
    let (told, number) = {
        let state = lock(shared);
        (state.changes, state.seen.connections)
    };
    let mut session = Session {
        stream,
        shared,
        controller: u16::try_from(number).unwrap_or(1).clamp(1, 0xffef),
        configuration: 0,
        head: 0,
        waiting: None,
        told,
        masked: false,
    };
    // However it ends, the host is gone or is to be: the handle holds the connection too.
    drop(session.run());
    drop(session.stream.shutdown(Shutdown::Both));
}

impl Session<'_> {
    fn run(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_read_timeout(Some(LOOK))?;
        loop {
            let unit = self.unit()?;
            match unit.first() {
                Some(0x00) if self.fault() == Fault::Mute => {}
                Some(0x00) => self.stream.write_all(&wire::greeting())?,
                Some(0x04) if self.fault() == Fault::MuteAfterGreeting => {}
                Some(0x04) => {
                    let command = unit.get(8..).and_then(Command::new);
                    let command = command.ok_or(ErrorKind::InvalidData)?;
                    // Data offset 0: a command without data.
                    let content = match usize::from(unit[3]) {
                        0 => &[][..],
                        start => unit.get(start..).ok_or(ErrorKind::InvalidData)?,
                    };
                    self.head = self.head.wrapping_add(1) % 32;
                    self.command(&command, content)?;
                }
                _ => return Err(ErrorKind::InvalidData.into()),
            }
        }
    }

    fn fault(&self) -> Fault {
        lock(self.shared).fault
    }

    /// The next whole unit; raises events while it waits.
    fn unit(&mut self) -> io::Result<Vec<u8>> {
        let mut unit = vec![0; 8];
        self.fill(&mut unit)?;
        let length = u32::from_le_bytes([unit[4], unit[5], unit[6], unit[7]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(8..=UNIT_BYTES_MAX).contains(&length) {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut rest = vec![0; length - 8];
        self.fill(&mut rest)?;
        unit.extend(rest);
        Ok(unit)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.stream.read(&mut buffer[done..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(got) => done += got,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.raise()?;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Answers the waiting event request when the log has changed and the last event was attended
    /// to.
    fn raise(&mut self) -> io::Result<()> {
        let changes = lock(self.shared).changes;
        if changes == self.told || self.masked {
            return Ok(());
        }
        if let Some(request) = self.waiting.take() {
            self.told = changes;
            self.masked = true;
            lock(self.shared).seen.events_sent.push(Time::monotonic());
            self.complete(request, EVENT, 0)?;
        }
        Ok(())
    }

    fn complete(&mut self, command: u16, result: u64, status: u16) -> io::Result<()> {
        self.stream.write_all(&wire::completion(result, self.head, command, status))
    }

    /// Sends as many bytes as the host has room for (scatter-gather length, 32), then completes.
    fn answer(&mut self, command: &Command, content: &[u8]) -> io::Result<()> {
        let wanted = usize::try_from(command.word(32)).unwrap_or(0);
        let mut content = content.to_vec();
        content.resize(wanted, 0);
        self.stream.write_all(&wire::data(command.id(), &content))?;
        self.complete(command.id(), 0, 0)
    }

    fn command(&mut self, command: &Command, content: &[u8]) -> io::Result<()> {
        let id = command.id();
        match command.opcode() {
            OP_FABRICS => self.fabrics(command, content),
            OP_IDENTIFY if command.byte(40) == 1 => {
                let persona = lock(self.shared).persona.clone();
                let page = wire::identify(self.controller, persona.dctype, &persona.nqn);
                self.answer(command, &page)
            }
            OP_GET_LOG => self.log(command),
            OP_SET_FEATURES => self.complete(id, 0, 0),
            OP_EVENT_REQUEST => {
                self.waiting = Some(id);
                self.raise()
            }
            OP_KEEP_ALIVE => {
                lock(self.shared).seen.keep_alives += 1;
                self.complete(id, 0, 0)
            }
            OP_REGISTER => {
                let task = command.byte(40) & 0x0f;
                lock(self.shared).seen.registrations.push((task, content.to_vec()));
                self.complete(id, 0, 0)
            }
            _ => self.complete(id, 0, STATUS_INVALID_FIELD),
        }
    }

    fn fabrics(&mut self, command: &Command, content: &[u8]) -> io::Result<()> {
        let id = command.id();
        match (command.byte(4), command.word(44)) {
            (FABRICS_CONNECT, _) => {
                let host = content.get(512..768).ok_or(ErrorKind::InvalidData)?;
                let text: Vec<u8> = host.iter().copied().take_while(|b| *b != 0).collect();
                let host = String::from_utf8_lossy(&text).into_owned();
                lock(self.shared).seen.hosts.push(host);
                self.complete(id, self.controller.into(), 0)
            }
            (FABRICS_GET, 0x00) => self.complete(id, wire::CAPABILITIES, 0),
            (FABRICS_GET, 0x08) => self.complete(id, wire::VERSION.into(), 0),
            (FABRICS_GET, 0x14) => self.complete(id, self.configuration.into(), 0),
            (FABRICS_GET, 0x1c) => {
                let ready = u64::from(self.configuration & 1);
                let shut_down = if self.configuration & 0xc000 == 0 { 0 } else { 2 << 2 };
                self.complete(id, ready | shut_down, 0)
            }
            (FABRICS_SET, 0x14) => {
                self.configuration = command.word(48);
                self.complete(id, 0, 0)
            }
            _ => self.complete(id, 0, STATUS_INVALID_FIELD),
        }
    }

    fn log(&mut self, command: &Command) -> io::Result<()> {
        let id = command.id();
        let identifier = command.byte(40);
        if identifier == 0 {
            let port_local = lock(self.shared).persona.port_local;
            return self.answer(command, &wire::supported_logs(port_local));
        }
        if identifier != 0x70 {
            return self.complete(id, 0, STATUS_INVALID_FIELD);
        }
        let offset = usize::try_from(command.long(48)).unwrap_or(usize::MAX);
        let retain = command.byte(41) & 0x80 != 0;
        let page = {
            let mut state = lock(self.shared);
            if offset == 0 {
                state.seen.log_headers += 1;
                state.seen.log_headers_at.push(Time::monotonic());
                state.seen.log_specific.push(command.byte(41) & 0x7f);
                if state.fault == Fault::EverChanging {
                    state.generation += 1;
                }
            }
            match state.fault {
                Fault::MuteOnLog => return Ok(()),
                Fault::DropOnLog => return Err(ErrorKind::ConnectionAborted.into()),
                Fault::LogStatus(status) => {
                    drop(state);
                    return self.complete(id, 0, status);
                }
                _ => {}
            }
            state.seen.log_reads_that_rearm += u32::from(!retain);
            let records = u64::try_from(state.entries.len()).unwrap_or(u64::MAX);
            let claimed = match state.fault {
                Fault::RecordCount(count) => count,
                _ => records,
            };
            wire::log(state.generation, claimed, &state.entries)
        };
        self.masked &= retain;
        self.answer(command, page.get(offset..).unwrap_or(&[]))
    }
}
