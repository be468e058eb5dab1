// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the settings: whole files, every key, entries, complaints.

use log::Level;
use proptest::prelude::*;

use super::keys::{ALIASES, KEYS, Set};
use super::*;
use crate::core::tid::Fields;

const PATH: &str = "/etc/stas/test.conf";

/// A well-formed secret.
const SECRET: &str = "DHHC-1:00:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:";

fn parse(role: Role, text: &str) -> (Settings, Vec<Diagnostic>) {
    Settings::parse(role, &[(PATH, text)])
}

fn count(diagnostics: &[Diagnostic], level: Level) -> usize {
    diagnostics.iter().filter(|diagnostic| diagnostic.level == level).count()
}

/// The settings of a file that nothing is wrong with.
fn clean(role: Role, text: &str) -> Settings {
    let (settings, diagnostics) = parse(role, text);
    assert_eq!(diagnostics, [], "{text}");
    settings
}

const FILE_A: &str = "\
[Global]
tron=true
kato=200
ip-family=ipv6

[I/O controller connection management]
disconnect-scope = joe
disconnect-trtypes = bob
connect-attempts-on-ncc = 1

[Controllers]
controller=transport=tcp;traddr=100.100.100.100;host-iface=enp0s8
controller=transport=tcp;traddr=100.100.100.200;host-iface=enp0s7;dhchap-ctrl-secret=super-secret;\
hdr-digest=true;data-digest=true;nr-io-queues=8;nr-write-queues=6;nr-poll-queues=4;queue-size=400;\
kato=71;reconnect-delay=13;ctrl-loss-tmo=666;disable-sqflow=true
exclude=transport=tcp;traddr=10.10.10.10
";

// R036, R040, R051, R199
#[test]
fn a_whole_file_is_understood() {
    let (settings, diagnostics) = parse(Role::Connector, FILE_A);
    assert!(settings.tron);
    assert_eq!(settings.parameters.kato, Some(200));
    assert_eq!(settings.families, Families::V6);
    assert_eq!(settings.parameters.hdr_digest, Some(false));
    assert_eq!(settings.parameters.data_digest, Some(false));
    assert!(!settings.ignore_iface);
    assert!(settings.persistent_connections && settings.pleo && settings.zeroconf);
    assert_eq!(settings.disconnect_scope, Scope::OnlyStas);
    assert_eq!(settings.disconnect_trtypes, ["tcp"]);
    assert_eq!(settings.attempts_on_ncc, 2);
    let excluded = Fields {
        transport: "tcp".to_owned(),
        traddr: "10.10.10.10".to_owned(),
        ..Fields::default()
    };
    assert_eq!(settings.excludes.len(), 1);
    assert_eq!(settings.excludes[0].fields(), &excluded);
    let [first, second] = settings.controllers.as_slice() else { panic!("two controllers") };
    assert_eq!((first.line, first.fields.traddr.as_str()), (12, "100.100.100.100"));
    assert_eq!(first.fields.host_iface, "enp0s8");
    assert_eq!(first.overrides, Parameters::default());
    assert_eq!((second.line, second.fields.traddr.as_str()), (13, "100.100.100.200"));
    let overrides = Parameters {
        hdr_digest: Some(true),
        data_digest: Some(true),
        nr_io_queues: Some(8),
        nr_write_queues: Some(6),
        nr_poll_queues: Some(4),
        queue_size: Some(400),
        kato: Some(71),
        reconnect_delay: Some(13),
        ctrl_loss_tmo: Some(666),
        disable_sqflow: Some(true),
        unusable: Some("dhchap-ctrl-secret"),
        ..Parameters::default()
    };
    assert_eq!(second.overrides, overrides);
    let lines: Vec<Option<u32>> = diagnostics.iter().map(|d| d.line).collect();
    assert_eq!(lines, [Some(7), Some(8), Some(12), Some(13), Some(13)]);
    assert_eq!(count(&diagnostics, Level::Warn), 5);
    assert!(diagnostics.iter().all(|d| !d.text.contains("super-secret")));
    assert_eq!(
        diagnostics[0].to_string(),
        "/etc/stas/test.conf:7: [I/O controller connection management] disconnect-scope: \
         invalid value 'joe': expected the name of a scope"
    );
}

