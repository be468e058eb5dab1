// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemons as they run: start, readiness, clients, reload, state, stop.
//!
//! Each test has a file system of its own, laid over the host's in a mount namespace: `/etc`,
//! `/run` and a `/dev` in which a plain file stands for the kernel's device. It tells what a kernel
//! understands, and answers no connect. There is no message bus. All of this takes root; the
//! kernel's own part is proven in guests.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use plinth::testing::{Place, output};
use plinth::time::Time;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde_json::{Value, json};

const STAFD: (&str, &str) = ("stafd", env!("CARGO_BIN_EXE_stafd"));
const STACD: (&str, &str) = ("stacd", env!("CARGO_BIN_EXE_stacd"));

/// For anything that a daemon does, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

const OPTIONS: &str = "instance=-1,cntlid=-1,transport=%s,traddr=%s,trsvcid=%s,nqn=%s,\
    queue_size=%d,nr_io_queues=%d,reconnect_delay=%d,ctrl_loss_tmo=%d,keep_alive_tmo=%d,\
    hostnqn=%s,host_traddr=%s,host_iface=%s,hostid=%s,discovery\n";

/// Lays the test's directories over the host's, then becomes the daemon.
const SCRIPT: &str = r#"
set -e
for node in null urandom; do
  : >"$1/dev/$node"
  mount --bind "/dev/$node" "$1/dev/$node"
done
mount --bind "$1/dev" /dev
mount --bind "$1/etc" /etc
mount --bind "$1/run" /run
shift
exec "$@"
"#;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The directories of a test, removed at the end.
struct Host {
    at: Place,
    ear: UnixDatagram,
}

impl Host {
    fn new() -> Self {
        let at = Place::new();
        for directory in ["dev", "etc/nvme", "etc/stas", "run"] {
            fs::create_dir_all(at.join(directory)).expect("done");
        }
        let id = "11111111-2222-3333-4444-555555555555";
        fs::write(at.join("dev/nvme-fabrics"), OPTIONS).expect("done");
        let nqn = format!("nqn.2014-08.org.nvmexpress:uuid:{id}\n");
        fs::write(at.join("etc/nvme/hostnqn"), nqn).expect("done");
        fs::write(at.join("etc/nvme/hostid"), format!("{id}\n")).expect("done");
        let ear = UnixDatagram::bind(at.join("notify")).expect("done");
        ear.set_read_timeout(Some(LIMIT)).expect("done");
        Self { at, ear }
    }

    fn configure(&self, (name, _): (&str, &str), text: &str) {
        fs::write(self.at.join(format!("etc/stas/{name}.conf")), text).expect("done");
    }

    fn command(&self, (_, program): (&str, &str), arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
        command.arg(self.at.as_os_str()).arg(program).args(arguments);
        command.env("NOTIFY_SOCKET", self.at.join("notify"));
        command.env_remove("RUNTIME_DIRECTORY").env_remove("JOURNAL_STREAM");
        command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/no-such-bus");
        command.stdin(Stdio::null());
        command
    }

    /// Starts a daemon and waits until it says that it is ready.
    fn start(&self, which: (&'static str, &str), arguments: &[&str]) -> Daemon {
        let log = self.at.join(format!("{}.log", which.0));
        let child = self
            .command(which, arguments)
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("done"))
            .spawn()
            .expect("done");
        let daemon = Daemon { child, log, at: self.at.join(format!("run/{}", which.0)) };
        self.await_notice(&daemon, |text| text == "READY=1");
        daemon
    }

    /// Hears the daemons' notices until one fits.
    fn await_notice(&self, daemon: &Daemon, fits: impl Fn(&str) -> bool) -> String {
        let mut buffer = [0; 1024];
        loop {
            let Ok(len) = self.ear.recv(&mut buffer) else {
                panic!("no such notice; its log: {}", daemon.log());
            };
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if fits(&text) {
                return text;
            }
        }
    }
}

struct Daemon {
    child: Child,
    log: PathBuf,
    at: PathBuf,
}

