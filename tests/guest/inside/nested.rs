// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Process 1 of a machine inside the machine.
//!
//! It tells the host's service manager that it is up, answers on the port of ssh and on its
//! console, and goes when ctrl-alt-del is pressed, having said so. All in one process: an emulator
//! inside of an emulator is slow at whatever it does for the first time.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Duration;

use plinth::sys::signal::{Signal, Signals};
use plinth::sys::vsock;
use plinth::testing::Patient;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

use super::trouble::Naming;
use super::{Outcome, Trouble, boot};

/// The kernel's parameter by which process 1 knows where it is.
pub const NESTED: &str = "--nested";
/// What it says on its console when it has told the host.
pub const UP: &str = "nested: up";
/// What it says last.
pub const PRESSED: &str = "nested: ctrl-alt-del was pressed";
/// The port on which it answers, that of ssh.
pub const PORT: u32 = 22;

/// For the other side to close.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the host says how to reach its service manager.
const CREDENTIAL: &str =
    "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials/vmm.notify_socket/raw";

/// Lives until ctrl-alt-del.
pub fn main() -> ExitCode {
    if let Err(trouble) = live() {
        // The first output of a process 1 is the console.
        println!("nested: {trouble}");
    }
    // Without a right to do so it ends, and the kernel panics: the machine goes either way.
    let _ = reboot(RebootCommand::Restart);
    ExitCode::FAILURE
}

fn live() -> Outcome {
    for (kind, place) in [("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount(kind, place, kind, MountFlags::empty(), None).named(place)?;
    }
    let mut signals = Signals::new(&[Signal::INT])?;
    // From now on the keys are a signal to process 1.
    reboot(RebootCommand::CadOff).named("ctrl-alt-del")?;
    boot::modules()?;
    let mut console = File::options().read(true).write(true).open("/dev/console")?;
    let listener = vsock::listen(PORT, 8).named("the port of ssh")?;
    tell("STATUS=the guest is up\nREADY=1\n")?;
    writeln!(console, "{UP}")?;
    loop {
        let mut fds = [signals.fd(), console.as_fd(), listener.as_fd()]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        poll(&mut fds, None)?;
        let [keys, line, caller] = fds.map(|fd| !fd.revents().is_empty());
        if keys && signals.next().is_some() {
            writeln!(console, "{PRESSED}")?;
            return Ok(rustix::termios::tcdrain(&console)?);
        }
        if line {
            let mut said = [0; 256];
            let count = console.read(&mut said)?;
            let said = String::from_utf8_lossy(said.get(..count).unwrap_or_default()).into_owned();
            write!(console, "nested: heard {said}")?;
        }
        if caller {
            let mut caller = File::from(rustix::net::accept(&listener)?);
            let mut said = String::new();
            // Who goes too early, or does not finish, is none of our business.
            if Patient::within(&caller, LIMIT).read_to_string(&mut said).is_ok() {
                drop(write!(caller, "nested: heard {said}"));
            }
        }
    }
}

/// Says something to the host's service manager, as systemd in a guest does: it waits until the
/// other side has closed.
fn tell(message: &str) -> Outcome {
    let address = fs::read_to_string(CREDENTIAL).named("the credential")?;
    let port = address.trim().strip_prefix("vsock-stream:2:").and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| Trouble::new(format!("no address: {address:?}")))?;
    let mut relay = File::from(vsock::connect(vsock::HOST, port).named(address.trim())?);
    relay.write_all(message.as_bytes())?;
    rustix::net::shutdown(&relay, rustix::net::Shutdown::Write)?;
    Patient::within(&relay, LIMIT).read_to_end(&mut Vec::new()).named("the relay")?;
    Ok(())
}
