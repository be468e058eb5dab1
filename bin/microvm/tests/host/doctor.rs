// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm host doctor`: what it complains of, and what it does not.

use super::*;

/// Everything that the doctor says of a machine, one text after the other.
fn complaints(ground: &Ground, name: &str) -> Vec<String> {
    let (_, out, err) = ground.run(&["host", "doctor", name, "--json"]);
    let all: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
    let all = all.as_array().expect("a list").iter();
    let own = all.filter(|it| it["what"] == name || it["what"] == "microvm shell");
    let text = |it: &serde_json::Value| it.as_str().expect("a text").to_owned();
    own.map(|it| format!("{} {}", text(&it["level"]), text(&it["text"]))).collect()
}

const NEEDY: &str = r#"
kernel = "/boot/vmlinuz"
kernelBtf = true
vsock.cid = 10
[qemu]
accel = "tcg"
[[volumes]]
image = "made.img"
size = 16
[[volumes]]
image = "there.img"
size = 16
[[volumes]]
image = "/srv/far/other.img"
autoCreate = false
[[devices]]
bus = "pci"
path = "0000:03:00.0"
[[shares]]
tag = "x"
proto = "virtiofs"
source = "/srv/shared"
[[interfaces]]
type = "tap"
id = "vm-a"
mac = "auto"
tap = { vhost = true, bridge = "br0" }
[[interfaces]]
type = "macvtap"
id = "vm-b"
mac = "auto"
macvtap = { link = "nic0", mode = "bridge" }
"#;

