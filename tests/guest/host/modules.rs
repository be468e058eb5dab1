// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Orders kernel modules so that each comes after what it needs.
//!
//! Reads `modules.dep` (written by depmod when the kernel was unpacked) and `modules.builtin`.
//! Loading is left to the guest; soft dependencies are left to the one who asks for a module.

use std::collections::BTreeMap;
use std::fmt;

/// A module that the kernel neither has built in nor brings along.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownModule(pub String);

impl fmt::Display for UnknownModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kernel has no module '{}'", self.0)
    }
}

impl std::error::Error for UnknownModule {}

/// The modules of one kernel.
#[derive(Debug, Default)]
pub struct Modules {
    /// By name: path below the modules directory, and paths of what it needs, nearest first.
    loadable: BTreeMap<String, (String, Vec<String>)>,
    builtin: Vec<String>,
}

impl Modules {
    /// Reads the texts of `modules.dep` and `modules.builtin`.
    #[must_use]
    pub fn parse(dep: &str, builtin: &str) -> Self {
        let loadable = dep
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, needs)| {
                let needs = needs.split_whitespace().map(str::to_owned).collect();
                (name(path), (path.to_owned(), needs))
            })
            .collect();
        Self { loadable, builtin: builtin.lines().map(name).collect() }
    }

    /// Paths below the modules directory for `wanted`, in the order of loading; each once.
    ///
    /// # Errors
    /// [`UnknownModule`] names the first that is neither loadable nor built in.
    pub fn closure(&self, wanted: &[&str]) -> Result<Vec<String>, UnknownModule> {
        let mut order: Vec<String> = Vec::new();
        for module in wanted {
            let wanted = name(module);
            match self.loadable.get(&wanted) {
                // The line names the deepest dependency last.
                Some((path, needs)) => {
                    for path in needs.iter().rev().chain([path]) {
                        if !order.contains(path) {
                            order.push(path.clone());
                        }
                    }
                }
                None if self.builtin.contains(&wanted) => {}
                None => return Err(UnknownModule((*module).to_owned())),
            }
        }
        Ok(order)
    }

    /// Whether the kernel has this module in any form.
    #[must_use]
    pub fn knows(&self, module: &str) -> bool {
        let module = name(module);
        self.loadable.contains_key(&module) || self.builtin.contains(&module)
    }
}

/// The module's name: last part of the path, no suffixes, underscores throughout.
fn name(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or(path);
    last.split(".ko").next().unwrap_or(last).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/nvme/nvmet.ko.xz: kernel/fs/configfs.ko.xz
kernel/nvme/nvmet-tcp.ko.xz: kernel/nvme/nvmet.ko.xz kernel/fs/configfs.ko.xz
kernel/fs/configfs.ko.xz:
";

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let modules = Modules::parse(DEP, "kernel/drivers/nvme/host/nvme-core.ko\n");
        let order = modules.closure(&["nvme_core", "nvmet_tcp", "nvmet"]).unwrap();
        let names: Vec<_> = order.iter().map(|p| name(p)).collect();
        assert_eq!(names, ["configfs", "nvmet", "nvmet_tcp"]);
        assert!(modules.knows("nvme-core"));
    }

    #[test]
    fn an_unknown_module_is_named() {
        let modules = Modules::parse(DEP, "");
        assert_eq!(modules.closure(&["zram"]), Err(UnknownModule("zram".into())));
        assert!(!modules.knows("zram"));
    }
}
