// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the machine is like: mounts, kernel version, CPUs, privileges.
//!
//! Owns where to look and how to read it. Everything is looked up under an injected root, so that
//! the readers are tested with made-up machines; what it means is judged in
//! [`crate::diagnosis`].

use std::io;
use std::path::{Path, PathBuf};

use plinth::file::Root;

use crate::diagnosis::permission::{Capabilities, Facts, Lockdown, Refused, diagnose};
use crate::errno::Errno;
use crate::error::Error;

/// Modules that judge BPF programs, of those that may stand in the list.
const POLICY_MODULES: &[&str] = &["selinux", "apparmor", "smack", "tomoyo"];

/// Bytes of the largest file about the kernel that is read; lists of functions have 16 MiB.
const KERNEL_FILE_MAX: usize = 256 << 20;

/// The machine, as its files describe it.
#[derive(Clone, Debug)]
pub struct Host {
    root: Root,
}

impl Host {
    /// The machine under `root`.
    #[must_use]
    pub const fn at(root: Root) -> Self {
        Self { root }
    }

    /// This machine.
    #[must_use]
    pub fn system() -> Self {
        Self::at(Root::system())
    }

    /// The root under which files are looked up.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// Where a file system of this type is mounted; the first place that is not covered.
    #[must_use]
    pub fn mount(&self, kind: &str) -> Option<PathBuf> {
        let table = self.root.read_text("/proc/self/mountinfo").ok()?;
        mount_of(&table, kind)
    }

    /// Where the unified control groups are: not always `/sys/fs/cgroup`.
    #[must_use]
    pub fn cgroup2(&self) -> Option<PathBuf> {
        self.mount("cgroup2")
    }

    /// Where the tracing files are: tracefs, or its old place inside debugfs.
    #[must_use]
    pub fn tracefs(&self) -> Option<PathBuf> {
        let inside = || Some(self.mount("debugfs")?.join("tracing"));
        self.mount("tracefs").or_else(|| inside().filter(|path| self.root.exists(path)))
    }

    /// Whether the bpf file system at `place` hands out rights, which only one mounted for a user
    /// namespace does.
    #[must_use]
    pub fn delegating_bpffs(&self, place: &Path) -> bool {
        let uid_map = self.root.read_text("/proc/self/uid_map").unwrap_or_default();
        if !is_user_namespace(&uid_map) {
            return false;
        }
        let table = self.root.read_text("/proc/self/mountinfo").unwrap_or_default();
        table.lines().any(|line| {
            let Some((before, after)) = line.split_once(" - bpf ") else { return false };
            let at = before.split(' ').nth(4).map(unescape);
            at.is_some_and(|at| Path::new(&at) == place) && after.contains("delegate_")
        })
    }

    /// The kernel's version, major and minor; zeros when unknown.
    #[must_use]
    pub fn kernel(&self) -> (u32, u32) {
        version_of(&self.release()).unwrap_or_default()
    }

    /// The kernel's release, such as `6.18.44`.
    #[must_use]
    pub fn release(&self) -> String {
        let text = self.root.read_text("/proc/sys/kernel/osrelease").unwrap_or_default();
        text.trim().to_owned()
    }

    /// Whether the kernel shows its types.
    #[must_use]
    pub fn has_kernel_btf(&self) -> bool {
        self.root.exists("/sys/kernel/btf/vmlinux")
    }

    /// The kernel's own types, in its format.
    ///
    /// # Errors
    /// What reading the file ended with.
    pub fn kernel_btf(&self) -> io::Result<Vec<u8>> {
        plinth::file::read(&self.root.join("/sys/kernel/btf/vmlinux"), KERNEL_FILE_MAX)
    }

    /// Whether the kernel has kprobes, as its performance unit for them shows.
    #[must_use]
    pub fn has_kprobes(&self) -> bool {
        self.root.exists("/sys/bus/event_source/devices/kprobe")
    }

    /// A number of a performance unit, such as its `type`.
    #[must_use]
    pub fn unit(&self, unit: &str, file: &str) -> Option<String> {
        let path = format!("/sys/bus/event_source/devices/{unit}/{file}");
        Some(self.root.read_text(path).ok()?.trim().to_owned())
    }

    /// The CPUs that are online; empty when unknown.
    #[must_use]
    pub fn online_cpus(&self) -> Vec<u32> {
        let text = self.root.read_text("/sys/devices/system/cpu/online").unwrap_or_default();
        cpu_list(text.trim()).unwrap_or_default()
    }

    /// The CPUs there may ever be, by which per-CPU values are sized; empty when unknown.
    #[must_use]
    pub fn possible_cpus(&self) -> Vec<u32> {
        let text = self.root.read_text("/sys/devices/system/cpu/possible").unwrap_or_default();
        cpu_list(text.trim()).unwrap_or_default()
    }

    /// Whether the kernel has a function of this name, and where to say so; `None` when its list
    /// cannot be read.
    #[must_use]
    pub fn has_function(&self, name: &str) -> Option<bool> {
        let path = self.root.join("/proc/kallsyms");
        let bytes = plinth::file::read(&path, KERNEL_FILE_MAX).ok()?;
        let found = bytes.split(|byte| *byte == b'\n').any(|line| {
            line.split(u8::is_ascii_whitespace).nth(2).is_some_and(|found| found == name.as_bytes())
        });
        Some(found)
    }

