// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where an incoming call goes: answered here, refused here, or to the program.
//!
//! Owns the standard interfaces (Introspectable, Peer, Properties), the values of the properties,
//! and the standard errors. A call reaches the program only when path, interface, member and
//! signature are those of the table. Who may call is decided by [`super::Bus`], which asks the bus.
//! Implements the D-Bus Specification, section "Standard Interfaces". Pure.

use std::collections::BTreeMap;

use super::object::{self, Access, Interface, Method, Object, Property};
use super::value::{Args, Value};

/// Names of the errors that peers expect.
pub mod error {
    /// Something failed that has no better name.
    pub const FAILED: &str = "org.freedesktop.DBus.Error.Failed";
    /// The caller may not do this.
    pub const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
    /// Wrong number or types of arguments.
    pub const INVALID_ARGS: &str = "org.freedesktop.DBus.Error.InvalidArgs";
    /// Too much at once.
    pub const LIMITS_EXCEEDED: &str = "org.freedesktop.DBus.Error.LimitsExceeded";
    /// The property cannot be set.
    pub const PROPERTY_READ_ONLY: &str = "org.freedesktop.DBus.Error.PropertyReadOnly";
    /// The object has no such interface.
    pub const UNKNOWN_INTERFACE: &str = "org.freedesktop.DBus.Error.UnknownInterface";
    /// The interface has no such method.
    pub const UNKNOWN_METHOD: &str = "org.freedesktop.DBus.Error.UnknownMethod";
    /// There is no such object.
    pub const UNKNOWN_OBJECT: &str = "org.freedesktop.DBus.Error.UnknownObject";
    /// The interface has no such property.
    pub const UNKNOWN_PROPERTY: &str = "org.freedesktop.DBus.Error.UnknownProperty";
}

const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
const PEER: &str = "org.freedesktop.DBus.Peer";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// What a call is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Run a method of the table, with arguments of its signature.
    Method {
        /// Its name.
        name: &'static str,
        /// Its arguments.
        args: Vec<Value>,
    },
    /// Set a writable property of the table to a value of its signature. The program answers, and
    /// publishes the new value when it took it.
    Set {
        /// Its name.
        property: &'static str,
        /// The value asked for.
        value: Value,
    },
}

