// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm` and OpenSSH for real: packages go to another host, and commands into a machine, with
//! the ssh of this machine and an sshd that knows nothing of us.

use std::error::Error;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use plinth::proc::{Ending, Output};
use plinth::testing::{LONG, Patient, ended, joined, ready};
use rig::host::build;
use rig::host::lab::Lab;
use rig::host::machine;
use rig::host::remote::Remote;
use rig::scenarios::Kernel;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Where the program is on the other host, once it was sent.
const THERE: &str = "usr/local/bin/microvm";
/// The machine's directory on the other host.
const MACHINE: &str = "var/lib/microvms/web1";

fn program() -> Outcome<PathBuf> {
    Ok(build::microvm(Lab::find().workspace())?.join("microvm"))
}

/// A host that has the program, and a description on this side.
fn ground(name: &str) -> Outcome<(Remote, PathBuf)> {
    let (remote, program) = (Remote::new(name)?, program()?);
    fs::copy(&program, remote.root.join(THERE))?;
    remote.put("other/vmlinuz", "", 0o644)?;
    describe(&remote, 256)?;
    Ok((remote, program))
}

/// A machine whose package has more than 200000 bytes.
fn describe(remote: &Remote, memory: u32) -> Outcome {
    let ballast = "# a line of a long script\n".repeat(20_000);
    let text =
        format!("mem = {memory}\nkernel = \"/vmlinuz\"\n[binScripts]\nlong = '''\n{ballast}'''\n");
    remote.put("web1.toml", &text, 0o644)
}

/// What was said: status, standard output, standard error.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let status = match output.ending {
        Ending::Exited(status) => Some(status),
        _ => None,
    };
    (status, text(&output.stdout), text(&output.stderr))
}

/// Runs a deployment that succeeds; what it printed.
fn deploy(remote: &Remote, program: &Path, words: &[&str]) -> Outcome<String> {
    let words = [&["deploy"], words, &["web1.toml"]].concat();
    let (status, out, err) = told(&remote.run(program, &words)?);
    if status == Some(0) && err.is_empty() {
        return Ok(out);
    }
    Err(format!("{words:?}: status {status:?}, {out:?}, {err:?}").into())
}

/// Where a link of the machine leads on the other host.
fn leads(remote: &Remote, link: &str) -> Outcome<String> {
    let target = fs::read_link(remote.root.join(MACHINE).join(link))?;
    Ok(target.display().to_string())
}

fn life_of_a_package() -> Outcome {
    let (remote, program) = ground("deploy")?;
    let root = &["root@there"];
    let out = deploy(&remote, &program, root)?;
    assert!(out.starts_with("Created MicroVM web1\nDeployed web1 ("), "{out}");
    // All steps went over one connection, with one login.
    assert_eq!(remote.logins()?, 1, "{}", remote.read("log")?);
    let first = leads(&remote, "current")?;
    let script = remote.read(&format!("{MACHINE}/current/bin/microvm-run"))?;
    assert!(script.contains("MICROVM=/usr/local/bin/microvm\n"), "{script}");

    let before = remote.sent()?;
    assert!(before > 200_000, "{before} bytes");
    let out = deploy(&remote, &program, root)?;
    assert!(out.starts_with("No change\nDeployed web1 ("), "{out}");
    assert!(remote.sent()? - before < 50_000, "nothing of the package went again");

    describe(&remote, 300)?;
    let out = deploy(&remote, &program, root)?;
    assert!(out.starts_with("Updated to ") && out.contains("\n  ~ mem: 256 -> 300\n"), "{out}");
    assert_eq!(leads(&remote, "old")?, first);
    assert_ne!(leads(&remote, "current")?, first);
    assert_eq!(remote.logins()?, 3);

    // A file that should be there and is not may still come.
    fs::remove_file(remote.root.join("vmlinuz"))?;
    let (status, out, err) = told(&remote.run(&program, &["deploy", "root@there", "web1.toml"])?);
    assert_eq!(status, Some(0), "{err}");
    assert!(out.starts_with("No change\n"), "{out}");
    assert_eq!(err, "microvm: /vmlinuz is not on root@there; --with-images sends it\n");

    // One that is declared there belongs to its file there.
    fs::write(remote.root.join(MACHINE).join("declarative"), "")?;
    describe(&remote, 320)?;
    let (status, out, err) = told(&remote.run(&program, &["deploy", "root@there", "web1.toml"])?);
    assert_eq!((status, out.as_str()), (Some(5), ""), "{err}");
    assert!(err.contains("\nmicrovm: web1 is managed declaratively; edit /etc/"), "{err}");
    remote.quiet()
}

