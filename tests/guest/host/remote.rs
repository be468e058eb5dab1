// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Another host: a root directory of its own on this machine, in which a real sshd answers.
//!
//! Owns that directory, keys that are known on both sides, and the processes in it. Its programs
//! are those that `tests/setup.sh` unpacked, bound into a mount namespace that each connection
//! makes for itself. The daemon is started for one connection, at the other end of a pipe, so that
//! no port is taken, and nothing listens. Needs root, as a mount and a change of the root do.

use std::error::Error;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plinth::proc::{self, Limits, Output};
use rustix::process::{Pid, Signal, kill_process};

use super::lab::{Lab, on_path};
use crate::inside::wait::until;

/// For what goes on in the other host to come to its end.
const END_LIMIT: Duration = Duration::from_secs(60);
/// For a command, and what it may say; those that hang are killed.
const COMMAND_LIMITS: Limits = Limits { time: Duration::from_secs(300), output: 8 << 20 };

/// Runs a command in a root directory: `enter ROOT PROGRAMS QEMU COMMAND`.
const ENTER: &str = r#"#!/bin/sh
exec unshare --mount --propagation private sh -euc '
  root=$0 programs=$1 qemu=$2
  shift 2
  for at in bin sbin lib lib64 usr/bin usr/sbin usr/lib usr/libexec; do
    mkdir -p "$root/$at"
    mount --bind "$programs/$at" "$root/$at"
  done
  for at in dev proc; do
    mkdir -p "$root/$at"
    mount --rbind "/$at" "$root/$at"
  done
  mkdir -p "$root/opt/qemu"
  mount --bind "$qemu" "$root/opt/qemu"
  exec chroot "$root" "$@"' "$@"
"#;

/// The emulator of another tree, with its own loader and libraries.
const QEMU: &str = r#"#!/bin/sh
q=/opt/qemu
export QEMU_MODULE_DIR=$q/usr/lib/x86_64-linux-gnu/qemu
exec $q/lib64/ld-linux-x86-64.so.2 \
  --library-path $q/usr/lib/x86_64-linux-gnu:$q/lib/x86_64-linux-gnu \
  $q/usr/bin/qemu-system-x86_64 -L $q/usr/share/qemu -L $q/usr/share/seabios "$@"
"#;

/// Files of the other host: who may come in, as whom, and whose its hypervisors are.
const FILES: [(&str, &str, u32); 7] = [
    (
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n\
         operator:x:1000:1000::/srv/operator:/bin/sh\nmicrovm:x:4000:4001::/:/bin/false\n",
        0o644,
    ),
    ("etc/group", "root:x:0:\noperator:x:1000:\nkvm:x:4001:\n", 0o644),
    ("etc/sudoers", "operator ALL=(ALL) NOPASSWD: ALL\n", 0o440),
    (
        "etc/pam.d/sudo",
        "auth sufficient pam_permit.so\naccount sufficient pam_permit.so\n\
         session sufficient pam_permit.so\n",
        0o644,
    ),
    (
        "etc/ssh/sshd_config",
        "HostKey /etc/ssh/host_key\nAuthorizedKeysFile /etc/ssh/authorized_keys\n\
         StrictModes no\nPermitRootLogin yes\nLogLevel VERBOSE\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\n",
        0o644,
    ),
    ("usr/local/bin/qemu-system-x86_64", QEMU, 0o755),
    ("log", "", 0o600),
];

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Another host, and the way there.
#[derive(Debug)]
pub struct Remote {
    /// What belongs to this side.
    pub directory: PathBuf,
    /// The root directory of the other one.
    pub root: PathBuf,
    enter: String,
}

impl Remote {
    /// Makes a host without `microvm`, and the keys to it.
    ///
    /// # Errors
    /// What is missing or cannot be made.
    pub fn new(name: &str) -> Outcome<Self> {
        let lab = Lab::find();
        let directory = lab.folder(&format!("hosts-{name}"))?.canonicalize()?;
        let root = directory.join("other");
        let programs = [lab.other_host()?, lab.qemu("oldest")?].map(|it| it.display().to_string());
        let at = directory.display();
        let enter = format!("{at}/enter {at}/other {}", programs.join(" "));
        let remote = Self { directory, root, enter };
        remote.put("enter", ENTER, 0o755)?;
        for (path, text, mode) in FILES {
            remote.put(&format!("other/{path}"), text, mode)?;
        }
        // sudo looks itself up.
        let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
        remote.put("other/etc/hosts", &format!("127.0.0.1 localhost {name}"), 0o644)?;
        for path in ["run/sshd", "root", "srv/operator", "var/lib"] {
            fs::create_dir_all(remote.root.join(path))?;
        }
        for key in ["key", "other/etc/ssh/host_key"] {
            let words = ["-q", "-t", "ed25519", "-N", "", "-f", key];
            let made = remote.run(Path::new("ssh-keygen"), &words)?;
            if !made.success() {
                return Err("ssh-keygen failed".into());
            }
        }
        let read = |path: &str| fs::read_to_string(remote.directory.join(path));
        remote.put("other/etc/ssh/authorized_keys", &read("key.pub")?, 0o644)?;
        remote.put("known", &format!("there {}", read("other/etc/ssh/host_key.pub")?), 0o644)?;
        remote.configure()?;
        Ok(remote)
    }

