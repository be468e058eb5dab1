// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Layers of descriptions: how they lie over each other, and that nothing makes them fall.

use std::collections::BTreeMap;

use microvm::check::Checker;
use microvm::config::System;
use microvm::diag::Report;
use microvm::merge::merge;
use microvm::pipeline::{self, Loaded, Options, Unread};
use microvm::schema::KEYS;
use microvm::source::{Files, Table, Value};
use proptest::prelude::*;
use serde_json::json;

/// Loads `/d/in.toml` among files of these names and texts.
fn load_among(files: &[(&str, &str)], options: &Options) -> Loaded {
    let files: BTreeMap<String, &str> =
        files.iter().map(|(name, text)| (format!("/d/{name}"), *text)).collect();
    let read = |path: &str| {
        let text = files.get(path).map(|text| (*text).to_owned());
        text.ok_or_else(|| Unread::Refused("no such file".to_owned()))
    };
    pipeline::load("/d/in.toml", "in.toml", &read, options)
}

/// The machine, as JSON; the description must be valid.
fn machine(files: &[(&str, &str)], set: &[&str]) -> serde_json::Value {
    let set = set.iter().map(|word| (*word).to_owned()).collect();
    let loaded = load_among(files, &Options { set, ..Options::default() });
    assert!(!loaded.report.has_errors(), "{}", loaded.report.text(&loaded.files));
    loaded.machines.first().expect("a machine").vm.to_json()
}

const BASE: &str = r#"
    kernel = "k"
    mem = 256
    kernelParams = ["a", "b"]
    preStart = "first"
    volumes = [{ image = "x.img", size = 1, label = "old" }, { image = "y.img", size = 2 }]
    binScripts = { tap-up = "one", check = "true" }
    credentialFiles = { A = "a", B = "b" }
    qemu.machine = "q35"
    qemu.machineOpts = { accel = "kvm", smm = "off" }
    firecracker.extraConfig.machine-config = { smt = true, x = [1] }
"#;

/// What `upper` over the base makes of the keys.
fn over(upper: &str) -> serde_json::Value {
    let text = format!("extends = [\"base.toml\"]\n{upper}");
    machine(&[("base.toml", BASE), ("in.toml", &text)], &[])
}

#[test]
fn scalars_are_replaced_and_words_and_lines_are_appended() {
    let it = over("mem = 512\nkernelParams = [\"c\"]\npreStart = \"second\"");
    assert_eq!((&it["mem"], &it["vcpu"]), (&json!(512), &json!(1)));
    assert_eq!(it["kernelParams"], json!(["a", "b", "c"]));
    assert_eq!(it["preStart"], "first\nsecond");
    let it = over("binScripts.tap-up = \"two\"");
    assert_eq!(it["binScripts"], json!({ "tap-up": "one\ntwo", "check": "true" }));
}

#[test]
fn a_list_can_be_reset() {
    let it = over("kernelParams = [\"!reset\", \"c\"]\nvolumes = [\"!reset\"]");
    assert_eq!(it["kernelParams"], json!(["c"]));
    assert_eq!(it["volumes"], json!([]));
    // With nothing below, too.
    let it = over("qemu.extraArgs = [\"!reset\", \"-S\"]");
    assert_eq!(it["qemu"]["extraArgs"], json!(["-S"]));
}

#[test]
fn tables_of_a_list_merge_by_what_identifies_them() {
    let it =
        over("volumes = [{ image = \"y.img\", readOnly = true }, { image = \"z\", size = 3 }]");
    let volumes: Vec<_> = it["volumes"].as_array().expect("a list").iter().collect();
    let part = |at: usize| (&volumes[at]["image"], &volumes[at]["size"], &volumes[at]["readOnly"]);
    assert_eq!(volumes.len(), 3);
    assert_eq!(part(0), (&json!("x.img"), &json!(1), &json!(false)));
    assert_eq!(part(1), (&json!("y.img"), &json!(2), &json!(true)));
    assert_eq!(part(2), (&json!("z"), &json!(3), &json!(false)));
    assert_eq!(volumes[0]["label"], "old");

    // Devices are the same when bus and path are; forwards never are.
    let text = "[[devices]]\nbus = \"usb\"\npath = \"hostbus=1\"\n";
    let forward = "forwardPorts = [{ host.port = 1, guest.port = 1 }]\n";
    let user = "[[interfaces]]\ntype = \"user\"\nid = \"n\"\nmac = \"auto\"\n";
    let base = format!("kernel = \"k\"\n{forward}{user}{text}");
    let top = "extends = [\"base.toml\"]\n\
               forwardPorts = [{ host.port = 2, guest.port = 2 }]\n\
               devices = [{ bus = \"usb\", path = \"hostbus=2\" }, { bus = \"usb\", \
               path = \"hostbus=1\", qemu.id = \"d\" }]\n";
    let it = machine(&[("base.toml", &base), ("in.toml", top)], &[]);
    assert_eq!(it["forwardPorts"].as_array().map(Vec::len), Some(2));
    assert_eq!(it["devices"].as_array().map(Vec::len), Some(2));
    assert_eq!(it["devices"][0]["qemu"]["id"], "d");
}

