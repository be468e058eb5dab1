// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who may decide what root runs and makes: nobody else, whatever is put in its way.

use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;

/// A machine has scripts that run as root.
#[test]
fn the_group_of_the_hypervisors_makes_no_machines() {
    let ground = Ground::new("state");
    let state = ground.0.join("var/lib/microvms");
    let mode = || fs::metadata(&state).expect("it is there").permissions().mode() & 0o7777;
    ground.machine();
    assert_eq!(mode(), 0o2755);
    // As an older version, or another tool, has left it.
    fs::set_permissions(&state, fs::Permissions::from_mode(0o2775)).expect("a mode");
    ground.plain(|host| host.own_state()).expect("mended");
    assert_eq!(mode(), 0o2755);
}

/// The hypervisor's account may write into the directory of its machine.
#[test]
fn root_nobody_else_decides_what_is_run() {
    let ground = Ground::new("foreign");
    ground.machine();
    let at = ground.0.join("var/lib/microvms/a");
    let give = |name: &str| {
        std::os::unix::fs::lchown(at.join(name), Some(65534), None).expect("another owner");
    };
    let refused = |name: &str| {
        let said = ground.plain(|host| host.machine(&self::name("a"))).expect_err("refused");
        assert!(said.to_string().contains(&format!("a/{name} belongs neither")), "{said}");
    };
    for mark in [change::OLD, change::AUTOSTART, change::SOURCE] {
        give(mark);
        refused(mark);
        fs::remove_file(at.join(mark)).expect("removed");
    }
    let seen = ground.state();
    assert_eq!((seen.old, seen.autostart, seen.source), (None, false, None));

    // What `booted` leads to is told, but not run.
    symlink("gen", at.join(change::BOOTED)).expect("a link");
    give(change::BOOTED);
    assert!(ground.state().booted.is_some());
    assert_eq!(ground.plain(|host| host.package(&name("a"), change::BOOTED)), None);

    let log = at.join("console.log");
    symlink(at.join("target"), &log).expect("a link");
    assert!(process::log(&log).is_err());
    assert!(!at.join("target").exists());
}

/// A machine whose current package serves `sources`, made by a command of the host.
fn served(ground: &Ground, sources: &[&str]) -> Result<(), HostError> {
    let at = ground.0.join("var/lib/microvms/a/current").join(RUNNER);
    let shares: Vec<_> =
        sources.iter().map(|it| json!({ "proto": "virtiofs", "source": it })).collect();
    fs::write(at, json!({ "config": { "shares": shares } }).to_string()).expect("a package");
    ground.plain(|host| host.serve(&name("a")))
}

#[test]
fn directories_to_be_served_are_made() {
    let ground = Ground::new("serve");
    ground.machine();
    served(&ground, &["here/there", "./flat", "/srv/data", "/var/lib/microvms/a/whole"])
        .expect("made");
    for made in ["var/lib/microvms/a/here/there", "var/lib/microvms/a/flat", "srv/data"] {
        let mode = fs::metadata(ground.0.join(made)).expect(made).permissions().mode();
        assert_eq!(mode & 0o777, 0o775, "{made}");
    }
    assert!(ground.0.join("var/lib/microvms/a/whole").is_dir());
    let said = served(&ground, &["../b"]).expect_err("refused").to_string();
    assert!(said.ends_with("a/../b is not made: it goes back by '..'"), "{said}");
}

#[test]
fn nothing_is_made_behind_a_link() {
    let ground = Ground::new("served-link");
    ground.machine();
    let etc = ground.0.join("etc");
    symlink(&etc, ground.0.join("var/lib/microvms/a/here")).expect("a link");
    symlink(etc.join("new"), ground.0.join("var/lib/microvms/a/leaf")).expect("a link");
    for source in ["here/there", "leaf", "/var/lib/microvms/a/here/there"] {
        let said = served(&ground, &[source]).expect_err(source).to_string();
        assert!(said.contains("cannot create "), "{said}");
    }
    assert!(!etc.join("there").exists() && !etc.join("new").exists());
}

/// The daemon that serves it is root, and follows a link in its place.
#[test]
fn root_directories_to_be_served_are_roots() {
    let ground = Ground::new("served-owner");
    fs::write(ground.0.join("etc/passwd"), "microvm:x:4000:4001::/:/bin/sh\n").expect("a file");
    fs::write(ground.0.join("etc/group"), "kvm:x:4001:\n").expect("a file");
    ground.machine();
    let at = ground.0.join("var/lib/microvms/a");
    fs::create_dir(at.join("before")).expect("a directory");
    std::os::unix::fs::chown(at.join("before"), Some(4000), None).expect("an owner");
    served(&ground, &["new", "before"]).expect("made");
    for made in ["new", "before"] {
        let found = fs::metadata(at.join(made)).expect(made);
        let mode = found.permissions().mode() & 0o777;
        assert_eq!((found.uid(), found.gid(), mode), (0, 4001, 0o775), "{made}");
    }
}

/// Gives a name in the directory of `a` to another account.
fn give(ground: &Ground, name: &str) {
    let path = ground.0.join("var/lib/microvms/a").join(name);
    std::os::unix::fs::lchown(path, Some(65534), None).expect("another owner");
}

