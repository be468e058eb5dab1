// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Real QEMUs take what is generated: the oldest and the newest that are supported.
//!
//! Each case is started without running the guest, in namespaces of its own: its root is the
//! unpacked release, its files are small ones under the paths of the description, its taps are made
//! by QEMU. The arguments are accepted when QMP answers. What the host lacks is cut out, and
//! `fixtures/microvm/cli/qemu-cuts.txt` says of which case what: there is no KVM, vhost, display
//! nor passthrough here. Emulation in place of KVM is the same for all, and not said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use plinth::testing::fetched;

use crate::support::{cases, compare, fixtures, load, name, plans, scratch};

/// Seconds after which a start counts as hung.
const LIMIT: &str = "120";

/// Mounts, and becomes QEMU: root, place of the case, program, arguments.
const START: &str = r#"
root=$1 place=$2 program=$3
shift 3
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
for dir in work srv run; do mount --bind "$place/$dir" "$root/$dir"; done
ip link set lo up
exec unshare --root "$root" --wd /work "/usr/bin/$program" "$@"
"#;

struct Release {
    /// The tree in the cache.
    tree: &'static str,
    /// Is it 9.1 or later?
    runs_with: bool,
}

const RELEASES: [Release; 2] = [
    Release { tree: "qemu-oldest", runs_with: false },
    Release { tree: "qemu-newest", runs_with: true },
];

/// Options whose argument is looked at, with what it is replaced by.
fn fitted(words: &[String], release: &Release, cuts: &mut Vec<String>) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = words.iter().map(String::as_str).peekable();
    let mut cut = |text: &str| {
        if !cuts.iter().any(|it| it == text) {
            cuts.push(text.to_owned());
        }
    };
    while let Some(flag) = rest.next() {
        let value = rest.peek().copied().unwrap_or_default();
        let mut give = |value: String| {
            rest.next();
            out.extend([flag.to_owned(), value]);
        };
        match (flag, value) {
            ("-enable-kvm", _) => {}
            ("-M", _) => {
                let emulated = value.replace("accel=kvm:tcg", "accel=tcg");
                give(emulated.replace("accel=kvm,", "accel=tcg,"));
            }
            ("-cpu", "host,+x2apic,-sgx" | "host") => give("max".to_owned()),
            ("-display", _) => {
                cut("display");
                give("none".to_owned());
            }
            ("-device", _) if value.starts_with("vfio-pci,") => {
                cut("vfio-pci");
                rest.next();
            }
            ("-device", _) if value.starts_with("vhost-vsock-") => {
                cut("vhost-vsock");
                rest.next();
            }
            ("-device", _) if value.starts_with("virtio-vga-gl") => {
                cut("-gl");
                give(value.replace("virtio-vga-gl", "virtio-vga"));
            }
            ("-device", _) if value.starts_with("virtio-gpu-gl") => {
                cut("-gl and its properties");
                give("virtio-gpu-pci".to_owned());
            }
            ("-netdev", _) if value.starts_with("bridge,") => {
                cut("bridge");
                give("user,id=net0".to_owned());
            }
            ("-netdev", _) if value.starts_with("tap,") => {
                if value.contains(",vhost=on") {
                    cut("vhost=on");
                }
                if value.contains(",fd") {
                    cut("descriptors of macvtaps");
                }
                give(tap(value));
            }
            ("-run-with", _) if !release.runs_with => {
                cut("-run-with, on the old one");
                rest.next();
            }
            ("-runas", _) if release.runs_with => {
                cut("-runas, on the new one");
                rest.next();
            }
            _ => out.push(flag.to_owned()),
        }
    }
    out
}

/// A tap without vhost, made by QEMU if it came by descriptors.
fn tap(value: &str) -> String {
    let value = value.replace(",vhost=on", "");
    let Some((start, fds)) = value.split_once(",fds=").or_else(|| value.split_once(",fd=")) else {
        return value;
    };
    let id = start.rsplit("id=").next().expect("an id");
    let queues = match fds.split(':').count() {
        1 => String::new(),
        count => format!(",queues={count}"),
    };
    format!("{start},ifname={id},script=no,downscript=no{queues}")
}

/// The keys of a list in which a comma is doubled.
fn keys(value: &str) -> BTreeMap<String, String> {
    let parts = value.replace(",,", "\0");
    let parts = parts.split(',').filter_map(|part| part.split_once('='));
    parts.map(|(key, value)| (key.to_owned(), value.replace('\0', ","))).collect()
}

/// What the arguments want to find, and the daemons behind sockets.
struct Place {
    path: PathBuf,
    daemons: Vec<(PathBuf, Child)>,
}

