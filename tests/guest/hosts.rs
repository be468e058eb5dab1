// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm` and OpenSSH for real: packages go to another host, and commands into a machine, with
//! the ssh of this machine and an sshd that knows nothing of us.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

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
    (output.status.code(), text(&output.stdout), text(&output.stderr))
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

    // One that is declared there belongs to its file there.
    fs::write(remote.root.join(MACHINE).join("declarative"), "")?;
    describe(&remote, 320)?;
    let (status, out, err) = told(&remote.run(&program, &["deploy", "root@there", "web1.toml"])?);
    assert_eq!((status, out.as_str()), (Some(5), ""), "{err}");
    assert!(err.starts_with("microvm: web1 is managed declaratively; edit /etc/"), "{err}");
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
    assert!(remote.run(Path::new("sh"), &["-c", pack])?.status.success());
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
