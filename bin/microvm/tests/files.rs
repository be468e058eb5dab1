// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files that descriptions name, made by the command with the real programs of this host.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

mod support;

use plinth::testing::output;
use support::microvm;

fn directory(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("files-{name}"));
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).expect("a directory");
    dir
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A compressed kernel, as the kernel's build lays it out, with `kernel` in it.
fn vmlinuz(dir: &Path, kernel: &[u8], program: &str, words: &[&str]) -> PathBuf {
    let plain = dir.join("plain");
    fs::write(&plain, kernel).expect("a file");
    let output = output(Command::new(program).args(words).arg(&plain));
    assert!(output.status.success(), "{program}: {output:?}");
    let mut packed = output.stdout;
    if program != "gzip" {
        packed.extend(u32::try_from(kernel.len()).expect("small").to_le_bytes());
    }
    let mut image = vec![0; 1024];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&[0x0f, 2]);
    let length = u32::try_from(packed.len()).expect("small");
    image[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
    image.extend(packed);
    let path = dir.join("vmlinuz");
    fs::write(&path, image).expect("a file");
    path
}

#[test]
fn a_packed_kernel_comes_out_as_it_went_in() {
    let dir = directory("kernel");
    let kernel: Vec<u8> = b"\x7fELF"
        .iter()
        .copied()
        .chain((0..200_000_u32).flat_map(|number| (number / 7).to_le_bytes()))
        .collect();
    let out = dir.join("vmlinux");
    for (program, words) in [("gzip", &["-c"][..]), ("xz", &["--check=crc32", "-c"])] {
        let image = vmlinuz(&dir, &kernel, program, words);
        let (status, said) = microvm(&["kernel", "extract", &text(&image), "-o", &text(&out)]);
        assert_eq!(status, 0, "{program}: {said}");
        assert!(fs::read(&out).expect("the kernel") == kernel, "{program}");
    }
    // What is no file is not made one.
    let (image, pipe) = (dir.join("vmlinuz"), dir.join("pipe"));
    assert!(output(Command::new("mkfifo").arg(&pipe)).status.success());
    let (status, said) = microvm(&["kernel", "extract", &text(&image), "-o", &text(&pipe)]);
    assert_eq!((status, said.ends_with("pipe is no regular file\n")), (1, true), "{said}");
    assert!(!fs::metadata(&pipe).expect("still there").is_file());
    let (status, said) = microvm(&["kernel", "extract", &text(&out), "-o", &text(&out)]);
    assert_eq!(status, 1);
    assert!(said.contains("an uncompressed kernel already"), "{said}");
}

#[test]
fn a_kernel_that_is_not_whole_leaves_nothing_behind() {
    let dir = directory("broken");
    let image = vmlinuz(&dir, &[7; 100_000], "gzip", &["-c"]);
    let mut bytes = fs::read(&image).expect("the image");
    let middle = bytes.len() - 20;
    bytes[middle] ^= 0xff;
    fs::write(&image, bytes).expect("a file");
    let out = dir.join("vmlinux");
    let (status, said) = microvm(&["kernel", "extract", &text(&image), "-o", &text(&out)]);
    assert_eq!(status, 1, "{said}");
    assert!(!out.exists() && !dir.join("vmlinux.partial").exists());
    let (status, _) = microvm(&["kernel", "extract", "/no/such", "-o", &text(&out)]);
    assert_eq!(status, 4);
    assert_eq!(microvm(&["kernel", "extract", &text(&image)]).0, 2);
}

fn tree(dir: &Path) {
    fs::create_dir_all(dir.join("etc")).expect("a directory");
    fs::write(dir.join("etc/motd"), "hello\n".repeat(1000)).expect("a file");
    symlink("motd", dir.join("etc/issue")).expect("a link");
}

#[test]
fn the_same_directory_gives_the_same_image() {
    for kind in ["erofs", "squashfs"] {
        let dir = directory(&format!("image-{kind}"));
        let (first, second) = (dir.join("first"), dir.join("other/second"));
        tree(&first);
        tree(&second);
        // A time that the other one has not.
        let mut touch = Command::new("touch");
        touch.args(["-d", "2001-02-03"]).arg(first.join("etc/motd"));
        assert!(output(&mut touch).status.success());
        let images = [first, second].map(|source| {
            let out = source.with_extension(kind);
            let words = ["image", "build", "--type", kind, "-o", &text(&out), &text(&source)];
            let (status, said) = microvm(&words);
            assert_eq!(status, 0, "{said}");
            (out, source)
        });
        let read = |at: usize| fs::read(&images[at].0).expect("an image");
        assert!(read(0) == read(1), "{kind}");
        let (image, source) = (text(&images[0].0), text(&images[0].1));
        assert_eq!(microvm(&["image", "verify", &image, &source]).0, 0);
        fs::write(images[0].1.join("etc/new"), "x").expect("a file");
        let (status, said) = microvm(&["image", "verify", &image, &source]);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("differs"), "{said}");
    }
}

