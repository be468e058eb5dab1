// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of starting and stopping: real processes, scripts in the place of a hypervisor.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use plinth::err::Failure;
use plinth::file::Root;

use super::super::settings::Settings;
use super::super::{Built, Manager, Request};
use super::*;
use crate::package::{Entry, RUNNER, Tree};

/// Stays until it is told to go.
const STAYS: &str = "echo runs; trap 'kill $!; exit 0' TERM; while :; do sleep 3 & wait $!; done";

fn name() -> Name {
    Name::parse("a").expect("a name")
}

/// A package with these scripts; each says first that it was called.
fn package(scripts: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    for (script, body) in scripts {
        let text = format!("#!/bin/sh\necho {script} >>log\n{body}\n");
        tree.put(format!("bin/{script}"), Entry::Program(text.into_bytes()));
    }
    tree.put(RUNNER, Entry::Data(b"{}\n".to_vec()));
    tree.seal();
    tree
}

struct Ground(PathBuf);

impl Ground {
    /// A host with the machine `a` of this package.
    fn new(scripts: &[(&str, &str)]) -> Self {
        let id = plinth::rand::uuid_v4();
        let ground = Self(std::env::temp_dir().join(format!("microvm-own-{id}")));
        fs::create_dir_all(&ground.0).expect("a directory");
        let path = ground.0.join("a.toml");
        fs::write(&path, "").expect("a description");
        ground.with(scripts, |host| host.create(&name(), &path, false).map(drop)).expect("created");
        ground
    }

