// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The options of commands, each once.

use std::ffi::OsString;
use std::time::Duration;

use plinth::cli::Flag;

use super::{Args, Assignment, AttachMode, EventForm};
use crate::event::{Filter, Variant};
use crate::hook::Hook;
use crate::map::Flags;
use crate::number;
use crate::reference::Reference;
use crate::value::{BytesForm, EnumForm, Int64Form};

type Set = Result<(), String>;

/// The option's value as text.
fn text(value: OsString) -> Result<String, String> {
    value.into_string().map_err(|_| "not UTF-8".to_owned())
}

fn num<T: TryFrom<i128>>(value: OsString) -> Result<T, String> {
    number::parse(&text(value)?).map_err(|_| "not a number of that range".to_owned())
}

/// `64k`, as far as it fits.
fn size<T: TryFrom<u64>>(value: OsString) -> Result<T, String> {
    let size = number::size(&text(value)?).map_err(|error| error.to_string())?;
    T::try_from(size).map_err(|_| "too large".to_owned())
}

/// `1.5s`, `200ms`, `2m`, `1h`, or seconds.
fn duration(value: OsString) -> Result<Duration, String> {
    const FORM: &str = "not a time, such as 10s, 500ms or 2m";
    let value = text(value)?;
    let end = value.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(value.len());
    let (amount, unit) = value.split_at(end);
    let unit = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(FORM.to_owned()),
    };
    let amount: f64 = amount.parse().map_err(|_| FORM.to_owned())?;
    Duration::try_from_secs_f64(amount * unit).map_err(|_| FORM.to_owned())
}

/// `NAME=VALUE`.
fn assignment(value: OsString) -> Result<Assignment, String> {
    match text(value)?.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Assignment { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("not of the form NAME=VALUE".to_owned()),
    }
}

fn choice<T: Copy>(value: OsString, choices: &[(&str, T)]) -> Result<T, String> {
    let value = text(value)?;
    let found = choices.iter().find(|(name, _)| *name == value);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    })
}

/// Adds the names of a list with commas.
fn names(list: &mut Vec<String>, value: OsString) -> Set {
    let value = text(value)?;
    list.extend(value.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned));
    Ok(())
}

pub(super) const PROG: Flag<Args> = Flag::option(
    None,
    "prog",
    "NAME",
    "only this program; may stand again",
    |args: &mut Args, v| names(&mut args.programs, v),
);
pub(super) const SKIP: Flag<Args> = Flag::option(
    None,
    "skip",
    "NAME",
    "all but this program; may stand again",
    |args: &mut Args, v| names(&mut args.skip, v),
);
pub(super) const SET: Flag<Args> = Flag::option(
    None,
    "set",
    "VAR=VALUE",
    "give a global variable its first value; may stand again",
    |args: &mut Args, v| {
        args.set.push(assignment(v)?);
        Ok(())
    },
);
pub(super) const RESIZE: Flag<Args> = Flag::option(
    None,
    "map",
    "MAP:max_entries=N",
    "give a map another size; may stand again",
    |args: &mut Args, v| {
        args.resize.push(assignment(v)?);
        Ok(())
    },
);
pub(super) const REUSE: Flag<Args> = Flag::option(
    None,
    "reuse",
    "MAP=PIN",
    "take a pinned map in place of a new one; may stand again",
    |args: &mut Args, v| {
        args.reuse.push(assignment(v)?);
        Ok(())
    },
);
pub(super) const KCONFIG: Flag<Args> = Flag::option(
    None,
    "kconfig",
    "CONFIG=VALUE",
    "say what the kernel's configuration file would; may stand again",
    |args: &mut Args, v| {
        args.kconfig.push(text(v)?);
        Ok(())
    },
);
pub(super) const ATTACH: Flag<Args> = Flag::option(
    None,
    "attach",
    "HOW",
    "attach programs where their sections say (auto), or only where --hook does (none)",
    |args: &mut Args, v| {
        let choices = [("auto", AttachMode::Auto), ("none", AttachMode::None)];
        args.attach = Some(choice(v, &choices)?);
        Ok(())
    },
)
.default("auto")
.choices(&["auto", "none"]);
pub(super) const HOOK: Flag<Args> = Flag::option(
    None,
    "hook",
    "PROG=HOOK",
    "attach a program here; may stand again",
    |args: &mut Args, v| {
        let Assignment { name, value } = assignment(v)?;
        args.hooks.push((name, value.parse::<Hook>().map_err(|error| error.to_string())?));
        Ok(())
    },
);
pub(super) const PIN_DIR: Flag<Args> =
    Flag::option(None, "pin", "DIR", "keep everything, as pins below DIR", |args: &mut Args, v| {
        args.pin = Some(v.into());
        Ok(())
    });
