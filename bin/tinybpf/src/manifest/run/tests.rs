// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the machine against a model of the kernel: every scenario is killed before each of its
//! actions, and made to fail at each of them.

use super::model::{Kernel, Trouble, World, drive, is_clean};
use super::*;
use crate::kinds::MapType;
use crate::manifest::Reuse;
use crate::manifest::decide::{Health, health};
use crate::manifest::state::Digests;
use crate::manifest::wanted::{MapShape, WantedLink, WantedMap, WantedProgram};

const ROOT: &str = "/sys/fs/bpf/t";

/// An object of a version with these programs, attached to these hooks, and maps by name and size.
fn object(
    name: &str,
    version: &str,
    links: &[(&str, &str)],
    maps: &[(&str, u64, Reuse)],
) -> Wanted {
    let home = format!("{ROOT}/{name}");
    let mut programs: Vec<WantedProgram> = Vec::new();
    let mut wanted_links: Vec<WantedLink> = Vec::new();
    for (program, hook) in links {
        if !programs.iter().any(|it| it.name == *program) {
            let pin = format!("{home}/progs/{program}");
            programs.push(WantedProgram { name: (*program).to_owned(), pin });
        }
        let count = wanted_links.iter().filter(|it| it.program == *program).count();
        wanted_links.push(WantedLink {
            program: (*program).to_owned(),
            hook: hook.parse().expect("a hook"),
            pin: format!("{home}/links/{program}{count}"),
            optional: false,
            gap: false,
        });
    }
    let maps = maps.iter().map(|&(name, value_size, reuse)| WantedMap {
        name: name.to_owned(),
        shape: MapShape {
            map_type: MapType::HASH,
            key_size: 4,
            value_size,
            max_entries: 8,
            flags: 0,
        },
        pin: Some(format!("{home}/maps/{name}")),
        is_own: true,
        reuse,
        max_entries: None,
        entries: vec![(vec![0; 4], vec![1; 4])],
        freeze: false,
    });
    let directories = ["", "/progs", "/links", "/maps"].map(|part| format!("{home}{part}"));
    Wanted {
        name: name.to_owned(),
        digests: Digests { object: version.to_owned(), ..Digests::default() },
        required: true,
        maps: maps.collect(),
        programs,
        links: wanted_links,
        directories: [ROOT.to_owned()].into_iter().chain(directories).collect(),
        home,
        ..Wanted::default()
    }
}

fn world(objects: Vec<Wanted>) -> World {
    World { objects, on_error: OnError::Rollback }
}

/// A kernel to which a world was applied.
fn applied(world: &World) -> Kernel {
    let mut kernel = Kernel::default();
    if !world.objects.is_empty() {
        let (report, _, _) = world.apply(&mut kernel, Trouble::None);
        assert_eq!((report.exit(), &report.errors), (0, &vec![]));
    }
    kernel
}

const KEEP: Reuse = Reuse::Keep;
const NEW: Reuse = Reuse::Replace;

/// Pairs of worlds: what was, and what is to be.
fn scenarios() -> Vec<(&'static str, World, World)> {
    let first = || {
        vec![
            object("base", "1", &[("count", "tp:a/b")], &[("config", 8, KEEP)]),
            object("net", "1", &[("pass", "xdp:eth0"), ("skb", "cgroup:/x")], &[("seen", 8, KEEP)]),
        ]
    };
    let mut gap = object("base", "2", &[("count", "tp:a/b")], &[("config", 8, KEEP)]);
    gap.links[0].gap = true;
    let mut shared = object("user", "1", &[("use", "tp:a/c")], &[("config", 8, Reuse::Require)]);
    shared.maps[0].pin = Some(format!("{ROOT}/base/maps/config"));
    shared.maps[0].is_own = false;
    let second = |links: &[(&str, &str)], maps: &[(&str, u64, Reuse)]| {
        vec![first()[0].clone(), object("net", "2", links, maps)]
    };
    let both = [("pass", "xdp:eth0"), ("skb", "cgroup:/x")];
    vec![
        ("fresh", world(vec![]), world(first())),
        ("new version", world(first()), world(second(&both, &[("seen", 8, KEEP)]))),
        ("replaced map", world(first()), world(second(&both, &[("seen", 16, NEW)]))),
        ("another mode", world(first()), world(second(&[("pass", "xdp:eth0,mode=skb")], &[]))),
        ("another interface", world(first()), world(second(&[("pass", "xdp:eth1")], &[]))),
        ("renamed program", world(first()), world(second(&[("drop", "xdp:eth0")], &[]))),
        (
            "two links",
            world(first()),
            world(second(&[("pass", "xdp:eth0"), ("pass", "xdp:eth1")], &[])),
        ),
        ("gap", world(first()), world(vec![gap, first()[1].clone()])),
        ("one gone", world(first()), world(vec![first()[0].clone()])),
        (
            "moved to another object",
            world(first()),
            world(vec![first()[0].clone(), object("net2", "1", &both, &[("seen", 8, KEEP)])]),
        ),
        ("shared map", world(vec![]), world(vec![first()[0].clone(), shared.clone()])),
        (
            "shared map later",
            world(vec![first()[0].clone()]),
            world(vec![first()[0].clone(), shared]),
        ),
        ("no maps", world(vec![]), world(vec![object("x", "1", &[("p", "tp:a/b")], &[])])),
    ]
}

