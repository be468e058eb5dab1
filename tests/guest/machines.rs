// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm` and QEMU for real: machines are built from descriptions, booted under emulation,
//! looked at from both sides, and stopped by their own scripts.

use std::error::Error;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use plinth::testing::Patient;
use rig::host::build;
use rig::host::lab::Lab;
use rig::host::machine::{Machine, run};
use rig::scenarios::Kernel;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const DISKS: [&str; 4] = ["virtio_mmio", "virtio_pci", "virtio_blk", "erofs"];
const LIMIT: Duration = Duration::from_secs(60);
/// For a command that builds guests, or boots several.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(900);

/// The description of a machine with something of everything.
fn described(machine: &str, port: u16) -> String {
    format!(
        r#"
        hostName = "t-{machine}"
        mem = 256
        kernel = "vmlinuz"
        initrdPath = "initrd"
        console = "socket"
        balloon = true
        kernelParams = ["quiet"]
        storeDiskSource = "root"
        storeDiskIsRoot = false
        credentialFiles = {{ KEY = "secret" }}
        [qemu]
        machine = "{machine}"
        accel = "tcg"
        aio = "threads"
        [[volumes]]
        image = "made.img"
        size = 16
        label = "data"
        serial = "SER-1"
        [[volumes]]
        image = "fixed.img"
        readOnly = true
        autoCreate = false
        [[interfaces]]
        type = "user"
        id = "net0"
        mac = "02:00:00:00:00:01"
        [[forwardPorts]]
        host = {{ address = "127.0.0.1", port = {port} }}
        guest = {{ port = 80 }}
        "#
    )
}

/// Disks, network, balloon and credentials on one machine type.
fn machine_type(machine: &str) -> Outcome {
    let port = free_port()?;
    let toml = described(machine, port);
    let program = build::microvm(Lab::find().workspace())?.join("microvm");
    let modules: Vec<&str> =
        DISKS.into_iter().chain(["virtio_net", "virtio_balloon", "qemu_fw_cfg"]).collect();
    let mut vm = Machine::start(machine, Kernel::V6_1, &modules, &toml, |at| {
        fs::write(at.join("secret"), "of the host\n")?;
        fs::write(at.join("fixed.img"), "never changed".repeat(400))?;
        fs::create_dir(at.join("root"))?;
        fs::write(at.join("root/file"), "in the root image\n")?;
        let mut making = Command::new(&program);
        making.args(["image", "build", "vm.toml"]).current_dir(at);
        run(making, LIMIT).map(|_| Vec::new()).map_err(|error| io::Error::other(error.to_string()))
    })?;

    // The root image is the first disk, and cannot be written.
    assert_eq!(vm.guest("cat /sys/block/vda/ro")?, "1\n");
    vm.guest("mount -t erofs -o ro /dev/vda /mnt")?;
    assert_eq!(vm.guest("cat /mnt/file")?, "in the root image\n");
    vm.guest("umount /mnt")?;

    // The first volume was made with a label; its serial number arrives.
    assert_eq!(vm.guest("cat /sys/block/vdb/serial")?, "SER-1");
    // The label has its place in the second KiB of an ext4.
    assert_eq!(vm.guest("dd if=/dev/vdb bs=1 skip=1144 count=4 2>/dev/null")?, "data");
    vm.guest("mount -t ext4 /dev/vdb /mnt && echo written >/mnt/file && umount /mnt")?;

    // The second is read-only on both sides.
    assert_eq!(vm.guest("cat /sys/block/vdc/ro")?, "1\n");
    assert!(vm.guest("echo x >/dev/vdc").is_err());

    let key = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials/KEY/raw";
    assert_eq!(vm.guest(&format!("cat {key}"))?, "of the host\n");

    // A port of the host is answered by the guest.
    vm.guest("ifconfig lo up; ifconfig eth0 10.0.2.15 && httpd -h /www")?;
    assert!(fetch(port)?.ends_with("answered by the guest\n"));

    // The balloon takes what is said, and gives it back.
    let free = |vm: &mut Machine| -> Result<u64, Box<dyn Error>> {
        let text = vm.guest("awk '/MemFree/ { print $2 }' /proc/meminfo")?;
        Ok(text.trim().parse()?)
    };
    let before = free(&mut vm)?;
    assert_eq!(vm.script("microvm-balloon", &["64"])?.trim(), "64");
    let taken = before - free(&mut vm)?;
    assert!((60 << 10..=72 << 10).contains(&taken), "{taken} KiB are gone");
    assert_eq!(vm.script("microvm-balloon", &["0"])?.trim(), "0");
    let left = before.abs_diff(free(&mut vm)?);
    assert!(left < 8 << 10, "{left} KiB did not come back");

    vm.stop()
}

