// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What tinybpf needs, beside C with the same libbpf, libbpf-rs, aya and bpftool.
//!
//! The contenders take turns, [`ROUNDS`] of them, in a mount namespace of their own: this program
//! starts itself again inside it ([`inside`]), which reports every value as a line, and [`measure`]
//! makes the table of them. Each comparison has a row of the shortest run and one of the run in the
//! middle; where that is the time of a process on the clock, a third has the least processor time,
//! which is what is judged: other work on the machine adds to the others.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use checks::bars::Measure;
use checks::samples::Samples;
use plinth::testing::Place;

/// The word that makes this program the one inside the namespace.
pub(crate) const INSIDE: &str = "bpf-inside";
/// How often every contender has its turn.
const ROUNDS: usize = 25;
/// How often those have theirs that need seconds.
const SLOW_ROUNDS: usize = 5;
/// Turns of the adversarial producer.
const WAKES: u32 = 1_000_000;
/// Lines of one run of the stream.
const LINES: u32 = 200_000;
const BPFFS: &str = "/sys/fs/bpf";
const BPFTOOL: &str = "bpftool";
const C: &str = "C, libbpf 1.7";
const LIBBPF_RS: &str = "libbpf-rs 0.27.2";
const AYA: &str = "aya 0.13.1";

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Measures everything, guests included; `target` holds what was built.
pub(crate) fn measure(target: &Path) -> Outcome<Vec<Measure>> {
    let mut host = Command::new("unshare");
    host.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe()?);
    let found = Samples::of(host.arg(INSIDE).env("PATH", path()))?;
    let mut table = Table { found: &found, measures: Vec::new() };
    for (case, words) in
        [("plain", "no relocation"), ("core", "one relocation"), ("minimal", "minimal BTF")]
    {
        let name = format!("exec to attached, {words}");
        for (peer, who) in
            [("libbpf_rs", LIBBPF_RS), ("c", C), ("aya", AYA), ("bpftool", "bpftool, loads only")]
        {
            // Neither takes other type information than the kernel's.
            let is_full = case == "minimal" && ["aya", "bpftool"].contains(&peer);
            let theirs = format!("{}_{peer}", if is_full { "core" } else { case });
            table.processes(&name, (&format!("{case}_tinybpf"), &theirs, who))?;
        }
        let memory = format!("peak memory, {words}");
        let (ours, theirs) =
            (format!("{case}_tinybpf_rss_kib"), format!("{case}_libbpf_rs_rss_kib"));
        table.largest(&memory, "MiB", (&ours, &theirs, LIBBPF_RS), 1024.0)?;
    }
    table.processes("start of version", ("version_tinybpf", "version_bpftool", BPFTOOL))?;
    for (peer, who) in [("c", C), ("libbpf_rs", LIBBPF_RS)] {
        let theirs = format!("{peer}_consume_ns");
        table.turns("ring, an event", "ns", ("ours_consume_ns", &theirs, who), 1.0)?;
    }
    table.alone("ring to JSON, processor time of a line", "us", "lines_us")?;
    table.processes("dump of 100000 entries", ("dump_tinybpf", "dump_bpftool", BPFTOOL))?;
    for what in ["update", "lookup"] {
        let (ours, theirs) = (format!("ours_{what}_ns"), format!("c_{what}_ns"));
        table.turns(&format!("{what} of an entry"), "ns", (&ours, &theirs, C), 1.0)?;
    }
    table.alone("lost wake-ups of a million", "", "stalls")?;
    table.alone("second apply, 5 objects", "ms", "apply_ms")?;
    table.alone("programs that a second apply loads", "", "apply_loads")?;
    table.turns(
        "detach of 10 tracepoints",
        "ms",
        ("ours_parallel_ms", "ours_serial_ms", "one by one"),
        1.0,
    )?;
    let mut measures = table.measures;
    let program = program(target);
    let size = fs::metadata(&program).map_err(|error| format!("{}: {error}", program.display()))?;
    measures.push(single("static size of tinybpf", "bytes", u32::try_from(size.len())?.into(), 1));
    let guest = Samples::of_guest(&["run", "bpf-boot", "--kernel", "6.1"])?;
    let boot = guest.largest("bpf_boot_ms")? / 1e3;
    measures.push(single("guest: 10 programs from a boot manifest", "s", boot, 1));
    Ok(measures)
}

