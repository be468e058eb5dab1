// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `stasadm`: makes the host's names, keeps `sys.conf`, and checks configuration files.
//!
//! Owns which file is written when. How a name is derived is [`crate::core::hostid`]'s, how a line
//! is changed in place [`crate::core::confedit`]'s. A name that exists is not replaced unless
//! told to: storage grants access by it. Files are replaced whole or not at all, the value file
//! before the configuration that refers to it.

pub mod args;
mod check;
mod names;

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use plinth::err::Failure;
use plinth::file::{Root, replace_atomic};
use plinth::rand::uuid_v4;
use plinth::text::{Table, quote};
use serde_json::{Map, Value, json};

use self::args::{Args, STASADM};
use self::names::{Name, Names};
use super::{Verbatim, World, json, understand};
use crate::core::hostid::{self, Sources};
use crate::core::{confedit, identity};
use crate::shell::config::SYS_CONF;

/// The section of `sys.conf`.
const SECTION: &str = "Host";
/// The mode of files that did not exist: every user may read the names.
const MODE: u32 = 0o644;

/// Why the host's names are as before.
#[derive(Debug)]
enum AdminError {
    /// A file could not be read.
    Read { path: PathBuf, source: io::Error },
    /// A file could not be written.
    Write { path: PathBuf, source: io::Error },
    /// A name exists, and another was about to take its place.
    Exists { what: &'static str, origin: String, value: String },
    /// A path or a name that would not read back as written.
    Unfit { what: &'static str, value: String, reason: &'static str },
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "cannot read {}", path.display()),
            Self::Write { path, .. } => write!(f, "cannot write {}", path.display()),
            Self::Exists { what, origin, value } => {
                let value = quote(value);
                write!(f, "{origin} has the {what} {value} already, --force replaces it")
            }
            Self::Unfit { what, value, reason } => {
                write!(f, "cannot save the {what} {}: {reason}", quote(value))
            }
        }
    }
}

impl Error for AdminError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::Exists { .. } | Self::Unfit { .. } => None,
        }
    }
}

/// Carries out the command line `words` (without the program's name); the exit status.
///
/// # Errors
/// A command line that was not understood, files that could not be read or written, a name that
/// would have been replaced.
pub fn run(
    words: impl IntoIterator<Item = OsString>,
    world: &mut World<'_>,
) -> Result<u8, Failure> {
    let (command, args) = match understand(&STASADM, words, world)? {
        ControlFlow::Continue(chosen) => chosen,
        ControlFlow::Break(status) => return Ok(status),
    };
    let files = Files::new(&args, world)?;
    match command {
        "hostnqn" => files.host_nqn(&args, world)?,
        "hostid" => files.host_id(&args, world)?,
        "set-symname" => files.set_symname(&args)?,
        "clear-symname" => files.edit(|text| confedit::unset(text, SECTION, "symname"))?,
        "show" => show(&files.names()?, &args, world)?,
        _ => return check::check(&files, &args, world),
    }
    Ok(0)
}

/// The configuration file, and the root that all files are below.
struct Files {
    root: Root,
    config: PathBuf,
}

impl Files {
    fn new(args: &Args, world: &World<'_>) -> Result<Self, AdminError> {
        let root = args.root.as_ref().map_or_else(|| world.root.clone(), Root::at);
        let config = args.config.as_deref().unwrap_or_else(|| Path::new(SYS_CONF));
        let mut files = Self { root, config: PathBuf::new() };
        files.config = files.absolute(config)?;
        Ok(files)
    }

    /// A path of the command line as the name of the same file from anywhere. Below another root
    /// there is no current directory to start from.
    fn absolute(&self, path: &Path) -> Result<PathBuf, AdminError> {
        if self.root == Root::system() {
            let read = |source| AdminError::Read { path: path.to_owned(), source };
            return std::path::absolute(path).map_err(read);
        }
        Ok(Path::new("/").join(path))
    }

    fn read(&self, path: &Path) -> Option<String> {
        self.root.read_text(path).ok()
    }

    /// The text of a file; empty when there is none.
    fn text(&self, path: &Path) -> Result<String, AdminError> {
        match self.root.read_text(path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(AdminError::Read { path: path.to_owned(), source }),
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), AdminError> {
        let place = self.root.join(path);
        let made = place.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| replace_atomic(&place, text.as_bytes(), MODE))
            .map_err(|source| AdminError::Write { path: path.to_owned(), source })
    }

    /// Changes the configuration; one that stays the same is not written.
    fn edit(&self, change: impl FnOnce(&str) -> String) -> Result<(), AdminError> {
        let before = self.text(&self.config)?;
        let after = change(&before);
        if after == before { Ok(()) } else { self.write(&self.config, &after) }
    }

    fn names(&self) -> Result<Names, AdminError> {
        let text = self.text(&self.config)?;
        let read = |path: &str| self.root.read_text(path).map_err(|error| error.to_string());
        Ok(Names::find(&self.config.to_string_lossy(), &text, &read))
    }

