// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Byte layouts of NVMe over TCP and of what a discovery controller returns, from the controller's
//! side.
//!
//! Little-endian throughout. Numbers in the text are byte offsets.

/// A command of 64 bytes, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Command([u8; 64]);

impl Command {
    /// Wraps the first 64 bytes; none when there are fewer.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        bytes.get(..64)?.try_into().ok().map(Self)
    }

    /// Operation code (0).
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.0[0]
    }

    /// Command identifier (2).
    #[must_use]
    pub fn id(&self) -> u16 {
        u16::from_le_bytes([self.0[2], self.0[3]])
    }

    /// One byte of the command; zero past its end.
    #[must_use]
    pub fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    /// Four bytes of the command.
    #[must_use]
    pub fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.byte(at), self.byte(at + 1), self.byte(at + 2), self.byte(at + 3)])
    }

    /// Eight bytes of the command.
    #[must_use]
    pub fn long(&self, at: usize) -> u64 {
        u64::from(self.word(at)) | u64::from(self.word(at + 4)) << 32
    }
}

/// The greeting's answer: version 0, no padding, no digests, 1 MiB of data at once.
#[must_use]
pub fn greeting() -> Vec<u8> {
    let mut unit = header(0x01, 0, 128, 0, 128);
    unit.resize(128, 0);
    unit[12..16].copy_from_slice(&0x0010_0000_u32.to_le_bytes());
    unit
}

/// The end of a command: its result, the queue's head, its identifier and status.
#[must_use]
pub fn completion(result: u64, head: u16, command: u16, status: u16) -> Vec<u8> {
    let mut unit = header(0x05, 0, 24, 0, 24);
    unit.extend_from_slice(&result.to_le_bytes());
    unit.extend_from_slice(&head.to_le_bytes());
    unit.extend_from_slice(&0_u16.to_le_bytes());
    unit.extend_from_slice(&command.to_le_bytes());
    // The status sits above the phase bit, which TCP does not use.
    unit.extend_from_slice(&(status << 1).to_le_bytes());
    unit
}

/// Data for the host in one unit, the last of its command.
#[must_use]
pub fn data(command: u16, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let mut unit = header(0x07, 0x04, 24, 24, length.saturating_add(24));
    unit.extend_from_slice(&command.to_le_bytes());
    unit.extend_from_slice(&0_u16.to_le_bytes());
    unit.extend_from_slice(&0_u32.to_le_bytes());
    unit.extend_from_slice(&length.to_le_bytes());
    unit.extend_from_slice(&0_u32.to_le_bytes());
    unit.extend_from_slice(content);
    unit
}

fn header(kind: u8, flags: u8, header: u8, data_offset: u8, length: u32) -> Vec<u8> {
    let mut unit = vec![kind, flags, header, data_offset];
    unit.extend_from_slice(&length.to_le_bytes());
    unit
}

/// Identify Controller data (4096 bytes) of a discovery controller.
#[must_use]
pub fn identify(controller: u16, dctype: u8, nqn: &str) -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[4..24].copy_from_slice(b"PLINTHFAKE0000000001");
    page[24..64].fill(b' ');
    page[24..31].copy_from_slice(b"fake dc");
    page[64..72].copy_from_slice(b"1       ");
    page[78..80].copy_from_slice(&controller.to_le_bytes());
    page[80..84].copy_from_slice(&VERSION.to_le_bytes());
    // Sends events about a changed discovery log.
    page[92..96].copy_from_slice(&0x8000_0000_u32.to_le_bytes());
    page[111] = 2;
    // Keep-alive in units of 100 ms; outstanding commands.
    page[320..322].copy_from_slice(&10_u16.to_le_bytes());
    page[514..516].copy_from_slice(&128_u16.to_le_bytes());
    page[536..540].copy_from_slice(&0x0010_0001_u32.to_le_bytes());
    put_text(&mut page[768..1024], nqn.as_bytes());
    page[1806] = dctype;
    page
}

/// NVMe 2.0.
pub const VERSION: u32 = 0x0002_0000;

/// Capabilities: 128 entries a queue, contiguous queues, ready within 7.5 s, NVM command set.
pub const CAPABILITIES: u64 = 127 | 1 << 16 | 15 << 24 | 1 << 37;

/// One record of the discovery log. Text fields are bytes, so that a test can send what is no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Transport: 1 RDMA, 2 Fibre Channel, 3 TCP, 254 loop.
    pub transport: u8,
    /// Address family: 1 IPv4, 2 IPv6, 4 Fibre Channel.
    pub family: u8,
    /// 1 referral, 2 storage, 3 this discovery subsystem.
    pub kind: u8,
    /// Transport requirements.
    pub requirements: u8,
    /// Port number of the record.
    pub port: u16,
    /// Flags; bit 2 means that the host is not connected to a central controller.
    pub flags: u16,
    /// Service, for TCP the port in decimal.
    pub service: Vec<u8>,
    /// Subsystem name.
    pub nqn: Vec<u8>,
    /// Address.
    pub address: Vec<u8>,
    /// Security type over TCP: 0 none, 1 TLS 1.2, 2 TLS 1.3.
    pub security: u8,
}