    /// Writes the configuration of ssh, and the word `ssh` that means it.
    ///
    /// What goes to `there` is kept in `sent`. On the way to `cut` it ends behind 200000 bytes.
    fn configure(&self) -> Outcome<()> {
        let at = self.directory.display();
        let daemon = self.daemon();
        let text = format!(
            "Host *\n  IdentityFile {at}/key\n  IdentitiesOnly yes\n  HostKeyAlias there\n  \
             UserKnownHostsFile {at}/known\n  StrictHostKeyChecking yes\n\
             Host there\n  ProxyCommand tee -a {at}/sent | {daemon}\n\
             Host cut\n  ProxyCommand dd bs=1 count=200000 status=none | {daemon}\n"
        );
        self.put("config", &text, 0o644)?;
        let ssh = on_path("ssh").ok_or("ssh is missing, run tests/setup.sh system")?;
        let script = format!("#!/bin/sh\nexec {} -F {at}/config \"$@\"\n", ssh.display());
        self.put("bin/ssh", &script, 0o755)
    }

    /// The command line of a daemon that serves one connection, on its standard input and output.
    #[must_use]
    pub fn daemon(&self) -> String {
        format!("{} /usr/sbin/sshd -i -E /log", self.enter)
    }

    /// Writes a file below the directory.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, path: &str, text: &str, mode: u32) -> Outcome<()> {
        let path = self.directory.join(path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&path, text)?;
        Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
    }

    /// A file of the other host.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &str) -> Outcome<String> {
        let path = self.root.join(path);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// Runs a program on this side, where `ssh` knows the way; what it said, and its end. What it
    /// leaves behind may keep its output open: nobody waits for that.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, program: &Path, words: &[&str]) -> io::Result<Output> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(&self.directory)
            .env("PATH", format!("{}:{path}", self.directory.join("bin").display()));
        proc::run(command, COMMAND_LIMITS)
    }

    /// Runs a line there, with `input`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn ssh(&self, line: &str, input: &Path) -> io::Result<Output> {
        let way = format!("ssh root@there '{line}' <{}", input.display());
        self.run(Path::new("sh"), &["-c", &way])
    }

    /// How often somebody has logged in.
    ///
    /// # Errors
    /// The daemon's log cannot be read.
    pub fn logins(&self) -> Outcome<usize> {
        Ok(self.read("log")?.matches("Accepted publickey").count())
    }

    /// How many bytes went to `there`.
    ///
    /// # Errors
    /// Nobody ever went there.
    pub fn sent(&self) -> io::Result<u64> {
        Ok(fs::metadata(self.directory.join("sent"))?.len())
    }

    /// Waits until a file of the other host has `text` in it.
    ///
    /// # Errors
    /// It has not.
    pub fn until_said(&self, path: &str, text: &str) -> Outcome<()> {
        let said = || self.read(path).unwrap_or_default();
        let found = until("a file says it", END_LIMIT, || said().contains(text));
        Ok(found.map(drop).map_err(|trouble| format!("{trouble}: {text}: {}", said()))?)
    }

    /// Waits until nothing runs in the other host.
    ///
    /// # Errors
    /// Something still does.
    pub fn quiet(&self) -> Outcome<()> {
        let found = until("the other host is quiet", END_LIMIT, || self.processes().is_empty());
        Ok(found.map(drop).map_err(|trouble| trouble.to_string())?)
    }

    /// The processes whose root directory is the other host's.
    fn processes(&self) -> Vec<Pid> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter(|entry| {
                fs::read_link(entry.path().join("root")).is_ok_and(|it| it == self.root)
            })
            .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
            .collect()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        for pid in self.processes() {
            // Fails only for what has ended.
            let _ = kill_process(pid, Signal::KILL);
        }
        drop(fs::remove_dir_all(&self.directory));
    }
}
