// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A plan to the files of a runner package.
//!
//! Owns the layout, which is a contract: the units of microvm.nix run our packages, and ours run
//! its. Everything is made in memory. Scripts are for a POSIX shell and leave to this program what
//! a shell cannot do; what stands in them goes through `quote`.

mod metadata;
mod network;
mod run;
mod script;

use crate::config::{Console, Hypervisor, InterfaceType, Proto, Vm};
use crate::package::{Entry, RUNNER, Tree};
use crate::plan::{Plan, Shutdown};
use crate::quote::shell;

use script::Script;

/// What a package depends on besides the machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the description's file, for people who read the scripts.
    pub source: String,
    /// The path of this program, as scripts call it where the package does not carry it.
    pub helper: String,
    /// The program itself, to be put into the package.
    pub embed: Option<Vec<u8>>,
}

/// Makes the package of a machine.
#[must_use]
pub fn package(vm: &Vm, plan: &Plan, options: &Options) -> Tree {
    let mut tree = Tree::default();
    let mut emitter = Emitter { vm, plan, options, tree: &mut tree };
    emitter.scripts();
    emitter.own_scripts();
    metadata::put(vm, plan, options, &mut tree);
    if let Some(program) = &options.embed {
        tree.put("libexec/microvm", Entry::Program(program.clone()));
    }
    for (path, bytes) in &plan.files {
        tree.put(path.clone(), Entry::Data(bytes.clone()));
    }
    tree.seal();
    debug_assert!(tree.get(RUNNER).is_some(), "a package without its description");
    tree
}

struct Emitter<'a> {
    vm: &'a Vm,
    plan: &'a Plan,
    options: &'a Options,
    tree: &'a mut Tree,
}

impl Emitter<'_> {
    fn script(&self) -> Script {
        Script::new(self.options, None)
    }

    /// A script that holds commands of the user's, in the user's own shell.
    fn embedding(&self) -> Script {
        Script::new(self.options, Some(&self.vm.shell))
    }

    fn put(&mut self, name: &str, script: Script) {
        self.tree.put(format!("bin/{name}"), Entry::Program(script.finish().into_bytes()));
    }

    /// A script that only hands over to this program.
    fn call(&mut self, name: &str, words: &str) {
        let mut script = self.script();
        script.uses_helper();
        script.line(format!("exec \"$MICROVM\" internal {words}"));
        self.put(name, script);
    }

    fn scripts(&mut self) {
        let vm = self.vm;
        let run = run::script(vm, self.plan, self.embedding());
        self.put("microvm-run", run);
        self.control();
        for kind in [InterfaceType::Tap, InterfaceType::Macvtap] {
            if vm.interfaces_of(kind).next().is_none() {
                continue;
            }
            for up in [true, false] {
                let name = network::name(kind, up);
                let mut script = self.embedding();
                network::fill(&mut script, vm, self.plan, kind, up);
                self.appended(name, script);
            }
        }
        if vm.devices.iter().any(|device| device.bus == "pci") {
            let mut script = self.embedding();
            script.uses_helper().uses_package();
            script.line("\"$MICROVM\" internal pci-setup --package \"$package\"");
            self.appended("pci-setup", script);
            self.package_call("pci-teardown", "pci-teardown --package \"$package\"");
        }
        let virtiofs = vm.shares_of(Proto::Virtiofs).next().is_some();
        if virtiofs && vm.hypervisor != Hypervisor::Vfkit {
            self.package_call("virtiofsd-run", "virtiofsd --package \"$package\"");
        }
        if vm.register_with_machined {
            let words = "register --package \"$package\" -- \"$1\"";
            self.package_call("microvm-register", words);
            self.package_call("microvm-unregister", "unregister --package \"$package\"");
        }
    }

    /// A script that hands over to this program with the package.
    fn package_call(&mut self, name: &str, words: &str) {
        let mut script = self.script();
        script.uses_helper().uses_package();
        script.line(format!("exec \"$MICROVM\" internal {words}"));
        self.put(name, script);
    }

    /// Stop, balloon, console.
    fn control(&mut self) {
        let vm = self.vm;
        let of = format!("--hypervisor {}", vm.hypervisor);
        let socket = vm.socket.as_ref().map(|it| format!(" --socket {}", shell(it)));
        let socket = socket.unwrap_or_default();
        let program = match vm.hypervisor {
            Hypervisor::Crosvm | Hypervisor::Kvmtool => {
                format!(" --program {}", shell(vm.program()))
            }
            _ => String::new(),
        };
        if let Some(way) = self.plan.shutdown {
            let how = match way {
                Shutdown::Keys => " --how ctrl-alt-del",
                Shutdown::Powerdown => " --how powerdown",
                Shutdown::Own => "",
            };
            let timeout = vm.shutdown_timeout;
            let pid = "${MAINPID:+--pid \"$MAINPID\"}";
            self.call(
                "microvm-shutdown",
                &format!("shutdown {of}{socket}{program} --timeout {timeout}{how} {pid}"),
            );
        }
        if self.plan.balloon {
            let name = shell(&vm.host_name);
            let mem = vm.mem;
            let words =
                format!("balloon {of}{socket}{program} --name {name} --mem {mem} -- \"$@\"");
            self.call("microvm-balloon", &words);
        }
        // Others keep their console where it is, and are warned about.
        if vm.console == Console::Socket && vm.hypervisor == Hypervisor::Qemu {
            let socket = shell(&format!("{}-console.sock", vm.host_name));
            self.call("microvm-console", &format!("console -- {socket}"));
        }
    }

    /// Adds what the user wants to have done as well.
    fn appended(&mut self, name: &str, mut script: Script) {
        if let Some(body) = self.vm.bin_scripts.get(name) {
            script.body(body);
        }
        self.put(name, script);
    }

    /// Scripts of the user's own.
    fn own_scripts(&mut self) {
        let vm = self.vm;
        let paths = |name: &str| format!("bin/{name}");
        for (name, body) in &vm.bin_scripts {
            if self.tree.get(&paths(name)).is_some() {
                continue;
            }
            let text = if body.starts_with("#!") {
                let end = if body.ends_with('\n') { "" } else { "\n" };
                format!("{body}{end}")
            } else {
                let mut script = self.embedding();
                script.body(body);
                script.finish()
            };
            self.tree.put(paths(name), Entry::Program(text.into_bytes()));
        }
    }
}