pub(super) const PIN: Flag<Args> =
    Flag::option(None, "pin", "PATH", "keep it, as this pin", |args: &mut Args, v| {
        args.pin = Some(v.into());
        Ok(())
    });
pub(super) const REPLACE: Flag<Args> =
    Flag::switch(None, "replace", "remove what was pinned there before", |args: &mut Args, _| {
        args.replace = true;
        Ok(())
    });
pub(super) const HOLD: Flag<Args> =
    Flag::switch(None, "hold", "stay until a signal comes, then detach", |args: &mut Args, _| {
        args.hold = true;
        Ok(())
    });
pub(super) const EVENTS: Flag<Args> = Flag::option(
    None,
    "events",
    "MAP",
    "print the events of this map (default: all ring and perf buffers); may stand again",
    |args: &mut Args, v| names(&mut args.events, v),
);
pub(super) const COUNT: Flag<Args> =
    Flag::option(None, "count", "N", "stop after N events", |args: &mut Args, v| {
        args.count = Some(num(v)?);
        Ok(())
    });
pub(super) const DURATION: Flag<Args> =
    Flag::option(None, "duration", "TIME", "stop after this time", |args: &mut Args, v| {
        args.duration = Some(duration(v)?);
        Ok(())
    });
pub(super) const TYPE: Flag<Args> =
    Flag::option(None, "type", "STRUCT", "the type of all events", |args: &mut Args, v| {
        args.kind = Some(text(v)?);
        Ok(())
    });
pub(super) const VARIANT: Flag<Args> = Flag::option(
    None,
    "variant",
    "OFFSET:SIZE:VALUE=STRUCT",
    "the type of events with this number at this place; may stand again",
    |args: &mut Args, v| {
        args.variants.push(Variant::parse(&text(v)?).map_err(|error| error.to_string())?);
        Ok(())
    },
);
pub(super) const FORMAT: Flag<Args> =
    Flag::option(None, "format", "FORM", "what a line looks like", |args: &mut Args, v| {
        let choices = [
            ("json", EventForm::Json),
            ("text", EventForm::Text),
            ("hex", EventForm::Hex),
            ("raw", EventForm::Raw),
        ];
        args.form = choice(v, &choices)?;
        Ok(())
    })
    .default("json")
    .choices(&["json", "text", "hex", "raw"]);
pub(super) const FILTER: Flag<Args> = Flag::option(
    None,
    "filter",
    "FIELD=VALUE",
    "print only such events (or FIELD!=VALUE); may stand again",
    |args: &mut Args, v| {
        args.filters.push(Filter::parse(&text(v)?).map_err(|error| error.to_string())?);
        Ok(())
    },
);
pub(super) const RATE: Flag<Args> = Flag::option(
    None,
    "rate",
    "N",
    "print at most N events a second, and how many were left out",
    |args: &mut Args, v| {
        args.rate = Some(num(v)?);
        Ok(())
    },
);
pub(super) const DROP_VAR: Flag<Args> = Flag::option(
    None,
    "drop-var",
    "MAP.VAR",
    "report the growth of this variable as lost events",
    |args: &mut Args, v| {
        args.drop_var = Some(text(v)?);
        Ok(())
    },
);
pub(super) const INT64: Flag<Args> = Flag::option(
    None,
    "int64",
    "FORM",
    "integers beyond 2^53 as numbers or strings",
    |args: &mut Args, v| {
        let choices = [("number", Int64Form::Number), ("string", Int64Form::String)];
        args.format.int64 = choice(v, &choices)?;
        Ok(())
    },
)
.default("number")
.choices(&["number", "string"]);
pub(super) const BYTES: Flag<Args> = Flag::option(
    None,
    "bytes",
    "FORM",
    "arrays of bytes as lists (plain) or digits (hex)",
    |args: &mut Args, v| {
        let choices = [("plain", BytesForm::Plain), ("hex", BytesForm::Hex)];
        args.format.bytes = choice(v, &choices)?;
        Ok(())
    },
)
.default("plain")
.choices(&["plain", "hex"]);
pub(super) const ENUM: Flag<Args> = Flag::option(
    None,
    "enum",
    "FORM",
    "enumerators by name, by number, or both",
    |args: &mut Args, v| {
        let choices =
            [("name", EnumForm::Name), ("number", EnumForm::Number), ("both", EnumForm::Both)];
        args.format.enums = choice(v, &choices)?;
        Ok(())
    },
)
.default("name")
.choices(&["name", "number", "both"]);
pub(super) const PADDING: Flag<Args> =
    Flag::switch(None, "padding", "print members that only fill gaps", |args: &mut Args, _| {
        args.format.all = true;
        Ok(())
    });
