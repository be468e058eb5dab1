// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf map`: maps looked at and changed, element by element or whole.
//!
//! Keys and values are JSON where the map's types are known, in both directions; `hex:DIGITS` and
//! `@FILE` give bytes as they are.

mod dump;
mod edit;
mod elements;
mod watch;

use plinth::err::Failure;

use super::words::{Words, usage};
use super::{Args, World, find};
use crate::map::Map;

/// What can be done.
const ACTIONS: [&str; 14] = [
    "show", "dump", "get", "set", "del", "keys", "push", "pop", "peek", "clear", "freeze", "pin",
    "create", "watch",
];

use elements::Elements;
pub(super) use elements::bytes_of;

type Done = Result<u8, Failure>;

/// The map that the next word names, and what is known of its elements.
fn opened(words: &mut Words, args: &Args) -> Result<(Map, Elements), Failure> {
    let map = find::map(&words.reference("MAP")?)?;
    let elements = Elements::of(&map, args)?;
    Ok((map, elements))
}

/// The same, with no word behind it.
fn opened_alone(mut words: Words, args: &Args) -> Result<(Map, Elements), Failure> {
    let found = opened(&mut words, args)?;
    words.end()?;
    Ok(found)
}

/// `tinybpf map`
pub(super) fn map(args: &Args, world: &mut World<'_>) -> Done {
    let mut words = Words::of(args);
    let action = words.text("ACTION")?;
    match action.as_str() {
        "show" => dump::show(words, args, world),
        "dump" => dump::dump(words, args, world),
        "keys" => dump::keys(words, args, world),
        "get" => edit::get(words, args, world),
        "set" => edit::set(words, args),
        "del" => edit::delete(words, args),
        "push" => edit::push(words, args),
        "pop" => edit::pop(words, args, world),
        "peek" => edit::peek(words, args, world),
        "clear" => edit::clear(words, args, world),
        "freeze" => edit::freeze(words),
        "pin" => edit::pin(words),
        "create" => edit::create(words, args, world),
        "watch" => watch::watch(words, args, world),
        _ => Err(usage(format!("cannot '{action}' a map: one of {}", ACTIONS.join(", ")))),
    }
}