/// A port on which nobody listens.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Asks a web server for its first page.
fn fetch(port: u16) -> io::Result<String> {
    let mut stream = connect(port)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    Patient::within(&stream, LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), LIMIT)?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// A network namespace with a name, gone with the test.
struct Space(String);

impl Space {
    fn new(what: &str) -> Outcome<Self> {
        let name = format!("{what}-{}", std::process::id());
        ip(&["netns", "add", &name])?;
        Ok(Self(name))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // What went wrong before is what is told.
        drop(ip(&["netns", "del", &self.0]));
    }
}

fn ip(words: &[&str]) -> Outcome<String> {
    let mut command = Command::new("ip");
    command.args(words);
    run(command, LIMIT)
}

/// The description of a machine with two processors and one disk, on which `more` follows.
fn small(name: &str, machine: &str, more: &str) -> String {
    format!(
        "hostName = \"{name}\"\nmem = 256\nvcpu = 2\n\
         kernel = \"vmlinuz\"\ninitrdPath = \"initrd\"\n\
         console = \"socket\"\nkernelParams = [\"quiet\"]\n\
         [qemu]\nmachine = \"{machine}\"\naccel = \"tcg\"\naio = \"threads\"\n{more}"
    )
}

/// A tap with a queue for each processor, in a network namespace of its own.
fn tap() -> Outcome {
    let more = "[[interfaces]]\ntype = \"tap\"\nid = \"vm-tap\"\nmac = \"02:00:00:00:00:02\"\n";
    let modules = ["virtio_pci", "virtio_net"];
    let space = Space::new("machines")?;
    let enter = ["ip", "netns", "exec", &space.0].map(str::to_owned).to_vec();
    let toml = small("t-tap", "q35", more);
    let mut vm = Machine::start("tap", Kernel::V6_1, &modules, &toml, |at| {
        // The script of the package makes the tap; the machine then runs beside it.
        let both = "cd \"$0\" && MICROVM_USER=root package/bin/tap-up && exec \"$1\"";
        let at = at.to_string_lossy().into_owned();
        Ok([enter, ["sh", "-c", both, &at].map(str::to_owned).to_vec()].concat())
    })?;
    ip(&["-n", &space.0, "addr", "add", "10.9.0.1/24", "dev", "vm-tap"])?;
    let details = ip(&["-n", &space.0, "-d", "link", "show", "vm-tap"])?;
    assert!(details.contains("multi_queue"), "{details}");
    vm.guest("ifconfig eth0 10.9.0.2")?;
    assert_eq!(vm.guest("ls -d /sys/class/net/eth0/queues/rx-* | wc -l")?.trim(), "2");
    vm.guest("ping -c 2 -W 20 10.9.0.1")?;
    vm.stop()
}

/// Directories of the host by both protocols, and a display.
fn shares() -> Outcome {
    let port = free_port()?;
    let more = format!(
        "extraArgs = [\"-vnc\", \"127.0.0.1:{}\", \"-vga\", \"std\"]\n\
         [virtiofsd]\nbinary = {:?}\ngroup = \"\"\n\
         [[shares]]\ntag = \"nine\"\nsource = \"nine\"\nsecurityModel = \"mapped\"\n\
         [[shares]]\nproto = \"virtiofs\"\ntag = \"vfs\"\nsource = \"vfs\"\n",
        i32::from(port) - 5900,
        Lab::find().virtiofsd()?,
    );
    let toml = small("t-shares", "q35", &more);
    let modules = ["virtio_pci", "9p", "9pnet_virtio", "virtiofs"];
    let mut vm = Machine::start("shares", Kernel::Generic, &modules, &toml, |at| {
        for name in ["nine", "vfs"] {
            fs::create_dir(at.join(name))?;
            fs::write(at.join(name).join("file"), "of the host\n")?;
        }
        // The daemon must be there before the machine: its own script, then the machine.
        let both = "cd \"$0\"; setpriv --pdeathsig TERM package/bin/virtiofsd-run & \
                    until [ -S t-shares-virtiofs-vfs.sock ]; do sleep 0.1; done; exec \"$1\"";
        let at = at.to_string_lossy().into_owned();
        Ok(["sh", "-c", both, &at].map(str::to_owned).to_vec())
    })?;
    vm.guest("mount -t 9p -o trans=virtio,version=9p2000.L,msize=65536 nine /mnt")?;
    assert_eq!(vm.guest("cat /mnt/file")?, "of the host\n");
    vm.guest("echo back >/mnt/answer && umount /mnt && mount -t virtiofs vfs /mnt")?;
    assert_eq!(vm.guest("cat /mnt/file")?, "of the host\n");
    vm.guest("echo back >/mnt/answer && umount /mnt")?;
    for name in ["nine", "vfs"] {
        assert_eq!(fs::read_to_string(vm.directory.join(name).join("answer"))?, "back\n");
    }
    let mut banner = [0; 4];
    Patient::within(&connect(port)?, LIMIT).read_exact(&mut banner)?;
    assert_eq!(&banner, b"RFB ");
    vm.stop()
}

