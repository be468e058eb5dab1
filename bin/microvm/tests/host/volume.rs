// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm volume grow`, with real file systems.

use super::*;

/// What the superblock of an ext4 says: its size in KiB, and whether it is marked as damaged.
fn ext4(image: &Path) -> (u64, bool) {
    let output = output(Command::new("/sbin/dumpe2fs").arg("-h").arg(image));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
        line.trim().to_owned()
    };
    let number = |name: &str| field(name).parse::<u64>().expect("a number");
    let size = number("Block count:") * number("Block size:") / 1024;
    (size, field("Filesystem state:") != "clean")
}

#[test]
fn a_volume_grows_with_its_file_system_or_without_it() {
    let ground = Ground::new("volume");
    let describe = |more: &str| {
        let text = format!("kernel = \"/vmlinuz\"\n[[volumes]]\nimage = \"v.img\"\n{more}");
        ground.write("web1.toml", &text)
    };
    let path = describe("size = 16\nfsType = \"ext4\"\n");
    ground.said(&["create", "web1", &path]);
    let image = ground.0.join("root/var/lib/microvms/web1/v.img");
    let grow = |more: &[&str]| ground.run(&[&["volume", "grow", "web1", "v.img"], more].concat());
    let fails = |more: &[&str], words: &str| {
        let (status, _, said) = grow(more);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    };
    let (status, _, said) = grow(&[]);
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains("there is no image"), "{said}");
    let mut command = Command::new(PROGRAM);
    command.args(["internal", "mkvolume", "--size-mib", "16", "--fs", "ext4", "--"]).arg(&image);
    assert!(output(&mut command).status.success());
    fails(&["--size", "15"], "v.img has 16 MiB already; volumes never shrink");

    // The image alone; then what is in it, by the same size.
    assert_eq!(grow(&["--size", "24"]).1, "v.img: 16 MiB -> 24 MiB\n");
    assert_eq!(ext4(&image), (16 << 10, false));
    assert_eq!(grow(&["--size", "24", "--file-system"]).1, "v.img: 24 MiB -> 24 MiB\n");
    assert_eq!(ext4(&image), (24 << 10, false));
    // By default, to what is described.
    describe("size = 32\n");
    ground.said(&["update", "web1"]);
    assert_eq!(grow(&["--file-system"]).1, "v.img: 24 MiB -> 32 MiB\n");
    assert_eq!(ext4(&image), (32 << 10, false));

    // What the check finds is told.
    fs::write(&image, vec![0; 32 << 20]).expect("an image");
    fails(&["--file-system"], "e2fsck failed: ");
    let said = grow(&["--file-system"]).2;
    assert!(said.contains("superblock") && said.contains("v.img") && !said.contains("/proc"));
    for (more, words) in [
        ("size = 40\nfsType = \"vfat\"\n", "a file system of type vfat cannot grow"),
        ("autoCreate = false\nimageType = \"qcow2\"\n", "v.img is of type qcow2"),
        ("autoCreate = false\n", "v.img: no size is described, give --size"),
    ] {
        describe(more);
        ground.said(&["update", "web1"]);
        fails(&["--file-system"], words);
        assert_eq!(fs::metadata(&image).expect("an image").len(), 32 << 20, "{more}");
    }
    let (status, _, said) = ground.run(&["volume", "grow", "web1", "no.img"]);
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains("MicroVM web1 has no volume no.img"), "{said}");
}

#[test]
fn root_a_volume_does_not_grow_through_a_link_of_the_hypervisor() {
    let ground = Ground::new("link");
    let text = "kernel = \"/k\"\n[[volumes]]\nimage = \"v.img\"\nsize = 2\n";
    let path = ground.write("web1.toml", text);
    ground.said(&["create", "web1", &path]);
    let far = ground.write("far", "");
    let link = ground.0.join("root/var/lib/microvms/web1/v.img");
    symlink(&far, &link).expect("a link");
    std::os::unix::fs::lchown(&link, Some(4000), None).expect("root may do that");
    let (status, _, said) = ground.run(&["volume", "grow", "web1", "v.img"]);
    assert_eq!(status, Some(1));
    assert!(said.ends_with("v.img is a link that another account has made\n"), "{said}");
    assert_eq!(fs::metadata(&far).expect("a file").len(), 0);
    std::os::unix::fs::lchown(&link, Some(0), None).expect("root may do that");
    assert_eq!(ground.said(&["volume", "grow", "web1", "v.img"]), "v.img: 0 MiB -> 2 MiB\n");
    assert_eq!(fs::metadata(&far).expect("a file").len(), 2 << 20);
}

#[test]
fn root_a_volume_does_not_grow_behind_a_link() {
    let ground = Ground::new("behind");
    let text = "kernel = \"/k\"\n[[volumes]]\nimage = \"sub/v.img\"\nsize = 2\n";
    let path = ground.write("web1.toml", text);
    ground.said(&["create", "web1", &path]);
    let far = ground.write("far/v.img", "");
    let link = ground.0.join("root/var/lib/microvms/web1/sub");
    symlink(ground.0.join("far"), &link).expect("a link");
    let (status, _, said) = ground.run(&["volume", "grow", "web1", "sub/v.img"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.ends_with("web1/sub/v.img is reached through a link\n"), "{said}");
    assert_eq!(fs::metadata(&far).expect("a file").len(), 0);
    // A directory of its own is no link.
    fs::remove_file(&link).expect("removed");
    ground.write("root/var/lib/microvms/web1/sub/v.img", "");
    ground.said(&["volume", "grow", "web1", "sub/v.img"]);
}
