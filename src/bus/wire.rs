// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values into and out of libdbus messages.
//!
//! Owns the checks that keep libdbus from aborting the process: it takes a malformed value for a
//! programming error. Whatever leaves through here is well formed and below [`BODY_LEN_MAX`].

use std::ffi::CString;

use dbus::Message;
use dbus::arg::{Append, ArgType, Iter, IterAppend};
use dbus::strings::{BusName, ErrorName, Interface, Member, Path};

use super::signature;
use super::value::{Array, ObjectPath, Value, signature_of};

/// The largest body that is sent, in bytes. The bus takes 128 MiB at most, arrays half of that.
pub const BODY_LEN_MAX: usize = 48 << 20;

/// Why a message could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsendable {
    /// A name, path or value is not valid.
    Malformed,
    /// The body is larger than [`BODY_LEN_MAX`].
    TooLarge,
}

/// Checks a list of arguments for sending.
pub(super) fn check(values: &[Value]) -> Result<(), Unsendable> {
    let nested = |value: &Value| well_formed(value, 0);
    if signature::split(&signature_of(values)).is_none() || !values.iter().all(nested) {
        return Err(Unsendable::Malformed);
    }
    if values.iter().map(Value::wire_size).sum::<usize>() > BODY_LEN_MAX {
        return Err(Unsendable::TooLarge);
    }
    Ok(())
}

/// What the signature of the whole does not show: the content of variants, and their nesting.
fn well_formed(value: &Value, depth: usize) -> bool {
    depth <= signature::NESTING_MAX
        && match value {
            Value::Variant(inner) => {
                signature::is_single(&inner.signature()) && well_formed(inner, depth + 1)
            }
            Value::Array(array) => array.items().iter().all(|item| well_formed(item, depth + 1)),
            Value::Struct(fields) => {
                !fields.is_empty() && fields.iter().all(|field| well_formed(field, depth + 1))
            }
            Value::Entry(entry) => {
                well_formed(&entry.0, depth + 1) && well_formed(&entry.1, depth + 1)
            }
            _ => true,
        }
}

/// Appends checked arguments.
pub(super) fn append(message: &mut Message, values: &[Value]) -> Result<(), Unsendable> {
    check(values)?;
    let mut out = IterAppend::new(message);
    values.iter().for_each(|value| push(value, &mut out));
    Ok(())
}

fn push(value: &Value, out: &mut IterAppend<'_>) {
    match value {
        Value::Byte(inner) => out.append(*inner),
        Value::Bool(inner) => out.append(*inner),
        Value::Int16(inner) => out.append(*inner),
        Value::Uint16(inner) => out.append(*inner),
        Value::Int32(inner) => out.append(*inner),
        Value::Uint32(inner) => out.append(*inner),
        Value::Int64(inner) => out.append(*inner),
        Value::Uint64(inner) => out.append(*inner),
        Value::Double(inner) => out.append(*inner),
        Value::Str(text) if text.contains('\0') => out.append(text.replace('\0', "\u{fffd}")),
        Value::Str(text) => out.append(text.as_str()),
        Value::Path(path) => out.append(Path::from(path.as_str())),
        Value::Bytes(bytes) => bytes.as_slice().append_by_ref(out),
        Value::Array(array) => {
            let items =
                |inner: &mut IterAppend<'_>| array.items().iter().for_each(|v| push(v, inner));
            match array.element().strip_prefix('{').and_then(|entry| entry.strip_suffix('}')) {
                Some(entry) => {
                    let (key, value) = entry.split_at(1); // a key is a basic type: one byte
                    out.append_dict(&key.to_owned().into(), &value.to_owned().into(), items);
                }
                None => out.append_array(&array.element().to_owned().into(), items),
            }
        }
        Value::Struct(fields) => {
            out.append_struct(|inner| fields.iter().for_each(|field| push(field, inner)));
        }
        Value::Entry(entry) => out.append_dict_entry(|inner| {
            push(&entry.0, inner);
            push(&entry.1, inner);
        }),
        Value::Variant(content) => {
            out.append_variant(&content.signature().into(), |inner| push(content, inner));
        }
    }
}

/// The signature of a message's arguments.
pub(super) fn signature(message: &Message) -> String {
    let mut text = String::new();
    let mut args = message.iter_init();
    while args.arg_type() != ArgType::Invalid {
        text.push_str(&args.signature());
        args.next();
    }
    text
}

/// Reads a message's arguments; `None` when one is of a type that [`Value`] does not have.
pub(super) fn read(message: &Message) -> Option<Vec<Value>> {
    read_all(message.iter_init())
}

fn read_all(mut from: Iter<'_>) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while from.arg_type() != ArgType::Invalid {
        values.push(pull(&mut from)?);
        from.next();
    }
    Some(values)
}

