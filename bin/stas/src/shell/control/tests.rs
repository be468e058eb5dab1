// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control socket over real sockets, with clients in threads and a daemon that answers by rote.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::thread;
use std::time::Duration;

use plinth::event::Handler;

use super::*;
use crate::core::api::{Reply, Request as Question_};
use crate::core::control::Message;
use crate::core::tid::{Fields, Tid, TidDefaults};

/// A client: gets the socket's path, returns what it saw.
type Script<T> = Box<dyn FnOnce(&Path) -> T + Send>;

struct World {
    server: Server,
    done: std::sync::Arc<std::sync::atomic::AtomicBool>,
    asked: Vec<Ask>,
    notices: usize,
}

impl World {
    fn answer(&mut self, ask: &Ask) -> Reply {
        self.asked.push(ask.clone());
        match ask {
            Ask::Core(Question_::GetTron) => Reply::Bool(true),
            Ask::Core(Question_::GetLogLevel) => Reply::Text("DEBUG".to_owned()),
            Ask::Core(Question_::ListControllers { detailed: true }) => {
                // More than any socket buffer holds.
                let dict = BTreeMap::from([("device".to_owned(), "x".repeat(1 << 18))]);
                Reply::Dicts(vec![dict; 4])
            }
            Ask::Core(Question_::ListControllers { detailed: false }) => Reply::Dicts(Vec::new()),
            Ask::Core(Question_::GetLogPages(_)) => Reply::Unsupported,
            _ => Reply::Unit,
        }
    }
}

impl Handler for World {
    type Key = Key;

    fn ready(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<Progress> {
        match key {
            Key::Control => return self.server.accept(lp),
            Key::Client(number) => self.server.ready(lp, number)?,
            _ => {}
        }
        Ok(Progress::Drained)
    }

    fn timer(&mut self, lp: &mut Loop<Key>, key: Key) -> io::Result<()> {
        if key != Key::Core {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.done.load(std::sync::atomic::Ordering::SeqCst) {
            lp.stop(0);
        } else {
            lp.set_timer(lp.now() + Duration::from_millis(5), Key::Core);
        }
        Ok(())
    }

    fn settle(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        while let Some(question) = self.server.next_question() {
            let reply = self.answer(&question.ask);
            self.server.reply(lp, &question, reply)?;
        }
        if self.notices > 0 && self.server.clients.values().any(|client| client.subscribed) {
            for _ in 0..std::mem::take(&mut self.notices) {
                self.server.notice(lp, &pages_changed())?;
                self.server.notice(lp, &Notice::Tron(true))?;
            }
        }
        Ok(())
    }
}

fn pages_changed() -> Notice {
    let fields =
        Fields { transport: "tcp".to_owned(), traddr: "192.0.2.1".to_owned(), ..Fields::default() };
    let defaults = TidDefaults { host_nqn: "nqn.host", ignore_iface: false };
    let tid = Box::new(Tid::new(&fields, &defaults));
    Notice::LogPagesChanged { tid, device: "nvme0".to_owned() }
}

/// Runs `script` against a server that sends `notices` notices to its first subscriber.
fn run<T: Send + 'static>(name: &str, notices: usize, script: Script<T>) -> (T, Vec<Ask>) {
    let path = std::env::temp_dir().join(format!("stas-{name}-{}.sock", std::process::id()));
    let mut lp = Loop::new().unwrap();
    let server = Server::open(&mut lp, &path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, MODE);
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut world = World { server, done: done.clone(), asked: Vec::new(), notices };
    let at = path.clone();
    let client = thread::spawn(move || {
        let seen = script(&at);
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        seen
    });
    lp.set_timer(lp.now(), Key::Core);
    lp.set_timer(lp.now() + Duration::from_secs(20), Key::StopLimit);
    lp.run(&mut world).unwrap();
    let asked = std::mem::take(&mut world.asked);
    drop(world);
    assert!(!path.exists(), "the name goes with the server");
    (client.join().unwrap(), asked)
}

fn connect(path: &Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    BufReader::new(stream)
}

fn say(stream: &mut BufReader<UnixStream>, call: Call, id: u64) {
    let line = Request { id: Some(id), call }.encode();
    stream.get_mut().write_all(line.as_bytes()).unwrap();
}

fn hear(stream: &mut BufReader<UnixStream>) -> Option<Message> {
    let mut line = String::new();
    match stream.read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(Message::decode(line.trim_end().as_bytes()).unwrap()),
    }
}

