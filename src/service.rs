// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Talking with the service manager: readiness, watchdog, inherited sockets.
//!
//! Owns the notification socket and the reading of the manager's variables. When to say what is the
//! program's business. The environment is an argument, usually `|name| std::env::var_os(name)`.
//! Without a manager, [`Notifier::from_env`] gives `None` and the rest answers empty.
//!
//! Standards: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::text::escape_control;
use crate::time::Time;

/// The most sockets taken from the manager.
pub const LISTEN_FDS_MAX: u32 = 64;

/// The longest status text, in bytes.
pub const STATUS_MAX: usize = 512;

/// The manager's ear.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
}

impl Notifier {
    /// The manager that `NOTIFY_SOCKET` names: a path, or an abstract name after an `@`.
    ///
    /// `None` without one, and for the kinds of address that only virtual machines know.
    #[must_use]
    pub fn from_env(env: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let name = env("NOTIFY_SOCKET")?;
        let manager = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
            [b'/', ..] => SocketAddr::from_pathname(&name),
            _ => return None,
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, manager: manager.ok()? })
    }

    /// The service is up, or done with reloading.
    ///
    /// # Errors
    /// What sendto(2) says; `WouldBlock` when the manager is not listening now. So for all the
    /// others.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1")
    }

    /// The service reloads its configuration since `now`, until [`Notifier::ready`].
    ///
    /// # Errors
    /// As for [`Notifier::ready`].
    pub fn reloading(&self, now: Time) -> io::Result<()> {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_nanos() / 1000))
    }

    /// The service is on its way out.
    ///
    /// # Errors
    /// As for [`Notifier::ready`].
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    /// What the service is doing, for people: one line of at most [`STATUS_MAX`] bytes.
    ///
    /// # Errors
    /// As for [`Notifier::ready`].
    pub fn status(&self, text: &str) -> io::Result<()> {
        let text = escape_control(text);
        let end = (0..=text.len().min(STATUS_MAX)).rev().find(|&at| text.is_char_boundary(at));
        self.send(&format!("STATUS={}", text.get(..end.unwrap_or(0)).unwrap_or_default()))
    }

    /// The loop still turns.
    ///
    /// # Errors
    /// As for [`Notifier::ready`].
    pub fn watchdog(&self) -> io::Result<()> {
        self.send("WATCHDOG=1")
    }

    /// What another service said, word for word.
    ///
    /// # Errors
    /// As for [`Notifier::ready`].
    pub fn forward(&self, message: &[u8]) -> io::Result<()> {
        self.socket.send_to_addr(message, &self.manager).map(drop)
    }

    fn send(&self, message: &str) -> io::Result<()> {
        self.forward(message.as_bytes())
    }
}

/// How often to call [`Notifier::watchdog`]: half of what the manager tolerates. `None` when it
/// does not watch the process `pid`.
#[must_use]
pub fn watchdog_period(env: impl Fn(&str) -> Option<OsString>, pid: u32) -> Option<Duration> {
    let tolerated: u64 = number(&env("WATCHDOG_USEC")?)?;
    let meant = match env("WATCHDOG_PID") {
        Some(text) => number(&text) == Some(u64::from(pid)),
        None => true,
    };
    (meant && tolerated > 0).then(|| Duration::from_micros(tolerated) / 2)
}

/// A socket that the manager opened.
#[derive(Debug)]
pub struct Inherited {
    /// The name from the manager's configuration; `unknown` when it gave none.
    pub name: String,
    /// The socket.
    pub fd: OwnedFd,
}

/// The sockets that the manager opened for the process `pid`. Call once, first thing in `main`: a
/// second call answers empty.
#[must_use]
pub fn listen_fds(env: impl Fn(&str) -> Option<OsString>, pid: u32) -> Vec<Inherited> {
    let names = listen_names(env, pid);
    let count = u32::try_from(names.len()).unwrap_or(0);
    let fds = if count == 0 { Vec::new() } else { crate::sys::inherit::take(count) };
    names.into_iter().zip(fds).map(|(name, fd)| Inherited { name, fd }).collect()
}

/// One name per inherited descriptor; empty when they are not for us, or too many to be true.
fn listen_names(env: impl Fn(&str) -> Option<OsString>, pid: u32) -> Vec<String> {
    let number_of = |name| env(name).and_then(|text| number(&text));
    if number_of("LISTEN_PID") != Some(u64::from(pid)) {
        return Vec::new();
    }
    let count = number_of("LISTEN_FDS").and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    if count > LISTEN_FDS_MAX {
        return Vec::new();
    }
    let given = env("LISTEN_FDNAMES").unwrap_or_default().to_string_lossy().into_owned();
    let mut given = given.split(':').filter(|name| !name.is_empty());
    (0..count).map(|_| given.next().unwrap_or("unknown").to_owned()).collect()
}

