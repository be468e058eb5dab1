// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a host has to know of a package: what it needs, and what it can do.
//!
//! Pure. The small files of `share/microvm` are the contract with other tools' packages, so that
//! what they say is read there; only what has no such file is looked up in `runner.json`.

use serde_json::Value;

use super::look::from_tree;
use super::seen::Id;
use crate::package::{RUNNER, Tree};
use crate::validate::kernel_cid;

/// The link of other tools' packages to the system in them.
pub const SYSTEM: &str = "share/microvm/system";

/// A package, to a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The hypervisor's name.
    pub hypervisor: String,
    /// Whether the machine says when it is ready.
    pub notify: bool,
    /// Whether it is registered with machined.
    pub registered: bool,
    /// Whether `bin/microvm-shutdown` is there.
    pub shutdown: bool,
    /// Whether it has tap interfaces.
    pub tap: bool,
    /// Whether one of them goes through the kernel's own network back end.
    pub vhost_net: bool,
    /// Whether it has macvtap interfaces.
    pub macvtap: bool,
    /// Whether it has interfaces that a set-user-ID helper attaches to a bridge.
    pub bridge: bool,
    /// Whether it has PCI devices of the host.
    pub pci: bool,
    /// Whether it has USB devices of the host.
    pub usb: bool,
    /// Whether it shows graphics.
    pub graphics: bool,
    /// Its address among the guests.
    pub cid: Option<u32>,
    /// The socket through which it is reached, where that is not the usual one.
    pub mux: Option<String>,
    /// Its memory in MiB.
    pub memory: Option<u64>,
    /// Seconds for a stop.
    pub shutdown_timeout: u64,
    /// `cpuWeight`, `memoryMax`, `allowedCPUs`, as they are.
    pub resources: [Option<String>; 3],
    /// Directories outside of its own that it writes to.
    pub writes: Vec<String>,
    /// Directories that daemons serve to it, as the description names them.
    pub served: Vec<String>,
    /// Whether it is to start at boot.
    pub autostart: bool,
    /// Whether it is to be restarted when it runs and was changed.
    pub restart_if_changed: bool,
    /// Block devices that it uses.
    pub devices: Vec<String>,
    /// Where its kernel, initial file system and root image are.
    pub files: [Option<String>; 4],
    /// All absolute paths of this host that the hypervisor may be told, also inside of its
    /// arguments.
    pub paths: Vec<String>,
}

/// Seconds for a stop, where nothing else is said.
pub const SHUTDOWN_TIMEOUT: u64 = 90;

/// The keys of [`Profile::files`].
pub const FILE_KEYS: [&str; 4] = ["kernel", "vmlinux", "initrdPath", "storeDisk"];

impl Profile {
    /// The profile of a package in memory.
    #[must_use]
    pub fn of_tree(tree: &Tree) -> Self {
        Self::of(&from_tree(tree))
    }

