// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Routing of calls and introspection documents, without a bus.

use super::super::dispatch::{Directory, Header, Route};
use super::super::object;
use super::*;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const DEBUG: &str = "org.example.Echo.Debug";

fn directory() -> Directory {
    Directory::new(&OBJECTS, Some("0123456789abcdef0123456789abcdef".to_owned()))
}

fn route(
    directory: &Directory,
    path: &str,
    interface: Option<&str>,
    member: &str,
    args: Vec<Value>,
) -> Route {
    let signature = signature_of(&args);
    directory.route(Header { path, interface, member, signature: &signature }, || Some(args))
}

fn refused(route: Route) -> &'static str {
    match route {
        Route::Refuse { name, text } => {
            assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
            name
        }
        other => panic!("{other:?}"),
    }
}

fn strings(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| Value::Str((*text).to_owned())).collect()
}

#[test]
fn a_call_of_the_table_is_delivered_with_or_without_its_interface() {
    for interface in [Some(ECHO), None] {
        let delivered = route(&directory(), PATH, interface, "Echo", strings(&["a"]));
        let operation = Operation::Method { name: "Echo", args: strings(&["a"]) };
        let expected = Route::Deliver {
            path: PATH,
            interface: ECHO,
            operation,
            access: Access::Anyone,
            outputs: "s".to_owned(),
        };
        assert_eq!(delivered, expected);
    }
    let Route::Deliver { access, outputs, .. } =
        route(&directory(), PATH, Some(ECHO), "Reset", vec![])
    else {
        panic!("not delivered")
    };
    assert_eq!((access, outputs.as_str()), (Access::Root, ""));
}

#[test]
fn arguments_are_only_read_when_they_fit() {
    let header = Header { path: PATH, interface: Some(ECHO), member: "Echo", signature: "ay" };
    let wrong = directory().route(header, || panic!("read in vain"));
    assert_eq!(refused(wrong), error::INVALID_ARGS);
    let header = Header { signature: "s", ..header };
    assert_eq!(refused(directory().route(header, || None)), error::INVALID_ARGS, "unreadable");
}

#[test]
fn every_kind_of_unknown_has_its_error() {
    let directory = directory();
    let name =
        |path, interface, member| refused(route(&directory, path, interface, member, vec![]));
    let introspectable = Some("org.freedesktop.DBus.Introspectable");
    let peer = Some("org.freedesktop.DBus.Peer");
    assert_eq!(name("/else", Some(ECHO), "Echo"), error::UNKNOWN_OBJECT);
    assert_eq!(name("/else", None, "Echo"), error::UNKNOWN_OBJECT);
    assert_eq!(name("/else", introspectable, "Introspect"), error::UNKNOWN_OBJECT);
    assert_eq!(name("/org", Some(ECHO), "Echo"), error::UNKNOWN_METHOD);
    assert_eq!(name("/", Some(PROPERTIES), "Get"), error::UNKNOWN_METHOD);
    assert_eq!(name(PATH, Some("a.b"), "Echo"), error::UNKNOWN_INTERFACE);
    assert_eq!(name(PATH, Some(DEBUG), "Echo"), error::UNKNOWN_METHOD);
    assert_eq!(name(PATH, None, "Ohce"), error::UNKNOWN_METHOD);
    assert_eq!(name(PATH, introspectable, "Inspect"), error::UNKNOWN_METHOD);
    assert_eq!(name(PATH, peer, "Pong"), error::UNKNOWN_METHOD);
    assert_eq!(name(PATH, Some(PROPERTIES), "Put"), error::UNKNOWN_METHOD);
    assert_eq!(name(PATH, Some(PROPERTIES), "Get"), error::INVALID_ARGS);
    assert_eq!(
        refused(route(&directory, PATH, peer, "Ping", strings(&["a"]))),
        error::INVALID_ARGS
    );
    let introspect = route(&directory, PATH, introspectable, "Introspect", strings(&["a"]));
    assert_eq!(refused(introspect), error::INVALID_ARGS);
}

#[test]
fn a_peer_is_alive_on_any_path_and_knows_its_machine() {
    let peer = Some("org.freedesktop.DBus.Peer");
    assert_eq!(route(&directory(), "/else", peer, "Ping", vec![]), Route::Answer(vec![]));
    let id = strings(&["0123456789abcdef0123456789abcdef"]);
    assert_eq!(route(&directory(), PATH, None, "GetMachineId", vec![]), Route::Answer(id));
    let nameless = Directory::new(&OBJECTS, None);
    assert_eq!(refused(route(&nameless, "/", peer, "GetMachineId", vec![])), error::FAILED);
}

