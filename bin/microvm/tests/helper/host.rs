// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal pci-setup`, `pci-teardown`, `register` and `unregister`: on a tree that stands for the
//! kernel's, and with a program that stands for `busctl`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use plinth::proc::Ending;
use plinth::testing::{Place, run};
use rustix::process::getuid;

use crate::support::{internal, script, verdict};

const FIRST: &str = "0000:01:00.0";
const SECOND: &str = "0000:01:00.1";
const BRIDGE: &str = "0000:00:1c.0";

fn put(at: &Path, name: &str, text: &str) {
    let path = at.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(path, text).expect("a file");
}

fn read(at: &Path, name: &str) -> String {
    fs::read_to_string(at.join(name)).expect("a file")
}

fn package(at: &Path, devices: &str, config: &str) {
    put(at, "package/share/microvm/pci-devices", devices);
    put(at, "package/share/microvm/runner.json", &format!("{{\"config\": {config}}}"));
}

/// A root with two functions of one card and the bridge above them, all in one group.
fn root(at: &Path) {
    let bus = "root/sys/bus/pci";
    put(at, &format!("{bus}/drivers_probe"), "");
    put(at, &format!("{bus}/drivers/vfio-pci/unbind"), "");
    put(at, "root/dev/vfio/7", "");
    put(at, "root/etc/passwd", &format!("vm:x:{}:0::/:\n", getuid().as_raw()));
    put(at, "root/etc/group", "kvm:x:36:\n");
    for (address, driver, class) in [
        (FIRST, "nvme", "0x010802\n"),
        (SECOND, "e1000e", "0x020000\n"),
        (BRIDGE, "x", "0x060400\n"),
    ] {
        let device = format!("{bus}/devices/{address}");
        put(at, &format!("{bus}/drivers/{driver}/unbind"), "");
        put(at, &format!("{device}/driver_override"), "(null)\n");
        put(at, &format!("{device}/class"), class);
        put(at, &format!("root/sys/kernel/iommu_groups/7/devices/{address}"), "");
        symlink(format!("../../drivers/{driver}"), at.join(&device).join("driver"))
            .expect("a link");
        let group = at.join(&device).join("iommu_group");
        symlink("../../../../kernel/iommu_groups/7", group).expect("a link");
    }
}

fn pci(at: &Path, action: &str) -> (Ending, String) {
    let mut command = internal(at, [action, "--package", "package", "--root", "root"]);
    command.env("MICROVM_USER", "vm").env_remove("MICROVM_GROUP");
    verdict(&run(command))
}

/// What the kernel does when vfio-pci takes a device.
fn bind(at: &Path, address: &str) {
    let link = at.join(format!("root/sys/bus/pci/devices/{address}/driver"));
    fs::remove_file(&link).expect("a link");
    symlink("../../drivers/vfio-pci", link).expect("a link");
}

#[test]
fn root_devices_are_unbound_marked_probed_and_owned() {
    let at = Place::new();
    root(&at);
    package(&at, &format!("{FIRST}\n{SECOND}\n"), "{}");
    // Nobody binds anything here: that is noticed, and the first goes back.
    let refused = format!("microvm: vfio-pci does not take the PCI device {FIRST}\n");
    assert_eq!(pci(&at, "pci-setup"), (Ending::Exited(1), refused));
    let bus = "root/sys/bus/pci";
    assert_eq!(read(&at, &format!("{bus}/drivers/nvme/unbind")), FIRST);
    assert_eq!(read(&at, &format!("{bus}/drivers/e1000e/unbind")), "");
    // What was written last is on top of what was written first.
    let mark = |address| read(&at, &format!("{bus}/devices/{address}/driver_override"));
    assert_eq!((mark(FIRST).as_str(), mark(SECOND).as_str()), ("\nfio-pci", "(null)\n"));
    assert_eq!(read(&at, &format!("{bus}/drivers_probe")), FIRST);
    [FIRST, SECOND].iter().for_each(|address| bind(&at, address));
    assert_eq!(pci(&at, "pci-setup"), (Ending::Exited(0), String::new()));
    let owner = fs::metadata(at.join("root/dev/vfio/7")).expect("a device");
    assert_eq!((owner.uid(), owner.gid()), (getuid().as_raw(), 36));
    assert_eq!(pci(&at, "pci-teardown"), (Ending::Exited(0), String::new()));
    assert_eq!(read(&at, &format!("{bus}/drivers/vfio-pci/unbind")), SECOND);
    assert!(mark(SECOND).starts_with('\n'), "{:?}", mark(SECOND));
}

