// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The scripts of packages, by the shells that will run them.
//!
//! In place of this program the scripts get one that writes down its words, so that what arrives
//! can be compared with what was planned.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use microvm::build::{self, Built, packages};
use microvm::config::{End, Forward, From, Hypervisor, Interface, Share, Vm, Volume};
use microvm::host::Target;
use microvm::host::profile::Profile;
use microvm::package::{Place, Written};
use microvm::plan::{Piece, Word, plan};
use microvm::{emit, pipeline};
use plinth::testing::output;
use proptest::prelude::*;

/// The shells that a minimal host may have.
const SHELLS: [&[&str]; 3] = [&["dash"], &["busybox", "ash"], &["bash", "--posix"]];

/// A fresh directory.
fn directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("scripts-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&path).expect("a directory for the test");
    path
}

fn options() -> (microvm::plan::Options, emit::Options) {
    let helper = "/usr/bin/microvm".to_owned();
    let emit = emit::Options { source: "in.toml".to_owned(), helper: helper.clone(), embed: None };
    (microvm::plan::Options { helper, compat: false }, emit)
}

/// The packages of the golden cases whose names begin with `start`, but of those that are refused,
/// with the name of the case.
fn golden(start: &str) -> Vec<(String, Built)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/microvm/golden");
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("the golden cases") {
        let case = entry.expect("an entry").path();
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(start) {
            continue;
        }
        let read = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            fs::read_to_string(case.join(name))
                .map_err(|error| pipeline::Unread::Refused(error.to_string()))
        };
        let loaded = pipeline::load("/srv/vm/in.toml", "in.toml", &read, &Default::default());
        let (plan, emit) = options();
        let built = packages(loaded, &plan, &emit).packages;
        all.extend(built.into_iter().map(|it| (format!("{name}/{}", it.name), it)));
    }
    assert!(!all.is_empty(), "no golden case gives a package");
    all
}

/// The packages of the examples.
fn examples() -> Vec<Built> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("the examples") {
        let dir = entry.expect("an entry").path();
        for file in ["vm.toml", "nested.toml"].map(|name| dir.join(name)) {
            if file.exists() {
                let outcome = build::build(&file, &build::Options::default()).expect("a file");
                assert!(!outcome.packages.is_empty(), "{}: {}", file.display(), outcome.report);
                all.extend(outcome.packages);
            }
        }
    }
    all
}

/// Writes a package into a fresh directory.
fn written(built: &Built) -> PathBuf {
    let at = directory().join("package");
    let done = Place(at.clone()).write(&built.tree, false).expect("a package");
    assert_eq!(done, Written::New);
    at
}