    fn host_nqn(&self, args: &Args, world: &mut World<'_>) -> Result<(), Failure> {
        let uuid = self.host_uuid(world.superuser)?;
        let nqn = hostid::nqn_of_uuid(&uuid);
        if args.print {
            return world.print(&format!("{nqn}\n"));
        }
        let present = self.names()?.nqn;
        Ok(self.replace_name(&present, &nqn, args)?)
    }

    /// The ID that belongs to the present NQN; without one, to the NQN that would be made.
    fn host_id(&self, args: &Args, world: &mut World<'_>) -> Result<(), Failure> {
        let names = self.names()?;
        let id = match names.nqn.value.as_deref() {
            Some(nqn) => hostid::host_id(Some(nqn), &uuid_v4()),
            None => self.host_uuid(true)?,
        };
        if args.print {
            return world.print(&format!("{id}\n"));
        }
        Ok(self.replace_name(&names.id, &id, args)?)
    }

    /// The UUID that identifies this machine. Who is not root cannot see every source, and must
    /// not get chance instead of what root would get.
    fn host_uuid(&self, superuser: bool) -> Result<String, Verbatim> {
        let machine_id = self.read(Path::new(hostid::MACHINE_ID_FILE));
        let product_uuid = self.read(Path::new(hostid::PRODUCT_UUID_FILE));
        let partition_uuid = self.read(Path::new(hostid::PARTITION_UUID_FILE));
        let sources = Sources {
            machine_id: machine_id.as_deref(),
            product_uuid: product_uuid.as_deref(),
            partition_uuid: partition_uuid.as_deref(),
        };
        let random = uuid_v4();
        let uuid = hostid::host_uuid(&sources, &random);
        if uuid == random && !superuser {
            return Err(Verbatim("Permission denied. Root privileges required.".into()));
        }
        Ok(uuid)
    }

    /// Saves `value`, unless another one is in force or in the file that is to be written.
    fn replace_name(&self, present: &Name, value: &str, args: &Args) -> Result<(), AdminError> {
        let exists = |origin: &str, there: &str| AdminError::Exists {
            what: present.what,
            origin: origin.to_owned(),
            value: there.to_owned(),
        };
        if !args.force {
            if let Some(there) = present.value.as_deref().filter(|there| *there != value) {
                return Err(exists(&present.origin, there));
            }
            if let Some(file) = &args.file {
                let file = self.absolute(file)?;
                let text = self.text(&file)?;
                let there = identity::first_word(&text);
                if !there.is_empty() && there != value {
                    return Err(exists(&file.to_string_lossy(), there));
                }
            }
        }
        self.save(present.key, present.what, value, args)
    }

    fn set_symname(&self, args: &Args) -> Result<(), AdminError> {
        let name = args.symname.trim();
        let unfit = |reason| AdminError::Unfit {
            what: "symbolic name",
            value: args.symname.clone(),
            reason,
        };
        if name.is_empty() {
            return Err(unfit("it is empty"));
        }
        if name.chars().any(char::is_control) {
            return Err(unfit("it has control characters"));
        }
        if name.starts_with("file://") {
            return Err(unfit("it would be taken for the name of a file"));
        }
        if args.file.is_some() && name.contains(char::is_whitespace) {
            return Err(unfit("only the first word of a file is read"));
        }
        self.save("symname", "symbolic name", name, args)
    }

    /// Puts `value` into the configuration, or into the file that was asked for and its name into
    /// the configuration.
    fn save(
        &self,
        key: &'static str,
        what: &'static str,
        value: &str,
        args: &Args,
    ) -> Result<(), AdminError> {
        let Some(file) = &args.file else {
            return self.edit(|text| confedit::set(text, SECTION, key, value));
        };
        let file = self.absolute(file)?;
        let name = file.to_str().filter(|name| name.trim() == *name);
        let Some(name) = name.filter(|name| !name.chars().any(char::is_control)) else {
            let value = file.to_string_lossy().into_owned();
            let reason = "no such file name can stand in a configuration";
            return Err(AdminError::Unfit { what, value, reason });
        };
        self.write(&file, &format!("{value}\n"))?;
        self.edit(|text| confedit::set(text, SECTION, key, &format!("file://{name}")))
    }
}

fn show(names: &Names, args: &Args, world: &mut World<'_>) -> Result<(), Failure> {
    let all = [("hostnqn", &names.nqn), ("hostid", &names.id), ("symname", &names.symname)];
    if args.json {
        let object: Map<String, Value> = all
            .into_iter()
            .map(|(key, name)| {
                let value = json!({
                    "value": name.value,
                    "origin": name.origin,
                    "valid": name.problem.is_none(),
                    "problem": name.problem,
                });
                (key.to_owned(), value)
            })
            .collect();
        return world.print(&(json::document(&Value::Object(object), world.terminal) + "\n"));
    }
    let mut table = Table::new(&["NAME", "VALUE", "ORIGIN", "STATE"]);
    for (key, name) in all {
        let fine = if name.value.is_some() { "valid" } else { "not set" };
        let state = name.problem.as_deref().unwrap_or(fine);
        table.row([key, name.value.as_deref().unwrap_or_default(), &name.origin, state]);
    }
    world.print(&table.to_string())
}

#[cfg(test)]
mod tests;