/// A file of the root, with this mode.
fn put(ground: &Ground, path: &str, text: &str, mode: u32) {
    let path = ground.write(&format!("root{path}"), text);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

/// A host with the machine `web1`, and nothing of what it needs.
fn needy(what: &str) -> Ground {
    let ground = Ground::new(what);
    // A service manager, so that machines have an account of their own.
    fs::create_dir_all(ground.0.join("root/run/systemd/system")).expect("a directory");
    ground.program("bin/systemctl", "exit 0");
    let path = ground.write("web1.toml", NEEDY);
    ground.said(&["create", "web1", &path]);
    put(&ground, "/etc/passwd", "microvm:x:4000:4001::/:\n", 0o644);
    put(&ground, "/etc/group", "kvm:x:4001:\n", 0o644);
    put(&ground, "/var/lib/microvms/web1/there.img", "", 0o600);
    ground
}

/// All of `texts` are said of `web1`.
fn complains(ground: &Ground, texts: &[&str]) {
    let said = complaints(ground, "web1");
    for text in texts {
        assert!(said.iter().any(|it| it.ends_with(text)), "{text}: {said:#?}");
    }
}

#[test]
fn the_doctor_names_what_a_machine_misses() {
    let ground = needy("misses");
    put(&ground, "/proc/sys/kernel/io_uring_disabled", "2\n", 0o644);
    complains(
        &ground,
        &[
            "web1.toml is gone",
            "its kernel is gone: /boot/vmlinuz",
            "/dev/net/tun is not there; modprobe tun",
            "/dev/vhost-net is not there; modprobe vhost_net",
            "/dev/vhost-vsock is not there; modprobe vhost_vsock",
            "microvm:kvm may not make made.img",
            "microvm:kvm may not write there.img",
            "/srv/far/other.img is missing, and nothing makes it",
            "kernel.io_uring_disabled is set; volumes need qemu.aio = \"threads\"",
            "/srv/shared, which it shares, is no directory",
            "there is no PCI device 0000:03:00.0",
            "the bridge br0 of vm-a is missing; ip link add br0 type bridge",
            "the link nic0 of vm-b is missing",
            "ssh goes through microvm",
        ],
    );
    let daemon = "virtiofsd version 7.2; echo using FUSE kernel interface version 7.36";
    ground.program("bin/virtiofsd", &format!("echo {daemon}"));
    let old = "bin/virtiofsd is the old C program, which takes other options\n";
    assert!(ground.run(&["host", "doctor"]).1.contains(old));
    ground.program("bin/virtiofsd", "echo virtiofsd 1.14.0");
    assert!(ground.run(&["host", "doctor"]).1.contains("ok   virtiofsd: /"));
    put(&ground, "/etc/group", "other:x:4001:\n", 0o644);
    complains(&ground, &["the group kvm of virtiofsd.group is missing; \"\" stands for none"]);
}

#[test]
fn the_doctor_names_what_is_there_and_does_not_serve() {
    let ground = needy("serves");
    put(&ground, "/boot/vmlinuz", "x", 0o644);
    for node in ["net/tun", "vhost-net", "vhost-vsock"] {
        put(&ground, &format!("/dev/{node}"), "", 0o600);
    }
    let (device, links) = ("/sys/bus/pci/devices/0000:03:00.0", "/sys/class/net");
    put(&ground, &format!("{device}/driver_override"), "", 0o644);
    put(&ground, &format!("{links}/br0/flags"), "0x1002\n", 0o644);
    put(&ground, &format!("{links}/nic0/flags"), "0x1002\n", 0o644);
    complains(
        &ground,
        &[
            "microvm:kvm may not use /dev/vhost-net; its owner or mode must change",
            "the PCI device 0000:03:00.0 has no IOMMU group: enable the IOMMU",
            "br0, to which vm-a belongs, is no bridge",
            "the link nic0 of vm-b is down; ip link set nic0 up",
        ],
    );
    fs::create_dir_all(ground.0.join("root/sys/class/net/br0/bridge")).expect("a directory");
    complains(&ground, &["the bridge br0 of vm-a is down; ip link set br0 up"]);

    // Everything as it should be.
    for node in ["net/tun", "vhost-net", "vhost-vsock"] {
        put(&ground, &format!("/dev/{node}"), "", 0o666);
    }
    put(&ground, &format!("{device}/iommu_group"), "", 0o644);
    put(&ground, &format!("{links}/br0/flags"), "0x1003\n", 0o644);
    put(&ground, &format!("{links}/nic0/flags"), "0x1003\n", 0o644);
    put(&ground, "/srv/far/other.img", "", 0o666);
    put(&ground, "/srv/shared/file", "", 0o644);
    let state = "/var/lib/microvms/web1";
    put(&ground, &format!("{state}/there.img"), "", 0o666);
    fs::set_permissions(ground.0.join(format!("root{state}")), fs::Permissions::from_mode(0o777))
        .expect("a mode");
    put(&ground, &ground.0.join("web1.toml").to_string_lossy(), "", 0o644);
    let said = complaints(&ground, "web1");
    assert_eq!(said[0], "ok has all that it needs", "{said:#?}");
    // A kernel that says what it lacks.
    symlink("vmlinuz", ground.0.join("root/boot/vmlinuz-6")).expect("a link");
    put(&ground, "/boot/config-6", "# CONFIG_DEBUG_INFO_BTF is not set\n", 0o644);
    let path = ground.write("web1.toml", &NEEDY.replace("vmlinuz", "vmlinuz-6"));
    put(&ground, &path, "", 0o644);
    ground.said(&["update", "web1"]);
    complains(&ground, &["/boot/vmlinuz-6 has no BTF type information, which kernelBtf asks for"]);
}

#[test]
fn the_doctor_tries_the_way_into_a_machine() {
    let ground = Ground::new("way");
    fs::create_dir_all(ground.0.join("root/run/systemd/system")).expect("a directory");
    ground.program("bin/ssh", "echo 'proxycommand none'");
    let stands = "echo Id=microvm@fc.service; echo ActiveState=";
    let text = "kernel = \"/k\"\nhypervisor = \"cloud-hypervisor\"\nvsock.cid = 10\n";
    let path = ground.write("fc.toml", text);
    ground.program("bin/systemctl", &format!("{stands}inactive"));
    ground.said(&["create", "fc", &path]);
    let way = || {
        let all = complaints(&ground, "fc");
        all.into_iter().last().expect("it says something")
    };
    assert_eq!(way(), "note fc does not run, so its sshd was not tried");
    ground.program("bin/systemctl", &format!("{stands}active"));
    let said = way();
    assert!(said.starts_with("bad no sshd at vsock-mux/") && said.contains(": cannot connect"));
    // A hypervisor that knows the port, and what may listen there.
    let socket = ground.0.join("root/var/lib/microvms/fc/notify.vsock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let answers: [&[u8]; 3] = [b"", b"OK 1\nHTTP", b"OK 1\nSSH-2.0-x\r\n"];
    let peer = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = ready(&listener).accept().expect("a client");
            let mut heard = [0; 11];
            std::io::Read::read_exact(&mut Patient::new(&stream), &mut heard).expect("a question");
            assert_eq!(&heard, b"CONNECT 22\n");
            std::io::Write::write_all(&mut stream, answer).expect("it listens");
        }
    });
    assert!(way().contains("nobody listens on vsock port 22"));
    assert!(way().contains("something else answers"));
    assert!(way().starts_with("ok an sshd answers at vsock-mux/"));
    joined(peer);
    // Without a number there is no way.
    ground.write("fc.toml", "kernel = \"/k\"\nhypervisor = \"cloud-hypervisor\"\n");
    ground.said(&["update", "fc"]);
    assert_eq!(way(), "note fc has no vsock.cid, so no way in");
}

