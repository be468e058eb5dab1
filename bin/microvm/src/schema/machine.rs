// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keys of disks, networks, shares and devices.

use super::{AL, ALL, CH, CR, FC, HOST, KT, Key, Kind, Q, RANGE, SV, VF};

const END: &[Key] = &[
    Key::new("address", Kind::AnyText, "", Q, "an IPv4 address; empty for any"),
    Key::new("port", Kind::Int(1, 65535, "MV132"), "", Q, "1 to 65535").required(),
];

pub(super) const FORWARDS: &[Key] = &[
    Key::new("from", Kind::Choice(&["host", "guest"]), "host", Q, "who opens the connection"),
    Key::new(
        "proto",
        Kind::Choice(&["tcp", "udp"]),
        "tcp",
        Q,
        "the protocol; guest with udp is refused by QEMU",
    ),
    Key::new("host", Kind::Table(END), "", Q, "the end on the host").required(),
    Key::new("guest", Kind::Table(END), "", Q, "the end in the guest").required(),
];

pub(super) const VOLUMES: &[Key] = &[
    Key::new("image", Kind::Text, "", ALL, "the file, from the machine's working directory")
        .required(),
    Key::new(
        "serial",
        Kind::AnyText,
        "",
        Q | CH | CR | SV,
        "the serial number that the guest sees, at most 20 bytes",
    ),
    Key::new("direct", Kind::Bool, "false", Q | CH | CR | KT | SV, "pass the host's page cache by"),
    Key::new("readOnly", Kind::Bool, "false", ALL, "the guest cannot write"),
    Key::new("label", Kind::Text, "", HOST, "the label of the file system that autoCreate makes"),
    Key::new(
        "mountPoint",
        Kind::Text,
        "",
        HOST,
        "where the guest mounts it; for `microvm show --fstab`",
    ),
    Key::new("size", Kind::Size, "", HOST, "MiB; needed by autoCreate"),
    Key::new("autoCreate", Kind::Bool, "true", HOST, "make the image when it is not there"),
    Key::new("mkfsExtraArgs", Kind::Words, "", HOST, "options of mkfs"),
    Key::new(
        "fsType",
        Kind::Text,
        "ext4",
        HOST,
        "autoCreate knows ext2, ext3, ext4, xfs, btrfs and vfat",
    ),
    Key::new(
        "imageType",
        Kind::Choice(&["raw", "qcow2", "vhd", "vhdx"]),
        "raw",
        CH,
        "the format of the image",
    ),
    Key::new("device", Kind::Bool, "false", HOST, "the image is a block device, and never created"),
];

const MACVTAP: &[Key] = &[
    Key::new("link", Kind::AnyText, "", HOST, "the interface of the host that it sits on"),
    Key::new(
        "mode",
        Kind::Choice(&["private", "vepa", "bridge", "passthru", "source"]),
        "",
        HOST,
        "the mode of macvtap",
    ),
];

const TAP: &[Key] = &[
    Key::new(
        "vhost",
        Kind::Bool,
        "false",
        Q,
        "let the kernel move the packets, through /dev/vhost-net",
    ),
    Key::new("bridge", Kind::AnyText, "", HOST, "the bridge that tap-up attaches it to"),
];

pub(super) const INTERFACES: &[Key] = &[
    Key::new(
        "type",
        Kind::Choice(&["user", "tap", "macvtap", "bridge"]),
        "",
        ALL,
        "how it reaches the network",
    )
    .required(),
    Key::new(
        "id",
        Kind::AnyText,
        "",
        ALL & !VF,
        "the name of the interface on the host, at most 15 bytes",
    )
    .required(),
    Key::new(
        "mac",
        Kind::AnyText,
        "",
        ALL,
        "the guest's address; \"auto\" makes one of hostName and id",
    )
    .required(),
    Key::new("bridge", Kind::AnyText, "", Q, "the bridge, for type bridge"),
    Key::new("macvtap", Kind::Table(MACVTAP), "", HOST, "for type macvtap"),
    Key::new("tap", Kind::Table(TAP), "", Q | HOST, "for type tap"),
    Key::new(
        "altname",
        Kind::Words,
        "",
        HOST,
        "further names of the interface, which may be longer",
    ),
    Key::new(
        "mtu",
        Kind::Int(68, 65535, RANGE),
        "",
        Q | CH | FC | AL | HOST,
        "the largest packet in bytes",
    ),
];

pub(super) const SHARES: &[Key] = &[
    Key::new(
        "tag",
        Kind::AnyText,
        "",
        Q | CH | CR | KT | SV | AL | VF,
        "the name by which the guest mounts it",
    )
    .required(),
    Key::new(
        "source",
        Kind::AnyText,
        "",
        Q | CH | CR | KT | SV | AL | VF,
        "the directory, from the machine's working directory",
    )
    .required(),
    Key::new(
        "proto",
        Kind::Choice(&["9p", "virtiofs"]),
        "9p",
        Q | CH | CR | KT | SV | AL | VF,
        "the protocol",
    ),
    Key::new(
        "socket",
        Kind::AnyText,
        "virtiofs: hostName-virtiofs-tag.sock",
        Q | CH | CR | SV | AL | HOST,
        "the socket between virtiofsd and the hypervisor",
    ),
    Key::new(
        "securityModel",
        Kind::Choice(&["passthrough", "none", "mapped", "mapped-file"]),
        "none",
        Q,
        "how 9p keeps owners and modes",
    ),
    Key::new(
        "mountPoint",
        Kind::Text,
        "",
        HOST,
        "where the guest mounts it; for `microvm show --fstab`",
    ),
    Key::new("readOnly", Kind::Bool, "false", Q | CH | CR | SV | AL, "the guest cannot write"),
    Key::new(
        "cache",
        Kind::Choice(&["auto", "always", "metadata", "never"]),
        "auto",
        HOST,
        "what virtiofsd lets the guest cache",
    ),
    Key::new("posixAcl", Kind::Bool, "true", HOST, "virtiofsd keeps access control lists"),
    Key::new("extraArgs", Kind::Words, "", HOST, "options of this share's virtiofsd"),
];

const FOR_QEMU: &[Key] = &[
    Key::new("id", Kind::AnyText, "", Q, "the identifier of the device"),
    Key::new("bus", Kind::Text, "", Q, "the bus it is plugged into"),
    Key::new("deviceExtraArgs", Kind::Text, "", Q, "properties that are added as they are"),
];

pub(super) const DEVICES: &[Key] = &[
    Key::new("bus", Kind::Choice(&["pci", "usb"]), "", Q | CH | CR | KT, "what kind of device")
        .required(),
    Key::new(
        "path",
        Kind::AnyText,
        "",
        Q | CH | CR | KT,
        "pci: 0000:03:00.0; usb: properties of QEMU's usb-host",
    )
    .required(),
    Key::new(
        "allowGroup",
        Kind::Bool,
        "false",
        HOST,
        "accept other devices in the IOMMU group that stay with the host",
    ),
    Key::new("qemu", Kind::Table(FOR_QEMU), "", Q, "for qemu alone"),
];
