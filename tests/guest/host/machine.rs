// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine that `microvm` built and runs, and a shell in its guest.
//!
//! Owns a directory with a description, the package that the command made of it, and the running
//! script. The guest is a busybox with modules, and a process 1 that carries out one line of its
//! console after the other and tells the status. The console is the socket of the description, so
//! that the way to the guest is the product's own.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use plinth::proc::{self, Limits};
use plinth::testing::Patient;

use super::cpio::Archive;
use super::lab::Lab;
use super::{build, image};
use crate::inside::wait::until_found;
use crate::scenarios::Kernel;

/// For an emulated machine to boot while others do.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// For a command in the guest, and for a machine to end.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);
/// Kept of what a guest or a program says at a time; one that says more is cut off.
const TEXT_BYTES_MAX: usize = 8 << 20;
/// What process 1 of the guest says when it listens.
const READY: &str = "@ready";
/// What it says behind each command, before the status.
const DONE: &str = "@done ";

/// Process 1: modules, file systems, then one line of the console after the other.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module parameters; do insmod \"$module\" $parameters; done </etc/rig.modules
exec </dev/console >/dev/console 2>&1
stty -echo
echo @ready
while read -r line; do eval \"$line\"; printf '\\n@done %s\\n' $?; done
";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    /// The directory in which it runs.
    pub directory: PathBuf,
    program: PathBuf,
    child: Child,
    console: Option<UnixStream>,
}

/// Packs a guest with these modules into `path`.
///
/// # Errors
/// What is missing or unreadable, by name.
pub fn pack(lab: &Lab, kernel: Kernel, modules: &[&str], path: &Path) -> Outcome<()> {
    let mut archive = Archive::new();
    for dir in ["proc", "sys", "dev", "mnt", "tmp", "run", "etc", "www"] {
        archive.dir(dir, 0o755);
    }
    archive.device("dev/console", 0o600, 5, 1);
    image::shell(&mut archive)?;
    image::modules(&mut archive, &lab.modules(kernel)?, modules)?;
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("www/index.html", 0o644, b"answered by the guest\n");
    Ok(fs::write(path, archive.finish())?)
}

impl Machine {
    /// Builds the description `toml` in a fresh directory and starts it; `prepare` may put files
    /// there, and add to the command that starts it.
    ///
    /// The kernel is `vmlinuz` and the initial file system `initrd` in the directory.
    ///
    /// # Errors
    /// What the build or the start said.
    pub fn start(
        name: &str,
        kernel: Kernel,
        modules: &[&str],
        toml: &str,
        prepare: impl FnOnce(&Path) -> io::Result<Vec<String>>,
    ) -> Outcome<Self> {
        let lab = Lab::find();
        let program = build::microvm(lab.workspace())?.join("microvm");
        let directory = lab.folder(&format!("machine-{name}"))?;
        std::os::unix::fs::symlink(lab.kernel(kernel)?, directory.join("vmlinuz"))?;
        pack(&lab, kernel, modules, &directory.join("initrd"))?;
        fs::write(directory.join("vm.toml"), toml)?;
        let wrapper = prepare(&directory)?;
        let mut build = Command::new(&program);
        build.args(["build", "vm.toml", "-o", "package"]).current_dir(&directory);
        run(build, BOOT_LIMIT)?;
        // Should this process be killed, the machine goes too.
        let words = ["setpriv", "--pdeathsig", "KILL"].map(str::to_owned);
        let words: Vec<String> = words.into_iter().chain(wrapper).collect();
        let (first, rest) = words.split_first().ok_or("no words")?;
        let child = Command::new(first)
            .args(rest)
            .arg(directory.join("package/bin/microvm-run"))
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(File::create(directory.join("out"))?)
            .stderr(File::create(directory.join("err"))?)
            .spawn()?;
        let mut machine = Self { directory, program, child, console: None };
        machine.listen()?;
        Ok(machine)
    }

