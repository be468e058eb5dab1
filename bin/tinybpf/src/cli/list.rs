// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf list`: what is in the kernel, with names, pins and attach points.

use std::collections::BTreeMap;
use std::os::linux::fs::MetadataExt as _;
use std::path::Path;

use plinth::err::Failure;
use plinth::text::Table;
use serde_json::{Value as Json, json};

use super::words::{Words, usage};
use super::{Args, World, find};
use crate::bpffs::{self, What};
use crate::error::Result;
use crate::ids;
use crate::kinds::{AttachType, LinkType, MapType, ProgType};
use crate::link::{Link, LinkInfo};
use crate::program::network::{IfaceRef, open_cgroup};

/// Rows for people, members for scripts.
struct Listing {
    table: Table,
    items: Vec<Json>,
}

impl Listing {
    fn new(columns: &[&str]) -> Self {
        Self { table: Table::new(columns), items: Vec::new() }
    }
}

/// `tinybpf list`
pub(super) fn list(args: &Args, world: &mut World<'_>) -> std::result::Result<u8, Failure> {
    let mut words = Words::of(args);
    let what = words.text("WHAT")?;
    words.end()?;
    if what != "links" && (args.cgroup.is_some() || args.interface.is_some()) {
        return Err(usage("--cgroup and --iface are for `list links`"));
    }
    let root = args.bpffs.as_deref().unwrap_or(Path::new(bpffs::DEFAULT));
    let listing = match what.as_str() {
        "progs" => programs(&Names::below(root))?,
        "maps" => maps(&Names::below(root))?,
        "links" => links(&Names::below(root), args)?,
        "btf" => tables()?,
        "pins" => pins(root)?,
        _ => return Err(usage(format!("cannot list '{what}': progs, maps, links, btf or pins"))),
    };
    let text = if args.json {
        format!("{}\n", Json::Array(listing.items))
    } else {
        listing.table.to_string()
    };
    world.print(&text)?;
    Ok(0)
}

/// Where things are pinned, and which processes hold them.
struct Names {
    pins: BTreeMap<(u8, u32), Vec<String>>,
    owners: BTreeMap<(u8, u32), Vec<u32>>,
}

const fn rank(what: What) -> u8 {
    match what {
        What::Program => 0,
        What::Map => 1,
        What::Link => 2,
    }
}

impl Names {
    fn below(root: &Path) -> Self {
        let mut pins: BTreeMap<_, Vec<String>> = BTreeMap::new();
        // Names are a help; whoever asks for nothing else gets the refusal.
        for pin in find::pins(root).unwrap_or_default() {
            let paths = pins.entry((rank(pin.what), pin.id)).or_default();
            paths.push(pin.path.display().to_string());
        }
        Self { pins, owners: owners() }
    }

    fn of(&self, what: What, id: u32) -> (&[String], &[u32]) {
        let key = (rank(what), id);
        let pins = self.pins.get(&key).map_or(&[][..], Vec::as_slice);
        (pins, self.owners.get(&key).map_or(&[][..], Vec::as_slice))
    }
}

/// The processes that hold descriptors of each object, as far as `/proc` shows them.
fn owners() -> BTreeMap<(u8, u32), Vec<u32>> {
    let mut found: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    let Ok(processes) = std::fs::read_dir("/proc") else { return found };
    let own = std::process::id();
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == own {
            continue;
        }
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let is_bpf = std::fs::read_link(descriptor.path())
                .is_ok_and(|target| target.to_string_lossy().starts_with("anon_inode:bpf"));
            if !is_bpf {
                continue;
            }
            let info = process.path().join("fdinfo").join(descriptor.file_name());
            let Ok(text) = std::fs::read_to_string(info) else { continue };
            if let Some(key) = held(&text) {
                let pids = found.entry(key).or_default();
                if !pids.contains(&pid) {
                    pids.push(pid);
                }
            }
        }
    }
    found
}

