// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands of `stafctl` and `stacctl`: ask the daemon, print the answer.
//!
//! Owns what each command asks for and how answers are merged. The ways to a daemon are
//! [`super::transport`]'s, the forms of output [`super::python`]'s, [`super::json`]'s and
//! [`super::table`]'s. Both programs are this module with another [`Client`].

mod process;
mod wait;

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::time::Duration;

use plinth::cli::{Program, UsageError};
use plinth::err::{FAILED, Failure, USAGE};
use serde_json::{Map, Value, json};

use super::args::{Args, Format, STACCTL, STAFCTL};
use super::transport::{self, CallError, Connection, Daemon, STACD, STAFD};
use super::{Verbatim, World, json, python, secrets, table, understand};
use crate::core::control::{Call, Seven};
use crate::core::identity::Identity;
use crate::shell::config::SYS_CONF;

/// How long it may take to reach the bus.
const REACH_WITHIN: Duration = Duration::from_secs(5);

/// How long a daemon may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(25);

/// A client program.
#[derive(Debug)]
pub struct Client {
    /// Its command line.
    pub program: &'static Program<Args>,
    /// Whom it asks.
    pub daemon: &'static Daemon,
    /// Does the daemon keep discovery log pages?
    pub has_log_pages: bool,
}

/// `stafctl`.
pub static STAFCTL_CLIENT: Client =
    Client { program: &STAFCTL, daemon: &STAFD, has_log_pages: true };

/// `stacctl`.
pub static STACCTL_CLIENT: Client =
    Client { program: &STACCTL, daemon: &STACD, has_log_pages: false };

impl Client {
    /// Carries out the command line `words` (without the program's name); the exit status.
    ///
    /// # Errors
    /// A command line that was not understood, a daemon that did not answer, output that could not
    /// be written.
    pub fn run(
        &self,
        words: impl IntoIterator<Item = OsString>,
        world: &mut World<'_>,
    ) -> Result<u8, Failure> {
        let (command, args) = match understand(self.program, words, world)? {
            ControlFlow::Continue(chosen) => chosen,
            ControlFlow::Break(status) => return Ok(status),
        };
        match command {
            "wait" => wait::wait(self.daemon, &args)?,
            "dlp" => self.log_pages(args, world)?,
            _ => {
                let mut daemon = self.open(&args)?;
                match command {
                    "tron" => self.trace(true, daemon.as_mut(), &args, world)?,
                    "troff" => self.trace(false, daemon.as_mut(), &args, world)?,
                    "status" => self.status(daemon.as_mut(), &args, world)?,
                    "adlp" => all_log_pages(daemon.as_mut(), &args, world)?,
                    _ => list(daemon.as_mut(), &args, world)?,
                }
            }
        }
        Ok(0)
    }

    fn open(&self, args: &Args) -> Result<Box<dyn Connection>, Failure> {
        transport::open(self.daemon, args.socket.as_deref(), REACH_WITHIN).map_err(failure)
    }

    fn trace(
        &self,
        on: bool,
        daemon: &mut dyn Connection,
        args: &Args,
        world: &mut World<'_>,
    ) -> Result<(), Failure> {
        ask(daemon, &Call::SetTron(on))?;
        let tron = ask(daemon, &Call::GetTron)?;
        match args.format() {
            Format::Json => emit(json!({ "tron": tron }), Format::Json, world, |_| String::new()),
            Format::Python | Format::Table => {
                world.print(&format!("tron = {}\n", python::literal(&tron)))
            }
        }
    }

    /// The dictionary of `process_info`, extended by all controllers in full.
    fn status(
        &self,
        daemon: &mut dyn Connection,
        args: &Args,
        world: &mut World<'_>,
    ) -> Result<(), Failure> {
        let Value::Object(mut status) = ask(daemon, &Call::ProcessInfo)? else {
            return Err(Failure::new(FAILED, "process_info is no object"));
        };
        let mut controllers = ask(daemon, &Call::ListControllers { detailed: true })?;
        for controller in controllers.as_array_mut().into_iter().flatten() {
            self.extend(daemon, controller)?;
        }
        status.insert("controllers".into(), controllers);
        let process = daemon.peer().map(|pid| process::look(pid, &|path| world.read(path).ok()));
        if args.format() == Format::Json {
            // The other forms are the reference's, and the table's first line.
            status.insert("process".into(), process.as_ref().map_or(Value::Null, process::as_json));
        }
        emit(Value::Object(status), args.format(), world, |status| {
            table::status(self.daemon.name, status, process.as_ref())
        })
    }

