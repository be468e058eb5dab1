// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the state directory: what each command makes of it, and what a kill behind each action
//! leaves.

mod owners;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use plinth::err::Failure;
use plinth::file::Root;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;

use super::change::Outcome;
use super::settings::Settings;
use super::*;
use crate::package::{Entry, Place as PackagePlace, RUNNER, Tree};

/// Names the action behind which the process of a test is killed.
const KILL_AT: &str = "MICROVM_TEST_KILL_AT";
/// Where that process works, and what it does.
const WORK: &str = "MICROVM_TEST_WORK";

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// A package of a machine with so much memory; the largest have an address on vsock.
fn tree(memory: u32) -> Tree {
    let mut tree = Tree::default();
    let script = "#!/bin/sh\nexec sleep 1000\n";
    tree.put("bin/microvm-run", Entry::Program(script.as_bytes().to_vec()));
    tree.put("share/microvm/hypervisor", Entry::Data(b"qemu\n".to_vec()));
    if memory > 2000 {
        tree.put("share/microvm/vsock-cid", Entry::Data(b"10\n".to_vec()));
    }
    let runner = json!({
        "capabilities": { "supportsNotifySocket": memory > 600 },
        "config": { "mem": memory },
    });
    tree.put(RUNNER, Entry::Data(format!("{runner:#}\n").into_bytes()));
    tree.seal();
    tree
}

/// A description here is a file with the memory in it.
fn packages(path: &Path, _: &Request) -> Result<Vec<Built>, Failure> {
    let text = fs::read_to_string(path)?;
    let memory = text.trim().parse().map_err(|_| Failure::new(3, "no number"))?;
    Ok(vec![Built { name: "x".to_owned(), tree: tree(memory), warnings: Vec::new() }])
}

/// A root of our own.
struct Ground(PathBuf);

impl Ground {
    fn new(what: &str) -> Self {
        let id = plinth::rand::uuid_v4();
        let at = std::env::temp_dir().join(format!("microvm-host-{what}-{id}"));
        // With units, so that drop-ins are written.
        fs::create_dir_all(at.join("etc/systemd/system")).expect("directories");
        fs::write(at.join("etc/systemd/system/microvm@.service"), "").expect("a unit");
        Self(at)
    }

    fn describe(&self, memory: u32) -> PathBuf {
        let path = self.0.join("a.toml");
        fs::write(&path, memory.to_string()).expect("a description");
        path
    }

    fn tool(&self, program: &str, script: &str) {
        let path = self.0.join("tools").join(program);
        fs::create_dir_all(self.0.join("tools")).expect("a directory");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a tool");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    fn with<T>(&self, manager: Manager, after: &dyn Fn(), then: impl FnOnce(&Host<'_>) -> T) -> T {
        let host = Host {
            root: Root::at(&self.0),
            settings: Settings::default(),
            program: "/usr/bin/microvm".to_owned(),
            manager,
            tools: Some(self.0.join("tools")),
            build: &packages,
            after_action: after,
        };
        then(&host)
    }

    fn plain<T>(&self, then: impl FnOnce(&Host<'_>) -> T) -> T {
        self.with(Manager::Own, &|| (), then)
    }

    /// The machine `a`, with packages of 512, then 768 MiB.
    fn machine(&self) {
        let path = self.describe(512);
        self.plain(|host| host.create(&name("a"), &path, true).map(drop)).expect("created");
        self.describe(768);
        self.plain(|host| host.update(&name("a")).map(drop)).expect("updated");
    }

    fn state(&self) -> seen::Seen {
        self.plain(|host| host.look(&name("a"))).expect("a look")
    }

    /// The memory of the packages behind the links, each of which must be whole.
    fn links(&self) -> BTreeMap<&'static str, u64> {
        let mut found = BTreeMap::new();
        for link in [change::CURRENT, change::BOOTED, change::OLD] {
            let path = self.0.join("var/lib/microvms/a").join(link);
            if path.symlink_metadata().is_err() {
                continue;
            }
            let package = PackagePlace(path).read().expect("a link leads to a package");
            assert_eq!(package.sealed(), Some(package.hash()), "{link} is whole");
            let profile = self.plain(|host| host.profile(&name("a"), link)).expect("a package");
            found.insert(link, profile.memory.expect("memory"));
        }
        found
    }