    /// Connects to the console, and waits until the guest is ready.
    fn listen(&mut self) -> Outcome<()> {
        let runner = fs::read(self.directory.join("package/share/microvm/runner.json"))?;
        let runner: serde_json::Value = serde_json::from_slice(&runner)?;
        let name = runner["name"].as_str().unwrap_or_default();
        let path = self.directory.join(format!("{name}-console.sock"));
        let connect = || match UnixStream::connect(&path) {
            Ok(stream) => Ok(Some(stream)),
            Err(_) if self.child.try_wait()?.is_none() => Ok(None),
            Err(_) => Err(crate::inside::Trouble::new(format!("it ended: {}", self.errors()))),
        };
        let found = until_found("the console is there", BOOT_LIMIT, connect);
        let (stream, _) = found.map_err(|trouble| trouble.to_string())?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        self.console = Some(stream);
        self.read_until(READY, BOOT_LIMIT)?;
        Ok(())
    }

    /// What the script and the hypervisor said on standard error.
    fn errors(&self) -> String {
        fs::read_to_string(self.directory.join("err")).unwrap_or_default()
    }

    /// Reads the console until a line that begins with `end`, all of it within `limit`; gives the
    /// text before it, and the line.
    fn read_until(&mut self, end: &str, limit: Duration) -> Outcome<(String, String)> {
        let mut console = Patient::within(self.console.as_mut().ok_or("no console")?, limit);
        let mut text = String::new();
        let mut piece = [0; 4096];
        loop {
            let mut before = 0;
            for line in text.split_inclusive('\n') {
                if line.starts_with(end) && line.ends_with('\n') {
                    let line = line.trim_end().to_owned();
                    return Ok((text.get(..before).unwrap_or_default().replace('\r', ""), line));
                }
                before += line.len();
            }
            if text.len() > TEXT_BYTES_MAX {
                return Err(format!("the guest says too much and no {end:?}").into());
            }
            let got = match console.read(&mut piece) {
                Ok(0) => return Err(format!("the console closed behind {text:?}").into()),
                Ok(got) => got,
                Err(error) => return Err(format!("{error} behind {text:?}").into()),
            };
            text.push_str(&String::from_utf8_lossy(piece.get(..got).unwrap_or_default()));
        }
    }

    /// Carries out a line in the guest; gives what it printed.
    ///
    /// # Errors
    /// Its status was not zero, or it did not answer.
    pub fn guest(&mut self, line: &str) -> Outcome<String> {
        let console = self.console.as_mut().ok_or("no console")?;
        console.write_all(line.as_bytes())?;
        console.write_all(b"\n")?;
        let (text, end) = self.read_until(DONE, ANSWER_LIMIT)?;
        // A line feed of our own stands before the status, for output that has none.
        let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
        match end.trim_start_matches(DONE) {
            "0" => Ok(text),
            status => Err(format!("{line:?} in the guest: status {status}: {text}").into()),
        }
    }

    /// Runs a script of the package in the directory of the machine.
    ///
    /// # Errors
    /// It failed.
    pub fn script(&self, name: &str, words: &[&str]) -> Outcome<String> {
        let mut command = Command::new(self.directory.join("package/bin").join(name));
        command.args(words).current_dir(&self.directory);
        run(command, BOOT_LIMIT)
    }

    /// The program under test.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Stops the machine by its own script, and removes everything.
    ///
    /// # Errors
    /// It did not stop.
    pub fn stop(mut self) -> Outcome<()> {
        self.script("microvm-shutdown", &[])?;
        self.ended()?;
        fs::remove_dir_all(&self.directory)?;
        Ok(())
    }

    /// Waits for the end of the machine.
    ///
    /// # Errors
    /// It did not end, or not well.
    pub fn ended(&mut self) -> Outcome<()> {
        let child = &mut self.child;
        let found = until_found("the machine has ended", ANSWER_LIMIT, || Ok(child.try_wait()?));
        let (status, _) = found.map_err(|trouble| trouble.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("{status}: {}", self.errors()).into()) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails only for what has ended, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a program that ends well within `limit`; what it said, on both ways. One that does not end
/// is killed with its process group.
///
/// # Errors
/// It cannot be started, fails, or does not end.
pub fn run(command: Command, limit: Duration) -> Outcome<String> {
    let what = format!("{command:?}");
    let limits = Limits { time: limit, output: TEXT_BYTES_MAX };
    let output = proc::run(command, limits).map_err(|error| format!("{what}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    if output.success() {
        Ok(said)
    } else {
        Err(format!("{what}: {:?}: {said}", output.ending).into())
    }
}
