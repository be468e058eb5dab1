// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The units of a host, and what each machine adds to its own.
//!
//! Pure: settings and the path of this program in, texts out. The names are those that other tools
//! for such packages use, so that either side's units run either side's packages.
//!
//! Everything that runs as root is taken from links that root alone can change: the machine's
//! directory is sticky, and the unit that sets `booted` runs as root for that reason.

mod drop_in;
mod sandbox;

use super::change::{BOOTED, CURRENT};
use super::settings::Settings;

pub use drop_in::drop_in;

/// Where the drop-in of a machine is, below the directory of units.
#[must_use]
pub fn drop_in_path(unit: &str) -> String {
    format!("{UNITS}/{unit}.d/10-microvm.conf")
}

/// The variables by which the scripts of a package know whose machine it is.
pub const USER_VARIABLE: &str = "MICROVM_USER";
/// The same for the group.
pub const GROUP_VARIABLE: &str = "MICROVM_GROUP";
/// The directory of units.
pub const UNITS: &str = "/etc/systemd/system";
/// The generator of the links that start machines at boot.
pub const GENERATOR: &str = "/etc/systemd/system-generators/microvm-generator";

/// What a host gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A file.
    File(String, String),
    /// A symbolic link, and where it leads.
    Link(String, String),
}

impl Piece {
    /// Where it goes.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::File(path, _) | Self::Link(path, _) => path,
        }
    }
}

/// Everything that `host install` puts in place; `program` is the absolute path of this program.
#[must_use]
pub fn pieces(settings: &Settings, program: &str) -> Vec<Piece> {
    let unit = |name: &str, text: String| Piece::File(format!("{UNITS}/{name}"), text);
    let file = |path: &str, text: String| Piece::File(path.to_owned(), text);
    vec![
        unit("microvms.target", TARGET.to_owned()),
        unit("microvm@.service", machine(settings, program)),
        unit("microvm-set-booted@.service", set_booted(settings, program)),
        unit("microvm-tap-interfaces@.service", interfaces(settings, "tap")),
        unit("microvm-macvtap-interfaces@.service", interfaces(settings, "macvtap")),
        unit("microvm-pci-devices@.service", pci(settings)),
        unit("microvm-virtiofsd@.service", virtiofsd(settings)),
        unit("microvms-autostart.service", autostart(settings, program)),
        Piece::Link(
            format!("{UNITS}/multi-user.target.wants/microvms.target"),
            format!("{UNITS}/microvms.target"),
        ),
        Piece::Link(
            format!("{UNITS}/microvms.target.wants/microvms-autostart.service"),
            format!("{UNITS}/microvms-autostart.service"),
        ),
        Piece::Link(GENERATOR.to_owned(), program.to_owned()),
        file("/etc/modules-load.d/microvm.conf", "tap\nvhost_net\n".to_owned()),
        file("/etc/sysusers.d/microvm.conf", accounts(settings)),
        file("/etc/security/limits.d/microvm.conf", limits(settings)),
    ]
}

const TARGET: &str = "\
[Unit]
Description=MicroVMs that start at boot
Documentation=man:microvm-host(7)

[Install]
WantedBy=multi-user.target
";

/// Root runs a package's scripts only behind the unit that has looked whose the link to them is.
const CHECKED: &str = "Requires=microvm-set-booted@%i.service\n";

/// The head of a unit that goes with each machine.
fn head(what: &str, more: &str) -> String {
    format!(
        "[Unit]\nDescription={what} of MicroVM '%i'\nDocumentation=man:microvm-host(7)\n\
         Before=microvm@%i.service\nPartOf=microvm@%i.service\n{more}"
    )
}

fn machine(settings: &Settings, program: &str) -> String {
    let Settings { state_dir: state, user, group, startup_timeout, .. } = settings;
    let helpers =
        ["set-booted", "tap-interfaces", "macvtap-interfaces", "pci-devices", "virtiofsd"]
            .map(|helper| format!("microvm-{helper}@%i.service"))
            .join(" ");
    format!(
        "[Unit]\n\
         Description=MicroVM '%i'\n\
         Documentation=man:microvm-host(7)\n\
         Requires={helpers}\n\
         After=network.target systemd-modules-load.service {helpers}\n\
         ConditionPathExists={state}/%i/{CURRENT}/bin/microvm-run\n\
         # Five seconds between two starts are enough; only a person stops a machine for good.\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=simple\n\
         NotifyAccess=all\n\
         WorkingDirectory={state}/%i\n\
         ExecStart={state}/%i/{CURRENT}/bin/microvm-run\n\
         ExecStartPost=+-{program} internal hook %i register $MAINPID\n\
         ExecStop={program} internal stop %i\n\
         ExecStopPost=+-{program} internal hook %i unregister\n\
         TimeoutSec={startup_timeout}\n\
         Restart=always\n\
         RestartSec=5s\n\
         User={user}\n\
         Group={group}\n\
         SyslogIdentifier=microvm@%i\n\
         LimitNOFILE=1048576\n\
         LimitMEMLOCK=infinity\n"
    )
}

