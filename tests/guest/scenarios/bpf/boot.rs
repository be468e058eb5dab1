// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A manifest applied in the first moments of a machine, as an initramfs does it, and what is left
//! of it when the real root takes over.

use std::fs;
use std::path::Path;
use std::time::Duration;

use plinth::time::Time;
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::chroot;

use super::NEEDS;
use crate::inside::bpf::{self, Trigger};
use crate::inside::trouble::Naming;
use crate::inside::{Outcome, Trouble, ensure, ensure_eq, say, wait};
use crate::scenarios::{Guest, Kernel, Needs, Scenario};

/// Ten programs of ten kinds, from nothing mounted to all attached.
pub const BOOT: Scenario = Scenario {
    name: "bpf-boot",
    about: "tinybpf: ten programs from a boot manifest, which outlive the change of the root",
    needs: Needs { ip: false, ..NEEDS },
    kernels: &Kernel::KNOWN,
    seconds: 120,
    run: boot,
};

const LIMIT: Duration = Duration::from_secs(10);
const MANIFEST: &str = "/run/boot.toml";

/// Object, program, hook, counter: each from an object of its own, as users' programs are.
const TEN: [(&str, &str, &str, &str); 10] = [
    ("minimal", "minimal", "auto", "hits"),
    ("raw_tp", "count", "auto", "hits"),
    ("core", "relocated", "auto", "last_tgid"),
    ("kprobe", "entry", "auto", "entries"),
    ("ksyscall", "leave", "auto", "returns"),
    ("fentry", "leave", "auto", "exits"),
    ("lsm", "deny", "auto", "asked"),
    ("tracepoints", "typed", "auto", "typed_hits"),
    ("cgroup", "egress", "cgroup:/", "egress"),
    ("fmod_ret", "answer", "auto", "hits"),
];

fn manifest() -> String {
    let mut text = "version = 1\npin_root = \"/sys/fs/bpf/boot\"\n\
                    mount = [\"bpf\", \"tracefs\", \"cgroup2\"]\n"
        .to_owned();
    for (object, program, hook, _) in TEN {
        text.push_str(&format!(
            "[[object]]\nname = \"{object}\"\npath = \"{}\"\nprograms = [\"{program}\"]\n\
             [[object.attach]]\nprogram = \"{program}\"\nhook = \"{hook}\"\n",
            bpf::object(object)
        ));
    }
    text
}

/// The numbers of all programs in the kernel.
fn programs() -> Outcome<Vec<i64>> {
    let list = bpf::json(&["list", "progs"])?;
    let items = list.as_array().or_else(|| list["progs"].as_array());
    let items = items.ok_or_else(|| Trouble::new(format!("no list of programs: {list}")))?;
    Ok(items.iter().filter_map(|item| item["id"].as_i64()).collect())
}

fn boot(_: &Guest) -> Outcome {
    bpf::prepare()?;
    fs::write(MANIFEST, manifest())?;
    let begun = Time::monotonic();
    bpf::done(&["apply", MANIFEST])?;
    let spent = begun.until(Time::monotonic());
    say::value("bpf_boot_ms", &spent.as_millis());
    all_run()?;

    let before = programs()?;
    let begun = Time::monotonic();
    bpf::done(&["apply", MANIFEST])?;
    say::value("bpf_again_ms", &begun.until(Time::monotonic()).as_millis());
    ensure_eq("the programs after a second apply", &programs()?, &before)?;

    root_changes()?;
    all_run()?;
    let status = bpf::json(&["status", MANIFEST])?;
    say::show("status", &status.to_string());
    bpf::done(&["check", MANIFEST])?;
    bpf::done(&["remove", MANIFEST])?;
    ensure(!fs::exists("/sys/fs/bpf/boot")?, "pins are left")?;
    wait::until_found("the programs are gone", LIMIT, || {
        let left = programs()?;
        Ok(left.iter().all(|id| !before.contains(id)).then_some(()))
    })?;
    Ok(())
}

/// Every counter rises.
fn all_run() -> Outcome {
    let counters = || -> Outcome<Vec<i64>> {
        TEN.iter().map(|(object, _, _, counter)| counter_of(object, counter)).collect()
    };
    let before = counters()?;
    wait::until_found("all ten run", LIMIT, || {
        Trigger::Getpgid.pull()?;
        Trigger::Datagram.pull()?;
        let now = counters()?;
        // The one of a process number has a value, not a count.
        let runs = |at: usize| now[at] > before[at] || (TEN[at].0 == "core" && now[at] > 0);
        Ok((0..TEN.len()).all(runs).then_some(()))
    })
    .map(drop)
}

