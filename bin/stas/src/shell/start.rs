// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the command line to the running loop, and back to an exit status.
//!
//! Owns the order of the start: options, rights, the kernel's device, the log, configuration,
//! state, then descriptors, and the bus last of all. What is missing and can come later (bus,
//! service manager, runtime directory) delays nothing. Messages for people at this stage go to
//! standard error, because there may be no log yet.

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use log::LevelFilter;
use plinth::bus::Address;
use plinth::cli::{Outcome, Program};
use plinth::err::tell_text;
use plinth::event::Loop;
use plinth::file::Root;
use plinth::netlink::RouteSocket;
use plinth::rand::{Rng, seed_from_os};
use plinth::sys::signal::{Signal, Signals};
use plinth::time::{Time, Wall};

use super::autoconnect::Mask;
use super::bus::Front;
use super::config::{Loaded, Source, support};
use super::control::Server;
use super::daemon::Daemon;
use super::devices::Devices;
use super::fabrics;
use super::kernel::client::{Client, IDLE_LIMIT};
use super::kernel::helper;
use super::key::Key;
use super::manager::Manager;
use super::options::{self, Args};
use super::peer::Peer;
use super::probe::Prober;
use super::resolve::Resolver;
use super::state::{Claim, State};
use super::sysfs::Sysfs;
use super::units::Units;
use crate::core::control::STAFD_SOCKET;
use crate::core::foreign::Foreign;
use crate::core::machine::{Machine, Start};
use crate::core::port::{Configuration, Input};
use crate::core::settings::{Diagnostic, Role};

const EXIT_USAGE: u8 = 2;

/// What `main` of a daemon does.
#[must_use]
pub fn main<C: Machine>() -> ExitCode {
    let mut words = env::args_os();
    let _name = words.next();
    let words: Vec<OsString> = words.collect();
    if words.first().is_some_and(|word| word == helper::ARGUMENT) {
        return match helper::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(options::program(C::role()).name, &error.to_string()),
        };
    }
    let program = options::program(C::role());
    let args = match program.parse(words, |name| env::var_os(name)) {
        Ok(Outcome::Run { args, .. }) => args,
        Ok(Outcome::Help(text) | Outcome::Completions(text)) => return print(&text),
        Ok(Outcome::Version) => return print(&version()),
        Err(error) => {
            complain(&format!("{}{}: {error}\n", program.usage(None), program.name));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if args.check {
        return check(C::role(), &args);
    }
    if let Err(text) = preconditions(program.name) {
        complain(&format!("{text}\n")); // as the reference says it: no name before it
        return ExitCode::FAILURE;
    }
    match run::<C>(program, &args) {
        Ok(code) => ExitCode::from(code),
        Err(text) => fail(program.name, &text),
    }
}

/// What a daemon cannot do without.
fn preconditions(name: &str) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err(format!("Permission denied. You need root privileges to run {name}."));
    }
    fabrics::ensure().map_err(|missing| missing.to_string())
}

/// The two lines of `--version`: the reference names its library in the second.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("nvme-stas {version}\nplinth {version}\n")
}

/// Writes to standard output; a reader that has gone away is no failure.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn complain(text: &str) {
    // There is nobody left to tell when this fails.
    tell_text(text);
}

fn fail(program: &str, text: &str) -> ExitCode {
    complain(&format!("{program}: {text}\n"));
    ExitCode::FAILURE
}

/// `--check`: says what is wrong with the configuration, and whether anything is.
fn check(role: Role, args: &Args) -> ExitCode {
    let Loaded { identity, diagnostics, .. } = source(role, args).load();
    let mut text = String::new();
    // What the log tells at lower levels is no fault of the files.
    for diagnostic in diagnostics.iter().filter(|found| found.level <= log::Level::Warn) {
        text.push_str(&format!("{diagnostic}\n"));
    }
    if let Err(error) = &identity {
        text.push_str(&format!("{error}\n"));
    }
    complain(&text);
    if text.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn source(role: Role, args: &Args) -> Source {
    let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(Into::into);
    Source { role, file: args.file(role), root: Root::system(), credentials }
}

/// Logs what was found in the files.
pub fn report(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        log::log!(diagnostic.level, "{diagnostic}");
    }
}

/// Switches debug messages on or off.
pub fn trace(on: bool) {
    plinth::log::set_level(if on { LevelFilter::Debug } else { LevelFilter::Info });
}

fn run<C: Machine>(program: &Program<Args>, args: &Args) -> Result<u8, String> {
    let target = if args.syslog { plinth::log::Target::Syslog } else { plinth::log::Target::Auto };
    plinth::log::init(&plinth::log::Options {
        program: program.name.to_owned(),
        target,
        level: if args.tron { LevelFilter::Debug } else { LevelFilter::Info },
        journal_stream: env::var("JOURNAL_STREAM").ok(),
    })
    .map_err(|error| error.to_string())?;
    let result = serve::<C>(program.name, args);
    if let (true, Err(text)) = (args.syslog, &result) {
        log::error!("{text}"); // standard error may lead nowhere
    }
    plinth::log::finish();
    result
}

