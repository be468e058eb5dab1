// SPDX-License-Identifier: Apache-2.0 OR MIT
//! microvm and what only some kernels have: PCI devices behind an IOMMU, and file systems that are
//! made, mounted and grown.
//!
//! The hypervisor is a script: what is proven here lies before its start and behind its end.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use super::{Guest, Kernel, Needs, Scenario};
use crate::inside::process::{Process, Said};
use crate::inside::{Outcome, ensure, ensure_eq, process, say};

/// Devices given away and taken back; volumes made and grown.
pub const KERNEL: Scenario = Scenario {
    name: "kernel",
    about: "microvm: devices behind an IOMMU, volumes of every file system made and grown",
    needs: Needs {
        microvm: true,
        iommu: true,
        file_systems: true,
        memory_mib: 1024,
        modules: &[
            "vfio_iommu_type1",
            "vfio-pci",
            "loop",
            "xfs",
            "btrfs",
            "vfat",
            "nls_cp437",
            "nls_ascii",
            "vhost_net",
        ],
        ..Needs::BARE
    },
    kernels: &[Kernel::V6_1],
    seconds: 400,
    run: kernel,
};

/// For a file system of some size on an emulated processor.
const LONG: Duration = Duration::from_secs(120);
/// What stands for the hypervisor: `stays` waits for its end, others are over at once.
const HYPERVISOR: &str = "#!/bin/sh\ncase \"$*\" in *stays*) ;; *) exit 0 ;; esac\n\
                          trap 'exit 0' TERM\nwhile :; do sleep 1000 & wait $!; done\n";
const STATE: &str = "/var/lib/microvms";

/// Alone in its group.
const ALONE: &str = "0000:00:09.0";
/// Two of one slot, in one group.
const TWINS: [&str; 2] = ["0000:00:08.0", "0000:00:08.1"];
/// Where the IOMMU does not reach.
const UNSEEN: &str = "0000:21:01.0";
/// A bridge, which vfio-pci does not take.
const BRIDGE: &str = "0000:00:0a.0";
/// Where nothing is.
const NONE: &str = "0000:00:1d.0";
/// The account and the group of machines here.
const OWNER: (u32, u32) = (990, 36);

fn kernel(_: &Guest) -> Outcome {
    process::busybox(&["--install", "-s", "/bin"])?;
    fs::create_dir_all("/usr/bin")?;
    fs::create_dir_all("/srv")?;
    fs::write("/usr/bin/qemu-system-x86_64", HYPERVISOR)?;
    fs::set_permissions("/usr/bin/qemu-system-x86_64", fs::Permissions::from_mode(0o755))?;
    append("/etc/passwd", &format!("microvm:x:{}:{}::/:/bin/false\n", OWNER.0, OWNER.1))?;
    append("/etc/group", &format!("kvm:x:{}:\n", OWNER.1))?;
    one_device()?;
    groups()?;
    with_the_machine()?;
    volumes()?;
    doctor()?;
    larger_volumes()?;
    damage()
}

fn append(path: &str, text: &str) -> Outcome {
    Ok(fs::write(path, fs::read_to_string(path)? + text)?)
}