/// What is known of a call before its arguments are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'a> {
    pub(super) path: &'a str,
    pub(super) interface: Option<&'a str>,
    pub(super) member: &'a str,
    /// Of the arguments, joined.
    pub(super) signature: &'a str,
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Route {
    /// Answer with these values.
    Answer(Vec<Value>),
    /// Answer with an error.
    Refuse { name: &'static str, text: String },
    /// Hand to the program; `outputs` is the signature that its answer must have.
    Deliver {
        path: &'static str,
        interface: &'static str,
        operation: Operation,
        access: Access,
        outputs: String,
    },
}

fn refuse(name: &'static str, text: String) -> Route {
    Route::Refuse { name, text }
}

fn unknown_method(header: Header<'_>) -> Route {
    let text = match header.interface {
        Some(interface) => format!("interface {interface} has no method {}", header.member),
        None => format!("no interface of {} has a method {}", header.path, header.member),
    };
    refuse(error::UNKNOWN_METHOD, text)
}

fn wrong_args(header: Header<'_>, expected: &str) -> Route {
    let text = format!(
        "method {} takes arguments of type '{expected}', not '{}'",
        header.member, header.signature
    );
    refuse(error::INVALID_ARGS, text)
}

/// The tables, with the current values of their properties.
#[derive(Debug)]
pub(super) struct Directory {
    objects: &'static [Object],
    machine_id: Option<String>,
    published: BTreeMap<(&'static str, &'static str, &'static str), Value>,
}

impl Directory {
    /// # Panics
    /// When the tables are not valid.
    pub(super) fn new(objects: &'static [Object], machine_id: Option<String>) -> Self {
        object::check(objects);
        Self { objects, machine_id, published: BTreeMap::new() }
    }

    /// Routes one call. `args` reads the arguments, and is only asked when they are needed and of
    /// the signature in `header`.
    pub(super) fn route(
        &self,
        header: Header<'_>,
        args: impl FnOnce() -> Option<Vec<Value>>,
    ) -> Route {
        let standard = |name| header.interface.is_none_or(|interface| interface == name);
        match header.member {
            "Introspect" if standard(INTROSPECTABLE) => return self.introspect(header),
            "Ping" | "GetMachineId" if standard(PEER) => return self.peer(header),
            _ => {}
        }
        let Some(object) = object::find(self.objects, header.path) else {
            let inner = !object::children(self.objects, header.path).is_empty();
            return match header.interface {
                Some(INTROSPECTABLE | PEER) => unknown_method(header),
                _ if inner || header.path == "/" => unknown_method(header),
                _ => refuse(error::UNKNOWN_OBJECT, format!("there is no object {}", header.path)),
            };
        };
        match header.interface {
            Some(PROPERTIES) => self.property(object, header, args),
            Some(INTROSPECTABLE | PEER) => unknown_method(header),
            Some(name) => match object.interfaces.iter().find(|interface| interface.name == name) {
                Some(interface) => match method(interface, header.member) {
                    Some(method) => call(object, interface, method, header, args),
                    None => unknown_method(header),
                },
                None => {
                    let text = format!("object {} has no interface {name}", object.path);
                    refuse(error::UNKNOWN_INTERFACE, text)
                }
            },
            None => {
                let find = |interface: &'static Interface| {
                    Some((interface, method(interface, header.member)?))
                };
                match object.interfaces.iter().find_map(find) {
                    Some((interface, method)) => call(object, interface, method, header, args),
                    None => self.property(object, header, args),
                }
            }
        }
    }

    fn introspect(&self, header: Header<'_>) -> Route {
        if !header.signature.is_empty() {
            return wrong_args(header, "");
        }
        match object::introspect(self.objects, header.path) {
            Some(xml) => Route::Answer((xml,).into_values()),
            None => refuse(error::UNKNOWN_OBJECT, format!("there is no object {}", header.path)),
        }
    }

    fn peer(&self, header: Header<'_>) -> Route {
        match (header.member, &self.machine_id) {
            _ if !header.signature.is_empty() => wrong_args(header, ""),
            ("Ping", _) => Route::Answer(Vec::new()),
            (_, Some(id)) => Route::Answer((id.clone(),).into_values()),
            (_, None) => refuse(error::FAILED, "this machine has no id".to_owned()),
        }
    }

    fn property(
        &self,
        object: &'static Object,
        header: Header<'_>,
        args: impl FnOnce() -> Option<Vec<Value>>,
    ) -> Route {
        let expected = match header.member {
            "Get" => "ss",
            "GetAll" => "s",
            "Set" => "ssv",
            _ => return unknown_method(header),
        };
        if header.signature != expected {
            return wrong_args(header, expected);
        }
        let mut args = args().unwrap_or_default().into_iter();
        let (Some(Value::Str(interface)), name) = (args.next(), args.next()) else {
            return wrong_args(header, expected);
        };
        if !interface.is_empty() && !object.interfaces.iter().any(|known| known.name == interface) {
            let text = format!("object {} has no interface {interface}", object.path);
            return refuse(error::UNKNOWN_INTERFACE, text);
        }
        let Some(Value::Str(name)) = name else { return self.all(object, &interface) };
        let Some((interface, property)) = lookup(object, &interface, &name) else {
            return refuse(error::UNKNOWN_PROPERTY, format!("there is no property {name}"));
        };
        match args.next() {
            None => match self.published.get(&(object.path, interface.name, property.name)) {
                Some(value) => Route::Answer((value.clone(),).into_values()),
                None => refuse(error::FAILED, format!("property {name} has no value yet")),
            },
            Some(Value::Variant(value)) => set(object, interface, property, *value),
            Some(_) => wrong_args(header, expected),
        }
    }

    /// Everything that has a value, of one interface or (with an empty name) of all.
    fn all(&self, object: &'static Object, interface: &str) -> Route {
        let of_interface = |key: &&(&str, &str, &str)| {
            key.0 == object.path && (interface.is_empty() || key.1 == interface)
        };
        let all: BTreeMap<String, Value> = (self.published.iter())
            .filter(|(key, _)| of_interface(key))
            .map(|(key, value)| (key.2.to_owned(), value.clone()))
            .collect();
        Route::Answer((all,).into_values())
    }

    /// Remembers the value of a property; `Some(true)` when it changed and peers are to be told,
    /// `None` when the tables have no such property of this type.
    pub(super) fn publish(
        &mut self,
        path: &str,
        interface: &str,
        name: &str,
        value: &Value,
    ) -> Option<bool> {
        let object = object::find(self.objects, path)?;
        let interface = object.interfaces.iter().find(|known| known.name == interface)?;
        let property = interface.properties.iter().find(|known| known.name == name)?;
        if property.signature != value.signature() {
            return None;
        }
        let key = (object.path, interface.name, property.name);
        let old = self.published.insert(key, value.clone());
        Some(property.emits_changed && old.as_ref() != Some(value))
    }

    /// The signature of a signal of the tables.
    pub(super) fn signal(&self, path: &str, interface: &str, name: &str) -> Option<String> {
        let object = object::find(self.objects, path)?;
        let interface = object.interfaces.iter().find(|known| known.name == interface)?;
        let signal = interface.signals.iter().find(|known| known.name == name)?;
        Some(object::joined(signal.args))
    }
}

fn method(interface: &'static Interface, name: &str) -> Option<&'static Method> {
    interface.methods.iter().find(|method| method.name == name)
}

/// Finds a property; an empty interface name means any interface.
fn lookup(
    object: &'static Object,
    interface: &str,
    name: &str,
) -> Option<(&'static Interface, &'static Property)> {
    (object.interfaces.iter())
        .filter(|known| interface.is_empty() || known.name == interface)
        .find_map(|known| Some((known, known.properties.iter().find(|p| p.name == name)?)))
}

fn call(
    object: &'static Object,
    interface: &'static Interface,
    method: &'static Method,
    header: Header<'_>,
    args: impl FnOnce() -> Option<Vec<Value>>,
) -> Route {
    let expected = object::joined(method.inputs);
    if header.signature != expected {
        return wrong_args(header, &expected);
    }
    match args() {
        Some(args) => Route::Deliver {
            path: object.path,
            interface: interface.name,
            operation: Operation::Method { name: method.name, args },
            access: method.access,
            outputs: object::joined(method.outputs),
        },
        None => wrong_args(header, &expected),
    }
}

fn set(
    object: &'static Object,
    interface: &'static Interface,
    property: &'static Property,
    value: Value,
) -> Route {
    let Property { name, signature, write, .. } = property;
    let Some(access) = *write else {
        return refuse(error::PROPERTY_READ_ONLY, format!("property {name} is read-only"));
    };
    if value.signature() != *signature {
        let text = format!("property {name} is of type '{signature}', not '{}'", value.signature());
        return refuse(error::INVALID_ARGS, text);
    }
    Route::Deliver {
        path: object.path,
        interface: interface.name,
        operation: Operation::Set { property: name, value },
        access,
        outputs: String::new(),
    }
}
