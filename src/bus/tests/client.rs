// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The blocking client, and the tools of others.

use std::process::Command;
use std::thread;

use super::*;
use crate::bus::client::{Client, ConnectError, OnceError, call_blocking};

/// Serves on connection 0 until `done` is there; runs beside whatever blocks.
fn serving<T: Send>(buses: &mut [Bus], work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let (name, stop) = (buses[0].unique_name().expect("a name").to_owned(), "Reset");
        let worker = scope.spawn(work);
        // The worker's last act is to ask for the end.
        run(buses, |index, event, buses| match event {
            Event::Call(call) => {
                let is_end =
                    matches!(call.operation, Operation::Method { name, .. } if name == stop);
                serve(&mut buses[index], call);
                is_end
            }
            _ => false,
        });
        assert!(name.starts_with(':'));
        worker.join().expect("the work is done")
    })
}

#[test]
fn a_tool_calls_and_gets_its_answer() {
    let daemon = Daemon::new();
    let mut buses = [server(&daemon)];
    run(&mut buses, |_, event, _| *event == Event::NameAcquired);
    let address = daemon.address();
    let (once, big, error) = serving(&mut buses, || {
        let call = echo("Echo", ("once".to_owned(),).into_values());
        let once = call_blocking(&address, &call, PATIENCE);
        let client = Client::connect(&address, PATIENCE).expect("a connection");
        let bytes = vec![7_u8; 3 << 20];
        let big = client.call(&echo("Bytes", (bytes,).into_values()), PATIENCE);
        let error = client.call(&echo("Ohce", vec![]), PATIENCE);
        client.call(&echo("Reset", vec![]), PATIENCE).unwrap_or_default();
        (once, big, error)
    });
    assert_eq!(once, Ok(("once".to_owned(),).into_values()));
    let big = big.map(|values| values == (vec![7_u8; 3 << 20],).into_values());
    assert_eq!(big, Ok(true));
    assert!(
        matches!(&error, Err(CallError::Remote { name, .. }) if name == error::UNKNOWN_METHOD),
        "{error:?}"
    );
}

#[test]
fn a_tool_waits_no_longer_than_it_said() {
    let limit = Duration::from_millis(50);
    let mut daemon = Daemon::absent();
    let call = echo("Echo", ("x".to_owned(),).into_values());
    let result = call_blocking(&daemon.address(), &call, limit);
    assert!(matches!(result, Err(OnceError::Connect(ConnectError::Refused { .. }))), "{result:?}");
    daemon.start();
    // Nobody serves: this connection is not driven.
    let mut buses = [server(&daemon)];
    run(&mut buses, |_, event, _| *event == Event::NameAcquired);
    let result = call_blocking(&daemon.address(), &call, limit);
    assert_eq!(result, Err(OnceError::Call(CallError::TimedOut)));
    daemon.freeze();
    let before = Time::monotonic();
    let result = call_blocking(&daemon.address(), &call, limit);
    assert_eq!(
        result,
        Err(OnceError::Connect(ConnectError::TimedOut { address: daemon.address_text() }))
    );
    assert!(before.until(Time::monotonic()) < PATIENCE / 2);
    daemon.thaw();
    let client = Client::connect(&daemon.address(), PATIENCE).expect("a connection");
    daemon.kill();
    assert_eq!(client.call(&call, PATIENCE), Err(CallError::Disconnected));
}

/// Runs a foreign tool against our server; `None` when it is not installed.
fn foreign(buses: &mut [Bus], address: &Address, command: &str, args: &[&str]) -> Option<String> {
    let output = serving(buses, || {
        let output = Command::new("timeout").args(["20", command]).args(args).output();
        let client = Client::connect(address, PATIENCE).expect("a connection");
        client.call(&echo("Reset", vec![]), PATIENCE).unwrap_or_default();
        output.expect("timeout is installed")
    });
    const NOT_FOUND: i32 = 127;
    if output.status.code() == Some(NOT_FOUND) {
        eprintln!("skipped: {command} is not installed");
        return None;
    }
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn the_tools_of_others_understand_us() {
    let daemon = Daemon::new();
    let mut buses = [server(&daemon)];
    run(&mut buses, |_, event, _| *event == Event::NameAcquired);
    buses[0].publish(PATH, "org.example.Echo.Debug", "Trace", Value::Bool(true));
    let (at, address) = (daemon.address(), daemon.address_text());
    let busctl = format!("--address={address}");
    if let Some(text) =
        foreign(&mut buses, &at, "busctl", &[&busctl, "introspect", "--no-pager", ECHO, PATH])
    {
        for part in [".Echo", "aa{ss}", ".Trace", "emits-change writable", ".Said", "true"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    if let Some(text) =
        foreign(&mut buses, &at, "busctl", &[&busctl, "tree", "--list", "--no-pager", ECHO])
    {
        assert!(text.lines().any(|line| line == PATH), "{text}");
    }
    let dest = format!("--dest={ECHO}");
    let bus = format!("--bus={address}");
    let method = format!("{ECHO}.Echo");
    if let Some(text) = foreign(
        &mut buses,
        &at,
        "dbus-send",
        &[&bus, &dest, "--print-reply=literal", PATH, &method, "string:abc"],
    ) {
        assert_eq!(text.trim(), "abc");
    }
    let gdbus = ["call", "--address", &address, "--dest", ECHO, "--object-path", PATH];
    let args = [&gdbus[..], &["--method", &method, "abc"]].concat();
    if let Some(text) = foreign(&mut buses, &at, "gdbus", &args) {
        assert_eq!(text.trim(), "('abc',)");
    }
}
