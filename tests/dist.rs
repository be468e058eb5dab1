// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a package installs: default configuration, units, bus policies, and the installation.
//!
//! Owns the checks of `bin/stas/dist/`. Default files are read by the programs' own reader; the
//! policies are judged as the bus judges them (dbus-daemon(1): the last rule that matches decides);
//! the installation is run into a directory of its own, twice.

#![allow(clippy::print_stdout, reason = "what was judged is worth a line")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use checks::programs;
use checks::tree;
use plinth::testing::Place;
use stas::core::settings::keys::KEYS;
use stas::core::settings::{Role, Settings};

const DIST: &str = "bin/stas/dist";
const DAEMONS: [&str; 2] = ["stafd", "stacd"];
const PROGRAMS: [&str; 5] = ["stafd", "stacd", "stafctl", "stacctl", "stasadm"];
/// What `systemd-analyze security` may score the units, in tenths: 0 is confined, 100 is not.
const EXPOSURE_MAX: &str = "40";

fn default_file(daemon: &str) -> (String, Role) {
    let role = if daemon == "stafd" { Role::Finder } else { Role::Connector };
    (tree::read(&format!("{DIST}/conf/{daemon}.conf")), role)
}

#[test]
fn default_configuration_changes_nothing() {
    for daemon in DAEMONS {
        let (text, role) = default_file(daemon);
        let (settings, complaints) = Settings::parse(role, &[(daemon, text.as_str())]);
        assert!(complaints.is_empty(), "{daemon}: {complaints:?}");
        assert_eq!(settings, Settings::parse(role, &[]).0, "{daemon}");
    }
}

#[test]
fn default_configuration_shows_every_key_with_its_default() {
    for daemon in DAEMONS {
        let (text, role) = default_file(daemon);
        let mut section = String::new();
        let mut shown: BTreeMap<(String, String), String> = BTreeMap::new();
        let mut uncommented = String::new();
        for line in text.lines() {
            let setting = line.strip_prefix('#').filter(|rest| {
                rest.starts_with(|c: char| c.is_ascii_lowercase()) && rest.contains('=')
            });
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
            }
            if let Some((key, value)) = setting.and_then(|setting| setting.split_once('=')) {
                shown.insert((section.clone(), key.to_owned()), value.to_owned());
            }
            // A key without a value is one that is not passed on.
            uncommented.push_str(setting.filter(|setting| !setting.ends_with('=')).unwrap_or(line));
            uncommented.push('\n');
        }
        for key in KEYS.iter().filter(|key| key.roles.contains(&role)) {
            let value = shown.remove(&(key.section.to_owned(), key.name.to_owned()));
            let value = value.unwrap_or_else(|| panic!("{daemon}.conf lacks {}", key.name));
            let listed = ["controller", "exclude", "kato"].contains(&key.name);
            let kernel = key.default.starts_with("the kernel's") && value.is_empty();
            assert!(
                listed || kernel || value == key.default,
                "{daemon}.conf: {}={value}",
                key.name
            );
        }
        assert!(shown.is_empty(), "{daemon}.conf knows more than the program: {shown:?}");
        let (settings, complaints) = Settings::parse(role, &[(daemon, uncommented.as_str())]);
        assert!(complaints.is_empty(), "{daemon}: {complaints:?}");
        assert!(!settings.controllers.is_empty() && !settings.excludes.is_empty(), "{daemon}");
    }
}

/// One `<allow>` or `<deny>`, with the user of its policy.
struct Rule {
    root_only: bool,
    allow: bool,
    attributes: BTreeMap<String, String>,
}