#[test]
fn requests_are_answered_in_order_whatever_their_size() {
    let script = |path: &Path| {
        let mut stream = connect(path);
        // All at once: the large answers in the middle hold the later ones back.
        for id in 1..=6 {
            let call = match id {
                1 => Call::GetTron,
                2 | 3 => Call::ListControllers { detailed: true },
                4 => Call::GetLogPages(control::Seven::default()),
                5 => Call::GetLogLevel,
                _ => Call::ListControllers { detailed: false },
            };
            say(&mut stream, call, id);
        }
        (0..6).map(|_| hear(&mut stream).unwrap()).collect::<Vec<_>>()
    };
    let (heard, asked) = run("order", 0, Box::new(script));
    let ids = heard.iter().map(|message| match message {
        Message::Result { id, .. } | Message::Error { id, .. } => id.unwrap(),
        other => panic!("{other:?}"),
    });
    assert_eq!(ids.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let Message::Result { value, .. } = &heard[1] else { panic!("{:?}", heard[1]) };
    assert_eq!(value.as_array().unwrap().len(), 4);
    let Message::Error { name, .. } = &heard[3] else { panic!("{:?}", heard[3]) };
    assert_eq!(name, UNKNOWN_METHOD);
    assert_eq!(asked.len(), 6);
}

#[test]
fn nonsense_is_answered_and_an_endless_line_ends_the_connection() {
    let script = |path: &Path| {
        let mut stream = connect(path);
        stream.get_mut().write_all(b"nonsense\n{\"method\":\"none\",\"id\":9}\n").unwrap();
        let first = (hear(&mut stream).unwrap(), hear(&mut stream).unwrap());
        let endless = vec![b'x'; REQUEST_BYTES_MAX + 4096];
        // The server may hang up before all of it is written.
        drop(stream.get_mut().write_all(&endless));
        (first, hear(&mut stream))
    };
    let ((first, last), asked) = run("nonsense", 0, Box::new(script));
    assert!(matches!(first.0, Message::Error { id: None, .. }), "{first:?}");
    assert!(matches!(first.1, Message::Error { id: Some(9), .. }), "{first:?}");
    assert_eq!(last, None);
    assert_eq!(asked, []);
}

#[test]
fn subscribers_hear_of_changes() {
    let script = |path: &Path| {
        let mut stream = connect(path);
        say(&mut stream, Call::Subscribe, 1);
        (0..3).map(|_| hear(&mut stream).unwrap()).collect::<Vec<_>>()
    };
    let (heard, _) = run("subscribe", 1, Box::new(script));
    assert!(matches!(heard[0], Message::Result { id: Some(1), .. }));
    let Message::Signal(Signal::LogPagesChanged { seven, device }) = &heard[1] else {
        panic!("{:?}", heard[1]);
    };
    assert_eq!((seven[1].as_str(), device.as_str()), ("192.0.2.1", "nvme0"));
    assert_eq!(heard[2], Message::Signal(Signal::TronChanged(true)));
}

#[test]
fn a_subscriber_that_does_not_read_is_dropped_and_others_are_served() {
    let script = |path: &Path| {
        let mut deaf = connect(path);
        say(&mut deaf, Call::Subscribe, 1);
        let mut heard = 0;
        // Far more was sent than the sockets and the bound hold: the end comes early.
        while hear(&mut deaf).is_some() {
            heard += 1;
            if heard == 1 {
                // Nothing more is read before the server has sent all it was to send.
                let mut other = connect(path);
                for id in 0..3 {
                    say(&mut other, Call::GetTron, id);
                    assert!(matches!(hear(&mut other), Some(Message::Result { .. })));
                }
            }
        }
        heard
    };
    let notices = 10_000;
    let (heard, _) = run("deaf", notices, Box::new(script));
    assert!(heard < 2 * notices, "{heard} signals");
}

#[test]
fn clients_are_bounded_in_number() {
    let script = |path: &Path| {
        let mut clients: Vec<_> = (0..CLIENTS_MAX).map(|_| connect(path)).collect();
        for client in &mut clients {
            say(client, Call::GetTron, 1);
            assert!(hear(client).is_some());
        }
        let refused = hear(&mut connect(path));
        drop(clients.pop());
        // The server sees the end of that one in its own time.
        let again = (0..1000).any(|_| {
            let mut client = connect(path);
            let line = Request { id: Some(1), call: Call::GetTron }.encode();
            client.get_mut().write_all(line.as_bytes()).is_ok() && hear(&mut client).is_some()
        });
        (refused, again)
    };
    let ((refused, again), _) = run("many", 0, Box::new(script));
    assert_eq!(refused, None);
    assert!(again);
}

#[test]
fn what_a_previous_process_left_behind_is_replaced() {
    let path = std::env::temp_dir().join(format!("stas-left-{}.sock", std::process::id()));
    drop(fs::remove_file(&path));
    drop(UnixListener::bind(&path).unwrap()); // the name stays, nobody listens
    assert!(UnixStream::connect(&path).is_err());
    let mut lp = Loop::new().unwrap();
    let server = Server::open(&mut lp, &path).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    drop(server);
}
