// SPDX-License-Identifier: Apache-2.0 OR MIT
//! microvm under a real systemd: install, autostart, update, restart, rollback, crash, reboot.
//!
//! The packages are those that descriptions make; the hypervisor is a script that stays until it is
//! told to go, since what is proven here is the host.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{Guest, Kernel, Needs, Scenario};
use crate::inside::manager::Manager;
use crate::inside::{Outcome, ensure, ensure_eq, process, say, wait};

/// A host's life with two machines.
pub const MACHINES: Scenario = Scenario {
    name: "machines",
    about: "microvm on a host with systemd: update, rollback, crash, reboot",
    needs: Needs { microvm: true, manager: true, machined: true, memory_mib: 768, ..Needs::BARE },
    kernels: &Kernel::ALL,
    seconds: 600,
    run: machines,
};

/// What stands for the hypervisor. The pause ends with its control group.
const HYPERVISOR: &str = "#!/bin/sh\necho \"runs: $*\"\ntrap 'exit 0' TERM\n\
                          while :; do sleep 1000 & wait $!; done\n";
const UNIT: &str = "microvm@web1.service";
const STATE: &str = "/var/lib/microvms/web1";
/// The unit that starts what the generator could not see.
const LATE: &str = "microvms-autostart.service";
/// The state of machines on a file system of its own, as far as systemd knows.
const MOUNT: &str = "[Mount]\nWhat=/srv/state\nWhere=/var/lib/microvms\nType=none\nOptions=bind\n";

/// The first is registered with systemd-machined, which must not come between it and systemd.
fn describe(name: &str, memory: u32) -> Outcome {
    let is_first = name == "web1";
    let text = format!(
        "hostName = \"{name}\"\nmem = {memory}\nkernel = \"/etc/hostname\"\nsocket = false\n\
         registerWithMachined = {is_first}\n[qemu]\naccel = \"tcg\"\n"
    );
    fs::create_dir_all("/srv")?;
    Ok(fs::write(format!("/srv/{name}.toml"), text)?)
}

fn surroundings() -> Outcome {
    process::busybox(&["--install", "-s", "/bin"])?;
    fs::create_dir_all("/usr/bin")?;
    fs::write("/usr/bin/qemu-system-x86_64", HYPERVISOR)?;
    fs::set_permissions("/usr/bin/qemu-system-x86_64", fs::Permissions::from_mode(0o755))?;
    fs::write("/etc/hostname", "guest\n")?;
    describe("web1", 256)?;
    describe("web2", 256)
}

fn link(name: &str) -> Outcome<String> {
    let target = fs::read_link(Path::new(STATE).join(name))?;
    Ok(target.to_string_lossy().into_owned())
}

fn pid(host: &Manager) -> Outcome<String> {
    host.until(UNIT, "active")?;
    host.property(UNIT, "MainPID")
}

fn machines(_: &Guest) -> Outcome {
    surroundings()?;
    let host = Manager::boot()?;
    install(&host)?;
    update(&host)?;
    let host = reboots(host)?;
    crash(&host)?;
    ends(&host)
}

/// Units, accounts, two machines, one of which starts at boot.
fn install(host: &Manager) -> Outcome {
    host.output(&["microvm", "host", "install"])?;
    let again = host.output(&["microvm", "host", "install"])?;
    ensure(again.lines().all(|line| line.starts_with('=')), format_args!("again: {again}"))?;
    let accounts = fs::read_to_string("/etc/passwd")?;
    ensure(accounts.contains("\nmicrovm:"), "the account was made")?;
    let said = host.output(&["microvm", "create", "web1", "/srv/web1.toml", "--autostart"])?;
    ensure_eq("create", &said.as_str(), &"Created MicroVM web1. Start with: microvm start web1\n")?;
    host.output(&["microvm", "create", "web2", "/srv/web2.toml"])?;
    let exists = host.run(&["microvm", "create", "web2", "/srv/web2.toml"])?;
    ensure_eq("the exit of a second create", &exists.code, &5)?;
    host.output(&["microvm", "start", "web1"])?;
    let main = pid(host)?;
    ensure_eq("booted", &link("booted")?, &link("current")?)?;
    let list = host.output(&["microvm", "list"])?;
    ensure(list.starts_with("web1: current("), format_args!("{list}"))?;
    ensure(list.contains("web2: current(") && list.contains("not booted"), format_args!("{list}"))?;
    caged(host, &main)?;
    registered(host, Some(&main))?;
    on_a_bridge(host)?;
    say::step("two machines, one runs");
    Ok(())
}