/// The configuration at the start: files that are damaged count as absent, but names must be there.
fn configure(source: &Source, args: &Args, state: &State) -> Result<Configuration, String> {
    let loaded = source.load();
    trace(args.tron || loaded.settings.tron);
    report(&loaded.diagnostics);
    let (support, complaint) = support(&source.root);
    if let Some(text) = complaint {
        log::warn!("{text}");
    }
    for option in ["host_iface", "discovery"] {
        if !support.has(option) {
            log::warn!("The kernel does not support the option {option}");
        }
    }
    let mut configuration = loaded.configuration(support).map_err(|error| error.to_string())?;
    configuration.tron = args.tron;
    configuration.state_file = state.file().display().to_string();
    Ok(configuration)
}

fn serve<C: Machine>(name: &'static str, args: &Args) -> Result<u8, String> {
    let state = State::of(name, env::var_os("RUNTIME_DIRECTORY"));
    let lock = match state.claim() {
        Claim::Ours(lock) => Some(lock),
        Claim::Taken => return Err("it is running already".to_owned()),
        Claim::Unusable(error) => {
            let directory = state.file();
            let directory = directory.parent().unwrap_or(Path::new("/")).display();
            log::warn!("Cannot use {directory}, state is kept in memory only: {error}");
            None
        }
    };
    let source = source(C::role(), args);
    let configuration = configure(&source, args, &state)?;
    let restored = state.read().unwrap_or_else(|error| {
        log::warn!("Cannot read {}, starting without: {error}", state.file().display());
        None
    });
    let (mut lp, mut daemon) =
        assemble::<C>(name, args, state, source, configuration, restored.as_deref())
            .map_err(|error| format!("cannot start: {error}"))?;
    let mask = match C::role() {
        Role::Finder => Mask::put(&daemon.source.root, daemon.masks)
            .inspect_err(|error| log::warn!("Cannot keep nvme-cli from connecting: {error}"))
            .unwrap_or_default(),
        Role::Connector => None,
    };
    daemon.manager.ready();
    let code = lp.run(&mut daemon).map_err(|error| format!("the event loop failed: {error}"))?;
    drop(mask);
    drop(lock);
    daemon.failure.take().map_or(Ok(code), Err)
}

fn assemble<C: Machine>(
    name: &str,
    args: &Args,
    state: State,
    source: Source,
    configuration: Configuration,
    restored: Option<&str>,
) -> io::Result<(Loop<Key>, Daemon<C>)> {
    // Before anything that starts a thread: threads inherit what is blocked.
    let signals = Signals::new(&[Signal::TERM, Signal::INT, Signal::HUP])?;
    let mut lp = Loop::new()?;
    lp.watch(signals.fd(), Key::Signals)?;
    let devices = Devices::open(&mut lp)?;
    let route = RouteSocket::open()?;
    lp.watch(route.fd(), Key::Route)?;
    let server = Server::open(&mut lp, &state.socket())
        .inspect_err(|error| log::warn!("No control socket: {error}"))
        .ok();
    let seed = seed_from_os();
    let (now, mut first) = (lp.now(), Vec::new());
    let tron = args.tron || configuration.settings.tron;
    let masks = configuration.settings.udev_override;
    let start = Start { configuration, restored, seed, now, wall: Wall::now() };
    let core = C::start(start, &mut first);
    let mut front = Front::new(&mut lp, C::role(), Address::System)?;
    front.publish_tron(tron);
    let peer = match C::role() {
        Role::Finder => None,
        Role::Connector => Some(Peer::new(Path::new(STAFD_SOCKET), now)),
    };
    // An event of a discovery controller is answered with a command at once, however rare it is;
    // stacd works when something changes and can start its helper then.
    let patience = match C::role() {
        Role::Finder => None,
        Role::Connector => Some(IDLE_LIMIT),
    };
    let root = source.root.clone();
    let daemon = Daemon {
        core,
        inputs: VecDeque::from([Input::Wake]),
        first,
        tron: args.tron,
        state,
        sysfs: Sysfs::new(root.clone()),
        source,
        signals,
        devices,
        route,
        kernel: Client::new(name, patience),
        calls: BTreeMap::new(),
        prober: Prober::default(),
        resolver: Resolver::new(root, Rng::seeded(seed ^ Time::monotonic().as_nanos())),
        front,
        server,
        peer,
        masks,
        foreign: Foreign::default(),
        units: Units::default(),
        manager: Manager::from_env(|name| env::var_os(name)),
        wake: None,
        log_wake: None,
        stopping: false,
        failure: None,
    };
    Ok((lp, daemon))
}
