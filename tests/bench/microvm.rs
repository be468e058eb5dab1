// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What microvm needs, beside an evaluation by Nix and, as the floor, a loop of the shell.
//!
//! The contenders take turns. Nix evaluates an expression of the shape of one machine, the least
//! that upstream does for one; the shell fills a template for each of a thousand machines, and
//! checks nothing. Judged is processor time where a neighbour would else decide. What is judged of
//! a fleet is written to memory, since the file system of a disk may need more for ten thousand
//! files than all else; the same on the disk stands beside it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use checks::bars::Measure;
use checks::samples::Samples;
use plinth::testing::Place;

/// How often every contender has its turn.
const ROUNDS: usize = 25;
/// How often those have theirs that need seconds.
const SLOW_ROUNDS: usize = 5;
const NIX: &str = "nix-instantiate";
const SHELL: &str = "shell loop";

/// An expression of the shape of one machine: options, defaults, and an argument list of them.
const EXPRESSION: &str = r#"
let
  defaults = { mem = 512; vcpu = 1; volumes = []; interfaces = []; };
  vm = defaults // { hostName = "vm0"; volumes = [ { image = "var.img"; size = 256; } ]; };
  arg = volume: [ "-drive" "file=${volume.image},if=none" ];
in builtins.concatStringsSep " " ([ "qemu" "-name" vm.hostName "-m" (toString vm.mem) ]
  ++ builtins.concatLists (map arg vm.volumes))
"#;

/// The floor: a thousand files from a template, with the tools of the shell alone.
const LOOP: &str = r#"
mkdir -p "$1"
i=0
while [ "$i" -lt 1000 ]; do
  mkdir "$1/vm$i" "$1/vm$i/bin"
  cat >"$1/vm$i/bin/microvm-run" <<END
#!/bin/sh
exec qemu-system-x86_64 -name vm$i -m 512 -drive file=var$i.img
END
  chmod 755 "$1/vm$i/bin/microvm-run"
  i=$((i + 1))
done
"#;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

struct World {
    microvm: String,
    timed: PathBuf,
    place: Place,
    samples: Samples,
    measures: Vec<Measure>,
}

/// Measures everything; `target` holds what was built.
pub(crate) fn measure(target: &Path) -> Outcome<Vec<Measure>> {
    let folder = target.join(format!("{}-unknown-linux-gnu/release", std::env::consts::ARCH));
    let mut world = World {
        microvm: folder.join("microvm").display().to_string(),
        timed: target.join("bench/timed"),
        place: Place::new(),
        samples: Samples::default(),
        measures: Vec::new(),
    };
    world.size()?;
    world.inputs()?;
    world.one()?;
    world.fleet()?;
    world.host()?;
    world.start()?;
    Ok(world.measures)
}

/// The description of a fleet of `count` machines.
fn fleet(count: usize) -> String {
    let mut text = "[defaults]\nkernel = \"vmlinuz\"\ninitrdPath = \"initrd\"\n".to_owned();
    for at in 0..count {
        text.push_str(&format!(
            "[vms.vm{at}]\nvsock.cid = {cid}\n[[vms.vm{at}.volumes]]\nimage = \"var{at}.img\"\n\
             size = 256\n[[vms.vm{at}.interfaces]]\ntype = \"tap\"\nid = \"vm-{at}\"\n\
             mac = \"auto\"\ntap.bridge = \"br0\"\n",
            cid = 1000 + at,
        ));
    }
    text
}

impl World {
    fn path(&self, inner: &str) -> String {
        self.place.join(inner).display().to_string()
    }

    fn inputs(&self) -> Outcome {
        let one = "hostName = \"vm0\"\nkernel = \"vmlinuz\"\ninitrdPath = \"initrd\"\n\
                   volumes = [{ image = \"var.img\", size = 256 }]\n";
        for (name, text) in [
            ("one.toml", one),
            ("vmlinuz", ""),
            ("initrd", ""),
            ("vm.nix", EXPRESSION),
            ("loop.sh", LOOP),
        ] {
            fs::write(self.place.join(name), text)?;
        }
        for count in [1000, 10_000] {
            fs::write(self.place.join(format!("fleet{count}.toml")), fleet(count))?;
        }
        Ok(())
    }