/// A copy of the examples with their guests; the program, and where they are.
fn examples(name: &str) -> Result<(PathBuf, PathBuf), Box<dyn Error>> {
    let lab = Lab::find();
    let program = build::microvm(lab.workspace())?.join("microvm");
    let at = lab.folder(name)?;
    let source = lab.workspace().join("bin/microvm/examples");
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(source).arg(at.join("examples"));
    run(copy, LIMIT)?;
    let mut build = Command::new("sh");
    build.arg(at.join("examples/guest/build.sh"));
    build.arg("-k").arg(lab.kernel(Kernel::V6_1)?);
    build.arg("-m").arg(lab.modules(Kernel::V6_1)?);
    build.arg("-s").arg(lab.server()?);
    run(build, EXAMPLE_LIMIT)?;
    Ok((program, at))
}

/// The examples that need no set-up, tested by the command that users have for it.
fn default_examples() -> Outcome {
    let (program, at) = examples("machine-examples")?;
    let words = ["test-examples", "--parallel", "--accel", "tcg", "--dir", "examples"];
    let mut test = Command::new(program);
    test.args(words).current_dir(&at);
    run(test, EXAMPLE_LIMIT)?;
    Ok(fs::remove_dir_all(&at)?)
}

/// The example with a bridge, by its own scripts, in a network of its own and without vhost.
fn bridge_example() -> Outcome {
    let (program, at) = examples("machine-bridge")?;
    let interface = "interfaces=[{type=\"tap\",id=\"vm-btf\",mac=\"02:00:00:01:02:03\",\
                     tap={vhost=false}}]";
    let mut build = Command::new(program);
    build.args(["build", "--set", "qemu.accel=\"tcg\"", "--set", "mem=512", "--set", interface]);
    build.args(["-o", "package", "examples/btf-vhost/vm.toml"]).current_dir(&at);
    run(build, LIMIT)?;
    let space = Space::new("bridge")?;
    let inside = |script: &str| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &space.0, "sh", "-c", script]).current_dir(&at);
        run(command, EXAMPLE_LIMIT)
    };
    inside("ip link set lo up && package/bin/microvm-setup-network")?;
    inside("[ -e /sys/class/net/microvm-br0/brif/vm-btf ] && package/bin/microvm-test")?;
    inside("package/bin/microvm-teardown-network && [ \"$(ip -br link | wc -l)\" = 1 ]")?;
    Ok(fs::remove_dir_all(&at)?)
}

fn judge(outcome: Outcome) {
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn the_machine_microvm_has_all_that_was_described() {
    judge(machine_type("microvm"));
}

#[test]
fn the_machine_q35_has_all_that_was_described() {
    judge(machine_type("q35"));
}

#[test]
fn the_machine_pc_has_all_that_was_described() {
    judge(machine_type("pc"));
}

#[test]
fn root_a_tap_has_a_queue_for_each_processor() {
    judge(tap());
}

#[test]
fn root_directories_of_the_host_are_there_by_both_protocols() {
    judge(shares());
}

#[test]
fn the_examples_pass_their_own_tests() {
    judge(default_examples());
}

#[test]
fn root_the_example_with_a_bridge_passes_its_own_test() {
    judge(bridge_example());
}
