// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `internal mkvolume`: images appear whole, and what exists stays as it is.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use plinth::proc::Ending;
use plinth::testing::{Place, ended, run, until};

use crate::support::{self, Running, internal, stdout, verdict};

const UUID: &str = "115da406-dfb8-b88d-0dbd-d4cc391fe2a3";

fn mkvolume<'a>(at: &Path, words: impl IntoIterator<Item = &'a str>) -> Command {
    internal(at, ["mkvolume"].into_iter().chain(words))
}

/// What blkid sees in an image.
fn field(image: &Path, name: &str) -> String {
    let mut command = Command::new("/sbin/blkid");
    command.args(["-p", "-o", "value", "-s", name]).arg(image);
    stdout(&run(command)).trim().to_owned()
}

fn names(at: &Path) -> Vec<String> {
    plinth::file::Root::at(at).list("/").expect("a directory")
}

#[test]
fn an_image_has_size_file_system_label_and_mode() {
    let at = Place::new();
    let words = ["--size-mib", "16", "--fs", "ext4", "--label", "var's", "--", "a b.img", "-U"];
    let output = run(mkvolume(&at, words.into_iter().chain([UUID])));
    assert_eq!(verdict(&output), (Ending::Exited(0), String::new()));
    assert_eq!(names(&at), ["a b.img"]);
    let image = at.join("a b.img");
    let found = fs::metadata(&image).expect("an image");
    assert_eq!((found.len(), found.permissions().mode() & 0o7777), (16 << 20, 0o600));
    assert!(found.blocks() * 512 < 8 << 20, "it is sparse");
    let fields = ["TYPE", "LABEL", "UUID"].map(|name| field(&image, name));
    assert_eq!(fields, ["ext4", "var's", UUID]);
    // A second run changes nothing.
    let output = run(mkvolume(&at, ["--size-mib", "16", "--fs", "ext4", "--", "a b.img"]));
    assert_eq!(verdict(&output), (Ending::Exited(0), String::new()));
    assert_eq!(fs::metadata(&image).expect("an image").mtime_nsec(), found.mtime_nsec());
}

