// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine inside the machine: microvm under systemd, with QEMU, vsock of the kernel, a tap with
//! vhost, and systemd-machined.
//!
//! What needs no hypervisor is shown in `machines`, where a start takes no time.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::Duration;

use super::{Guest, Kernel, Needs, Scenario};
use crate::inside::manager::Manager;
use crate::inside::nested::{NESTED as INIT_WORD, PORT, PRESSED, UP};
use crate::inside::process::Process;
use crate::inside::{Outcome, Trouble, ensure, ensure_eq, process, say, wait};

/// A life of a real machine.
pub const NESTED: Scenario = Scenario {
    name: "nested",
    about: "a machine in the machine: notify over vsock, machined, vhost, stop, crash",
    needs: Needs {
        microvm: true,
        manager: true,
        machined: true,
        nested: true,
        ip: true,
        memory_mib: 1024,
        modules: &["vhost_vsock", "vhost_net"],
        ..Needs::BARE
    },
    kernels: &[Kernel::V6_1],
    seconds: 2400,
    run: nested,
};

/// An emulator in an emulator boots a kernel within this, while others work.
const BOOT: Duration = Duration::from_secs(600);
const ANSWER: Duration = Duration::from_secs(60);
const UNIT: &str = "microvm@nest.service";
const TAPS: &str = "microvm-tap-interfaces@nest.service";
const CID: u32 = 42;

/// The parameters spare the guest what nobody needs there: each of the initial calls takes from a
/// third of a second to three.
fn description() -> String {
    let skipped = [
        "bpf_rstat_kfunc_init",
        "cmos_init",
        "crypto_kdf108_init",
        "cubictcp_register",
        "hugetlb_init",
        "init_encrypted",
        "init_kprobe_trace",
        "load_system_certificate_list",
        "slab_sysfs_init",
        "trace_eval_init",
        "tracer_init_tracefs",
    ]
    .join(",");
    format!(
        r#"
        hostName = "nest"
        mem = 96
        vcpu = 2
        cpu = "qemu64"
        kernel = "/srv/vmlinux"
        initrdPath = "/srv/initrd"
        console = "socket"
        balloon = true
        notify = true
        registerWithMachined = true
        vsock = {{ cid = {CID} }}
        kernelParams = [
            "quiet", "maxcpus=1", "mitigations=off", "rodata=off", "lsm=", "audit=0", "pci=off",
            "ipv6.disable=1", "cryptomgr.notests=1", "tsc=reliable", "no_timer_check",
            "lpj=4000000", "initcall_blacklist={skipped}", "{INIT_WORD}",
        ]
        [[interfaces]]
        type = "tap"
        id = "vm-nest"
        mac = "02:00:00:00:00:01"
        tap = {{ vhost = true }}
        [qemu]
        accel = "tcg"
        "#
    )
}

/// Accounts, and devices as udev leaves them: for the group kvm.
fn surroundings() -> Outcome {
    process::busybox(&["--install", "-s", "/bin"])?;
    fs::write("/srv/nest.toml", description())?;
    fs::create_dir_all("/etc/microvm")?;
    fs::write("/etc/microvm/host.toml", "[host]\nstartupTimeout = 600\n")?;
    fs::set_permissions("/dev/net/tun", fs::Permissions::from_mode(0o666))?;
    // Nobody else collects what is said; a failure shows these files.
    let folder = "/etc/systemd/system/microvm@.service.d";
    fs::create_dir_all(folder)?;
    let output = "[Service]\nStandardOutput=append:/var/log/nest.log\nStandardError=inherit\n";
    Ok(fs::write(format!("{folder}/output.conf"), output)?)
}

fn devices() -> Outcome {
    let groups = fs::read_to_string("/etc/group")?;
    let kvm = groups.lines().find_map(|line| line.strip_prefix("kvm:")?.split(':').nth(1));
    let kvm = kvm.ok_or_else(|| Trouble::new("no group kvm"))?.parse()?;
    for device in ["/dev/vhost-vsock", "/dev/vhost-net"] {
        chown(device, None, Some(kvm))?;
        fs::set_permissions(device, fs::Permissions::from_mode(0o660))?;
    }
    Ok(())
}

fn nested(_: &Guest) -> Outcome {
    surroundings()?;
    let host = Manager::boot()?;
    host.output(&["microvm", "host", "install"])?;
    devices()?;
    host.output(&["microvm", "create", "nest", "/srv/nest.toml", "--autostart"])?;
    ensure_eq("its type", &host.property(UNIT, "Type")?.as_str(), &"notify")?;
    start(&host)?;
    registered(&host)?;
    taps(&host)?;
    balloon(&host)?;
    crash(&host)?;
    let mut console = console(&host)?;
    vsock(&host)?;
    stop(&host, &mut console)
}

/// Runs a command to its end that may take as long as a boot.
fn finish(host: &Manager, name: &str, words: &[&str], limit: Duration) -> Outcome<String> {
    let mut running = host.start(name, words)?;
    let (status, _) = running.ended(limit)?;
    ensure(status.success(), format_args!("{words:?} ended with {status}: {}", running.log()))?;
    Ok(running.log())
}

