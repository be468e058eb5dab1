// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm deploy`: the steps on the way to another host.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use plinth::err::{FAILED, Failure};

use super::super::{Args, World};
use super::{fail, word};
use crate::host::profile::{FILE_KEYS, Profile};
use crate::host::{Built, Deployment, Host, HostError, Name, Request, image, pack};
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
    built.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    Ok(built)
}

/// A file that goes along.
struct Image {
    key: &'static str,
    here: PathBuf,
    remote: String,
}

fn images(host: &Host<'_>, built: &Built) -> Result<Vec<Image>, Failure> {
    let profile = Profile::of(&|path| built.tree.get(path).map(|it| it.bytes().to_vec()));
    let mut images = Vec::new();
    for (key, path) in FILE_KEYS.iter().zip(&profile.files) {
        if let Some(path) = path {
            let here = PathBuf::from(path);
            let remote = image(&host.settings.state_dir, &here).map_err(fail)?;
            images.push(Image { key, here, remote });
        }
    }
    Ok(images)
}

fn steps(
    args: &Args,
    host: &Host<'_>,
    world: &mut World<'_>,
    way: &mut Deployment,
    name: &Name,
    path: &Path,
) -> Result<u8, Failure> {
    let nothing = &mut |_: &mut dyn io::Write| Ok(());
    if args.host.bootstrap {
        send(host, way, Path::new(&host.program), BOOTSTRAPPED, "755")?;
        way.program = BOOTSTRAPPED.to_owned();
    } else {
        way.program = way.find(host).map_err(fail)?;
    }
    let mut request = Request { helper: Some(way.program.clone()), ..Request::default() };
    let mut built = build(host, name, path, &request)?;
    if args.host.with_images {
        for image in images(host, &built)? {
            send(host, way, &image.here, &image.remote, "644")?;
            request.set.push(format!("{}={:?}", image.key, image.remote));
        }
        built = build(host, name, path, &request)?;
    }
    let hash = built.tree.hash().to_string();
    let words = way.words(&["internal", "have", &hash]);
    let is_there = match way.run(host, &words, nothing).map_err(fail)? {
        0 => true,
        1 => false,
        status => return Err(Failure::new(status, "microvm fails on the other host")),
    };
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

/// Sends a file, unless it is there: under its final name it is whole.
fn send(
    host: &Host<'_>,
    way: &Deployment,
    from: &Path,
    to: &str,
    mode: &str,
) -> Result<(), Failure> {
    let place = shell(to);
    let is_program = mode == "755";
    let look = if is_program { "false".to_owned() } else { format!("test -e {place}") };
    if !is_program && way.run(host, &way.plain(&look), &mut |_| Ok(())).map_err(fail)? == 0 {
        return Ok(());
    }
    let directory = shell(to.rsplit_once('/').map_or("/", |it| it.0));
    let sudo = if way.sudo { "sudo " } else { "" };
    let script = format!(
        "set -e; mkdir -p {directory}; cat >{place}.new; chmod {mode} {place}.new; sync; \
         mv {place}.new {place}"
    );
    let line = format!("{sudo}sh -c {}", shell(&script));
    let mut file = File::open(from).map_err(HostError::io("open", from)).map_err(fail)?;
    let status = way
        .run(host, &way.plain(&line), &mut |out| io::copy(&mut file, out).map(drop))
        .map_err(fail)?;
    if status == 0 {
        return Ok(());
    }
    Err(Failure::new(FAILED, format!("cannot send {} to {}", from.display(), way.host)))
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
