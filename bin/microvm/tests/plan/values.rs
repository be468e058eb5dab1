// SPDX-License-Identifier: Apache-2.0 OR MIT
//! No text of a description leaves its argument inside a hypervisor's option.
//!
//! Each text option of the largest description for each hypervisor is set to a random text. Then
//! either validation refuses it, or the command line, taken apart by the rules of the program, has
//! the same words and keys as with a harmless text, and the text where that stood.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use microvm::config::{Hypervisor, InterfaceType, Vm};
use microvm::plan::{Plan, plan};
use microvm::validate::{self, NoFacts, Subject};
use proptest::prelude::*;
use serde_json::Value;

use crate::decode::{Part, Syntax};
use crate::support::{cases, load, name};
use crate::tables;

/// A text option: its name, and how it is set; false if this machine has none.
type Slot = (&'static str, fn(&mut Vm, &str) -> bool);

fn put<T>(place: Option<&mut T>, value: T) -> bool {
    place.map(|place| *place = value).is_some()
}

const SLOTS: &[Slot] = &[
    ("kernel", |vm, text| {
        vm.vmlinux = None;
        put(Some(&mut vm.kernel), format!("/{text}"))
    }),
    ("vmlinux", |vm, text| put(Some(&mut vm.vmlinux), Some(format!("/{text}")))),
    ("initrdPath", |vm, text| put(Some(&mut vm.initrd_path), Some(format!("/{text}")))),
    ("kernelParams", |vm, text| put(vm.kernel_params.first_mut(), text.to_owned())),
    ("socket", |vm, text| vm.socket.is_some() && put(Some(&mut vm.socket), Some(text.to_owned()))),
    ("user", |vm, text| vm.user.is_some() && put(Some(&mut vm.user), Some(text.to_owned()))),
    ("storeDisk", |vm, text| put(Some(&mut vm.store_disk), Some(format!("/{text}")))),
    ("volumes.image", |vm, text| {
        put(vm.volumes.first_mut().map(|it| &mut it.image), text.to_owned())
    }),
    ("volumes.serial", |vm, text| {
        let volume = vm.volumes.first_mut().filter(|it| it.serial.is_some());
        put(volume.map(|it| &mut it.serial), Some(text.to_owned()))
    }),
    ("interfaces.id", |vm, text| {
        put(vm.interfaces.first_mut().map(|it| &mut it.id), text.to_owned())
    }),
    ("interfaces.bridge", |vm, text| {
        let interface = vm.interfaces.last_mut();
        interface.is_some_and(|it| {
            it.kind = InterfaceType::Bridge;
            put(Some(&mut it.bridge), Some(text.to_owned()))
        })
    }),
    ("shares.tag", |vm, text| put(vm.shares.first_mut().map(|it| &mut it.tag), text.to_owned())),
    ("shares.source", |vm, text| {
        put(vm.shares.last_mut().map(|it| &mut it.source), text.to_owned())
    }),
    ("shares.socket", |vm, text| {
        let share = vm.shares.first_mut().filter(|it| it.socket.is_some());
        put(share.map(|it| &mut it.socket), Some(text.to_owned()))
    }),
    ("shares (9p).tag", |vm, text| {
        put(vm.shares.last_mut().map(|it| &mut it.tag), text.to_owned())
    }),
    ("credentialFiles", |vm, text| put(vm.credential_files.get_mut("a"), format!("/{text}"))),
    ("devices.path", |vm, text| {
        put(vm.devices.first_mut().map(|it| &mut it.path), text.to_owned())
    }),
    ("devices.qemu.id", |vm, text| {
        put(vm.devices.first_mut().map(|it| &mut it.qemu.id), Some(text.to_owned()))
    }),
    ("devices.qemu.bus", |vm, text| {
        put(vm.devices.first_mut().map(|it| &mut it.qemu.bus), Some(text.to_owned()))
    }),
    ("graphics.socket", |vm, text| put(Some(&mut vm.graphics.socket), text.to_owned())),
    ("qemu.accel", |vm, text| put(Some(&mut vm.qemu.accel), text.to_owned())),
    ("crosvm.pivotRoot", |vm, text| put(Some(&mut vm.crosvm.pivot_root), Some(format!("/{text}")))),
];

/// A flag, and the parts of the word behind it.
type Taken = (String, Vec<Part>);

/// The words as flags with what stands behind them, taken apart.
fn apart(vm: &Vm, plan: &Plan) -> Result<Vec<Taken>, String> {
    let words: Vec<String> = plan.words.iter().map(|word| word.shown()).collect();
    let words = if plan.program == "alioth" { referred(&words) } else { words };
    let known = tables::for_machine(vm);
    let syntax = match plan.program.as_str() {
        "alioth" => Syntax::Plain,
        program if program.starts_with("qemu") => Syntax::Doubled,
        _ => tables::syntax(known.as_ref().ok_or("no table")?),
    };
    let mut out = Vec::new();
    let mut flag = String::new();
    for word in words {
        let is_whole = match &known {
            Some(table) => tables::is_whole(table, &flag),
            None => WHOLE.contains(&flag.as_str()),
        };
        let parts = if is_whole {
            vec![(None, percent(&word))]
        } else if flag == "-qmp" && known.is_none() {
            named(syntax.parts(word.strip_prefix("unix:").ok_or("no socket")?, ',')?)
        } else if let Some(count) = known.as_ref().and_then(|it| tables::positions(it, &flag)) {
            let separator = if flag == "--shared-dir" { ':' } else { ',' };
            let mut parts = word.split(separator).map(str::to_owned);
            let first: Vec<Part> = parts.by_ref().take(count).map(|part| (None, part)).collect();
            let rest = parts.collect::<Vec<_>>().join(&separator.to_string());
            [first, syntax.parts(&rest, separator)?].concat()
        } else {
            // A path of its own may stand without its key.
            let parts = syntax.parts(&word, ',')?;
            if flag == "--api-socket" { named(parts) } else { parts }
        };
        out.push((flag.clone(), parts));
        let goes_on = known.as_ref().is_some_and(|it| tables::takes_several(it, &flag));
        if !goes_on || word.starts_with('-') {
            flag = word;
        }
    }
    Ok(out)
}

/// Flags of QEMU and Alioth whose argument is not taken apart.
const WHOLE: &[&str] = &["-kernel", "-initrd", "-append", "-runas", "-k", "-i", "-c"];

/// The URI of a socket is the only word with escapes of its own.
fn percent(text: &str) -> String {
    match text.starts_with("unix://") {
        true => text.replace("%3F", "?").replace("%23", "#").replace("%25", "%"),
        false => text.to_owned(),
    }
}

/// The first part under its key, which it may go without.
fn named(mut parts: Vec<Part>) -> Vec<Part> {
    if let Some(first) = parts.first_mut().filter(|first| first.0.is_none()) {
        first.0 = Some("path".to_owned());
    }
    parts
}

/// The words of Alioth with its objects in the place of their names, the way it looks them up.
fn referred(words: &[String]) -> Vec<String> {
    let mut objects = BTreeMap::new();
    let mut rest = Vec::new();
    let mut all = words.iter();
    while let Some(word) = all.next() {
        if word == "-o" {
            let (name, text) = all.next().and_then(|it| it.split_once(',')).expect("an object");
            objects.insert(name, text);
        } else {
            rest.push(word.clone());
        }
    }
    let mut at = 0;
    while at < rest.len() {
        let optional = ["tag", "if_name"];
        let parts = rest[at].split(',').map(|part| {
            let Some((key, name)) = part.split_once('=') else { return part.to_owned() };
            let mut text = objects.get(name).copied().unwrap_or(name);
            if optional.contains(&key) {
                text = objects.get(text).copied().unwrap_or(text);
            }
            // Commas inside are not to be seen as ends any more.
            format!("{key}={}", text.replace(',', "\u{1}"))
        });
        let is_option = at > 0 && ["--blk", "--fs", "--net"].contains(&rest[at - 1].as_str());
        if is_option {
            rest[at] = parts.collect::<Vec<_>>().join(",");
        }
        at += 1;
    }
    rest
}

fn files(plan: &Plan) -> Vec<Value> {
    plan.files.iter().map(|(_, bytes)| serde_json::from_slice(bytes).expect("JSON")).collect()
}

/// Puts `text` where the harmless one stands.
fn rename(value: &mut Value, harmless: &str, text: &str) {
    match value {
        Value::String(inner) => *inner = inner.replace(harmless, text),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, harmless, text)),
        Value::Object(members) => {
            members.values_mut().for_each(|member| rename(member, harmless, text));
        }
        _ => {}
    }
}