fn set_booted(settings: &Settings, program: &str) -> String {
    let state = &settings.state_dir;
    head(
        "The package that runs, as a link,",
        &format!(
            "ConditionPathExists={state}/%i/{CURRENT}/bin/microvm-run\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             RemainAfterExit=yes\n\
             SyslogIdentifier=microvm@%i\n\
             ExecStart={program} internal set-booted %i\n\
             ExecStop={program} internal unset-booted %i\n"
        ),
    )
}

/// Whom the scripts give devices to.
fn owners(settings: &Settings) -> String {
    let Settings { user, group, .. } = settings;
    format!("Environment={USER_VARIABLE}={user} {GROUP_VARIABLE}={group}\n")
}

fn interfaces(settings: &Settings, kind: &str) -> String {
    let (state, owners) = (&settings.state_dir, owners(settings));
    head(
        &format!("The {kind} interfaces"),
        &format!(
            "{CHECKED}After=network.target microvm-set-booted@%i.service\n\
             ConditionPathExists={state}/%i/{CURRENT}/bin/{kind}-up\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             RemainAfterExit=yes\n\
             SyslogIdentifier=microvm-{kind}-interfaces@%i\n\
             {owners}\
             ExecStart={state}/%i/{CURRENT}/bin/{kind}-up\n\
             ExecStop={state}/%i/{BOOTED}/bin/{kind}-down\n"
        ),
    )
}

fn pci(settings: &Settings) -> String {
    let (state, owners) = (&settings.state_dir, owners(settings));
    head(
        "The PCI devices",
        &format!(
            "{CHECKED}After=microvm-set-booted@%i.service\n\
             ConditionPathExists={state}/%i/{CURRENT}/bin/pci-setup\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             RemainAfterExit=yes\n\
             SyslogIdentifier=microvm-pci-devices@%i\n\
             {owners}\
             ExecStart={state}/%i/{CURRENT}/bin/pci-setup\n"
        ),
    )
}

fn virtiofsd(settings: &Settings) -> String {
    let state = &settings.state_dir;
    head(
        "The virtiofs daemons",
        &format!(
            "{CHECKED}After=local-fs.target microvm-set-booted@%i.service\n\
             ConditionPathExists={state}/%i/{CURRENT}/bin/virtiofsd-run\n\
             StartLimitIntervalSec=0\n\
             \n\
             [Service]\n\
             Type=notify\n\
             NotifyAccess=all\n\
             WorkingDirectory={state}/%i\n\
             SyslogIdentifier=microvm-virtiofsd@%i\n\
             ExecStart={state}/%i/{CURRENT}/bin/virtiofsd-run\n\
             Restart=always\n\
             RestartSec=5s\n\
             LimitNOFILE=1048576\n\
             PrivateTmp=yes\n\
             KillMode=mixed\n"
        ),
    )
}

/// Starts what the generator could not see yet: it runs before file systems are mounted.
fn autostart(settings: &Settings, program: &str) -> String {
    let state = &settings.state_dir;
    format!(
        "[Unit]\n\
         Description=MicroVMs that start at boot, behind the file system of their state\n\
         Documentation=man:microvm-host(7)\n\
         RequiresMountsFor={state}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={program} start --autostart --no-block\n\
         \n\
         [Install]\n\
         WantedBy=microvms.target\n"
    )
}

fn accounts(settings: &Settings) -> String {
    let Settings { user, group, state_dir, .. } = settings;
    format!("g {group} -\nu {user} -:{group} \"MicroVM hypervisors\" {state_dir}\n")
}

fn limits(settings: &Settings) -> String {
    let user = &settings.user;
    format!("{user} soft memlock unlimited\n{user} hard memlock unlimited\n")
}

#[cfg(test)]
mod tests;