/// The rules of a policy file, those of the default context first, as the bus orders them.
fn rules(text: &str) -> Vec<Rule> {
    let (mut rules, mut root_only, mut rest) = (Vec::new(), false, text);
    while let Some((_, tail)) = rest.split_once('<') {
        let (element, tail) = tail.split_once('>').expect("an element ends");
        rest = tail;
        let (name, attributes) = element.split_once(char::is_whitespace).unwrap_or((element, ""));
        match name {
            "policy" => root_only = attributes.contains("user=\"root\""),
            "allow" | "deny" => rules.push(Rule {
                root_only,
                allow: name == "allow",
                attributes: attributes
                    .trim_end_matches('/')
                    .split('"')
                    .collect::<Vec<_>>()
                    .chunks_exact(2)
                    .map(|pair| {
                        let [key, value] = pair else { unreachable!("chunks of two") };
                        (key.trim().trim_end_matches('=').to_owned(), (*value).to_owned())
                    })
                    .collect(),
            }),
            _ => {}
        }
    }
    rules.sort_by_key(|rule| rule.root_only);
    rules
}

/// Whether the policy lets a caller send a method call; without a rule that matches, it does not.
fn may_call(rules: &[Rule], root: bool, name: &str, interface: &str, member: &str) -> bool {
    let call = [
        ("send_destination", name),
        ("send_type", "method_call"),
        ("send_interface", interface),
        ("send_member", member),
    ];
    rules
        .iter()
        .filter(|rule| root || !rule.root_only)
        .filter(|rule| {
            rule.attributes
                .iter()
                .all(|(key, value)| call.contains(&(key.as_str(), value.as_str())))
        })
        .fold(false, |_, rule| rule.allow)
}

#[test]
fn everybody_may_read_and_root_alone_may_change() {
    for name in ["org.nvmexpress.staf", "org.nvmexpress.stac"] {
        let rules = rules(&tree::read(&format!("{DIST}/dbus/{name}.conf")));
        let debug = format!("{name}.debug");
        let properties = "org.freedesktop.DBus.Properties";
        for (interface, member) in [
            (name, "list_controllers"),
            (name, "get_all_log_pages"),
            (debug.as_str(), "process_info"),
            (debug.as_str(), "controller_info"),
            (properties, "Get"),
            (properties, "GetAll"),
            ("org.freedesktop.DBus.Introspectable", "Introspect"),
        ] {
            assert!(may_call(&rules, false, name, interface, member), "{interface}.{member}");
            assert!(may_call(&rules, true, name, interface, member), "{interface}.{member}");
        }
        for (interface, member) in
            [(properties, "Set"), (debug.as_str(), "ReloadConfig"), (debug.as_str(), "Rescan")]
        {
            assert!(!may_call(&rules, false, name, interface, member), "{interface}.{member}");
            assert!(may_call(&rules, true, name, interface, member), "{interface}.{member}");
        }
        let owners: Vec<&Rule> =
            rules.iter().filter(|rule| rule.attributes.contains_key("own_prefix")).collect();
        let [owner] = owners.as_slice() else { panic!("{name}: one rule is about owning") };
        assert!(owner.root_only && owner.allow);
        assert_eq!(owner.attributes.get("own_prefix").map(String::as_str), Some(name));
    }
}

/// The assignments of a unit file: `Section.Key` to its values.
fn unit(name: &str) -> BTreeMap<String, Vec<String>> {
    let (mut found, mut section) = (BTreeMap::<String, Vec<String>>::new(), String::new());
    for line in tree::read(&format!("{DIST}/units/{name}")).lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            found.entry(format!("{section}.{key}")).or_default().push(value.to_owned());
        }
    }
    found
}