    fn with<T>(&self, scripts: &[(&str, &str)], then: impl FnOnce(&Host<'_>) -> T) -> T {
        let tree = package(scripts);
        let build = |_: &Path, _: &Request| -> Result<Vec<Built>, Failure> {
            Ok(vec![Built { name: "a".to_owned(), tree: tree.clone(), warnings: Vec::new() }])
        };
        let host = Host {
            root: Root::at(&self.0),
            settings: Settings { startup_timeout: 60, ..Settings::default() },
            program: "/usr/bin/microvm".to_owned(),
            manager: Manager::Own,
            tools: None,
            build: &build,
            after_action: &|| (),
        };
        then(&host)
    }

    fn plain<T>(&self, then: impl FnOnce(&Host<'_>) -> T) -> T {
        self.with(&[], then)
    }

    fn at(&self) -> PathBuf {
        self.0.join("var/lib/microvms/a")
    }

    /// The scripts that were called, in their order.
    fn called(&self) -> Vec<String> {
        let text = fs::read_to_string(self.at().join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(self.plain(|host| host.stop(&name())));
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn scripts_know_whose_devices_they_make() {
    let ground = Ground::new(&[
        ("tap-up", "echo $MICROVM_USER:$MICROVM_GROUP >>log"),
        ("microvm-run", STAYS),
    ]);
    ground.plain(|host| {
        host.start(&name()).expect("it starts");
        host.stop(&name()).expect("it stops");
    });
    assert_eq!(
        ground.called().get(..2),
        Some(&["tap-up".to_owned(), "microvm:kvm".to_owned()][..])
    );
}

#[test]
fn the_steps_are_those_that_the_package_has_scripts_for() {
    assert_eq!(steps(&|_| false), [Step::Booted, Step::Run]);
    assert_eq!(
        steps(&|_| true),
        [
            Step::Booted,
            Step::Script("tap-up", "tap-down"),
            Step::Script("macvtap-up", "macvtap-down"),
            Step::Script("pci-setup", "pci-teardown"),
            Step::Virtiofsd,
            Step::Run,
        ]
    );
}

#[test]
fn a_machine_is_set_up_in_order_and_taken_down_in_reverse() {
    let ground = Ground::new(&[
        ("tap-up", ""),
        ("tap-down", ""),
        ("macvtap-up", ""),
        ("macvtap-down", "exit 1"),
        ("microvm-register", "echo \"$1\" >leader"),
        ("microvm-unregister", ""),
        ("microvm-shutdown", "kill \"$MAINPID\""),
        ("microvm-run", STAYS),
    ]);
    ground.plain(|host| {
        host.start(&name()).expect("started");
        let pid = host.process(&name()).expect("it runs");
        let leader = fs::read_to_string(ground.at().join("leader")).expect("registered");
        assert_eq!(leader, format!("{pid}\n"));
        assert!(matches!(host.start(&name()), Err(HostError::Running(_))));
        let activities = host.activities().expect("a look");
        let names: BTreeMap<_, _> = activities.into_iter().map(|(k, v)| (k, v.pid)).collect();
        assert_eq!(names, BTreeMap::from([(name(), Some(pid))]));
        host.stop(&name()).expect("stopped");
        assert_eq!(host.process(&name()), None);
        assert!(host.package(&name(), BOOTED).is_none());
    });
    let called = ground.called();
    let place = |script: &str| called.iter().position(|it| it == script).expect(script);
    let order = ["tap-up", "macvtap-up", "microvm-shutdown", "microvm-unregister"];
    assert!(order.windows(2).all(|two| place(two[0]) < place(two[1])), "{called:?}");
    // One that fails is in nobody's way.
    assert!(place("macvtap-down") < place("tap-down"), "{called:?}");
}

#[test]
fn a_step_that_fails_undoes_those_before_it() {
    let ground = Ground::new(&[
        ("tap-up", ""),
        ("tap-down", ""),
        ("macvtap-up", "echo no such link >&2; exit 1"),
        ("microvm-run", STAYS),
    ]);
    ground.plain(|host| {
        let error = host.start(&name()).expect_err("macvtap-up fails");
        assert!(error.to_string().ends_with("macvtap-up failed: no such link"), "{error}");
        assert!(host.package(&name(), BOOTED).is_none());
    });
    assert_eq!(ground.called(), ["tap-up", "macvtap-up", "tap-down"]);
}

#[test]
fn a_daemon_that_ends_before_it_serves_ends_the_start() {
    let ground = Ground::new(&[("virtiofsd-run", "exit 1"), ("microvm-run", STAYS)]);
    let error = ground.plain(|host| host.start(&name())).expect_err("it ends");
    assert_eq!(error.to_string(), "virtiofsd-run failed: see virtiofsd.log");
    assert!(!ground.at().join(".notify").exists());
    assert_eq!(ground.called(), ["virtiofsd-run"]);
}

#[test]
fn an_update_leaves_what_runs_alone_and_a_dead_machine_starts_anew() {
    let ground = Ground::new(&[("microvm-run", STAYS)]);
    let first = ground.plain(|host| {
        host.start(&name()).expect("started");
        host.process(&name()).expect("it runs")
    });
    let other = [("microvm-run", STAYS), ("tap-up", "")];
    ground.with(&other, |host| host.update(&name()).map(drop)).expect("updated");
    ground.plain(|host| {
        assert_eq!(host.process(&name()), Some(first));
        let seen = host.look(&name()).expect("a look");
        assert_ne!(seen.booted_id(), seen.current_id());
        // It dies; what it left is taken down by the next start.
        let pid = rustix::process::Pid::from_raw(i32::try_from(first).expect("small"));
        let started = host.started(&name());
        let held = Held::new(&started[0]).expect("it lives");
        rustix::process::kill_process(pid.expect("a process"), Signal::KILL).expect("killed");
        assert!(held.ends_within(Duration::from_secs(60)));
        assert_eq!(host.process(&name()), None);
        assert!(host.package(&name(), BOOTED).is_some(), "it died with its link");
        host.start(&name()).expect("started again");
        assert_ne!(host.process(&name()), Some(first));
        let seen = host.look(&name()).expect("a look");
        assert_eq!(seen.booted_id(), seen.current_id());
    });
}

#[test]
fn a_number_that_another_process_has_by_now_is_not_ours_to_end() {
    let ground = Ground::new(&[("microvm-run", STAYS)]);
    let own = std::process::id();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot");
    let stat = fs::read_to_string("/proc/self/stat").expect("ourselves");
    let start = stat.rsplit(')').next().and_then(|it| it.split(' ').nth(20)).expect("a start");
    let note = |line: String| fs::write(ground.at().join(PROCESS), line).expect("a note");
    note(format!("microvm-run {own} {start} {boot}"));
    assert_eq!(ground.plain(|host| host.process(&name())), Some(own), "all of it fits");
    // Another start, and the same one in another boot.
    for line in [format!("{own} 1 {boot}"), format!("{own} {start} another")] {
        note(format!("microvm-run {line}"));
        ground.plain(|host| {
            assert_eq!(host.process(&name()), None, "{line}");
            host.stop(&name()).expect("nothing to stop");
        });
    }
    // We live on.
}

#[test]
fn a_process_that_cannot_be_written_down_does_not_stay() {
    let run = format!("echo $$ >pid; {STAYS}");
    let ground = Ground::new(&[("tap-up", ""), ("tap-down", ""), ("microvm-run", &run)]);
    // In the place of the file is what no file replaces.
    fs::create_dir(ground.at().join(PROCESS)).expect("a directory");
    let error = ground.plain(|host| host.start(&name())).expect_err("no note");
    assert!(error.to_string().ends_with(PROCESS), "{error}");
    // It may have been ended before it said anything.
    let pid = fs::read_to_string(ground.at().join("pid")).unwrap_or_default();
    let process = Path::new("/proc").join(pid.trim()).join("cmdline");
    let is_there = fs::read(process).is_ok_and(|words| !words.is_empty());
    assert!(pid.is_empty() || !is_there, "process {pid} stays");
    assert_eq!(ground.called().last().map(String::as_str), Some("tap-down"));
}

#[test]
fn a_hypervisor_that_ends_at_once_is_no_start() {
    for (end, status) in [("echo no such kernel; exit 3", 3), ("exit 0", 0), ("kill -9 $$", 137)] {
        let ground = Ground::new(&[
            ("tap-up", ""),
            ("tap-down", ""),
            ("microvm-register", ""),
            ("microvm-run", &format!("echo one; echo; echo two; {end}")),
        ]);
        // As long as it takes: it ends, whatever else the system has to do.
        let started = ground.plain(|host| host.start_watched(&name(), Duration::from_secs(600)));
        let error = started.expect_err("it ended").to_string();
        let log = ground.at().join("console.log");
        let want =
            format!("microvm-run failed: status {status} at once, see {}: one; two", log.display());
        assert!(error.starts_with(&want), "{error}");
        assert_eq!(error.ends_with("; no such kernel"), status == 3, "{error}");
        assert_eq!(ground.called(), ["tap-up", "microvm-run", "tap-down"]);
        assert!(!ground.at().join(BOOTED).is_symlink() && !ground.at().join(PROCESS).exists());
    }
}

#[test]
fn a_removal_takes_down_what_a_machine_that_died_has_left() {
    let down = "echo \"$(ls -d booted)\" >../down";
    let ground = Ground::new(&[("tap-up", ""), ("tap-down", down), ("microvm-run", STAYS)]);
    let mut daemon = Command::new("sleep").arg("1000").spawn().expect("a daemon");
    ground.plain(|host| {
        host.start(&name()).expect("started");
        let run = host.process(&name()).expect("it runs");
        let held = Held::new(&host.started(&name())[0]).expect("it lives");
        host.note(&name(), &[(RUN, run), (VIRTIOFSD, daemon.id())]).expect("written");
        held.signal(Signal::KILL);
        assert!(held.ends_within(Duration::from_secs(60)));
        host.remove(&name(), false).expect("removed");
    });
    let ended = daemon.try_wait().expect("our child").map(plinth::proc::shell_status);
    drop(daemon.kill());
    assert_eq!(ended, Some(143));
    let said =
        fs::read_to_string(ground.0.join("var/lib/microvms/down")).expect("tap-down was called");
    assert_eq!(said, "booted\n");
    assert!(!ground.at().exists());
}

#[test]
fn root_starts_hypervisors_as_their_account() {
    let ground = Ground::new(&[("microvm-run", "echo $(id -u) $(id -G) $USER; exit 3")]);
    fs::create_dir_all(ground.0.join("etc")).expect("a directory");
    let file = |name: &str, text: &str| fs::write(ground.0.join(name), text).expect("a file");
    file("etc/passwd", "microvm:x:65531:65532::/:/bin/false\n");
    file("etc/group", "kvm:x:65532:\nvideo:x:65533:a,microvm\ndisk:x:6:a\n");
    let error = ground
        .plain(|host| host.start_watched(&name(), Duration::from_secs(600)))
        .expect_err("it ended")
        .to_string();
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(error.ends_with(" 65531 65532 65533 microvm"), is_root, "{error}");
}