    /// Adds what else the daemon knows about a controller. It may be gone by now.
    fn extend(&self, daemon: &mut dyn Connection, controller: &mut Value) -> Result<(), Failure> {
        let Some(map) = controller.as_object_mut() else { return Ok(()) };
        let seven = seven_of(map);
        if self.has_log_pages {
            let pages = ask_newer(daemon, &Call::GetLogPages(seven.clone()))?;
            map.insert("log_pages".into(), pages.unwrap_or_else(|| json!([])));
        }
        if let Some(Value::Object(more)) = ask_newer(daemon, &Call::ControllerInfo(seven))? {
            map.extend(more);
        }
        Ok(())
    }

    fn log_pages(&self, mut args: Args, world: &mut World<'_>) -> Result<(), Failure> {
        let [_, traddr, trsvcid, .., host_nqn] = &mut args.seven;
        for (given, name) in [(&*traddr, "--traddr"), (&*trsvcid, "--trsvcid")] {
            if given.is_empty() {
                let text = format!("option '{name}' of 'dlp' is missing");
                return Err(Failure::new(USAGE, UsageError::new(text)));
            }
        }
        if !args.host_nqn_given {
            *host_nqn = default_host_nqn(world);
        }
        let mut daemon = self.open(&args)?;
        let pages = ask(daemon.as_mut(), &Call::GetLogPages(args.seven.clone()))?;
        emit(pages, args.format(), world, table::log_pages)
    }
}

/// The host NQN of `sys.conf`. Where there is none the daemon is asked with an empty one, which
/// stands for its own.
fn default_host_nqn(world: &World<'_>) -> String {
    let text = world.read(SYS_CONF).ok();
    let identity = Identity::load(SYS_CONF, text.as_deref(), &mut |path| world.read(path));
    identity.map(|(identity, _)| identity.nqn).unwrap_or_default()
}

fn list(daemon: &mut dyn Connection, args: &Args, world: &mut World<'_>) -> Result<(), Failure> {
    let list = ask(daemon, &Call::ListControllers { detailed: args.detailed })?;
    emit(list, args.format(), world, |list| table::controllers(list, args.detailed))
}

fn all_log_pages(
    daemon: &mut dyn Connection,
    args: &Args,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let pages = ask(daemon, &Call::GetAllLogPages { detailed: args.detailed })?;
    emit(pages, args.format(), world, table::all_log_pages)
}

fn ask(daemon: &mut dyn Connection, call: &Call) -> Result<Value, Failure> {
    daemon.call(call, ANSWER_WITHIN).map_err(failure)
}

/// Asks for something that older daemons do not have.
fn ask_newer(daemon: &mut dyn Connection, call: &Call) -> Result<Option<Value>, Failure> {
    match daemon.call(call, ANSWER_WITHIN) {
        Err(error) if error.is_unknown_method() => Ok(None),
        other => other.map(Some).map_err(failure),
    }
}

/// The seven strings under which a daemon knows the controller of a dictionary.
fn seven_of(map: &Map<String, Value>) -> Seven {
    ["transport", "traddr", "trsvcid", "subsysnqn", "host-traddr", "host-iface", "host-nqn"]
        .map(|key| map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned())
}

fn emit(
    mut value: Value,
    format: Format,
    world: &mut World<'_>,
    table: impl FnOnce(&Value) -> String,
) -> Result<(), Failure> {
    secrets::mask(&mut value);
    let mut text = match format {
        Format::Python => python::literal(&value),
        Format::Json => {
            json::add_types(&mut value);
            json::document(&value, world.terminal)
        }
        Format::Table => table(&value),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    world.print(&text)
}

fn failure(error: CallError) -> Failure {
    match error {
        CallError::NotRunning { .. } => Failure::new(FAILED, Verbatim(error.to_string())),
        error => Failure::new(FAILED, error),
    }
}

#[cfg(test)]
mod tests;
