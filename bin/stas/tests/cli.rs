// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands as processes: exit status, streams, closed pipes, hostile arguments.
//!
//! What the commands ask and print is tested beside their code. Here the daemons are a few lines of
//! the test, and there is no message bus.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use plinth::testing::{LONG, Patient, Place, finished, joined, output, ready};
use serde_json::json;
use stas::core::control::{self, Request};

const STAFCTL: &str = env!("CARGO_BIN_EXE_stafctl");
const STACCTL: &str = env!("CARGO_BIN_EXE_stacctl");
const STASADM: &str = env!("CARGO_BIN_EXE_stasadm");
const TOOLS: [(&str, &str); 3] = [("stafctl", STAFCTL), ("stacctl", STACCTL), ("stasadm", STASADM)];

/// A daemon at `ctl.sock` that reads one line of one client and answers with `bytes`, then
/// waits for the client to hang up.
fn daemon(place: &Place, bytes: impl Into<Vec<u8>>) -> JoinHandle<Request> {
    let listener = UnixListener::bind(place.join("ctl.sock")).expect("a socket");
    let bytes = bytes.into();
    thread::spawn(move || {
        let (mut to, _) = ready(&listener).accept().expect("a client");
        to.set_write_timeout(Some(LONG)).expect("a limit");
        let mut from = BufReader::new(Patient::new(to.try_clone().expect("a second handle")));
        let mut line = String::new();
        from.read_line(&mut line).expect("a request");
        let request = Request::decode(line.trim_end().as_bytes()).expect("a request");
        // The client may have gone already.
        drop(to.write_all(&bytes));
        line.clear();
        drop(from.read_line(&mut line));
        request
    })
}

/// A tool in a world without message bus and without preferences.
fn tool<S: AsRef<OsStr>>(program: &str, words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command
        .args(words)
        .env_remove("STAS_OUTPUT")
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .stdin(Stdio::null());
    command
}

fn run<S: AsRef<OsStr>>(program: &str, words: impl IntoIterator<Item = S>) -> Output {
    output(&mut tool(program, words))
}