fn counter_of(object: &str, counter: &str) -> Outcome<i64> {
    bpf::global(object, counter).map_err(|trouble| trouble.during(object))
}

/// What switch_root does: the mounts move to another root, and that becomes the root.
fn root_changes() -> Outcome {
    let none = MountFlags::empty();
    fs::create_dir_all("/mnt/root")?;
    mount("tmpfs", "/mnt/root", "tmpfs", none, None).named("the new root")?;
    copy(Path::new("/bpf"), Path::new("/mnt/root/bpf"))?;
    copy(Path::new("/usr"), Path::new("/mnt/root/usr"))?;
    copy(Path::new("/bin"), Path::new("/mnt/root/bin"))?;
    copy(Path::new("/etc"), Path::new("/mnt/root/etc"))?;
    fs::create_dir_all("/mnt/root/var/log")?;
    for place in ["proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir_all(format!("/mnt/root/{place}"))?;
        mount_move(format!("/{place}"), format!("/mnt/root/{place}")).named(place)?;
    }
    std::env::set_current_dir("/mnt/root")?;
    mount_move(".", "/").named("the root")?;
    chroot(".")?;
    std::env::set_current_dir("/")?;
    say::step("the root has changed");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).named(from.display())?.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).named(path.display())?;
        }
    }
    Ok(())
}

/// What a user does wrong, or a kernel lacks, where only a guest can show it.
pub const FAILURES: Scenario = Scenario {
    name: "bpf-failures",
    about: "tinybpf: missing file systems, unknown functions, refused objects: words and codes",
    needs: Needs { ip: false, ..NEEDS },
    kernels: &[Kernel::V6_1, Kernel::Sid],
    seconds: 90,
    run: failures,
};

fn failures(_: &Guest) -> Outcome {
    let pins = "/sys/fs/bpf/x";
    // Nothing is mounted yet.
    refused(&["load", "/bpf/minimal.bpf.o", "--pin", pins], 1..=6, &["/sys/fs/bpf", "mount"])?;
    refused(&["run", "/bpf/minimal.bpf.o"], 1..=6, &["tracefs"])?;
    ensure(!fs::exists("/sys/fs/bpf/x")?, "a directory was made where no bpffs is")?;
    bpf::mounts()?;
    for (object, code, words) in [
        ("unknown_kprobe", 5, &["plinth_invented_function"][..]),
        ("unknown_fentry", 5, &["plinth_invented_function"]),
        ("unknown_tp_btf", 5, &["sched_swich", "sched_switch"]),
        ("unknown_tracepoint", 5, &["sched_swich"]),
        ("unknown_raw_tp", 5, &["plinth_invented"]),
        ("verifier", 7, &["instruction 1", "scalar"]),
        ("relocation", 7, &["task_struct", "plinth_invented_field"]),
        ("no_license", 7, &["license"]),
        ("no_btf", 3, &["-g"]),
        ("big_endian", 3, &["big-endian"]),
        ("truncated", 3, &["truncated"]),
        ("text", 3, &["not an ELF"]),
        ("unknown_kfunc", 6, &["plinth_invented_function"]),
    ] {
        let path = format!("/bpf/broken/{object}.bpf.o");
        let words =
            refused(&["load", &path, "--pin", pins, "--attach", "auto"], code..=code, words);
        let pins = ensure(!fs::exists(pins)?, "pins are left");
        if let Err(trouble) = words.and(pins) {
            say::fail(trouble.during(object).to_string());
        }
    }
    let left = bpf::json(&["list", "progs"])?;
    ensure(!left.to_string().contains("nowhere"), format_args!("programs are left: {left}"))
}

/// The command fails with one of these codes, and says all of these words.
fn refused(words: &[&str], codes: std::ops::RangeInclusive<i32>, wanted: &[&str]) -> Outcome {
    let said = bpf::run(words)?;
    let what = format!("'{}' ended with {} and said '{}'", words.join(" "), said.code, said.err);
    ensure(codes.contains(&said.code), &what)?;
    ensure(wanted.iter().all(|word| said.err.contains(word)), &what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_each_object_once() {
        let text = manifest();
        assert_eq!(text.matches("[[object]]").count(), TEN.len());
        for (object, program, ..) in TEN {
            assert_eq!(text.matches(&format!("/bpf/{object}.bpf.o")).count(), 1);
            assert!(text.contains(&format!("program = \"{program}\"")));
        }
    }
}