/// systemd-machined has this machine with the process that runs, or does not have it.
fn registered(host: &Manager, leader: Option<&str>) -> Outcome {
    let said = host.run(&["machinectl", "show", "web1", "--property=Leader", "--value"])?;
    let found = (said.code == 0).then(|| said.out.trim());
    ensure_eq("the leader of the machine", &found, &leader)
}

/// A field of the status of a process.
fn status(host: &Manager, pid: &str, name: &str) -> Outcome<String> {
    let status = host.output(&["cat", &format!("/proc/{pid}/status")])?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned())
}

/// A set-user-ID helper that the hypervisor calls gains what it needs, whatever systemd takes from
/// services that have filters of system calls.
fn on_a_bridge(host: &Manager) -> Outcome {
    describe("web3", 256)?;
    let text = fs::read_to_string("/srv/web3.toml")?;
    let interface = "[[interfaces]]\ntype = \"bridge\"\nid = \"net0\"\nbridge = \"br0\"\n\
                     mac = \"02:00:00:00:00:03\"\n";
    fs::write("/srv/web3.toml", text + interface)?;
    host.output(&["microvm", "create", "web3", "/srv/web3.toml", "--start"])?;
    host.until("microvm@web3.service", "active")?;
    let main = host.property("microvm@web3.service", "MainPID")?;
    ensure(status(host, &main, "Uid:")? != "0", "it is not root")?;
    ensure_eq("privileges", &status(host, &main, "NoNewPrivs:")?.as_str(), &"0")?;
    host.output(&["microvm", "stop", "web3"])?;
    host.output(&["microvm", "remove", "web3", "--yes"]).map(drop)
}

/// The hypervisor runs as its own user, in its cage.
fn caged(host: &Manager, main: &str) -> Outcome {
    let field = |name: &str| status(host, main, name);
    ensure(field("Uid:")? != "0", "it is not root")?;
    ensure_eq("capabilities", &field("CapBnd:")?.as_str(), &"0000000000000000")?;
    ensure_eq("privileges", &field("NoNewPrivs:")?.as_str(), &"1")?;
    ensure_eq("system calls", &field("Seccomp:")?.as_str(), &"2")?;
    let words = host.output(&["cat", &format!("/proc/{main}/cmdline")])?;
    ensure(words.contains("-name\0web1\0"), format_args!("it was called as {words:?}"))?;
    let state = fs::metadata(STATE)?;
    ensure_eq("the mode of its directory", &(state.mode() & 0o7777), &0o3775)?;
    ensure_eq("the owner of its directory", &state.uid(), &0)
}

/// An update leaves what runs alone; a restart takes it; a rollback goes back.
fn update(host: &Manager) -> Outcome {
    let (main, first) = (pid(host)?, link("current")?);
    let same = host.output(&["microvm", "update", "web1"])?;
    ensure(same.starts_with("No change\nNo reboot of MicroVM web1"), format_args!("{same}"))?;
    describe("web1", 300)?;
    let list = host.output(&["microvm", "list"])?;
    ensure(list.starts_with("web1: outdated("), format_args!("{list}"))?;
    let said = host.output(&["microvm", "update", "web1"])?;
    ensure(said.contains("~ mem: 256 -> 300"), format_args!("{said}"))?;
    ensure(said.contains("Reboot MicroVM web1 for the new profile"), format_args!("{said}"))?;
    let second = link("current")?;
    ensure(first != second, "another package is current")?;
    ensure_eq("booted", &link("booted")?, &first)?;
    ensure_eq("old", &link("old")?, &first)?;
    ensure_eq("the process", &pid(host)?, &main)?;
    let list = host.output(&["microvm", "list", "--fast"])?;
    ensure(list.starts_with("web1: stale("), format_args!("{list}"))?;
    host.output(&["microvm", "restart", "web1"])?;
    let next = pid(host)?;
    ensure(next != main, "another process runs")?;
    registered(host, Some(&next))?;
    ensure_eq("booted", &link("booted")?, &second)?;
    host.output(&["microvm", "rollback", "web1"])?;
    ensure_eq("current", &link("current")?, &first)?;
    ensure_eq("booted", &link("booted")?, &second)?;
    host.output(&["microvm", "restart", "web1"])?;
    ensure_eq("booted", &link("booted")?, &first)?;
    say::step("updated, restarted, rolled back");
    Ok(())
}