#[test]
fn an_image_that_is_too_small_is_left_alone_with_a_hint() {
    let at = Place::new();
    fs::write(at.join("v.img"), b"data").expect("a file");
    let words = ["--size-mib", "9", "--fs", "ext4", "--name", "web1", "--", "v.img"];
    let (ending, said) = verdict(&run(mkvolume(&at, words)));
    assert_eq!(ending, Ending::Exited(0));
    assert_eq!(
        said,
        "microvm: v.img has 0 MiB, less than the 9 MiB of its description; to grow it: microvm \
         volume grow web1 v.img\n"
    );
    assert_eq!(fs::read(at.join("v.img")).expect("a file"), b"data");
    // Whatever is there is somebody's.
    symlink("/nonexistent", at.join("link")).expect("a link");
    for there in ["link", "."] {
        let output = run(mkvolume(&at, ["--size-mib", "9", "--fs", "ext4", "--", there]));
        assert_eq!(verdict(&output), (Ending::Exited(0), String::new()), "{there}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let at = Place::new();
    let ext4 = ["--size-mib", "9", "--fs", "ext4"];
    let (ending, said) = verdict(&run(mkvolume(&at, ext4.into_iter().chain(["--", "no/v.img"]))));
    assert_eq!(
        (ending, said.as_str()),
        (Ending::Exited(1), "microvm: the directory no is missing\n")
    );
    let mut command = mkvolume(&at, ["--size-mib", "9", "--fs", "btrfs", "--key", "volumes[1]"]);
    command.args(["--", "v.img"]).env("PATH", "/nonexistent");
    let there =
        ["/sbin/mkfs.btrfs", "/usr/sbin/mkfs.btrfs"].iter().any(|it| Path::new(it).exists());
    if !there {
        let (ending, said) = verdict(&run(command));
        assert_eq!(ending, Ending::Exited(6));
        assert_eq!(said, "microvm: mkfs.btrfs not found, needed by volumes[1].fsType\n");
    }
    for wrong in [
        &["--size-mib", "9", "--fs", "zfs", "--", "v.img"][..],
        &["--size-mib", "0", "--fs", "ext4", "--", "v.img"],
        &["--size-mib", "18446744073709551615", "--fs", "ext4", "--", "v.img"],
        &["--size-mib", "9", "--fs", "ext4"],
        &["--size-mib", "9", "--fs", "vfat", "--label", "twelve bytes", "--", "v.img"],
    ] {
        assert_eq!(
            run(mkvolume(&at, wrong.iter().copied())).ending,
            Ending::Exited(2),
            "{wrong:?}"
        );
    }
    assert_eq!(names(&at), [""; 0]);
}

#[test]
fn a_program_that_fails_leaves_nothing_and_is_quoted() {
    let at = Place::new();
    let words = ["--size-mib", "9", "--fs", "ext4", "--", "v.img", "-O", "no-such-feature"];
    let (ending, said) = verdict(&run(mkvolume(&at, words)));
    assert_eq!(ending, Ending::Exited(1));
    assert!(said.starts_with("microvm: mkfs.ext4 failed: ") && said.contains("no-such-feature"));
    assert_eq!(names(&at), [""; 0]);
}

/// A directory with a `mkfs.ext4` that runs `script`.
fn mkfs(at: &Path, script: &str) -> String {
    let dir = at.join("bin");
    fs::create_dir_all(&dir).expect("a directory");
    support::script(&dir.join("mkfs.ext4"), script);
    format!("{}:/usr/bin:/bin", dir.display())
}

#[test]
fn a_killed_run_leaves_no_image_and_the_next_one_makes_it() {
    let at = Place::new();
    let words = ["--size-mib", "9", "--fs", "ext4", "--", "v.img"];
    let path = mkfs(
        &at,
        "for image; do :; done; printf half | dd of=\"$image\" conv=notrunc 2>/dev/null\n\
         echo $$ >pid; mv pid started; exec sleep 1000",
    );
    let mut command = mkvolume(&at, words);
    command.env("PATH", &path).stdin(Stdio::null());
    let mut first = Running(command.spawn().expect("it starts"));
    until("the program runs", || at.join("started").exists());
    assert!(!at.join("v.img").exists() && at.join("v.img.partial").exists());
    // A second run does not disturb the first.
    let mut command = mkvolume(&at, words);
    command.env("PATH", &path);
    let (ending, said) = verdict(&run(command));
    assert_eq!(ending, Ending::Exited(5));
    assert_eq!(said, "microvm: another process is making v.img\n");
    let half = fs::read(at.join("v.img.partial")).expect("an image");
    assert_eq!((half.len(), half.get(..4)), (9 << 20, Some(&b"half"[..])));
    first.0.kill().expect("it runs");
    ended(&mut first.0);
    // Its program goes with it, and so does its lock.
    let pid = fs::read_to_string(at.join("started")).expect("a number");
    let process = Path::new("/proc").join(pid.trim()).join("cmdline");
    until("the program ends", || fs::read(&process).map_or(true, |words| words.is_empty()));
    assert!(!at.join("v.img").exists());
    let output = run(mkvolume(&at, words));
    assert_eq!(verdict(&output), (Ending::Exited(0), String::new()));
    assert!(File::open(at.join("v.img")).is_ok() && !at.join("v.img.partial").exists());
    assert_eq!(field(&at.join("v.img"), "TYPE"), "ext4");
}

#[test]
fn what_others_put_in_the_way_is_neither_replaced_nor_followed() {
    let at = Place::new();
    let words = ["--size-mib", "9", "--fs", "ext4", "--", "v.img"];
    let path = mkfs(&at, "printf mine >v.img");
    let mut command = mkvolume(&at, words);
    command.env("PATH", path);
    let (ending, said) = verdict(&run(command));
    assert_eq!(ending, Ending::Exited(1));
    assert!(said.starts_with("microvm: cannot rename v.img.partial: "), "{said}");
    assert_eq!(fs::read_to_string(at.join("v.img")).expect("an image"), "mine");
    assert!(!at.join("v.img.partial").exists());
    fs::remove_file(at.join("v.img")).expect("removed");
    // A link that leads nowhere is there and is not.
    symlink("precious", at.join("v.img.partial")).expect("a link");
    for _ in 0..2 {
        let (ending, said) = verdict(&run(mkvolume(&at, words)));
        assert_eq!(ending, Ending::Exited(1), "{said}");
        assert!(said.starts_with("microvm: cannot open v.img.partial: "), "{said}");
        fs::write(at.join("precious"), "x").expect("a file");
    }
    assert_eq!(fs::read_to_string(at.join("precious")).expect("a file"), "x");
}

#[test]
fn a_label_of_vfat_is_in_capitals() {
    let at = Place::new();
    let there = ["/sbin/mkfs.vfat", "/usr/sbin/mkfs.vfat"].iter().any(|it| Path::new(it).exists());
    let words = ["--size-mib", "9", "--fs", "vfat", "--label", "boot", "--key", "volumes[0]"];
    let (ending, said) = verdict(&run(mkvolume(&at, words.into_iter().chain(["--", "v.img"]))));
    assert!(said.starts_with("microvm: vfat has labels in capitals: BOOT\n"), "{said}");
    assert_eq!(ending, Ending::Exited(if there { 0 } else { 6 }));
    if there {
        assert_eq!(field(&at.join("v.img"), "LABEL"), "BOOT");
    }
}