#[test]
fn a_run_that_is_killed_anywhere_is_finished_by_the_next() {
    for (name, old, new) in scenarios() {
        for on_error in [OnError::Rollback, OnError::Continue] {
            let new = World { on_error, ..new.clone() };
            let before = applied(&old);
            let mut straight = before.clone();
            let (report, actions, _) = new.apply(&mut straight, Trouble::None);
            assert_eq!(report.exit(), 0, "{name}: {report:?}");
            assert!(is_clean(&straight), "{name}");
            for (at, action) in actions.iter().enumerate() {
                let mut kernel = before.clone();
                let (_, _, ended) = new.apply(&mut kernel, Trouble::Kill(at));
                assert!(!ended, "{name}");
                let (report, ..) = new.apply(&mut kernel, Trouble::None);
                assert_eq!(report.exit(), 0, "{name}, killed before {action:?}: {report:?}");
                assert_eq!(kernel.gist(), straight.gist(), "{name}, killed before {action:?}");
            }
        }
    }
}

#[test]
fn a_run_that_is_killed_twice_is_finished_too() {
    for (name, old, new) in scenarios() {
        let before = applied(&old);
        let mut straight = before.clone();
        let (_, actions, _) = new.apply(&mut straight, Trouble::None);
        for first in (0..actions.len()).step_by(3) {
            for second in (0..actions.len()).step_by(2) {
                let mut kernel = before.clone();
                new.apply(&mut kernel, Trouble::Kill(first));
                new.apply(&mut kernel, Trouble::Kill(second));
                let (report, ..) = new.apply(&mut kernel, Trouble::None);
                assert_eq!(report.exit(), 0, "{name} {first} {second}: {report:?}");
                assert_eq!(kernel.gist(), straight.gist(), "{name} {first} {second}");
            }
        }
    }
}

#[test]
fn a_second_run_does_nothing() {
    for (name, old, new) in scenarios() {
        let mut kernel = applied(&old);
        new.apply(&mut kernel, Trouble::None);
        let (loads, file) = (kernel.loads, kernel.file.clone());
        let (report, actions, _) = new.apply(&mut kernel, Trouble::None);
        assert_eq!(actions, [], "{name}");
        assert_eq!((kernel.loads, kernel.file), (loads, file), "{name}");
        assert_eq!(report.unchanged.len(), new.objects.len(), "{name}");
    }
}

#[test]
fn a_failure_before_the_second_half_leaves_everything_as_it_was() {
    for (name, old, new) in scenarios() {
        let before = applied(&old);
        let (_, actions, _) = new.apply(&mut before.clone(), Trouble::None);
        let is_second = |it: &Action| matches!(it, Action::Rename { .. } | Action::Close(_));
        let half = actions.iter().position(is_second).unwrap_or(actions.len());
        for (at, action) in actions.iter().enumerate().take(half) {
            let mut kernel = before.clone();
            let (report, ..) = new.apply(&mut kernel, Trouble::Fail(at));
            let orphan = report.errors.is_empty();
            assert!(orphan || report.exit() == 1, "{name} {action:?} {report:?}");
            if !orphan {
                let gist = |it: &Kernel| -> Vec<String> {
                    it.gist().into_iter().filter(|it| !it.contains("map ")).collect()
                };
                assert_eq!(gist(&kernel), gist(&before), "{name}, failed at {action:?}");
            }
            let (report, ..) = new.apply(&mut kernel, Trouble::None);
            assert_eq!(report.exit(), 0, "{name} {action:?} {report:?}");
            assert!(is_clean(&kernel), "{name} {action:?}");
        }
    }
}

