// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A package from one host to another over ssh: what is said on the way, and the receiving end.
//!
//! The package goes as a tar stream into `microvm internal import`, which takes it only if its
//! content has the hash that was announced. Everything goes over one connection.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use super::{Host, HostError, Marks, Name, Written, install};
use crate::package::{Entry, Hash, Place, Tree};
use crate::quote::shell;

/// The largest package that is taken.
const PACKAGE_MAX: u64 = 256 << 20;
/// The most files of one.
const FILES_MAX: usize = 4096;
/// The most that is read of what a command of the other host says.
const SAID_MAX: u64 = 64 << 10;

/// The other host, and how its commands are run.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// What ssh is told: `root@host`.
    pub host: String,
    /// Where the connection of all steps has its socket.
    pub control: PathBuf,
    /// Whether commands there go through sudo.
    pub sudo: bool,
    /// The program there.
    pub program: String,
}

impl Deployment {
    /// The words after `ssh` for a command of the other host's program.
    #[must_use]
    pub fn words(&self, command: &[&str]) -> Vec<String> {
        let mut remote: Vec<&str> = if self.sudo { vec!["sudo"] } else { Vec::new() };
        remote.push(&self.program);
        remote.extend(command);
        let remote: Vec<String> = remote.into_iter().map(shell).collect();
        self.plain(&remote.join(" "))
    }

    /// The words after `ssh` for any command line of the other host's shell.
    #[must_use]
    pub fn plain(&self, line: &str) -> Vec<String> {
        let mut words: Vec<String> = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o"]
            .map(str::to_owned)
            .to_vec();
        words.push(format!("ControlPath={}", self.control.display()));
        words.extend([self.host.clone(), "--".to_owned(), line.to_owned()]);
        words
    }

    /// The words after `ssh` for a script of the other host's sh, with the rights that are needed.
    #[must_use]
    pub fn line(&self, script: &str) -> Vec<String> {
        let sudo = if self.sudo { "sudo " } else { "" };
        self.plain(&format!("{sudo}sh -c {}", shell(script)))
    }

    /// The words after `ssh` that end the connection.
    #[must_use]
    pub fn goodbye(&self) -> Vec<String> {
        let path = format!("ControlPath={}", self.control.display());
        ["-q", "-o", &path, "-O", "exit", &self.host].map(str::to_owned).to_vec()
    }

    /// Where the program is on the other host.
    ///
    /// # Errors
    /// It is not there, or ssh fails.
    pub fn find(&self, host: &Host<'_>) -> Result<String, HostError> {
        let (_, said) = self.ask(host, &self.plain("command -v microvm"))?;
        match path_in(&said) {
            Some(path) => Ok(path.to_owned()),
            None => Err(HostError::NoProgram(format!("microvm on {}", self.host), "to deploy")),
        }
    }

    /// Runs ssh with `words` and nothing to read; the status of the command there, and what it
    /// printed.
    ///
    /// # Errors
    /// As for [`Deployment::run`].
    pub fn ask(&self, host: &Host<'_>, words: &[String]) -> Result<(u8, String), HostError> {
        let mut command: Command = host.command("ssh");
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(not_started)?;
        let (mut said, mut read) = (Vec::new(), Ok(()));
        if let Some(stdout) = child.stdout.take() {
            // What is beyond is lost, and closes the pipe of a host that does not end.
            read = stdout.take(SAID_MAX).read_to_end(&mut said).map(drop);
        }
        let status = child.wait().map_err(HostError::io("wait for", "ssh"))?;
        read.map_err(HostError::io("read from", "ssh"))?;
        Ok((self.judge(status)?, String::from_utf8_lossy(&said).into_owned()))
    }

    /// Runs ssh with `words` and gives it `input`; the status of the command there.
    ///
    /// # Errors
    /// ssh cannot be run or the connection failed, which its status 255 says.
    pub fn run(
        &self,
        host: &Host<'_>,
        words: &[String],
        input: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<u8, HostError> {
        let mut command: Command = host.command("ssh");
        command.args(words).stdin(Stdio::piped());
        let mut child = command.spawn().map_err(not_started)?;
        // The pipe is closed behind what was written, so that ssh ends in any case.
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| input(&mut stdin));
        let status = child.wait().map_err(HostError::io("wait for", "ssh"))?;
        match written {
            // A command that failed reads no further, and its status says so.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(HostError::io("write to", "ssh")(error))
            }
            _ => self.judge(status),
        }
    }

    /// The status of the command on the other host, if ssh came to run it.
    fn judge(&self, status: ExitStatus) -> Result<u8, HostError> {
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(255) | None => Err(HostError::Failed("ssh".to_owned(), self.host.clone())),
            Some(code) => Ok(code),
        }
    }
}

/// The line with a path; shells of the other host may say more.
pub(crate) fn path_in(said: &str) -> Option<&str> {
    said.lines().find(|line| line.starts_with('/'))
}

fn not_started(error: io::Error) -> HostError {
    match error.kind() {
        io::ErrorKind::NotFound => HostError::NoProgram("ssh".to_owned(), "to deploy"),
        _ => HostError::io("start", "ssh")(error),
    }
}