pub(super) const NO_NUL: Flag<Args> = Flag::switch(
    None,
    "no-nul",
    "let text fill its array, without a final NUL",
    |args: &mut Args, _| {
        args.no_nul = true;
        Ok(())
    },
);
pub(super) const DEFAULTS: Flag<Args> = Flag::switch(
    None,
    "defaults",
    "take members that are not given as zero",
    |args: &mut Args, _| {
        args.defaults = true;
        Ok(())
    },
);
pub(super) const RAW: Flag<Args> =
    Flag::switch(None, "raw", "bytes, whatever types are known", |args: &mut Args, _| {
        args.raw = true;
        Ok(())
    });
pub(super) const WRITE: Flag<Args> = Flag::option(
    None,
    "only",
    "KEYS",
    "write any key, only new ones, or only existing ones",
    |args: &mut Args, v| {
        let choices = [("any", Flags::ANY), ("new", Flags::NOEXIST), ("existing", Flags::EXIST)];
        args.write = choice(v, &choices)?;
        Ok(())
    },
)
.default("any")
.choices(&["any", "new", "existing"]);
pub(super) const INTERVAL: Flag<Args> =
    Flag::option(None, "interval", "TIME", "the time between two looks", |args: &mut Args, v| {
        args.interval = Some(duration(v)?);
        Ok(())
    })
    .default("1s");
pub(super) const MAP_TYPE: Flag<Args> = Flag::option(
    None,
    "type",
    "TYPE",
    "the type of a new map, such as hash",
    |args: &mut Args, v| {
        args.kind = Some(text(v)?);
        Ok(())
    },
);
pub(super) const KEY_SIZE: Flag<Args> =
    Flag::option(None, "key", "BYTES", "the size of a new map's keys", |args: &mut Args, v| {
        args.key_size = Some(size(v)?);
        Ok(())
    })
    .default("4");
pub(super) const VALUE_SIZE: Flag<Args> =
    Flag::option(None, "value", "BYTES", "the size of a new map's values", |args: &mut Args, v| {
        args.value_size = Some(size(v)?);
        Ok(())
    })
    .default("8");
pub(super) const ENTRIES: Flag<Args> = Flag::option(
    None,
    "entries",
    "N",
    "the most elements of a new map, or the bytes of a ring buffer",
    |args: &mut Args, v| {
        args.entries = Some(size(v)?);
        Ok(())
    },
);
pub(super) const MAP_FLAGS: Flag<Args> =
    Flag::option(None, "flags", "BITS", "BPF_F_ flags of a new map", |args: &mut Args, v| {
        args.map_flags = num(v)?;
        Ok(())
    })
    .default("0");
pub(super) const FORCE: Flag<Args> = Flag::switch(
    None,
    "force",
    "take the hook away even when others hold the link",
    |args: &mut Args, _| {
        args.force = true;
        Ok(())
    },
);
pub(super) const ALL: Flag<Args> =
    Flag::option(None, "all", "DIR", "every link pinned below DIR", |args: &mut Args, v| {
        args.directory = Some(v.into());
        Ok(())
    });
pub(super) const KEEP_MAPS: Flag<Args> =
    Flag::switch(None, "keep-maps", "leave the maps where they are", |args: &mut Args, _| {
        args.keep_maps = true;
        Ok(())
    });
