// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stafctl` over a message bus: a private dbus-daemon, and a finder that is a page of this test.
//!
//! The policy of that bus is the one that is installed with the daemons, as far as it denies: who
//! is not root may read and not set. The finder offers the members of older daemons, without those
//! that came later.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use plinth::bus::{
    Access, Address, Arg, Bus, Config, Event, Interface, Method, Object, Operation, Property,
    Typed, Value, error,
};
use plinth::event::{Handler, Loop, Progress};
use plinth::testing::{Patient, Place, output};
use serde_json::json;

const NAME: &str = "org.nvmexpress.staf";
const DEBUG: &str = "org.nvmexpress.staf.debug";
const PATH: &str = "/org/nvmexpress/staf";

const fn arg(name: &'static str, signature: &'static str) -> Arg {
    Arg { name, signature }
}

const SEVEN: [Arg; 7] = [arg("text", "s"); 7];

const fn method(name: &'static str, inputs: &'static [Arg], output: &'static [Arg]) -> Method {
    Method { name, inputs, outputs: output, access: Access::Anyone }
}

static OBJECTS: [Object; 1] = [Object {
    path: PATH,
    interfaces: &[
        Interface {
            name: NAME,
            methods: &[
                method("list_controllers", &[arg("detailed", "b")], &[arg("list", "aa{ss}")]),
                method("get_log_pages", &SEVEN, &[arg("pages", "aa{ss}")]),
                method("get_all_log_pages", &[arg("detailed", "b")], &[arg("json", "s")]),
            ],
            signals: &[],
            properties: &[],
        },
        Interface {
            name: DEBUG,
            methods: &[method("process_info", &[], &[arg("json", "s")])],
            signals: &[],
            properties: &[Property {
                name: "tron",
                signature: "b",
                write: Some(Access::Anyone),
                emits_changed: false,
            }],
        },
    ],
}];

/// No test comes near this, unless something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// The finder, on the loop of its thread.
struct Finder {
    bus: Bus,
    ready: Option<Sender<()>>,
}

impl Finder {
    fn serve(&mut self, operation: Operation) -> Result<Vec<Value>, (&'static str, &'static str)> {
        let controller = BTreeMap::from(
            [
                ("device", "nvme0"),
                ("transport", "tcp"),
                ("traddr", "192.0.2.1"),
                ("connected", "True"),
            ]
            .map(|(key, text)| (key.to_owned(), text.to_owned())),
        );
        match operation {
            Operation::Method { name: "list_controllers", .. } => {
                Ok(vec![vec![controller].into_value()])
            }
            Operation::Method { name: "get_log_pages", args } => {
                let texts = args.into_iter().filter_map(Value::get::<String>);
                let page =
                    BTreeMap::from([("asked".to_owned(), texts.collect::<Vec<_>>().join("|"))]);
                Ok(vec![vec![page].into_value()])
            }
            Operation::Method { name: "get_all_log_pages", .. } => {
                Err((error::FAILED, "the shelf is empty"))
            }
            Operation::Method { name: "process_info", .. } => {
                Ok(vec![Value::Str("{\"tron\": false, \"hostkey\": null}".into())])
            }
            Operation::Set { value, .. } => {
                self.bus.publish(PATH, DEBUG, "tron", value);
                Ok(Vec::new())
            }
            Operation::Method { .. } => Err((error::UNKNOWN_METHOD, "no such method")),
        }
    }
}

impl Handler for Finder {
    type Key = ();

    fn ready(&mut self, lp: &mut Loop<()>, (): ()) -> io::Result<Progress> {
        Ok(self.bus.ready(lp.now()))
    }

    fn timer(&mut self, lp: &mut Loop<()>, (): ()) -> io::Result<()> {
        self.bus.wake(lp.now());
        Ok(())
    }

    fn settle(&mut self, lp: &mut Loop<()>) -> io::Result<()> {
        while let Some(event) = self.bus.next_event() {
            if let Event::Call(call) = event {
                match self.serve(call.operation) {
                    Ok(values) => self.bus.reply(call.id, &values),
                    Err((name, text)) => self.bus.fail(call.id, name, text),
                }
            }
        }
        if self.bus.owns_name() {
            self.ready.take().map(|ready| ready.send(()));
        }
        if let Some(at) = self.bus.next_wake() {
            lp.set_timer(at, ());
        }
        Ok(())
    }
}

/// A bus of its own for a test, ended with it.
struct World {
    directory: Place,
    bus: Child,
}