#[test]
fn a_failure_in_the_second_half_is_told_and_mended_by_the_next_run() {
    for (name, old, new) in scenarios() {
        let before = applied(&old);
        let mut straight = before.clone();
        let (_, actions, _) = new.apply(&mut straight, Trouble::None);
        for (at, action) in actions.iter().enumerate() {
            if !matches!(action, Action::Rename { .. } | Action::Remove { .. }) {
                continue;
            }
            let mut kernel = before.clone();
            let (report, ..) = new.apply(&mut kernel, Trouble::Fail(at));
            assert!(matches!(report.exit(), 1 | 8), "{name} {action:?} {report:?}");
            let (report, ..) = new.apply(&mut kernel, Trouble::None);
            assert_eq!(report.exit(), 0, "{name} {action:?} {report:?}");
            assert_eq!(kernel.gist(), straight.gist(), "{name} {action:?}");
        }
    }
}

#[test]
fn what_nobody_remembers_is_taken_over_if_it_is_the_same() {
    let (_, _, new) = scenarios().swap_remove(0);
    let mut kernel = applied(&new);
    let pins = kernel.pins.clone();
    kernel.file = Some("damaged".to_owned());
    let (report, ..) = new.apply(&mut kernel, Trouble::None);
    assert_eq!(report.adopted, ["base", "net"]);
    assert_eq!(kernel.pins, pins, "nothing was pinned anew");
    let (report, actions, _) = new.apply(&mut kernel, Trouble::None);
    assert_eq!((report.unchanged.len(), actions.len()), (2, 0));
    // Another version is not the same.
    kernel.file = None;
    let other = world(vec![object("base", "9", &[("count", "tp:a/b")], &[("config", 8, KEEP)])]);
    let (report, ..) = other.apply(&mut kernel, Trouble::None);
    assert_eq!((report.applied.as_slice(), report.adopted.len()), (&["base".to_owned()][..], 0));
    assert!(is_clean(&kernel));
}

#[test]
fn without_a_state_file_nothing_is_begun() {
    let new = world(vec![object("base", "1", &[("count", "tp:a/b")], &[])]);
    let mut kernel = Kernel::default();
    let (_, actions, _) = new.apply(&mut Kernel::default(), Trouble::None);
    let at = actions.iter().position(|it| matches!(it, Action::Write(_))).expect("it is written");
    let (report, ..) = new.apply(&mut kernel, Trouble::Fail(at));
    assert_eq!(
        (report.exit(), report.errors.as_slice()),
        (1, &["object 'base': injected".to_owned()][..])
    );
    assert_eq!(report.leftovers, [""; 0]);
    assert!(kernel.pins.is_empty() && kernel.file.is_none());
}

#[test]
fn what_cannot_be_taken_back_is_told() {
    let hooks = [("pass", "xdp:eth0"), ("skb", "cgroup:/x")];
    let old = world(vec![object("net", "1", &hooks, &[])]);
    let mut kernel = applied(&old);
    // Nobody remembers, and the program's pin is gone: the link's place is needed nevertheless.
    kernel.file = None;
    kernel.pins.remove("/sys/fs/bpf/t/net/progs/pass");
    kernel.absent.insert("cgroup:/y".to_owned());
    let new = world(vec![object("net", "2", &[("pass", "xdp:eth0"), ("skb", "cgroup:/y")], &[])]);
    let (report, ..) = new.apply(&mut kernel, Trouble::None);
    assert_eq!((report.exit(), report.errors.len()), (8, 1), "{report:?}");
    assert!(report.leftovers[0].contains("attach auto"), "{report:?}");
    kernel.absent.clear();
    let (report, ..) = new.apply(&mut kernel, Trouble::None);
    assert_eq!(report.exit(), 0, "{report:?}");
    assert!(is_clean(&kernel));
}

#[test]
fn an_optional_attachment_may_come_later() {
    let mut wanted = object("net", "1", &[("pass", "xdp:eth0"), ("skb", "cgroup:/x")], &[]);
    wanted.links[0].optional = true;
    let new = world(vec![wanted]);
    let mut kernel = Kernel::default();
    kernel.absent.insert("xdp:eth0".to_owned());
    for round in 0..2 {
        let (report, ..) = new.apply(&mut kernel, Trouble::None);
        assert_eq!((report.exit(), report.warnings.len()), (0, 1), "{report:?}");
        assert_eq!(kernel.loads, 1, "round {round}");
    }
    kernel.absent.clear();
    let (report, actions, _) = new.apply(&mut kernel, Trouble::None);
    assert_eq!(report.applied, ["net"]);
    assert_eq!(kernel.loads, 1, "the program that is pinned is attached");
    assert!(
        actions.iter().any(|it| matches!(it, Action::Attach { program: Source::Pinned(_), .. }))
    );
    let (_, actions, _) = new.apply(&mut kernel, Trouble::None);
    assert_eq!(actions, []);
}