#[test]
fn units_have_the_names_and_meaning_that_drop_ins_expect() {
    for (daemon, bus) in [("stafd", "org.nvmexpress.staf"), ("stacd", "org.nvmexpress.stac")] {
        let unit = unit(&format!("{daemon}.service"));
        let is = |key: &str, value: &str| {
            let values = unit.get(key).unwrap_or_else(|| panic!("{daemon}.service lacks {key}"));
            assert!(values.iter().any(|found| found == value), "{daemon}.service {key}={values:?}");
        };
        is("Service.Type", "dbus");
        is("Service.BusName", bus);
        is("Service.NotifyAccess", "main");
        is("Service.ExecStart", &format!("@SBINDIR@/{daemon} --syslog"));
        is("Service.ExecReload", "/bin/kill -HUP $MAINPID");
        is("Service.KillMode", "process");
        is("Service.RuntimeDirectory", daemon);
        is("Service.CacheDirectory", daemon);
        is("Service.RuntimeDirectoryPreserve", "yes");
        is("Unit.AssertPathExists", "/dev/nvme-fabrics");
        is("Install.WantedBy", "multi-user.target");
        for key in [
            "ProtectHome",
            "ProtectKernelModules",
            "ProtectKernelLogs",
            "ProtectControlGroups",
            "RestrictRealtime",
            "LockPersonality",
            "MemoryDenyWriteExecute",
            "NoNewPrivileges",
            "PrivateTmp",
        ] {
            is(&format!("Service.{key}"), "yes");
        }
        is("Service.ProtectProc", "invisible");
        is("Service.ProtectSystem", "strict");
        for order in ["Unit.Wants", "Unit.After"] {
            let words = unit.get(order).map(|values| values.join(" ")).unwrap_or_default();
            for other in [
                "modprobe@nvme_fabrics.service",
                "modprobe@nvme_tcp.service",
                "network.target",
                "stas-config.target",
            ] {
                assert!(words.contains(other), "{daemon}.service {order} lacks {other}");
            }
            let avahi = words.contains("avahi-daemon.service");
            assert_eq!(avahi, daemon == "stafd" && order == "Unit.After", "{daemon} {order}");
        }
        // A disconnect writes to sysfs, which this would make read-only.
        assert!(!unit.contains_key("Service.ProtectKernelTunables"));
    }
    let target = unit("stas-config.target");
    assert_eq!(
        target.get("Unit.PartOf").map(|v| v.join(" ")).unwrap_or_default(),
        "stafd.service stacd.service"
    );
    let identity = unit("stas-config@.service");
    let condition = identity.get("Unit.ConditionFileNotEmpty").map(|v| v.join(" "));
    assert_eq!(condition.as_deref(), Some("|!/etc/nvme/%i"));
    let start = identity.get("Service.ExecStart").map(|v| v.join(" "));
    assert_eq!(start.as_deref(), Some("@BINDIR@/stasadm %i -f /etc/nvme/%i"));
}

/// Runs the installer of a family below `place`.
fn install(family: &str, built: &Path, place: &Place) {
    let done = Command::new(tree::root().join(format!("bin/{family}/dist/install.sh")))
        .env("DESTDIR", "")
        .env("PREFIX", place.join("usr"))
        .env("SYSCONFDIR", place.join("etc"))
        .env("BUILT", built)
        .output()
        .expect("the script runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// What an installer put below `usr` and `etc`.
fn installed(place: &Place) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in ["usr", "etc"].map(|part| place.join(part)).iter().filter(|part| part.exists()) {
        files_below(part, &mut found, place);
    }
    found
}

/// The files that tell a shell what a program's words are.
fn completions(program: &str) -> [String; 3] {
    [
        format!("usr/share/bash-completion/completions/{program}"),
        format!("usr/share/zsh/site-functions/_{program}"),
        format!("usr/share/fish/vendor_completions.d/{program}.fish"),
    ]
}

/// The installed manual pages of a family: every page belongs to one.
fn pages(family: &str) -> impl Iterator<Item = String> {
    let owner = |page: &str| match page.split(['.', '-']).next() {
        Some("microvm") => "microvm",
        Some("tinybpf") => "tinybpf",
        _ => "stas",
    };
    tree::paths().into_iter().filter_map(move |path| {
        let page = path.strip_prefix("man/").filter(|page| owner(page) == family)?;
        let section = page.rsplit('.').next().unwrap_or_default();
        Some(format!("usr/share/man/man{section}/{page}"))
    })
}

fn files_below(directory: &Path, into: &mut BTreeSet<String>, root: &Path) {
    for entry in fs::read_dir(directory).expect("a directory that was just made") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files_below(&path, into, root);
        } else {
            let inner = path.strip_prefix(root).expect("below the root");
            into.insert(inner.to_string_lossy().into_owned());
        }
    }
}