    /// What no finished command leaves behind.
    fn leftovers(&self) -> Vec<String> {
        let at = self.0.join("var/lib/microvms/a");
        let names = |path: &Path| -> Vec<String> {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
        };
        let is_draft =
            |it: &String| it.ends_with(".new") || it.ends_with(".tmp") || it == ".pending";
        let mut found: Vec<String> = names(&at).into_iter().filter(is_draft).collect();
        found.extend(names(&at.join("gen")).into_iter().filter(|it| it.len() != 16));
        found
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What a process does that may be killed.
fn work(ground: &Ground, what: &str, after: &dyn Fn()) -> Result<(), Failure> {
    let (a, path) = (name("a"), ground.0.join("a.toml"));
    ground.with(Manager::Own, after, |host| match what {
        "create" => host.create(&a, &path, true).map(drop),
        "update" => host.update(&a).map(drop),
        "rollback" => host.rollback(&a).map(drop),
        "gc" => host.collect(&a, 1).map(drop),
        "remove" => host.remove(&a, false),
        _ => host.remove(&a, true),
    })
}

/// Does `what` in a process that dies behind action `at`; whether it lived to the end.
fn survives(ground: &Ground, what: &str, at: u32) -> bool {
    let output = Command::new(std::env::current_exe().expect("the test"))
        .args(["--exact", "host::tests::the_victim", "--nocapture"])
        .env(KILL_AT, at.to_string())
        .env(WORK, format!("{what} {}", ground.0.display()))
        .output()
        .expect("a process");
    let is_killed = output.status.signal() == Some(Signal::KILL.as_raw());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(is_killed || output.status.success(), "{what} {at}: {said}");
    !is_killed
}

/// The process of [`survives`]; nothing in an ordinary run.
#[test]
fn the_victim() {
    let Ok(work_said) = std::env::var(WORK) else { return };
    let (what, path) = work_said.split_once(' ').expect("two words");
    let ground = std::mem::ManuallyDrop::new(Ground(PathBuf::from(path)));
    let at: u32 = std::env::var(KILL_AT).expect("a number").parse().expect("a number");
    let count = Cell::new(0);
    let after = || {
        count.set(count.get() + 1);
        if count.get() == at {
            kill_process(getpid(), Signal::KILL).expect("our own process");
        }
    };
    work(&ground, what, &after).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Kills `what` behind each of its actions, on grounds of their own; `check` looks at what is
/// left, and at what a second run makes of it.
fn cut_everywhere(
    what: &str,
    prepare: impl Fn(&Ground),
    cut: impl Fn(&Ground),
    again: impl Fn(&Ground),
) {
    for at in 1.. {
        let ground = Ground::new(what);
        prepare(&ground);
        let is_done = survives(&ground, what, at);
        cut(&ground);
        if is_done {
            assert!(at > 3, "{what} has several actions");
            return;
        }
        again(&ground);
    }
}

#[test]
fn a_creation_cut_anywhere_is_none_or_whole() {
    cut_everywhere(
        "create",
        |ground| drop(ground.describe(512)),
        |ground| {
            let links = ground.links();
            assert!(links.is_empty() || links == BTreeMap::from([("current", 512)]), "{links:?}");
        },
        |ground| {
            let is_there = ground.state().is_machine();
            let done = work(ground, if is_there { "update" } else { "create" }, &|| ());
            done.unwrap_or_else(|failure| panic!("{failure}"));
            let seen = ground.state();
            assert!(seen.autostart && seen.source.is_some() && seen.drop_in.is_some());
            assert_eq!(ground.links(), BTreeMap::from([("current", 512)]));
            assert_eq!(ground.leftovers(), [""; 0]);
        },
    );
}

#[test]
fn an_update_cut_anywhere_leaves_the_old_package_or_the_new() {
    cut_everywhere(
        "update",
        |ground| {
            ground.machine();
            ground.describe(1024);
            ground.plain(|host| host.set_booted(&name("a"))).expect("booted");
        },
        |ground| {
            let links = ground.links();
            assert!([768, 1024].contains(&links["current"]), "{links:?}");
            assert_eq!(links["booted"], 768, "what runs is not touched");
        },
        |ground| {
            work(ground, "update", &|| ()).unwrap_or_else(|failure| panic!("{failure}"));
            let links = BTreeMap::from([("booted", 768), ("current", 1024), ("old", 768)]);
            assert_eq!(ground.links(), links);
            assert!(ground.state().drop_in.expect("one").contains("Type=notify"));
            assert_eq!(ground.leftovers(), [""; 0]);
        },
    );
}

#[test]
fn a_rollback_cut_anywhere_is_done_or_not() {
    cut_everywhere(
        "rollback",
        Ground::machine,
        |ground| {
            let links = ground.links();
            let (not, done) = ([768, 512], [512, 768]);
            let found = [links["current"], links["old"]];
            assert!(found == not || found == done, "{links:?}");
        },
        |ground| {
            // An update to what is described ends what was begun.
            work(ground, "update", &|| ()).unwrap_or_else(|failure| panic!("{failure}"));
            assert_eq!(ground.links()["current"], 768);
            assert!(ground.state().drop_in.expect("one").contains("Type=notify"));
            assert_eq!(ground.leftovers(), [""; 0]);
        },
    );
}

#[test]
fn a_removal_cut_anywhere_can_be_ended() {
    for what in ["remove", "remove-but-data"] {
        cut_everywhere(
            what,
            |ground| {
                ground.machine();
                fs::write(ground.0.join("var/lib/microvms/a/data.img"), "x").expect("data");
            },
            |ground| {
                let links = ground.links();
                assert!(links.get("current").is_none_or(|it| *it == 768), "{links:?}");
            },
            |ground| {
                let left = work(ground, what, &|| ());
                let at = ground.0.join("var/lib/microvms/a");
                if what == "remove" {
                    let is_gone = left.as_ref().err().is_none_or(|failure| failure.exit == 4);
                    assert!(is_gone && !at.exists());
                } else {
                    left.unwrap_or_else(|failure| panic!("{failure}"));
                    assert!(at.join("data.img").exists() && !ground.state().is_machine());
                }
            },
        );
    }
}

#[test]
fn the_same_description_writes_nothing() {
    let ground = Ground::new("same");
    ground.machine();
    let count = Cell::new(0);
    let after = || count.set(count.get() + 1);
    let written = ground.with(Manager::Own, &after, |host| host.update(&name("a")));
    let (_, written) = written.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((written.outcome, count.get()), (Outcome::Same, 0));
}

#[test]
fn an_update_says_what_it_changed() {
    let ground = Ground::new("says");
    ground.machine();
    ground.describe(640);
    let (_, written) = ground.plain(|host| host.update(&name("a"))).expect("updated");
    assert_eq!(written.outcome, Outcome::Changed);
    let told: Vec<String> = written.differences.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["~ mem: 768 -> 640"]);
}

#[test]
fn packages_beyond_the_newest_go_unless_something_needs_them() {
    let ground = Ground::new("gc");
    ground.machine();
    ground.plain(|host| host.set_booted(&name("a"))).expect("booted");
    for memory in 1..10 {
        ground.describe(1000 + memory);
        ground.plain(|host| host.update(&name("a")).map(drop)).expect("updated");
    }
    let kept = ground.state().generations.len();
    assert_eq!(kept, 6, "five, and the one that runs");
    assert_eq!(ground.links(), BTreeMap::from([("booted", 768), ("current", 1009), ("old", 1008)]));
    // What killed processes left goes too.
    let packages = ground.0.join("var/lib/microvms/a/gen");
    fs::create_dir_all(packages.join("trash-0123456789abcdef/bin")).expect("a leftover");
    fs::create_dir_all(packages.join("0123456789abcdef.tmp-1/bin")).expect("a leftover");
    ground.plain(|host| host.collect(&name("a"), 1)).expect("collected");
    assert_eq!(ground.state().generations.len(), 3);
    assert_eq!(ground.leftovers(), [""; 0]);
}

#[test]
fn what_cannot_be_built_changes_nothing() {
    let ground = Ground::new("broken");
    ground.machine();
    fs::write(ground.0.join("a.toml"), "much").expect("a description");
    let failure = ground.plain(|host| host.update(&name("a")).map(drop)).expect_err("broken");
    assert_eq!(failure.exit, 3);
    assert_eq!(ground.links()["current"], 768);
    let path = ground.0.join("a.toml");
    let failure = ground.plain(|host| host.create(&name("b"), &path, false).map(drop));
    assert_eq!(failure.expect_err("broken").exit, 3);
    assert!(!ground.0.join("var/lib/microvms/b").exists());
}

#[test]
fn an_address_in_the_kernel_belongs_to_one_machine() {
    let ground = Ground::new("cid");
    let path = ground.0.join("big.toml");
    fs::write(&path, "2048").expect("a description");
    ground.plain(|host| {
        host.create(&name("a"), &path, false).map(drop).expect("the first");
        host.update(&name("a")).map(drop).expect("its own address is no other's");
        let failure = host.create(&name("b"), &path, false).map(drop).expect_err("the second");
        let text = failure.to_string();
        assert_eq!(text, "error[MV119]: CID 10 is also used by VM \"a\"");
        assert_eq!(failure.exit, 3);
        assert!(!host.directory(&name("b")).exists());
        // What one has given up, and another has by now, does not come back.
        fs::write(&path, "512").expect("a description");
        host.update(&name("a")).map(drop).expect("no address");
        fs::write(&path, "2048").expect("a description");
        host.create(&name("b"), &path, false).map(drop).expect("the address is free");
        let failure = host.rollback(&name("a")).map(drop).expect_err("the address is taken");
        assert_eq!(failure.to_string(), "error[MV119]: CID 10 is also used by VM \"b\"");
        assert_eq!(failure.exit, 3);
    });
    assert_eq!(ground.links()["current"], 512);
}

#[test]
fn each_conflict_has_its_status() {
    let ground = Ground::new("conflict");
    ground.machine();
    let path = ground.0.join("a.toml");
    let status = |done: Result<(), Failure>| done.expect_err("a conflict").exit;
    ground.plain(|host| {
        let (a, b) = (name("a"), name("b"));
        assert_eq!(status(host.create(&a, &path, false).map(drop)), 5);
        assert_eq!(status(host.update(&b).map(drop)), 4);
        assert_eq!(status(host.rollback(&b).map(drop)), 4);
        assert_eq!(status(host.remove(&b, false)), 4);
        let lock = host.lock(&a).expect("the lock");
        assert_eq!(status(host.update(&a).map(drop)), 5);
        drop(lock);
        fs::write(host.directory(&a).join("declarative"), "").expect("a mark");
        assert_eq!(status(host.update(&a).map(drop)), 5);
    });
}

#[test]
fn systemd_hears_of_a_change_once_and_in_time() {
    let ground = Ground::new("systemctl");
    let log = ground.0.join("log");
    let current = ground.0.join("var/lib/microvms/a/current");
    ground.tool(
        "systemctl",
        &format!("echo \"$* $(readlink {})\" >>{}", current.display(), log.display()),
    );
    let path = ground.describe(512);
    let with = |then: &dyn Fn(&Host<'_>)| ground.with(Manager::Systemd, &|| (), then);
    with(&|host| host.create(&name("a"), &path, false).map(drop).expect("created"));
    let first = format!("gen/{}", tree(512).hash().directory());
    assert_eq!(fs::read_to_string(&log).expect("said"), format!("daemon-reload {first}\n"));
    with(&|host| host.update(&name("a")).map(drop).expect("the same"));
    with(&|host| host.order("restart", &[name("a"), name("b")], true).expect("an order"));
    with(&|host| host.order("start", &[name("a")], false).expect("an order"));
    let said = fs::read_to_string(&log).expect("said");
    let said: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(
        said,
        [
            format!("restart microvm@a.service microvm@b.service {first}"),
            format!("start --no-block microvm@a.service {first}"),
        ]
    );
}

#[test]
fn a_failed_reload_is_done_by_the_next_update() {
    let ground = Ground::new("reload");
    let path = ground.describe(512);
    ground.tool("systemctl", "exit 1");
    let create = |host: &Host<'_>| host.create(&name("a"), &path, false).map(drop);
    ground.with(Manager::Systemd, &|| (), create).expect_err("systemctl fails");
    assert!(ground.state().pending && ground.links()["current"] == 512);
    ground.tool("systemctl", "exit 0");
    let update = |host: &Host<'_>| host.update(&name("a")).map(drop);
    ground.with(Manager::Systemd, &|| (), update).expect("updated");
    assert!(!ground.state().pending);
}

#[test]
fn the_generator_links_what_starts_at_boot() {
    let ground = Ground::new("generator");
    ground.machine();
    let out = ground.0.join("out");
    ground.plain(|host| generator::run(host, &out)).expect("links");
    let link = out.join("microvms.target.wants/microvm@a.service");
    let target = fs::read_link(&link).expect("a link");
    assert_eq!(target, Path::new("/etc/systemd/system/microvm@.service"));
    fs::remove_dir_all(&out).expect("removed");
    ground.plain(|host| host.mark(&name("a"), false)).expect("disabled");
    ground.plain(|host| generator::run(host, &out)).expect("nothing");
    assert!(!out.exists());
}

#[test]
fn a_package_arrives_from_another_host() {
    let ground = Ground::new("import");
    let package = tree(512);
    let mut stream = Vec::new();
    pack(&package, &mut stream).expect("memory");
    ground.plain(|host| {
        let (a, b, hash) = (name("a"), name("b"), package.hash());
        assert_eq!(host.have(&hash).expect("a look"), None);
        let other = tree(1).hash();
        let error = import(host, &a, &other, stream.as_slice()).expect_err("another");
        assert!(error.to_string().contains("announced"), "{error}");
        assert!(!host.look(&a).expect("a look").is_machine());
        let written = import(host, &a, &hash, stream.as_slice()).expect("imported");
        assert_eq!(written.outcome, Outcome::Created);
        assert!(host.have(&hash).expect("a look").is_some());
        // The second needs no stream.
        import(host, &b, &hash, &[][..]).expect("taken from the first");
        assert_eq!(host.profile(&b, change::CURRENT).expect("a package").memory, Some(512));
        let failure = host.update(&a).map(drop).expect_err("no description");
        assert_eq!(failure.exit, 4);
    });
}

#[test]
fn what_is_no_directory_is_no_machine() {
    let ground = Ground::new("odd");
    ground.machine();
    let state = ground.0.join("var/lib/microvms");
    fs::write(state.join("notes"), "").expect("a file");
    std::os::unix::fs::symlink("loop", state.join("loop")).expect("a link");
    std::os::unix::fs::symlink("/nonexistent", state.join("gone")).expect("a link");
    fs::create_dir(state.join("No Machine")).expect("a directory");
    ground.plain(|host| {
        assert_eq!(host.names().expect("a look"), [name("a")]);
        assert_eq!(generator::wanted(host).len(), 1);
        assert!(matches!(host.machine(&name("notes")), Err(HostError::NotFound(_))));
    });
}

#[test]
fn a_package_of_another_tool_is_a_package() {
    let ground = Ground::new("foreign");
    let path = ground.describe(512);
    let target = "/nix/store/0123456789abcdef-microvm-qemu-a";
    let package = ground.0.join(&target[1..]);
    let at = ground.0.join("var/lib/microvms/a");
    fs::create_dir_all(package.join("bin")).expect("a package");
    let put = |script: &str, text: &str| {
        let file = package.join("bin").join(script);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("a script");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
    };
    put("microvm-run", "exec sleep 1000");
    put("tap-up", "echo up >>log");
    put("tap-down", "echo down >>log");
    fs::create_dir_all(&at).expect("a machine");
    std::os::unix::fs::symlink(target, at.join("current")).expect("a link");
    fs::write(at.join("source"), path.display().to_string()).expect("a description");
    fs::write(at.join("autostart"), "").expect("a mark");
    ground.plain(|host| {
        let a = name("a");
        let seen = host.look(&a).expect("a look");
        let id = seen.current_id().expect("a package").clone();
        assert_eq!(id.as_str(), "0123456789abcdef-microvm-qemu-a");
        assert_eq!(list::judge(&seen, &list::Described::Unknown), list::State::NotBooted(id));
        assert!(generator::wanted(host).contains(&a));
        host.start(&a).expect("it starts");
        let seen = host.look(&a).expect("a look");
        assert_eq!(seen.booted, seen.current);
        host.stop(&a).expect("it stops");
        assert_eq!(fs::read_to_string(at.join("log")).expect("a log"), "up\ndown\n");
        assert_eq!(host.collect(&a, 0).map_err(|it| it.to_string()), Ok(Vec::new()));
        host.update(&a).expect("replaced by ours");
        assert_eq!(host.profile(&a, change::CURRENT).expect("ours").memory, Some(512));
        let back = host.rollback(&a).expect("back at the other tool's");
        assert_eq!(back.current.expect("a link").target, target);
    });
}

#[test]
fn a_damaged_package_is_made_anew() {
    let ground = Ground::new("damaged");
    ground.machine();
    let current = ground.0.join("var/lib/microvms/a/current");
    for damage in ["{", "[1]", "\0", ""] {
        fs::write(current.join(RUNNER), damage).expect("written");
        assert_eq!(ground.state().current_id(), None, "{damage}");
        ground.plain(|host| host.update(&name("a")).map(drop)).expect("updated");
        assert_eq!(ground.links()["current"], 768);
    }
    fs::remove_file(current.join(RUNNER)).expect("removed");
    ground.plain(|host| host.update(&name("a")).map(drop)).expect("updated");
    assert_eq!((ground.links()["current"], ground.leftovers()), (768, Vec::new()));
}

#[test]
fn a_link_in_the_place_of_a_mark_is_replaced_not_followed() {
    let ground = Ground::new("link");
    ground.machine();
    let (at, precious) = (ground.0.join("var/lib/microvms/a"), ground.0.join("precious"));
    fs::write(&precious, "x").expect("a file");
    std::os::unix::fs::symlink(&precious, at.join(".pending")).expect("a link");
    ground.plain(|host| host.rollback(&name("a")).map(drop)).expect("by way of the mark");
    assert_eq!(fs::read_to_string(precious).expect("a file"), "x");
}
