// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What to say of a machine: its state, and what to do about it.
//!
//! Pure. Packages are compared by what is in them, so that a package which was built twice, or lies
//! in two places, is one.

use serde_json::{Value, json};

use super::Name;
use super::profile::Profile;
use super::seen::{Id, Seen};

/// What a machine's description makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Described {
    /// It was not asked, or there is none.
    Unknown,
    /// This package.
    As(Id),
    /// Nothing: it is wrong.
    Wrong(String),
}

/// The state of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The description makes another package than the current one.
    Outdated {
        /// The package of the next start.
        current: Id,
        /// What the description makes.
        new: Id,
    },
    /// What runs is what is described.
    Current(Id),
    /// Another package runs than the current one.
    Stale {
        /// The package that runs.
        booted: Id,
        /// The package of the next start.
        current: Id,
    },
    /// The package is what is described, and nothing runs.
    NotBooted(Id),
    /// It cannot start, or not be built.
    Broken(String),
}

/// The state of what was seen.
#[must_use]
pub fn judge(seen: &Seen, described: &Described) -> State {
    if let Some(name) = seen.foreign.first() {
        return State::Broken(format!("{name} belongs to somebody else"));
    }
    let Some(current) = seen.current_id() else {
        let target = seen.current.as_ref().map_or("", |link| link.target.as_str());
        return State::Broken(format!("no package at {target}"));
    };
    match described {
        Described::Wrong(reason) => return State::Broken(reason.clone()),
        Described::As(new) if new != current => {
            return State::Outdated { current: current.clone(), new: new.clone() };
        }
        Described::As(_) | Described::Unknown => {}
    }
    match (&seen.booted, seen.booted_id()) {
        (None, _) => State::NotBooted(current.clone()),
        (Some(_), Some(booted)) if booted == current => State::Current(current.clone()),
        (Some(_), booted) => State::Stale {
            booted: booted.cloned().unwrap_or_else(|| Id::new("missing")),
            current: current.clone(),
        },
    }
}

impl State {
    /// One word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Outdated { .. } => "outdated",
            Self::Current(_) => "current",
            Self::Stale { .. } => "stale",
            Self::NotBooted(_) => "not-booted",
            Self::Broken(_) => "broken",
        }
    }
}

/// Colours, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What is as it should be.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What is not.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// What to type.
    #[must_use]
    pub fn command(self, text: &str) -> String {
        self.with("1;36", text)
    }
}

/// A machine in the list.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub name: Name,
    /// Its state.
    pub state: State,
    /// Whether it runs.
    pub active: bool,
    /// The process that runs it.
    pub pid: Option<u32>,
    /// What was seen.
    pub seen: Seen,
    /// Its package.
    pub profile: Profile,
    /// When its current package was chosen, in seconds since 1970.
    pub since: i64,
}

impl Row {
    /// The line for people.
    #[must_use]
    pub fn line(&self, paint: Paint) -> String {
        let name = self.name.as_str();
        // Green runs, yellow died, red is stopped.
        let colour = match (self.active, self.seen.booted.is_some()) {
            (true, _) => "1;32",
            (false, true) => "1;33",
            (false, false) => "1;31",
        };
        let text = match &self.state {
            State::Outdated { current, new } => format!(
                "{}, rebuild({}) and reboot: {}",
                paint.bad(&format!("outdated({})", current.short())),
                new.short(),
                paint.command(&format!("microvm update -R {name}"))
            ),
            State::Current(id) => paint.good(&format!("current({})", id.short())),
            State::Stale { booted, current } => format!(
                "{}, reboot({}): {}",
                paint.bad(&format!("stale({})", booted.short())),
                current.short(),
                paint.command(&format!("microvm restart {name}"))
            ),
            State::NotBooted(id) => format!(
                "{}, not booted: {}",
                paint.good(&format!("current({})", id.short())),
                paint.command(&format!("microvm start {name}"))
            ),
            State::Broken(reason) => {
                let reason = plinth::text::escape_control(reason);
                paint.bad(&format!("broken: {reason}"))
            }
        };
        format!("{}: {text}\n", paint.with(colour, name))
    }

    /// The same for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let id = |id: Option<&Id>| id.map(|id| id.as_str().to_owned());
        let new = match &self.state {
            State::Outdated { new, .. } => Some(new.as_str().to_owned()),
            _ => None,
        };
        let reason = match &self.state {
            State::Broken(reason) => Some(reason.clone()),
            _ => None,
        };
        json!({
            "name": self.name.as_str(),
            "state": self.state.word(),
            "reason": reason,
            "current": id(self.seen.current_id()),
            "booted": id(self.seen.booted_id()),
            "old": id(self.seen.old.as_ref().and_then(|link| link.package.as_ref())),
            "new": new,
            "hypervisor": self.profile.hypervisor,
            "active": self.active,
            "pid": self.pid,
            "cid": self.profile.cid,
            "memory": self.profile.memory,
            "autostart": self.seen.autostart,
            "declarative": self.seen.declarative,
            "source": self.seen.source,
            "mtime": self.since,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen::Link;
    use super::*;

    fn link(id: &str) -> Option<Link> {
        Some(Link { target: format!("gen/{id}"), package: Some(Id::new(id)) })
    }

    fn seen(current: Option<Link>, booted: Option<Link>) -> Seen {
        Seen { directory: true, current, booted, ..Seen::default() }
    }

    fn text(seen: &Seen, described: &Described, active: bool, colour: bool) -> String {
        let row = Row {
            name: Name::parse("web1").expect("a name"),
            state: judge(seen, described),
            active,
            pid: None,
            seen: seen.clone(),
            profile: Profile::default(),
            since: 0,
        };
        row.line(Paint(colour))
    }

    #[test]
    fn each_state_says_what_to_do() {
        let (a, b) = ("aaaaaaaaaaaa", "bbbbbbbbbbbb");
        let as_b = Described::As(Id::new(b));
        let dangling = Some(Link { target: "gen/x".to_owned(), package: None });
        let cases = [
            (
                seen(link(a), None),
                as_b.clone(),
                "web1: outdated(aaaaaaaa), rebuild(bbbbbbbb) and reboot: microvm update -R web1\n",
            ),
            (seen(link(b), link(b)), as_b.clone(), "web1: current(bbbbbbbb)\n"),
            (
                seen(link(b), link(a)),
                as_b.clone(),
                "web1: stale(aaaaaaaa), reboot(bbbbbbbb): microvm restart web1\n",
            ),
            (
                seen(link(b), None),
                Described::Unknown,
                "web1: current(bbbbbbbb), not booted: microvm start web1\n",
            ),
            (seen(dangling, None), as_b, "web1: broken: no package at gen/x\n"),
            (
                seen(link(a), link(a)),
                Described::Wrong("no such file".to_owned()),
                "web1: broken: no such file\n",
            ),
        ];
        for (seen, described, want) in cases {
            assert_eq!(text(&seen, &described, false, false), want);
        }
    }

    #[test]
    fn the_colour_of_the_name_says_whether_it_runs() {
        let unknown = Described::Unknown;
        let line = |booted, active| text(&seen(link("a"), booted), &unknown, active, true);
        assert!(line(link("a"), true).starts_with("\x1b[1;32mweb1\x1b[0m: \x1b[32mcurrent(a)"));
        assert!(line(link("a"), false).starts_with("\x1b[1;33mweb1"));
        assert!(line(None, false).starts_with("\x1b[1;31mweb1"));
        assert!(line(None, false).ends_with("\x1b[1;36mmicrovm start web1\x1b[0m\n"));
    }
}
