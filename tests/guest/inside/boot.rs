// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Process 1: mounts, modules, the loopback interface, then one scenario, then power off.
//!
//! Owns the order of these steps and the guest's own deadline, after which it powers off even when
//! a scenario hangs and nobody is left on the host to end it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::CString;
use std::fs::{self, File};
use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, mount, mount_bind_recursive};
use rustix::system::{RebootCommand, finit_module, reboot};

use super::trouble::Naming;
use super::{Outcome, Trouble, nested, process, say, wait};
use crate::scenarios::{self, Guest, Kernel};
use crate::wire::Line;

/// The kernel unpacks a compressed module itself.
const MODULE_COMPRESSED: i32 = 4;
/// Last lines shown of each log.
const LOG_LINES: usize = 150;

/// The argument with which process 1 runs on a machine that is not its own.
pub const BARE: &str = "--bare";

/// Runs the guest from the first mount to power off, or with [`BARE`] one scenario on this host,
/// or lives in a machine inside the machine.
#[must_use]
pub fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        Some(BARE) => return bare(),
        Some(nested::NESTED) => return nested::main(),
        _ => {}
    }
    let outcome = prepare().and_then(|setting| {
        if setting.shell {
            return shell();
        }
        let seconds = setting.seconds;
        thread::spawn(move || deadline(seconds));
        scenario(&setting)
    });
    let code = u8::from(outcome.is_err());
    if let Err(trouble) = outcome {
        say::fail(trouble.to_string());
        evidence();
    }
    leave(code);
    ExitCode::from(code)
}

/// Runs one scenario in a changed root on the kernel that is there, in name spaces of its own; only
/// what needs no device can run so. The report goes to standard output.
fn bare() -> ExitCode {
    let outcome = surroundings().and_then(|()| scenario(&Setting::read()?));
    if let Err(trouble) = &outcome {
        say::fail(trouble.to_string());
        evidence();
    }
    let code = u8::from(outcome.is_err());
    say::line(&Line::End(code));
    ExitCode::from(code)
}

/// What a daemon looks for when it starts: a device that connects, which here is one that does
/// nothing.
fn surroundings() -> Outcome {
    for (kind, place) in
        [("proc", "/proc"), ("tmpfs", "/run"), ("tmpfs", "/tmp"), ("tmpfs", "/dev")]
    {
        mount(kind, place, kind, MountFlags::empty(), None).named(place)?;
    }
    say::open("/proc/self/fd/1").named("standard output")?;
    for place in ["/run/lock", "/run/dbus", "/var/log"] {
        fs::create_dir_all(place).named(place)?;
    }
    for name in ["null", "nvme-fabrics"] {
        let path = format!("/dev/{name}");
        let mode = Mode::from_raw_mode(0o666);
        let null = makedev(1, 3);
        mknodat(CWD, &path, FileType::CharacterDevice, mode, null).named(&path)?;
    }
    Ok(())
}

struct Setting {
    scenario: String,
    kernel: Kernel,
    seconds: u64,
    shell: bool,
}

impl Setting {
    fn read() -> Outcome<Self> {
        let text = fs::read_to_string("/etc/rig").named("/etc/rig")?;
        let map: BTreeMap<&str, &str> = text.lines().filter_map(|l| l.split_once('=')).collect();
        let field = |key: &str| {
            map.get(key).copied().ok_or_else(|| Trouble::new(format!("/etc/rig lacks {key}")))
        };
        let kernel = field("kernel")?;
        Ok(Self {
            scenario: field("scenario")?.to_owned(),
            kernel: Kernel::KNOWN
                .into_iter()
                .find(|k| k.to_string() == kernel)
                .ok_or_else(|| Trouble::new("unknown kernel"))?,
            seconds: field("seconds")?.parse()?,
            shell: field("shell")? == "1",
        })
    }
}

fn prepare() -> Outcome<Setting> {
    let none = MountFlags::empty();
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
    ] {
        mount(kind, place, kind, none, None).named(place)?;
    }
    say::open("/dev/ttyS1").named("/dev/ttyS1")?;
    for place in ["/run/lock", "/run/dbus", "/var/log"] {
        fs::create_dir_all(place).named(place)?;
    }
    let setting = Setting::read()?;
    modules()?;
    mount("configfs", "/sys/kernel/config", "configfs", none, None).named("configfs")?;
    process::busybox(&["ip", "link", "set", "lo", "up"])?;
    if fs::exists("/dev/vda")? {
        mount("/dev/vda", "/ref", "ext4", none, None).named("/ref")?;
        for place in ["proc", "sys", "dev", "run", "tmp"] {
            mount_bind_recursive(format!("/{place}"), format!("/ref/{place}")).named(place)?;
        }
    }
    say::step(format!("guest up, kernel {}", setting.kernel));
    Ok(setting)
}

/// Loads what the image lists.
pub(super) fn modules() -> Outcome {
    for line in fs::read_to_string("/etc/rig.modules").named("/etc/rig.modules")?.lines() {
        let (path, parameters) = line.split_once(' ').unwrap_or((line, ""));
        let flags = if path.ends_with(".xz") { MODULE_COMPRESSED } else { 0 };
        let file = File::open(path).named(path)?;
        match finit_module(&file, &CString::new(parameters)?, flags) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(Trouble::from(error).during(path)),
        }
    }
    Ok(())
}

fn scenario(setting: &Setting) -> Outcome {
    let found = scenarios::find(&setting.scenario)
        .ok_or_else(|| Trouble::new(format!("no scenario {}", setting.scenario)))?;
    let guest = Guest { kernel: setting.kernel };
    panic::set_hook(Box::new(|info| say::fail(info.to_string())));
    panic::catch_unwind(AssertUnwindSafe(|| (found.run)(&guest)))
        .unwrap_or_else(|_| Err(Trouble::new("the scenario panicked")))
}

fn shell() -> Outcome {
    process::busybox(&["--install", "-s", "/bin"])?;
    println!("\nThe guest of the scenario, modules loaded. Leave with: poweroff -f");
    Command::new("/bin/busybox")
        .args(["setsid", "cttyhack", "sh", "-l"])
        .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
        .env("HOME", "/root")
        .env("PS1", "guest# ")
        .status()?;
    Ok(())
}

fn deadline(seconds: u64) {
    wait::pause(Duration::from_secs(seconds));
    say::fail(format!("the scenario is not over after {seconds} s"));
    evidence();
    leave(124);
}

/// What a person wants to see of a guest in which something went wrong.
fn evidence() {
    let tail = |text: &str| {
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    };
    if let Ok(folder) = fs::read_dir("/var/log") {
        for entry in folder.flatten() {
            let text = fs::read(entry.path()).unwrap_or_default();
            say::show(&entry.path().to_string_lossy(), &tail(&String::from_utf8_lossy(&text)));
        }
    }
    let controllers: Vec<String> =
        super::controllers::all().iter().map(|c| format!("{c:?}")).collect();
    say::show("controllers", &controllers.join("\n"));
    for (heading, words) in
        [("kernel log", vec!["dmesg"]), ("processes", vec!["ps", "-o", "pid,stat,args"])]
    {
        if let Ok(text) = process::busybox(&words) {
            say::show(heading, &tail(&text));
        }
    }
}

fn leave(code: u8) {
    say::line(&Line::End(code));
    if reboot(RebootCommand::PowerOff).is_err() {
        // Process 1 may not return: the kernel would panic and hide the report's end.
        wait::pause(Duration::from_secs(3600));
    }
}
