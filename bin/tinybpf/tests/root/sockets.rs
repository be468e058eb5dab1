// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs that sockets and routes ask: filters, the choice within a group, maps of sockets,
//! routes that run a program on what passes them.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd};
use std::path::Path;
use std::time::Duration;

use bpf::error::Kind;
use bpf::map::{Flags, Map};
use bpf::object::{Object, OpenOptions};
use bpf::value::Value;
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use crate::support::{ip, isolated, number, object, shown};

/// How long a datagram that was sent may take.
const LONG: Duration = Duration::from_secs(20);

fn receiver() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.set_read_timeout(Some(LONG)).expect("a time");
    socket
}

/// Sends each of the texts to a socket.
fn send(to: &UdpSocket, texts: &[&str]) {
    let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    for text in texts {
        own.send_to(text.as_bytes(), to.local_addr().expect("an address")).expect("sent");
    }
}

fn received(from: &UdpSocket) -> String {
    let mut bytes = [0; 64];
    let count = from.recv(&mut bytes).expect("received");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[test]
fn root_a_filter_decides_what_a_socket_gets() {
    isolated(module_path!(), "root_a_filter_decides_what_a_socket_gets", || {
        ip("link set lo up");
        let load = |keep: u32| {
            let mut open = OpenOptions::new().open(&object("socket")).expect("opens");
            open.set_global("keep", &Value::from(keep)).expect("known");
            open.load().expect("loads")
        };
        // Nothing; ten bytes, of which eight are the header of UDP; all.
        for (keep, wanted) in [(0, "last"), (10, "fi"), (0xffff, "first")] {
            let (object, socket) = (load(keep), receiver());
            object.program("filter").expect("p").attach_socket(socket.as_fd()).expect("attached");
            send(&socket, &["first"]);
            if keep == 0 {
                // Another filter in its place lets the next one through.
                assert_eq!(number(&object, "packets"), 1);
                let all = load(0xffff);
                all.program("filter").expect("p").attach_socket(socket.as_fd()).expect("again");
                send(&socket, &["last"]);
            }
            assert_eq!(received(&socket), wanted, "{keep}");
            assert_eq!(number(&object, "packets"), 1);
            assert_eq!(number(&object, "last_length"), 8 + 5);
        }
        let other = Object::load(&object("xdp")).expect("loads");
        let error = other.program("pass").expect("p").attach_socket(receiver().as_fd());
        assert_eq!(error.expect_err("no filter").kind(), Kind::Unsupported);
        shown("socket", "run");
    });
}

/// A socket that shares its port with others of its group.
fn sharing(port: u16) -> UdpSocket {
    let own = socket(AddressFamily::INET, SocketType::DGRAM, None).expect("a socket");
    sockopt::set_socket_reuseport(&own, true).expect("shared");
    bind(&own, &SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))).expect("bound");
    let own = UdpSocket::from(own);
    own.set_read_timeout(Some(LONG)).expect("a time");
    own
}

/// Puts a socket into a map of sockets.
fn put(map: &Map, key: u32, socket: &impl AsRawFd) {
    let value = u64::try_from(socket.as_raw_fd()).expect("a descriptor");
    map.set(&key.to_ne_bytes(), &value.to_ne_bytes(), Flags::ANY).expect("room");
}

#[test]
fn root_a_group_of_sockets_asks_who_gets_it() {
    isolated(module_path!(), "root_a_group_of_sockets_asks_who_gets_it", || {
        ip("link set lo up");
        let object = Object::load(&object("sk_reuseport")).expect("loads");
        let first = sharing(0);
        let second = sharing(first.local_addr().expect("an address").port());
        let program = object.program("choose").expect("p");
        program.attach_socket(first.as_fd()).expect("attached");
        let chosen = object.map("sockets").expect("m");
        for (turn, socket) in [&second, &first].into_iter().enumerate() {
            put(&chosen, 0, socket);
            let texts = ["a", "b", "c", "d", "e", "f", "g", "h"];
            send(&first, &texts);
            for text in texts {
                assert_eq!(received(socket), text, "all go where the map says");
            }
            assert_eq!(number(&object, "choices"), 8 * (turn as i128 + 1));
        }
        shown("sk_reuseport", "run");
    });
}

/// The two ends of a connection.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let to = listener.local_addr().expect("an address");
    let near = TcpStream::connect(to).expect("connected");
    let (far, _) = listener.accept().expect("accepted");
    for end in [&near, &far] {
        end.set_read_timeout(Some(LONG)).expect("a time");
    }
    (near, far)
}

#[test]
fn root_maps_of_sockets_see_messages_and_streams() {
    isolated(module_path!(), "root_maps_of_sockets_see_messages_and_streams", || {
        ip("link set lo up");
        // One verdict about what is sent; a parser and a verdict about what arrives.
        for (programs, counter) in
            [(&["message"][..], "messages"), (&["parse", "verdict"], "streams")]
        {
            let object = Object::load(&object("sockmap")).expect("loads");
            let map = object.map("sockets").expect("m");
            let links: Vec<_> = programs
                .iter()
                .map(|name| object.program(name).expect("p").attach_sockmap(&map).expect(name))
                .collect();
            let (mut near, mut far) = connection();
            put(&map, 0, if counter == "messages" { &near } else { &far });
            near.write_all(b"knock").expect("sent");
            let mut bytes = [0; 5];
            far.read_exact(&mut bytes).expect("received");
            assert_eq!(&bytes, b"knock");
            assert!(number(&object, counter) > 0, "{counter}");
            for link in links {
                link.detach().expect("detached");
            }
        }
        shown("sockmap", "run");
    });
}

#[test]
fn root_routes_run_programs() {
    isolated(module_path!(), "root_routes_run_programs", || {
        ip("link set lo up");
        let object = Object::load(&object("lwt")).expect("loads");
        let pin = |name: &str| {
            let path = format!("/sys/fs/bpf/{name}");
            object.program(name).expect("p").pin(Path::new(&path)).expect(name);
            path
        };
        let own = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        let mut seen = 0;
        // What leaves for an address of this host, what is sent on, and what arrives.
        for (kind, route) in [
            ("out", "198.51.100.1/32 encap bpf out pinned OUT dev lo"),
            ("xmit", "198.51.100.2/32 encap bpf xmit pinned OUT dev lo"),
            ("in", "table local local 198.51.100.3/32 encap bpf in pinned OUT dev lo"),
        ] {
            ip(&format!("route add {}", route.replace("OUT", &pin(kind))));
            let to = route.split('/').next().and_then(|route| route.split(' ').next_back());
            own.send_to(b"knock", (to.expect("an address"), 9)).expect("sent");
            let now = number(&object, "packets");
            assert!(now > seen, "{kind}");
            seen = now;
        }
        shown("lwt", "run");
    });
}
