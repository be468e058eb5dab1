// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The settings of a host: `microvm/host.toml` and its drop-ins.
//!
//! Owns the keys, their defaults and their checks. Pure but for [`load`], which reads the files.

use plinth::config::layers;
use plinth::config::toml::{self, DeTable, DeValue, Problems, Sources, Spanned};
use plinth::file::Root;

use super::name::Name;

/// The keys of the file, as a person writes them; the manual has an entry for each.
pub const KEYS: &[&str] = &[
    "autostart",
    "group",
    "host.startupTimeout",
    "keepGenerations",
    "packageDir",
    "sandbox",
    "stateDir",
    "user",
];

/// The most generations that a host keeps of a machine.
const KEEP_MAX: u64 = 1000;
/// The longest time for a start, in seconds: a day.
const TIMEOUT_MAX: u64 = 86_400;

/// What holds for all machines of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory with a directory for each machine; absolute.
    pub state_dir: String,
    /// Where packages are kept, in a directory for each machine; absent: with its state.
    pub package_dir: Option<String>,
    /// The account that hypervisors run as.
    pub user: String,
    /// Its group.
    pub group: String,
    /// Machines to start at boot, beside those that are marked.
    pub autostart: Vec<Name>,
    /// How many packages of a machine are kept.
    pub keep_generations: usize,
    /// Whether units confine the hypervisor.
    pub sandbox: bool,
    /// Seconds after which a start has failed.
    pub startup_timeout: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/microvms".to_owned(),
            package_dir: None,
            user: "microvm".to_owned(),
            group: "kvm".to_owned(),
            autostart: Vec::new(),
            keep_generations: 5,
            sandbox: true,
            startup_timeout: 150,
        }
    }
}

/// The settings of the host below `root`.
///
/// # Errors
/// Everything that is wrong with the files.
pub fn load(root: &Root) -> Result<Settings, Problems> {
    let layers = layers::find(root, "microvm/host.toml").map_err(Problems::from)?;
    Ok(toml::read(layers, |table, sources| take(&table, sources))?.value)
}

/// Makes settings of the merged tables.
fn take(table: &DeTable<'_>, sources: &Sources) -> Result<Settings, Problems> {
    let mut settings = Settings::default();
    let mut problems = Vec::new();
    for (key, value) in table {
        let set = match (key.get_ref().as_ref(), value.get_ref()) {
            ("host", DeValue::Table(inner)) => {
                for (key, value) in inner {
                    let set = match key.get_ref().as_ref() {
                        "startupTimeout" => number(value, TIMEOUT_MAX)
                            .map(|seconds| settings.startup_timeout = seconds),
                        other => Err(unknown(&format!("host.{other}"))),
                    };
                    problems.extend(set.err().map(|it| sources.problem(&value.span(), it)));
                }
                Ok(())
            }
            ("host", _) => Err("\"host\" must be a table".to_owned()),
            (name, _) => one(&mut settings, name, value),
        };
        problems.extend(set.err().map(|it| sources.problem(&key.span(), it)));
    }
    if problems.is_empty() { Ok(settings) } else { Err(Problems(problems)) }
}

fn one(settings: &mut Settings, name: &str, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
    match name {
        "stateDir" => settings.state_dir = directory(value)?,
        "packageDir" => settings.package_dir = Some(directory(value)?),
        "user" => settings.user = account(value)?,
        "group" => settings.group = account(value)?,
        "autostart" => settings.autostart = names(value)?,
        "sandbox" => {
            settings.sandbox = value.get_ref().as_bool().ok_or("must be true or false")?;
        }
        "keepGenerations" => {
            let count = number(value, KEEP_MAX)?;
            settings.keep_generations = usize::try_from(count).unwrap_or(usize::MAX);
        }
        other => return Err(unknown(other)),
    }
    Ok(())
}

fn unknown(key: &str) -> String {
    format!("unknown key \"{key}\"; known: {}", KEYS.join(", "))
}

fn text<'a>(value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, String> {
    value.get_ref().as_str().ok_or_else(|| "must be a string".to_owned())
}

fn number(value: &Spanned<DeValue<'_>>, max: u64) -> Result<u64, String> {
    let DeValue::Integer(number) = value.get_ref() else {
        return Err("must be an integer".to_owned());
    };
    u64::from_str_radix(number.as_str(), number.radix())
        .ok()
        .filter(|number| (1..=max).contains(number))
        .ok_or_else(|| format!("must be from 1 to {max}"))
}

/// An absolute path that fits a unit file as it is.
fn directory(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let path = text(value)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    let is_clean = path.starts_with('/')
        && path.len() > 1
        && !path.ends_with('/')
        && path.chars().all(is_plain)
        && path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if is_clean { Ok(path.to_owned()) } else { Err("must be a plain absolute path".to_owned()) }
}

/// A name as useradd(8) takes them.
fn account(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let name = text(value)?;
    let is_first = |c: char| c.is_ascii_lowercase() || c == '_';
    let is_inner = |c: char| is_first(c) || c.is_ascii_digit() || c == '-';
    let is_name = name.starts_with(is_first) && name.len() <= 32 && name.chars().all(is_inner);
    if is_name { Ok(name.to_owned()) } else { Err("must be the name of an account".to_owned()) }
}

fn names(value: &Spanned<DeValue<'_>>) -> Result<Vec<Name>, String> {
    let DeValue::Array(list) = value.get_ref() else {
        return Err("must be a list of names".to_owned());
    };
    list.iter()
        .map(|item| {
            let name = text(item)?;
            Name::parse(name).ok_or_else(|| format!("\"{name}\" is no name of a machine"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use plinth::config::layers::Layer;

    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let layer = Layer { path: PathBuf::from("/h.toml"), text: text.to_owned() };
        toml::read(vec![layer], |table, sources| take(&table, sources))
            .map(|loaded| loaded.value)
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(read(""), Ok(Settings::default()));
    }

    #[test]
    fn every_key_is_taken() {
        let settings = read(
            "stateDir = '/srv/vm'\npackageDir = '/srv/p'\nuser = 'vmm'\ngroup = 'vmm'\n\
             autostart = ['a', 'b']\nkeepGenerations = 2\nsandbox = false\n\
             [host]\nstartupTimeout = 30\n",
        );
        let name = |text| Name::parse(text).expect("a name");
        let want = Settings {
            state_dir: "/srv/vm".to_owned(),
            package_dir: Some("/srv/p".to_owned()),
            user: "vmm".to_owned(),
            group: "vmm".to_owned(),
            autostart: vec![name("a"), name("b")],
            keep_generations: 2,
            sandbox: false,
            startup_timeout: 30,
        };
        assert_eq!(settings, Ok(want));
    }

    #[test]
    fn every_problem_is_told_at_its_place() {
        let told = read("stateDir = 'var'\nmemory = 1\nuser = 'a b'\n[host]\nstartupTimeout = 0\n")
            .expect_err("wrong");
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 4, "{told}");
        for place in ["/h.toml:1:1: must be a plain", "/h.toml:2:1: unknown key \"memory\""] {
            assert!(lines.iter().any(|line| line.starts_with(place)), "{told}");
        }
    }

    #[test]
    fn what_could_break_a_unit_file_is_refused() {
        for path in ["/a b", "/a%i", "/", "/a/", "/a/../b", "a", "/a\\n", "//a"] {
            assert!(read(&format!("stateDir = '{path}'\n")).is_err(), "{path}");
        }
    }
}
