// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is there: pins and what they hold, directories, mounts, and the machine that conditions
//! ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;
use std::path::Path;

use plinth::sorting;

use super::kernel;
use crate::bpffs::{self, What};
use crate::features;
use crate::host::Host;
use crate::kinds::MapType;
use crate::manifest::decide::{Facts, Pinned};
use crate::manifest::state::State;
use crate::manifest::wanted::{MapShape, Wanted};
use crate::manifest::when::Machine;
use crate::manifest::{Manifest, Mount};
use crate::map::Map;

/// The facts that a decision needs.
pub(super) fn facts(watched: &BTreeSet<String>, wanted: &[Wanted], state: &State) -> Facts {
    let mut pins = BTreeMap::new();
    for path in watched {
        if let Some(pinned) = pinned(Path::new(path)) {
            pins.insert(path.clone(), pinned);
        }
    }
    let directories = wanted.iter().flat_map(|it| it.directories.iter());
    let directories = directories.chain(state.objects.values().flat_map(|it| &it.directories));
    let directories = sorting::gather(directories.filter(|path| Path::new(path).is_dir()).cloned());
    Facts { pins, directories, mounted: mounted(), kernel: kernel() }
}

/// What is pinned at a path; `None` where there is nothing.
fn pinned(path: &Path) -> Option<Pinned> {
    path.symlink_metadata().ok()?;
    let opened = || -> Option<Pinned> {
        let fd = bpffs::open(path).ok()?;
        match bpffs::what_is(fd.as_fd())? {
            What::Program => {
                let info = crate::sys::program::info(fd.as_fd()).ok()?;
                Some(Pinned::Program { id: info.id, tag: info.tag })
            }
            What::Link => {
                let info = crate::sys::link::info(fd.as_fd()).ok()?;
                Some(Pinned::Link { id: info.id, program: info.program })
            }
            What::Map => {
                let map = Map::from_pin(path).ok()?;
                let info = map.info().ok()?;
                let shape = MapShape {
                    map_type: MapType(info.shape.map_type),
                    key_size: info.shape.key_size.into(),
                    value_size: info.shape.value_size.into(),
                    max_entries: info.shape.max_entries,
                    flags: info.shape.flags,
                };
                let is_frozen = map.frozen_and_memory().0.unwrap_or(false);
                Some(Pinned::Map { id: info.id, shape, is_frozen })
            }
        }
    };
    Some(opened().unwrap_or(Pinned::Other))
}

/// The file systems that are there.
fn mounted() -> BTreeSet<Mount> {
    let host = Host::system();
    let all = [
        (Mount::Bpf, bpffs::is_bpffs(Path::new(bpffs::DEFAULT))),
        (Mount::Tracefs, host.tracefs().is_some()),
        (Mount::Cgroup2, host.cgroup2().is_some()),
    ];
    sorting::gather(all.into_iter().filter(|(_, there)| *there).map(|(mount, _)| mount))
}

/// The machine, as far as the manifest's conditions ask.
pub(super) fn machine(manifest: &Manifest) -> Machine {
    let conditions = || manifest.objects.iter().map(|it| &it.when);
    // A probe is a trial, so only what is asked for is tried.
    let asked: BTreeSet<&str> = sorting::gather(conditions().flat_map(|when| when.features()));
    let found = asked.into_iter().filter_map(features::probe_one).filter(|it| it.present);
    let features = sorting::gather(found.map(|it| it.name.to_owned()));
    let paths = conditions().flat_map(|when| when.paths());
    let paths = sorting::gather(paths.filter(|path| Path::new(path).exists()).map(str::to_owned));
    Machine { kernel: kernel(), arch: std::env::consts::ARCH.to_owned(), features, paths }
}
