// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of `stasadm`, each on a file tree of its own.

use std::os::unix::fs::PermissionsExt;

use plinth::err::USAGE;

use super::*;
use crate::ctl::testing::Place;

/// What the machine-id of [`host`] stands for.
const UUID: &str = "3da64a01-16c5-4e10-ac46-397e2372b964";
const NQN: &str = "nqn.2014-08.org.nvmexpress:uuid:3da64a01-16c5-4e10-ac46-397e2372b964";
const CONF: &str = "etc/stas/sys.conf";

/// A host with a machine-id and no names.
fn host() -> Place {
    let place = Place::new();
    place.file("etc/machine-id", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n");
    place
}

fn run_as(superuser: bool, place: &Place, words: &[&str]) -> (Result<u8, Failure>, String) {
    let mut out = Vec::new();
    let root = place.0.root();
    let mut world = World { env: &|_| None, root, superuser, out: &mut out, terminal: false };
    let result = run(words.iter().map(OsString::from), &mut world);
    (result, String::from_utf8(out).expect("UTF-8"))
}

/// Runs what must succeed and print nothing.
fn quietly(place: &Place, words: &[&str]) {
    let (result, out) = run_as(true, place, words);
    assert_eq!((result.expect("done"), out.as_str()), (0, ""), "{words:?}");
}

/// Runs what must fail; the message.
fn refused(place: &Place, words: &[&str]) -> String {
    let (result, out) = run_as(true, place, words);
    let failure = result.expect_err("refused");
    assert_eq!((failure.exit, out.as_str()), (1, ""), "{failure}");
    failure.to_string()
}

fn text(place: &Place, path: &str) -> String {
    fs::read_to_string(place.0.join(path)).unwrap_or_default()
}

#[test]
fn without_a_file_the_value_goes_into_the_configuration() {
    let place = host();
    quietly(&place, &["hostnqn"]);
    assert_eq!(text(&place, CONF), format!("[Host]\nnqn = {NQN}\n"));
    quietly(&place, &["hostid"]);
    assert_eq!(text(&place, CONF), format!("[Host]\nnqn = {NQN}\nid = {UUID}\n"));
}

#[test]
fn with_a_file_the_configuration_refers_to_it() {
    let place = host();
    quietly(&place, &["hostnqn", "-f", "/etc/nvme/new/hostnqn"]);
    assert_eq!(text(&place, "etc/nvme/new/hostnqn"), format!("{NQN}\n"));
    assert_eq!(text(&place, CONF), "[Host]\nnqn = file:///etc/nvme/new/hostnqn\n");
    for path in ["etc/nvme/new/hostnqn", CONF] {
        let mode = fs::metadata(place.0.join(path)).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o644, "{path}");
    }
    quietly(&place, &["set-symname", "--file=/etc/nvme/symname", "left-rack"]);
    assert_eq!(text(&place, "etc/nvme/symname"), "left-rack\n");
    assert!(text(&place, CONF).ends_with("symname = file:///etc/nvme/symname\n"));
}

#[test]
fn another_configuration_is_edited_on_request() {
    let place = host();
    quietly(&place, &["-c", "/tmp/my.conf", "hostnqn"]);
    assert_eq!(text(&place, "tmp/my.conf"), format!("[Host]\nnqn = {NQN}\n"));
    assert_eq!(text(&place, CONF), "");
}

#[test]
fn printing_saves_nothing() {
    let place = host();
    let (result, out) = run_as(false, &place, &["hostnqn", "--print"]);
    assert_eq!((result.expect("done"), out), (0, format!("{NQN}\n")));
    let (result, out) = run_as(false, &place, &["hostid", "--print"]);
    assert_eq!((result.expect("done"), out), (0, format!("{UUID}\n")));
    assert_eq!(text(&place, CONF), "");
}

#[test]
fn a_name_that_exists_is_kept_unless_force_is_used() {
    for (path, content) in [
        ("etc/nvme/hostnqn", "nqn.2014-08.org.example:old\n"),
        (CONF, "[Host]\nnqn=nqn.2014-08.org.example:old\n"),
    ] {
        let place = host();
        place.file(path, content);
        let before = text(&place, CONF);
        for words in [&["hostnqn"][..], &["hostnqn", "-f", "/etc/nvme/hostnqn"]] {
            let message = refused(&place, words);
            assert!(message.contains("'nqn.2014-08.org.example:old' already"), "{message}");
            assert!(message.contains("--force"), "{message}");
        }
        assert_eq!((text(&place, path), text(&place, CONF)), (content.into(), before));
        quietly(&place, &["hostnqn", "--force", "-f", "/etc/nvme/hostnqn"]);
        assert_eq!(text(&place, "etc/nvme/hostnqn"), format!("{NQN}\n"));
        assert_eq!(text(&place, CONF).lines().nth(1), Some("nqn = file:///etc/nvme/hostnqn"));
    }
}