fn number(text: &OsStr) -> Option<u64> {
    text.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn env<'a>(pairs: Pairs<'a>) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
    }

    /// A manager behind an abstract socket, and the program's side of it.
    fn manager() -> (UnixDatagram, Notifier) {
        let name = format!("plinth-{}", crate::rand::uuid_v4());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("bind");
        let notifier = Notifier::from_env(|_| Some(format!("@{name}").into())).expect("notifier");
        (socket, notifier)
    }

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 2048];
        let len = crate::testing::ready(manager).recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    #[test]
    fn every_message_has_the_managers_form() {
        let (manager, notifier) = manager();
        notifier.ready().expect("send");
        notifier.reloading(Time::from_nanos(1_234_567_890)).expect("send");
        notifier.stopping().expect("send");
        notifier.status("3 controllers\nREADY=1").expect("send");
        notifier.watchdog().expect("send");
        notifier.forward(b"READY=1\nX=2").expect("send");
        for message in [
            "READY=1",
            "RELOADING=1\nMONOTONIC_USEC=1234567",
            "STOPPING=1",
            "STATUS=3 controllers\\nREADY=1",
            "WATCHDOG=1",
            "READY=1\nX=2",
        ] {
            assert_eq!(heard(&manager), message);
        }
    }

    #[test]
    fn a_long_status_is_cut_at_a_character() {
        let (manager, notifier) = manager();
        notifier.status(&format!("x{}", "ß".repeat(STATUS_MAX))).expect("send");
        let status = heard(&manager);
        assert_eq!(status.len(), "STATUS=".len() + STATUS_MAX - 1);
        assert!(status.ends_with('ß'));
    }

    #[test]
    fn a_path_is_an_address_too() {
        let path = std::env::temp_dir().join(format!("plinth-{}", crate::rand::uuid_v4()));
        let manager = UnixDatagram::bind(&path).expect("bind");
        let notifier = Notifier::from_env(|_| Some(path.clone().into())).expect("notifier");
        notifier.ready().expect("send");
        assert_eq!(heard(&manager), "READY=1");
        drop(manager);
        std::fs::remove_file(&path).expect("remove");
        assert!(notifier.ready().is_err(), "a manager that went away is an error, not a panic");
    }

    #[test]
    fn no_manager_no_notifier() {
        assert!(Notifier::from_env(env(&[])).is_none());
        for name in ["", "vsock:2:1234", "relative"] {
            assert!(Notifier::from_env(|_| Some(name.into())).is_none(), "{name}");
        }
        assert!(Notifier::from_env(|_| Some(format!("/{}", "x".repeat(200)).into())).is_none());
    }

    #[test]
    fn the_watchdog_is_fed_at_twice_the_rate() {
        let period = |pairs: Pairs<'_>| watchdog_period(env(pairs), 42);
        let ten = Some(Duration::from_secs(10));
        assert_eq!(period(&[("WATCHDOG_USEC", "20000000")]), ten);
        assert_eq!(period(&[("WATCHDOG_USEC", "20000000"), ("WATCHDOG_PID", "42")]), ten);
        assert_eq!(period(&[("WATCHDOG_USEC", "20000000"), ("WATCHDOG_PID", "43")]), None);
        for usec in [&[("WATCHDOG_USEC", "0")][..], &[("WATCHDOG_USEC", "-1")], &[]] {
            assert_eq!(period(usec), None);
        }
    }

    #[test]
    fn inherited_sockets_are_checked_and_named() {
        let names = |pairs: Pairs<'_>| listen_names(env(pairs), 42);
        let me = ("LISTEN_PID", "42");
        assert_eq!(
            names(&[me, ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "control:http")]),
            ["control", "http", "unknown"]
        );
        assert!(names(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "3")]).is_empty());
        assert!(names(&[("LISTEN_FDS", "3")]).is_empty());
        assert_eq!(names(&[me, ("LISTEN_FDS", "64")]).len(), 64);
        for count in ["65", "0", "-1", "many"] {
            assert!(names(&[me, ("LISTEN_FDS", count)]).is_empty(), "{count}");
        }
    }

    /// Runs in a process of its own, which the next test starts with two open descriptors.
    #[test]
    fn child_takes_inherited_sockets() {
        let pid = std::process::id();
        let lookup = |name: &str| std::env::var_os(name);
        if lookup("LISTEN_PID").is_none() {
            return; // not the child
        }
        let taken = listen_fds(lookup, pid);
        let names: Vec<&str> = taken.iter().map(|socket| socket.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        for socket in &taken {
            let flags = rustix::io::fcntl_getfd(&socket.fd).expect("open");
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        assert!(listen_fds(lookup, pid).is_empty(), "taken once");
        println!("taken");
    }

    #[test]
    fn sockets_of_a_real_parent_are_taken_once() {
        let script = "exec 3</dev/null 4</dev/null; LISTEN_PID=$$ LISTEN_FDS=2 \
                      LISTEN_FDNAMES=a:b exec \"$@\"";
        let output = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(std::env::current_exe().expect("our path"))
            .args(["--exact", "service::tests::child_takes_inherited_sockets", "--nocapture"])
            .output()
            .expect("sh runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("taken"), "{text}");
    }
}
