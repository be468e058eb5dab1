// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a package of tinybpf installs: program, objects, manifests, unit, initramfs hooks.
//!
//! The installation is run into a directory of its own, with a script in the program's place: what
//! the program does is not the question here.

mod compiled;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use compiled::{objects, sources};

/// The installation below a scratch directory, removed with it.
struct Installed {
    root: PathBuf,
}

impl Installed {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        drop(fs::remove_dir_all(&root));
        let built = root.join("built");
        fs::create_dir_all(&built).expect("writable");
        let program = built.join("tinybpf");
        fs::write(&program, "#!/bin/sh\necho \"asked for $*\"\n").expect("writable");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our own file");
        let done = Command::new(sources().join("../dist/install.sh"))
            .env("DESTDIR", root.join("to"))
            .env("PREFIX", "/opt/plinth")
            .env("SYSCONFDIR", "/opt/etc")
            .env("BUILT", built)
            .env("OBJECTS", objects())
            .output()
            .expect("a shell");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self { root: root.join("to") }
    }

    fn files(&self) -> BTreeSet<String> {
        let (mut found, mut waiting) = (BTreeSet::new(), vec![self.root.clone()]);
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).expect("it was just made").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    waiting.push(path);
                } else {
                    let inner = path.strip_prefix(&self.root).expect("below the root");
                    found.insert(inner.to_string_lossy().into_owned());
                }
            }
        }
        found
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(self.root.parent().unwrap_or(&self.root)));
    }
}

/// The names of the ready-made programs.
fn programs() -> Vec<String> {
    let entries = fs::read_dir(sources().join("programs")).expect("the sources").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| Some(name.strip_suffix(".bpf.c")?.to_owned())).collect()
}

#[test]
fn an_installation_is_complete_and_knows_its_own_places() {
    let installed = Installed::new("dist-complete");
    let mut wanted: BTreeSet<String> = [
        "opt/plinth/sbin/tinybpf",
        "opt/plinth/lib/systemd/system/tinybpf-apply.service",
        "opt/plinth/lib/dracut/modules.d/90tinybpf/module-setup.sh",
        "opt/plinth/lib/dracut/modules.d/90tinybpf/tinybpf-apply.sh",
        "opt/plinth/share/initramfs-tools/hooks/tinybpf",
        "opt/plinth/share/initramfs-tools/scripts/init-bottom/tinybpf",
        "opt/plinth/share/bash-completion/completions/tinybpf",
        "opt/plinth/share/fish/vendor_completions.d/tinybpf.fish",
        "opt/plinth/share/zsh/site-functions/_tinybpf",
        "opt/plinth/share/man/man5/tinybpf.toml.5",
        "opt/plinth/share/man/man8/tinybpf.8",
        "opt/plinth/share/doc/tinybpf/kernel.h",
        "opt/plinth/share/doc/tinybpf/LICENSE-APACHE",
        "opt/plinth/share/doc/tinybpf/LICENSE-MIT",
    ]
    .map(str::to_owned)
    .into();
    for program in programs() {
        wanted.insert(format!("opt/plinth/lib/tinybpf/{program}.bpf.o"));
        wanted.insert(format!("opt/plinth/lib/tinybpf/{program}.toml"));
        wanted.insert(format!("opt/plinth/share/doc/tinybpf/{program}.bpf.c"));
    }
    assert_eq!(installed.files(), wanted);
    for file in &wanted {
        let path = installed.root.join(file);
        let mode = fs::metadata(&path).expect("it was listed").permissions().mode() & 0o777;
        let runs =
            file.contains("/sbin/") || file.contains("dracut") || file.contains("initramfs-tools");
        assert_eq!(mode, if runs { 0o755 } else { 0o644 }, "{file}");
        let bytes = fs::read(&path).expect("it was listed");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.is_empty(), "{file} is empty");
        // The manual speaks of the usual places.
        let speaks = file.contains("/doc/") || file.contains("/man/");
        if !file.ends_with(".bpf.o") && !speaks {
            let foreign = ["@SBINDIR@", "/usr/lib/tinybpf", "/etc/tinybpf"];
            for place in foreign {
                // In the initramfs the program has a place of its own.
                assert!(!text.replace("/opt/etc/tinybpf", "").contains(place), "{file}: {place}");
            }
        }
    }
    // Nothing is loaded that nobody has asked for.
    assert!(!installed.root.join("opt/etc").exists());
}