impl Daemon {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("done")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("done");
    }

    fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(self.at.join("ctl.sock")).expect("done");
        stream.set_read_timeout(Some(LIMIT)).expect("done");
        BufReader::new(stream)
    }

    fn ask(&self, request: &Value) -> Value {
        let mut stream = self.connect();
        say(&mut stream, request);
        let mut reply = hear(&mut stream);
        assert!(reply.get("error").is_none(), "{request}: {reply}");
        reply["result"].take()
    }

    fn tron(&self) -> bool {
        self.ask(&json!({"method": "get_tron"})).as_bool().expect("done")
    }

    /// Sends `signal` and waits for the end, which must come in time.
    fn end(&mut self, signal: Signal) -> (ExitStatus, Duration) {
        let pidfd = rustix::process::pidfd_open(self.pid(), PidfdFlags::empty()).expect("done");
        let before = Time::monotonic();
        self.signal(signal);
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        let ended = rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit));
        assert_eq!(ended, Ok(1), "it goes on; its log: {}", self.log());
        (self.child.wait().expect("done"), before.until(Time::monotonic()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Only after a failure is there something left to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn say(stream: &mut BufReader<UnixStream>, message: &Value) {
    stream.get_mut().write_all(format!("{message}\n").as_bytes()).expect("done");
}

fn hear(stream: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    stream.read_line(&mut line).expect("done");
    serde_json::from_str(&line).expect("done")
}

/// A loopback port that nobody listens on.
fn closed_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("done").local_addr().expect("done").port()
}

#[test]
fn root_a_daemon_is_ready_answers_reloads_and_stops() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.configure(STAFD, "");
    let mut stafd = host.start(STAFD, &[]);
    let info = stafd.ask(&json!({"method": "process_info"}));
    assert_eq!(info["tron"], json!(false));
    assert_eq!(info["last known config file"], json!("/run/stafd/last-known-config.json"));
    assert!(info["loop.max_ms"].as_f64().is_some_and(|longest| longest < 1000.0), "{info}");

    let reloaded = |stafd: &Daemon| {
        let text = host.await_notice(stafd, |text| text.starts_with("RELOADING=1"));
        assert!(text.contains("MONOTONIC_USEC="), "{text}");
        host.await_notice(stafd, |text| text == "READY=1");
    };
    host.configure(STAFD, "[Global]\ntron=true\n");
    stafd.signal(Signal::HUP);
    reloaded(&stafd);
    assert!(stafd.tron());

    host.configure(STAFD, "no section\n");
    stafd.signal(Signal::HUP);
    reloaded(&stafd);
    assert!(stafd.tron(), "a damaged file changes nothing");
    assert!(stafd.log().contains("The previous configuration stays in force"));

    host.configure(STAFD, "[Global]\ntron=false\n");
    assert_eq!(stafd.ask(&json!({"method": "reload_config"})), Value::Null);
    reloaded(&stafd);
    assert!(!stafd.tron());
    assert_eq!(stafd.ask(&json!({"method": "rescan"})), Value::Null);

    let (status, spent) = stafd.end(Signal::TERM);
    assert!(status.success(), "{status}: {}", stafd.log());
    assert!(spent < Duration::from_secs(5), "{spent:?}");
    host.await_notice(&stafd, |text| text == "STOPPING=1");
    assert!(!stafd.at.join("ctl.sock").exists());
}

#[test]
fn root_trace_of_the_command_line_survives_a_reload_until_a_user_ends_it() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let mut stafd = host.start(STAFD, &["--tron"]);
    assert!(stafd.tron());
    stafd.signal(Signal::HUP);
    host.await_notice(&stafd, |text| text == "READY=1");
    assert!(stafd.tron());
    let mut subscriber = stafd.connect();
    say(&mut subscriber, &json!({"method": "subscribe", "id": 1}));
    assert_eq!(hear(&mut subscriber), json!({"id": 1, "result": null}));
    stafd.ask(&json!({"method": "set_tron", "value": false}));
    assert_eq!(hear(&mut subscriber), json!({"signal": "tron_changed", "value": false}));
    stafd.ask(&json!({"method": "reload_config"}));
    assert!(!stafd.tron());
    assert!(stafd.end(Signal::INT).0.success());
}

#[test]
fn root_a_second_daemon_ends_at_once() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let mut stafd = host.start(STAFD, &[]);
    let second = output(&mut host.command(STAFD, &[]));
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&second.stderr), "stafd: it is running already\n");
    assert_eq!(stafd.ask(&json!({"method": "get_log_level"})), json!("INFO"));
    assert!(stafd.end(Signal::TERM).0.success());
}