/// The name that a link of a device leads to.
fn link(address: &str, name: &str) -> String {
    let target = fs::read_link(format!("/sys/bus/pci/devices/{address}/{name}"));
    let target = target.unwrap_or_default();
    target.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn driver_is(address: &str, wanted: &str) -> Outcome {
    ensure_eq(&format!("the driver of {address}"), &link(address, "driver").as_str(), &wanted)
}

fn describe(name: &str, more: &str) -> Outcome<String> {
    let path = format!("/srv/{name}.toml");
    let text = format!(
        "hostName = \"{name}\"\nkernel = \"/etc/hosts\"\nsocket = false\n\
         [qemu]\naccel = \"tcg\"\n{more}"
    );
    fs::write(&path, text)?;
    Ok(path)
}

/// Builds a package with these devices, and gives its directory.
fn package(name: &str, devices: &[&str], more: &str) -> Outcome<String> {
    let one = |path: &&str| format!("[[devices]]\nbus = \"pci\"\npath = \"{path}\"\n{more}\n");
    let path = describe(name, &devices.iter().map(one).collect::<String>())?;
    let package = format!("/srv/{name}");
    process::output(&["/usr/bin/microvm", "build", &path, "-o", &package])?;
    Ok(package)
}

/// Runs a script of a package; it must end with `code` and say `wanted` on standard error.
fn script(package: &str, name: &str, code: i32, wanted: &str) -> Outcome {
    let said = process::run(&[&format!("{package}/bin/{name}")])?;
    ensure_eq(&format!("{name} of {package}"), &(said.code, said.err.as_str()), &(code, wanted))
}

/// A device goes to vfio-pci, to its new owner, and back.
fn one_device() -> Outcome {
    for address in [ALONE, TWINS[0], TWINS[1], UNSEEN] {
        driver_is(address, "virtio-pci")?;
    }
    let alone = package("alone", &[ALONE], "")?;
    process::busybox(&["rmmod", "vfio_pci"])?;
    script(&alone, "pci-setup", 1, "microvm: the kernel has no driver vfio-pci\n")?;
    // With what modprobe needs, it is loaded.
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let modules = format!("/lib/modules/{}", release.trim());
    fs::create_dir(&modules)?;
    fs::write(format!("{modules}/modules.dep"), "../vfio-pci.ko:\n")?;
    script(&alone, "pci-setup", 0, "")?;
    driver_is(ALONE, "vfio-pci")?;
    let node = format!("/dev/vfio/{}", link(ALONE, "iommu_group"));
    let found = fs::metadata(&node)?;
    ensure_eq("the owner of the group", &(found.uid(), found.gid()), &OWNER)?;
    let opens = |user: u32| {
        let from = format!("if={node}");
        process::run_as(user, &["/bin/dd", &from, "count=0"]).map(|said| said.code)
    };
    ensure_eq("opened by its owner", &opens(OWNER.0)?, &0)?;
    ensure_eq("opened by another", &opens(65534)?, &1)?;
    script(&alone, "pci-setup", 0, "")?;
    script(&alone, "pci-teardown", 0, "")?;
    driver_is(ALONE, "virtio-pci")?;
    ensure(!Path::new(&node).exists(), "its group is gone")?;
    let mark = fs::read_to_string(format!("/sys/bus/pci/devices/{ALONE}/driver_override"))?;
    ensure_eq("the mark", &mark.as_str(), &"(null)\n")?;
    script(&alone, "pci-teardown", 0, "")?;
    driver_is(ALONE, "virtio-pci")?;
    say::step("a device went away and came back");
    Ok(())
}

/// What is refused leaves everything as it was; what is allowed takes what is named.
fn groups() -> Outcome {
    let [first, second] = TWINS;
    let group = link(first, "iommu_group");
    ensure_eq("the group of the second", &link(second, "iommu_group"), &group)?;
    let refusals = [
        (
            vec![ALONE, first],
            format!(
                "the PCI device {first} shares IOMMU group {group} with {second}, not on \
                 vfio-pci; devices.allowGroup = true passes over this"
            ),
        ),
        (vec![ALONE, BRIDGE], format!("vfio-pci does not take the PCI device {BRIDGE}")),
        (vec![ALONE, NONE], format!("the PCI device {NONE} does not exist")),
        (
            vec![ALONE, UNSEEN],
            format!("the PCI device {UNSEEN} has no IOMMU group: enable the IOMMU"),
        ),
    ];
    for (devices, words) in refusals {
        let refused = package("refused", &devices, "")?;
        script(&refused, "pci-setup", 1, &format!("microvm: {words}\n"))?;
        for address in devices.into_iter().filter(|it| ![NONE, BRIDGE].contains(it)) {
            driver_is(address, "virtio-pci")?;
        }
        fs::remove_dir_all(refused)?;
    }
    let both = package("both", &TWINS, "")?;
    script(&both, "pci-setup", 0, "")?;
    TWINS.iter().try_for_each(|address| driver_is(address, "vfio-pci"))?;
    script(&both, "pci-teardown", 0, "")?;
    TWINS.iter().try_for_each(|address| driver_is(address, "virtio-pci"))?;
    let shared = package("shared", &[first], "allowGroup = true")?;
    script(&shared, "pci-setup", 0, "")?;
    driver_is(first, "vfio-pci")?;
    driver_is(second, "virtio-pci")?;
    script(&shared, "pci-teardown", 0, "")?;
    driver_is(first, "virtio-pci")?;
    say::step("groups are whole, or shared on request");
    Ok(())
}

fn microvm(words: &[&str]) -> Outcome<Said> {
    process::run(&[&["/usr/bin/microvm"], words].concat())
}

fn done(words: &[&str]) -> Outcome<Said> {
    let said = microvm(words)?;
    ensure(said.code == 0, format_args!("{words:?} ended with {}: {}", said.code, said.err))?;
    Ok(said)
}

/// A machine has its device while it runs, with nobody but microvm to start and stop it.
fn with_the_machine() -> Outcome {
    let device = format!("[[devices]]\nbus = \"pci\"\npath = \"{ALONE}\"\n");
    done(&["create", "stays", &describe("stays", &device)?])?;
    done(&["start", "stays"])?;
    driver_is(ALONE, "vfio-pci")?;
    done(&["stop", "stays"])?;
    driver_is(ALONE, "virtio-pci")?;
    say::step("a machine had its device for its life");
    Ok(())
}

/// The file systems of volumes: the type, the sizes before and after in MiB.
const VOLUMES: [(&str, u32, u32); 3] = [("xfs", 320, 400), ("btrfs", 128, 256), ("vfat", 16, 16)];

/// The description of a machine with a volume of each type.
fn described(size: fn(&(&str, u32, u32)) -> u32) -> Outcome<String> {
    let one = |it: &(&str, u32, u32)| {
        let fs = it.0;
        format!(
            "[[volumes]]\nimage = \"{fs}.img\"\nfsType = \"{fs}\"\nlabel = \"of-{fs}\"\n\
             size = {}\n",
            size(it)
        )
    };
    describe("disks", &VOLUMES.iter().map(one).collect::<String>())
}

fn image(fs: &str) -> String {
    format!("{STATE}/disks/{fs}.img")
}

/// [`microvm`] with patience; what it said went to one place.
fn patiently(words: &[&str]) -> Outcome<(bool, String)> {
    let mut running = Process::start("microvm", &[&["/usr/bin/microvm"], words].concat(), &[])?;
    let before = running.log().len();
    let (status, _) = running.ended(LONG)?;
    Ok((status.success(), running.log().get(before..).unwrap_or_default().to_owned()))
}

/// Mounts an image, looks with `then` at the place, and unmounts it.
fn mounted<T>(fs: &str, then: impl FnOnce(&str) -> Outcome<T>) -> Outcome<T> {
    process::busybox(&["mount", "-t", fs, "-o", "loop", &image(fs), "/mnt"])?;
    let seen = then("/mnt");
    process::busybox(&["umount", "-d", "/mnt"])?;
    seen
}

/// What the superblock in an image has as its label.
fn label_of(fs: &str) -> Outcome<String> {
    let (at, length) = match fs {
        "xfs" => (108, 12),
        "btrfs" => (0x1_0000 + 0x12b, 256),
        _ => (43, 11),
    };
    let mut bytes = vec![0; length];
    fs::File::open(image(fs))?.read_exact_at(&mut bytes, at)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\0', ' ']).to_owned())
}

/// The size of a mounted file system, in MiB.
fn mib(place: &str) -> Outcome<u64> {
    let found = rustix::fs::statvfs(place)?;
    Ok((found.f_blocks * found.f_frsize) >> 20)
}

/// Each is made when the machine first starts, and can be mounted and written.
fn volumes() -> Outcome {
    done(&["create", "disks", &described(|it| it.1)?])?;
    let (is_well, said) = patiently(&["run", "disks"])?;
    ensure(is_well, &said)?;
    ensure_eq("what was said", &said.as_str(), &"microvm: vfat has labels in capitals: OF-VFAT\n")?;
    for (fs, size, _) in VOLUMES {
        let label = if fs == "vfat" { "OF-VFAT".to_owned() } else { format!("of-{fs}") };
        ensure_eq(&format!("the label of {fs}"), &label_of(fs)?, &label)?;
        let is_about = mounted(fs, |place| {
            fs::write(format!("{place}/file"), "stays\n")?;
            mib(place)
        })?;
        let whole = u64::from(size);
        ensure(is_about <= whole && is_about * 10 >= whole * 7, format_args!("{fs}: {is_about}"))?;
    }
    nothing_left()?;
    say::step("volumes of all types were made, mounted and written");
    Ok(())
}

/// No loop device, no mount.
fn nothing_left() -> Outcome {
    for entry in fs::read_dir("/sys/block")? {
        let place = entry?.path();
        ensure(!place.join("loop").exists(), format_args!("{} is left", place.display()))?;
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure(!mounts.contains("/dev/loop"), format_args!("{mounts}"))
}

/// What the doctor says is so: of devices, and of direct access to files.
fn doctor() -> Outcome {
    let devices = [ALONE, UNSEEN, NONE].map(|it| format!("{{ bus = \"pci\", path = \"{it}\" }}"));
    let more = "[[volumes]]\nimage = \"here.img\"\nautoCreate = false\ndirect = true\n\
         [[volumes]]\nimage = \"/mnt/there.img\"\nautoCreate = false\ndirect = true\n\
         [[interfaces]]\ntype = \"tap\"\nid = \"t\"\nmac = \"auto\"\ntap.vhost = true\n\
         [[interfaces]]\ntype = \"macvtap\"\nid = \"m\"\nmac = \"auto\"\n\
         macvtap = { link = \"lo\", mode = \"bridge\" }\n";
    let path = describe("ill", more)?;
    // In front of the first table.
    let text = fs::read_to_string(&path)?;
    fs::write(&path, format!("devices = [{}]\n{text}", devices.join(", ")))?;
    done(&["create", "ill", &path])?;
    fs::write(format!("{STATE}/ill/here.img"), "x")?;
    let said = mounted("xfs", |place| {
        fs::write(format!("{place}/there.img"), "x")?;
        microvm(&["host", "doctor", "ill"])
    })?;
    ensure_eq("the doctor's exit", &said.code, &1)?;
    let own: Vec<&str> =
        said.out.lines().filter_map(|line| line.split_once(" ill: ").map(|it| it.1)).collect();
    let wanted = [
        "here.img is on a file system without direct access; leave direct out".to_owned(),
        format!("the PCI device {UNSEEN} has no IOMMU group: enable the IOMMU"),
        format!("there is no PCI device {NONE}"),
        "nothing attaches t to a network; see interfaces.tap.bridge, or give it an address and a \
         route"
            .to_owned(),
    ];
    ensure_eq("complaints", &own, &wanted.iter().map(String::as_str).collect::<Vec<_>>())?;
    let all = microvm(&["host", "doctor"])?;
    ensure(all.out.starts_with("note /dev/kvm: is not there; "), &all.out)?;
    ensure(all.out.contains("\nok   stays: has all that it needs\n"), &all.out)?;
    process::busybox(&["rmmod", "vhost_net"])?;
    let said = microvm(&["host", "doctor", "ill"])?;
    let line = "bad  ill: /dev/vhost-net is not there; modprobe vhost_net\n";
    ensure(said.out.contains(line), &said.out)?;
    say::step("the doctor was right");
    Ok(())
}

fn grow(fs: &str, more: &[&str]) -> Outcome<(bool, String)> {
    patiently(&[&["volume", "grow", "disks", &format!("{fs}.img")], more].concat())
}

/// An image grows, then the file system in it; the kernel and its own checker are content.
fn larger_volumes() -> Outcome {
    described(|it| it.2)?;
    done(&["update", "disks"])?;
    let (_, said) = patiently(&["run", "disks"])?;
    ensure(said.contains("to grow it: microvm volume grow disks xfs.img\n"), &said)?;
    for ((fs, before, after), checker) in VOLUMES
        .into_iter()
        .zip([&["/sbin/xfs_repair", "-n"][..], &["/bin/btrfs", "check", "--readonly"]])
    {
        let was = mounted(fs, mib)?;
        let told = grow(fs, &[])?;
        ensure_eq(fs, &told, &(true, format!("{fs}.img: {before} MiB -> {after} MiB\n")))?;
        ensure_eq("the size without being asked", &mounted(fs, mib)?, &was)?;
        let told = grow(fs, &["--file-system"])?;
        ensure_eq(fs, &told, &(true, format!("{fs}.img: {after} MiB -> {after} MiB\n")))?;
        nothing_left()?;
        let is = mounted(fs, |place| {
            ensure_eq(
                "the file",
                &fs::read_to_string(format!("{place}/file"))?.as_str(),
                &"stays\n",
            )?;
            mib(place)
        })?;
        ensure_eq(&format!("MiB more of {fs}"), &(is - was), &u64::from(after - before))?;
        // What fills it already is left as it is.
        ensure(grow(fs, &["--file-system"])?.0, fs)?;
        ensure_eq("the size after another time", &mounted(fs, mib)?, &is)?;
        let path = image(fs);
        let mut check = Process::start("check", &[checker, &[&path]].concat(), &[])?;
        let (status, _) = check.ended(LONG)?;
        ensure(status.success(), check.log())?;
    }
    let told = grow("vfat", &["--file-system"])?;
    ensure_eq(
        "vfat",
        &told,
        &(false, "microvm: a file system of type vfat cannot grow\n".to_owned()),
    )?;
    say::step("volumes grew with what was in them");
    Ok(())
}

/// What cannot be mounted is told, and nothing stays of the attempt.
fn damage() -> Outcome {
    for fs in ["xfs", "btrfs"] {
        fs::write(image(fs), vec![0; 128 << 20])?;
        let (is_well, said) = grow(fs, &["--file-system"])?;
        let wanted = format!("microvm: cannot mount {}: ", image(fs));
        ensure(!is_well && said.starts_with(&wanted), format_args!("{fs}: {said}"))?;
        nothing_left()?;
    }
    process::busybox(&["rmmod", "btrfs"])?;
    let told = grow("btrfs", &["--file-system"])?;
    let words = "microvm: the kernel of this host has no btrfs\n";
    ensure_eq("without the module", &told, &(false, words.to_owned()))?;
    process::busybox(&["rmmod", "loop"])?;
    let (_, said) = grow("xfs", &["--file-system"])?;
    let wanted = format!("microvm: cannot make a block device of {}: ", image("xfs"));
    ensure(said.starts_with(&wanted), &said)?;
    say::step("damage was told");
    Ok(())
}