/// Parts with the text in place of the harmless one, in a form in which a path of this directory is
/// one with and without the dot.
fn normal(parts: &[Part], harmless: &str, text: &str) -> Vec<Part> {
    let normal = |(key, value): &Part| {
        let value = value.replace(harmless, text).replace(',', "\u{1}");
        let value = value.strip_prefix("./").map(str::to_owned).unwrap_or(value);
        (key.clone(), value)
    };
    parts.iter().map(normal).collect()
}

/// What is wrong with the text in this option.
fn wrong(base: &Vm, slot: &Slot, text: &str) -> Option<String> {
    let harmless = if text.starts_with('/') { "/harmless" } else { "harmless" };
    let (mut vm, mut other) = (base.clone(), base.clone());
    if !slot.1(&mut vm, text) || !slot.1(&mut other, harmless) {
        return None;
    }
    let subject = Subject { name: "vm1", vm: &vm };
    if validate::validate(&[subject], &NoFacts, &Default::default()).has_errors() {
        return None;
    }
    let (found, wanted) = (plan(&vm, &Default::default()), plan(&other, &Default::default()));
    // The kernel's command line trims its words, and drops those that are empty then.
    let is_parameter = slot.0 == "kernelParams";
    let text = if is_parameter { text.trim() } else { text };
    if is_parameter && text.is_empty() {
        return None;
    }
    let failed = |why: String| Some(format!("{} {} {text:?}: {why}", vm.hypervisor, slot.0));
    let mut wanted_files = files(&wanted);
    wanted_files.iter_mut().for_each(|file| rename(file, harmless, text));
    if files(&found) != wanted_files {
        return failed("the file differs".to_owned());
    }
    let (found, wanted) = match (apart(&vm, &found), apart(&other, &wanted)) {
        (Ok(found), Ok(wanted)) => (found, wanted),
        (Err(why), _) | (_, Err(why)) => return failed(why),
    };
    if found.len() != wanted.len() {
        return failed("another number of words".to_owned());
    }
    for (found, wanted) in found.iter().zip(&wanted) {
        if normal(&found.1, "\0", "") != normal(&wanted.1, harmless, text) {
            return failed(format!("{found:?} instead of {wanted:?}"));
        }
    }
    None
}

