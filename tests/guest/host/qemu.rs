// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Boots an image under QEMU and hears it out.
//!
//! Owns the description of the machine, which the planner of `microvm` makes a command line of, and
//! the emulator's end. The emulator is killed at the report's last line,
//! at its own exit or at the deadline, and always waited for. Should this process itself be killed,
//! the kernel kills the emulator (parent-death signal), a limit of processor time ends one that
//! spins, and the guest powers itself off after the scenario's time.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use microvm::pipeline;
use microvm::plan::{self, Plan, Word};
use plinth::time::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::json;

use crate::wire::Line;

/// Kept of a report; a guest that says more is cut off.
const REPORT_BYTES_MAX: usize = 8 << 20;
/// The same for all, besides what the planner gives every machine: a panic ends the emulator.
const KERNEL_PARAMETERS: [&str; 4] =
    ["console=ttyS0", "quiet", "mitigations=off", "printk.devkmsg=on"];

/// Two nanoseconds for each instruction, about what an idle host emulates; no waiting for timers.
const STEADY: &str = "shift=1,sleep=off";

/// An IOMMU and devices: two functions of one slot, which it cannot tell apart, one alone, a
/// bridge, and one that it does not see. The scenario knows their places.
const IOMMU: [&str; 8] = [
    "intel-iommu",
    "virtio-rng-pci,addr=8.0,multifunction=on",
    "virtio-rng-pci,addr=8.1",
    "virtio-rng-pci,addr=9.0",
    "i82801b11-bridge,addr=a.0",
    "pxb-pcie,id=aside,bus_nr=32,bypass_iommu=on",
    "pcie-pci-bridge,id=below,bus=aside",
    "virtio-rng-pci,bus=below,addr=1.0",
];

/// What to boot.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Compressed kernel.
    pub kernel: &'a Path,
    /// First root file system.
    pub image: &'a Path,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Image of an additional disk; writes to it are thrown away.
    pub disk: Option<&'a Path>,
    /// File for what the kernel prints.
    pub console: &'a Path,
    /// Time goes by the instructions of the guest, not by the clock of the host.
    pub steady: bool,
    /// With a unit that keeps devices to their own memory.
    pub iommu: bool,
    /// Longest life of the emulator.
    pub limit: Duration,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest said its last word, with this code.
    Said(u8),
    /// The emulator went away without it.
    Quit,
    /// The deadline came first.
    TimedOut,
    /// It said more than is kept of a report.
    TooMuchOutput,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Report {
    /// Every line of the report, in order.
    pub lines: Vec<Line>,
    /// What the kernel printed.
    pub console: String,
    /// The end.
    pub ending: Ending,
}

impl Machine<'_> {
    /// Runs the machine to its end; `hear` gets each line as it comes.
    ///
    /// # Errors
    /// When the emulator cannot be started or its output not be read.
    pub fn run(&self, hear: &mut dyn FnMut(&Line)) -> io::Result<Report> {
        let console = format!("file:{}", self.console.display());
        let mut child = self
            .command(&["-serial", &console, "-serial", "stdio"])?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(self.console.with_extension("qemu"))?)
            .spawn()?;
        let heard = self.listen(&mut child, hear);
        // Fails only for a child that is gone, which is what is wanted.
        drop(child.kill());
        child.wait()?;
        let (lines, ending) = heard?;
        let console = String::from_utf8_lossy(&fs::read(self.console)?).into_owned();
        let own = fs::read_to_string(self.console.with_extension("qemu")).unwrap_or_default();
        Ok(Report { lines, console: own + &console, ending })
    }

    /// Runs the machine with its console on this terminal.
    ///
    /// # Errors
    /// When the emulator cannot be started.
    pub fn run_on_terminal(&self) -> io::Result<()> {
        self.command(&["-serial", "mon:stdio", "-serial", "null"])?.spawn()?.wait().map(drop)
    }

    fn command(&self, serial: &[&str]) -> io::Result<Command> {
        let plan = self.plan(serial)?;
        let mut command = Command::new("setpriv");
        let seconds = self.limit.as_secs() + 5;
        command
            .args(["--pdeathsig", "KILL", "prlimit", &format!("--cpu={seconds}")])
            .arg(&plan.program)
            .args(plan.words.iter().map(Word::shown));
        Ok(command)
    }

    /// What our own planner makes of the machine, which is described as a user would do it.
    fn plan(&self, serial: &[&str]) -> io::Result<Plan> {
        let mut extra: Vec<String> = serial.iter().map(|&word| word.to_owned()).collect();
        if self.steady {
            extra.extend(["-icount", STEADY, "-rtc", "clock=vm"].map(str::to_owned));
        }
        let mut parameters = KERNEL_PARAMETERS.to_vec();
        if self.iommu {
            extra.extend(IOMMU.iter().flat_map(|it| ["-device", it]).map(str::to_owned));
            parameters.push("intel_iommu=on");
        }
        if let Some(disk) = self.disk {
            // Not a volume: what is written to it must not stay.
            let drive = format!("file={},if=virtio,format=raw,snapshot=on", disk.display());
            extra.extend(["-drive".to_owned(), drive]);
        }
        let description = json!({
            "hostName": "guest",
            "kernel": self.kernel,
            "initrdPath": self.image,
            "mem": self.memory_mib,
            "cpu": "qemu64,+rdrand",
            "kernelParams": parameters,
            "console": "none",
            "socket": false,
            "machineId": false,
            "optimize": { "enable": false },
            "qemu": {
                "machine": if self.iommu { "q35" } else { "pc" },
                "accel": "tcg",
                "serialConsole": false,
                "extraArgs": extra,
            },
        });
        let read = |_: &str| Ok(description.to_string());
        let loaded =
            pipeline::load("/guest.json", "guest.json", &read, &pipeline::Options::default());
        match &loaded.machines[..] {
            [machine] if !loaded.report.has_errors() => {
                Ok(plan::plan(&machine.vm, &plan::Options::default()))
            }
            _ => Err(io::Error::other(loaded.report.text(&loaded.files))),
        }
    }

    fn listen(
        &self,
        child: &mut Child,
        hear: &mut dyn FnMut(&Line),
    ) -> io::Result<(Vec<Line>, Ending)> {
        let mut pipe = child.stdout.take().ok_or_else(|| io::Error::other("no pipe from qemu"))?;
        let deadline = Time::monotonic() + self.limit;
        let (mut lines, mut pending, mut total) = (Vec::new(), Vec::new(), 0);
        let mut piece = [0; 4096];
        loop {
            let left = Time::monotonic().until(deadline);
            if total > REPORT_BYTES_MAX {
                return Ok((lines, Ending::TooMuchOutput));
            }
            if left.is_zero() {
                return Ok((lines, Ending::TimedOut));
            }
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&left)) {
                Ok(0) | Err(Errno::INTR) => continue,
                other => other?,
            };
            let got = pipe.read(&mut piece)?;
            if got == 0 {
                return Ok((lines, Ending::Quit));
            }
            total += got;
            pending.extend_from_slice(&piece[..got]);
            while let Some(end) = pending.iter().position(|b| *b == b'\n') {
                let text: Vec<u8> = pending.drain(..=end).collect();
                let line = Line::parse(&String::from_utf8_lossy(&text));
                hear(&line);
                if let Line::End(code) = line {
                    return Ok((lines, Ending::Said(code)));
                }
                lines.push(line);
            }
        }
    }
}
