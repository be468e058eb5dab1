// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Turns one host name into addresses: a machine that reads two files and asks name servers.
//!
//! Owns the order of attempts and their limits. Sockets and files are the shell's. The C library's
//! resolver is not used, because it blocks, and because in a static program it may load modules of
//! a foreign version. `/etc/hosts` decides alone when it knows the name. Name servers are asked
//! over UDP for both families at once; answers that were cut off are used as far as they reach.
//! Whatever happens, the look-up ends within [`LIMIT`].

pub mod files;
pub mod packet;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use plinth::rand::Rng;
use plinth::time::Time;

use files::{Resolver, Server};
use packet::{Kind, Reply};

/// The whole look-up's limit.
pub const LIMIT: Duration = Duration::from_secs(5);
/// How long one server may think before the next one is asked too.
pub const TRY_LIMIT: Duration = Duration::from_millis(1200);
/// How often each server is asked for one name.
const ROUNDS: usize = 2;

/// What a look-up is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// The time asked for has come; also the first input of all.
    Wake,
    /// A packet came from the server of this index.
    Packet(usize, &'a [u8]),
    /// The server of this index cannot be reached.
    Unreachable(usize),
}

/// What a look-up asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this packet to the server of this index.
    Send(usize, Vec<u8>),
    /// The end: addresses in the order received, IPv4 first, or a sentence that says why not.
    Done(Result<Vec<IpAddr>, String>),
}

struct Asked {
    server: usize,
    id: u16,
    kind: Kind,
}

/// One look-up.
pub struct Lookup {
    servers: Vec<Server>,
    known: Vec<IpAddr>,
    candidates: std::vec::IntoIter<String>,
    name: String,
    asked: Vec<Asked>,
    replies: [Option<Reply>; 2],
    tries: usize,
    next_try: Option<Time>,
    deadline: Time,
    rng: Rng,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Asking,
    Over,
}

const KINDS: [Kind; 2] = [Kind::V4, Kind::V6];

impl Lookup {
    /// A look-up of `host`, given the texts of `/etc/hosts` and `/etc/resolv.conf`, which does
    /// nothing before its first [`Input::Wake`]. Question numbers come from `rng`.
    #[must_use]
    pub fn new(host: &str, hosts: &str, resolv_conf: &str, rng: Rng, now: Time) -> Self {
        let mut known = files::hosts(hosts, host);
        if known.is_empty() && host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            known = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]; // RFC 6761
        }
        let resolver = Resolver::parse(resolv_conf);
        Self {
            known,
            candidates: resolver.candidates(host).into_iter(),
            servers: resolver.servers,
            name: host.to_owned(),
            asked: Vec::new(),
            replies: [None, None],
            tries: 0,
            next_try: None,
            deadline: now + LIMIT,
            rng,
            state: State::New,
        }
    }

    /// The servers that [`Output::Send`] counts.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// When to come back with [`Input::Wake`]; nothing once the look-up is over.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        match self.state {
            State::New => Some(Time::ZERO),
            State::Asking => {
                Some(self.next_try.map_or(self.deadline, |next| next.min(self.deadline)))
            }
            State::Over => None,
        }
    }

    /// Feeds one input.
    pub fn step(&mut self, now: Time, input: Input<'_>, out: &mut Vec<Output>) {
        match (self.state, input) {
            (State::New, _) => self.start(now, out),
            (State::Asking, Input::Wake) => self.wake(now, out),
            (State::Asking, Input::Packet(server, bytes)) => self.packet(now, server, bytes, out),
            (State::Asking, Input::Unreachable(server)) => self.server_failed(now, server, out),
            (State::Over, _) => {}
        }
    }

    fn start(&mut self, now: Time, out: &mut Vec<Output>) {
        self.state = State::Asking;
        if self.known.is_empty() {
            self.next_name(now, out);
        } else {
            let known = std::mem::take(&mut self.known);
            self.end(Ok(known), out);
        }
    }

    fn wake(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.deadline <= now {
            let text = "the name servers did not answer in time".to_owned();
            self.end(self.found().ok_or(text), out);
        } else if self.next_try.is_some_and(|next| next <= now) {
            // One family answered and the other was given its time: that has to do.
            match self.found() {
                Some(found) => self.end(Ok(found), out),
                None => self.ask(now, out),
            }
        }
    }

    fn packet(&mut self, now: Time, server: usize, bytes: &[u8], out: &mut Vec<Output>) {
        let answered = self.asked.iter().filter(|asked| asked.server == server).find_map(|asked| {
            Some((asked.kind, packet::reply(bytes, asked.id, &self.name, asked.kind)?))
        });
        let Some((kind, reply)) = answered else { return };
        match reply {
            Reply::Failed => return self.server_failed(now, server, out),
            Reply::NoName => return self.next_name(now, out),
            Reply::Addresses(_) => {}
        }
        for (slot, of) in self.replies.iter_mut().zip(KINDS) {
            if of == kind {
                slot.get_or_insert(reply.clone());
            }
        }
        if self.replies.iter().all(Option::is_some) {
            match self.found() {
                Some(found) => self.end(Ok(found), out),
                None => self.next_name(now, out),
            }
        }
    }

    /// Goes on to the next server, unless that was one of the servers given up before.
    fn server_failed(&mut self, now: Time, server: usize, out: &mut Vec<Output>) {
        let current = self.tries.saturating_sub(1) % self.servers.len();
        if server == current && self.next_try.is_some() {
            self.ask(now, out);
        }
    }

    fn next_name(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(name) = self.candidates.next() else {
            return self.end(Err("no such host".to_owned()), out);
        };
        self.name = name;
        self.asked.clear();
        self.replies = [None, None];
        self.tries = 0;
        self.ask(now, out);
    }

    /// Asks the next server what is not answered yet.
    fn ask(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.tries >= ROUNDS * self.servers.len() {
            if self.next_try.take().is_some_and(|next| next > now) {
                // The last server said no; the others had their chance.
                let text = "no name server could answer".to_owned();
                self.end(self.found().ok_or(text), out);
            }
            return; // late answers still count until the limit
        }
        let server = self.tries % self.servers.len();
        self.tries += 1;
        self.next_try = Some(now + TRY_LIMIT);
        for (kind, _) in KINDS.iter().zip(&self.replies).filter(|(_, reply)| reply.is_none()) {
            let id = u16::try_from(self.rng.below(1 << 16)).unwrap_or(0);
            let Some(packet) = packet::question(id, &self.name, *kind) else {
                return self.end(Err("not a host name".to_owned()), out);
            };
            self.asked.push(Asked { server, id, kind: *kind });
            out.push(Output::Send(server, packet));
        }
    }

    fn found(&self) -> Option<Vec<IpAddr>> {
        let found: Vec<IpAddr> = self
            .replies
            .iter()
            .flatten()
            .flat_map(|reply| match reply {
                Reply::Addresses(list) => list.as_slice(),
                Reply::NoName | Reply::Failed => &[],
            })
            .copied()
            .collect();
        (!found.is_empty()).then_some(found)
    }

    fn end(&mut self, result: Result<Vec<IpAddr>, String>, out: &mut Vec<Output>) {
        assert!(self.state != State::Over, "a look-up ends once");
        self.state = State::Over;
        out.push(Output::Done(result));
    }
}

#[cfg(test)]
mod tests;