// R016, R034
#[test]
fn files_without_content_and_odd_spacing_change_nothing() {
    let default = Settings::new(Role::Finder);
    assert_eq!(Settings::parse(Role::Finder, &[]), (default.clone(), Vec::new()));
    for text in ["", "\n# nothing\n", "[Global]\n"] {
        assert_eq!(clean(Role::Finder, text), default);
    }
    let odd = "[Global]\r\nkato\t=\t7 \r\n tron = TRUE\r\n";
    let plain = "[Global]\nkato=7\ntron=true\n";
    // The second line is indented: it would continue the first.
    let odd = odd.replace(" tron", "tron");
    assert_eq!(clean(Role::Finder, &odd), clean(Role::Finder, plain));
}

// R040, R043
#[test]
fn only_stafd_has_a_keep_alive_by_default() {
    assert_eq!(Settings::new(Role::Finder).parameters.kato, Some(30));
    assert_eq!(Settings::new(Role::Connector).parameters.kato, None);
    for role in [Role::Finder, Role::Connector] {
        let unset = Parameters {
            hdr_digest: Some(false),
            data_digest: Some(false),
            kato: Settings::new(role).parameters.kato,
            ..Parameters::default()
        };
        assert_eq!(Settings::new(role).parameters, unset);
    }
}

/// One line of a section: what becomes of it and whether there is a warning.
fn one(role: Role, section: &str, line: &str) -> (Settings, bool) {
    let (settings, diagnostics) = parse(role, &format!("[{section}]\n{line}\n"));
    assert!(diagnostics.len() <= 1, "{line}: {diagnostics:?}");
    let warned = diagnostics.iter().any(|d| d.level == Level::Warn && d.line == Some(2));
    (settings, warned)
}

// R036, R048
#[test]
fn transports_are_a_set_of_known_ones() {
    for (value, list, warned) in [
        ("tcp+rdma+fc", &["tcp", "rdma", "fc"][..], false),
        ("fc", &["fc"], false),
        ("tcp + tcp", &["tcp"], false),
        ("tcp+bob", &["tcp"], true),
        ("bob", &["tcp"], true),
        ("pcie", &["tcp"], true),
        ("TCP", &["tcp"], true),
        ("", &["tcp"], true),
    ] {
        let (settings, told) =
            one(Role::Connector, keys::IOC, &format!("disconnect-trtypes={value}"));
        assert_eq!(
            (settings.disconnect_trtypes.as_slice(), told),
            (&list.iter().map(|&t| t.to_owned()).collect::<Vec<_>>()[..], warned),
            "{value}"
        );
    }
}

// R049
#[test]
fn attempts_on_ncc_are_none_or_at_least_two() {
    for (value, attempts, warned) in [
        ("hello", 0, true),
        ("0", 0, false),
        ("1", 2, false),
        ("5", 5, false),
        ("-3", 0, true),
        ("+2", 2, false),
    ] {
        let (settings, told) =
            one(Role::Connector, keys::IOC, &format!("connect-attempts-on-ncc = {value}"));
        assert_eq!((settings.attempts_on_ncc, told), (attempts, warned), "{value}");
    }
}

// R040
#[test]
fn families_are_spelled_exactly() {
    for (value, families, warned) in [
        ("ipv4", Families::V4, false),
        ("ipv6", Families::V6, false),
        ("ipv4+ipv6", Families::Both, false),
        ("ipv6+ipv4", Families::Both, false),
        ("IPV4", Families::Both, true),
        ("both", Families::Both, true),
    ] {
        let (settings, told) = one(Role::Finder, keys::GLOBAL, &format!("ip-family={value}"));
        assert_eq!((settings.families, told), (families, warned), "{value}");
    }
}