fn pull(from: &mut Iter<'_>) -> Option<Value> {
    Some(match from.arg_type() {
        ArgType::Byte => Value::Byte(from.get()?),
        ArgType::Boolean => Value::Bool(from.get()?),
        ArgType::Int16 => Value::Int16(from.get()?),
        ArgType::UInt16 => Value::Uint16(from.get()?),
        ArgType::Int32 => Value::Int32(from.get()?),
        ArgType::UInt32 => Value::Uint32(from.get()?),
        ArgType::Int64 => Value::Int64(from.get()?),
        ArgType::UInt64 => Value::Uint64(from.get()?),
        ArgType::Double => Value::Double(from.get()?),
        ArgType::String => Value::Str(from.get()?),
        ArgType::ObjectPath => Value::Path(ObjectPath::new(&from.get::<Path<'_>>()?)?),
        ArgType::Array => {
            let whole = from.signature();
            match whole.strip_prefix('a')? {
                "y" => Value::Bytes(from.get::<&[u8]>()?.to_vec()),
                element => {
                    let items = read_all(from.recurse(ArgType::Array)?)?;
                    Value::Array(Array::from_wire(element, items))
                }
            }
        }
        ArgType::Struct => Value::Struct(read_all(from.recurse(ArgType::Struct)?)?),
        ArgType::DictEntry => {
            let mut fields = read_all(from.recurse(ArgType::DictEntry)?)?.into_iter();
            Value::Entry(Box::new((fields.next()?, fields.next()?)))
        }
        ArgType::Variant => Value::Variant(Box::new(pull(&mut from.recurse(ArgType::Variant)?)?)),
        ArgType::Signature | ArgType::UnixFd | ArgType::Invalid => return None,
    })
}

/// A method call, as data.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// A bus name, well-known or unique.
    pub destination: String,
    /// An object path.
    pub path: String,
    /// An interface.
    pub interface: String,
    /// A method.
    pub member: String,
    /// Its arguments.
    pub args: Vec<Value>,
    /// Whether the bus may start the service that owns the name.
    pub activate: bool,
}

impl Request {
    /// A call without arguments that starts no service.
    #[must_use]
    pub fn new(destination: &str, path: &str, interface: &str, member: &str) -> Self {
        Self {
            destination: destination.to_owned(),
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            args: Vec::new(),
            activate: false,
        }
    }

    /// The same call with these arguments.
    #[must_use]
    pub fn with(mut self, args: Vec<Value>) -> Self {
        self.args = args;
        self
    }

    pub(super) fn message(&self) -> Result<Message, Unsendable> {
        let malformed = |_| Unsendable::Malformed;
        let mut message = Message::method_call(
            &BusName::new(plain(&self.destination)?).map_err(malformed)?,
            &Path::new(plain(&self.path)?).map_err(malformed)?,
            &Interface::new(plain(&self.interface)?).map_err(malformed)?,
            &Member::new(plain(&self.member)?).map_err(malformed)?,
        );
        message.set_auto_start(self.activate);
        append(&mut message, &self.args)?;
        Ok(message)
    }
}

/// Refuses a NUL, which would end a name early.
fn plain(text: &str) -> Result<&str, Unsendable> {
    if text.contains('\0') { Err(Unsendable::Malformed) } else { Ok(text) }
}

/// A signal.
pub(super) fn signal(
    path: &str,
    interface: &str,
    member: &str,
    args: &[Value],
) -> Result<Message, Unsendable> {
    let malformed = |_| Unsendable::Malformed;
    let mut message = Message::signal(
        &Path::new(plain(path)?).map_err(malformed)?,
        &Interface::new(plain(interface)?).map_err(malformed)?,
        &Member::new(plain(member)?).map_err(malformed)?,
    );
    append(&mut message, args)?;
    Ok(message)
}

/// Whom to answer: all that is kept of a call while it is worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyTo {
    /// The caller's unique name.
    pub(super) sender: String,
    /// The serial number of the call.
    pub(super) serial: u32,
}

impl ReplyTo {
    /// The sender of `call`; `None` when it wants no answer.
    pub(super) fn of(call: &Message) -> Option<Self> {
        let wanted = !call.get_no_reply();
        let (sender, serial) = (call.sender()?.to_string(), call.get_serial()?);
        wanted.then_some(Self { sender, serial })
    }

    /// A call as libdbus wants to see it to build an answer: only sender and serial count.
    fn call(&self) -> Result<Message, Unsendable> {
        let (path, dots) = (Path::from("/"), Interface::from("a.a"));
        let sender = BusName::new(self.sender.as_str()).map_err(|_| Unsendable::Malformed)?;
        let mut call = Message::method_call(&sender, &path, &dots, &Member::from("a"));
        call.set_sender(Some(sender));
        call.set_serial(self.serial);
        Ok(call)
    }

    /// The answer.
    pub(super) fn answer(&self, values: &[Value]) -> Result<Message, Unsendable> {
        let mut message = self.call()?.method_return();
        append(&mut message, values)?;
        Ok(message)
    }

    /// An error as answer. A name that is not valid becomes the general one.
    pub(super) fn refusal(&self, name: &str, text: &str) -> Result<Message, Unsendable> {
        let name = plain(name).ok().and_then(|name| ErrorName::new(name).ok());
        let name = name.unwrap_or_else(|| ErrorName::from(super::error::FAILED));
        let text = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
        Ok(self.call()?.error(&name, &text))
    }
}
