// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A socket that asks the kernel for its interfaces, hears of changes, and sets links up.
//!
//! Owns two descriptors: one for the news, to be watched, and one for questions, so that answers
//! and news do not mix. The kernel works on a request while it is sent, so that the answer waits
//! when [`RouteSocket`] reads; nothing here blocks. Only messages of the kernel itself count.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;

use super::interface::{self, Address, Interface};
use super::message::{self, DONE, DUMP_INTERRUPTED, ERROR, Malformed, OVERRUN};
use super::route::{self, CHANGES, Change, LinkOrder, Request, Route};
use crate::sys::netlink::{Envelope, Protocol, Reception, Socket};

/// Bytes of the receive buffer. The kernel fills at most 32 KiB of it with small messages; a single
/// message may need more, on devices with many virtual functions.
const BUFFER_LEN: usize = 128 << 10;
/// How often a dump is begun anew because the kernel's table changed meanwhile. The last one is
/// taken as it is: the change that disturbed it is also told as news.
const DUMP_TRIES_MAX: u32 = 8;

/// What [`RouteSocket::next_change`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// One link or address changed.
    Change(Change),
    /// Changes were lost: nothing known is certain any more. Ask for all interfaces again. The
    /// kernel drops messages until all that waits is taken, so that an overflow is told only then.
    Lost,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct RouteSocket {
    news: Socket,
    questions: Socket,
    sequence: u32,
    waiting: VecDeque<Change>,
    /// The kernel dropped messages, and may still do so.
    overrun: bool,
    buffer: Vec<u8>,
}

impl RouteSocket {
    /// Opens both descriptors, and hears of changes from now on.
    ///
    /// # Errors
    /// What `socket(2)` and `bind(2)` say.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            news: Socket::open(Protocol::Route, CHANGES)?,
            questions: Socket::open(Protocol::Route, 0)?,
            sequence: 0,
            waiting: VecDeque::new(),
            overrun: false,
            buffer: vec![0; BUFFER_LEN],
        })
    }

    /// The descriptor to watch for reading, on which [`RouteSocket::next_change`] is called until
    /// it has nothing more to tell.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.news.fd()
    }

    /// The next change of a link or an address, or `None` when there is no more news for now.
    ///
    /// # Errors
    /// The socket failed and must be opened anew.
    pub fn next_change(&mut self) -> io::Result<Option<News>> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Ok(Some(News::Change(change)));
            }
            match self.news.receive(&mut self.buffer)? {
                Reception::Lost => self.overrun = true,
                Reception::Empty => {
                    return Ok(std::mem::take(&mut self.overrun).then_some(News::Lost));
                }
                Reception::Message(envelope) if !is_from_kernel(&envelope) => {}
                Reception::Message(envelope) if envelope.truncated => return Ok(Some(News::Lost)),
                Reception::Message(envelope) => {
                    let datagram = self.buffer.get(..envelope.len).unwrap_or_default();
                    if let Err(malformed) = decode_all(datagram, &mut self.waiting) {
                        log::debug!("a change of the network was not understood: {malformed}");
                        return Ok(Some(News::Lost));
                    }
                }
            }
        }
    }

    /// All interfaces with their addresses, in the kernel's order.
    ///
    /// # Errors
    /// The kernel refused, or answered with something that is not a list of interfaces.
    pub fn dump_interfaces(&mut self) -> io::Result<Vec<Interface>> {
        let (mut interfaces, mut addresses) = (Vec::new(), Vec::new());
        for change in self.dump(Request::Links)?.into_iter().chain(self.dump(Request::Addresses)?) {
            match change {
                Change::Link(link) => interfaces.push(link),
                Change::Address(address) => addresses.push(address),
                _ => {}
            }
        }
        Ok(interface::assemble(interfaces, &addresses))
    }

    /// Sets a link up (`IFF_UP`).
    ///
    /// # Errors
    /// What the kernel answers, such as `ENODEV` or `EPERM`.
    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.ask(Request::SetUp(index)).map(drop)
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// What the kernel answers; `EEXIST` when it has the address already.
    pub fn add_address(&mut self, address: Address) -> io::Result<()> {
        self.ask(Request::AddAddress(address)).map(drop)
    }

    /// Adds a route to the main table.
    ///
    /// # Errors
    /// What the kernel answers; `EEXIST` when there is one, `ENETUNREACH` when the gateway is on no
    /// link.
    pub fn add_route(&mut self, route: Route) -> io::Result<()> {
        self.ask(Request::AddRoute(route)).map(drop)
    }

    /// Makes, changes or deletes a link.
    ///
    /// # Errors
    /// What the kernel answers: `EEXIST`, `ENODEV`, `EPERM`...
    pub fn order(&mut self, order: &LinkOrder<'_>) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.send_and_hear(&order.encode(self.sequence)).map(drop)
    }

    fn dump(&mut self, request: Request) -> io::Result<Vec<Change>> {
        let mut tries = 1;
        loop {
            let answer = self.ask(request)?;
            if !answer.interrupted || tries == DUMP_TRIES_MAX {
                return Ok(answer.changes);
            }
            tries += 1;
        }
    }

    fn ask(&mut self, request: Request) -> io::Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        self.send_and_hear(&request.encode(self.sequence))
    }

    /// Sends a message of the current number, and puts the answer together.
    fn send_and_hear(&mut self, message: &[u8]) -> io::Result<Answer> {
        self.questions.send(0, message)?;
        let mut answer = Answer::new(self.sequence);
        while !answer.complete {
            match self.questions.receive(&mut self.buffer)? {
                Reception::Message(envelope) if !is_from_kernel(&envelope) => {}
                Reception::Message(envelope) if envelope.truncated => {
                    return Err(io::Error::new(ErrorKind::InvalidData, "netlink message too long"));
                }
                Reception::Message(envelope) => {
                    answer.take(self.buffer.get(..envelope.len).unwrap_or_default())?;
                }
                Reception::Lost => answer.interrupted = true,
                Reception::Empty => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "no netlink answer"));
                }
            }
        }
        Ok(answer)
    }
}