    fn size(&mut self) -> Outcome {
        let path = Path::new(&self.microvm);
        let file = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        self.alone("static size of microvm", "bytes", u32::try_from(file.len())?.into(), 1);
        Ok(())
    }

    /// Runs a command under the stop-watch, and keeps its values under `key`.
    fn timed(&mut self, key: &str, words: &[&str]) -> Outcome {
        let mut command = Command::new(&self.timed);
        command.arg(self.place.join("out")).args(words).stdin(Stdio::null());
        let done = command.output()?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(format!("{words:?}: {}\n{said}", done.status).into());
        }
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            if let Some(value) = line.strip_prefix("@val ") {
                self.samples.take(&format!("@val {key}_{value}"));
            }
        }
        Ok(())
    }

    fn alone(&mut self, name: &str, unit: &'static str, ours: f64, times: usize) {
        self.measures.push(Measure { name: name.to_owned(), unit, ours, peer: None, times });
    }

    /// Rows of the least processor time, of the shortest run and of the most memory.
    fn rows(&mut self, name: &str, key: &str, peer: Option<(&str, &'static str)>) -> Outcome {
        let times = self.samples.count(&format!("{key}_wall_us"));
        for (word, value) in [("processor", "cpu_us"), ("clock", "wall_us")] {
            let least = |key: &str| self.samples.percentile(&format!("{key}_{value}"), 0);
            let ours = least(key)? / 1e3;
            let peer = match peer {
                Some((theirs, who)) => Some((least(theirs)? / 1e3, who)),
                None => None,
            };
            let name = format!("microvm: {name}, {word}");
            self.measures.push(Measure { name, unit: "ms", ours, peer, times });
        }
        Ok(())
    }

    fn memory(&mut self, name: &str, key: &str) -> Outcome {
        let most = self.samples.largest(&format!("{key}_rss_kib"))? / 1024.0;
        let times = self.samples.count(&format!("{key}_rss_kib"));
        self.alone(&format!("microvm: {name}, peak memory"), "MiB", most, times);
        Ok(())
    }

    /// One machine, beside an evaluation by Nix.
    fn one(&mut self) -> Outcome {
        let (microvm, file, nix) =
            (self.microvm.clone(), self.path("one.toml"), self.path("vm.nix"));
        for round in 0..ROUNDS {
            let out = self.path(&format!("one{round}"));
            self.timed("one", &[&microvm, "build", &file, "-o", &out])?;
            self.timed("nix", &[NIX, "--eval", "--strict", &nix])?;
        }
        self.rows("build of one, beside Nix", "one", Some(("nix", NIX)))?;
        self.memory("build of one", "one")
    }

    /// A thousand machines, beside a loop of the shell; and how the work grows to ten thousand.
    fn fleet(&mut self) -> Outcome {
        let (microvm, script) = (self.microvm.clone(), self.path("loop.sh"));
        let (small, large) = (self.path("fleet1000.toml"), self.path("fleet10000.toml"));
        let memory = InMemory::new()?;
        for round in 0..SLOW_ROUNDS {
            for (place, end) in [(memory.0.clone(), ""), (self.path("disk"), "_disk")] {
                let (out, floor) =
                    (format!("{place}/fleet{round}"), format!("{place}/loop{round}"));
                self.timed(&format!("fleet{end}"), &[&microvm, "build", &small, "-o", &out])?;
                self.timed(&format!("loop{end}"), &["sh", &script, &floor])?;
                self.timed(&format!("again{end}"), &[&microvm, "build", &small, "-o", &out])?;
                fs::remove_dir_all(out)?;
                fs::remove_dir_all(floor)?;
            }
            self.timed("check", &[&microvm, "check", &small])?;
            self.timed("check10", &[&microvm, "check", &large])?;
        }
        self.rows("build of 1000, beside the shell", "fleet", Some(("loop", SHELL)))?;
        self.rows("build of 1000 on a disk", "fleet_disk", Some(("loop_disk", SHELL)))?;
        self.memory("build of 1000", "fleet")?;
        self.rows("build of 1000 without a change", "again", None)?;
        let least = |key: &str| self.samples.percentile(&format!("{key}_cpu_us"), 0);
        let (one, ten) = (least("check")? * 10.0 / 1e3, least("check10")? / 1e3);
        self.measures.push(Measure {
            name: "microvm: 10000 machines, beside ten times 1000, processor".to_owned(),
            unit: "ms",
            ours: ten,
            peer: Some((one, "ten times 1000")),
            times: SLOW_ROUNDS,
        });
        Ok(())
    }

    /// A host with a hundred machines: the list, and an update that finds nothing to do.
    fn host(&mut self) -> Outcome {
        let (microvm, root) = (self.microvm.clone(), self.path("root"));
        fs::create_dir_all(&root)?;
        fs::create_dir_all(self.place.join("hundred"))?;
        for at in 0..100 {
            let file = self.path(&format!("hundred/vm{at}.toml"));
            let one = fs::read_to_string(self.place.join("one.toml"))?;
            let text = one.replace("\"vm0\"", &format!("\"vm{at}\""));
            fs::write(&file, text.replace("\"vmlinuz\"", "\"../vmlinuz\""))?;
            let name = format!("vm{at}");
            self.timed("create", &[&microvm, "create", "--root", &root, &name, &file])?;
        }
        let before = snapshot(Path::new(&root))?;
        for _ in 0..ROUNDS {
            self.timed("list", &[&microvm, "list", "--root", &root])?;
            self.timed("update", &[&microvm, "update", "--root", &root, "vm7"])?;
        }
        let after = snapshot(Path::new(&root))?;
        let changed = after.iter().filter(|(path, seen)| before.get(*path) != Some(seen)).count();
        self.rows("list of 100 and their descriptions", "list", None)?;
        self.rows("update without a change", "update", None)?;
        let changed = u32::try_from(changed + before.len().abs_diff(after.len()))?;
        self.alone(
            "microvm: files that an update without a change writes",
            "",
            changed.into(),
            ROUNDS,
        );
        Ok(())
    }

    /// What the script costs before the hypervisor runs: ours with a program that ends at once.
    fn start(&mut self) -> Outcome {
        let (microvm, file, out) = (self.microvm.clone(), self.path("one.toml"), self.path("run"));
        let set = ["--set", "qemu.binary=\"true\"", "--set", "volumes=[\"!reset\"]"];
        let build = [&[microvm.as_str(), "build", &file, "-o", &out], &set[..]].concat();
        self.timed("package", &build)?;
        let script = format!("{out}/bin/microvm-run");
        for _ in 0..ROUNDS {
            self.timed("run", &[&script])?;
            self.timed("true", &["true"])?;
        }
        self.rows("start script, beside the program alone", "run", Some(("true", "true")))
    }
}

/// A directory on a file system in memory, removed at the end.
struct InMemory(String);

impl InMemory {
    fn new() -> Outcome<Self> {
        let path = format!("/dev/shm/plinth-bench-{}", std::process::id());
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0).is_ok();
    }
}

/// Every file below `path`, with what a write would change.
fn snapshot(path: &Path) -> Outcome<BTreeMap<PathBuf, (u64, i64, i64)>> {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(at) = waiting.pop() {
        let about = fs::symlink_metadata(&at)?;
        if about.is_dir() {
            for entry in fs::read_dir(&at)? {
                waiting.push(entry?.path());
            }
        }
        seen.insert(at, (about.ino(), about.ctime(), about.ctime_nsec()));
    }
    Ok(seen)
}