fn scripts(package: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(package.join("bin")).expect("the directory of scripts");
    entries.map(|entry| entry.expect("a script").path()).collect()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn no_generated_script_has_a_finding() {
    let mut files = Vec::new();
    for built in golden("").into_iter().map(|(_, built)| built).chain(examples()) {
        let package = written(&built);
        files.extend(scripts(&package));
    }
    let checked = output(Command::new("shellcheck").args(["-s", "sh", "-S", "style"]).args(&files));
    assert!(checked.status.success(), "{}", said(&checked));
    for shell in SHELLS {
        for file in &files {
            let parsed = output(Command::new(shell[0]).args(&shell[1..]).arg("-n").arg(file));
            assert!(parsed.status.success(), "{shell:?} {}: {}", file.display(), said(&parsed));
        }
    }
}

#[test]
fn a_script_of_the_users_finds_the_helper_that_it_speaks_of() {
    let mut vm = machine(&[]);
    vm.bin_scripts.insert("own".to_owned(), "exec \"$MICROVM\" \"$@\"".to_owned());
    let (plan_options, mut emit_options) = options();
    emit_options.helper = "/bin/echo".to_owned();
    let tree = emit::package(&vm, &plan(&vm, &plan_options), &emit_options);
    let package = written(&Built { name: String::new(), vm, tree, named: Default::default() });
    let mut command = Command::new(package.join("bin/own"));
    let output = output(command.arg("a word").env_remove("MICROVM"));
    assert_eq!(said(&output), "a word\n");
}

#[test]
fn two_builds_are_the_same_bytes_and_dates() {
    for ((name, first), (_, second)) in golden("").into_iter().zip(golden("")) {
        assert_eq!(first.tree.hash(), second.tree.hash(), "{name}");
        let (one, other) = (written(&first), written(&second));
        assert_eq!(Place(one.clone()).read().expect("one"), Place(other).read().expect("other"));
        for script in scripts(&one) {
            assert_eq!(fs::metadata(&script).expect("a script").mtime(), 0, "{name}");
        }
    }
}

#[test]
fn every_directory_of_a_package_has_its_mode_and_date() {
    for (name, built) in golden("") {
        let at = directory();
        // What is made in such a directory begins with another mode.
        fs::set_permissions(&at, Permissions::from_mode(0o2700)).expect("a mode");
        let package = at.join("package");
        Place(package.clone()).write(&built.tree, false).expect("a package");
        let mut waiting = vec![package];
        while let Some(directory) = waiting.pop() {
            let found = fs::metadata(&directory).expect("a directory");
            let facts = (found.mode() & 0o7777, found.mtime());
            assert_eq!(facts, (0o755, 0), "{name}: {}", directory.display());
            let entries = fs::read_dir(&directory).expect("entries").flatten();
            waiting.extend(entries.map(|it| it.path()).filter(|it| it.is_dir()));
        }
    }
}

#[test]
fn a_package_that_is_there_is_not_written_again() {
    let (_, built) = golden("").remove(0);
    let at = written(&built);
    let place = Place(at.clone());
    let before = fs::metadata(at.join("bin")).expect("scripts").ino();
    assert_eq!(place.write(&built.tree, false).expect("the same"), Written::Unchanged);
    assert_eq!(fs::metadata(at.join("bin")).expect("scripts").ino(), before);

    let mut other = built.tree.clone();
    other.put("bin/own", microvm::package::Entry::Program(Vec::new()));
    assert!(place.write(&other, false).is_err());
    assert_eq!(place.write(&other, true).expect("replaced"), Written::New);
    assert_eq!(place.read().expect("the other"), other);

    let foreign = directory().join("foreign");
    fs::create_dir(&foreign).expect("a directory");
    fs::write(foreign.join("precious"), "x").expect("a file");
    assert!(Place(foreign.clone()).write(&other, true).is_err());
    assert!(foreign.join("precious").exists());
}

/// Runs the start script in `shell`, in the directory `at`, with a program in place of ours that
/// writes down its words. Gives all calls, each as its words.
fn calls(package: &Path, shell: &[&str], at: &Path) -> Vec<Vec<String>> {
    let (output, calls) = run(package, shell, at);
    assert!(output.status.success(), "{shell:?}: {}", said(&output));
    calls
}

/// As [`calls`], however it ends.
fn run(package: &Path, shell: &[&str], at: &Path) -> (Output, Vec<Vec<String>>) {
    let (log, fake) = (at.join("log"), at.join("microvm"));
    let text = "#!/bin/sh\nprintf '%s\\0' \"$@\" >>\"$LOG\"\nprintf '\\001\\0' >>\"$LOG\"\n";
    fs::write(&fake, text).expect("the program in place of ours");
    fs::set_permissions(&fake, Permissions::from_mode(0o755)).expect("its mode");
    let output = output(
        Command::new(shell[0])
            .args(&shell[1..])
            .arg(package.join("bin/microvm-run"))
            .current_dir(at)
            .env("MICROVM", &fake)
            .env("LOG", &log),
    );
    let bytes = fs::read(&log).unwrap_or_default();
    let words =
        bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let mut calls = vec![Vec::new()];
    for word in words {
        if word == "\u{1}" {
            calls.push(Vec::new());
        } else if let Some(call) = calls.last_mut() {
            call.push(word);
        }
    }
    calls.pop();
    (output, calls)
}

/// The package of a machine on which nothing is odd but what `change` makes so.
fn changed(change: impl FnOnce(&mut Vm), embed: Option<Vec<u8>>) -> PathBuf {
    let mut vm = machine(&["x".to_owned()]);
    change(&mut vm);
    let (options, emit) = options();
    let tree = emit::package(&vm, &plan(&vm, &options), &emit::Options { embed, ..emit });
    written(&Built { name: "web1".to_owned(), vm, tree, named: Default::default() })
}

/// What stands in a script as it was written, such as a comment, ends with its line.
#[test]
fn commands_of_the_users_stand_alone() {
    let package = changed(
        |vm| {
            vm.pre_start = "SAID='-a * '; export SAID # once".to_owned();
            vm.extra_args_script = Some("printf '%s -b\\n' \"$SAID\" # all of it".to_owned());
        },
        None,
    );
    for shell in SHELLS {
        let calls = calls(&package, shell, &directory());
        let launch = calls.last().expect("a start");
        let said = launch.iter().skip_while(|word| *word != "--split").nth(1);
        assert_eq!(said.map(String::as_str), Some("-a *  -b"), "{shell:?}: {launch:?}");
    }
}

#[test]
fn what_fails_on_the_way_starts_nothing() {
    let fails: [fn(&mut Vm); 3] = [
        |vm| vm.pre_start = "false\necho goes on".to_owned(),
        |vm| vm.pre_start = "echo \"$no_such_variable\"".to_owned(),
        |vm| vm.extra_args_script = Some("echo -x; exit 3".to_owned()),
    ];
    for (at, fail) in fails.into_iter().enumerate() {
        let package = changed(fail, None);
        for shell in SHELLS {
            let (output, calls) = run(&package, shell, &directory());
            let started = calls.iter().flatten().any(|word| word == "launch");
            assert!(!output.status.success() && !started, "{at} {shell:?}: {calls:?}");
            assert!(!said(&output).contains("goes on"), "{at} {shell:?}");
        }
    }
}

/// A variable for `cd` that some people export would send it elsewhere, and make it talk.
#[test]
fn a_package_finds_itself_wherever_it_is_called_from() {
    let program = b"#!/bin/sh\necho \"$0\"\n".to_vec();
    let package = changed(|vm| vm.volumes.clear(), Some(program));
    let moved = directory().join("it's \"here\" $now");
    fs::rename(&package, &moved).expect("moved");
    let program = moved.join("libexec/microvm");
    for shell in SHELLS {
        for (from, script) in
            [(".", "bin/microvm-run"), ("bin", "microvm-run"), ("share", "../bin/microvm-run")]
        {
            let output = output(
                Command::new(shell[0])
                    .args(&shell[1..])
                    .arg(script)
                    .current_dir(moved.join(from))
                    .env("CDPATH", "/usr:."),
            );
            assert_eq!(said(&output), format!("{}\n", program.display()), "{shell:?} {script}");
        }
    }
}

/// The last call of the start script, in a directory of this name, which our program is in too.
fn started_in(name: &str, package: &Path, shell: &[&str]) -> (PathBuf, Vec<String>) {
    let at = directory().join(name);
    fs::create_dir(&at).expect("a directory");
    let last = calls(package, shell, &at).pop();
    (at, last.expect("a start"))
}

#[test]
fn paths_of_the_start_stay_inside_their_values() {
    let host = End { address: "10.0.2.9".to_owned(), port: 80 };
    let forward = Forward { from: From::Guest, host, ..Forward::default() };
    let qemu = changed(|vm| vm.forward_ports = vec![forward], None);
    let vfkit = changed(|vm| vm.hypervisor = Hypervisor::Vfkit, None);
    for shell in SHELLS {
        let (at, words) = started_in("a,b c's \"d\" $e\\f é", &qemu, shell);
        let value = words.iter().find(|word| word.contains("guestfwd=")).expect("the option");
        // A comma is one of the value where it is doubled.
        let value = value.replace(",,", "\u{1}");
        let last = value.rsplit(',').next().unwrap_or_default().replace('\u{1}', ",");
        let (start, command) = last.split_once("-cmd:").expect("a command");
        assert_eq!(start, "guestfwd=tcp::0", "{shell:?}");
        // It is taken apart as a shell does that expands nothing.
        let script = "import shlex, sys; print('\\n'.join(shlex.split(sys.argv[1])))";
        let output = Command::new("python3").args(["-c", script, command]).output();
        let program = at.join("microvm");
        let wanted = format!("{}\ninternal\ntcp-relay\n10.0.2.9\n80\n", program.display());
        assert_eq!(said(&output.expect("python3")), wanted, "{shell:?}");
        let (at, words) = started_in("a?b#c%d", &vfkit, shell);
        let above = at.parent().expect("it has one").display();
        let wanted = format!("unix://{above}/a%3Fb%23c%25d/x");
        assert!(words.contains(&wanted), "{shell:?}: {words:?}");
    }
}

/// The package of a golden case.
fn of_case(name: &str) -> Built {
    golden(name).remove(0).1
}

/// The text of a script.
fn script(built: &Built, name: &str) -> Option<String> {
    let entry = built.tree.get(&format!("bin/{name}"))?;
    Some(String::from_utf8(entry.bytes().to_vec()).expect("a script is text"))
}

#[test]
fn a_start_that_needs_no_help_is_the_shells_alone() {
    let package = written(&of_case("G45"));
    let at = directory();
    let fake = at.join("qemu-system-x86_64");
    fs::write(&fake, "#!/bin/sh\necho \"$0\" \"$#\"\n").expect("a program");
    fs::set_permissions(&fake, Permissions::from_mode(0o755)).expect("its mode");
    let path = format!("{}:/usr/bin:/bin", at.display());
    let output = output(
        Command::new(package.join("bin/microvm-run")).env("PATH", path).env("MICROVM", "/nowhere"),
    );
    let words = of_case("G45").tree.get("share/microvm/command.txt").map(|it| it.bytes().to_vec());
    let words = String::from_utf8(words.expect("the words")).expect("text").lines().count();
    assert_eq!(said(&output), format!("{} {}\n", fake.display(), words - 1));
}

#[test]
fn scripts_are_there_for_what_can_be_done() {
    let without = of_case("G46");
    for name in ["microvm-shutdown", "microvm-balloon", "microvm-console", "tap-up"] {
        assert_eq!(script(&without, name), None, "{name}");
    }
    let maximal = of_case("G25");
    for (name, part) in [
        ("microvm-shutdown", "--how powerdown"),
        ("microvm-balloon", "--mem 4096"),
        ("microvm-console", "vm1-console.sock"),
        ("tap-up", "ip tuntap add name vm-a"),
        ("macvtap-up", "type macvtap mode bridge"),
        ("pci-setup", "internal pci-setup"),
        ("virtiofsd-run", "internal virtiofsd"),
    ] {
        let text = script(&maximal, name).unwrap_or_else(|| panic!("no {name}"));
        assert!(text.contains(part), "{name}: {text}");
    }
    // A console on a socket is QEMU's alone.
    for case in ["G26", "G28", "G31"] {
        let mut vm = of_case(case).vm;
        vm.console = microvm::config::Console::Socket;
        let (plans, emit) = options();
        let tree = emit::package(&vm, &plan(&vm, &plans), &emit);
        assert!(tree.get("bin/microvm-console").is_none(), "{case}");
    }
}

#[test]
fn scripts_of_the_user_are_added_and_appended() {
    let built = of_case("G47");
    let text = script(&built, "tap-up").expect("the script of the taps");
    let (ours, own) = (text.find("ip tuntap add"), text.find("ip addr add 10.0.0.1/24 dev vm-a"));
    assert!(ours.is_some() && ours < own, "{text}");
    let down = script(&built, "tap-down").expect("the other one");
    assert!(!down.contains("ip addr add"), "{down}");
    let output = output(Command::new(written(&built).join("bin/hello")).arg("you"));
    assert_eq!(said(&output), "hello you\n");
}

#[test]
fn a_guest_is_reached_where_its_hypervisor_listens() {
    for (case, host) in [
        ("G25", "vsock/42"),
        ("G26", "vsock-mux//s/a/notify.vsock"),
        ("G27", "vsock-mux//s/a/notify.vsock"),
        ("G35", "vsock-mux//s/a/own.vsock"),
    ] {
        let tree = of_case(case).tree;
        let profile = Profile::of(&|path| tree.get(path).map(|entry| entry.bytes().to_vec()));
        let target = Target::of(&profile, "/s/a").expect("it has vsock");
        assert_eq!(target.host(), host, "{case}");
    }
}

#[test]
fn taps_have_the_queues_that_the_hypervisor_opens() {
    for (case, several) in [
        ("G25", Some(",queues=4")),
        ("G26", Some(",num_queues=8,")),
        ("G27", None),
        ("G28", None),
        ("G29", None),
        ("G30", Some(",queues=4")),
        ("G31", Some(",queue_pairs=4,")),
    ] {
        for vcpu in [4, 1] {
            let vm = Vm { vcpu, ..of_case(case).vm };
            let (plans, emit) = options();
            let plan = plan(&vm, &plans);
            let words: Vec<String> = plan.words.iter().map(|word| word.shown()).collect();
            let tree = emit::package(&vm, &plan, &emit);
            let text = |path: &str| {
                let entry = tree.get(path).unwrap_or_else(|| panic!("{case}: no {path}"));
                String::from_utf8_lossy(entry.bytes()).into_owned()
            };
            let expected = several.filter(|_| vcpu > 1);
            let flags = if expected.is_some() { "vnet_hdr\nmulti_queue\n" } else { "vnet_hdr\n" };
            assert_eq!(text("share/microvm/tap-flags"), flags, "{case}");
            let is_multi = text("bin/tap-up").contains(" vnet_hdr multi_queue\n");
            assert_eq!(is_multi, expected.is_some(), "{case}");
            let part = several.unwrap_or("queue");
            let opens = words.iter().any(|word| word.contains(part));
            assert_eq!(opens, expected.is_some(), "{case}: {words:?}");
        }
    }
}

#[test]
fn an_ip_that_knows_no_taps_is_not_called() {
    let at = directory();
    let read = |_: &str| {
        let text = "hostName = \"a\"\nkernel = \"/k\"\n[[interfaces]]\ntype = \"tap\"\n\
                    id = \"vm-a\"\nmac = \"02:00:00:00:00:01\"\n";
        Ok(text.to_owned())
    };
    let loaded = pipeline::load("/srv/vm/in.toml", "in.toml", &read, &Default::default());
    let (plan, emit) = options();
    let package = written(&packages(loaded, &plan, &emit).packages[0]);
    // As that of busybox does: usage for whatever it does not know.
    let program = |name: &str, text: &str| {
        fs::write(at.join(name), text).expect("a program");
        fs::set_permissions(at.join(name), Permissions::from_mode(0o755)).expect("its mode");
    };
    program("ip", "#!/bin/sh\necho usage >&2\nexit 1\n");
    program("microvm", "#!/bin/sh\necho \"$*\"\n");
    for (script, action) in [("tap-up", "net tap-up"), ("tap-down", "net tap-down")] {
        let output = output(
            Command::new("dash")
                .arg(package.join("bin").join(script))
                .env("MICROVM", at.join("microvm"))
                .env("PATH", format!("{}:/usr/bin:/bin", at.display())),
        );
        let words = format!("internal {action} --package {}\n", package.display());
        assert_eq!(said(&output), words, "{script}");
    }
}

/// A machine in which every string that nothing restricts is one of `texts`.
fn machine(texts: &[String]) -> Vm {
    let mut next = texts.iter().cycle().cloned();
    let mut text = move || next.next().unwrap_or_default();
    let mut vm = Vm {
        host_name: "web1".to_owned(),
        shell: "/bin/sh".to_owned(),
        kernel: text(),
        initrd_path: Some(text()),
        kernel_params: vec![text(), text()],
        socket: Some(text()),
        pretty_procnames: true,
        wrap_command: vec![text()],
        user: Some(text()),
        cpu: Some(text()),
        vcpu: 1,
        mem: 64,
        store_on_disk: true,
        store_disk: Some(text()),
        ..Vm::default()
    };
    vm.qemu.binary = text();
    vm.qemu.machine = text();
    vm.qemu.extra_args = vec![text(), text()];
    vm.qemu.accel = text();
    vm.credential_files = [("a".to_owned(), text())].into();
    vm.volumes = vec![Volume {
        image: text(),
        serial: Some(text()),
        label: Some(text()),
        fs_type: text(),
        mkfs_extra_args: vec![text()],
        auto_create: true,
        ..Volume::default()
    }];
    vm.interfaces = vec![Interface { id: text(), mac: text(), ..Interface::default() }];
    vm.forward_ports = vec![Forward { proto: text(), ..Forward::default() }];
    vm.shares = vec![Share { tag: text(), source: text(), ..Share::default() }];
    vm
}

/// The word as it is when the script of `package` runs in the directory `at`.
fn resolved(word: &Word, package: &Path, at: &Path) -> String {
    let part = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Package => package.display().to_string(),
        Piece::WorkingDirectory => at.display().to_string(),
        other => panic!("{other:?} is not known before the start"),
    };
    word.pieces.iter().map(part).collect()
}

