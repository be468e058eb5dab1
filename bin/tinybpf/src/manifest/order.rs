// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The order of objects: those that others come after first, else as the manifest has them.

use std::collections::BTreeSet;

use plinth::config::toml::{Problem, Sources};

use super::Object;

/// Sorts objects so that each follows those that it names.
pub(super) fn sorted(objects: Vec<Object>, sources: &Sources) -> Result<Vec<Object>, Box<Problem>> {
    let names: BTreeSet<String> =
        plinth::sorting::gather(objects.iter().map(|it| it.name.get_ref().clone()));
    for object in &objects {
        let missing = object.after.iter().find(|it| !names.contains(it.get_ref()));
        if let Some(missing) = missing {
            let (own, other) = (object.name.get_ref(), missing.get_ref());
            let message = format!("object.{own}.after: there is no object '{other}'");
            return Err(Box::new(sources.problem(&missing.span(), message)));
        }
    }
    let mut left = objects;
    let (mut sorted, mut done) = (Vec::new(), BTreeSet::new());
    while !left.is_empty() {
        let is_ready = |it: &Object| it.after.iter().all(|name| done.contains(name.get_ref()));
        let Some(at) = left.iter().position(is_ready) else {
            return Err(Box::new(circle(&left, sources)));
        };
        let next = left.remove(at);
        done.insert(next.name.get_ref().clone());
        sorted.push(next);
    }
    Ok(sorted)
}

/// Names a circle among objects of which each waits for another one of them, or is in one.
fn circle(left: &[Object], sources: &Sources) -> Problem {
    let mut path: Vec<&Object> = left.iter().take(1).collect();
    while let Some(last) = path.last() {
        let waits =
            |it: &&Object| last.after.iter().any(|name| name.get_ref() == it.name.get_ref());
        let Some(next) = left.iter().find(waits) else { break };
        let name = next.name.get_ref();
        if let Some(start) = path.iter().position(|it| it.name.get_ref() == name) {
            let mut names: Vec<&str> =
                path.iter().skip(start).map(|it| it.name.get_ref().as_str()).collect();
            names.push(name);
            let message = format!("object.{name}.after: a circle: {}", names.join(" after "));
            let at = next.after.first().map_or(next.name.span(), |it| it.span());
            return sources.problem(&at, message);
        }
        path.push(next);
    }
    sources.problem(&(0..0), "objects wait for each other")
}