impl Entry {
    /// A storage subsystem over TCP.
    #[must_use]
    pub fn storage(nqn: &str, address: &str, port: u16) -> Self {
        Self {
            transport: 3,
            family: if address.contains(':') { 2 } else { 1 },
            kind: 2,
            requirements: 0,
            port: 1,
            flags: 0,
            service: port.to_string().into_bytes(),
            nqn: nqn.as_bytes().to_vec(),
            address: address.as_bytes().to_vec(),
            security: 0,
        }
    }

    /// Another discovery controller over TCP.
    #[must_use]
    pub fn referral(address: &str, port: u16) -> Self {
        let nqn = "nqn.2014-08.org.nvmexpress.discovery";
        Self { kind: 1, ..Self::storage(nqn, address, port) }
    }

    /// The 1024 bytes of the record.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut record = vec![0; 1024];
        record[..4].copy_from_slice(&[self.transport, self.family, self.kind, self.requirements]);
        record[4..6].copy_from_slice(&self.port.to_le_bytes());
        record[6..8].copy_from_slice(&0xffff_u16.to_le_bytes());
        record[8..10].copy_from_slice(&32_u16.to_le_bytes());
        record[10..12].copy_from_slice(&self.flags.to_le_bytes());
        put_text(&mut record[32..64], &self.service);
        put_text(&mut record[256..512], &self.nqn);
        put_text(&mut record[512..768], &self.address);
        record[768] = self.security;
        record
    }
}

/// The whole log: a header of 1024 bytes and the records.
#[must_use]
pub fn log(generation: u64, claimed: u64, entries: &[Entry]) -> Vec<u8> {
    let mut page = vec![0; 1024];
    page[..8].copy_from_slice(&generation.to_le_bytes());
    page[8..16].copy_from_slice(&claimed.to_le_bytes());
    for entry in entries {
        page.extend(entry.bytes());
    }
    page
}

/// Supported Log Pages (1024 bytes): the discovery log, with port-local entries on wish or not.
#[must_use]
pub fn supported_logs(port_local: bool) -> Vec<u8> {
    let mut page = vec![0; 1024];
    let support: u32 = if port_local { 0x0002_0001 } else { 1 };
    for identifier in [0x00_usize, 0x70] {
        page[identifier * 4..identifier * 4 + 4].copy_from_slice(&support.to_le_bytes());
    }
    page[..4].copy_from_slice(&1_u32.to_le_bytes());
    page
}

/// Copies what fits and leaves the rest zero.
fn put_text(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_its_fields_where_the_standard_says() {
        let record = Entry { flags: 4, ..Entry::storage("nqn.x", "10.0.0.1", 4420) }.bytes();
        assert_eq!(record.len(), 1024);
        assert_eq!(record[..4], [3, 1, 2, 0]);
        assert_eq!(record[10], 4);
        assert_eq!(&record[32..37], b"4420\0");
        assert_eq!(&record[256..262], b"nqn.x\0");
        assert_eq!(&record[512..521], b"10.0.0.1\0");
    }

    #[test]
    fn text_too_long_for_its_field_is_cut_there() {
        let entry = Entry { nqn: vec![b'n'; 300], ..Entry::referral("::1", 8009) };
        let record = entry.bytes();
        assert_eq!(record[1], 2);
        assert_eq!(record[511], b'n');
        assert_eq!(record[512], b':');
    }

    #[test]
    fn a_log_is_a_header_and_its_records() {
        let page = log(7, 9, &[Entry::referral("10.0.0.1", 8009)]);
        assert_eq!(page.len(), 2048);
        assert_eq!((page[0], page[8]), (7, 9));
    }

    #[test]
    fn fields_of_a_command_are_read_as_they_were_written() {
        let mut bytes = [0; 64];
        bytes[0] = 0x7f;
        bytes[2..4].copy_from_slice(&0x1234_u16.to_le_bytes());
        bytes[48..56].copy_from_slice(&0x0102_0304_0506_0708_u64.to_le_bytes());
        let command = Command::new(&bytes).unwrap();
        assert_eq!((command.opcode(), command.id()), (0x7f, 0x1234));
        assert_eq!(command.long(48), 0x0102_0304_0506_0708);
        assert_eq!(command.byte(99), 0);
        assert!(Command::new(&bytes[..63]).is_none());
    }
}