/// The command comes back when the guest has said that it is up.
fn start(host: &Manager) -> Outcome {
    let mut starts = host.start("start", &["microvm", "start", "nest"])?;
    host.until(UNIT, "activating")?;
    let words = "until [ -S /var/lib/microvms/nest/nest-console.sock ]; do sleep 0.3; done; \
                 sleep 1000 | exec microvm console nest";
    let _console = host.start("console-of-start", &["sh", "-c", words])?;
    let (status, _) = starts.ended(BOOT)?;
    ensure(status.success(), format_args!("the start ended with {status}: {}", starts.log()))?;
    ensure_eq("its state", &host.property(UNIT, "ActiveState")?.as_str(), &"active")?;
    let said = host.property(UNIT, "StatusText")?;
    ensure_eq("what the guest says", &said.as_str(), &"the guest is up")?;
    say::step("the guest has said over vsock that it is up");
    Ok(())
}

/// systemd-machined lists it, with its process.
fn registered(host: &Manager) -> Outcome {
    let list = host.output(&["machinectl", "list", "--no-legend"])?;
    let words: Vec<&str> = list.split_whitespace().take(3).collect();
    ensure_eq("the list of machines", &words, &vec!["nest", "vm", "microvm"])?;
    let leader = host.output(&["machinectl", "show", "nest", "--property=Leader", "--value"])?;
    ensure_eq("its leader", &leader.trim(), &host.property(UNIT, "MainPID")?.as_str())?;
    let unit = host.output(&["machinectl", "show", "nest", "--property=Unit", "--value"])?;
    ensure_eq("its unit", &unit.trim(), &UNIT)?;
    say::step("systemd-machined knows it");
    Ok(())
}

/// The helper unit has made a tap, and QEMU has opened it with vhost, a thread for each queue pair.
fn taps(host: &Manager) -> Outcome {
    ensure_eq("the helper", &host.property(TAPS, "ActiveState")?.as_str(), &"active")?;
    let details = process::output(&["/bin/ip", "-d", "link", "show", "vm-nest"])?;
    ensure(details.contains("multi_queue"), format_args!("{details}"))?;
    let main = host.property(UNIT, "MainPID")?;
    let files = host.output(&["sh", "-c", &format!("ls -l /proc/{main}/fd")])?;
    let open = |device: &str| files.lines().filter(|line| line.ends_with(device)).count();
    ensure_eq("queues", &(open("/dev/net/tun"), open("/dev/vhost-net")), &(2, 2))?;
    ensure_eq("vsock", &open("/dev/vhost-vsock"), &1)?;
    say::step("the tap has two queues with vhost");
    Ok(())
}

fn balloon(host: &Manager) -> Outcome {
    let size = finish(host, "balloon", &["microvm", "balloon", "nest", "16"], ANSWER)?;
    ensure_eq("the balloon", &size.trim(), &"16")
}

/// A hypervisor that is killed is started again, and so is what goes with it.
fn crash(host: &Manager) -> Outcome {
    let main = host.property(UNIT, "MainPID")?;
    host.output(&["kill", "-KILL", &main])?;
    host.until(UNIT, "activating")?;
    wait::until("another guest is up", BOOT, || {
        let state = host.property(UNIT, "ActiveState");
        state.is_ok_and(|state| state == "active")
    })?;
    ensure_eq("restarts", &host.property(UNIT, "NRestarts")?.as_str(), &"1")?;
    ensure(host.property(UNIT, "MainPID")? != main, "another process runs")?;
    say::step("a crash was got over");
    registered(host)
}

/// Somebody at the console, who is heard.
fn console(host: &Manager) -> Outcome<Process> {
    let words = "(echo hello; exec sleep 1000) | exec microvm console nest";
    let mut console = host.start("console", &["sh", "-c", words])?;
    console.says("nested: heard hello", ANSWER)?;
    let log = console.log();
    ensure(!log.contains(UP), format_args!("what was said before is not repeated: {log}"))?;
    Ok(console)
}

/// A connection to the port of ssh, as the proxy of `microvm shell` makes it.
fn vsock(host: &Manager) -> Outcome {
    let words = format!("echo through | microvm internal vsock-connect vsock/{CID} {PORT}");
    let said = finish(host, "vsock", &["sh", "-c", &words], ANSWER)?;
    ensure_eq("the answer", &said.trim(), &"nested: heard through")?;
    say::step("the guest answers on its console and over vsock");
    Ok(())
}

/// The keys are pressed, and the guest goes by itself; nothing is left.
fn stop(host: &Manager, console: &mut Process) -> Outcome {
    finish(host, "stop", &["microvm", "stop", "nest"], BOOT)?;
    ensure(console.log().contains(PRESSED), format_args!("the console: {}", console.log()))?;
    ensure_eq("its state", &host.property(UNIT, "ActiveState")?.as_str(), &"inactive")?;
    ensure_eq("its result", &host.property(UNIT, "Result")?.as_str(), &"success")?;
    ensure_eq("the helper", &host.property(TAPS, "ActiveState")?.as_str(), &"inactive")?;
    ensure(!fs::exists("/sys/class/net/vm-nest")?, "the tap is gone")?;
    let list = host.output(&["machinectl", "list", "--no-legend"])?;
    ensure_eq("the list of machines", &list.trim(), &"")?;
    say::step("the guest went by itself");
    Ok(())
}