#[test]
fn a_value_file_that_nothing_refers_to_is_kept_as_well() {
    let place = host();
    place.file("srv/id", "  11111111-2222-3333-4444-555555555555 note\n");
    let message = refused(&place, &["hostid", "-f", "/srv/id"]);
    assert!(message.starts_with("/srv/id has the host ID '11111111-2222-"), "{message}");
    assert_eq!(text(&place, CONF), "");
}

#[test]
fn the_same_name_again_and_an_empty_file_are_no_conflict() {
    let place = host();
    place.file("etc/nvme/hostnqn", "\n");
    for _ in 0..2 {
        quietly(&place, &["hostnqn", "-f", "/etc/nvme/hostnqn"]);
        assert_eq!(text(&place, "etc/nvme/hostnqn"), format!("{NQN}\n"));
        assert_eq!(text(&place, CONF), "[Host]\nnqn = file:///etc/nvme/hostnqn\n");
    }
}

#[test]
fn the_id_follows_the_nqn_in_force() {
    let place = host();
    let other = "11111111-2222-3333-4444-555555555555";
    place.file("etc/nvme/hostnqn", &format!("nqn.2014-08.org.nvmexpress:uuid:{other}\n"));
    quietly(&place, &["hostid", "-f", "/etc/nvme/hostid"]);
    assert_eq!(text(&place, "etc/nvme/hostid"), format!("{other}\n"));
    let place = host();
    place.file("etc/nvme/hostnqn", "nqn.2014-08.org.example:no-uuid\n");
    quietly(&place, &["hostid", "-f", "/etc/nvme/hostid"]);
    let id = text(&place, "etc/nvme/hostid");
    assert!(hostid::is_uuid(id.trim()) && id.trim() != UUID, "{id}");
}

#[test]
fn who_is_not_root_gets_no_chance_instead_of_a_source_out_of_sight() {
    let place = Place::new();
    let (result, out) = run_as(false, &place, &["hostnqn"]);
    let failure = result.expect_err("denied");
    assert_eq!((failure.exit, out.as_str()), (1, ""));
    assert!(failure.cause.is::<Verbatim>());
    assert_eq!(failure.to_string(), "Permission denied. Root privileges required.");
    assert_eq!(text(&place, CONF), "");
    let (result, out) = run_as(true, &place, &["hostnqn", "--print"]);
    assert_eq!(result.expect("by chance"), 0);
    assert!(hostid::uuid_of_nqn(out.trim()).is_some(), "{out}");
    place.file("sys/class/dmi/id/product_uuid", "00112233-4455-6677-8899-aabbccddeeff\n");
    let (result, out) = run_as(false, &place, &["hostnqn", "--print"]);
    assert_eq!(result.expect("a source in sight"), 0);
    assert_eq!(out, "nqn.2014-08.org.nvmexpress:uuid:33221100-5544-7766-8899-aabbccddeeff\n");
}

#[test]
fn setting_and_clearing_the_symbolic_name_leaves_the_rest_byte_for_byte() {
    let place = host();
    let before = "# who we are\r\n\n[Host]\n; by hand\nnqn=file:///etc/nvme/hostnqn\n\
                  odd line = 1\n\n[Other]\nx\n";
    place.file(CONF, before);
    quietly(&place, &["set-symname", "a name: with = and # signs"]);
    let with = text(&place, CONF);
    assert!(with.contains("\nsymname = a name: with = and # signs"), "{with}");
    quietly(&place, &["clear-symname"]);
    assert_eq!(text(&place, CONF), before);
    quietly(&place, &["clear-symname"]);
    assert_eq!(text(&place, CONF), before);
}

#[test]
fn clearing_what_was_never_there_makes_no_file() {
    let place = host();
    quietly(&place, &["clear-symname"]);
    assert!(!place.0.join(CONF).exists());
}