/// Writes a package as a tar stream, the same for the same package.
///
/// # Errors
/// What the writer says.
pub(crate) fn pack(tree: &Tree, out: &mut dyn Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    for (path, entry) in tree.iter() {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        match entry {
            Entry::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                header.set_mode(0o777);
                archive.append_link(&mut header, path, target)?;
            }
            Entry::Program(bytes) | Entry::Data(bytes) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(bytes.len() as u64);
                header.set_mode(if matches!(entry, Entry::Program(_)) { 0o755 } else { 0o644 });
                archive.append_data(&mut header, path, bytes.as_slice())?;
            }
        }
    }
    archive.finish()
}

/// Reads a package from a tar stream.
///
/// # Errors
/// It is no tar stream, or holds what no package does.
pub(crate) fn unpack(from: impl Read) -> Result<Tree, HostError> {
    let bad = |what: String| HostError::Bad(format!("not a package: {what}"));
    let mut tree = Tree::default();
    let mut archive = tar::Archive::new(from.take(PACKAGE_MAX));
    let entries = archive.entries().map_err(|error| bad(error.to_string()))?;
    for (count, entry) in entries.enumerate() {
        let mut entry = entry.map_err(|error| bad(error.to_string()))?;
        let path = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| bad("a name is not UTF-8".to_owned()))?;
        if count >= FILES_MAX {
            return Err(bad("too many files".to_owned()));
        }
        let is_inside = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !is_inside {
            return Err(bad(format!("'{path}' leads out of it")));
        }
        let kind = entry.header().entry_type();
        let made = if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            Entry::Link(String::from_utf8(target).map_err(|_| bad(path.clone()))?)
        } else if kind.is_file() {
            let mode = entry.header().mode().map_err(|error| bad(error.to_string()))?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
            if mode & 0o100 == 0 { Entry::Data(bytes) } else { Entry::Program(bytes) }
        } else {
            return Err(bad(format!("'{path}' is neither file nor link")));
        };
        tree.put(path, made);
    }
    Ok(tree)
}

impl Host<'_> {
    /// Where a package of this hash is on this host, of whatever machine; one that is damaged is
    /// not.
    ///
    /// # Errors
    /// The state directory cannot be read.
    pub fn have(&self, hash: &Hash) -> Result<Option<PathBuf>, HostError> {
        for name in self.names()? {
            let path = self.packages(&name).join(hash.directory());
            if Place(path.clone()).read().is_ok_and(|tree| tree.hash() == *hash) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

/// Takes a package from a stream, or from another machine of this host, as that of `name`.
///
/// # Errors
/// It is not the package that was announced; the machine is declared here; as for [`install`].
pub fn import(
    host: &Host<'_>,
    name: &Name,
    hash: &Hash,
    from: impl Read,
) -> Result<Written, HostError> {
    let tree = match host.have(hash)? {
        Some(path) => Place(path).read()?,
        None => unpack(from)?,
    };
    if tree.hash() != *hash {
        return Err(HostError::Bad("the package is not the one that was announced".to_owned()));
    }
    host.may_have(name, &tree)?;
    let (_lock, seen) = install::prepare(host, name)?;
    if seen.declarative {
        return Err(HostError::Declarative(name.clone()));
    }
    install(host, name, seen, &tree, Marks::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::RUNNER;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.put("bin/microvm-run", Entry::Program(b"#!/bin/sh\n".to_vec()));
        tree.put(RUNNER, Entry::Data(b"{}\n".to_vec()));
        tree.put("share/microvm/system", Entry::Link("/nix/store/x".to_owned()));
        tree
    }

    #[test]
    fn a_package_arrives_as_it_left() {
        let mut stream = Vec::new();
        pack(&tree(), &mut stream).expect("memory");
        assert_eq!(unpack(stream.as_slice()).expect("a package"), tree());
        let mut again = Vec::new();
        pack(&tree(), &mut again).expect("memory");
        assert_eq!(stream, again);
    }

    #[test]
    fn nothing_leads_out_of_a_package() {
        for path in ["../x", "/etc/x", "a/../../x", "./x"] {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            let name = path.as_bytes();
            header.as_gnu_mut().expect("gnu").name[..name.len()].copy_from_slice(name);
            header.set_size(0);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append(&header, io::empty()).expect("memory");
            let stream = archive.into_inner().expect("memory");
            let error = unpack(stream.as_slice()).expect_err(path);
            assert!(error.to_string().contains("leads out of it"), "{path}: {error}");
        }
    }

    #[test]
    fn words_of_the_other_host_are_quoted_for_its_shell() {
        let deployment = Deployment {
            host: "root@h".to_owned(),
            control: PathBuf::from("/run/x/c"),
            sudo: true,
            program: "microvm".to_owned(),
        };
        let words = deployment.words(&["internal", "import", "a b", "$x"]);
        assert_eq!(
            words.join(" "),
            "-o ControlMaster=auto -o ControlPersist=60 -o ControlPath=/run/x/c root@h -- sudo \
             microvm internal import 'a b' '$x'"
        );
    }
}