    /// The profile of the package whose files `read` gives.
    #[must_use]
    pub fn of(read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Self {
        let text = |path: &str| {
            let bytes = read(&format!("share/microvm/{path}"))?;
            Some(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        let is_listed = |path: &str| text(path).is_some_and(|text| !text.is_empty());
        let has = |path: &str| read(path).is_some();
        let runner: Value = read(RUNNER)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or(Value::Null);
        let config = runner.get("config").unwrap_or(&Value::Null);
        let said = |path: &str| runner.pointer(path).and_then(Value::as_bool) == Some(true);
        let number = |path: &str| config.pointer(path).and_then(Value::as_u64);
        let string = |path: &str| config.pointer(path).and_then(scalar);
        let interfaces = list(config, "interfaces");
        Self {
            hypervisor: text("hypervisor").unwrap_or_default(),
            notify: said("/capabilities/supportsNotifySocket"),
            registered: has("bin/microvm-register"),
            shutdown: has("bin/microvm-shutdown"),
            tap: is_listed("tap-interfaces") || has("bin/tap-up"),
            vhost_net: interfaces.iter().any(|it| flag(it, "/tap/vhost")),
            macvtap: is_listed("macvtap-interfaces") || has("bin/macvtap-up"),
            bridge: interfaces.iter().any(|it| field(it, "type") == Some("bridge")),
            pci: is_listed("pci-devices"),
            usb: is_listed("usb-devices"),
            graphics: flag(config, "/graphics/enable"),
            cid: text("vsock-cid").and_then(|text| text.parse().ok()),
            mux: runner.pointer("/vsockSocket").and_then(scalar),
            memory: number("/mem"),
            shutdown_timeout: number("/shutdownTimeout").unwrap_or(SHUTDOWN_TIMEOUT),
            resources: ["cpuWeight", "memoryMax", "allowedCPUs"]
                .map(|key| string(&format!("/resources/{key}"))),
            writes: writes(config),
            served: list(config, "shares")
                .iter()
                .filter(|it| field(it, "proto") == Some("virtiofs"))
                .filter_map(|it| field(it, "source").map(str::to_owned))
                .collect(),
            autostart: config.get("autostart").and_then(Value::as_bool) != Some(false),
            restart_if_changed: flag(config, "/restartIfChanged"),
            devices: devices(config),
            files: FILE_KEYS.map(|key| string(&format!("/{key}"))),
            paths: paths(config),
        }
    }

    /// The address that it takes in the kernel of the host.
    #[must_use]
    pub fn kernel_cid(&self) -> Option<u32> {
        kernel_cid(&self.hypervisor, self.cid)
    }

    /// Whether guests are reached through the kernel's vsock, not through a socket of the
    /// hypervisor.
    #[must_use]
    pub fn is_kernel_vsock(&self) -> bool {
        self.cid.is_some() && !self.is_mux_vsock()
    }

    /// Whether the hypervisor has a Unix socket in the place of vsock.
    #[must_use]
    pub fn is_mux_vsock(&self) -> bool {
        matches!(self.hypervisor.as_str(), "cloud-hypervisor" | "firecracker")
    }
}

/// The script that every package has.
const RUN: &str = "bin/microvm-run";

/// The identity of the package whose files `read` gives; `link` gives the targets of links, `name`
/// is that of its directory.
///
/// Another tool's package leads to the system in it, unless that is in an image: then the name of
/// its directory, which has a hash in it, is all that tells it from others.
#[must_use]
pub fn identity(
    name: &str,
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
    link: &dyn Fn(&str) -> Option<String>,
) -> Option<Id> {
    if let Some(bytes) = read(RUNNER) {
        let runner: Value = serde_json::from_slice(&bytes).ok()?;
        return Some(Id::new(runner.get("contentHash")?.as_str()?));
    }
    match link(SYSTEM) {
        Some(target) => Some(Id::new(target.rsplit('/').next().unwrap_or(&target))),
        None => read(RUN).map(|_| Id::new(name)),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn list<'a>(config: &'a Value, key: &str) -> &'a [Value] {
    config.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn flag(value: &Value, path: &str) -> bool {
    value.pointer(path).and_then(Value::as_bool) == Some(true)
}

fn field<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// The directory of an absolute path.
fn directory(path: &str) -> Option<String> {
    let (directory, _) = path.rsplit_once('/')?;
    (path.starts_with('/') && !directory.is_empty()).then(|| directory.to_owned())
}

/// Directories of absolute images and sockets; sources of shares that the hypervisor serves itself.
fn writes(config: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for volume in list(config, "volumes").iter().filter(|it| !flag(it, "/device")) {
        found.extend(field(volume, "image").and_then(directory));
    }
    for share in list(config, "shares") {
        if field(share, "proto").is_none_or(|proto| proto == "9p") {
            let source = field(share, "source").filter(|source| source.starts_with('/'));
            found.extend(source.filter(|_| !flag(share, "/readOnly")).map(str::to_owned));
        } else {
            found.extend(field(share, "socket").and_then(directory));
        }
    }
    found.extend(field(config, "socket").and_then(directory));
    found.sort_unstable();
    found.dedup();
    found
}

/// Keys whose paths are the guest's, or nobody's.
const OF_THE_GUEST: &[&str] = &["description", "kernelParams", "mountPoint"];

/// Every absolute path in a description that is one of this host, and not only served by a daemon.
fn paths(config: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(config, &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

fn walk(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            // Arguments have paths behind keys: "file=/srv/a,format=raw", "uid:0:/srv/a".
            let words = text.split(|c: char| c.is_whitespace() || "=,:;'\"".contains(c));
            found.extend(words.filter(|word| word.starts_with('/')).map(str::to_owned));
        }
        Value::Array(list) => list.iter().for_each(|item| walk(item, found)),
        Value::Object(members) => {
            let is_served = field(value, "proto") == Some("virtiofs");
            let is_ours =
                |key: &str| !(OF_THE_GUEST.contains(&key) || is_served && key == "source");
            for (_, member) in members.iter().filter(|(key, _)| is_ours(key)) {
                walk(member, found);
            }
        }
        _ => {}
    }
}

fn devices(config: &Value) -> Vec<String> {
    let volumes = list(config, "volumes").iter();
    volumes
        .filter(|it| {
            flag(it, "/device") || field(it, "image").is_some_and(|path| path.starts_with("/dev/"))
        })
        .filter_map(|it| field(it, "image").map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(files: &[(&str, &str)]) -> Profile {
        let files: Vec<(String, Vec<u8>)> =
            files.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect();
        Profile::of(&|path| files.iter().find(|(k, _)| k == path).map(|(_, v)| v.clone()))
    }

    #[test]
    fn another_tools_package_is_known_by_its_small_files() {
        let profile = profile(&[
            ("share/microvm/hypervisor", "cloud-hypervisor\n"),
            ("share/microvm/tap-interfaces", "vm-a\n"),
            ("share/microvm/vsock-cid", "10"),
            ("bin/microvm-shutdown", "#!"),
        ]);
        assert_eq!(profile.hypervisor, "cloud-hypervisor");
        assert!(profile.tap && profile.shutdown && profile.is_mux_vsock());
        assert!(!profile.notify && !profile.macvtap && !profile.is_kernel_vsock());
        assert_eq!((profile.cid, profile.shutdown_timeout), (Some(10), SHUTDOWN_TIMEOUT));
    }

    #[test]
    fn our_own_says_more() {
        let runner = r#"{"capabilities":{"supportsNotifySocket":true},"config":{
            "mem":512,"shutdownTimeout":20,"resources":{"cpuWeight":50,"memoryMax":"1G"},
            "kernel":"/srv/k","interfaces":[{"type":"tap","tap":{"vhost":true}},{"type":"bridge"}],
            "volumes":[{"image":"a.img"},{"image":"/srv/d/b.img"},
                       {"image":"/dev/sdb","device":true}],
            "shares":[{"proto":"9p","source":"/etc","readOnly":true},
                      {"proto":"9p","source":"/srv/s"},
                      {"proto":"virtiofs","source":"/home","socket":"/run/x/fs.sock"}]}}"#;
        let profile = profile(&[(RUNNER, runner), ("share/microvm/hypervisor", "qemu\n")]);
        assert!(profile.notify && profile.vhost_net && profile.bridge && !profile.graphics);
        assert_eq!((profile.memory, profile.shutdown_timeout), (Some(512), 20));
        assert_eq!(profile.resources, [Some("50".to_owned()), Some("1G".to_owned()), None]);
        assert_eq!(profile.writes, ["/run/x", "/srv/d", "/srv/s"]);
        assert_eq!(profile.served, ["/home"]);
        assert_eq!(profile.devices, ["/dev/sdb"]);
        assert_eq!(profile.files[0].as_deref(), Some("/srv/k"));
    }

    #[test]
    fn every_path_of_this_host_is_known() {
        let runner = r#"{"config":{
            "kernel":"/a/k","description":"for /no/1","kernelParams":["init=/no/2"],
            "credentialFiles":{"key":"/a/credential"},"wrapCommand":["nice","/a/wrap"],
            "qemu":{"extraArgs":["-fw_cfg","name=opt/x,file=/a/fw cfg"]},
            "volumes":[{"image":"no.img","mountPoint":"/no/3"}],
            "shares":[{"proto":"9p","source":"/a/9p","readOnly":true,"mountPoint":"/no/4"},
                      {"proto":"virtiofs","source":"/no/5","socket":"/a/socket"}]}}"#;
        let all = ["/a/9p", "/a/credential", "/a/fw", "/a/k", "/a/socket", "/a/wrap"];
        assert_eq!(profile(&[(RUNNER, runner)]).paths, all);
    }

    #[test]
    fn a_package_is_known_by_its_hash_or_by_its_system() {
        let none = |_: &str| None;
        let ours = |path: &str| (path == RUNNER).then(|| br#"{"contentHash":"abc"}"#.to_vec());
        assert_eq!(identity("x", &ours, &none), Some(Id::new("abc")));
        let link = |path: &str| (path == SYSTEM).then(|| "/nix/store/x-system".to_owned());
        let theirs = |path: &str| (path == RUN).then(Vec::new);
        assert_eq!(identity("x-run", &theirs, &link), Some(Id::new("x-system")));
        assert_eq!(identity("x-run", &theirs, &none), Some(Id::new("x-run")));
        assert_eq!(identity("x-run", &|_| None, &none), None);
    }
}
