// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf run`: an object for as long as the command lives, with its events as lines.

use plinth::err::Failure;
use plinth::sys::signal::Signals;

use super::drops::Drops;
use super::load::{self, Loaded};
use super::stream::{Feed, Session, check_stream};
use super::wait::ENDING;
use super::words::Words;
use super::{Args, World};
use crate::kinds::MapType;
use crate::map::Map;
use crate::object::Object;

/// `tinybpf run`
pub(super) fn run(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut words = Words::of(args);
    let path = words.path("OBJECT")?;
    words.end()?;
    if let Some(directory) = &args.pin {
        load::check_room(directory, args)?;
    }
    // Before anything is attached: a signal from now on ends the stream in good order.
    let signals = Signals::new(ENDING)?;
    let object = load::load_object(load::open(&path, args)?, args)?;
    let feeds = feeds(&object, args)?;
    let drops = args.drop_var.as_deref().map(|text| Drops::of_object(&object, text)).transpose()?;
    // Perf buffers take only what comes after they were opened.
    let session = Session::new(&feeds, args, drops)?;
    load::make_room(args)?;
    let mut loaded = Loaded { links: load::attach(&object, args)?, object };
    if let Some(directory) = &args.pin {
        load::pin_all(directory, &mut loaded)?;
    }
    let is_pinned = args.pin.is_some();
    session.run(signals, args, world, || load::end(loaded, is_pinned))
}

/// The maps that were asked for, or all that events come from.
fn feeds(object: &Object, args: &Args) -> Result<Vec<Feed>, Failure> {
    let btf = object.btf()?;
    let is_stream =
        |map: &Map| matches!(map.map_type(), MapType::RINGBUF | MapType::PERF_EVENT_ARRAY);
    let maps = if args.events.is_empty() {
        object.maps().filter(is_stream).collect()
    } else {
        args.events.iter().map(|name| object.map(name)).collect::<crate::error::Result<Vec<_>>>()?
    };
    maps.into_iter()
        .map(|map| {
            check_stream(&map)?;
            Ok(Feed { map, btf: btf.clone() })
        })
        .collect()
}