/// What a descriptor stands for, by the text of its fdinfo.
fn held(text: &str) -> Option<(u8, u32)> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().parse::<u32>().ok()
    };
    // A link tells the id of its program too.
    let link = field("link_id").map(|id| (rank(What::Link), id));
    let map = || field("map_id").map(|id| (rank(What::Map), id));
    let program = || field("prog_id").map(|id| (rank(What::Program), id));
    link.or_else(map).or_else(program)
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

fn programs(names: &Names) -> Result<Listing> {
    let mut listing =
        Listing::new(&["ID", "TYPE", "NAME", "TAG", "UID", "MAPS", "BYTES", "PIDS", "PINS"]);
    for item in ids::programs() {
        let (id, program) = item?;
        let Ok(info) = program.info() else { continue };
        let (pins, pids) = names.of(What::Program, id);
        let tag: String = info.tag.iter().map(|byte| format!("{byte:02x}")).collect();
        let kind = ProgType(info.kind).to_string();
        listing.table.row([
            id.to_string(),
            kind.clone(),
            info.name.clone(),
            tag.clone(),
            info.uid.to_string(),
            joined(&info.map_ids),
            info.translated_size.to_string(),
            joined(pids),
            joined(pins),
        ]);
        listing.items.push(json!({
            "id": id,
            "type": kind,
            "name": info.name,
            "tag": tag,
            "uid": info.uid,
            "gpl_compatible": info.gpl_compatible,
            "loaded_at_ns": info.load_time_ns,
            "map_ids": info.map_ids,
            "btf_id": info.btf,
            "bytes_translated": info.translated_size,
            "bytes_jited": info.jited_size,
            "instructions_verified": info.verified_instructions,
            "pids": pids,
            "pins": pins,
        }));
    }
    Ok(listing)
}

fn maps(names: &Names) -> Result<Listing> {
    let mut listing = Listing::new(&[
        "ID", "TYPE", "NAME", "KEY", "VALUE", "ENTRIES", "FLAGS", "FROZEN", "BYTES", "PIDS", "PINS",
    ]);
    for item in ids::maps() {
        let (id, map) = item?;
        let Ok(info) = map.info() else { continue };
        let (frozen, memory) = map.frozen_and_memory();
        let (pins, pids) = names.of(What::Map, id);
        let shape = info.shape;
        let kind = MapType(shape.map_type).to_string();
        listing.table.row([
            id.to_string(),
            kind.clone(),
            info.name.clone(),
            shape.key_size.to_string(),
            shape.value_size.to_string(),
            shape.max_entries.to_string(),
            format!("{:#x}", shape.flags),
            frozen.map_or("", |frozen| if frozen { "yes" } else { "no" }).to_owned(),
            memory.map(|bytes| bytes.to_string()).unwrap_or_default(),
            joined(pids),
            joined(pins),
        ]);
        listing.items.push(json!({
            "id": id,
            "type": kind,
            "name": info.name,
            "key_size": shape.key_size,
            "value_size": shape.value_size,
            "max_entries": shape.max_entries,
            "flags": shape.flags,
            "frozen": frozen,
            "bytes": memory,
            "btf_id": info.btf,
            "pids": pids,
            "pins": pins,
        }));
    }
    Ok(listing)
}

/// What links must be attached to.
#[derive(Default)]
struct Wanted {
    cgroup: Option<u64>,
    ifindex: Option<u32>,
}

impl Wanted {
    fn of(args: &Args) -> Result<Self> {
        let cgroup = match &args.cgroup {
            None => None,
            Some(path) => Some(cgroup_id(&std::fs::File::from(open_cgroup(path)?))),
        };
        let ifindex = match args.interface.as_deref() {
            None => None,
            Some(name) => Some(match name.parse() {
                Ok(index) => IfaceRef::Index(index).index()?,
                Err(_) => IfaceRef::Name(name).index()?,
            }),
        };
        Ok(Self { cgroup, ifindex })
    }

    fn fits(&self, info: &LinkInfo) -> bool {
        self.cgroup.is_none_or(|id| info.cgroup == Some(id))
            && self.ifindex.is_none_or(|index| info.ifindex == Some(index))
    }
}

