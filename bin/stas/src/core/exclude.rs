// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exclusions: controllers that the administrator wants left alone.
//!
//! Owns the comparison, by meaning. An entry names some fields; a controller is excluded when all
//! of them agree. An entry without fields cannot be made: it would match everything.

use log::Level;
use plinth::config::ini::{Entry, Ini};

use super::ip;
use super::settings::Diagnostic;
use super::tid::{self, Fields};

/// One entry: the fields that must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    fields: Fields,
    line: u32,
}

impl Exclusion {
    /// An entry that compares every field of `fields` that is not empty; the source address is
    /// never compared. `None` when nothing is left to compare.
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

/// Reads one exclusion file of nvme-cli: section `[exclusions]`, entries `exclusion =
/// name=value;...` Differs from `exclude=` in the names `hostnqn` and `hostid`, and in comparing
/// the source address. An entry with a field that is unknown, malformed, or names another host's ID
/// matches nothing.
#[must_use]
pub fn from_nvme_cli(path: &str, text: &str, host_id: &str) -> (Vec<Exclusion>, Vec<Diagnostic>) {
    let ini = match Ini::parse(text) {
        Ok(ini) => ini,
        Err(error) => {
            let reason = format!("{}; the file is ignored", error.reason);
            let told = Diagnostic::new(Level::Warn, path, Some(error.line), reason);
            return (Vec::new(), vec![told]);
        }
    };
    let (mut list, mut out) = (Vec::new(), Vec::new());
    let wanted = |entry: &&Entry| entry.section == "exclusions" && entry.key == "exclusion";
    for (line, text) in ini.entries.iter().filter(wanted).flat_map(Entry::lines) {
        match foreign_fields(text, host_id) {
            Ok(Some(fields)) => list.push(Exclusion { fields, line }),
            Ok(None) => {}
            Err(reason) => {
                let text = format!("exclusion: {reason}, it matches nothing");
                out.push(Diagnostic::new(Level::Warn, path, Some(line), text));
            }
        }
    }
    (list, out)
}

/// The fields of one entry; `None` when it is for another host.
fn foreign_fields(text: &str, host_id: &str) -> Result<Option<Fields>, String> {
    let mut fields = Fields::default();
    let mut named = false;
    for piece in text.split(';').map(str::trim).filter(|piece| !piece.is_empty()) {
        let (name, value) = piece.split_once('=').ok_or("field without a value")?;
        let (name, value) = (name.trim(), value.trim());
        if name == "hostid" {
            if !value.eq_ignore_ascii_case(host_id) {
                return Ok(None);
            }
            named = true;
            continue;
        }
        let known = if name == "hostnqn" { "host-nqn" } else { name };
        let unknown = || format!("unknown field '{}'", name.escape_debug());
        value.clone_into(fields.get_mut(known).ok_or_else(unknown)?);
        if tid::value(value).is_empty() {
            return Err("field without a value".to_owned());
        }
        named = true;
    }
    if named { Ok(Some(fields)) } else { Err("no field to compare".to_owned()) }
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
        "traddr" | "host-traddr" => same_address(wanted, given),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields as `name=value` texts.
    fn fields(texts: &[&str]) -> Fields {
        let mut fields = Fields::default();
        for text in texts {
            let (name, value) = text.split_once('=').expect("name=value");
            fields.get_mut(name).expect("a known field").push_str(value);
        }
        fields
    }

    fn list(entries: &[&[&str]]) -> Vec<Exclusion> {
        let made = entries.iter().map(|entry| Exclusion::new(&fields(entry), 1));
        made.map(|entry| entry.expect("an entry with fields")).collect()
    }

    // R059
    #[test]
    fn all_fields_of_an_entry_must_agree() {
        let two = [&["transport=tcp", "traddr=1.2.3.4"][..], &["transport=rdma", "traddr=5.5.5.5"]];
        for (entries, controller, expected) in [
            (&[][..], &["transport=tcp", "traddr=1.2.3.4"][..], false),
            (&two[..1], &["transport=tcp", "traddr=1.2.3.4"], true),
            (&two[..1], &["transport=tcp", "traddr=5.5.5.5"], false),
            (&two[..1], &["transport=tcp"], false),
            (&[&["transport=tcp"]], &["transport=tcp", "traddr=99.99.99.99"], true),
            (&two, &["transport=tcp", "traddr=1.2.3.4"], true),
            (&two, &["transport=rdma", "traddr=5.5.5.5"], true),
            (&two, &["transport=fc", "traddr=5.5.5.5"], false),
            (&[&["host-iface=eth0"]], &["host-iface=eth1"], false),
            (&[&["host-iface=eth0"]], &["transport=tcp"], false),
            (&[&["host-iface=eth0"]], &["host-iface=eth0"], true),
            (&[&["traddr=storage.example"]], &["traddr=storage.example"], true),
            (&[&["traddr=10.0.0.9"]], &["traddr=10.0.0.9", "trsvcid=4420"], true),
            (&[&["host-nqn=nqn.a"]], &["host-nqn=nqn.a"], true),
            (&[&["host-nqn=nqn.a"]], &["host-nqn=nqn.b"], false),
        ] {
            assert_eq!(excluded(&list(entries), &fields(controller)), expected, "{controller:?}");
        }
    }

    // R062
    #[test]
    fn fields_are_compared_by_meaning() {
        for (entry, controller, expected) in [
            ("traddr=fe80::1", "traddr=FE80:0::1", true),
            ("traddr=fe80::1", "traddr=fe80::1%eth0", true),
            ("traddr=fe80::1%eth1", "traddr=fe80::1%eth0", false),
            ("traddr=1.2.3.4", "traddr=::ffff:1.2.3.4", true),
            ("traddr=NN-0xA:PN-0xB", "traddr=nn-0xa:pn-0xb", true),
            ("transport=TCP", "transport=tcp", true),
            ("trsvcid=08009", "trsvcid=8009", true),
            ("nqn=nqn.A", "nqn=nqn.a", false),
            ("host-iface=ETH0", "host-iface=eth0", false),
        ] {
            let matched = excluded(&list(&[&[entry]]), &fields(&[controller]));
            assert_eq!(matched, expected, "{entry} {controller}");
        }
    }

    // R061
    #[test]
    fn an_entry_without_fields_cannot_be_made() {
        for entry in [&[][..], &["host-traddr=1.2.3.4"], &["transport=none"], &["transport= "]] {
            assert_eq!(Exclusion::new(&fields(entry), 1), None, "{entry:?}");
        }
    }

    // R059
    #[test]
    fn the_source_address_is_not_compared() {
        let entries = list(&[&["transport=tcp", "host-traddr=1.1.1.1"]]);
        let found = find(&entries, &fields(&["transport=tcp", "host-traddr=2.2.2.2"]));
        assert_eq!(found.map(Exclusion::line), Some(1));
    }

    // R063
    #[test]
    fn the_files_of_nvme_cli_count_too() {
        let id = "11111111-2222-3333-4444-555555555555";
        let text = format!(
            "# shared\n[exclusions]\nexclusion = transport=tcp;traddr=FE80::1\n\
             exclusion = host-traddr=1.1.1.1;nqn=n\nexclusion = hostnqn=nqn.h;hostid={id}\n\
             exclusion = transport=tcp;hostid=22222222-2222-3333-4444-555555555555\n\
             exclusion = transport=tcp;bogus=1\nexclusion = transport=tcp;oops\n\
             exclusion = transport=\nexclusion = ;\n[other]\nexclusion = transport=rdma\n"
        );
        let (list, told) = from_nvme_cli("x.conf", &text, id);
        assert_eq!(list.iter().map(Exclusion::line).collect::<Vec<_>>(), [3, 4, 5]);
        let lines: Vec<Option<u32>> = told.iter().map(|told| told.line).collect();
        assert_eq!(lines, [7, 8, 9, 10].map(Some));
        for (controller, expected) in [
            (&["transport=tcp", "traddr=fe80:0::1"][..], true),
            (&["transport=tcp", "traddr=fe80::2"], false),
            (&["nqn=n", "host-traddr=::ffff:1.1.1.1"], true),
            (&["nqn=n", "host-traddr=1.1.1.2"], false),
            (&["nqn=n"], false),
            (&["host-nqn=nqn.h"], true),
            (&["transport=rdma"], false),
        ] {
            assert_eq!(excluded(&list, &fields(controller)), expected, "{controller:?}");
        }
        let (list, told) = from_nvme_cli("x.conf", "garbage", id);
        assert_eq!((list.len(), told.len(), told[0].fatal), (0, 1, false));
    }
}