#[test]
fn what_would_not_read_back_is_refused() {
    let place = host();
    for (words, part) in [
        (&["set-symname", " \t"][..], "it is empty"),
        (&["set-symname", "two\nlines"], "control characters"),
        (&["set-symname", "file:///etc/shadow"], "name of a file"),
        (&["set-symname", "-f", "/etc/n", "two words"], "only the first word"),
        (&["hostnqn", "-f", "/etc/n\nid=x"], "no such file name"),
        (&["hostnqn", "-f", "/etc/n "], "no such file name"),
    ] {
        let message = refused(&place, words);
        assert!(message.contains(part), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
    assert_eq!(text(&place, CONF), "");
}

#[test]
fn a_configuration_that_is_no_text_is_left_alone() {
    let place = host();
    place.file(CONF, "");
    fs::write(place.0.join(CONF), b"[Host]\n# \xff\n").expect("written");
    let message = refused(&place, &["hostnqn"]);
    assert_eq!(message, "cannot read /etc/stas/sys.conf: not UTF-8");
}

#[test]
fn show_names_each_value_with_origin_and_fault() {
    let place = host();
    place.file(CONF, "[Host]\nid = file:///etc/id\nsymname = rack\u{1b}[2J\nid =\n");
    place.file("etc/id", "not-a-uuid\n");
    let (result, out) = run_as(false, &place, &["show"]);
    assert_eq!(result.expect("done"), 0);
    let lines: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect())
        .collect();
    assert_eq!(lines[0], ["NAME", "VALUE", "ORIGIN", "STATE"]);
    assert_eq!(lines[1][..3], ["hostnqn", "-", "/etc/nvme/hostnqn"]);
    assert!(lines[1][3].contains("No such file"), "{out}");
    assert_eq!(lines[2], ["hostid", "not-a-uuid", "/etc/id", "not a UUID"]);
    assert_eq!(lines[3], ["symname", r"rack\u{1b}[2J", "/etc/stas/sys.conf", "valid"]);
    let (result, out) = run_as(false, &place, &["show", "--json"]);
    assert_eq!(result.expect("done"), 0);
    let value: Value = serde_json::from_str(&out).expect("JSON");
    let (bad, why) = ("not-a-uuid", "not a UUID");
    let id = json!({ "value": bad, "origin": "/etc/id", "valid": false, "problem": why });
    assert_eq!(value["hostid"], id);
    assert_eq!(value["hostnqn"]["value"], Value::Null);
    assert_eq!(value["symname"]["valid"], json!(true));
}

#[test]
fn show_knows_when_all_is_well() {
    let place = host();
    quietly(&place, &["hostnqn", "-f", "/etc/nvme/hostnqn"]);
    quietly(&place, &["hostid"]);
    let (_, out) = run_as(false, &place, &["show", "--json"]);
    let value: Value = serde_json::from_str(&out).expect("JSON");
    let nqn =
        json!({ "value": NQN, "origin": "/etc/nvme/hostnqn", "valid": true, "problem": null });
    assert_eq!(value["hostnqn"], nqn);
    assert_eq!(value["hostid"]["origin"], "/etc/stas/sys.conf");
    let unset =
        json!({ "value": null, "origin": "/etc/stas/sys.conf", "valid": true, "problem": null });
    assert_eq!(value["symname"], unset);
}

/// A host with both names.
fn named() -> Place {
    let place = host();
    place.file("etc/nvme/hostnqn", &format!("{NQN}\n"));
    place.file("etc/nvme/hostid", &format!("{UUID}\n"));
    place
}

fn check(place: &Place, words: &[&str]) -> (u8, String) {
    let words: Vec<&str> = ["check"].iter().chain(words).copied().collect();
    let (result, out) = run_as(false, place, &words);
    (result.expect("checked"), out)
}

#[test]
fn a_good_host_has_nothing_to_complain_about() {
    assert_eq!(check(&named(), &[]), (0, String::new()));
    let place = named();
    place.file(CONF, "[Host]\n#nqn=nonsense\nsymname=x\n");
    assert_eq!(check(&place, &[]), (0, String::new()));
}

#[test]
fn problems_of_the_host_are_named_with_file_and_line() {
    let place = named();
    place.file(CONF, "[Host]\nsymname=x\ncolour=red\n[Guest]\n");
    let (status, out) = check(&place, &[]);
    assert_eq!(status, 1);
    assert!(out.contains("/etc/stas/sys.conf:3: ") && out.contains("'colour'"), "{out}");
    assert!(out.contains("/etc/stas/sys.conf:4: ") && out.contains("[Guest]"), "{out}");
    place.file(CONF, "[Host]\nnqn=nonsense\n");
    let (status, out) = check(&place, &["/etc/stas/sys.conf"]);
    assert_eq!(status, 1);
    assert!(out.starts_with("/etc/stas/sys.conf:") && out.contains("'nonsense'"), "{out}");
    let (status, out) = check(&host(), &[]);
    assert_eq!((status, out.contains("/etc/nvme/hostnqn")), (1, true), "{out}");
}

#[test]
fn names_that_connections_contradict_are_a_problem() {
    let place = named();
    let device = |name: &str, nqn: &str, id: &str| {
        place.file(&format!("sys/class/nvme/{name}/hostnqn"), &format!("{nqn}\n"));
        place.file(&format!("sys/class/nvme/{name}/hostid"), &format!("{id}\n"));
    };
    device("nvme0", NQN, &UUID.to_uppercase());
    place.file("sys/class/nvme/nvme1/model", "a local disk\n");
    assert_eq!(check(&place, &[]), (0, String::new()));
    device("nvme2", "nqn.other", UUID);
    device("nvme3", NQN, "11111111-2222-3333-4444-555555555555");
    device("nvme4", "nqn.other", UUID);
    let (status, out) = check(&place, &[]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((status, lines.len()), (1, 2), "{out}");
    assert!(lines[0].contains("nvme2 uses this host ID with the host NQN nqn.other"), "{out}");
    assert!(lines[1].contains("nvme3 uses this host NQN with the host ID 1111"), "{out}");
}

#[test]
fn the_daemons_files_are_read_as_the_daemons_read_them() {
    let place = named();
    for name in ["stafd", "stacd"] {
        let path = format!("etc/stas/{name}.conf");
        place.file(&path, "[Global]\ntron = true\n");
        let shown = format!("/{path}");
        assert_eq!(check(&place, &[&shown]), (0, String::new()));
        place.file(&path, "[Global]\ntron = true\nno-such-key = 1\n");
        let (status, out) = check(&place, &[&shown]);
        assert_eq!(status, 1);
        assert!(out.starts_with(&format!("{shown}:3: ")), "{out}");
        place.file(&path, "[Global]\n");
        place.file(&format!("{path}.d/10-more.conf"), "[Global]\nno-such-key = 1\n");
        let (status, out) = check(&place, &[&shown]);
        assert_eq!((status, out.contains("10-more.conf:2: ")), (1, true), "{out}");
    }
}

#[test]
fn a_file_of_any_name_is_known_by_its_sections() {
    let place = named();
    for (text, key) in [
        ("[Service Discovery]\nmean=1\n", "mean"),
        ("[I/O controller connection management]\nmean=1\n", "mean"),
        ("[Host]\nmean=1\n", "mean"),
    ] {
        place.file("tmp/draft", text);
        let (status, out) = check(&place, &["/tmp/draft"]);
        assert_eq!(status, 1, "{text}");
        assert!(out.starts_with("/tmp/draft:2: ") && out.contains(key), "{out}");
    }
    place.file("tmp/draft", "[Global]\n");
    let (result, _) = run_as(false, &place, &["check", "/tmp/draft"]);
    assert_eq!(result.expect_err("nobody's").exit, USAGE);
    let message = refused(&place, &["check", "/tmp/missing"]);
    assert!(message.starts_with("cannot read /tmp/missing: "), "{message}");
}

#[test]
fn bad_usage_is_told_apart() {
    let place = host();
    for words in [
        &["set-symname"][..],
        &["set-symname", "a", "b"],
        &["hostnqn", "--colour"],
        &["hostnqn", "-f"],
        &["hostnqn", "-f", ""],
        &["rename"],
        &["clear-symname", "x"],
    ] {
        let (result, out) = run_as(true, &place, words);
        assert_eq!((result.expect_err("bad usage").exit, out.as_str()), (USAGE, ""), "{words:?}");
    }
    let (result, out) = run_as(true, &place, &[]);
    assert_eq!(result.expect("usage"), 1);
    assert!(out.starts_with("Usage: stasadm "), "{out}");
}