fn single(name: &str, unit: &'static str, ours: f64, times: usize) -> Measure {
    Measure { name: name.to_owned(), unit, ours, peer: None, times }
}

/// Rows of the table, from what was reported.
struct Table<'a> {
    found: &'a Samples,
    measures: Vec<Measure>,
}

impl Table<'_> {
    /// Three rows: by the clock the shortest and the median, and the least processor time.
    fn processes(
        &mut self,
        name: &str,
        (ours, theirs, who): (&str, &str, &'static str),
    ) -> Outcome {
        let keys = [format!("{ours}_wall_us"), format!("{theirs}_wall_us")];
        self.turns(name, "ms", (&keys[0], &keys[1], who), 1e3)?;
        let least = |key: &str| self.found.percentile(&format!("{key}_cpu_us"), 0);
        self.measures.push(Measure {
            name: format!("{name}, beside {who}, processor"),
            unit: "ms",
            ours: least(ours)? / 1e3,
            peer: Some((least(theirs)? / 1e3, who)),
            times: self.found.count(&keys[0]),
        });
        Ok(())
    }

    /// Two rows: the shortest and the median of ours and of the peer's.
    fn turns(
        &mut self,
        name: &str,
        unit: &'static str,
        (ours, theirs, who): (&str, &str, &'static str),
        scale: f64,
    ) -> Outcome {
        for (word, percent) in [("min", 0), ("p50", 50)] {
            let value = |key: &str| Ok::<f64, String>(self.found.percentile(key, percent)? / scale);
            let (mine, peer) = (value(ours)?, value(theirs)?);
            self.measures.push(Measure {
                name: format!("{name}, beside {who}, {word}"),
                unit,
                ours: mine,
                peer: Some((peer, who)),
                times: self.found.count(ours),
            });
        }
        Ok(())
    }

    fn largest(
        &mut self,
        name: &str,
        unit: &'static str,
        (ours, theirs, who): (&str, &str, &'static str),
        scale: f64,
    ) -> Outcome {
        let peer = Some((self.found.largest(theirs)? / scale, who));
        let (mine, times) = (self.found.largest(ours)? / scale, self.found.count(ours));
        self.measures.push(Measure { name: name.to_owned(), unit, ours: mine, peer, times });
        Ok(())
    }

    fn alone(&mut self, name: &str, unit: &'static str, key: &str) -> Outcome {
        let ours = self.found.median(key)?;
        self.measures.push(single(name, unit, ours, self.found.count(key)));
        Ok(())
    }
}

/// Where administrators' programs are as well.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn program(target: &Path) -> PathBuf {
    target.join(format!("{}-unknown-linux-gnu/release/tinybpf", std::env::consts::ARCH))
}

/// Everything that runs on this kernel; reports on standard output.
pub(crate) fn inside(target: &Path) -> ExitCode {
    match World::new(target).and_then(|world| world.all()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was built, and a place for files.
struct World {
    tinybpf: String,
    peers: PathBuf,
    objects: PathBuf,
    place: Place,
}

impl World {
    fn new(target: &Path) -> Outcome<Self> {
        for (kind, place) in [("bpf", BPFFS), ("tracefs", "/sys/kernel/tracing")] {
            run(Command::new("mount").args(["-t", kind, kind, place]))?;
        }
        Ok(Self {
            tinybpf: program(target).display().to_string(),
            peers: target.join("bench"),
            objects: target.join("bpf"),
            place: Place::new(),
        })
    }

    fn all(&self) -> Outcome {
        self.loads()?;
        self.versions()?;
        self.in_turns("consume", ROUNDS, &["ours", "peer", "peer-libbpf-rs"])?;
        self.in_turns("elements", ROUNDS, &["ours", "peer"])?;
        self.in_turns("detach", SLOW_ROUNDS, &["ours"])?;
        self.dumps()?;
        self.lines()?;
        self.applies()?;
        let stalls = run(Command::new(self.peer("ours"))
            .arg("wakes")
            .arg(self.object("bench"))
            .arg(WAKES.to_string()))?;
        report("", &stalls);
        Ok(())
    }

    fn object(&self, name: &str) -> String {
        self.objects.join(format!("{name}.bpf.o")).display().to_string()
    }

    fn peer(&self, name: &str) -> String {
        self.peers.join(name).display().to_string()
    }

    /// Runs a command under the stop-watch and reports its values with `key` before them; what it
    /// prints goes to the file `out` of the place directory.
    fn timed(&self, key: &str, words: &[&str]) -> Outcome {
        let mut command = Command::new(self.peer("timed"));
        report(key, &run(command.arg(self.place.join("out")).args(words))?);
        Ok(())
    }

    /// From the start of a process to a program attached and pinned.
    fn loads(&self) -> Outcome {
        let minimal = self.place.join("minimal.btf").display().to_string();
        let vmlinux = "/sys/kernel/btf/vmlinux";
        run(Command::new(BPFTOOL)
            .args(["gen", "min_core_btf", vmlinux, &minimal])
            .arg(self.object("core")))?;
        let pins = format!("{BPFFS}/bench");
        for _ in 0..ROUNDS {
            for (case, object) in [("plain", "raw_tp"), ("core", "core"), ("minimal", "core")] {
                let object = self.object(object);
                let btf: &[&str] = if case == "minimal" { &[&minimal] } else { &[] };
                let option: &[&str] = if case == "minimal" { &["--btf", &minimal] } else { &[] };
                let ours =
                    [option, &["load", &object, "--pin", &pins, "--attach", "auto"]].concat();
                let tinybpf = [&[self.tinybpf.as_str()], &ours[..]].concat();
                self.timed(&format!("{case}_tinybpf_"), &tinybpf)?;
                fs::remove_dir_all(&pins)?;
                for (key, peer) in
                    [("libbpf_rs", "peer-libbpf-rs"), ("c", "peer"), ("aya", "peer-aya")]
                {
                    if case == "minimal" && key == "aya" {
                        continue;
                    }
                    fs::create_dir(&pins)?;
                    let peer = self.peer(peer);
                    let words = [&[peer.as_str(), "load", &object, &pins], btf].concat();
                    self.timed(&format!("{case}_{key}_"), &words)?;
                    fs::remove_dir_all(&pins)?;
                }
                if case != "minimal" {
                    self.timed(
                        &format!("{case}_bpftool_"),
                        &[BPFTOOL, "prog", "load", &object, &pins],
                    )?;
                    fs::remove_file(&pins)?;
                }
            }
        }
        Ok(())
    }

    fn versions(&self) -> Outcome {
        for _ in 0..ROUNDS {
            self.timed("version_tinybpf_", &[&self.tinybpf, "version"])?;
            self.timed("version_bpftool_", &[BPFTOOL, "version"])?;
        }
        Ok(())
    }

    /// A command that the contenders share, once a round, in turns.
    fn in_turns(&self, command: &str, rounds: usize, contenders: &[&str]) -> Outcome {
        for _ in 0..rounds {
            for contender in contenders {
                let mut process = Command::new(self.peer(contender));
                let said = run(process.args([command, &self.object("bench"), "1"]))?;
                let key = match *contender {
                    "peer" => "c_",
                    "peer-libbpf-rs" => "libbpf_rs_",
                    _ => "ours_",
                };
                report(key, &said);
            }
        }
        Ok(())
    }

    /// A table of 100 000 entries as typed JSON, in a file.
    fn dumps(&self) -> Outcome {
        let pin = format!("{BPFFS}/table");
        let (ours, out) = (self.peer("ours"), self.place.join("out"));
        run(Command::new(&ours).args(["table", &self.object("bench"), &pin]))?;
        for _ in 0..ROUNDS {
            self.timed("dump_tinybpf_", &[&self.tinybpf, "-j", "map", "dump", "pin", &pin])?;
            run(Command::new(&ours).arg("json").arg(&out))?;
            self.timed("dump_bpftool_", &[BPFTOOL, "-j", "map", "dump", "pinned", &pin])?;
        }
        Ok(fs::remove_file(&pin)?)
    }

    /// What the stream of a ring costs, while another process fills it.
    fn lines(&self) -> Outcome {
        let pins = format!("{BPFFS}/ring");
        fs::create_dir(&pins)?;
        let (ring, fill) = (format!("{pins}/ring"), format!("{pins}/fill"));
        let ours = self.peer("ours");
        run(Command::new(&ours).args(["pin", &self.object("bench"), &pins]))?;
        let count = LINES.to_string();
        for _ in 0..SLOW_ROUNDS {
            let mut filler =
                Command::new(&ours).args(["fill", &fill]).stdin(Stdio::piped()).spawn()?;
            let mut reader = Command::new(self.peer("timed"));
            reader.arg(self.place.join("out"));
            reader.args([&self.tinybpf, "-j", "events", "pin", &ring, "--count", &count]);
            let said = run(&mut reader);
            drop(filler.stdin.take()); // its sign to end
            filler.wait()?;
            let mut samples = Samples::default();
            said?.lines().for_each(|line| samples.take(line));
            println!("@val lines_us {}", samples.median("cpu_us")? / f64::from(LINES));
        }
        run(Command::new(&ours).arg("json").arg(self.place.join("out")))?;
        Ok(fs::remove_dir_all(&pins)?)
    }

    /// A manifest that is applied already.
    fn applies(&self) -> Outcome {
        let manifest = self.place.join("boot.toml").display().to_string();
        let state = self.place.join("state.json").display().to_string();
        let pins = format!("{BPFFS}/boot");
        let mut text = format!("version = 1\npin_root = \"{pins}\"\nstate = \"{state}\"\n");
        for object in ["raw_tp", "core", "minimal", "exec", "maps"] {
            let path = self.object(object);
            text.push_str(&format!("[[object]]\nname = \"{object}\"\npath = \"{path}\"\n"));
            if let Some(program) = [
                ("raw_tp", "count"),
                ("core", "relocated"),
                ("minimal", "minimal"),
                ("exec", "trace_exec"),
            ]
            .iter()
            .find_map(|(name, program)| (*name == object).then_some(program))
            {
                text.push_str(&format!(
                    "[[object.attach]]\nprogram = \"{program}\"\nhook = \"auto\"\n"
                ));
            }
        }
        fs::write(&manifest, text)?;
        let ours = self.peer("ours");
        run(Command::new(&self.tinybpf).args(["apply", &manifest]))?;
        let programs = || run(Command::new(&ours).args(["programs", &pins]));
        let before = programs()?;
        let mut samples = Samples::default();
        for _ in 0..ROUNDS {
            let mut again = Command::new(self.peer("timed"));
            let out = self.place.join("out");
            let said = run(again.arg(out).args([&self.tinybpf, "apply", &manifest]))?;
            said.lines().for_each(|line| samples.take(line));
        }
        let after = programs()?;
        let new = after.lines().filter(|id| !before.lines().any(|old| old == *id)).count();
        println!("@val apply_ms {}", samples.median("wall_us")? / 1e3);
        println!("@val apply_loads {new}");
        if before.lines().count() < 5 {
            return Err(format!("the manifest gave fewer than 5 programs: {before}").into());
        }
        run(Command::new(&self.tinybpf).args(["remove", &manifest]))?;
        Ok(())
    }
}

/// Hands values on, with `key` before their names.
fn report(key: &str, said: &str) {
    for line in said.lines() {
        if let Some(value) = line.strip_prefix("@val ") {
            println!("@val {key}{value}");
        }
    }
}

/// Runs a command to its end and returns what it printed.
fn run(command: &mut Command) -> Outcome<String> {
    let shown = format!("{command:?}");
    let done =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{shown}: {error}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(format!("{shown}: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr)).into())
}
