// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fake discovery controller on loopback, met by a host that is made of bytes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::wire::Entry;
use super::{Fake, Fault, Persona};

const LIMIT: Duration = Duration::from_secs(10);

/// A host's end of one connection.
struct Host {
    stream: TcpStream,
    commands: u16,
}

impl Host {
    fn new(fake: &Fake) -> Self {
        let stream = TcpStream::connect(fake.address()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self { stream, commands: 0 }
    }

    /// Greets and connects.
    fn connected(fake: &Fake) -> Self {
        let mut host = Self::new(fake);
        let mut greeting = vec![0, 0, 128, 0, 128, 0, 0, 0];
        greeting.resize(128, 0);
        host.stream.write_all(&greeting).unwrap();
        assert_eq!(host.unit()[0], 1, "the greeting is answered");
        let mut content = vec![0; 1024];
        content[512..517].copy_from_slice(b"nqn.h");
        let mut command = [0; 64];
        command[0] = 0x7f;
        command[4] = 1;
        host.send(command, &content);
        assert_eq!(host.completion().1, 0, "the Connect command succeeds");
        host
    }

    fn send(&mut self, mut command: [u8; 64], content: &[u8]) -> u16 {
        self.commands += 1;
        command[2..4].copy_from_slice(&self.commands.to_le_bytes());
        let length = u32::try_from(72 + content.len()).unwrap();
        let mut unit = vec![4, 0, 72, if content.is_empty() { 0 } else { 72 }];
        unit.extend(length.to_le_bytes());
        unit.extend(command);
        unit.extend(content);
        self.stream.write_all(&unit).unwrap();
        self.commands
    }

    fn unit(&mut self) -> Vec<u8> {
        let mut unit = vec![0; 8];
        self.stream.read_exact(&mut unit).unwrap();
        let length = u32::from_le_bytes(unit[4..8].try_into().unwrap());
        unit.resize(usize::try_from(length).unwrap(), 0);
        self.stream.read_exact(&mut unit[8..]).unwrap();
        unit
    }

    /// Result and status of the completion that comes next.
    fn completion(&mut self) -> (u64, u16) {
        let unit = self.unit();
        assert_eq!(unit[0], 5, "a completion");
        let status = u16::from_le_bytes([unit[22], unit[23]]) >> 1;
        (u64::from_le_bytes(unit[8..16].try_into().unwrap()), status)
    }

    /// Asks for `bytes` of the discovery log.
    fn ask_log(&mut self, offset: u64, bytes: u32, retain: bool) {
        let mut command = [0; 64];
        command[0] = 2;
        command[32..36].copy_from_slice(&bytes.to_le_bytes());
        command[40] = 0x70;
        command[41] = if retain { 0x80 } else { 0 };
        command[48..56].copy_from_slice(&offset.to_le_bytes());
        self.send(command, &[]);
    }

    fn log(&mut self, offset: u64, bytes: u32, retain: bool) -> Vec<u8> {
        self.ask_log(offset, bytes, retain);
        let unit = self.unit();
        assert_eq!(unit[0], 7, "data");
        assert_eq!(self.completion().1, 0);
        unit[24..].to_vec()
    }

    fn request_event(&mut self) {
        let mut command = [0; 64];
        command[0] = 0x0c;
        self.send(command, &[]);
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

fn fake(entries: Vec<Entry>) -> Fake {
    Fake::start("127.0.0.1:0", Persona::default(), entries).unwrap()
}

#[test]
fn the_log_is_read_in_pieces_and_changes_with_its_generation() {
    let fake = fake(vec![Entry::storage("nqn.a", "192.0.2.1", 4420); 3]);
    let mut host = Host::connected(&fake);
    let header = host.log(0, 1024, true);
    assert_eq!((number(&header), number(&header[8..])), (1, 3));
    let second = host.log(2048, 1024, true);
    assert_eq!(&second[256..261], b"nqn.a");
    fake.announce_silently(Vec::new());
    let header = host.log(0, 1024, false);
    assert_eq!((number(&header), number(&header[8..])), (2, 0));
    let seen = fake.seen();
    assert_eq!((seen.hosts, seen.log_headers), (vec!["nqn.h".to_owned()], 2));
    assert_eq!(seen.log_reads_that_rearm, 1);
}

#[test]
fn one_event_is_sent_until_the_log_was_read_without_the_retain_bit() {
    let fake = fake(Vec::new());
    let mut host = Host::connected(&fake);
    host.request_event();
    fake.announce(vec![Entry::referral("192.0.2.1", 8009)]);
    assert_eq!(host.completion(), (0x70_f002, 0));
    host.request_event();
    fake.raise_event();
    // A read that retains the event leaves it masked: what comes next is the log, no event.
    host.log(0, 1024, true);
    host.log(0, 1024, false);
    assert_eq!(host.completion(), (0x70_f002, 0), "now it is armed again");
}

#[test]
fn faults_come_and_go() {
    let fake = fake(Vec::new());
    let mut host = Host::connected(&fake);
    fake.misbehave(Fault::LogStatus(0x4002));
    host.ask_log(0, 1024, true);
    assert_eq!(host.completion().1, 0x4002);
    fake.misbehave(Fault::RecordCount(1 << 40));
    assert_eq!(number(&host.log(0, 1024, true)[8..]), 1 << 40);
    fake.misbehave(Fault::EverChanging);
    let first = number(&host.log(0, 1024, true));
    assert!(number(&host.log(0, 1024, true)) > first);
    fake.misbehave(Fault::DropOnLog);
    host.ask_log(0, 1024, true);
    let gone = host.stream.read(&mut [0; 8]);
    assert!(gone.is_ok_and(|got| got == 0), "the connection is closed");
}

#[test]
fn a_mute_controller_says_nothing_and_a_dropped_one_hangs_up() {
    let fake = fake(Vec::new());
    fake.misbehave(Fault::Mute);
    let mut host = Host::new(&fake);
    let mut greeting = vec![0, 0, 128, 0, 128, 0, 0, 0];
    greeting.resize(128, 0);
    host.stream.write_all(&greeting).unwrap();
    host.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let silence = host.stream.read(&mut [0; 8]).unwrap_err();
    assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    drop(fake);
    host.stream.set_read_timeout(Some(LIMIT)).unwrap();
    assert!(host.stream.read(&mut [0; 8]).is_ok_and(|got| got == 0));
}

#[test]
fn a_host_that_breaks_the_protocol_is_hung_up_on() {
    let fake = fake(Vec::new());
    for unit in
        [&[9, 0, 8, 0, 8, 0, 0, 0][..], &[4, 0, 72, 0, 7, 0, 0, 0], &[4, 0, 8, 0, 8, 0, 0, 0]]
    {
        let mut host = Host::new(&fake);
        host.stream.write_all(unit).unwrap();
        assert!(host.stream.read(&mut [0; 8]).is_ok_and(|got| got == 0), "{unit:?}");
    }
}