// R036, R042
#[test]
fn numbers_have_ranges() {
    type Pick = fn(&Parameters) -> Option<i64>;
    let cases: &[(&str, Pick, &[&str], &[&str])] = &[
        (
            "queue-size",
            |p| p.queue_size.map(i64::from),
            &["16", "1024", "+100"],
            &["5", "15", "1025", "abc", "", "64.0", "0x40", "- 5"],
        ),
        ("kato", |p| p.kato.map(i64::from), &["0", "2147483647"], &["-1", "2147483648", "1s"]),
        ("reconnect-delay", |p| p.reconnect_delay.map(i64::from), &["1"], &["0", "-1"]),
        (
            "ctrl-loss-tmo",
            |p| p.ctrl_loss_tmo.map(i64::from),
            &["-1", "0", "600"],
            &["-2", "off", "99999999999"],
        ),
        ("nr-io-queues", |p| p.nr_io_queues.map(i64::from), &["1"], &["0", "-4"]),
        ("nr-write-queues", |p| p.nr_write_queues.map(i64::from), &["1"], &["0"]),
        ("nr-poll-queues", |p| p.nr_poll_queues.map(i64::from), &["1"], &["0"]),
    ];
    for (key, pick, good, bad) in cases {
        for value in *good {
            let (settings, warned) = one(Role::Connector, keys::GLOBAL, &format!("{key}={value}"));
            let expected: i64 = value.parse().expect("a number");
            assert_eq!((pick(&settings.parameters), warned), (Some(expected), false), "{key}");
        }
        for value in *bad {
            let (settings, warned) = one(Role::Connector, keys::GLOBAL, &format!("{key}={value}"));
            assert_eq!((pick(&settings.parameters), warned), (None, true), "{key}={value}");
        }
    }
}

// R036
#[test]
fn booleans_and_switches_take_their_own_words_only() {
    for (value, tron, warned) in [
        ("TRUE", true, false),
        ("true", true, false),
        ("False", false, false),
        ("yes", false, true),
        ("1", false, true),
        ("", false, true),
        ("enabled", false, true),
    ] {
        let (settings, told) = one(Role::Finder, keys::GLOBAL, &format!("tron={value}"));
        assert_eq!((settings.tron, told), (tron, warned), "{value}");
    }
    for (value, pleo, warned) in
        [("DISABLED", false, false), ("enabled", true, false), ("false", true, true)]
    {
        let (settings, told) = one(Role::Finder, keys::GLOBAL, &format!("pleo={value}"));
        assert_eq!((settings.pleo, told), (pleo, warned), "{value}");
    }
    let (settings, warned) = one(Role::Finder, keys::GLOBAL, "tron");
    assert_eq!((settings.tron, warned), (false, true), "a key without = has no value");
}

// R044, R045
#[test]
fn the_finders_own_keys_work() {
    let settings = clean(
        Role::Finder,
        "[Service Discovery]\nzeroconf=disabled\n\
         [Discovery controller connection management]\npersistent-connections=false\n",
    );
    assert!(!settings.zeroconf && !settings.persistent_connections);
    let defaults = Settings::new(Role::Finder);
    assert!(defaults.zeroconf && defaults.persistent_connections);
}

// R046, R047
#[test]
fn persistence_is_a_span_or_for_ever() {
    let day = Duration::from_secs(86_400);
    for (value, expected, warned) in [
        ("1 day", Some(day), false),
        ("72hours", Some(3 * day), false),
        ("0", Some(Duration::ZERO), false),
        ("-1", None, false),
        ("- 1 minute", None, false),
        ("blah", Some(3 * day), true),
        ("", Some(3 * day), true),
    ] {
        let line = format!("zeroconf-connections-persistence={value}");
        let (settings, told) = one(Role::Finder, keys::DC, &line);
        assert_eq!((settings.zeroconf_persistence, told), (expected, warned), "{value}");
    }
}

// R048, R050, R065, R134, R141
#[test]
fn the_connectors_own_keys_work() {
    for (value, scope) in [
        ("only-stas-connections", Scope::OnlyStas),
        ("all-connections-matching-disconnect-trtypes", Scope::AllMatching),
        ("no-disconnect", Scope::NoDisconnect),
    ] {
        let (settings, warned) =
            one(Role::Connector, keys::IOC, &format!("disconnect-scope={value}"));
        assert_eq!((settings.disconnect_scope, warned), (scope, false));
    }
    for (value, honor) in [("true", true), ("false", false), ("yes", true), ("No", false)] {
        let line = format!("honor-fabric-zoning={value}");
        let (settings, warned) = one(Role::Connector, keys::IOC, &line);
        assert_eq!((settings.honor_zoning, warned), (honor, false), "{value}");
    }
    let settings = clean(
        Role::Connector,
        "[I/O controller connection management]\naudit-without-stafd=true\n\
         disconnect-boot=true\nskip-foreign-transport=true\n[Global]\nprobe-tcp=false\n",
    );
    assert!(settings.audit_without_stafd && settings.disconnect_boot);
    assert!(settings.skip_foreign_transport && !settings.probe_tcp);
}

