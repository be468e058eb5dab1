// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tinybpf btf`: types of the kernel, of files, and of what is loaded.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use plinth::err::Failure;
use plinth::text::Table;
use serde_json::{Value as Json, json};

use super::words::{Words, usage};
use super::{Args, BAD_INPUT, World, find, input};
use crate::btf::{Btf, Kind};
use crate::error::{Error, Kind as ErrorKind, Op};
use crate::ids;
use crate::object::OpenOptions;
use crate::sys::dump::declarations;
use plinth::near::nearest;

/// The kernel's table.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Names that a message lists.
const NEAR_MAX: usize = 5;
/// The first bytes of a table, in either byte order.
const MAGIC: [[u8; 2]; 2] = [[0x9f, 0xeb], [0xeb, 0x9f]];

/// What a header begins with: fields of its types are relocated wherever they are read.
const HEAD: &str = "#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

#ifndef __ksym
#define __ksym __attribute__((section(\".ksyms\")))
#endif

";

/// And what it ends with.
const TAIL: &str = "
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
";

/// `tinybpf btf`
pub(super) fn btf(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let mut words = Words::of(args);
    let action = words.text("ACTION")?;
    let text = match action.as_str() {
        "dump" => {
            let bytes = source(words)?;
            let btf = parsed(&bytes)?;
            dump(&btf, args.json)
        }
        "struct" => {
            let name = words.text("STRUCT")?;
            let btf = parsed(&source(words)?)?;
            layout(&btf, &name, args.json)?
        }
        "vmlinux-h" => {
            let declared = declarations(&source(words)?.bytes);
            let text = declared.map_err(|errno| Error::from_errno(errno, Op::Parse, "BTF"))?;
            format!("{HEAD}{text}{TAIL}")
        }
        _ => return Err(usage(format!("unknown action '{action}': dump, struct or vmlinux-h"))),
    };
    world.print(&text)?;
    Ok(0)
}

/// A table in the kernel's format; of a module: with what it is laid over.
struct Source {
    name: String,
    bytes: Vec<u8>,
    is_module: bool,
}

/// The table that the rest of the words names; the kernel's when there are none.
fn source(mut words: Words) -> Result<Source, Failure> {
    let word = if words.is_empty() { "vmlinux".to_owned() } else { words.text("SOURCE")? };
    let of_id = |id: u32| -> Result<Source, Failure> {
        let table = ids::Table::from_id(id)?;
        let is_module = table.is_kernel && table.name != "vmlinux";
        Ok(Source { name: format!("BTF {id}"), bytes: table.bytes, is_module })
    };
    let source = match word.as_str() {
        "vmlinux" => {
            file(Path::new(VMLINUX)).map_err(|failure| match Path::new(VMLINUX).exists() {
                true => failure,
                false => Error::new(ErrorKind::NoKernelBtf, Op::Read, VMLINUX)
                    .with_detail("this kernel does not show its types")
                    .into(),
            })?
        }
        "map" => {
            let map = find::map(&words.reference("MAP")?)?;
            of_id(some_types(map.info()?.btf, map.name())?)?
        }
        "prog" => {
            let program = find::program(&words.reference("PROGRAM")?)?;
            of_id(some_types(program.info()?.btf, program.name())?)?
        }
        "btf" => match words.reference("BTF")? {
            crate::reference::Reference::Id(id) => of_id(id)?,
            _ => return Err(usage("type tables are found by id")),
        },
        path => file(Path::new(path))?,
    };
    words.end()?;
    Ok(source)
}

fn some_types(id: u32, name: &str) -> Result<u32, Failure> {
    if id != 0 {
        return Ok(id);
    }
    Err(Error::new(ErrorKind::MissingBtf, Op::Find, name).with_detail("it has no types").into())
}

/// The table of a file: one as the kernel shows it, or that of an object.
fn file(path: &Path) -> Result<Source, Failure> {
    let name = path.display().to_string();
    let bytes = input(path)?;
    if bytes.first_chunk::<2>().is_some_and(|start| MAGIC.contains(start)) {
        return Ok(Source { name, bytes, is_module: false });
    }
    let object = OpenOptions::new().open_read(path, &super::load::read(path)?)?;
    let bytes = object.btf_bytes().unwrap_or_default().to_vec();
    Ok(Source { name, bytes, is_module: false })
}

fn parsed(source: &Source) -> Result<Arc<Btf>, Failure> {
    let btf = if source.is_module {
        Btf::parse_split(&source.bytes, Arc::new(find::kernel_btf()?))
    } else {
        Btf::parse(&source.bytes)
    };
    btf.map(Arc::new)
        .map_err(|error| Failure::new(BAD_INPUT, format!("'{}': {error}", source.name)))
}

fn dump(btf: &Btf, json: bool) -> String {
    let types =
        btf.types().map(|(id, it)| (id.0, it.kind().name(), btf.spell(id), btf.size_of(id).ok()));
    if json {
        let items = types.map(
            |(id, kind, name, size)| json!({ "id": id, "kind": kind, "type": name, "size": size }),
        );
        return format!("{}\n", Json::Array(items.collect()));
    }
    let mut table = Table::new(&["ID", "KIND", "TYPE", "SIZE"]);
    for (id, kind, name, size) in types {
        let size = size.map(|it| it.to_string()).unwrap_or_default();
        table.row([&id.to_string(), kind, &name, &size]);
    }
    table.to_string()
}

fn layout(btf: &Btf, name: &str, json: bool) -> Result<String, Failure> {
    let found = btf.find_spelled(name).ok_or_else(|| {
        let near = nearest(name, btf.names(Kind::Struct), NEAR_MAX);
        let near =
            if near.is_empty() { String::new() } else { format!("; near are {}", near.join(", ")) };
        Error::new(ErrorKind::NotFound, Op::Find, name).with_detail(format!("no such type{near}"))
    })?;
    let text = btf.c_struct(found).map_err(|error| {
        Error::new(ErrorKind::Type, Op::Find, name).with_detail(error.to_string())
    })?;
    if !json {
        return Ok(text);
    }
    let ty = btf.resolve(found).and_then(|id| btf.get(id));
    let members = ty.map_or(&[][..], |it| it.members()).iter().map(|it| {
        json!({
            "name": btf.text(it.name),
            "type": btf.spell(it.ty),
            "bit_offset": it.bit_offset,
            "bit_size": it.bit_size,
            "size": btf.size_of(it.ty).ok(),
        })
    });
    let mut out = String::new();
    let value = json!({
        "name": btf.name(found),
        "size": btf.size_of(found).ok(),
        "members": members.collect::<Vec<_>>(),
    });
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{value}");
    Ok(out)
}