#[test]
fn an_object_that_is_not_required_fails_alone() {
    let mut wanted = object("net", "1", &[("pass", "xdp:eth0")], &[]);
    wanted.required = false;
    let new = world(vec![wanted, object("base", "1", &[("count", "tp:a/b")], &[])]);
    let mut kernel = Kernel::default();
    kernel.absent.insert("xdp:eth0".to_owned());
    let (report, ..) = new.apply(&mut kernel, Trouble::None);
    assert_eq!((report.exit(), report.warnings.len()), (0, 1), "{report:?}");
    assert_eq!(report.applied, ["base"]);
    assert!(!kernel.pins.keys().any(|path| path.contains("/net/")));
    assert_eq!(kernel.state().objects.len(), 1);
}

#[test]
fn with_continue_the_other_objects_are_applied() {
    let objects = vec![
        object("net", "1", &[("pass", "xdp:eth0")], &[]),
        object("base", "1", &[("count", "tp:a/b")], &[]),
    ];
    let new = World { objects, on_error: OnError::Continue };
    let mut kernel = Kernel::default();
    kernel.absent.insert("xdp:eth0".to_owned());
    let (report, ..) = new.apply(&mut kernel, Trouble::None);
    assert_eq!((report.exit(), report.errors.len()), (8, 1), "{report:?}");
    assert_eq!(report.applied, ["base"]);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    let wrong = object("base", "2", &[("count", "tp:a/b")], &[("config", 16, KEEP)]);
    let (_, _, first) = scenarios().swap_remove(0);
    let mut kernel = applied(&first);
    let (report, actions, _) = world(vec![wrong]).apply(&mut kernel, Trouble::None);
    assert_eq!(
        report.errors,
        ["object 'base': map 'config': the map at /sys/fs/bpf/t/base/maps/config \
             is incompatible: \
          value size is 8, wanted is 16"]
    );
    assert_eq!((report.exit(), actions.len()), (1, 0));
    let absent = object("x", "1", &[("p", "tp:a/b")], &[("m", 8, Reuse::Require)]);
    let (report, ..) = world(vec![absent]).apply(&mut Kernel::default(), Trouble::None);
    assert_eq!(
        report.errors,
        ["object 'x': map 'm': there is no map at /sys/fs/bpf/t/x/maps/m to reuse"]
    );
}

#[test]
fn an_object_of_another_manifest_is_left_alone() {
    let (_, _, first) = scenarios().swap_remove(0);
    let mut kernel = applied(&first);
    let mut state = kernel.state();
    for record in state.objects.values_mut() {
        record.manifest = "/other.toml".to_owned();
    }
    kernel.file = Some(state.encode());
    let (report, ..) = first.apply(&mut kernel, Trouble::None);
    assert_eq!(report.errors[0], "object 'base': the object belongs to the manifest /other.toml");
}

#[test]
fn removal_takes_what_is_ours_and_nothing_else() {
    let (_, _, world) = scenarios().swap_remove(10);
    assert_eq!(world.objects[1].name, "user");
    let mut kernel = applied(&world);
    let remove = |kernel: &mut Kernel, names: &[&str], keep_maps| {
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let run = Run::remove(&names, keep_maps, kernel.state(), kernel.facts(&[]));
        drive(run, kernel, &[], Trouble::None).0
    };
    let report = remove(&mut kernel, &["user"], false);
    assert_eq!((report.exit(), report.removed.as_slice()), (0, &["user".to_owned()][..]));
    assert!(kernel.pins.contains_key("/sys/fs/bpf/t/base/maps/config"), "it was only used");
    assert!(!kernel.pins.keys().any(|path| path.contains("/user/")));
    let before = kernel.clone();
    remove(&mut kernel, &["base", "none"], true);
    assert_eq!(kernel.pins.keys().collect::<Vec<_>>(), ["/sys/fs/bpf/t/base/maps/config"]);
    let mut kernel = before;
    remove(&mut kernel, &["base"], false);
    assert!(kernel.pins.is_empty() && kernel.directories.is_empty(), "{:?}", kernel.directories);
    assert!(kernel.state().objects.is_empty());
}

#[test]
fn the_state_of_every_pin_is_told() {
    let (_, _, first) = scenarios().swap_remove(0);
    let mut kernel = applied(&first);
    kernel.pins.remove("/sys/fs/bpf/t/base/links/count0");
    let other = kernel.pins["/sys/fs/bpf/t/net/progs/pass"];
    kernel.pins.insert("/sys/fs/bpf/t/net/progs/skb".to_owned(), other);
    let told = health(&kernel.state(), &kernel.facts(&first.objects));
    let of = |path: &str| told.iter().find(|it| it.1.ends_with(path)).map(|it| it.2);
    assert_eq!(of("base/links/count0"), Some(Health::Missing));
    assert_eq!(of("net/progs/skb"), Some(Health::Changed));
    assert_eq!(of("net/progs/pass"), Some(Health::Ok));
}