#[test]
fn tables_merge_deeply() {
    let it = over(
        "qemu.accel = \"tcg\"\nqemu.machineOpts.smm = false\ncredentialFiles.B = \"/c\"\n\
         firecracker.extraConfig.machine-config.x = [2]",
    );
    assert_eq!((&it["qemu"]["machine"], &it["qemu"]["accel"]), (&json!("q35"), &json!("tcg")));
    assert_eq!(it["qemu"]["machineOpts"]["accel"], "kvm");
    assert_eq!(it["credentialFiles"], json!({ "A": "/d/a", "B": "/c" }));
    let config = &it["firecracker"]["extraConfig"]["machine-config"];
    assert_eq!(config, &json!({ "smt": true, "x": [2] }));
}

#[test]
fn files_extend_from_left_to_right_and_paths_stay_with_their_file() {
    let files = [
        ("in.toml", "extends = [\"one.toml\", \"dir/two.toml\"]\n"),
        ("one.toml", "kernel = \"k1\"\ninitrdPath = \"i1\"\nmem = 1000\nkernelParams = [\"1\"]"),
        ("dir/two.toml", "extends = [\"three.toml\"]\nkernel = \"k2\"\nkernelParams = [\"2\"]"),
        ("dir/three.toml", "mem = 999\nvcpu = 3\nkernelParams = [\"3\"]"),
    ];
    let it = machine(&files, &[]);
    assert_eq!((&it["kernel"], &it["initrdPath"]), (&json!("/d/dir/k2"), &json!("/d/i1")));
    assert_eq!((&it["mem"], &it["vcpu"]), (&json!(999), &json!(3)));
    assert_eq!(it["kernelParams"], json!(["1", "3", "2"]));

    // The same file twice is no circle.
    let files = [
        ("in.toml", "extends = [\"a.toml\", \"b.toml\"]\n"),
        ("a.toml", "extends = [\"b.toml\"]"),
        ("b.toml", "kernel = \"k\""),
    ];
    assert_eq!(machine(&files, &[])["kernel"], "/d/k");
}

#[test]
fn circles_are_found_however_long_they_are() {
    let files = [
        ("in.toml", "kernel = \"k\"\nextends = [\"a.toml\"]"),
        ("a.toml", "extends = [\"./b.toml\"]"),
        ("b.toml", "extends = [\"a.toml\"]"),
    ];
    let loaded = load_among(&files, &Options::default());
    let text = loaded.report.text(&loaded.files);
    assert_eq!(text, "./b.toml:1:12: error[MV007]: a.toml extends itself, by way of ./b.toml\n");

    let chain: Vec<(String, String)> = (0..40)
        .map(|at| (format!("{at}.toml"), format!("extends = [\"{}.toml\"]", at + 1)))
        .collect();
    let mut files: Vec<(&str, &str)> =
        chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.push(("in.toml", "extends = [\"0.toml\"]"));
    let loaded = load_among(&files, &Options::default());
    assert!(loaded.report.iter().any(|it| it.code == "MV007" && it.message.contains("32")));
}

#[test]
fn a_file_that_is_extended_again_is_one_layer() {
    let both = |at: usize| format!("extends = [\"{0}.toml\", \"./{0}.toml\"]", at + 1);
    let chain: Vec<(String, String)> = (0..10).map(|at| (format!("{at}.toml"), both(at))).collect();
    let mut files: Vec<(&str, &str)> =
        chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let base = "kernel = \"k\"\nkernelParams = [\"once\"]\npreStart = \"once\"";
    files.extend([("10.toml", base), ("in.toml", "extends = [\"0.toml\", \"10.toml\"]")]);
    let it = machine(&files, &[]);
    assert_eq!((&it["kernelParams"], &it["preStart"]), (&json!(["once"]), &json!("once")));
}