/// A program that does not know an option prints all those that it knows.
#[test]
fn what_a_program_says_is_one_line() {
    let dir = directory("said");
    fs::create_dir(dir.join("root")).expect("a directory");
    let root = text(&dir.join("root"));
    let out = text(&dir.join("out"));
    let (status, said) = microvm(&["image", "build", &root, "-o", &out, "--flag", "-?nonsense"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.starts_with("failure: mkfs.erofs failed: "), "{said}");
    assert!(said.len() < 200 && !said.contains("\\n"), "{said}");
    let (status, said) = microvm(&["image", "build", &root, "-o", &out, "--label", "x"]);
    let old = "failure: --label needs mkfs.erofs 1.7; the one here does not know -L\n";
    assert!(status == 0 || (status, said.as_str()) == (1, old), "{said}");
}

#[test]
fn the_image_of_a_description_is_named_after_its_content() {
    let dir = directory("described");
    tree(&dir.join("rootfs"));
    let description = "hostName = \"web\"\nkernel = \"k\"\nstoreDiskSource = \"rootfs\"\n";
    fs::write(dir.join("vm.toml"), description).expect("a file");
    let (status, said) = microvm(&["image", "build", &text(&dir.join("vm.toml"))]);
    assert_eq!(status, 0, "{said}");
    let path = Path::new(said.trim());
    let name = path.file_name().expect("a name").to_string_lossy();
    assert!(name.starts_with("web-") && name.ends_with(".erofs") && path.exists(), "{said}");
    assert_eq!(microvm(&["image", "build", &text(&dir.join("vm.toml"))]).1, said);
}

#[test]
fn a_description_has_the_image_that_was_made_of_its_directory() {
    let dir = directory("made");
    tree(&dir.join("rootfs"));
    let file = text(&dir.join("vm.toml"));
    let mut description = "hostName = \"web\"\nkernel = \"vm.toml\"\n".to_owned();
    description.push_str("storeDiskSource = \"rootfs\"\n");
    fs::write(&file, &description).expect("a file");
    let image = dir.join("web.erofs");
    let (status, said) = microvm(&["check", "--strict", &file]);
    assert_eq!(status, 3, "{said}");
    let (_, package) = microvm(&["show", "--json", &file]);

    let mut seen = Vec::new();
    for content in ["one", "two"] {
        fs::write(dir.join("rootfs/etc/content"), content).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_microvm"));
        let making = output(command.args(["image", "build", &file]));
        // That the image is missing is no news for who makes it.
        assert_eq!(
            (making.status.code(), String::from_utf8_lossy(&making.stderr)),
            (Some(0), "".into())
        );
        let said = String::from_utf8_lossy(&making.stdout).into_owned();
        assert_eq!(fs::canonicalize(&image).expect("the image"), Path::new(said.trim()));
        // The pipeline does not look: the machine is the same, with the image and without.
        assert_eq!(microvm(&["check", "--strict", &file]).0, 0);
        assert_eq!(microvm(&["show", "--json", &file]).1, package);
        seen.push(said);
    }
    assert_ne!(seen[0], seen[1]);
    assert!(Path::new(seen[0].trim()).exists(), "a machine may run from the one before");
    assert!(package.contains(&text(&image)), "{package}");

    // What somebody else put there is not replaced.
    fs::remove_file(&image).expect("the link");
    fs::write(&image, "precious").expect("a file");
    assert_eq!(microvm(&["image", "build", &file]).0, 5);
    assert_eq!(fs::read_to_string(&image).expect("the file"), "precious");

    // An image of one's own has its own name.
    fs::write(&file, description + "storeDisk = \"own.erofs\"\n").expect("a file");
    assert_eq!(microvm(&["image", "build", &file]).0, 0);
    assert!(!dir.join("own.erofs").exists());
}

#[test]
fn options_of_nix_become_a_description_that_is_valid() {
    let dir = directory("nix");
    let options = r#"{
        "networking": { "hostName": "web1" },
        "microvm": {
            "hypervisor": "qemu", "mem": 512, "cpu": null, "storeOnDisk": true,
            "qemu": { "package": "/nix/store/x", "machine": "q35" },
            "volumes": [{ "image": "a.img", "size": 64, "mountPoint": "/var" }],
            "kernel": "/nix/store/k/bzImage"
        }
    }"#;
    fs::write(dir.join("config.json"), options).expect("a file");
    let (status, said) = microvm(&["import-nix", &text(&dir.join("config.json"))]);
    assert_eq!(status, 0, "{said}");
    let file = dir.join("web1.toml");
    fs::write(&file, &said).expect("a file");
    let (status, checked) = microvm(&["check", &text(&file)]);
    assert_eq!(status, 0, "{checked}");
    assert!(said.contains("hostName = \"web1\"") && said.contains("[[volumes]]"), "{said}");
    fs::write(dir.join("config.json"), "[]").expect("a file");
    assert_eq!(microvm(&["import-nix", &text(&dir.join("config.json"))]).0, 3);
}

#[test]
fn odd_files_are_refused_with_a_line() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = directory("odd");
    let large = dir.join("large.toml");
    let size = microvm::source::TEXT_MAX as u64 + 1;
    fs::File::create(&large).and_then(|it| it.set_len(size)).expect("a file");
    let (status, said) = microvm(&["check", &text(&large)]);
    assert_eq!(status, 3);
    assert!(said.contains("error[MV007]") && said.contains("file too large"), "{said}");
    let latin = dir.join("latin.toml");
    fs::write(&latin, b"hostName = \"a\"\n# caf\xe9\n").expect("a file");
    let (status, said) = microvm(&["check", &text(&latin)]);
    assert_eq!(status, 3);
    assert!(said.contains("latin.toml:2:6: error[MV001]: the text is not UTF-8"), "{said}");
    for word in ["vcpu", "=1", "vcpu 2"] {
        assert_eq!(microvm(&["check", "--set", word, &text(&latin)]).0, 2, "{word}");
    }
    let name = dir.join(std::ffi::OsStr::from_bytes(b"\xff.toml"));
    fs::write(&name, "kernel = \"k\"\n").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_microvm"));
    let output = output(command.arg("check").arg(&name));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.ends_with("the path is not UTF-8\n") && said.lines().count() == 1, "{said}");
}