/// What arrives broken, or in part, changes nothing.
fn broken_on_the_way() -> Outcome {
    let (remote, program) = ground("broken")?;
    deploy(&remote, &program, &["root@there"])?;
    let first = leads(&remote, "current")?;
    describe(&remote, 300)?;
    let (status, out, err) = told(&remote.run(&program, &["deploy", "root@cut", "web1.toml"])?);
    assert_eq!((status, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.ends_with("microvm: ssh failed: root@cut\n"), "{err}");
    remote.quiet()?;
    assert_eq!(leads(&remote, "current")?, first);
    assert_eq!(fs::read_dir(remote.root.join(MACHINE).join("gen"))?.count(), 1);

    // The package of another hash than announced, whole, and half of it.
    let (status, ..) = told(&remote.run(&program, &["build", "web1.toml", "-o", "package"])?);
    assert_eq!(status, Some(0));
    let pack = "cd package && find bin share -type f | tar -cf ../whole.tar -T - && \
                head -c 100000 ../whole.tar >../half.tar";
    assert!(remote.run(Path::new("sh"), &["-c", pack])?.success());
    let line = format!("microvm internal import web1 {:064x}", 7);
    for (file, why) in
        [("whole.tar", "the package is not the one"), ("half.tar", "not a package: ")]
    {
        let (status, out, err) = told(&remote.ssh(&line, &remote.directory.join(file))?);
        assert_eq!((status, out.as_str()), (Some(1), ""), "{file}: {err}");
        assert!(err.starts_with("microvm: ") && err.contains(why), "{file}: {err}");
        assert_eq!(leads(&remote, "current")?, first);
    }
    remote.quiet()
}

/// The program goes first where it is not; a user who is not root goes through sudo.
fn bootstrap() -> Outcome {
    let (remote, program) = ground("bootstrap")?;
    fs::remove_file(remote.root.join(THERE))?;
    let (status, _, err) = told(&remote.run(&program, &["deploy", "root@there", "web1.toml"])?);
    assert_eq!(status, Some(6), "{err}");
    assert_eq!(err, "microvm: microvm on root@there not found, needed to deploy\n");

    // Half a program is none.
    let words = ["deploy", "--bootstrap", "root@cut", "web1.toml"];
    let (status, _, err) = told(&remote.run(&program, &words)?);
    assert_eq!(status, Some(1), "{err}");
    remote.quiet()?;
    assert!(!remote.root.join(THERE).exists());

    let logins = remote.logins()?;
    let who = ["--bootstrap", "--use-remote-sudo", "operator@there"];
    let out = deploy(&remote, &program, &who)?;
    assert!(out.starts_with("Created MicroVM web1\n"), "{out}");
    assert_eq!(remote.logins()?, logins + 1);
    assert!(remote.read("log")?.contains("Accepted publickey for operator"));
    assert_eq!(fs::metadata(remote.root.join(MACHINE))?.uid(), 0);
    assert_eq!(fs::read(remote.root.join(THERE))?, fs::read(&program)?);

    // Without sudo, the user may not.
    describe(&remote, 300)?;
    let (status, _, err) = told(&remote.run(&program, &["deploy", "operator@there", "web1.toml"])?);
    assert_eq!(status, Some(1), "{err}");
    assert!(err.contains("Permission denied"), "{err}");
    remote.quiet()
}

/// How many files have the name of a hash.
fn whole_images(store: &Path) -> Outcome<usize> {
    let names = fs::read_dir(store)?.flatten().map(|entry| entry.file_name());
    Ok(names.filter(|name| name.len() == 64).count())
}

/// Kernel and initial file system go along once, and the machine starts from them.
fn images() -> Outcome {
    let (remote, program) = ground("images")?;
    let lab = Lab::find();
    symlink(lab.kernel(Kernel::V6_1)?, remote.directory.join("vmlinuz"))?;
    machine::pack(&lab, Kernel::V6_1, &[], &remote.directory.join("initrd"))?;
    let text = |memory: u32| {
        format!(
            "mem = {memory}\nkernel = \"vmlinuz\"\ninitrdPath = \"initrd\"\n\
             kernelParams = [\"quiet\"]\n[qemu]\naccel = \"tcg\"\naio = \"threads\"\n"
        )
    };
    remote.put("web1.toml", &text(256), 0o644)?;
    // Where the other host keeps its machines is its own affair.
    remote.put("other/etc/microvm/host.toml", "stateDir = \"/srv/vms\"\n", 0o644)?;
    let images = remote.root.join("srv/vms/.images");

    // What came in part has no name that anybody would take for the whole.
    let words = ["deploy", "--with-images", "root@cut", "web1.toml"];
    let (status, _, err) = told(&remote.run(&program, &words)?);
    assert_eq!(status, Some(1), "{err}");
    remote.quiet()?;
    assert_eq!(whole_images(&images)?, 0);

    let all = ["--with-images", "--restart", "root@there"];
    let out = deploy(&remote, &program, &all)?;
    assert!(out.starts_with("Created MicroVM web1\nBooting MicroVM web1\n"), "{out}");
    let before = remote.sent()?;
    let words = remote.read("srv/vms/web1/current/share/microvm/command.txt")?;
    assert_eq!(words.matches("/srv/vms/.images/").count(), 2, "{words}");
    assert_eq!(whole_images(&images)?, 2);
    remote.put("web1.toml", &text(300), 0o644)?;
    let out = deploy(&remote, &program, &all)?;
    assert!(out.contains("~ mem: 256 -> 300\nRebooting MicroVM web1\n"), "{out}");
    assert!(remote.sent()? - before < 200_000, "the images went again");
    remote.until_said("srv/vms/web1/console.log", "@ready")?;
    let output = remote.ssh("microvm stop web1", Path::new("/dev/null"))?;
    assert_eq!(told(&output), (Some(0), String::new(), String::new()));
    remote.quiet()
}

/// A machine of a hypervisor with a socket in the place of vsock; the guest is the other host.
struct Guest {
    remote: Remote,
    program: PathBuf,
}

impl Guest {
    /// Describes, makes and starts it. What stands for the hypervisor does nothing.
    fn new() -> Outcome<Self> {
        let guest = Self { remote: Remote::new("shell")?, program: program()? };
        guest.remote.put("bin/firecracker", "#!/bin/sh\nexec sleep 300\n", 0o755)?;
        for (name, more) in [("mux", "[vsock]\ncid = 9\n"), ("deaf", "")] {
            let text = format!(
                "mem = 128\nhypervisor = \"firecracker\"\nvmlinux = \"/vmlinux\"\n\
                 kernel = \"/vmlinux\"\n{more}"
            );
            let file = format!("{name}.toml");
            guest.remote.put(&file, &text, 0o644)?;
            let (status, _, err) = guest.run(&["create", "--root", "r", name, &file])?;
            assert_eq!(status, Some(0), "{err}");
        }
        Ok(guest)
    }

    fn run(&self, words: &[&str]) -> Outcome<(Option<i32>, String, String)> {
        Ok(told(&self.remote.run(&self.program, words)?))
    }

    /// `microvm shell`; standard error without the line that says what it does.
    fn shell(&self, words: &[&str]) -> Outcome<(Option<i32>, String, String)> {
        let words = [&["shell", "--root", "r"], words].concat();
        let (status, out, err) = self.run(&words)?;
        let rest = err.strip_prefix("Connecting to mux via VSOCK...\n").unwrap_or(&err);
        // That the key of the guest is new is said by ssh.
        let is_news = |line: &str| line.starts_with("Warning: Permanently added");
        let rest: Vec<&str> = rest.lines().filter(|line| !is_news(line)).collect();
        Ok((status, out, rest.join("\n")))
    }

    fn socket(&self) -> PathBuf {
        self.remote.directory.join("r/var/lib/microvms/mux/notify.vsock")
    }

    /// Answers one connection after the other: each with a line, and then with a daemon or with
    /// the end.
    fn listen(&self, answers: &'static [&'static str]) -> Outcome<JoinHandle<Heard>> {
        let path = self.socket();
        drop(fs::remove_file(&path));
        let listener = UnixListener::bind(path)?;
        let daemon = self.remote.daemon();
        Ok(std::thread::spawn(move || {
            let mut heard = String::new();
            for answer in answers {
                let (mut stream, _) = ready(&listener).accept()?;
                stream.set_write_timeout(Some(LONG))?;
                let mut byte = [0];
                while byte != *b"\n" {
                    Patient::new(&stream).read_exact(&mut byte)?;
                    heard.push(char::from(byte[0]));
                }
                stream.write_all(answer.as_bytes())?;
                if answer.starts_with("OK") {
                    let (input, output) =
                        (OwnedFd::from(stream.try_clone()?), OwnedFd::from(stream));
                    let words: Vec<&str> = daemon.split(' ').collect();
                    let mut command = Command::new("timeout");
                    command.args(["--kill-after=5", "100"]).args(words);
                    command.stdin(input).stdout(output).stderr(Stdio::null());
                    ended(&mut command.spawn()?);
                }
            }
            Ok(heard)
        }))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.run(&["stop", "--root", "r", "mux", "deaf"]));
    }
}