#[test]
fn root_a_host_without_a_name_is_told_what_to_do() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    fs::remove_file(host.at.join("etc/nvme/hostnqn")).expect("done");
    let output = output(&mut host.command(STAFD, &[]));
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let wanted = "stafd: Error reading mandatory Host NQN (see stasadm --help)";
    assert!(complaint.contains(wanted), "{complaint}");
}

#[test]
fn root_a_configuration_without_fault_passes_the_check_in_silence() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.configure(STACD, "[Global]\nkato=10\n");
    for which in [STAFD, STACD] {
        let output = output(&mut host.command(which, &["--check"]));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn root_what_a_daemon_wants_survives_its_restart() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let port = closed_port();
    let line = format!("controller=transport=tcp;traddr=127.0.0.1;trsvcid={port}");
    host.configure(STAFD, &format!("[Controllers]\n{line}\n"));
    let mut stafd = host.start(STAFD, &[]);
    host.await_notice(&stafd, |text| text.starts_with("STATUS=0 of 1 "));
    assert!(stafd.end(Signal::TERM).0.success());
    let file = stafd.at.join("last-known-config.json");
    let mode = fs::metadata(&file).expect("done").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert!(fs::read_to_string(&file).expect("done").contains("\"version\""));
    drop(stafd);

    let mut stafd = host.start(STAFD, &[]);
    let list = stafd.ask(&json!({"method": "list_controllers"}));
    assert_eq!(list[0]["trsvcid"], json!(port.to_string()), "{list}");
    assert_eq!(list[0]["device"], json!("nvme?"));
    assert!(stafd.end(Signal::TERM).0.success());
    drop(stafd);

    fs::write(&file, "\u{0}garbage").expect("done");
    let mut stafd = host.start(STAFD, &[]);
    host.await_notice(&stafd, |text| text.starts_with("STATUS=0 of 1 "));
    assert!(stafd.end(Signal::TERM).0.success());
}

#[test]
fn root_stacd_follows_a_stafd_that_is_on_no_bus() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let mut stacd = host.start(STACD, &[]);
    // stafd comes later, as the real one does: the name appears with the socket behind it.
    let directory = host.at.join("run/stafd");
    fs::create_dir(&directory).expect("done");
    let stafd = UnixListener::bind(directory.join("unfinished")).expect("done");
    fs::rename(directory.join("unfinished"), directory.join("ctl.sock")).expect("done");
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    let come = rustix::event::poll(&mut [PollFd::new(&stafd, PollFlags::IN)], Some(&limit));
    assert_eq!(come, Ok(1), "stacd does not come; its log: {}", stacd.log());
    let (stream, _) = stafd.accept().expect("done");
    stream.set_read_timeout(Some(LIMIT)).expect("done");
    let mut stream = BufReader::new(stream);
    let subscription = hear(&mut stream);
    assert_eq!(subscription["method"], json!("subscribe"));
    say(&mut stream, &json!({"id": subscription["id"], "result": null}));
    let question = hear(&mut stream);
    assert_eq!(question["method"], json!("get_all_log_pages"));
    assert_eq!(question["detailed"], json!(true));
    let dc = json!({
        "transport": "tcp", "traddr": "127.0.0.1", "trsvcid": "8009", "host-traddr": "",
        "host-iface": "", "host-nqn": "", "subsysnqn": "nqn.2014-08.org.nvmexpress.discovery",
    });
    let entry = json!({
        "trtype": "tcp", "adrfam": "ipv4", "traddr": "127.0.0.1", "subtype": "nvme",
        "trsvcid": closed_port().to_string(), "subnqn": "nqn.2014-08.org.example:one",
        "treq": "0", "portid": "1", "cntlid": "65535", "asqsz": "32", "eflags": "0",
    });
    let page = json!([{"discovery-controller": dc, "log-pages": [entry]}]);
    say(&mut stream, &json!({"id": question["id"], "result": page}));
    host.await_notice(&stacd, |text| text.starts_with("STATUS=0 of 1 "));
    let list = stacd.ask(&json!({"method": "list_controllers"}));
    assert_eq!(list[0]["subsysnqn"], json!("nqn.2014-08.org.example:one"), "{list}");
    assert!(stacd.end(Signal::TERM).0.success());
    // stacd hung up with its end.
    assert_eq!(stream.get_mut().read(&mut [0; 1]).expect("done"), 0);
}