#[test]
fn manifests_name_what_was_installed() {
    let installed = Installed::new("dist-manifests");
    for program in programs() {
        let text = installed.text(&format!("opt/plinth/lib/tinybpf/{program}.toml"));
        let path = text.lines().find_map(|line| line.strip_prefix("path = ")).expect("a path");
        let path = path.trim_matches('"').trim_start_matches('/');
        assert!(installed.root.join(path).exists(), "{program}: {path}");
    }
}

#[test]
fn the_unit_keeps_what_pins_need_and_survives_its_command() {
    let installed = Installed::new("dist-unit");
    let unit = installed.text("opt/plinth/lib/systemd/system/tinybpf-apply.service");
    let lines: Vec<&str> = unit.lines().collect();
    let command = "/opt/plinth/sbin/tinybpf";
    let manifest = "/opt/etc/tinybpf/manifest.toml";
    for wanted in [
        "Type=oneshot".to_owned(),
        "RemainAfterExit=yes".to_owned(),
        "DefaultDependencies=no".to_owned(),
        "LimitMEMLOCK=infinity".to_owned(),
        "RuntimeDirectoryPreserve=yes".to_owned(),
        format!("ExecStart={command} apply {manifest}"),
        format!("ExecReload={command} apply {manifest}"),
        format!("ExecStop={command} remove {manifest}"),
        format!("ConditionPathExists={manifest}"),
    ] {
        assert!(lines.contains(&wanted.as_str()), "the unit lacks {wanted}");
    }
    let after = lines.iter().find(|line| line.starts_with("After=")).expect("an order");
    assert!(after.contains("sys-fs-bpf.mount") && after.contains("systemd-modules-load.service"));
    let bounds = lines.iter().find(|line| line.starts_with("CapabilityBoundingSet="));
    for capability in ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_DAC_READ_SEARCH"] {
        assert!(bounds.is_some_and(|line| line.contains(capability)), "{capability}");
    }
    // These give the service mounts of its own, and its pins would be seen by nobody.
    for key in ["ProtectKernelTunables=", "PrivateMounts=", "ProtectSystem=", "PrivateTmp="] {
        assert!(!lines.iter().any(|line| line.starts_with(key)), "{key}");
    }
}

#[test]
fn the_hooks_are_shell() {
    let installed = Installed::new("dist-shell");
    for file in installed.files() {
        if file.contains("initramfs-tools") || file.contains("dracut") {
            let shell = if file.ends_with("module-setup.sh") { "bash" } else { "sh" };
            let read = Command::new(shell).arg("-n").arg(installed.root.join(&file)).status();
            assert!(read.is_ok_and(|status| status.success()), "{file} is no {shell}");
        }
    }
}

/// The hooks with the real program, which says what a manifest names.
#[cfg(feature = "libbpf")]
mod hooks {
    use std::process::Output;

    use super::*;

    /// Every way to write a file down that TOML has, and ways not to.
    const NAMED: &str = r#"
version = 1
object = [{ name = "inline", path = "/inline.bpf.o", btf = '/inline.btf' }]
"#;
    const TABLES: &str = r#"
version = 1
[[object]]
name = "a"
path = "/a.bpf.o"
 btf="/b.btf"
# path = "/comment.bpf.o"
[[object]]
name = "literal"
path = '/with "quotes".bpf.o'
when = { kernel = ">=999.0", path_exists = "/condition" }
[[object]]
name = "escaped"
"path" = "/\u0065scaped.bpf.o"
[object.set]
text = """
path = "/text.bpf.o"
"""
"#;