/// Status, standard output, standard error.
fn ended(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The words with the control socket of `place` before them.
fn over(place: &Place, words: &[&str]) -> Vec<OsString> {
    let socket = ["--socket".into(), place.join("ctl.sock").into_os_string()];
    socket.into_iter().chain(words.iter().map(OsString::from)).collect()
}

#[test]
fn help_and_version_go_to_standard_output_and_succeed() {
    for (name, program) in TOOLS {
        for word in ["--help", "-h", "--he"] {
            let (status, out, err) = ended(&run(program, [word]));
            assert_eq!((status, err.as_str()), (Some(0), ""));
            assert!(out.starts_with(&format!("Usage: {name} ")), "{out}");
        }
        for word in ["--version", "-v"] {
            let (status, out, err) = ended(&run(program, [word]));
            let version = format!("nvme-stas {}\n", env!("CARGO_PKG_VERSION"));
            assert_eq!((status, out, err.as_str()), (Some(0), version, ""));
        }
        let (status, out, _) = ended(&run(program, ["--completions", "bash"]));
        assert_eq!(status, Some(0));
        assert!(out.contains(&format!("complete -o default -F _{name} {name}")), "{out}");
    }
    let (status, out, _) = ended(&run(STAFCTL, ["dlp", "--help"]));
    assert_eq!(status, Some(0));
    assert!(out.contains("--traddr"), "{out}");
}

#[test]
fn no_command_prints_the_usage_and_fails() {
    for (name, program) in TOOLS {
        let (status, out, err) = ended(&run(program, [""; 0]));
        assert_eq!((status, err.as_str()), (Some(1), ""));
        assert!(out.starts_with(&format!("Usage: {name} ")), "{out}");
    }
}

#[test]
fn bad_usage_is_one_line_on_standard_error_that_names_the_word() {
    for (name, program) in TOOLS {
        for words in [
            &["--no-such-option"][..],
            &["-X"],
            &["no-such-command"],
            &["--conf=", "--json=1", "--no"],
            &["--completions", "tcsh"],
        ] {
            let (status, out, err) = ended(&run(program, words));
            assert_eq!((status, out.as_str()), (Some(2), ""), "{name} {words:?}");
            assert!(err.starts_with(&format!("{name}: ")), "{err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
    let (_, _, err) = ended(&run(STAFCTL, ["dlp", "--host=x"]));
    assert!(err.contains("--host-iface") && err.contains("--host-traddr"), "{err}");
    let (status, _, err) = ended(&run(STACCTL, ["adlp"]));
    assert_eq!((status, err.as_str()), (Some(2), "stacctl: unknown command 'adlp'\n"));
}

#[test]
fn hostile_bytes_in_arguments_do_no_harm() {
    let hostile: Vec<OsString> = [
        &b"\xff\xfe"[..],
        b"\x1b]0;title\x07",
        b"a\nb",
        b"--\xff",
        b"-\xff",
        b"--output=\xff",
        "\u{202e}x".as_bytes(),
        &[b'x'; 5000],
    ]
    .map(|bytes| OsString::from_vec(bytes.to_vec()))
    .into();
    for (_, program) in TOOLS {
        for word in &hostile {
            let (status, out, err) = ended(&run(program, [word]));
            assert_eq!((status, out.as_str()), (Some(2), ""), "{word:?}");
            assert_eq!(err.lines().count(), 1, "{err:?}");
            assert!(!err.trim_end().chars().any(|c| c.is_control() || c == '\u{202e}'), "{err:?}");
        }
    }
    let place = Place::new();
    let socket = OsStr::from_bytes(b"/nonexistent/\xff\x1b[2J");
    let words = [OsStr::new("--socket"), socket, OsStr::new("ls")];
    let (status, _, err) = ended(&run(STAFCTL, words));
    assert_eq!(status, Some(1));
    assert!(!err.contains('\u{1b}'), "{err:?}");
    let root = place.as_os_str();
    for word in hostile.iter().filter(|word| word.len() < 200) {
        let words = [OsStr::new("--root"), root, OsStr::new("set-symname"), OsStr::new("--"), word];
        let output = run(STASADM, words);
        assert_ne!(output.status.code(), None, "{word:?}");
    }
}

#[test]
fn a_daemon_that_does_not_run_is_reported_in_known_words() {
    // Where a daemon runs on this host after all there is nothing to be seen.
    for (program, daemon) in [(STAFCTL, "stafd"), (STACCTL, "stacd")] {
        if Path::new(&format!("/run/{daemon}/ctl.sock")).exists() {
            continue;
        }
        for words in [&["ls"][..], &["status", "--json"], &["tron"]] {
            let text =
                format!("Unable to communicate with {daemon} over D-Bus. Is {daemon} running?\n");
            assert_eq!(ended(&run(program, words)), (Some(1), String::new(), text));
        }
    }
}

#[test]
fn a_socket_that_may_not_be_used_is_a_denial() {
    let place = Place::new();
    let _listener = UnixListener::bind(place.join("ctl.sock")).expect("a socket");
    fs::set_permissions(place.join("ctl.sock"), Permissions::from_mode(0o000)).expect("closed");
    fs::set_permissions(&*place, Permissions::from_mode(0o755)).expect("open");
    // Nothing is denied to root, and another user may not reach the build directory by name.
    let program = File::open(STAFCTL).expect("the tool");
    rustix::io::fcntl_setfd(&program, rustix::io::FdFlags::empty()).expect("inherited");
    let name = format!("/proc/self/fd/{}", program.as_raw_fd());
    let mut command = tool(&name, over(&place, &["ls"]));
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let (status, out, err) = ended(&output(&mut command));
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("stafctl: access denied, root is needed (stafd: "), "{err}");
}

#[test]
fn an_answer_is_printed_in_the_form_chosen() {
    let list = json!([{ "device": "nvme0", "connected": "True" }]);
    let python = "[{'connected': 'True', 'device': 'nvme0'}]\n";
    let document =
        "[{\"connected\":\"True\",\"device\":\"nvme0\",\"typed\":{\"connected\":true}}]\n";
    for (words, variable, expected) in [
        (&["ls"][..], None, python),
        (&["ls", "--json"], None, document),
        (&["ls"], Some("json"), document),
        (&["-o", "python", "ls"], Some("json"), python),
    ] {
        let place = Place::new();
        let daemon = daemon(&place, control::reply(Some(1), &list));
        let mut command = tool(STAFCTL, over(&place, words));
        variable.map(|value| command.env("STAS_OUTPUT", value));
        let said = output(&mut command);
        assert_eq!(ended(&said), (Some(0), expected.to_owned(), String::new()));
        joined(daemon);
    }
    let mut command = tool(STAFCTL, ["ls"]);
    let (status, _, err) = ended(&output(command.env("STAS_OUTPUT", "yaml")));
    assert_eq!(status, Some(2));
    assert!(err.contains("STAS_OUTPUT") && err.contains("'yaml'"), "{err}");
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let place = Place::new();
    let daemon = daemon(&place, control::reply(Some(1), &json!(["x".repeat(100_000)])));
    for words in [vec![OsString::from("--help")], over(&place, &["ls"])] {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        drop(reader);
        let mut command = tool(STAFCTL, words);
        command.stdout(writer).stderr(Stdio::piped());
        let said = finished(command.spawn().expect("the tool runs"));
        assert_eq!(ended(&said), (Some(0), String::new(), String::new()));
    }
    joined(daemon);
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = File::options().write(true).open("/dev/full").expect("a full device");
    let mut command = tool(STASADM, ["--version"]);
    command.stdout(full).stderr(Stdio::piped());
    let (status, _, err) = ended(&finished(command.spawn().expect("the tool runs")));
    assert_eq!(status, Some(1));
    assert!(err.starts_with("stasadm: cannot write to standard output: No space left"), "{err}");
}

#[test]
fn a_message_that_cannot_be_written_changes_no_status() {
    for (program, words) in
        [(STAFCTL, &["nosuch"][..]), (STACCTL, &["nosuch"]), (STASADM, &["hostnqn", "--nosuch"])]
    {
        let full = File::options().write(true).open("/dev/full").expect("a full device");
        let output = tool(program, words).stderr(full).output().expect("the tool runs");
        assert_eq!(output.status.code(), Some(2), "{program}");
    }
}

#[test]
fn a_daemon_that_talks_nonsense_is_a_failure() {
    for (bytes, part) in [
        (b"HTTP/1.0 400 Bad Request\r\n".to_vec(), "the message is no JSON"),
        (b"{\"id\":1,\"result\":{\n".to_vec(), "the message is no JSON"),
        (b"{}\n".to_vec(), "neither result nor error nor signal"),
        (b"\xff\xff\n".to_vec(), "the message is no JSON"),
        (vec![b'x'; control::REPLY_BYTES_MAX + 2], "line longer than 16777216 bytes"),
        (
            b"{\"id\":1,\"error\":{\"name\":\"e.x\",\"text\":\"no\\u001b\"}}\n".to_vec(),
            "stafd answered e.x: no\\u{1b}",
        ),
    ] {
        let place = Place::new();
        let daemon = daemon(&place, bytes);
        let (status, out, err) = ended(&run(STAFCTL, over(&place, &["adlp"])));
        assert_eq!((status, out.as_str()), (Some(1), ""));
        assert!(err.starts_with("stafctl: ") && err.contains(part), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        joined(daemon);
    }
}

#[test]
fn a_silent_daemon_is_waited_for_no_longer_than_told() {
    let place = Place::new();
    let daemon = daemon(&place, "");
    let (status, out, err) = ended(&run(STAFCTL, over(&place, &["wait", "--timeout", "0.1"])));
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert_eq!(err, "stafctl: no answer from stafd within 0.25 s\n");
    assert_eq!(joined(daemon).call, control::Call::Subscribe);
}

#[test]
fn stasadm_works_on_a_tree_below_another_root() {
    let place = Place::new();
    fs::create_dir_all(place.join("etc")).expect("made");
    let machine_id = "0123456789abcdef0123456789abcdef\n";
    fs::write(place.join("etc/machine-id"), machine_id).expect("written");
    let adm = |words: &[&str]| {
        let root = [OsStr::new("--root"), place.as_os_str()];
        ended(&run(STASADM, root.into_iter().chain(words.iter().map(OsStr::new))))
    };
    let quiet = (Some(0), String::new(), String::new());
    assert_eq!(adm(&["hostnqn", "-f", "/etc/nvme/hostnqn"]), quiet);
    assert_eq!(adm(&["hostid", "-f", "/etc/nvme/hostid"]), quiet);
    assert_eq!(adm(&["set-symname", "--", "-left- rack"]), quiet);
    assert_eq!(adm(&["check"]), quiet);
    let text = |path: &str| fs::read_to_string(place.join(path)).expect("written");
    let uuid = "f2782346-4809-484a-9a8b-952a04b57ba4";
    let nqn = format!("nqn.2014-08.org.nvmexpress:uuid:{uuid}");
    assert_eq!(text("etc/nvme/hostnqn"), format!("{nqn}\n"));
    assert_eq!(text("etc/nvme/hostid"), format!("{uuid}\n"));
    let conf = "[Host]\nnqn = file:///etc/nvme/hostnqn\nid = file:///etc/nvme/hostid\n\
                symname = -left- rack\n";
    assert_eq!(text("etc/stas/sys.conf"), conf);
    let (status, out, _) = adm(&["show"]);
    assert_eq!(status, Some(0));
    assert!(out.contains(&nqn) && out.contains("/etc/nvme/hostid"), "{out}");
    let (status, out, err) = adm(&["-c", "/etc/stas/sys.conf", "set-symname"]);
    assert_eq!((status, out.as_str()), (Some(2), ""));
    assert!(err.contains("SYMNAME"), "{err}");
}

#[test]
fn a_relative_path_is_stored_as_an_absolute_one() {
    let place = Place::new();
    let mut command = tool(STASADM, ["-c", "sys.conf", "set-symname", "-f", "name", "rack"]);
    let said = output(command.current_dir(&*place));
    assert_eq!(ended(&said), (Some(0), String::new(), String::new()));
    let here = place.canonicalize().expect("there");
    let conf = fs::read_to_string(place.join("sys.conf")).expect("written");
    assert_eq!(conf, format!("[Host]\nsymname = file://{}/name\n", here.display()));
    assert_eq!(fs::read_to_string(place.join("name")).expect("written"), "rack\n");
}
