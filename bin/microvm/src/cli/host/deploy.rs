// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm deploy`: the steps on the way to another host.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use plinth::err::{FAILED, Failure, tell};

use super::super::{Args, NOT_FOUND, World};
use super::{fail, word};
use crate::host::profile::{FILE_KEYS, Profile};
use crate::host::{Built, Deployment, Host, HostError, Name, Request, hash_of, pack, path_in};
use crate::quote::shell;

/// Where this program goes on a host that does not have it.
const BOOTSTRAPPED: &str = "/usr/local/bin/microvm";

/// `microvm deploy HOST NAME|FILE`
pub(super) fn deploy(args: &Args, host: &Host<'_>, world: &mut World<'_>) -> Result<u8, Failure> {
    let to = word(args, 0)?;
    if to.starts_with('-') || to.is_empty() {
        return Err(super::usage("HOST: not a host"));
    }
    let (name, path) = what(args, host)?;
    let control = Control::new()?;
    let mut way = Deployment {
        host: to.to_owned(),
        control: control.0.join("c"),
        sudo: args.host.sudo,
        program: "microvm".to_owned(),
    };
    let done = steps(args, host, world, &mut way, &name, &path);
    // The connection ends with its own time, should this fail.
    drop(way.run(host, &way.goodbye(), &mut |_| Ok(())));
    done
}

/// The machine, and its description: a file, or that of a machine here.
fn what(args: &Args, host: &Host<'_>) -> Result<(Name, PathBuf), Failure> {
    let said = word(args, 1)?;
    if let Some(name) = Name::parse(said) {
        let seen = host.look(&name).map_err(fail)?;
        if seen.is_machine() {
            let source = seen.source.ok_or_else(|| fail(HostError::NoSource(name.clone())))?;
            return Ok((name, PathBuf::from(source)));
        }
    }
    let path = host.source(Path::new(said))?;
    let stem = path.file_stem().and_then(|it| it.to_str()).unwrap_or_default();
    let name = Name::parse(stem).ok_or_else(|| fail(HostError::BadName(stem.to_owned())))?;
    Ok((name, path))
}

fn build(host: &Host<'_>, name: &Name, path: &Path, request: &Request) -> Result<Built, Failure> {
    let built = host.built(name, path, request)?;
    built.warnings.iter().for_each(tell);
    Ok(built)
}

/// The description's files of this machine, each with its key.
fn files(built: &Built) -> Vec<(&'static str, PathBuf)> {
    let profile = Profile::of(&|path| built.tree.get(path).map(|it| it.bytes().to_vec()));
    let files = FILE_KEYS.iter().zip(profile.files);
    files.filter_map(|(key, path)| Some((*key, PathBuf::from(path?)))).collect()
}

fn steps(
    args: &Args,
    host: &Host<'_>,
    world: &mut World<'_>,
    way: &mut Deployment,
    name: &Name,
    path: &Path,
) -> Result<u8, Failure> {
    if args.host.bootstrap {
        send_program(host, way)?;
        way.program = BOOTSTRAPPED.to_owned();
    } else {
        way.program = way.find(host).map_err(fail)?;
    }
    let mut request = Request { helper: Some(way.program.clone()), ..Request::default() };
    let mut built = build(host, name, path, &request)?;
    if args.host.with_images {
        for (key, path) in files(&built) {
            let there = send_image(host, way, &path)?;
            request.set.push(format!("{key}={}", serde_json::Value::from(there)));
        }
        built = build(host, name, path, &request)?;
    } else {
        tell_missing(host, way, &files(&built))?;
    }
    let hash = built.tree.hash().to_string();
    let (is_there, _) = has(host, way, "have", &hash)?;
    let mut import = vec!["internal", "import", name.as_str(), &hash];
    if args.host.restart {
        import.push("restart");
    }
    let status = way
        .run(host, &way.words(&import), &mut |out| {
            if is_there { Ok(()) } else { pack(&built.tree, out) }
        })
        .map_err(fail)?;
    if status == 0 {
        world.print(&format!(
            "Deployed {name} ({}) to {}\n",
            built.tree.hash().short(),
            way.host
        ))?;
    }
    Ok(status)
}

/// Says which of the description's files the other host lacks.
fn tell_missing(
    host: &Host<'_>,
    way: &Deployment,
    files: &[(&str, PathBuf)],
) -> Result<(), Failure> {
    if files.is_empty() {
        return Ok(());
    }
    let paths: Vec<String> = files.iter().map(|(_, path)| shell(&path.to_string_lossy())).collect();
    let script = format!("for it in {}; do test -e \"$it\" || echo \"$it\"; done", paths.join(" "));
    let (_, said) = way.ask(host, &way.line(&script)).map_err(fail)?;
    for path in said.lines().filter(|line| line.starts_with('/')) {
        let path = plinth::text::escape_control(path);
        tell(format_args!("microvm: {path} is not on {}; --with-images sends it", way.host));
    }
    Ok(())
}

/// Whether the other host has what this hash names, and what it said.
fn has(
    host: &Host<'_>,
    way: &Deployment,
    action: &str,
    hash: &str,
) -> Result<(bool, String), Failure> {
    let words = way.words(&["internal", action, hash]);
    match way.ask(host, &words).map_err(fail)? {
        (0, said) => Ok((true, said)),
        (FAILED, said) => Ok((false, said)),
        (status, _) => Err(Failure::new(status, "microvm fails on the other host")),
    }
}

/// Sends an image, unless it is there; its path there.
fn send_image(host: &Host<'_>, way: &Deployment, from: &Path) -> Result<String, Failure> {
    let hash = hash_of(from).map_err(|error| Failure::new(NOT_FOUND, error))?.to_string();
    let (is_there, said) = has(host, way, "have-image", &hash)?;
    let path = path_in(&said).ok_or_else(|| not_sent(from, way))?;
    if !is_there {
        let words = way.words(&["internal", "import-image", &hash]);
        send(host, way, from, &words)?;
    }
    Ok(path.to_owned())
}

/// Sends this program. There is nothing yet that could tell whether it arrives whole, so that its
/// size has to.
fn send_program(host: &Host<'_>, way: &Deployment) -> Result<(), Failure> {
    let from = Path::new(&host.program);
    let size = from.metadata().map_err(HostError::io("read", from)).map_err(fail)?.len();
    let place = BOOTSTRAPPED;
    let script = format!(
        "set -e; mkdir -p /usr/local/bin; cat >{place}.new; \
         test \"$(wc -c <{place}.new)\" -eq {size} || {{ rm {place}.new; exit 1; }}; \
         chmod 755 {place}.new; sync; mv {place}.new {place}"
    );
    send(host, way, from, &way.line(&script))
}

/// Sends a file into a command of the other host.
fn send(host: &Host<'_>, way: &Deployment, from: &Path, words: &[String]) -> Result<(), Failure> {
    let mut file = File::open(from).map_err(HostError::io("open", from)).map_err(fail)?;
    match way.run(host, words, &mut |out| io::copy(&mut file, out).map(drop)).map_err(fail)? {
        0 => Ok(()),
        _ => Err(not_sent(from, way)),
    }
}

fn not_sent(from: &Path, way: &Deployment) -> Failure {
    Failure::new(FAILED, format!("cannot send {} to {}", from.display(), way.host))
}

/// A directory of our own for the connection's socket.
struct Control(PathBuf);

impl Control {
    fn new() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        // Short: a socket's path has 107 bytes.
        let name = format!("microvm-{}", plinth::rand::uuid_v4());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