pub(super) const CGROUP: Flag<Args> =
    Flag::option(None, "cgroup", "PATH", "links of this control group", |args: &mut Args, v| {
        args.cgroup = Some(v.into());
        Ok(())
    });
pub(super) const IFACE: Flag<Args> =
    Flag::option(None, "iface", "INTERFACE", "links of this interface", |args: &mut Args, v| {
        args.interface = Some(text(v)?);
        Ok(())
    });
pub(super) const ITER_MAP: Flag<Args> = Flag::option(
    None,
    "map",
    "REFERENCE",
    "the map to walk, for iterators of elements",
    |args: &mut Args, v| {
        args.map = Some(Reference::parse(&text(v)?).map_err(|error| error.to_string())?);
        Ok(())
    },
);
pub(super) const SKELETON: Flag<Args> =
    Flag::switch(None, "skeleton", "print a Rust skeleton instead", |args: &mut Args, _| {
        args.skeleton = true;
        Ok(())
    });
pub(super) const TYPES: Flag<Args> =
    Flag::switch(None, "types", "print all structs, with offsets", |args: &mut Args, _| {
        args.types = true;
        Ok(())
    });
pub(super) const OFFLINE: Flag<Args> = Flag::switch(
    None,
    "offline",
    "judge the file alone, without the kernel",
    |args: &mut Args, _| {
        args.offline = true;
        Ok(())
    },
);
pub(super) const LEVEL: Flag<Args> = Flag::option(
    None,
    "level",
    "LEVEL",
    "what the verifier tells: 1 and 2 its reasoning, 4 the numbers alone",
    |args: &mut Args, v| {
        args.level = choice(v, &[("1", 1), ("2", 2), ("4", 4)])?;
        Ok(())
    },
)
.default("4")
.choices(&["1", "2", "4"]);
pub(super) const DATA: Flag<Args> =
    Flag::option(None, "data", "FILE", "the packet that the program sees", |args: &mut Args, v| {
        args.data = Some(v.into());
        Ok(())
    });
pub(super) const CTX: Flag<Args> =
    Flag::option(None, "ctx", "FILE", "the context that the program gets", |args: &mut Args, v| {
        args.context = Some(v.into());
        Ok(())
    });
pub(super) const REPEAT: Flag<Args> =
    Flag::option(None, "repeat", "N", "how often to run it", |args: &mut Args, v| {
        args.repeat = Some(num(v)?);
        Ok(())
    })
    .default("1");
pub(super) const OUT: Flag<Args> =
    Flag::option(None, "out", "FILE", "write the packet there afterwards", |args: &mut Args, v| {
        args.out = Some(v.into());
        Ok(())
    });
pub(super) const ON: Flag<Args> = Flag::option(
    None,
    "on",
    "TIME",
    "count for this time, and print what was counted in it",
    |args: &mut Args, v| {
        args.duration = Some(duration(v)?);
        Ok(())
    },
);
pub(super) const REQUIRE: Flag<Args> = Flag::option(
    None,
    "require",
    "LIST",
    "exit with 9 unless all of these are there",
    |args: &mut Args, v| names(&mut args.require, v),
);
pub(super) const FULL: Flag<Args> =
    Flag::switch(None, "full", "every type, those that are missing too", |args: &mut Args, _| {
        args.full = true;
        Ok(())
    });
pub(super) const FILES: Flag<Args> =
    Flag::switch(None, "files", "print the files that it names instead", |args: &mut Args, _| {
        args.files = true;
        Ok(())
    });
pub(super) const FOLLOW: Flag<Args> =
    Flag::switch(Some('f'), "follow", "go on until a signal comes", |args: &mut Args, _| {
        args.follow = true;
        Ok(())
    });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, millis) in [("2", 2000), ("1.5s", 1500), ("200ms", 200), ("2m", 120_000)] {
            assert_eq!(duration(text.into()), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1x", "-1", "1e400h"] {
            assert!(duration(text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn assignments_need_a_name() {
        let found = assignment("a=b=c".into()).expect("a form");
        assert_eq!((found.name.as_str(), found.value.as_str()), ("a", "b=c"));
        assert!(assignment("=b".into()).is_err() && assignment("a".into()).is_err());
    }
}