#[test]
fn files_of_one_description_have_an_end() {
    let names: Vec<String> = (0..300).map(|at| format!("{at}.toml")).collect();
    let mut files: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), "kernel = \"k\"")).collect();
    let all = format!("extends = {}", json!(names));
    files.push(("in.toml", &all));
    let loaded = load_among(&files, &Options::default());
    let found: Vec<&str> = loaded.report.iter().map(|it| it.message.as_str()).collect();
    assert!(found.contains(&"more than 256 files for one description"), "{found:?}");
    assert!(loaded.files.count() <= 256 && found.len() < 20, "{found:?}");
}

#[test]
fn a_fleet_has_defaults_below_each_machine() {
    let files = [
        (
            "in.toml",
            "extends = [\"base.toml\"]\n[defaults]\nmem = 300\n[vms.b]\nmem = 400\n\
                     kernelParams = [\"b\"]\n[vms.a]\n[vms.off]\nenable = false\n",
        ),
        (
            "base.toml",
            "kernel = \"k\"\nkernelParams = [\"base\"]\n[defaults]\nvcpu = 2\nmem = 200\n",
        ),
    ];
    let set = vec!["vcpu=4".to_owned()];
    let loaded = load_among(&files, &Options { set, ..Options::default() });
    assert!(loaded.is_fleet && !loaded.report.has_errors(), "{:?}", loaded.report);
    let names: Vec<&str> = loaded.machines.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let of = |at: usize| {
        let vm = &loaded.machines[at].vm;
        (vm.host_name.as_str(), vm.mem, vm.vcpu, vm.kernel_params.join(" "))
    };
    assert_eq!(of(0), ("a", 300, 4, "base".to_owned()));
    assert_eq!(of(1), ("b", 400, 4, "base b".to_owned()));
}

#[test]
fn machines_of_all_files_are_machines_of_the_fleet() {
    let base = "[defaults]\nkernel = \"k\"\nmem = 200\nvcpu = 2\n\
                [vms.a]\nmem = 300\nstoreDisk = \"x\"\n[vms.b]\n";
    let own = "extends = [\"dir/base.toml\"]\ndefaults.mem = 250\n\
               [vms.a]\nvcpu = 4\ninitrdPath = \"i\"\n[vms.c]\n";
    let files = [("in.toml", own), ("dir/base.toml", base)];
    let loaded = load_among(&files, &Options::default());
    assert!(!loaded.report.has_errors(), "{}", loaded.report.text(&loaded.files));
    let of = |at: usize| {
        let vm = &loaded.machines[at].vm;
        (vm.host_name.as_str(), vm.mem, vm.vcpu, vm.kernel.as_str())
    };
    // What a machine has itself lies over all defaults.
    assert_eq!(of(0), ("a", 300, 4, "/d/dir/k"));
    assert_eq!((of(1), of(2)), (("b", 250, 2, "/d/dir/k"), ("c", 250, 2, "/d/dir/k")));
    let a = &loaded.machines[0].vm;
    assert_eq!(a.store_disk.as_deref(), Some("/d/dir/x"));
    assert_eq!(a.initrd_path.as_deref(), Some("/d/i"));

    // A fleet is one even if it has nothing of its own.
    let files = [("in.toml", "extends = [\"dir/base.toml\"]\n"), ("dir/base.toml", base)];
    let loaded = load_among(&files, &Options::default());
    assert!(loaded.is_fleet && !loaded.report.has_errors());
    assert_eq!(loaded.machines.len(), 2);
}

#[test]
fn a_mistake_of_one_layer_hides_none_of_another() {
    let base = "kernel = \"k\"\nvolumes = [{ image = \"a\", size = 0 }, 7, \
                { image = \"c\", size = 0 }]\n";
    let own = "extends = [\"base.toml\"]\n\
               volumes = [{ image = \"b\", size = \"much\", shape = 1 }]\n";
    let loaded = load_among(&[("in.toml", own), ("base.toml", base)], &Options::default());
    let found: Vec<(&str, &str)> =
        loaded.report.iter().map(|it| (it.code, it.path.as_str())).collect();
    // Each mistake once, under its place in the merged list.
    let wanted = [
        ("MV004", "volumes[3].size"),
        ("MV002", "volumes[3].shape"),
        ("MV142", "volumes[0].size"),
        ("MV004", "volumes[1]"),
        ("MV142", "volumes[2].size"),
    ];
    assert_eq!(found, wanted, "{}", loaded.report.text(&loaded.files));

    // What lies over a mistake is judged as it is.
    let files = [("in.toml", "extends = [\"base.toml\"]\nmem = 0"), ("base.toml", "mem = \"x\"")];
    let loaded = load_among(&files, &Options::default());
    let found: Vec<&str> = loaded.report.iter().map(|it| it.code).collect();
    assert_eq!(found, ["MV105", "MV102", "MV004"]);
}