/// An older version has left the directory without one for packages.
#[test]
fn root_packages_are_not_kept_where_somebody_else_has_made_the_place() {
    let ground = Ground::new("planted");
    let path = ground.describe(512);
    let package = tree(512);
    let mut stream = Vec::new();
    pack(&package, &mut stream).expect("memory");
    let at = ground.0.join("var/lib/microvms/a");
    fs::create_dir_all(at.join("gen")).expect("a directory");
    give(&ground, "gen");
    ground.plain(|host| {
        let a = name("a");
        let said = host.create(&a, &path, false).map(drop).expect_err("refused").to_string();
        assert!(said.contains("a/gen belongs neither"), "{said}");
        let said = import(host, &a, &package.hash(), stream.as_slice()).expect_err("refused");
        assert!(said.to_string().contains("a/gen belongs neither"), "{said}");
    });
    assert_eq!(fs::read_dir(at.join("gen")).expect("a look").count(), 0);
}

#[test]
fn packages_have_a_place_as_soon_as_the_directory_is_there() {
    let ground = Ground::new("place");
    let a = name("a");
    let made =
        |host: &Host<'_>| Hands::new(host, &a).carry_out(&[change::Action::MakeDirectory], None);
    ground.plain(made).expect("made");
    assert!(ground.0.join("var/lib/microvms/a/gen").is_dir());
}

/// What cannot stand beside others leaves no trace, whoever asks for it.
#[test]
fn an_import_that_is_refused_leaves_nothing() {
    let ground = Ground::new("refused");
    let path = ground.0.join("big.toml");
    fs::write(&path, "2048").expect("a description");
    let package = tree(2049);
    let mut stream = Vec::new();
    pack(&package, &mut stream).expect("memory");
    ground.plain(|host| {
        host.create(&name("a"), &path, false).map(drop).expect("the first");
        let said = import(host, &name("b"), &package.hash(), stream.as_slice()).expect_err("CID");
        assert!(said.to_string().contains("MV119"), "{said}");
        assert!(!host.directory(&name("b")).exists());
    });
}

#[test]
fn root_every_step_to_a_package_is_roots() {
    let ground = Ground::new("steps");
    ground.machine();
    let at = ground.0.join("var/lib/microvms/a");
    let current = fs::read_link(at.join("current")).expect("a link");
    let current = current.to_str().expect("text").to_owned();
    let goes = || ground.plain(|host| host.package(&name("a"), change::CURRENT)).is_some();
    let boots = || ground.plain(|host| host.set_booted(&name("a"))).is_ok();
    assert!(goes() && boots());
    for step in [current.as_str(), "gen"] {
        give(&ground, step);
        assert!(!goes() && !boots(), "{step}");
        std::os::unix::fs::lchown(at.join(step), Some(0), None).expect("root's again");
    }
    // A guest can make files of root's in a share, and another tool's package is elsewhere.
    let lead = |target: &Path| {
        drop(fs::remove_file(at.join("current")));
        symlink(target, at.join("current")).expect("a link");
    };
    fs::create_dir_all(at.join("share/evil/bin")).expect("a share");
    for inside in ["share/evil", "../a/gen/x", "/var/lib/microvms/a/share/evil"].map(Path::new) {
        lead(inside);
        assert!(!goes() && !boots(), "{}", inside.display());
    }
    fs::create_dir_all(ground.0.join("store/package")).expect("a package");
    lead(Path::new("/store/package"));
    assert!(goes() && boots());
    std::os::unix::fs::lchown(ground.0.join("store"), Some(65534), None).expect("another owner");
    assert!(!goes() && !boots());
}

#[test]
fn root_a_machine_is_stopped_whatever_it_has_put_there() {
    let ground = Ground::new("stops");
    ground.machine();
    let at = ground.0.join("var/lib/microvms/a");
    // The drafts of links have no names that somebody could take.
    fs::create_dir(at.join(".booted.new")).expect("a directory");
    ground.plain(|host| host.set_booted(&name("a"))).expect("booted");
    for planted in [change::PROCESS, change::PENDING] {
        fs::write(at.join(planted), "").expect("a file");
        give(&ground, planted);
    }
    assert!(!ground.state().pending);
    ground.plain(|host| host.machine(&name("a"))).expect("they do not count");
    fs::remove_file(at.join("old")).expect("removed");
    fs::create_dir(at.join("old")).expect("a directory");
    give(&ground, "old");
    ground.plain(|host| {
        host.exists(&name("a")).expect("it is there");
        host.stop(&name("a")).expect("stopped");
        assert!(host.machine(&name("a")).is_err());
        host.remove(&name("a"), false).expect("removed");
    });
    assert!(!at.exists());
}

#[test]
fn root_a_removal_follows_no_link_in_the_place_of_packages() {
    let ground = Ground::new("removal");
    ground.machine();
    let at = ground.0.join("var/lib/microvms/a");
    fs::create_dir_all(ground.0.join("far/precious")).expect("a directory");
    fs::remove_dir_all(at.join("gen")).expect("removed");
    symlink(ground.0.join("far"), at.join("gen")).expect("a link");
    give(&ground, "gen");
    ground.plain(|host| host.remove(&name("a"), false)).expect("removed");
    assert!(ground.0.join("far/precious").exists() && !at.exists());
}