// R034
#[test]
fn the_last_of_repeated_keys_counts() {
    let settings = clean(Role::Finder, "[Global]\nkato=10\nkato=20\n");
    assert_eq!(settings.parameters.kato, Some(20));
    let settings = clean(Role::Finder, "[Global]\nkato=10\n[Controllers]\n[Global]\nkato=20\n");
    assert_eq!(settings.parameters.kato, Some(20));
    let (settings, warned) = one(Role::Finder, keys::GLOBAL, "kato=10\nkato=x");
    assert_eq!((settings.parameters.kato, warned), (Some(30), false), "warned of line 3");
}

// R035
#[test]
fn what_is_unknown_is_told_once_and_the_rest_counts() {
    for (role, text, complaint) in [
        (
            Role::Finder,
            "[BadSection]\nkey=1\n[Worse]\n[BadSection]\n",
            ":1: unknown sections, ignored: [BadSection], [Worse]",
        ),
        (
            Role::Finder,
            "[Global]\nbad-option=x\nworse=y\n",
            ":2: [Global] unknown keys, ignored: bad-option, worse",
        ),
        (
            Role::Finder,
            "[Global]\nnr-io-queues=4\n",
            ":2: [Global] unknown keys, ignored: nr-io-queues",
        ),
        (
            Role::Connector,
            "[Service Discovery]\nzeroconf=disabled\n",
            ":1: unknown sections, ignored: [Service Discovery]",
        ),
        (Role::Connector, "[global]\ntron=false\n", ":1: unknown sections, ignored: [global]"),
        (
            Role::Connector,
            "[Global]\nhonor-dlpe=true\n",
            ":2: [Global] unknown keys, ignored: honor-dlpe",
        ),
    ] {
        let (settings, diagnostics) = parse(role, &format!("{text}[Global]\ntron=true\n"));
        assert!(settings.tron, "{text}");
        let told: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(told, [format!("{PATH}{complaint}")]);
        assert_eq!(diagnostics[0].level, Level::Error);
        assert!(!diagnostics[0].fatal);
    }
}

// R038
#[test]
fn a_comment_after_a_value_belongs_to_it() {
    let (settings, diagnostics) = parse(Role::Finder, "[Global]\nhdr-digest=true # fast\n");
    assert_eq!(settings.parameters.hdr_digest, Some(false));
    assert_eq!(
        diagnostics[0].to_string(),
        "/etc/stas/test.conf:2: [Global] hdr-digest: invalid value 'true # fast': expected true \
         or false; a comment after a value belongs to the value"
    );
    let text = "[Controllers]\ncontroller=transport=tcp;traddr=1.1.1.1 # first\n";
    let (settings, diagnostics) = parse(Role::Finder, text);
    assert_eq!(settings.controllers[0].fields.traddr, "1.1.1.1 # first");
    assert_eq!(diagnostics.len(), 1);
}

// R037
#[test]
fn a_file_that_is_no_ini_is_skipped_whole() {
    let good = ("good", "[Global]\nkato=5\n");
    let bad = ("bad", "tron=true\n[Global]\nkato=7\n");
    let (settings, diagnostics) = Settings::parse(Role::Finder, &[bad]);
    assert_eq!(settings, Settings::new(Role::Finder));
    let told: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["bad:1: text before the first section; the file is ignored"]);
    assert!(diagnostics[0].fatal && diagnostics[0].level == Level::Error);
    let (settings, _) = Settings::parse(Role::Finder, &[good, bad]);
    assert_eq!(settings.parameters.kato, Some(5));
}

// R039
#[test]
fn drop_ins_override_scalars_and_append_to_lists() {
    let entry = |address: &str| format!("controller=transport=tcp;traddr={address}\n");
    let main = format!("[Global]\nkato=1\ntron=true\n[Controllers]\n{}", entry("1.1.1.1"));
    let more = format!("[Global]\nkato=2\n[Controllers]\n{}", entry("2.2.2.2"));
    let reset = format!(
        "[Controllers]\ncontroller=!reset\n{}exclude=transport=fc\nexclude=!reset\n",
        entry("3.3.3.3")
    );
    let addresses = |files: &[(&str, &str)]| -> Vec<String> {
        let (settings, diagnostics) = Settings::parse(Role::Finder, files);
        assert_eq!(diagnostics, []);
        assert!(settings.tron && settings.excludes.is_empty());
        settings.controllers.into_iter().map(|entry| entry.fields.traddr).collect()
    };
    let (main, more, reset) = (("a", main.as_str()), ("b", more.as_str()), ("c", reset.as_str()));
    assert_eq!(addresses(&[main]), ["1.1.1.1"]);
    assert_eq!(addresses(&[main, more]), ["1.1.1.1", "2.2.2.2"]);
    assert_eq!(addresses(&[main, more, reset]), ["3.3.3.3"]);
    assert_eq!(addresses(&[main, reset, more]), ["3.3.3.3", "2.2.2.2"]);
    assert_eq!(Settings::parse(Role::Finder, &[main, more]).0.parameters.kato, Some(2));
}

