// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keys that belong to one program.

use super::{AL, CH, CR, FC, HOST, KT, Key, Kind, Q, SV, VF};

pub(super) const GRAPHICS: &[Key] = &[
    Key::new("enable", Kind::Bool, "false", Q | CH | CR | VF, "give the guest a display"),
    Key::new(
        "backend",
        Kind::Choice(&["gtk", "cocoa", "headless"]),
        "gtk, on macOS cocoa",
        Q,
        "where QEMU shows it",
    ),
    Key::new(
        "socket",
        Kind::Text,
        "hostName-gpu.sock",
        CH | CR,
        "the socket of the graphics process",
    ),
    Key::new(
        "vulkan",
        Kind::Choice(&["venus", "drm_native_context"]),
        "",
        Q,
        "how the guest reaches the graphics processor",
    ),
    Key::new("hostmem", Kind::Text, "256M", Q, "memory for graphics; ends in M or G"),
    Key::new("crosvmBinary", Kind::Text, "crosvm", CH | CR, "the program of the graphics process"),
];

const ROOT_PORTS: &[Key] = &[
    Key::new("id", Kind::AnyText, "", Q, "the identifier of the port").required(),
    Key::new("bus", Kind::Text, "", Q, "the bus it is plugged into"),
    Key::new("chassis", Kind::IntOr(&[]), "", Q, "the number of the chassis"),
    Key::new("slot", Kind::IntOr(&[]), "", Q, "the number of the slot"),
    Key::new("addr", Kind::Text, "", Q, "the address on the bus"),
];

pub(super) const QEMU: &[Key] = &[
    Key::new("machine", Kind::Text, "microvm; on aarch64 virt", Q, "the machine type"),
    Key::new("machineOpts", Kind::Texts, "", Q, "replaces the options of the machine type"),
    Key::new("extraArgs", Kind::Words, "", Q, "words at the end of the command line"),
    Key::new("serialConsole", Kind::Bool, "true", Q, "the guest's console on a serial port"),
    Key::new(
        "pcieRootPorts",
        Kind::Tables(ROOT_PORTS, &["id"]),
        "",
        Q,
        "PCI Express ports to plug devices into",
    ),
    Key::new("binary", Kind::Text, "qemu-system-ARCH", Q, "the program"),
    Key::new(
        "version",
        Kind::Version,
        "10.0",
        Q,
        "its version, where the command line depends on it",
    ),
    Key::new(
        "accel",
        Kind::Text,
        "kvm:tcg; on macOS hvf:tcg",
        Q,
        "how the processor is run; tcg forces emulation",
    ),
    Key::new(
        "bridgeHelper",
        Kind::Text,
        "/usr/lib/qemu/qemu-bridge-helper",
        Q,
        "the program that joins bridges",
    ),
    Key::new(
        "shutdown",
        Kind::Choice(&["ctrl-alt-del", "powerdown"]),
        "ctrl-alt-del",
        Q,
        "how the guest is asked to stop",
    ),
    Key::new(
        "sandbox",
        Kind::Bool,
        "true",
        Q,
        "let QEMU refuse itself system calls it does not need",
    ),
    Key::new(
        "aio",
        Kind::Choice(&["io_uring", "threads", "native"]),
        "io_uring; on macOS threads",
        Q,
        "how disks are read and written",
    ),
];

pub(super) const CLOUD_HYPERVISOR: &[Key] = &[
    Key::new("platformOEMStrings", Kind::Words, "", CH, "strings that the guest finds in SMBIOS"),
    Key::new(
        "extraArgs",
        Kind::Words,
        "",
        CH,
        "further words; --vsock, --platform and --cpus are merged with what is generated",
    ),
    Key::new("binary", Kind::Text, "cloud-hypervisor", CH, "the program"),
    Key::new(
        "version",
        Kind::Version,
        "53.0",
        CH,
        "its version, where the command line depends on it",
    ),
];

pub(super) const FIRECRACKER: &[Key] = &[
    Key::new("cpu", Kind::Any, "", FC, "a processor template, written to a file of its own"),
    Key::new(
        "driveIoEngine",
        Kind::Choice(&["Async", "Sync"]),
        "Async",
        FC,
        "how disks are read and written",
    ),
    Key::new("extraArgs", Kind::Words, "", FC, "words at the end of the command line"),
    Key::new("extraConfig", Kind::Any, "", FC, "merged over the generated configuration"),
    Key::new("binary", Kind::Text, "firecracker", FC, "the program"),
    Key::new(
        "version",
        Kind::Version,
        "1.16.1",
        FC,
        "its version, where the command line depends on it",
    ),
];

pub(super) const CROSVM: &[Key] = &[
    Key::new("extraArgs", Kind::Words, "", CR, "words at the end of the command line"),
    Key::new(
        "pivotRoot",
        Kind::Text,
        "",
        CR,
        "the directory of the sandbox; made before the start",
    ),
    Key::new("binary", Kind::Text, "crosvm", CR, "the program"),
];

pub(super) const KVMTOOL: &[Key] = &[
    Key::new("extraArgs", Kind::Words, "", KT, "words at the end of the command line"),
    Key::new("binary", Kind::Text, "lkvm", KT, "the program"),
];

pub(super) const STRATOVIRT: &[Key] = &[
    Key::new("extraArgs", Kind::Words, "", SV, "words at the end of the command line"),
    Key::new("binary", Kind::Text, "stratovirt", SV, "the program"),
];

pub(super) const ALIOTH: &[Key] = &[
    Key::new("extraArgs", Kind::Words, "", AL, "words at the end of the command line"),
    Key::new("binary", Kind::Text, "alioth", AL, "the program"),
    Key::new(
        "version",
        Kind::Version,
        "0.12.0",
        AL,
        "its version, where the command line depends on it",
    ),
];

const ROSETTA: &[Key] = &[
    Key::new("enable", Kind::Bool, "false", VF, "run programs for x86_64 on Apple silicon"),
    Key::new("install", Kind::Bool, "false", VF, "install Rosetta when it is not there"),
    Key::new(
        "ignoreIfMissing",
        Kind::Bool,
        "false",
        VF,
        "start without Rosetta when it is not there",
    ),
];

pub(super) const VFKIT: &[Key] = &[
    Key::new("extraArgs", Kind::Words, "", VF, "words before --restful-uri"),
    Key::new(
        "logLevel",
        Kind::Choice(&["debug", "info", "error"]),
        "info",
        VF,
        "how much vfkit tells",
    ),
    Key::new("binary", Kind::Text, "vfkit", VF, "the program"),
    Key::new("rosetta", Kind::Table(ROSETTA), "", VF, "translation of x86_64 programs"),
];

pub(super) const VIRTIOFSD: &[Key] = &[
    Key::new(
        "inodeFileHandles",
        Kind::Choice(&["never", "prefer", "mandatory", "off"]),
        "prefer",
        HOST,
        "how virtiofsd refers to files; off leaves its own default",
    ),
    Key::new(
        "threadPoolSize",
        Kind::IntOr(&["nproc", "`nproc`"]),
        "nproc",
        HOST,
        "threads of each virtiofsd; nproc for one a processor",
    ),
    Key::new(
        "group",
        Kind::AnyText,
        "kvm",
        HOST,
        "the group that may connect; empty for the caller's",
    ),
    Key::new("extraArgs", Kind::Words, "", HOST, "options of every virtiofsd"),
    Key::new("binary", Kind::Text, "virtiofsd", HOST, "the program"),
];