    /// What a refusal is explained from.
    #[must_use]
    pub fn facts(&self, token: bool) -> Facts {
        // Capabilities belong to threads.
        let status = self.root.read_text("/proc/thread-self/status").unwrap_or_default();
        let uid_map = self.root.read_text("/proc/self/uid_map").unwrap_or_default();
        let lockdown = self.root.read_text("/sys/kernel/security/lockdown").unwrap_or_default();
        let modules = self.root.read_text("/sys/kernel/security/lsm").unwrap_or_default();
        Facts {
            capabilities: capabilities_of(&status).unwrap_or_default(),
            user_namespace: is_user_namespace(&uid_map),
            token,
            lockdown: lockdown_of(&lockdown),
            security_modules: modules
                .trim()
                .split(',')
                .filter(|module| POLICY_MODULES.contains(module))
                .map(str::to_owned)
                .collect(),
            filtered: is_filtered(&status) && bpf_is_refused(),
            kernel: self.kernel(),
        }
    }
}

/// `error` with the cause where the kernel refused bpf(2), or does not have it.
pub(crate) fn explained(error: Error, refused: Refused) -> Error {
    match error.errno() {
        Some(Errno::PERM) => {
            let found = diagnose(refused, &Host::system().facts(false));
            error.with_detail(found.detail).with_hint(found.hint)
        }
        Some(Errno::NOSYS) => error.with_detail(crate::diagnosis::load::NO_BPF),
        _ => error,
    }
}

/// Whether a question that anybody may ask is answered with a refusal: where there is no pin.
fn bpf_is_refused() -> bool {
    crate::sys::program::open_pin(c"").is_err_and(|errno| errno == Errno::PERM)
}

/// The mount point of a file system type in the text of `/proc/self/mountinfo`. Later mounts on the
/// same place cover earlier ones.
fn mount_of(table: &str, kind: &str) -> Option<PathBuf> {
    let mounts = table.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        Some((unescape(before.split(' ').nth(4)?), after.split(' ').next()?))
    });
    let mut found: Option<String> = None;
    for (place, mounted) in mounts {
        if mounted == kind && found.is_none() {
            found = Some(place);
        } else if mounted != kind && found.as_deref() == Some(place.as_str()) {
            found = None;
        }
    }
    found.map(PathBuf::from)
}

/// Undoes the octal escapes of blanks in paths.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// `6.18.44-x` -> (6, 18).
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// `0-1,4` -> 0, 1, 4. At most 65536, which is more than any kernel has.
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in text.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last > 0xffff {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// The effective set in the text of `/proc/self/status`.
fn capabilities_of(status: &str) -> Option<Capabilities> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok().map(Capabilities)
}

/// Whether the process has filters of system calls, by the text of `/proc/self/status`.
fn is_filtered(status: &str) -> bool {
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// The initial user namespace maps everybody to themselves.
fn is_user_namespace(uid_map: &str) -> bool {
    let mut fields = uid_map.split_whitespace();
    let initial = (fields.next(), fields.next(), fields.next(), fields.next());
    !uid_map.is_empty() && initial != (Some("0"), Some("0"), Some("4294967295"), None)
}

/// The word in brackets of `/sys/kernel/security/lockdown`.
fn lockdown_of(text: &str) -> Lockdown {
    if text.contains("[confidentiality]") {
        Lockdown::Confidentiality
    } else if text.contains("[integrity]") {
        Lockdown::Integrity
    } else {
        Lockdown::None
    }
}

/// The file system that holds `path`, by the number in `linux/magic.h`; `None` when it does not
/// exist.
#[must_use]
pub fn file_system(path: &Path) -> Option<i64> {
    let answer = rustix::fs::statfs(path).ok()?;
    #[expect(clippy::useless_conversion, reason = "the field's type differs between machines")]
    i64::try_from(answer.f_type).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
22 1 0:20 / /sys rw - sysfs sysfs rw
25 22 0:23 / /sys/fs/cgroup rw - tmpfs tmpfs rw
26 25 0:24 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
27 25 0:25 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
28 22 0:26 / /mnt/with\\040blank rw - tracefs tracefs rw
";

    #[test]
    fn mounts_are_found_where_they_are() {
        let find = |kind| mount_of(HYBRID, kind);
        assert_eq!(find("cgroup2"), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(find("tracefs"), Some(PathBuf::from("/mnt/with blank")));
        assert_eq!(find("bpf"), None);
    }

    #[test]
    fn a_covered_mount_does_not_count() {
        let covered = format!("{HYBRID}29 22 0:27 / /sys/fs/cgroup/unified rw - tmpfs tmpfs rw\n");
        assert_eq!(mount_of(&covered, "cgroup2"), None);
    }

    #[test]
    fn versions_and_cpu_lists_are_read() {
        assert_eq!(version_of("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version_of("5.4"), Some((5, 4)));
        assert_eq!(version_of("next"), None);
        assert_eq!(cpu_list("0,2-3"), Some(vec![0, 2, 3]));
        assert_eq!(cpu_list(""), Some(Vec::new()));
        for bad in ["3-1", "x", "0-99999999"] {
            assert_eq!(cpu_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn facts_are_read_from_the_files_of_the_kernel() {
        assert_eq!(
            capabilities_of("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some(Capabilities(0x1ff_ffff_ffff))
        );
        assert!(is_filtered("NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!is_filtered("Seccomp:\t0\nSeccomp_filters:\t0\n"));
        assert!(!is_user_namespace("         0          0 4294967295\n"));
        assert!(is_user_namespace("         0       1000          1\n"));
        assert!(!is_user_namespace(""));
        assert_eq!(lockdown_of("none [integrity] confidentiality\n"), Lockdown::Integrity);
        assert_eq!(lockdown_of("none integrity [confidentiality]\n"), Lockdown::Confidentiality);
        assert_eq!(lockdown_of(""), Lockdown::None);
    }

    #[test]
    fn this_machine_answers() {
        let host = Host::system();
        assert!(host.kernel() >= (4, 0));
        assert!(!host.online_cpus().is_empty());
        assert!(host.possible_cpus().len() >= host.online_cpus().len());
    }
}
