// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of everything about files, each in a directory of its own.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::testing::Place;

fn names(place: &Place) -> Vec<String> {
    place.root().list("/").expect("list")
}

#[test]
fn paths_stay_below_the_root() {
    let root = Root::at("/srv/image");
    for (absolute, joined) in [
        ("/etc/stas/sys.conf", "/srv/image/etc/stas/sys.conf"),
        ("etc", "/srv/image/etc"),
        ("/", "/srv/image"),
        ("/a/./b/../c", "/srv/image/a/c"),
        ("/../../etc/passwd", "/srv/image/etc/passwd"),
    ] {
        assert_eq!(root.join(absolute), Path::new(joined));
    }
    assert_eq!(Root::system().join("/etc/x"), Path::new("/etc/x"));
    assert_eq!(Root::default(), Root::system());
}

#[test]
fn reading_goes_through_the_root() {
    let place = Place::new();
    fs::create_dir(place.join("etc")).expect("mkdir");
    fs::write(place.join("etc/b"), "text\n").expect("write");
    fs::write(place.join("etc/a"), [0xff, 0xfe]).expect("write");
    let root = place.root();
    assert_eq!(root.read_text("/etc/b").expect("read"), "text\n");
    assert_eq!(root.read_bytes("/etc/a").expect("read"), [0xff, 0xfe]);
    let kind = |error: io::Error| error.kind();
    assert_eq!(root.read_text("/etc/a").map_err(kind), Err(ErrorKind::InvalidData));
    assert_eq!(root.read_text("/etc/c").map_err(kind), Err(ErrorKind::NotFound));
    assert!(root.exists("/etc/a"));
    assert!(!root.exists("/etc/c"));
    assert_eq!(root.list("/etc").expect("list"), ["a", "b"]);
}

#[test]
fn a_file_may_have_the_limit_and_no_more() {
    let place = Place::new();
    let path = place.join("f");
    fs::write(&path, [b'x'; 100]).expect("write");
    assert_eq!(read(&path, 100).expect("read").len(), 100);
    assert_eq!(read(&path, 99).map_err(|error| error.kind()), Err(ErrorKind::FileTooLarge));
    assert!(read(Path::new("/dev/zero"), 10).is_err());
}

#[test]
fn a_fifo_in_a_files_place_does_not_block() {
    let place = Place::new();
    let path = place.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .expect("mkfifo");
    assert_eq!(read(&path, 10).expect("read"), b"");
}

#[test]
fn a_new_file_gets_its_mode_and_leaves_no_draft() {
    let place = Place::new();
    let path = place.join("hostnqn");
    replace_atomic(&path, b"nqn\n", 0o666).expect("replace");
    assert_eq!(fs::read(&path).expect("read"), b"nqn\n");
    assert_eq!(fs::metadata(&path).expect("stat").mode() & MODE, 0o666);
    assert_eq!(names(&place), ["hostnqn"]);
}

const MODE: u32 = 0o7777;

#[test]
fn an_old_file_keeps_its_mode_and_owner() {
    let place = Place::new();
    let path = place.join("sys.conf");
    fs::write(&path, "old").expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
    let root = rustix::process::getuid().is_root();
    if root {
        std::os::unix::fs::chown(&path, Some(12), Some(34)).expect("chown");
    }
    let before = fs::metadata(&path).expect("stat");
    replace_atomic(&path, b"new", 0o600).expect("replace");
    let after = fs::metadata(&path).expect("stat");
    assert_eq!(fs::read(&path).expect("read"), b"new");
    assert_eq!(after.mode() & MODE, 0o640);
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino(), "a new file, not the old one rewritten");
}

#[test]
fn a_symbolic_link_stays_one() {
    let place = Place::new();
    fs::create_dir(place.join("real")).expect("mkdir");
    fs::write(place.join("real/id"), "old").expect("write");
    symlink("real/id", place.join("id")).expect("symlink");
    replace_atomic(&place.join("id"), b"new", 0o644).expect("replace");
    assert_eq!(fs::read_link(place.join("id")).expect("link"), Path::new("real/id"));
    assert_eq!(fs::read(place.join("real/id")).expect("read"), b"new");
}

#[test]
fn a_symbolic_link_is_not_followed_where_others_may_make_one() {
    let place = Place::new();
    fs::write(place.join("precious"), "old").expect("write");
    symlink("precious", place.join("id")).expect("symlink");
    put_atomic(&place.join("id"), b"new", 0o640).expect("put");
    assert_eq!(fs::read(place.join("precious")).expect("read"), b"old");
    let there = fs::symlink_metadata(place.join("id")).expect("a file");
    assert_eq!((there.is_file(), there.mode() & 0o777), (true, 0o640));
    symlink("precious", place.join("lock")).expect("symlink");
    assert!(Lock::try_exclusive(&place.join("lock")).is_err());
}

#[test]
fn a_failure_leaves_the_old_state() {
    let place = Place::new();
    let missing = place.join("none/file");
    let error = replace_atomic(&missing, b"x", 0o644).expect_err("no directory");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    fs::create_dir(place.join("dir")).expect("mkdir");
    replace_atomic(&place.join("dir"), b"x", 0o644).expect_err("a directory is in the way");
    assert_eq!(names(&place), ["dir"]);
    assert!(replace_atomic(Path::new("/"), b"x", 0o644).is_err());
}

#[test]
fn a_lock_has_one_holder() {
    let place = Place::new();
    let path = place.join("lock");
    let held = Lock::try_exclusive(&path).expect("open");
    assert!(held.is_some());
    assert!(Lock::try_exclusive(&path).expect("open").is_none());
    drop(held);
    assert!(Lock::try_exclusive(&path).expect("open").is_some());
}