/// Whether the kernel itself sent a message. Only a privileged process could pretend otherwise.
const fn is_from_kernel(envelope: &Envelope) -> bool {
    envelope.port == 0
}

fn decode_all(datagram: &[u8], into: &mut VecDeque<Change>) -> Result<(), Malformed> {
    for message in message::messages(datagram) {
        into.extend(route::decode(&message?)?);
    }
    Ok(())
}

/// The answer to one request, put together from any number of datagrams.
#[derive(Debug)]
struct Answer {
    sequence: u32,
    changes: Vec<Change>,
    /// The kernel's table changed during the dump, which therefore has gaps or doubles.
    interrupted: bool,
    complete: bool,
}

impl Answer {
    const fn new(sequence: u32) -> Self {
        Self { sequence, changes: Vec::new(), interrupted: false, complete: false }
    }

    /// Takes one datagram. Left-overs of earlier requests are passed over.
    fn take(&mut self, datagram: &[u8]) -> io::Result<()> {
        for message in message::messages(datagram) {
            let message = message.map_err(invalid)?;
            if message.header.sequence != self.sequence {
                continue;
            }
            self.interrupted |= message.header.flags & DUMP_INTERRUPTED != 0;
            match message.header.kind {
                ERROR | DONE => {
                    self.complete = true;
                    match message.errno().map_err(invalid)? {
                        None | Some(0) => {}
                        Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    }
                }
                OVERRUN => self.interrupted = true,
                _ => self.changes.extend(route::decode(&message).map_err(invalid)?),
            }
        }
        Ok(())
    }
}

