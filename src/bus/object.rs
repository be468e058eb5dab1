// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Object tables: what a program offers on the bus, as static data, and its introspection document.
//!
//! Owns the types of the tables, look-ups in them and the XML of the interface
//! `org.freedesktop.DBus.Introspectable`. Routing of calls is left to [`super::dispatch`]. Pure.
//! Implements the D-Bus Specification, sections "Standard Interfaces" and "Introspection Data
//! Format".

use std::collections::BTreeSet;
use std::fmt::Write;

use super::signature;

/// One object.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    /// Its path.
    pub path: &'static str,
    /// Its own interfaces; the standard ones (Introspectable, Peer, Properties) come by themselves.
    pub interfaces: &'static [Interface],
}

/// One interface.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    /// Its name, with dots.
    pub name: &'static str,
    /// What can be called.
    pub methods: &'static [Method],
    /// What is emitted.
    pub signals: &'static [Signal],
    /// What can be read, and perhaps set.
    pub properties: &'static [Property],
}

/// One method.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// The arguments of the call.
    pub inputs: &'static [Arg],
    /// The values of the answer.
    pub outputs: &'static [Arg],
    /// Who may call it. Checked in this process, whatever the policy of the bus says.
    pub access: Access,
}

/// One signal.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    /// Its name.
    pub name: &'static str,
    /// What it carries.
    pub args: &'static [Arg],
}

/// One property.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// The signature of its value, a single complete type.
    pub signature: &'static str,
    /// Who may set it; `None` for a read-only property.
    pub write: Option<Access>,
    /// Whether a change is announced by `PropertiesChanged`.
    pub emits_changed: bool,
}

/// One named argument.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Its name, for people and for generated clients.
    pub name: &'static str,
    /// Its signature, a single complete type.
    pub signature: &'static str,
}

/// Who may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever the policy of the bus lets through.
    Anyone,
    /// The superuser, and the user this process runs as.
    Root,
}

/// The signature of a list of arguments.
pub(super) fn joined(args: &[Arg]) -> String {
    args.iter().map(|arg| arg.signature).collect()
}

/// Checks a table.
///
/// # Panics
/// When the table is not valid: this is our own data, and a test that starts the program finds it.
pub(super) fn check(objects: &[Object]) {
    for object in objects {
        assert!(super::ObjectPath::new(object.path).is_some(), "path {}", object.path);
        for interface in object.interfaces {
            assert!(dbus::strings::Interface::new(interface.name).is_ok(), "{}", interface.name);
            let methods = interface.methods.iter().flat_map(|m| m.inputs.iter().chain(m.outputs));
            let args = methods.chain(interface.signals.iter().flat_map(|signal| signal.args));
            for arg in args {
                assert!(signature::is_single(arg.signature), "argument {}", arg.name);
            }
            for property in interface.properties {
                assert!(signature::is_single(property.signature), "property {}", property.name);
            }
            let names = (interface.methods.iter().map(|method| method.name))
                .chain(interface.signals.iter().map(|signal| signal.name))
                .chain(interface.properties.iter().map(|property| property.name));
            for name in names {
                assert!(dbus::strings::Member::new(name).is_ok(), "member {name}");
            }
        }
    }
}

/// The object at `path`.
pub(super) fn find(objects: &'static [Object], path: &str) -> Option<&'static Object> {
    objects.iter().find(|object| object.path == path)
}

/// The names of the nodes directly below `path`.
pub(super) fn children(objects: &[Object], path: &str) -> BTreeSet<&'static str> {
    let below = |object: &Object| {
        let rest = object.path.strip_prefix(path.trim_end_matches('/'))?.strip_prefix('/')?;
        rest.split('/').next().filter(|name| !name.is_empty())
    };
    objects.iter().filter_map(below).collect()
}

const STANDARD: &str = r#"  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect">
      <arg name="xml_data" type="s" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
    <method name="GetMachineId">
      <arg name="machine_uuid" type="s" direction="out"/>
    </method>
  </interface>
"#;

const PROPERTIES: &str = r#"  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <method name="GetAll">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="properties" type="a{sv}" direction="out"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface_name" type="s"/>
      <arg name="changed_properties" type="a{sv}"/>
      <arg name="invalidated_properties" type="as"/>
    </signal>
  </interface>
"#;

/// The introspection document of `path`: an object, a node on the way to one, or `None`.
pub(super) fn introspect(objects: &'static [Object], path: &str) -> Option<String> {
    let object = find(objects, path);
    let children = children(objects, path);
    if object.is_none() && children.is_empty() && path != "/" {
        return None;
    }
    let mut xml = String::from(concat!(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n",
        " \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n"
    ));
    xml.push_str(STANDARD);
    if let Some(object) = object {
        xml.push_str(PROPERTIES);
        object.interfaces.iter().for_each(|interface| describe(interface, &mut xml));
    }
    for child in children {
        push(&mut xml, format_args!("  <node name=\"{child}\"/>\n"));
    }
    xml.push_str("</node>\n");
    Some(xml)
}

fn push(xml: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail, and every name was checked: nothing needs escaping.
    xml.write_fmt(text).unwrap_or_default();
}

fn describe(interface: &Interface, xml: &mut String) {
    push(xml, format_args!("  <interface name=\"{}\">\n", interface.name));
    for method in interface.methods {
        let args = (method.inputs.iter().map(|arg| (arg, " direction=\"in\"")))
            .chain(method.outputs.iter().map(|arg| (arg, " direction=\"out\"")));
        member("method", method.name, args, xml);
    }
    for signal in interface.signals {
        member("signal", signal.name, signal.args.iter().map(|arg| (arg, "")), xml);
    }
    for Property { name, signature, write, emits_changed } in interface.properties {
        let access = if write.is_some() { "readwrite" } else { "read" };
        let end = if *emits_changed { "/>\n" } else { ">\n" };
        push(
            xml,
            format_args!(
                "    <property name=\"{name}\" type=\"{signature}\" access=\"{access}\"{end}"
            ),
        );
        if !emits_changed {
            xml.push_str(concat!(
                "      <annotation name=\"org.freedesktop.DBus.Property.EmitsChangedSignal\" ",
                "value=\"false\"/>\n    </property>\n"
            ));
        }
    }
    xml.push_str("  </interface>\n");
}

fn member<'a>(
    kind: &str,
    name: &str,
    args: impl Iterator<Item = (&'a Arg, &'a str)>,
    xml: &mut String,
) {
    let start = xml.len();
    push(xml, format_args!("    <{kind} name=\"{name}\">\n"));
    let body = xml.len();
    for (Arg { name, signature }, direction) in args {
        push(xml, format_args!("      <arg name=\"{name}\" type=\"{signature}\"{direction}/>\n"));
    }
    if xml.len() == body {
        xml.truncate(start);
        push(xml, format_args!("    <{kind} name=\"{name}\"/>\n"));
    } else {
        push(xml, format_args!("    </{kind}>\n"));
    }
}