/// Texts that shells and people find difficult, and any other.
fn texts() -> impl Strategy<Value = Vec<String>> {
    let hard = prop::sample::select(vec![
        "'",
        "\"",
        "$(touch pwned)",
        "`id`",
        "\\",
        "a b",
        "",
        "-n",
        "*",
        "~",
        "#x",
        "é\u{202e}",
        "$HOME",
        "!!",
        "'\\''",
        "a'b\"c",
        "\t",
        "&&",
        ";",
        "|",
        ">x",
        "{a,b}",
        "=",
        "\u{7f}",
    ]);
    let any = "[^\\x00\\x01\\r\\n]{0,12}";
    prop::collection::vec(prop_oneof![hard.prop_map(str::to_owned), any], 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_text_leaves_its_argument_in_any_shell(
        texts in texts(),
        hypervisor in prop::sample::select(&Hypervisor::ALL[..]),
    ) {
        let mut vm = machine(&texts);
        vm.hypervisor = hypervisor;
        // What stands at this path is removed before the start.
        vm.socket = vm.socket.map(|text| format!("s{text}"));
        let (options, emit) = options();
        let plan = plan(&vm, &options);
        let tree = emit::package(&vm, &plan, &emit);
        let name = "web1".to_owned();
        let named = Default::default();
        let package = written(&Built { name, vm: vm.clone(), tree, named });
        let volume = &vm.volumes[0];
        for shell in SHELLS {
            let at = directory();
            let planned: Vec<String> =
                plan.words.iter().map(|word| resolved(word, &package, &at)).collect();
            let calls = calls(&package, shell, &at);
            prop_assert_eq!(calls.len(), 2, "{:?}: {:?}", shell, calls);
            let created = calls[0].iter().skip_while(|word| *word != "--").skip(1);
            let wanted = [&volume.image, &volume.mkfs_extra_args[0]];
            // A text may itself be two dashes; then the words before it are skipped too.
            if !texts.iter().any(|text| text == "--") {
                prop_assert!(created.eq(wanted), "{:?}: {:?}", shell, calls[0]);
                let started: Vec<&String> =
                    calls[1].iter().skip_while(|word| *word != "--").skip(1).collect();
                let wanted: Vec<&String> =
                    vm.wrap_command.iter().chain([&plan.program]).chain(&planned).collect();
                prop_assert_eq!(started, wanted, "{:?}", shell);
            }
        }
        fs::remove_dir_all(package.parent().expect("a parent")).expect("removed");
    }
}