/// The largest machine for each hypervisor.
static BASES: LazyLock<Vec<Vm>> = LazyLock::new(bases);

fn bases() -> Vec<Vm> {
    let cases = cases().into_iter().filter(|case| name(case).ends_with("-maximal"));
    let machine = |case: std::path::PathBuf| load(&case).machines.remove(0).vm;
    cases.map(machine).collect()
}

fn texts() -> impl Strategy<Value = String> {
    let hard = prop::sample::select(vec![
        ",",
        ",,",
        "=",
        "[",
        "]",
        "[a,b]",
        "\"",
        "\"\"",
        "'",
        "\\",
        "\\\"",
        ":",
        "://",
        "-",
        "--x",
        " ",
        "%41",
        "#",
        "?",
        "id_",
        "ro",
        "path=",
        "scsi:",
        "json:{",
        "unix:",
        "a",
        "é",
        "@",
        "$x",
        "{",
        "}",
        "./",
        "nbd:x",
        "readonly=on",
        "fd=3",
    ]);
    let part = prop_oneof![3 => hard.prop_map(str::to_owned), 1 => "[ -~]{1,4}"];
    prop::collection::vec(part, 1..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn no_text_leaves_its_value(text in texts()) {
        for base in BASES.iter() {
            for slot in SLOTS {
                let wrong = wrong(base, slot, &text);
                prop_assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
            }
        }
    }
}

#[test]
fn most_texts_are_not_refused() {
    // Or the property above would prove nothing.
    for base in BASES.iter() {
        let mut vm = base.clone();
        vm.volumes[0].image = "say: it's [1] = 'x' $HOME".to_owned();
        vm.volumes[0].serial = None;
        let subject = Subject { name: "vm1", vm: &vm };
        let report = validate::validate(&[subject], &NoFacts, &Default::default());
        assert!(!report.has_errors(), "{}: {report:?}", vm.hypervisor);
    }
}

#[test]
fn a_text_that_leaves_its_value_is_noticed() {
    // The machine type is a list of its own, in which nothing is escaped.
    let machine: Slot = ("qemu.machine", |vm, text| put(Some(&mut vm.qemu.machine), text.into()));
    let qemu = BASES.iter().find(|vm| vm.hypervisor == Hypervisor::Qemu).expect("QEMU");
    assert!(wrong(qemu, &machine, "pc").is_none());
    assert!(wrong(qemu, &machine, "pc,acpi=off").is_some());
}