#[test]
fn properties_are_read_as_published() {
    let mut directory = directory();
    let get = |directory: &Directory, interface, name| {
        route(directory, PATH, Some(PROPERTIES), "Get", strings(&[interface, name]))
    };
    assert_eq!(refused(get(&directory, DEBUG, "Trace")), error::FAILED, "no value yet");
    let publish =
        |directory: &mut Directory, name, value| directory.publish(PATH, DEBUG, name, &value);
    assert_eq!(publish(&mut directory, "Trace", Value::Bool(true)), Some(true));
    assert_eq!(publish(&mut directory, "Trace", Value::Bool(true)), Some(false), "no change");
    assert_eq!(publish(&mut directory, "Trace", Value::Byte(1)), None, "wrong type");
    assert_eq!(publish(&mut directory, "Level", strings(&["INFO"])[0].clone()), Some(false));
    assert_eq!(publish(&mut directory, "Nothing", Value::Bool(true)), None);
    assert_eq!(directory.publish("/else", DEBUG, "Trace", &Value::Bool(true)), None);
    let value = Route::Answer(vec![Value::Variant(Box::new(Value::Bool(true)))]);
    assert_eq!(get(&directory, DEBUG, "Trace"), value);
    assert_eq!(get(&directory, "", "Trace"), value, "any interface");
    assert_eq!(refused(get(&directory, ECHO, "Trace")), error::UNKNOWN_PROPERTY);
    for (interface, count) in [(DEBUG, 2), ("", 2), (ECHO, 0)] {
        let all = route(&directory, PATH, Some(PROPERTIES), "GetAll", strings(&[interface]));
        let Route::Answer(values) = all else { panic!("{all:?}") };
        assert!(
            matches!(&values[..], [Value::Array(array)] if array.items().len() == count),
            "{interface}: {values:?}"
        );
    }
}

#[test]
fn setting_a_property_is_checked_before_the_program_sees_it() {
    let set = |interface: &str, name: &str, value| {
        let args = [strings(&[interface, name]), vec![Value::Variant(Box::new(value))]].concat();
        route(&directory(), PATH, Some(PROPERTIES), "Set", args)
    };
    let delivered = Route::Deliver {
        path: PATH,
        interface: DEBUG,
        operation: Operation::Set { property: "Trace", value: Value::Bool(true) },
        access: Access::Root,
        outputs: String::new(),
    };
    assert_eq!(set(DEBUG, "Trace", Value::Bool(true)), delivered);
    assert_eq!(refused(set(DEBUG, "Trace", Value::Byte(1))), error::INVALID_ARGS);
    assert_eq!(refused(set(DEBUG, "Level", Value::Bool(true))), error::PROPERTY_READ_ONLY);
    assert_eq!(refused(set(DEBUG, "Nothing", Value::Bool(true))), error::UNKNOWN_PROPERTY);
    assert_eq!(refused(set("a.b", "Trace", Value::Bool(true))), error::UNKNOWN_INTERFACE);
}

#[test]
fn signals_are_known_by_their_signature() {
    assert_eq!(directory().signal(PATH, ECHO, "Said").as_deref(), Some("su"));
    assert_eq!(directory().signal(PATH, ECHO, "Gone").as_deref(), Some(""));
    assert_eq!(directory().signal(PATH, ECHO, "Echo"), None);
    assert_eq!(directory().signal("/", ECHO, "Said"), None);
}

/// `BLESS=1` writes the documents anew.
#[test]
fn introspection_is_as_recorded() {
    for (path, file) in [(PATH, "object.xml"), ("/org/example", "parent.xml"), ("/", "root.xml")] {
        let file = format!("{}/fixtures/bus/introspect/{file}", env!("CARGO_MANIFEST_DIR"));
        let xml = object::introspect(&OBJECTS, path).expect("a document");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, &xml).expect("blessed");
        }
        assert_eq!(xml, std::fs::read_to_string(&file).expect(&file), "{file}");
        let header = Header { path, interface: None, member: "Introspect", signature: "" };
        let routed = directory().route(header, || None);
        assert_eq!(routed, Route::Answer(vec![Value::Str(xml)]));
    }
    for path in ["/org/example/Echo/", "/org/exam", "/else"] {
        assert_eq!(object::introspect(&OBJECTS, path), None, "{path}");
    }
}

#[test]
fn a_table_with_a_mistake_is_found_at_the_start() {
    const fn interface(name: &'static str, signature: &'static str) -> Interface {
        let properties: &'static [Property] = match signature.len() {
            1 => &[],
            _ => &[Property { name: "P", signature: "ss", write: None, emits_changed: false }],
        };
        Interface { name, methods: &[], signals: &[], properties }
    }
    static NAME: [Object; 1] = [Object { path: "/", interfaces: &[interface("nodots", "s")] }];
    static TYPE: [Object; 1] = [Object { path: "/", interfaces: &[interface("a.b", "ss")] }];
    static PATH: [Object; 1] = [Object { path: "/a/", interfaces: &[] }];
    for table in [&NAME, &TYPE, &PATH] {
        assert!(std::panic::catch_unwind(|| Directory::new(table, None)).is_err(), "{table:?}");
    }
}