/// What is marked starts with the host, and nothing else; a power cut leaves no stale link behind.
fn reboots(host: Manager) -> Outcome<Manager> {
    host.output(&["microvm", "update", "web1"])?;
    let host = host.reboot()?;
    pid(&host)?;
    ensure_eq("booted", &link("booted")?, &link("current")?)?;
    let second = host.property("microvm@web2.service", "ActiveState")?;
    ensure_eq("the machine that is not marked", &second.as_str(), &"inactive")?;
    let wants = fs::read_dir("/etc/systemd/system/microvms.target.wants")?;
    let wants: Vec<_> = wants.map(|it| it.map(|it| it.file_name())).collect::<Result<_, _>>()?;
    ensure_eq("in /etc, where the generator's links are not", &wants, &vec![LATE.into()])?;
    host.output(&["microvm", "disable", "web1"])?;
    let host = host.reboot()?;
    ensure_eq("after disable", &host.property(UNIT, "ActiveState")?.as_str(), &"inactive")?;
    ensure(!Path::new(STATE).join("booted").exists(), "nothing is booted")?;
    host.output(&["microvm", "enable", "web1", "web2"])?;
    // Dropped without a word, as by a power cut.
    drop(host);
    let host = Manager::boot()?;
    pid(&host)?;
    host.until("microvm@web2.service", "active")?;
    say::step("booted three times");
    let host = late(host)?;
    say::step("booted with the machines on another file system");
    Ok(host)
}

/// The generator runs before anything is mounted; what it cannot see starts all the same.
fn late(host: Manager) -> Outcome<Manager> {
    host.output(&["microvm", "stop", "web1", "web2"])?;
    fs::rename("/var/lib/microvms", "/srv/state")?;
    fs::create_dir("/var/lib/microvms")?;
    let unit = Path::new("/etc/systemd/system/var-lib-microvms.mount");
    fs::write(unit, MOUNT)?;
    let host = host.reboot()?;
    pid(&host)?;
    ensure(!Path::new(STATE).exists(), "there is nothing but where it is mounted")?;
    let links = host.run(&["ls", "/run/systemd/generator/microvms.target.wants"])?;
    ensure(links.code != 0, "the generator saw no machine")?;
    host.output(&["microvm", "stop", "web1", "web2"])?;
    fs::remove_file(unit)?;
    let host = host.reboot()?;
    fs::remove_dir("/var/lib/microvms")?;
    fs::rename("/srv/state", "/var/lib/microvms")?;
    host.output(&["microvm", "start", "web1", "web2"])?;
    pid(&host)?;
    Ok(host)
}

/// A hypervisor that dies is started again.
fn crash(host: &Manager) -> Outcome {
    let main = pid(host)?;
    let restarts = host.property(UNIT, "NRestarts")?;
    host.output(&["kill", "-KILL", &main])?;
    wait::until("it is started again", std::time::Duration::from_secs(60), || {
        let is_counted = host.property(UNIT, "NRestarts").is_ok_and(|it| it != restarts);
        is_counted && pid(host).is_ok_and(|it| it != main)
    })?;
    registered(host, Some(&pid(host)?))?;
    ensure_eq("booted", &link("booted")?, &link("current")?)?;
    say::step("a crash was got over");
    Ok(())
}

fn ends(host: &Manager) -> Outcome {
    let refused = host.run(&["microvm", "remove", "web1", "--yes"])?;
    ensure_eq("the exit of a removal while it runs", &refused.code, &5)?;
    host.output(&["microvm", "stop", "web1", "web2"])?;
    ensure_eq("stopped", &host.property(UNIT, "ActiveState")?.as_str(), &"inactive")?;
    registered(host, None)?;
    ensure(!Path::new(STATE).join("booted").exists(), "nothing is booted")?;
    let said = host.run(&["microvm", "status", "web1"])?;
    ensure_eq("status", &(said.code, said.out.as_str()), &(1, "web1: stopped\n"))?;
    host.output(&["microvm", "remove", "web1", "--yes"])?;
    ensure(!Path::new(STATE).exists(), "its directory is gone")?;
    let drop_ins = "/etc/systemd/system/microvm@web1.service.d";
    ensure(!Path::new(drop_ins).exists(), "its drop-in is gone")
}