impl World {
    fn new() -> Self {
        let directory = Place::new();
        let config = directory.join("bus.conf");
        let address = format!("unix:path={}", directory.join("bus").display());
        let text = format!(
            "<busconfig><type>custom</type><listen>{address}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
             <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/>\
             <deny send_destination=\"{NAME}\" send_interface=\"org.freedesktop.DBus.Properties\" \
             send_member=\"Set\"/></policy>\
             <policy user=\"root\"><allow send_destination=\"{NAME}\"/></policy></busconfig>"
        );
        fs::write(&config, text).expect("a configuration");
        // Whatever becomes of the test, its bus does not live longer.
        let mut bus = Command::new("timeout")
            .args(["--kill-after=5", "120", "dbus-daemon", "--nofork", "--nopidfile"])
            .args(["--nosyslog", "--print-address=1", "--config-file"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("timeout and dbus-daemon are installed");
        let mut line = String::new();
        let stdout = bus.stdout.take().expect("a pipe");
        BufReader::new(Patient::new(stdout)).read_line(&mut line).expect("a line");
        assert!(line.starts_with("unix:"), "the bus does not listen: {line}");
        Self { directory, bus }
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.directory.join("bus").display())
    }

    /// Starts the finder; it has its name when this returns. Its thread ends with the process.
    fn finder(&self) {
        let (ready, is_ready) = channel();
        let address = Address::At(self.address());
        thread::spawn(move || {
            let config = Config {
                address,
                own_name: Some(NAME),
                objects: &OBJECTS,
                watch_names: &[],
                matches: &[],
            };
            let mut bus = Bus::new(&config).expect("a connection");
            bus.publish(PATH, DEBUG, "tron", Value::Bool(false));
            let mut lp = Loop::new().expect("a loop");
            lp.watch(bus.fd(), ()).expect("watched");
            lp.run(&mut Finder { bus, ready: Some(ready) }).expect("the loop runs");
        });
        is_ready.recv_timeout(PATIENCE).expect("the finder has its name");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stafctl"));
        command
            .args(words)
            .env_remove("STAS_OUTPUT")
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.address())
            .stdin(Stdio::null());
        command
    }

    /// Status, standard output, standard error.
    fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        ended(self.command(words))
    }
}

fn ended(mut command: Command) -> (Option<i32>, String, String) {
    let output = output(&mut command);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

impl Drop for World {
    fn drop(&mut self) {
        // The group is that of `timeout` and the bus below it.
        let group = rustix::process::Pid::from_child(&self.bus);
        let signal = rustix::process::Signal::KILL;
        rustix::process::kill_process_group(group, signal).unwrap_or_default();
        drop(self.bus.wait());
    }
}

#[test]
fn a_daemon_on_the_bus_answers() {
    let world = World::new();
    world.finder();
    let (status, out, err) = world.run(&["ls"]);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    let list =
        "[{'connected': 'True', 'device': 'nvme0', 'traddr': '192.0.2.1', 'transport': 'tcp'}]\n";
    assert_eq!(out, list);
    let (status, out, _) = world.run(&["dlp", "-a", "192.0.2.1", "-s", "8009", "-q", "nqn.h"]);
    assert_eq!(status, Some(0));
    let asked = "tcp|192.0.2.1|8009|nqn.2014-08.org.nvmexpress.discovery|||nqn.h";
    assert_eq!(out, format!("[{{'asked': '{asked}'}}]\n"));
    assert_eq!(world.run(&["wait"]), (Some(0), String::new(), String::new()));
    let (status, _, err) = world.run(&["adlp"]);
    assert_eq!(status, Some(1));
    assert_eq!(err, format!("stafctl: stafd answered {}: the shelf is empty\n", error::FAILED));
}

#[test]
fn the_status_shows_the_process_and_does_without_newer_members() {
    let world = World::new();
    world.finder();
    let (status, out, err) = world.run(&["status", "--json"]);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    let value: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(value["process"]["pid"], json!(std::process::id()));
    assert_eq!(value["tron"], json!(false));
    assert_eq!(value["controllers"][0]["device"], "nvme0");
    assert!(value["controllers"][0]["log_pages"].is_array(), "{out}");
}

#[test]
fn tracing_is_for_root() {
    let world = World::new();
    world.finder();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let tron = (Some(0), "tron = True\n".to_owned(), String::new());
        assert_eq!(world.run(&["tron"]), tron);
        let troff = (Some(0), "tron = False\n".to_owned(), String::new());
        assert_eq!(world.run(&["troff"]), troff);
    }
    // Another user may not reach the build directory by name.
    let program = fs::File::open(env!("CARGO_BIN_EXE_stafctl")).expect("the tool");
    rustix::io::fcntl_setfd(&program, rustix::io::FdFlags::empty()).expect("inherited");
    let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&program));
    let mut command = Command::new(name);
    command.arg("tron").env("DBUS_SYSTEM_BUS_ADDRESS", world.address()).stdin(Stdio::null());
    if is_root {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&*world.directory, mode).expect("open");
        command.uid(65_534).gid(65_534);
    }
    let (status, out, err) = ended(command);
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("stafctl: access denied, root is needed (stafd: "), "{err}");
}

#[test]
fn a_bus_without_the_daemon_leads_to_its_absence() {
    if std::path::Path::new("/run/stafd/ctl.sock").exists() {
        return; // a real daemon would answer over its socket
    }
    let world = World::new();
    let text = "Unable to communicate with stafd over D-Bus. Is stafd running?\n";
    assert_eq!(world.run(&["ls"]), (Some(1), String::new(), text.to_owned()));
}