    fn installed(name: &str, manifest: &str) -> Installed {
        let installed = Installed::new(name);
        let program = installed.root.join("opt/plinth/sbin/tinybpf");
        fs::remove_file(&program).expect("it was installed");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tinybpf"), program).expect("writable");
        let place = installed.root.join("opt/etc/tinybpf/initramfs.toml");
        fs::create_dir_all(place.parent().expect("it has one")).expect("writable");
        fs::write(place, manifest).expect("writable");
        installed
    }

    /// Runs dracut's module; its functions are stood in for by ones that say what they were asked.
    fn dracut(installed: &Installed) -> Output {
        let module = "opt/plinth/lib/dracut/modules.d/90tinybpf/module-setup.sh";
        let script = format!(
            "require_binaries() {{ echo \"needs $*\"; }}; inst() {{ echo \"inst $*\"; }}
             inst_simple() {{ echo \"simple $*\"; }}; inst_hook() {{ echo \"hook $1 $2\"; }}
             moddir=x; dracutsysrootdir={}
             . {}; check && install",
            installed.root.display(),
            installed.root.join(module).display()
        );
        Command::new("bash").args(["-euc", &script]).output().expect("bash")
    }

    /// Runs the hook of initramfs-tools in the same way.
    fn initramfs_tools(installed: &Installed) -> Output {
        let hook = installed.text("opt/plinth/share/initramfs-tools/hooks/tinybpf");
        let functions = "copy_exec() { echo \"exec $*\"; }; copy_file() { echo \"file $*\"; }";
        let script = hook
            .replace(". /usr/share/initramfs-tools/hook-functions", functions)
            .replace("/opt/", &format!("{}/opt/", installed.root.display()));
        let shell = ["-uc", &script, "hook", ""];
        Command::new("sh").args(shell).env("DESTDIR", "/nowhere").output().expect("a shell")
    }

    fn lines(output: &Output, installed: &Installed) -> Vec<String> {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let root = installed.root.display().to_string();
        let text = String::from_utf8_lossy(&output.stdout).replace(&root, "");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn take_exactly_what_the_early_manifest_names() {
        let inline = ["/inline.bpf.o", "/inline.btf"];
        let tables = ["/a.bpf.o", "/b.btf", "/escaped.bpf.o", "/with \"quotes\".bpf.o"];
        for (at, (manifest, files)) in
            [(NAMED, &inline[..]), (TABLES, &tables[..])].into_iter().enumerate()
        {
            let installed = installed(&format!("dist-hooks-{at}"), manifest);
            let mut wanted = vec![
                "needs /opt/plinth/sbin/tinybpf".to_owned(),
                "inst /opt/plinth/sbin/tinybpf /usr/sbin/tinybpf".to_owned(),
                "simple /opt/etc/tinybpf/initramfs.toml".to_owned(),
            ];
            wanted.extend(files.iter().map(|file| format!("simple {file}")));
            wanted.push("hook pre-pivot 50".to_owned());
            assert_eq!(lines(&dracut(&installed), &installed), wanted);
            let early = "/opt/etc/tinybpf/initramfs.toml";
            let mut wanted = vec![
                "exec /opt/plinth/sbin/tinybpf /usr/sbin/tinybpf".to_owned(),
                format!("file manifest {early} {early}"),
            ];
            wanted.extend(files.iter().map(|file| format!("file object {file} {file}")));
            assert_eq!(lines(&initramfs_tools(&installed), &installed), wanted);
        }
    }

    #[test]
    fn refuse_a_manifest_that_is_wrong() {
        let installed = installed("dist-hooks-wrong", "version = 1\nobjcet = []\n");
        for output in [dracut(&installed), initramfs_tools(&installed)] {
            assert!(!output.status.success(), "{output:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("initramfs.toml:2:1: "), "{said}");
        }
    }
}