#[test]
fn every_unknown_key_is_told_and_the_first_ones_with_a_guess() {
    let mut text = "kernel = \"k\"\n".to_owned();
    for first in 'a'..='z' {
        text.extend(('a'..='l').map(|second| format!("vcpu{first}{second} = 1\n")));
    }
    let loaded = load_among(&[("in.toml", &text)], &Options::default());
    assert_eq!(loaded.report.iter().count(), 26 * 12);
    let guessed = loaded.report.iter().filter(|it| it.message.contains("did you mean"));
    assert_eq!(guessed.count(), 100);
}

#[test]
fn a_word_of_the_command_line_sets_one_key() {
    let files = [("in.toml", "kernel = \"k\"\n")];
    let it = machine(&files, &["preStart=1\nmem=3"]);
    assert_eq!((&it["preStart"], &it["mem"]), (&json!("1\nmem=3"), &json!(512)));
    for word in ["vcpu", "=2", "a b=2", "#a=1", "\nmem=3", "[qemu]\naccel=1", "qemu.=1"] {
        assert!(!pipeline::is_assignment(word), "{word:?}");
    }
}

#[test]
fn line_breaks_of_other_systems_become_ours() {
    let text = "kernel = \"k\"\r\npreStart = \"\"\"\r\none\r\ntwo\r\n\"\"\"\r\n\
                [binScripts]\r\ncheck = \"\"\"\r\ntrue\r\nfalse\"\"\"\r\n";
    let it = machine(&[("in.toml", text)], &[]);
    assert_eq!(it["preStart"], "one\ntwo\n");
    assert_eq!(it["binScripts"]["check"], "true\nfalse");
}

#[test]
fn the_command_line_is_the_last_layer() {
    let files = [("in.toml", "kernel = \"k\"\nmem = 1000\nkernelParams = [\"a\"]\n")];
    let set = ["mem=\"2G\"", "kernelParams=[\"b\"]", "hostName=web1", "qemu.accel=tcg", "vcpu=2"];
    let it = machine(&files, &set);
    assert_eq!((&it["mem"], &it["vcpu"]), (&json!(2048), &json!(2)));
    assert_eq!((&it["hostName"], &it["qemu"]["accel"]), (&json!("web1"), &json!("tcg")));
    assert_eq!(it["kernelParams"], json!(["a", "b"]));

    let options = Options { set: vec!["vcpu=many".to_owned()], ..Options::default() };
    let loaded = load_among(&files, &options);
    let text = loaded.report.text(&loaded.files);
    assert!(
        text.starts_with("--set vcpu=many:1:6: error[MV004]: \"vcpu\" must be an integer"),
        "{text}"
    );
}

#[test]
fn sizes_and_paths_come_to_one_form() {
    let it = machine(&[("in.toml", "kernel = \"../k\"\nmem = \"1G\"\nstoreDisk = \"./r\"\n")], &[]);
    assert_eq!((&it["mem"], &it["kernel"]), (&json!(1024), &json!("/d/../k")));
    assert_eq!(it["storeDisk"], "/d/r");
    for size in ["\"G\"", "\"1K\"", "\"1.5G\"", "\"99999999999999T\"", "\"-1M\"", "1.5", "-1"] {
        let text = format!("kernel = \"k\"\nmem = {size}\n");
        let loaded = load_among(&[("in.toml", &text)], &Options::default());
        assert!(loaded.report.iter().any(|it| it.code == "MV004"), "{size}");
    }
}