fn commands_in_a_machine() -> Outcome {
    let guest = Guest::new()?;
    // Every place where the way can end has words of its own.
    let (status, _, err) = guest.shell(&["nope"])?;
    assert_eq!((status, err.as_str()), (Some(4), "microvm: there is no MicroVM nope"));
    let (status, _, err) = guest.shell(&["mux"])?;
    assert_eq!((status, err.as_str()), (Some(1), "microvm: MicroVM mux is not running"));
    let (status, _, err) = guest.run(&["start", "--root", "r", "mux", "deaf"])?;
    assert_eq!(status, Some(0), "{err}");
    let (status, _, err) = guest.shell(&["deaf"])?;
    let why = "microvm: MicroVM deaf has no vsock.cid, so no way in";
    assert_eq!((status, err.as_str()), (Some(1), why));
    let ends = |why: &str| -> Outcome {
        let (status, out, err) = guest.shell(&["mux", "true"])?;
        assert_eq!((status, out.as_str()), (Some(255), ""), "{err}");
        assert!(err.starts_with("microvm: ") && err.contains(why), "{why}: {err}");
        Ok(())
    };
    ends("notify.vsock: No such file or directory")?;
    drop(UnixListener::bind(guest.socket())?);
    ends("notify.vsock: Connection refused")?;
    let listener = guest.listen(&["", "no\n"])?;
    ends("nobody listens on vsock port 22")?;
    ends("not an answer to CONNECT")?;
    assert_eq!(joined(listener)?, "CONNECT 22\nCONNECT 22\n");

    // Output, input and status are those of the command; the user is root unless another is named.
    let key = guest.remote.directory.join("key").display().to_string();
    let key = key.as_str();
    let listener = guest.listen(&["OK 1\n"; 4])?;
    let (status, out, err) = guest.shell(&["mux", "--", "-i", key, "id -u; exit 7"])?;
    assert_eq!((status, out.as_str(), err.as_str()), (Some(7), "0\n", ""));
    let words = ["mux", "--", "-l", "operator", "-i", key, "id", "-u"];
    let (status, out, err) = guest.shell(&words)?;
    assert_eq!((status, out.as_str(), err.as_str()), (Some(0), "1000\n", ""));
    let (status, _, err) = guest.shell(&["mux", "-l", "nobody", "-i", key, "true"])?;
    assert_eq!(status, Some(255), "{err}");
    assert!(err.contains("Permission denied (publickey)"), "{err}");
    let line = format!("echo to and fro | $0 shell --root r mux -i {key} cat");
    let at = guest.program.display().to_string();
    let (status, out, _) = told(&guest.remote.run(Path::new("sh"), &["-c", &line, &at])?);
    assert_eq!((status, out.as_str()), (Some(0), "to and fro\n"));
    joined(listener)?;

    // Somebody else's proxy is left to its work.
    let proxy = format!("Host vsock-mux/*\n  ProxyCommand {at} internal vsock-connect %h 2222\n");
    guest.remote.put("config", &proxy, 0o644)?;
    let listener = guest.listen(&["OK 1\n"])?;
    let (status, out, err) = guest.shell(&["mux", "-i", key, "echo", "there"])?;
    assert_eq!((status, out.as_str(), err.as_str()), (Some(0), "there\n", ""));
    assert_eq!(joined(listener)?, "CONNECT 2222\n");
    Ok(())
}

/// What a listener heard.
type Heard = io::Result<String>;

fn judge(outcome: Outcome) {
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn root_a_package_goes_to_another_host_over_one_connection() {
    judge(life_of_a_package());
}

#[test]
fn root_what_is_broken_on_the_way_changes_nothing() {
    judge(broken_on_the_way());
}

#[test]
fn root_a_host_without_the_program_gets_it_and_sudo_will_do() {
    judge(bootstrap());
}

#[test]
fn root_images_go_along_once_and_the_machine_starts_from_them() {
    judge(images());
}

#[test]
fn root_commands_go_into_a_machine_and_each_way_to_fail_is_told() {
    judge(commands_in_a_machine());
}