/// The identifier of a control group is the inode of its directory.
fn cgroup_id(directory: &std::fs::File) -> u64 {
    directory.metadata().map_or(0, |metadata| metadata.st_ino())
}

fn links(names: &Names, args: &Args) -> Result<Listing> {
    let wanted = Wanted::of(args)?;
    let mut listing = Listing::new(&["ID", "TYPE", "PROGRAM", "ATTACHED TO", "PIDS", "PINS"]);
    for item in ids::links() {
        let (id, link) = item?;
        let Ok(info) = link.info() else { continue };
        if !wanted.fits(&info) {
            continue;
        }
        let (pins, pids) = names.of(What::Link, id);
        let kind = LinkType(info.kind).to_string();
        let target = place(&link, &info);
        listing.table.row([
            id.to_string(),
            kind.clone(),
            info.program.to_string(),
            target.clone(),
            joined(pids),
            joined(pins),
        ]);
        listing.items.push(json!({
            "id": id,
            "type": kind,
            "prog_id": info.program,
            "attach_type": info.attach_type.map(|it| AttachType(it).to_string()),
            "target": target,
            "ifindex": info.ifindex,
            "cgroup_id": info.cgroup,
            "netns_inode": info.netns,
            "pids": pids,
            "pins": pins,
        }));
    }
    Ok(listing)
}

/// Where a link is attached, in words.
fn place(link: &Link, info: &LinkInfo) -> String {
    let attach_type = info.attach_type.map(|it| AttachType(it).to_string()).unwrap_or_default();
    if let Some(target) = &info.target {
        return target.clone();
    }
    let interface = info.ifindex.filter(|index| *index != 0).map(|index| {
        let name = interface_name(index).unwrap_or_else(|| format!("interface {index}"));
        format!("{name} {attach_type}")
    });
    let cgroup = info.cgroup.map(|id| format!("cgroup {id} {attach_type}"));
    let netns = info.netns.map(|inode| format!("netns {inode} {attach_type}"));
    let found = interface.or(cgroup).or(netns);
    let text = found.unwrap_or_else(|| link.describe().to_owned());
    text.trim_end().to_owned()
}

fn interface_name(index: u32) -> Option<String> {
    let entries = std::fs::read_dir("/sys/class/net").ok()?;
    let is_it = |path: &Path| {
        let text = std::fs::read_to_string(path.join("ifindex")).ok();
        text.and_then(|text| text.trim().parse::<u32>().ok()) == Some(index)
    };
    let found = entries.flatten().find(|entry| is_it(&entry.path()))?;
    found.file_name().into_string().ok()
}

fn tables() -> Result<Listing> {
    let mut listing = Listing::new(&["ID", "NAME", "KERNEL", "BYTES"]);
    for item in ids::tables() {
        let (id, table) = item?;
        let (kernel, bytes) = (table.is_kernel, table.bytes.len());
        let word = if kernel { "yes" } else { "no" };
        listing.table.row([&id.to_string(), &table.name, word, &bytes.to_string()]);
        let name = &table.name;
        listing.items.push(json!({ "id": id, "name": name, "kernel": kernel, "bytes": bytes }));
    }
    Ok(listing)
}

fn pins(root: &Path) -> Result<Listing> {
    let mut listing = Listing::new(&["PATH", "WHAT", "ID"]);
    for pin in find::pins(root)? {
        let path = pin.path.display().to_string();
        listing.table.row([path.as_str(), pin.what.name(), &pin.id.to_string()]);
        listing.items.push(json!({ "path": path, "what": pin.what.name(), "id": pin.id }));
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_tell_what_they_stand_for() {
        let link = "pos:\t0\nlink_type:\txdp\nlink_id:\t7\nprog_tag:\tx\nprog_id:\t3\n";
        assert_eq!(held(link), Some((rank(What::Link), 7)));
        assert_eq!(held("map_type:\t1\nmap_id:\t4\n"), Some((rank(What::Map), 4)));
        assert_eq!(held("prog_type:\t6\nprog_id:\t3\n"), Some((rank(What::Program), 3)));
        assert_eq!(held("pos:\t0\n"), None);
    }
}