#[test]
fn root_the_doctor_looks_at_bridges_and_their_helper() {
    let ground = Ground::new("bridges");
    let text = "kernel = \"/k\"\n[[interfaces]]\ntype = \"bridge\"\nid = \"b\"\n\
                mac = \"auto\"\nbridge = \"br0\"\n\
                [[interfaces]]\ntype = \"tap\"\nid = \"t\"\nmac = \"auto\"\n";
    let path = ground.write("web1.toml", text);
    ground.said(&["create", "web1", &path]);
    let doctor = || ground.run(&["host", "doctor", "--net"]).1;
    let says = |line: &str| assert!(doctor().contains(line), "{line}\n{}", doctor());
    let helper = "/usr/lib/qemu/qemu-bridge-helper";
    says(&format!("bad  {helper}: is not there; interfaces of type bridge need it\n"));
    ground.program(&format!("root{helper}"), "");
    says(&format!("need setcap cap_net_admin+ep {helper}\n"));
    let there = ground.0.join(format!("root{helper}"));
    let able = format!("ok   {helper}: may attach machines to the bridges of bridge.conf\n");
    // The second version of the attribute, with the one capability.
    let attribute = [&[1, 0, 0, 2, 0, 0x10][..], &[0; 14]].concat();
    let name = "security.capability";
    rustix::fs::setxattr(&there, name, &attribute, rustix::fs::XattrFlags::empty())
        .expect("root may do that");
    says(&able);
    rustix::fs::removexattr(&there, name).expect("it was there");
    fs::set_permissions(&there, fs::Permissions::from_mode(0o4755)).expect("a mode");
    says(&able);
    says(
        "bad  web1: /etc/qemu/bridge.conf does not allow br0; microvm host install --bridge br0\n",
    );
    ground.write("root/etc/qemu/bridge.conf", "allow br0\n");
    assert!(!doctor().contains("bridge.conf does"));
    says("note web1: nothing attaches t to a network; see interfaces.tap.bridge");
    says("note forwarding: is off for IPv4");
    ground.write("root/proc/sys/net/ipv4/ip_forward", "1\n");
    says("ok   forwarding: is on for IPv4\n");
    // Without being asked, no networks.
    assert!(!ground.run(&["host", "doctor"]).1.contains("forwarding"));
}