fn invalid(malformed: Malformed) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, malformed)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::process::Command;

    use super::*;
    use crate::netlink::message::{Encoder, Header, MULTI};
    use crate::testing::isolated;

    fn link(index: u32) -> Change {
        Change::Link(Interface { index, name: format!("eth{index}"), ..Interface::default() })
    }

    fn end(kind: u16, sequence: u32, errno: i32, flags: u16) -> Vec<u8> {
        let header = Header { kind, flags: MULTI | flags, sequence, port: 0 };
        Encoder::new(header, &(-errno).to_ne_bytes()).finish()
    }

    #[test]
    fn an_answer_of_many_datagrams_is_put_together() {
        // 400 links are well beyond 8 KiB.
        let mut answer = Answer::new(7);
        let (mut bytes, mut total) = (Vec::new(), 0);
        for index in 1..=400 {
            bytes.extend(route::encode(&link(index), 7));
            if index % 50 == 0 {
                total += bytes.len();
                answer.take(&bytes).expect("well-formed");
                assert!(!answer.complete);
                bytes.clear();
            }
        }
        answer.take(&end(DONE, 7, 0, 0)).expect("well-formed");
        assert!(answer.complete);
        assert!(!answer.interrupted);
        assert!(total > 8192, "{total}");
        assert_eq!(answer.changes.len(), 400);
        assert_eq!(answer.changes.last(), Some(&link(400)));
    }

    #[test]
    fn answers_to_earlier_requests_are_passed_over() {
        let mut answer = Answer::new(8);
        answer.take(&end(ERROR, 7, 1, 0)).expect("not ours");
        answer.take(&route::encode(&link(1), 7)).expect("not ours");
        assert!(!answer.complete);
        assert_eq!(answer.changes, []);
    }

    #[test]
    fn a_disturbed_dump_is_noticed_wherever_the_kernel_says_so() {
        let mut in_the_end = Answer::new(1);
        in_the_end.take(&end(DONE, 1, 0, DUMP_INTERRUPTED)).expect("well-formed");
        assert!(in_the_end.interrupted);
        let mut before = Answer::new(1);
        let header = Header { kind: 999, flags: DUMP_INTERRUPTED, sequence: 1, port: 0 };
        before.take(&Encoder::new(header, &[]).finish()).expect("well-formed");
        assert!(before.interrupted);
    }

    #[test]
    fn a_refusal_is_an_error_with_the_kernels_number() {
        let code = |bytes: &[u8]| Answer::new(1).take(bytes).expect_err("refused").raw_os_error();
        assert_eq!(code(&end(ERROR, 1, 19, 0)), Some(19));
        assert_eq!(code(&end(DONE, 1, 13, 0)), Some(13));
        let mut accepted = Answer::new(1);
        accepted.take(&end(ERROR, 1, 0, 0)).expect("an acknowledgement");
        assert!(accepted.complete);
    }

    #[test]
    fn a_truncated_answer_is_an_error() {
        let whole = route::encode(&link(1), 1);
        let error = Answer::new(1).take(&whole[..whole.len() - 1]).expect_err("cut off");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn the_loopback_interface_is_in_the_table() {
        let mut socket = RouteSocket::open().expect("open");
        let table = socket.dump_interfaces().expect("dump");
        let lo = table.iter().find(|it| it.name == "lo").expect("every system has one");
        assert_eq!((lo.index, lo.hardware), (1, interface::LOOPBACK));
        assert_eq!(lo.mac, Some([0; 6]));
        assert_eq!(socket.dump_interfaces().expect("dump again").first(), table.first());
    }

    #[test]
    fn an_order_that_cannot_be_carried_out_is_an_error() {
        // ENODEV for root, EPERM for everybody else.
        let mut socket = RouteSocket::open().expect("open");
        let error = socket.set_up(u32::MAX >> 1).expect_err("no such interface");
        assert!(matches!(error.raw_os_error(), Some(19 | 1)), "{error}");
        socket.dump_interfaces().expect("the socket is still good");
    }

    fn news(socket: &mut RouteSocket) -> Vec<News> {
        std::iter::from_fn(|| socket.next_change().expect("news")).collect()
    }

    #[test]
    fn root_links_addresses_and_routes_are_made_and_announced() {
        if !isolated(module_path!(), "root_links_addresses_and_routes_are_made_and_announced") {
            return;
        }
        let mut socket = RouteSocket::open().expect("open");
        assert_eq!(news(&mut socket), []);
        socket.set_up(1).expect("up");
        let is_up = |it: &News| match it {
            News::Change(Change::Link(lo)) => lo.index == 1 && lo.up && lo.carrier,
            _ => false,
        };
        assert!(news(&mut socket).iter().any(is_up));

        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        let address = Address { index: 1, address: ip, prefix_len: 24 };
        socket.add_address(address).expect("address");
        assert!(news(&mut socket).contains(&News::Change(Change::Address(address))));
        let again = socket.add_address(address).expect_err("it is there already");
        assert_eq!(again.raw_os_error(), Some(17));
        let ip6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));
        socket
            .add_address(Address { index: 1, address: ip6, prefix_len: 64 })
            .expect("IPv6 address");

        let default = Route {
            destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            prefix_len: 0,
            gateway: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
            index: Some(1),
        };
        socket.add_route(default).expect("route");
        let file = std::fs::read_to_string("/proc/net/route").expect("the kernel's view");
        assert!(file.contains("lo\t00000000\t010200C0"), "{file}");

        let table = socket.dump_interfaces().expect("dump");
        let lo = table.first().expect("loopback");
        assert!(lo.up);
        assert_eq!(lo.addresses.iter().filter(|it| it.is_ipv4()).count(), 2, "{lo:?}");
        assert!(lo.addresses.contains(&ip6), "{lo:?}");
    }

    #[test]
    fn root_a_flood_of_changes_is_told_as_a_loss() {
        if !isolated(module_path!(), "root_a_flood_of_changes_is_told_as_a_loss") {
            return;
        }
        let mut socket = RouteSocket::open().expect("open");
        rustix::net::sockopt::set_socket_recv_buffer_size(socket.fd(), 4096).expect("shrink");
        for last in 1..=250 {
            let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
            socket.add_address(Address { index: 1, address, prefix_len: 24 }).expect("address");
        }
        let told = news(&mut socket);
        assert_eq!(told.last(), Some(&News::Lost), "{} changes were told", told.len());
        assert_eq!(socket.dump_interfaces().expect("dump")[0].addresses.len(), 250);
    }

    #[test]
    fn root_a_bridge_port_is_told_with_its_master_and_leaves_without_being_gone() {
        let name = "root_a_bridge_port_is_told_with_its_master_and_leaves_without_being_gone";
        if !isolated(module_path!(), name) {
            return;
        }
        let ip = |arguments: &str| {
            let done = Command::new("ip").args(arguments.split(' ')).status().expect("ip(8)");
            assert!(done.success(), "ip {arguments}");
        };
        ip("link add nic0 address 52:54:00:00:00:01 type veth peer name nic1");
        ip("link add bridge0 type bridge");
        ip("link set nic0 master bridge0");
        let mut socket = RouteSocket::open().expect("open");
        let table = socket.dump_interfaces().expect("dump");
        let by_name = |name| table.iter().find(|it| it.name == name).expect("it was made");
        let (nic, bridge) = (by_name("nic0"), by_name("bridge0"));
        assert_eq!((nic.kind.as_deref(), nic.master), (Some("veth"), Some(bridge.index)));
        assert_eq!(nic.parent, Some(by_name("nic1").index));
        assert_eq!((bridge.kind.as_deref(), bridge.master), (Some("bridge"), None));
        // The bridge borrowed the address of its only port, and is the one to be used.
        assert_eq!(bridge.mac, nic.mac);
        let found = interface::find_by_mac(&table, [0x52, 0x54, 0, 0, 0, 1], None);
        assert_eq!(found.map(|it| it.name.as_str()), Some("bridge0"));

        ip("link set nic0 nomaster");
        let told = news(&mut socket);
        assert!(!told.contains(&News::Change(Change::LinkGone(nic.index))), "{told:?}");
        ip("link del nic0");
        assert!(news(&mut socket).contains(&News::Change(Change::LinkGone(nic.index))));
    }
}