fn expected_files() -> BTreeSet<String> {
    let mut expected: BTreeSet<String> = pages("stas").collect();
    for program in PROGRAMS {
        let directory = if DAEMONS.contains(&program) { "sbin" } else { "bin" };
        expected.insert(format!("usr/{directory}/{program}"));
        expected.extend(completions(program));
    }
    for path in tree::paths() {
        if let Some(unit) = path.strip_prefix(&format!("{DIST}/units/")) {
            if unit != "without-bus.conf" {
                expected.insert(format!("usr/lib/systemd/system/{unit}"));
            }
        } else if let Some(policy) = path.strip_prefix(&format!("{DIST}/dbus/")) {
            expected.insert(format!("usr/share/dbus-1/system.d/{policy}"));
        } else if let Some(conf) = path.strip_prefix(&format!("{DIST}/conf/")) {
            expected.insert(format!("etc/stas/{conf}"));
        }
    }
    for file in ["README.md", "CHANGELOG.md", "without-bus.conf", "LICENSE-APACHE", "LICENSE-MIT"] {
        expected.insert(format!("usr/share/doc/stas/{file}"));
    }
    expected
}

#[test]
fn an_installation_is_complete_and_keeps_what_the_administrator_wrote() {
    let place = Place::new();
    install("stas", &programs::stas(), &place);
    let found = installed(&place);
    assert_eq!(found, expected_files());
    for file in &found {
        let path = place.join(file);
        let mode = fs::metadata(&path).expect("it was just listed").permissions().mode() & 0o777;
        let program = file.starts_with("usr/bin/") || file.starts_with("usr/sbin/");
        assert_eq!(mode, if program { 0o755 } else { 0o644 }, "{file}");
        let text = fs::read(&path).expect("it was just listed");
        assert!(!text.is_empty(), "{file} is empty");
        let unfilled = String::from_utf8_lossy(&text).contains("BINDIR@");
        assert!(program || !unfilled, "{file} has an unfilled path");
    }
    let conf = place.join("etc/stas/stafd.conf");
    fs::write(&conf, "[Global]\ntron=true\n").expect("writable");
    install("stas", &programs::stas(), &place);
    assert_eq!(fs::read_to_string(&conf).expect("readable"), "[Global]\ntron=true\n");
    assert!(place.join("etc/stas/stafd.conf.new").exists(), "the new default is at hand");
    assert!(!place.join("etc/stas/stacd.conf.new").exists(), "an unchanged file needs none");
    check_units(&place);
}

#[test]
fn an_installation_of_microvm_brings_all_examples() {
    let place = Place::new();
    install("microvm", &programs::microvm(), &place);
    let doc = "usr/share/doc/microvm";
    let examples = tree::paths().into_iter().filter_map(|path| {
        let inner = path.strip_prefix("bin/microvm/examples/")?.to_owned();
        Some(format!("{doc}/examples/{inner}"))
    });
    let mut expected: BTreeSet<String> = examples.collect();
    expected.insert("usr/bin/microvm".to_owned());
    expected.extend(completions("microvm").into_iter().chain(pages("microvm")));
    for file in ["schema.json", "LICENSE-APACHE", "LICENSE-MIT"] {
        expected.insert(format!("{doc}/{file}"));
    }
    assert_eq!(installed(&place), expected);
}

/// What systemd itself says of the installed units, where it is installed.
fn check_units(place: &Place) {
    let units = place.join("usr/lib/systemd/system");
    for daemon in DAEMONS {
        let path = units.join(format!("{daemon}.service"));
        let verify =
            Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&path).output();
        let Ok(verify) = verify else {
            println!("not run: systemd-analyze is not installed");
            return;
        };
        let said = String::from_utf8_lossy(&verify.stderr).into_owned();
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| {
                line.contains("stafd") || line.contains("stacd") || line.contains("stas-")
            })
            .collect();
        assert!(ours.is_empty(), "{ours:#?}");
        let security = Command::new("systemd-analyze")
            .args(["security", "--no-pager", "--offline=true", "--threshold", EXPOSURE_MAX])
            .arg(&path)
            .output()
            .expect("it ran a moment ago");
        let said = String::from_utf8_lossy(&security.stdout).into_owned();
        assert!(security.status.success(), "{said}");
        println!("{daemon}: {}", said.lines().last().unwrap_or_default());
    }
}
