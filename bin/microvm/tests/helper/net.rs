// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal net`: what it makes is what `ip` makes, each in a network namespace of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use plinth::proc::Ending;
use plinth::testing::{Place, run};
use serde_json::Value;

use crate::support::{internal, stdout, verdict};

const RUNNER: &str = r#"{"config": {"interfaces": [
    {"id": "vm-a", "tap": {"bridge": "br7"}, "mtu": 1400, "altname": ["a-name-of-many-letters"]},
    {"id": "mv-a", "mtu": 1300, "altname": []}]}}"#;

fn package(at: &Path, flags: &str) {
    let dir = at.join("package/share/microvm");
    fs::create_dir_all(&dir).expect("a directory");
    let put = |name: &str, text: &str| fs::write(dir.join(name), text).expect("a file");
    put("runner.json", RUNNER);
    put("tap-flags", flags);
    put("tap-interfaces", "vm-a\nvm-b\n");
    put("macvtap-interfaces", "mv-a 02:00:00:00:00:0f nic7 bridge\n");
}

/// Runs a script in namespaces of its own, where there are a bridge and a link; `net ACTION` in it
/// is ours.
fn isolated(at: &Path, script: &str) -> Command {
    let ours = env!("CARGO_BIN_EXE_microvm");
    let head = format!(
        "set -eu\n\
         mount -t sysfs sysfs /sys\n\
         ip link add br7 type bridge; ip link set br7 up\n\
         ip link add nic7 address 02:00:00:00:00:77 type veth peer name nic8\n\
         ip link set nic7 up\n\
         net() {{ '{ours}' internal net \"$@\" --package package; }}\n"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--", "sh", "-c", &(head + script)]).current_dir(at);
    command.env("MICROVM_USER", "7").env("MICROVM_GROUP", "8");
    command
}

/// What `ip -d -j link show` says of each interface, less what differs from one to the next.
fn links(text: &str) -> Vec<Value> {
    let mut links: Vec<Value> = Vec::new();
    for line in text.lines() {
        let mut of: Vec<Value> = serde_json::from_str(line).expect("JSON of ip");
        let link = of.first_mut().and_then(Value::as_object_mut).expect("a link");
        for varying in ["ifindex", "address", "link_index"] {
            link.remove(varying);
        }
        if let Some(inner) = link.get_mut("linkinfo").and_then(|it| it.get_mut("info_slave_data")) {
            let inner = inner.as_object_mut().expect("a port");
            inner.retain(|name, _| !name.contains("timer") && !name.contains("id"));
        }
        links.push(of.remove(0));
    }
    links
}

#[test]
fn root_taps_are_those_that_ip_makes() {
    for (flags, word) in [("vnet_hdr\n", ""), ("vnet_hdr\nmulti_queue\n", "multi_queue")] {
        let at = Place::new();
        package(&at, flags);
        let show = "for i in vm-a vm-b; do ip -d -j link show $i; done\n";
        let ours = format!("net tap-up\n{show}");
        let ip = format!(
            "for i in vm-a vm-b; do ip tuntap add name $i mode tap user 7 vnet_hdr {word}; done\n\
             ip link set vm-a mtu 1400\n\
             ip link property add dev vm-a altname a-name-of-many-letters\n\
             ip link set vm-a up; ip link set vm-a master br7; ip link set vm-b up\n{show}"
        );
        let ours = links(&stdout(&run(isolated(&at, &ours))));
        let expected = links(&stdout(&run(isolated(&at, &ip))));
        assert_eq!(ours, expected, "{flags}");
        assert_eq!(ours[0]["master"], "br7");
        assert_eq!(ours[1]["linkinfo"]["info_data"]["user"], "lp", "{}", ours[1]);
    }
}

#[test]
fn root_taps_are_made_anew_or_kept_and_deleted() {
    let at = Place::new();
    package(&at, "vnet_hdr\n");
    let script = "
        index() { cat /sys/class/net/$1/ifindex; }
        net tap-up; first=$(index vm-a)
        net tap-up; second=$(index vm-a); test $first -ne $second
        net tap-up --keep; test $second -eq $(index vm-a)
        echo vnet_hdr >package/share/microvm/tap-flags
        echo multi_queue >>package/share/microvm/tap-flags
        net tap-up --keep; test $second -ne $(index vm-a)
        ip link delete vm-b
        net tap-down; test ! -e /sys/class/net/vm-a
        net tap-down
        ip link delete br7; if net tap-up; then exit 9; fi";
    let (ending, said) = verdict(&run(isolated(&at, script)));
    assert_eq!(ending, Ending::Exited(0), "{said}");
    assert_eq!(said, "microvm: the interface br7, which vm-a needs, does not exist\n");
}

#[test]
fn root_macvtaps_are_those_that_ip_makes_and_can_be_launched_with() {
    let at = Place::new();
    package(&at, "vnet_hdr\n");
    let program = env!("CARGO_BIN_EXE_microvm");
    let show = "ip -d -j link show mv-a\n";
    let rest = format!(
        "stat -c %u:%g /dev/tap$(cat /sys/class/net/mv-a/ifindex)\n\
         {program} internal launch --macvtap mv-a:3:1 --tap-path mv-a=@T@ -- \
           sh -c 'test \"$(readlink /proc/$$/fd/3)\" = $0 && test $1 = x=$0,y && echo same' \
           @T@ x=@T@,y\n\
         cat /proc/sys/net/ipv6/conf/mv-a/disable_ipv6\n\
         net macvtap-down; test ! -e /sys/class/net/mv-a\n"
    );
    let ip = format!(
        "ip link add link nic7 name mv-a index 9001 address 02:00:00:00:00:0f \
           type macvtap mode bridge\n\
         ip link set mv-a mtu 1300; ip link set mv-a allmulticast on\n\
         echo 1 >/proc/sys/net/ipv6/conf/mv-a/disable_ipv6\n\
         ip link set mv-a up\n{show}"
    );
    let expected = stdout(&run(isolated(&at, &ip)));
    // Namespaces share their device nodes, and one that has ended is taken down later: the number
    // of ours must not be the one that another had just now.
    let away = "for i in $(seq $(($$ % 50 + 3))); do ip tuntap add name t$i mode tap; done\n";
    let ours = format!("{away}net macvtap-up\n{show}{rest}");
    let ours = stdout(&run(isolated(&at, &ours)));
    let (first, rest) = ours.split_once('\n').expect("a line");
    assert_eq!(links(first), links(&expected));
    assert_eq!(rest, "7:8\nsame\n1\n");
}

/// Builds a package with these interfaces in `at`.
fn build(at: &Path, vcpu: u32, interfaces: &str) {
    let text = format!(
        "hostName = \"n\"\nkernel = \"/vmlinuz\"\nvcpu = {vcpu}\nsocket = false\n\
         [qemu]\naccel = \"tcg\"\n{interfaces}"
    );
    fs::write(at.join("vm.toml"), text).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_microvm"));
    command.args(["build", "vm.toml", "-o", "package"]).current_dir(at);
    assert!(run(command).success());
    // What the scripts have when there is no `ip`.
    let mut command = Command::new("sh");
    let tools = "mkdir bare && ln -s /bin/sh \"$(command -v chown)\" bare";
    command.args(["-c", tools]).current_dir(at);
    assert!(run(command).success());
}

/// What a script of the package makes of each interface, with `ip` and without: both must be equal.
fn same(at: &Path, script: &str, interfaces: &[&str], then: &str) -> Vec<Value> {
    let shown: String = interfaces.iter().map(|it| format!("ip -d -j link show {it}\n")).collect();
    let with = format!("package/bin/{script}\n{shown}{then}");
    let with = stdout(&run(isolated(at, &with)));
    let without = format!("PATH=$PWD/bare package/bin/{script}\n{shown}{then}");
    let without = stdout(&run(isolated(at, &without)));
    let lines = |text: &str| {
        let count = interfaces.len();
        let (first, rest): (Vec<_>, Vec<_>) =
            text.lines().enumerate().partition(|(at, _)| *at < count);
        let join = |lines: Vec<(usize, &str)>| {
            lines.into_iter().map(|(_, line)| format!("{line}\n")).collect::<String>()
        };
        (links(&join(first)), join(rest))
    };
    let (with, without) = (lines(&with), lines(&without));
    assert_eq!(without, with, "{script}");
    with.0
}

#[test]
fn root_scripts_make_the_same_taps_with_ip_and_without() {
    let tap = |id: &str, more: &str| {
        format!("[[interfaces]]\ntype = \"tap\"\nid = \"{id}\"\nmac = \"auto\"\n{more}\n")
    };
    let interfaces = tap("vm-a", "tap.bridge = \"br7\"\nmtu = 1400\naltname = [\"long-a\", \"b\"]")
        + &tap("vm-b", "");
    for (vcpu, queues) in [(1, false), (2, true)] {
        let at = Place::new();
        build(&at, vcpu, &interfaces);
        let rest = "package/bin/tap-down; test ! -e /sys/class/net/vm-a; package/bin/tap-down\n";
        let links = same(&at, "tap-up", &["vm-a", "vm-b"], rest);
        let [first, second] = links.as_slice() else { panic!("{links:?}") };
        assert_eq!(first["master"], "br7");
        assert_eq!(first["mtu"], 1400);
        assert_eq!(first["altnames"], serde_json::json!(["long-a", "b"]));
        let data = &second["linkinfo"]["info_data"];
        assert_eq!((&data["type"], &data["user"]), (&"tap".into(), &"lp".into()), "{second}");
        assert_eq!(data["multi_queue"], queues);
        // Kept by either, when it is as it should be.
        let kept = "
            package/bin/tap-up; first=$(cat /sys/class/net/vm-a/ifindex)
            package/bin/tap-up --keep; test $first -eq $(cat /sys/class/net/vm-a/ifindex)
            package/bin/tap-up; test $first -ne $(cat /sys/class/net/vm-a/ifindex)";
        assert_eq!(verdict(&run(isolated(&at, kept))), (Ending::Exited(0), String::new()));
    }
}

#[test]
fn root_scripts_make_the_same_macvtaps_with_ip_and_without() {
    for mode in ["private", "vepa", "bridge", "passthru", "source"] {
        let at = Place::new();
        let interface = format!(
            "[[interfaces]]\ntype = \"macvtap\"\nid = \"mv-a\"\nmac = \"02:00:00:00:00:0f\"\n\
             mtu = 1300\naltname = [\"a-name-of-many-letters\"]\n\
             macvtap = {{ link = \"nic7\", mode = \"{mode}\" }}\n"
        );
        build(&at, 1, &interface);
        let rest = "stat -c %u:%g /dev/tap$(cat /sys/class/net/mv-a/ifindex)
             test $(cat /sys/class/net/mv-a/address /proc/sys/net/ipv6/conf/mv-a/disable_ipv6 | \
               tr '\\n' ,) = ADDRESS,1,
             package/bin/macvtap-up; package/bin/macvtap-down
             test ! -e /sys/class/net/mv-a; package/bin/macvtap-down\n";
        // The kernel gives it the address of the link when it has the link for itself.
        let last = if mode == "passthru" { "77" } else { "0f" };
        let rest = rest.replace("ADDRESS", &format!("02:00:00:00:00:{last}"));
        let links = same(&at, "macvtap-up", &["mv-a"], &rest);
        let link = links.first().expect("a link");
        assert_eq!(link["linkinfo"]["info_data"]["mode"], mode, "{link}");
        assert_eq!(link["mtu"], 1300);
        assert_eq!(link["altnames"], serde_json::json!(["a-name-of-many-letters"]));
        let flags = link["flags"].as_array().expect("flags");
        assert!(flags.contains(&"UP".into()) && flags.contains(&"ALLMULTI".into()), "{link}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let at = Place::new();
    let up = |action: &str| internal(&at, ["net", action, "--package", "package"]);
    let (ending, said) = verdict(&run(up("tap-down")));
    assert_eq!(ending, Ending::Exited(1));
    assert!(
        said.starts_with("microvm: cannot read package/share/microvm/tap-interfaces: "),
        "{said}"
    );
    let mut command = up("tap-up");
    command.env("MICROVM_USER", "no-such-user");
    let (_, said) = verdict(&run(command));
    assert_eq!(
        said,
        "microvm: the user 'no-such-user' does not exist; MICROVM_USER names another\n"
    );
    // A tap has no group: nobody asks for one.
    let mut command = up("tap-up");
    command.env("MICROVM_USER", "7").env("MICROVM_GROUP", "no-such-group");
    let (_, said) = verdict(&run(command));
    assert!(said.starts_with("microvm: cannot read package/share/microvm/tap-flags: "), "{said}");
    assert_eq!(run(up("sideways")).ending, Ending::Exited(2));
}