#[test]
fn defaults_follow_from_name_and_system() {
    let file = [("in.toml", "kernel = \"k\"\nhostName = \"h\"\nvsock.cid = 9\n")];
    let of = |words: &[&str]| machine(&file, words);
    let it = of(&["hypervisor=cloud-hypervisor", "hotplugMem=256"]);
    assert_eq!((&it["socket"], &it["notify"]), (&json!("h.sock"), &json!(true)));
    assert_eq!((&it["hotpluggedMem"], &it["guestSystem"]), (&json!(256), &json!("x86_64-linux")));
    let it = of(&["hypervisor=alioth"]);
    assert!(it.get("socket").is_none() && it["notify"] == false);
    let it = of(&["socket=false", "machineId=false", "hostSystem=aarch64-linux"]);
    assert!(it.get("socket").is_none() && it.get("machineId").is_none());
    assert_eq!(it["qemu"]["machine"], "virt");
    assert_eq!(it["qemu"]["binary"], "qemu-system-aarch64");
    let it = of(&["hostSystem=aarch64-darwin"]);
    assert_eq!((&it["qemu"]["accel"], &it["qemu"]["aio"]), (&json!("hvf:tcg"), &json!("threads")));
    assert_eq!(
        (&it["graphics"]["backend"], &it["guestSystem"]),
        (&json!("cocoa"), &json!("aarch64-linux"),)
    );
    let it = of(&["shares=[{ tag = \"t\", source = \"s\", proto = \"virtiofs\" }]"]);
    assert_eq!(it["shares"][0]["socket"], "h-virtiofs-t.sock");
    assert_eq!(it["storeOnDisk"], false);
    assert_eq!(of(&["storeDisk=r"])["storeOnDisk"], true);

    // Without a name the file's stem counts, without a system that of this machine.
    let options = Options { system: System::ArmLinux, declarative: true, ..Options::default() };
    let loaded = load_among(&[("in.toml", "kernel = \"k\"")], &options);
    let vm = &loaded.machines[0].vm;
    assert_eq!((vm.host_name.as_str(), vm.host_system), ("in", System::ArmLinux));
    assert_eq!(vm.restart_if_changed, Some(true));
}

/// A tree with keys of descriptions and values of all kinds.
fn tree() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        (-5_i64..5000).prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
        Just(json!(1.5)),
        "[a-z!0-9:,/.=\"é\n-]{0,12}".prop_map(serde_json::Value::from),
        prop::sample::select(vec!["!reset", "qemu", "firecracker", "vfkit", "512M", "9p", "tap"])
            .prop_map(serde_json::Value::from),
    ];
    let mut names: Vec<&'static str> = vec!["extends", "defaults", "vms", "zzz"];
    microvm::schema::walk(&mut |_, key| names.push(key.name));
    leaf.prop_recursive(4, 60, 8, move |inner| {
        let name = prop::sample::select(names.clone());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::vec((name, inner), 0..8).prop_map(|pairs| {
                pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

/// The text as a checked layer.
fn layer(text: &str) -> Option<Table> {
    let mut files = Files::default();
    let file = files.add("layer.json", text);
    let Value::Table(mut table) = files.parse(file).ok()?.value else { return None };
    let mut report = Report::default();
    Checker::new("/d", &mut report).table(&mut table, KEYS, "");
    Some(table)
}

fn shown(table: &Table) -> String {
    Value::Table(table.clone()).to_json().to_string()
}

proptest! {
    #[test]
    fn no_tree_makes_the_way_to_machines_fall(value in tree()) {
        let text = serde_json::to_string_pretty(&value).expect("JSON");
        let read = |_: &str| Ok(text.clone());
        let loaded = pipeline::load("/d/in.json", "in.json", &read, &Options::default());
        let lines = text.lines().count();
        for it in loaded.report.iter() {
            prop_assert!(!it.message.is_empty());
            let place = it.place.map(|place| loaded.files.position(place));
            prop_assert!(place.is_none_or(|at| (1..=lines).contains(&at.line)), "{:?}", it);
        }
    }

    #[test]
    fn no_text_makes_the_parsers_fall(text in "[a-z\\[\\]{}=\",.\n#0-9 -]{0,80}") {
        for name in ["in.toml", "in.json"] {
            let read = |_: &str| Ok(text.clone());
            let loaded = pipeline::load(&format!("/d/{name}"), name, &read, &Options::default());
            let length = text.len();
            for place in loaded.report.iter().filter_map(|it| it.place) {
                prop_assert!(usize::try_from(place.offset).is_ok_and(|offset| offset <= length));
            }
        }
    }

    #[test]
    fn an_empty_layer_changes_nothing(value in tree()) {
        let Some(layer) = layer(&value.to_string()) else { return Ok(()) };
        let mut once = Table::new();
        merge(&mut once, layer, KEYS);
        let mut above = once.clone();
        merge(&mut above, Table::new(), KEYS);
        prop_assert_eq!(shown(&once), shown(&above));
        // Words that forget are gone, unless they were said twice.
        let twice = value.to_string().matches("!reset").count() > 1;
        let mut below = Table::new();
        merge(&mut below, once.clone(), KEYS);
        prop_assert!(twice || shown(&once) == shown(&below));
    }
}