#[test]
fn nothing_is_changed_when_a_device_cannot_be_taken() {
    let at = Place::new();
    root(&at);
    let unbind = "root/sys/bus/pci/drivers/nvme/unbind";
    package(&at, &format!("{FIRST}\n"), "{}");
    let (ending, said) = pci(&at, "pci-setup");
    assert_eq!(ending, Ending::Exited(1));
    assert_eq!(
        said,
        format!(
            "microvm: the PCI device {FIRST} shares IOMMU group 7 with {SECOND}, not on vfio-pci; \
             devices.allowGroup = true passes over this\n"
        )
    );
    package(&at, &format!("{FIRST}\n0000:09:00.0\n"), "{}");
    let (_, said) = pci(&at, "pci-setup");
    assert!(said.contains("shares IOMMU group"), "{said}");
    let both = format!("{FIRST}\n{SECOND}\n0000:09:00.0\n");
    package(&at, &both, "{}");
    let (_, said) = pci(&at, "pci-setup");
    assert_eq!(said, "microvm: the PCI device 0000:09:00.0 does not exist\n");
    package(&at, "../../x\n", "{}");
    let (_, said) = pci(&at, "pci-setup");
    assert_eq!(said, "microvm: not the address of a PCI device: ../../x\n");
    fs::remove_file(at.join(format!("root/sys/bus/pci/devices/{FIRST}/iommu_group"))).expect("it");
    package(&at, &format!("{FIRST}\n"), "{}");
    let (_, said) = pci(&at, "pci-setup");
    assert!(said.ends_with(&format!("{FIRST} has no IOMMU group: enable the IOMMU\n")), "{said}");
    assert_eq!(read(&at, unbind), "");
}

#[test]
fn root_a_group_may_be_shared_on_request() {
    let at = Place::new();
    root(&at);
    let config = format!("{{\"devices\": [{{\"path\": \"{FIRST}\", \"allowGroup\": true}}]}}");
    package(&at, &format!("{FIRST}\n"), &config);
    bind(&at, FIRST);
    assert_eq!(pci(&at, "pci-setup"), (Ending::Exited(0), String::new()));
}

/// `busctl` that notes its words, knows these methods, and ends with this status.
fn busctl(at: &Path, methods: &str, status: u8) -> String {
    let dir = at.join("bin");
    fs::create_dir_all(&dir).expect("a directory");
    let lines = format!(
        "echo \"$*\" >>said\n\
         case $2 in\n\
         introspect) printf '%s method x - -\\n' {methods};;\n\
         *) echo no >&2; exit {status};;\n\
         esac"
    );
    script(&dir.join("busctl"), &lines);
    format!("{}:/usr/bin:/bin", dir.display())
}

const MACHINE: &str = "{\"name\": \"web1\", \"hypervisor\": \"qemu\", \"config\": {\"machineId\": \
                       \"00000000-0000-0000-0000-0000000000ff\", \"vsock\": {\"cid\": 42}}}";
const OBJECT: &str = "org.freedesktop.machine1 /org/freedesktop/machine1 \
                      org.freedesktop.machine1.Manager";

#[test]
fn a_machine_is_registered_as_the_service_knows_it() {
    for (methods, call) in [
        (".ListMachines .RegisterMachine", "RegisterMachine sayssus web1 16 0 0"),
        (".RegisterMachine .RegisterMachineEx", "RegisterMachine"),
    ] {
        let at = Place::new();
        put(&at, "package/share/microvm/runner.json", MACHINE);
        let path = busctl(&at, methods, 0);
        let leader = std::process::id().to_string();
        let mut command = internal(&at, ["register", "--package", "package", "--", &leader]);
        command.env("PATH", &path);
        assert_eq!(verdict(&run(command)), (Ending::Exited(0), String::new()));
        let said = read(&at, "said");
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some(format!("--system introspect {OBJECT}").as_str()));
        let line = lines.next().expect("a call");
        assert!(line.starts_with(&format!("--system call {OBJECT} {call}")), "{line}");
        assert!(line.contains(&format!(" {leader} ")), "{line}");
        // A kernel before 6.9 cannot tell processes apart for good, and the older call stands in.
        if line.contains("RegisterMachineEx") {
            assert!(line.contains(&format!(" u {leader} LeaderPIDFDID t ")), "{line}");
        }
    }
}

#[test]
fn a_refusal_counts_for_the_register_alone() {
    let at = Place::new();
    put(&at, "package/share/microvm/runner.json", MACHINE);
    let path = busctl(&at, ".RegisterMachine", 1);
    let mut command = internal(&at, ["register", "--package", "package", "4711"]);
    command.env("PATH", &path);
    let (ending, said) = verdict(&run(command));
    assert_eq!(
        (ending, said.as_str()),
        (Ending::Exited(1), "microvm: systemd-machined refused: no\n")
    );
    let mut command = internal(&at, ["unregister", "--package", "package"]);
    command.env("PATH", &path);
    assert_eq!(verdict(&run(command)), (Ending::Exited(0), String::new()));
    let said = read(&at, "said");
    // Terminating it would keep its unit from being started again after a crash.
    let call = format!("--system call {OBJECT} UnregisterMachine s web1\n");
    assert!(said.ends_with(&call), "{said}");
    let mut command = internal(&at, ["unregister", "--package", "package"]);
    command.env("PATH", "/nonexistent");
    let (ending, said) = verdict(&run(command));
    assert_eq!(
        (ending, said.as_str()),
        (Ending::Exited(6), "microvm: busctl not found, needed by registerWithMachined\n")
    );
}
