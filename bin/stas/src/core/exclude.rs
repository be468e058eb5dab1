// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exclusions: controllers that the administrator wants left alone.
//!
//! Owns the comparison, by meaning. An entry names some fields; a controller is excluded when all of
//! them agree. An entry without fields cannot be made: it would match everything.

use super::ip;
use super::tid::{self, Fields};

/// One entry: the fields that must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    fields: Fields,
    line: u32,
}

impl Exclusion {
    /// An entry that compares every field of `fields` that is not empty; the source address is never
    /// compared. `None` when nothing is left to compare.
    #[must_use]
    pub fn new(fields: &Fields, line: u32) -> Option<Self> {
        let mut fields = fields.clone();
        fields.host_traddr.clear();
        let something = fields.pairs().iter().any(|(_, text)| !tid::value(text).is_empty());
        something.then_some(Self { fields, line })
    }

    /// The line that it stands on.
    #[must_use]
    pub const fn line(&self) -> u32 {
        self.line
    }

    /// The fields as spelled.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Whether this entry excludes the controller.
    #[must_use]
    pub fn matches(&self, controller: &Fields) -> bool {
        let pairs = self.fields.pairs().into_iter().zip(controller.pairs());
        pairs.into_iter().all(|((name, wanted), (_, given))| {
            let (wanted, given) = (tid::value(wanted), tid::value(given));
            wanted.is_empty() || agree(name, wanted, given)
        })
    }
}

/// Whether any entry excludes the controller.
#[must_use]
pub fn excluded(exclusions: &[Exclusion], controller: &Fields) -> bool {
    find(exclusions, controller).is_some()
}

/// The first entry that excludes the controller.
#[must_use]
pub fn find<'a>(exclusions: &'a [Exclusion], controller: &Fields) -> Option<&'a Exclusion> {
    exclusions.iter().find(|exclusion| exclusion.matches(controller))
}

fn agree(name: &str, wanted: &str, given: &str) -> bool {
    match name {
        "transport" => wanted.eq_ignore_ascii_case(given),
        "traddr" => same_address(wanted, given),
        "trsvcid" => tid::port(wanted) == tid::port(given),
        _ => wanted == given,
    }
}

/// A zone matters only when the entry names one.
fn same_address(wanted: &str, given: &str) -> bool {
    let (_, zone) = ip::split_zone(wanted);
    let zones_agree = zone.is_none() || zone == ip::split_zone(given).1;
    wanted.eq_ignore_ascii_case(given) || (ip::equal(wanted, given) && zones_agree)
}