// R034, R051
#[test]
fn one_value_may_hold_several_entries() {
    let text = "[Controllers]\ncontroller=transport=tcp;traddr=1.1.1.1\n  \
                transport=rdma;traddr=2.2.2.2\n\n\ttransport=tcp;traddr=3.3.3.3\n";
    let lines: Vec<(u32, String)> = clean(Role::Finder, text)
        .controllers
        .into_iter()
        .map(|entry| (entry.line, entry.fields.traddr))
        .collect();
    let expected = [(2, "1.1.1.1"), (3, "2.2.2.2"), (5, "3.3.3.3")];
    assert_eq!(lines, expected.map(|(line, address)| (line, address.to_owned())));
}

// R054
#[test]
fn overrides_come_before_the_daemons_parameters() {
    let own = Parameters { kato: Some(1), hdr_digest: Some(false), ..Parameters::default() };
    let base = Parameters {
        kato: Some(2),
        hdr_digest: Some(true),
        queue_size: Some(64),
        ..Parameters::default()
    };
    let merged = own.over(&base);
    assert_eq!((merged.kato, merged.hdr_digest), (Some(1), Some(false)));
    assert_eq!((merged.queue_size, merged.tos), (Some(64), None));
    assert_eq!(Parameters::default().over(&base), base);
}

// R055
#[test]
fn the_first_of_equal_entries_wins() {
    let text = "[Controllers]\n\
                controller=transport=tcp;traddr=fe80::1;host-iface=eth0;kato=1\n\
                controller=transport=TCP;traddr=FE80:0::1;trsvcid=8009;host-iface=eth0;kato=2\n\
                controller=transport=tcp;traddr=fe80::1;trsvcid=4420;host-iface=eth0\n";
    let (settings, diagnostics) = parse(Role::Finder, text);
    let kept: Vec<(u32, Option<u32>)> =
        settings.controllers.iter().map(|entry| (entry.line, entry.overrides.kato)).collect();
    assert_eq!(kept, [(2, Some(1)), (4, None)]);
    let told: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(told, [format!("{PATH}:3: controller: the same as in line 2, ignored")]);
}

// R064
#[test]
fn keys_of_older_releases_still_count() {
    let (settings, diagnostics) = parse(
        Role::Connector,
        "[Global]\nsticky-connections=enabled\nudev-rule=disabled\nduplicate-connect=true\n\
         [Controllers]\nblacklist=transport=fc\nexclude=transport=rdma\n",
    );
    assert_eq!(settings.disconnect_scope, Scope::NoDisconnect);
    let excluded: Vec<&str> =
        settings.excludes.iter().map(|e| e.fields().transport.as_str()).collect();
    assert_eq!(excluded, ["fc", "rdma"]);
    assert_eq!((diagnostics.len(), count(&diagnostics, Level::Warn)), (4, 4));
    let (settings, diagnostics) =
        parse(Role::Finder, "[Global]\npersistent-connections=false\nsticky-connections=enabled\n");
    assert!(!settings.persistent_connections);
    let told: Vec<&str> = diagnostics.iter().map(|d| d.text.as_str()).collect();
    assert_eq!(
        told,
        [
            "[Global] persistent-connections is deprecated, use [Discovery controller connection \
             management] persistent-connections",
            "[Global] sticky-connections has no effect"
        ]
    );
}