impl Place {
    fn new(words: &[String]) -> Self {
        let path = scratch();
        for dir in ["work", "srv/vm", "srv/shared", "run"] {
            fs::create_dir_all(path.join(dir)).expect("a directory");
        }
        let mut place = Self { path, daemons: Vec::new() };
        for pair in words.windows(2) {
            let [flag, value] = pair else { continue };
            let keys = keys(value);
            match flag.as_str() {
                "-kernel" => {
                    fs::copy(fetched("kernel-6.1/vmlinuz"), place.at(value)).expect("a kernel");
                }
                "-initrd" => place.file(value),
                "-drive" => place.file(&keys["file"]),
                "-fw_cfg" => keys.get("file").into_iter().for_each(|file| place.file(file)),
                "-fsdev" if !keys["path"].starts_with("/etc/") => {
                    fs::create_dir_all(place.at(&keys["path"])).expect("a shared directory");
                }
                "-chardev" if value.starts_with("socket,") && !value.contains("server=on") => {
                    let socket = place.at(&keys["path"]);
                    place.daemon(&socket);
                }
                _ => {}
            }
        }
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        match path.strip_prefix('/') {
            Some(inner) => self.path.join(inner),
            None => self.path.join("work").join(path),
        }
    }

    fn file(&self, path: &str) {
        let file = self.at(path);
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(&file, [0; 4096]).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// A virtiofsd that is given its socket, so that nobody waits for it.
    fn daemon(&mut self, socket: &Path) {
        let listener = UnixListener::bind(socket).expect("a socket");
        let child = Command::new("timeout")
            .args([
                "--kill-after=5",
                LIMIT,
                "/usr/lib/qemu/virtiofsd",
                "--fd=0",
                "-o",
                "sandbox=chroot",
            ])
            .args(["-o", "source=/srv"])
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("timeout(1)");
        self.daemons.push((socket.to_owned(), child));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for (socket, daemon) in &mut self.daemons {
            // They end with their peer, if they had one.
            drop(UnixStream::connect(socket));
            drop(daemon.wait());
        }
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Starts QEMU; what it says instead of answering.
fn refused(release: &Release, program: &str, words: &[String]) -> Option<String> {
    let place = Place::new(words);
    let tree = fetched(release.tree);
    assert!(tree.join("ready").exists(), "{} is missing: tests/setup.sh", tree.display());
    let socket = place.path.join("work/probe.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let child = Command::new("timeout")
        .args(["--kill-after=5", LIMIT, "unshare", "--mount", "--net", "sh", "-euc", START, "sh"])
        .args([&tree, &place.path])
        .arg(program)
        .args(words)
        .args(["-S", "-qmp", "unix:probe.sock"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout(1)");
    let ended = thread::spawn(move || {
        let output = child.wait_with_output().expect("an end");
        // Whoever still waits for a connection gets one.
        drop(UnixStream::connect(&socket));
        String::from_utf8_lossy(&output.stderr).into_owned()
    });
    let (peer, _) = listener.accept().expect("a connection");
    let answers = talk(peer).is_some();
    drop(listener);
    let text = ended.join().expect("what it said");
    (!answers).then_some(text)
}

/// Asks for the end; `None` without an answer.
fn talk(mut peer: UnixStream) -> Option<()> {
    let mut lines = BufReader::new(peer.try_clone().ok()?).lines();
    lines.next()?.ok().filter(|line| line.contains("\"QMP\""))?;
    for command in ["qmp_capabilities", "query-status", "quit"] {
        writeln!(peer, "{{\"execute\":\"{command}\"}}").ok()?;
        let is_reply = |line: &String| line.contains("\"return\"");
        lines.by_ref().map_while(Result::ok).find(is_reply)?;
    }
    Some(())
}

#[test]
fn root_old_and_new_qemu_take_every_command_line() {
    let (mut said, mut wrong) = (String::new(), Vec::new());
    for case in cases() {
        let loaded = load(&case);
        let name = name(&case);
        let is_qemu = |program: &str| program.starts_with("qemu-system-");
        if loaded.report.has_errors() || name.ends_with("-compat") {
            continue;
        }
        for (_, plan) in plans(&case, &loaded).iter().filter(|(_, plan)| is_qemu(&plan.program)) {
            let words: Vec<String> = plan.words.iter().map(|word| word.shown()).collect();
            if words.iter().any(|word| word == "cocoa") {
                writeln!(said, "{name}: everything, it is for macOS").expect("a text");
                continue;
            }
            let mut cuts = Vec::new();
            for release in &RELEASES {
                let words = fitted(&words, release, &mut cuts);
                let refused = refused(release, &plan.program, &words);
                wrong.extend(refused.map(|text| format!("{name}, {}: {text}", release.tree)));
            }
            if !cuts.is_empty() {
                writeln!(said, "{name}: {}", cuts.join("; ")).expect("a text");
            }
        }
    }
    wrong.extend(compare(&fixtures().join("cli/qemu-cuts.txt"), &said));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn root_a_wrong_command_line_is_refused_by_both() {
    let words: Vec<String> = ["-M", "none", "-device", "no-such-device"].map(str::to_owned).into();
    for release in &RELEASES {
        let text = refused(release, "qemu-system-x86_64", &words).expect("a refusal");
        assert!(text.contains("no-such-device"), "{text}");
    }
}
