// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of controller entries and exclusions.

use log::Level;
use proptest::prelude::*;

use super::*;
use crate::core::settings::{Diagnostic, Settings};

fn read(role: Role, text: &str) -> (Settings, Vec<Diagnostic>) {
    Settings::parse(role, &[("test.conf", text)])
}

/// The fields that are not empty, and how many complaints there were.
fn fields(text: &str) -> (Vec<(&'static str, String)>, usize) {
    let (entry, complaints) = parse(text, 1);
    let pairs = entry.fields.pairs().into_iter().filter(|(_, value)| !value.is_empty());
    (pairs.map(|(name, value)| (name, value.to_owned())).collect(), complaints.len())
}

// R051, R052, R053
#[test]
fn an_entry_is_split_at_semicolons_and_first_equals_signs() {
    for (text, expected, complaints) in [
        ("", &[][..], 0),
        ("noequalsign", &[], 1),
        ("traddr=val=extra", &[("traddr", "val=extra")], 0),
        ("key=val=extra", &[], 1),
        (
            "transport=tcp;noequalsign;traddr=10.10.10.10",
            &[("transport", "tcp"), ("traddr", "10.10.10.10")],
            1,
        ),
        (
            " transport = tcp ; ; traddr = 1.1.1.1 ;",
            &[("transport", "tcp"), ("traddr", "1.1.1.1")],
            0,
        ),
        ("transport=tcp;nqn=abc", &[("transport", "tcp"), ("subsysnqn", "abc")], 0),
        ("subsysnqn=abc", &[("subsysnqn", "abc")], 0),
        ("host-nqn=h;host-traddr=a", &[("host-traddr", "a"), ("host-nqn", "h")], 0),
        ("transport=tcp;bogus=1", &[("transport", "tcp")], 1),
    ] {
        let expected: Vec<_> = expected.iter().map(|&(n, v)| (n, v.to_owned())).collect();
        assert_eq!(fields(text), (expected, complaints), "{text:?}");
    }
}

// R052
#[test]
fn a_padded_secret_is_kept_whole() {
    let padded = format!("DHHC-1:02:{}==:", "A".repeat(70));
    let (entry, complaints) = parse(&format!("dhchap-secret={padded}"), 1);
    assert_eq!(complaints, [""; 0]);
    let secret = entry.overrides.dhchap_secret.expect("a secret");
    assert_eq!(secret.expose(), Some(padded.as_str()));
}

// R054, R058
#[test]
fn overrides_are_checked_like_the_keys() {
    type Check = fn(&Parameters) -> bool;
    let cases: &[(&str, usize, Check)] = &[
        ("queue-size=5", 1, |p| p.queue_size.is_none()),
        ("queue-size=16", 0, |p| p.queue_size == Some(16)),
        ("hdr-digest=maybe", 1, |p| p.hdr_digest == Some(false)),
        ("data-digest=", 1, |p| p.data_digest == Some(false)),
        ("disable-sqflow=x", 1, |p| p.disable_sqflow.is_none()),
        ("tos=255", 0, |p| p.tos == Some(255)),
        ("tos=256", 1, |p| p.tos.is_none()),
        ("fast-io-fail-tmo=-1", 0, |p| p.fast_io_fail_tmo == Some(-1)),
        ("host-id=11111111-2222-3333-4444-555555555555", 0, |p| p.host_id.is_some()),
        ("host-id=nope", 1, |p| p.host_id.is_none()),
        ("tls=TRUE;tls-key=0x1f;keyring=12", 0, |p| {
            (p.tls, p.tls_key, p.keyring) == (Some(true), Some(0x1f), Some(12))
        }),
        ("tls=perhaps", 1, |p| p.unusable == Some("tls")),
        ("tls-key=0", 1, |p| p.unusable == Some("tls-key")),
        ("dhchap-secret=oops", 1, |p| {
            p.unusable == Some("dhchap-secret") && p.dhchap_secret.is_none()
        }),
        ("dhchap-secret-file=/a/b", 0, |p| {
            p.dhchap_secret == Some(Secret::File("/a/b".to_owned()))
        }),
        ("dhchap-ctrl-secret-file=b", 1, |p| p.unusable == Some("dhchap-ctrl-secret-file")),
        ("dhchap-secret=file:///a", 0, |p| p.dhchap_secret == Some(Secret::File("/a".to_owned()))),
        ("dhchap-ctrl-secret=credential:c", 0, |p| {
            p.dhchap_ctrl_secret == Some(Secret::Credential("c".to_owned()))
        }),
    ];
    for (text, complaints, check) in cases {
        let (entry, told) = parse(text, 1);
        assert_eq!(told.len(), *complaints, "{text}");
        assert!(check(&entry.overrides), "{text}: {:?}", entry.overrides);
    }
}

// R056
#[test]
fn incomplete_entries_are_told() {
    let fc = "transport=fc;traddr=nn-0x1:pn-0x2";
    for (text, finder, connector) in [
        ("traddr=1.1.1.1;nqn=n", Some("transport"), Some("transport")),
        ("transport=tcp;nqn=n", Some("traddr"), Some("traddr")),
        ("transport=tcp;traddr=1.1.1.1", None, Some("nqn")),
        ("transport=tcp;traddr=1.1.1.1;nqn=n", None, None),
        ("transport=tcp;traddr=none;nqn=n", Some("traddr"), Some("traddr")),
        (&format!("{fc};nqn=n"), Some("host-traddr"), Some("host-traddr")),
        (&format!("{fc};host-traddr=nn-0x3:pn-0x4;nqn=n"), None, None),
        ("transport=loop;nqn=n", None, None),
    ] {
        let (entry, _) = parse(text, 1);
        for (role, missing) in [(Role::Finder, finder), (Role::Connector, connector)] {
            assert_eq!(entry.missing(role), missing, "{text} {role:?}");
            assert_eq!(entry.complete(role), missing.is_none());
            let (_, diagnostics) = read(role, &format!("[Controllers]\ncontroller={text}\n"));
            assert_eq!(diagnostics.len(), usize::from(missing.is_some()), "{diagnostics:?}");
        }
    }
    let (entry, _) = parse("transport=tcp;traddr=1.1.1.1", 1);
    assert_eq!(entry.wanted(Role::Finder).subsysnqn, DISC_NQN);
    assert_eq!(entry.wanted(Role::Connector).subsysnqn, "");
}

// R059, R061
#[test]
fn exclusions_that_would_match_too_much_are_ignored() {
    for (line, kept) in [
        ("exclude=transport=tcp;traddr=1.1.1.1", true),
        ("exclude=nqn=n;host-traddr=1.1.1.1", true),
        ("exclude=", false),
        ("exclude", false),
        ("exclude=;;", false),
        ("exclude=malformed", false),
        ("exclude=host-traddr=1.1.1.1", false),
        ("exclude=transport=", false),
        ("exclude=transport=tcp;bogus=1", false),
    ] {
        let (settings, diagnostics) = read(Role::Finder, &format!("[Controllers]\n{line}\n"));
        assert_eq!(settings.excludes.len(), usize::from(kept), "{line}");
        assert_eq!(diagnostics.is_empty(), kept, "{line}: {diagnostics:?}");
        assert!(diagnostics.iter().all(|told| told.level == Level::Warn));
    }
}

proptest! {
    // R051
    #[test]
    fn no_entry_makes_the_reader_panic(text in any::<String>()) {
        let (entry, complaints) = parse(&text, 1);
        prop_assert_eq!(entry.line, 1);
        prop_assert!(complaints.iter().all(|text| !text.chars().any(char::is_control)));
        let (exclusion, _) = parse_exclusion(&text, 1);
        // An exclusion never matches a controller about which nothing is known.
        prop_assert!(exclusion.is_none_or(|exclusion| !exclusion.matches(&Fields::default())));
    }
}
