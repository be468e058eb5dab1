// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Users and groups by name, from the files of the host.
//!
//! Numbers stand for themselves. Other sources of accounts are for programs with a C library that
//! loads modules; where these matter, the scripts' own tools are asked before this program.

use std::ffi::OsString;
use std::fmt;

use plinth::file::Root;

/// The number of the account `name` in a file of the form of passwd(5) or group(5).
#[must_use]
pub(crate) fn number(file: &str, name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name) && !name.is_empty();
        let number = fields.nth(1)?;
        found.then(|| number.parse().ok())?
    })
}

/// The numbers of the groups that have `user` among their members, in a file of the form of
/// group(5).
#[must_use]
pub(crate) fn groups(file: &str, user: &str) -> Vec<u32> {
    let number = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let number = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|member| member.trim() == user).then_some(number)
    };
    file.lines().filter_map(number).collect()
}

/// The environment.
type Env<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// An account that does not exist.
#[derive(Debug)]
pub(super) struct NoAccount {
    kind: &'static str,
    name: String,
    variable: &'static str,
}

impl fmt::Display for NoAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, variable } = self;
        write!(
            f,
            "the {kind} {} does not exist; {variable} names another",
            plinth::text::quote(name)
        )
    }
}

impl std::error::Error for NoAccount {}

/// Who may use a machine's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Owner {
    /// The user and the group that the environment names, as in the scripts.
    pub(super) fn from_env(env: &Env<'_>, root: &Root) -> Result<Self, NoAccount> {
        let group = Account("group", "/etc/group", "MICROVM_GROUP", "kvm");
        Ok(Self { user: user_from_env(env, root)?, group: group.find(env, root)? })
    }
}

/// The user that the environment names.
pub(super) fn user_from_env(env: &Env<'_>, root: &Root) -> Result<u32, NoAccount> {
    Account("user", "/etc/passwd", "MICROVM_USER", "microvm").find(env, root)
}

/// What it is, the file that has it, the variable that names it, and its usual name.
struct Account(&'static str, &'static str, &'static str, &'static str);

impl Account {
    fn find(self, env: &Env<'_>, root: &Root) -> Result<u32, NoAccount> {
        let Self(kind, file, variable, default) = self;
        let name = env(variable).filter(|name| !name.is_empty());
        let name = name.map_or(default.to_owned(), |it| it.to_string_lossy().into_owned());
        let file = root.read_text(file).unwrap_or_default();
        number(&file, &name).ok_or(NoAccount { kind, name, variable })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_numbers_are_accounts() {
        let passwd = "root:x:0:0:root:/:/bin/sh\n\nodd\nx:y:z\nmicrovm:x:998:36::/:\n";
        assert_eq!(number(passwd, "microvm"), Some(998));
        assert_eq!(number(passwd, "root"), Some(0));
        assert_eq!(number(passwd, "77"), Some(77));
        for none in ["", "micro", "x", "odd", "-1"] {
            assert_eq!(number(passwd, none), None, "{none}");
        }
    }

    #[test]
    fn a_user_is_in_the_groups_that_name_it() {
        let group = "root:x:0:\nkvm:x:36:a,microvm\nodd\ndisk:x:6:microvmx\nvideo:x:44:microvm\n";
        assert_eq!(groups(group, "microvm"), [36, 44]);
        assert_eq!(groups(group, "nobody"), [0; 0]);
    }

    #[test]
    fn who_does_not_exist_is_named() {
        let root = Root::at("/nonexistent");
        let env = |name: &str| (name == "MICROVM_USER").then(|| "7".into());
        let error = Owner::from_env(&env, &root).expect_err("no such group").to_string();
        assert_eq!(error, "the group 'kvm' does not exist; MICROVM_GROUP names another");
        // A tap has no group, and needs none.
        assert_eq!(user_from_env(&env, &root).expect("a number"), 7);
        let owner = Owner::from_env(&|_| Some("7".into()), &root).expect("numbers");
        assert_eq!(owner, Owner { user: 7, group: 7 });
    }

    proptest! {
        #[test]
        fn any_file_is_read(file in any::<String>(), name in "[a-z]{0,3}") {
            let _ = number(&file, &name);
            let more = format!("{file}\n{name}:x:5:\n");
            prop_assert!(name.is_empty() || number(&more, &name).is_some() || file.contains(&name));
        }
    }
}