// R064
#[test]
fn new_keys_come_before_old_ones() {
    let (settings, _) = parse(
        Role::Finder,
        "[Global]\npersistent-connections=false\n\
         [Discovery controller connection management]\npersistent-connections=true\n",
    );
    assert!(settings.persistent_connections);
    let (settings, _) = parse(
        Role::Connector,
        "[Global]\nsticky-connections=enabled\n\
         [I/O controller connection management]\ndisconnect-scope=only-stas-connections\n",
    );
    assert_eq!(settings.disconnect_scope, Scope::OnlyStas);
    let (settings, _) = parse(Role::Connector, "[Global]\nsticky-connections=disabled\n");
    assert_eq!(settings.disconnect_scope, Scope::OnlyStas);
}

// R094
#[test]
fn every_delay_can_be_changed_for_tests() {
    let default = Timing::default();
    for key in Timing::KEYS {
        let (settings, warned) = one(Role::Finder, keys::DEBUG, &format!("{key}=7"));
        assert!(!warned, "{key}");
        assert_ne!(settings.timing, default, "{key}");
    }
    let text = "[Debug]\nconfig-soak=0.1\nannounce-retry=1+2 min\nfetch-attempts=2\nretry=-1\n\
                name-retry=1+x\nretry-jitter-percent=1001\nbogus=1\n";
    let (settings, diagnostics) = parse(Role::Connector, text);
    assert_eq!(settings.timing.config_soak, Duration::from_millis(100));
    let steps = [Duration::from_secs(1), Duration::from_secs(120)];
    assert_eq!(settings.timing.announce_retry, steps);
    assert_eq!(settings.timing.fetch_attempts, 2);
    assert_eq!(settings.timing.retry, default.retry);
    assert_eq!((count(&diagnostics, Level::Warn), count(&diagnostics, Level::Error)), (3, 1));
}

// R058
#[test]
fn secrets_kept_elsewhere_are_read() {
    let text = "[Controllers]\n\
                controller=transport=tcp;traddr=1.1.1.1;dhchap-secret-file=/a\n\
                controller=transport=tcp;traddr=2.2.2.2;dhchap-ctrl-secret=credential:c\n";
    let mut settings = clean(Role::Finder, text);
    let told = settings.resolve_secrets(PATH, &mut |place| match place {
        Secret::File(path) if path == "/a" => Ok(Some(SECRET.to_owned())),
        _ => Err("no such credential".to_owned()),
    });
    let overrides = |n: usize| &settings.controllers[n].overrides;
    assert_eq!(overrides(0).dhchap_secret.as_ref().and_then(Secret::expose), Some(SECRET));
    assert_eq!((overrides(0).unusable, overrides(1).unusable), (None, Some("dhchap-ctrl-secret")));
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    let expected = "dhchap-ctrl-secret: no such credential; it will not be connected";
    assert_eq!(told, [format!("{PATH}:3: {expected}")]);
}

// R254
#[test]
fn the_table_of_keys_is_consistent() {
    let mut seen = std::collections::BTreeSet::new();
    for key in KEYS {
        assert!(seen.insert((key.section, key.name)), "{} stands twice", key.name);
        assert_eq!(key.name, key.name.to_lowercase());
        assert!(!key.roles.is_empty() && !key.help.is_empty() && !key.default.is_empty());
        if let Set::Parameter(_) = key.set {
            let field = controller::CONTROLLER_FIELDS.iter().find(|field| field.name == key.name);
            assert!(field.is_some(), "{} cannot be overridden", key.name);
        }
    }
    for alias in ALIASES {
        assert!(!seen.contains(&(alias.section, alias.name)), "{} is a key", alias.name);
        assert!(alias.now.is_none_or(|now| seen.contains(&now)), "{} leads nowhere", alias.name);
    }
}

proptest! {
    // R036, R037
    #[test]
    fn no_file_makes_the_reader_panic(text in any::<String>()) {
        for role in [Role::Finder, Role::Connector] {
            let (settings, _) = parse(role, &text);
            prop_assert!(!settings.disconnect_trtypes.is_empty());
        }
    }

    #[test]
    fn odd_values_of_known_keys_are_never_fatal(
        at in 0..KEYS.len(),
        value in "[-+=;!# a-z0-9:./]{0,24}",
    ) {
        let key = &KEYS[at];
        let text = format!("[{}]\n{}={value}\n[Global]\ntron=true\n", key.section, key.name);
        for role in key.roles {
            let (settings, diagnostics) = parse(*role, &text);
            prop_assert!(settings.tron);
            prop_assert!(diagnostics.iter().all(|diagnostic| !diagnostic.fatal));
        }
    }
}
