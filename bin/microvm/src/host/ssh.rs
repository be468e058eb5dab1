// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The words of ssh for a shell in a machine.
//!
//! Pure. Host keys are not checked: the way to the guest does not leave this machine.

use super::profile::Profile;
use crate::plan::MUX_SOCKET;
use crate::quote::shell;

/// How a guest is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Through the kernel, by this number.
    Kernel(u32),
    /// Through the hypervisor's socket at this path.
    Mux(String),
}

impl Target {
    /// The one of a package that runs in `directory`; `None` for a machine without vsock.
    #[must_use]
    pub fn of(profile: &Profile, directory: &str) -> Option<Self> {
        let cid = profile.cid?;
        Some(if profile.is_mux_vsock() {
            let socket = profile.mux.as_deref().unwrap_or(MUX_SOCKET);
            let is_whole = socket.starts_with('/');
            Self::Mux(if is_whole { socket.to_owned() } else { format!("{directory}/{socket}") })
        } else {
            Self::Kernel(cid)
        })
    }

    /// The host's name for ssh.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Self::Kernel(cid) => format!("vsock/{cid}"),
            Self::Mux(path) => format!("vsock-mux/{path}"),
        }
    }
}

/// Whether `ssh -G HOST` says that somebody takes care of such hosts: systemd's proxy does.
#[must_use]
pub fn has_proxy(resolved: &str) -> bool {
    resolved.lines().any(|line| {
        line.strip_prefix("proxycommand ").is_some_and(|command| !matches!(command, "" | "none"))
    })
}

/// The words after `ssh`; `proxy` is the path of this program where nobody else connects.
#[must_use]
pub fn words(target: &Target, proxy: Option<&str>, said: &[String]) -> Vec<String> {
    let mut words: Vec<String> =
        ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
            .map(str::to_owned)
            .to_vec();
    if let Some(program) = proxy {
        // ssh gives the command to a shell, and expands percent signs before that.
        let word = |text: &str| shell(text).replace('%', "%%");
        words.push("-o".to_owned());
        words.push(format!(
            "ProxyCommand={} internal vsock-connect {} %p",
            word(program),
            word(&target.host())
        ));
    }
    words.push(target.host());
    if !names_user(said) {
        words.extend(["-l", "root"].map(str::to_owned));
    }
    words.extend_from_slice(said);
    words
}

/// The options of ssh(1) that take a value.
const VALUED: &str = "BbcDEeFIiJLlmOoPpQRSWw";

/// Whether the options before the command name a user. Options of the command are not ours.
fn names_user(said: &[String]) -> bool {
    let mut words = said.iter();
    while let Some(word) = words.next() {
        if word == "--login" {
            return true;
        }
        let Some(letters) = word.strip_prefix('-').filter(|it| !it.is_empty() && *it != "-") else {
            return false;
        };
        let Some((at, letter)) = letters.char_indices().find(|(_, it)| VALUED.contains(*it)) else {
            continue;
        };
        // Letters without values may stand before; the value is the rest, or the next word.
        let rest = letters.get(at + 1..).unwrap_or_default();
        let value = if rest.is_empty() { words.next().map_or("", String::as_str) } else { rest };
        let key = value.trim_start().split(['=', ' ', '\t']).next().unwrap_or_default();
        if letter == 'l' || (letter == 'o' && key.eq_ignore_ascii_case("user")) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(proxy: Option<&str>, target: &Target, said: &[&str]) -> String {
        let said: Vec<String> = said.iter().map(|&word| word.to_owned()).collect();
        words(target, proxy, &said).join(" ")
    }

    const HEAD: &str = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";

    #[test]
    fn root_is_meant_unless_another_is_named() {
        let target = Target::Kernel(4242);
        let said = line(None, &target, &["uname", "-a"]);
        assert_eq!(said, format!("{HEAD} vsock/4242 -l root uname -a"));
        let said = line(None, &target, &["-l", "root", "-i", "K"]);
        assert_eq!(said, format!("{HEAD} vsock/4242 -l root -i K"));
        assert_eq!(line(None, &target, &[]), format!("{HEAD} vsock/4242 -l root"));
    }

    #[test]
    fn a_user_is_looked_for_among_the_options_of_ssh_alone() {
        let target = Target::Kernel(1);
        for (said, is_named) in [
            (&["ls", "-l"][..], false),
            (&["--", "-l"], false),
            (&["-p", "-l", "ls"], false),
            (&["-tA", "ls", "-l"], false),
            (&["-i", "K", "-o", "Port=2", "-tt"], false),
            (&["-o", "UserKnownHostsFile=x"], false),
            (&["-lme"], true),
            (&["-tlme", "ls"], true),
            (&["-tt", "-l", "me"], true),
            (&["-o", "User=me"], true),
            (&["-oUser=me", "ls"], true),
            (&["-o", "user me"], true),
            (&["--login", "me"], true),
        ] {
            let has_root = line(None, &target, said).contains(" vsock/1 -l root");
            assert_eq!(has_root, !is_named, "{said:?}");
        }
    }

    #[test]
    fn without_a_proxy_we_are_it() {
        let target = Target::Mux("/var/a b/notify.vsock".to_owned());
        assert_eq!(
            line(Some("/opt/100%/microvm"), &target, &[]),
            format!(
                "{HEAD} -o ProxyCommand=/opt/100%%/microvm internal vsock-connect \
                 'vsock-mux//var/a b/notify.vsock' %p vsock-mux//var/a b/notify.vsock -l root"
            )
        );
        assert!(has_proxy("user root\nproxycommand /usr/lib/systemd-ssh-proxy %h %p\n"));
        assert!(!has_proxy("user root\nproxycommand none\n") && !has_proxy("host vsock/1\n"));
    }

    #[test]
    fn the_package_says_how_it_is_reached() {
        let of = |hypervisor: &str, cid| {
            let profile = Profile { hypervisor: hypervisor.to_owned(), cid, ..Profile::default() };
            Target::of(&profile, "/s/a").map(|target| target.host())
        };
        assert_eq!(of("qemu", Some(9)).as_deref(), Some("vsock/9"));
        assert_eq!(of("firecracker", Some(9)).as_deref(), Some("vsock-mux//s/a/notify.vsock"));
        assert_eq!(of("qemu", None), None);
    }
}
