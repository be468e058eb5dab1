// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Look-ups over real sockets, against a name server on the loopback interface.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use plinth::event::Handler;
use plinth::testing::Place;
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, QTYPE, ResourceRecord, TYPE};

use super::*;

struct World {
    resolver: Resolver,
    server: UdpSocket,
    questions: usize,
    found: Vec<Found>,
    /// Removed with this.
    _place: Place,
}

impl World {
    fn new(hosts: &str) -> Self {
        let place = Place::new();
        place.file("etc/hosts", hosts);
        place.file("etc/resolv.conf", "nameserver 127.0.0.1\n");
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        server.set_nonblocking(true).unwrap();
        let mut resolver = Resolver::new(place.root(), Rng::seeded(1));
        resolver.port = server.local_addr().unwrap().port();
        Self { resolver, server, questions: 0, found: Vec::new(), _place: place }
    }

    fn run(&mut self) {
        let mut lp = Loop::new().unwrap();
        let server = self.server.try_clone().unwrap();
        lp.watch(server.as_fd(), Key::Peer).unwrap();
        lp.set_timer(lp.now() + Duration::from_secs(20), Key::StopLimit);
        lp.run(self).unwrap();
    }

    /// Answers every question for IPv4 addresses with 10.0.0.<length of the name>.
    fn serve(&mut self) {
        let mut bytes = [0; 512];
        while let Ok((len, from)) = self.server.recv_from(&mut bytes) {
            self.questions += 1;
            let asked = Packet::parse(&bytes[..len]).unwrap();
            let question = &asked.questions[0];
            let mut reply = Packet::new_reply(asked.id());
            reply.questions = asked.questions.clone();
            if question.qtype == QTYPE::TYPE(TYPE::A) {
                let last = u32::try_from(question.qname.to_string().len()).unwrap();
                let data = RData::A(A { address: 0x0a00_0000 + last });
                reply.answers.push(ResourceRecord::new(
                    question.qname.clone(),
                    CLASS::IN,
                    60,
                    data,
                ));
            }
            self.server.send_to(&reply.build_bytes_vec().unwrap(), from).unwrap();
        }
    }
}

impl Handler for World {
    type Key = Key;

    fn ready(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
        match key {
            Key::Lookup(number, server) => return self.resolver.ready(lp, number, server),
            Key::Peer => self.serve(),
            _ => {}
        }
        Ok(Progress::Drained)
    }

    fn timer(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<()> {
        match key {
            Key::LookupWake(number) => self.resolver.woken(lp, number),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        self.resolver.settle(lp)?;
        self.found.extend(self.resolver.take_done());
        if self.resolver.busy() == 0 {
            lp.stop(0);
        }
        Ok(())
    }
}

#[test]
fn names_are_looked_up_in_parallel_in_file_and_server() {
    let mut world = World::new("10.9.9.9 filed\n");
    for number in 0..=100 {
        let host = if number == 0 { "filed".to_owned() } else { "x".repeat(number % 50 + 1) };
        world.resolver.submit(OpId(u64::try_from(number).unwrap()), host);
    }
    world.run();
    world.found.sort_by_key(|(op, _)| *op);
    assert_eq!(world.found.len(), 101);
    for (OpId(number), result) in &world.found {
        let expected = match number {
            0 => "10.9.9.9".parse().unwrap(),
            _ => Ipv4Addr::new(10, 0, 0, u8::try_from(number % 50 + 1).unwrap()),
        };
        assert_eq!(result, &Ok(vec![IpAddr::V4(expected)]), "look-up {number}");
    }
    assert_eq!(world.questions, 200);
}

#[test]
fn a_host_without_a_name_server_says_so_at_once() {
    let mut world = World::new("");
    // A port that was just free: nobody answers there, and the kernel says so.
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    world.resolver.port = free;
    world.resolver.submit(OpId(1), "array.example".to_owned());
    let before = Time::monotonic();
    world.run();
    assert_eq!(world.found, [(OpId(1), Err("no name server could answer".to_owned()))]);
    assert!(before.until(Time::monotonic()) < Duration::from_secs(1));
}
