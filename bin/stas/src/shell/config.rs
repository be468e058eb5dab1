// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads a daemon's configuration: its own file, drop-ins, `sys.conf`, and what the kernel offers.
//!
//! Owns paths and reading; what the texts mean is decided in the core. A file that does not exist
//! is no error, with two exceptions that `sys.conf` stands for: without host NQN and host ID
//! nothing can be connected.

use std::io::{self, Read};
use std::path::PathBuf;

use plinth::file::Root;

use crate::core::exclude::{self, Exclusion};
use crate::core::fabrics::Support;
use crate::core::identity::{Identity, IdentityError};
use crate::core::port::Configuration;
use crate::core::secret::Secret;
use crate::core::settings::{Diagnostic, Role, Settings};

/// Where the host's names are configured.
pub const SYS_CONF: &str = "/etc/stas/sys.conf";
/// What nvme-cli and its relatives are told to leave alone, with drop-ins.
pub const EXCLUSIONS: &str = "/etc/nvme/exclusions.conf";
/// The device that makes controllers, and tells what it understands.
pub const FABRICS: &str = "/dev/nvme-fabrics";
/// Drop-ins of one file that are read.
pub const DROP_INS_MAX: usize = 256;

/// Where a daemon's configuration comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Which daemon.
    pub role: Role,
    /// Its file; drop-ins are in the directory of the same name with `.d`.
    pub file: PathBuf,
    /// Under which all paths are looked up.
    pub root: Root,
    /// Where the service manager put credentials (`$CREDENTIALS_DIRECTORY`).
    pub credentials: Option<PathBuf>,
}

/// What was found.
#[derive(Debug)]
pub struct Loaded {
    /// The daemon's settings.
    pub settings: Settings,
    /// The host's names, or why there are none.
    pub identity: Result<Identity, IdentityError>,
    /// What to tell the administrator, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether a file as a whole could not be used.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.identity.is_err() || self.diagnostics.iter().any(|diagnostic| diagnostic.fatal)
    }

    /// The value for the core, once there is an identity. What the command line adds (`tron`,
    /// `state_file`) is left to the caller.
    ///
    /// # Errors
    /// The host has no names.
    pub fn configuration(self, support: Support) -> Result<Configuration, IdentityError> {
        let (settings, identity) = (self.settings, self.identity?);
        Ok(Configuration { settings, identity, support, tron: false, state_file: String::new() })
    }
}

impl Source {
    /// Reads everything anew.
    #[must_use]
    pub fn load(&self) -> Loaded {
        let mut diagnostics = Vec::new();
        let mut texts = Vec::new();
        for path in self.files() {
            match self.root.read_text(&path) {
                Ok(text) => texts.push((path, text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    diagnostics.push(Diagnostic::unreadable(&path, None, &error.to_string()));
                }
            }
        }
        let texts: Vec<_> =
            texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (mut settings, more) = Settings::parse(self.role, &texts);
        diagnostics.extend(more);
        let mut identity = self.identity(&mut diagnostics);
        let mut read = |place: &Secret| self.secret(place);
        let main = self.file.to_string_lossy();
        diagnostics.extend(settings.resolve_secrets(&main, &mut read));
        if let Ok(identity) = &mut identity {
            diagnostics.extend(identity.resolve_key(SYS_CONF, &mut read));
        }
        let host_id = identity.as_ref().map_or("", |identity| identity.id.as_str());
        settings.excludes.extend(self.shared_exclusions(host_id, &mut diagnostics));
        Loaded { settings, identity, diagnostics }
    }

    fn identity(&self, diagnostics: &mut Vec<Diagnostic>) -> Result<Identity, IdentityError> {
        let text = match self.root.read_text(SYS_CONF) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                diagnostics.push(Diagnostic::unreadable(SYS_CONF, None, &error.to_string()));
                None
            }
        };
        let mut reader =
            |path: &str| self.root.read_text(path).map_err(|error| format!("{path}: {error}"));
        let (identity, more) = Identity::load(SYS_CONF, text.as_deref(), &mut reader)?;
        diagnostics.extend(more);
        Ok(identity)
    }

    /// The text of the place where a secret is kept.
    fn secret(&self, place: &Secret) -> Result<Option<String>, String> {
        let (name, text) = match (place, &self.credentials) {
            (Secret::File(path), _) => (path, self.root.read_text(path)),
            (Secret::Credential(name), _) if name.contains('/') || name.starts_with('.') => {
                return Err(format!("{name}: no name of a credential"));
            }
            (Secret::Credential(name), Some(directory)) => {
                (name, std::fs::read_to_string(directory.join(name)))
            }
            _ => return Ok(None),
        };
        text.map(Some).map_err(|error| format!("{name}: {error}"))
    }

    /// What all NVMe tools of this host are told to leave alone. Files that cannot be read exclude
    /// nothing.
    fn shared_exclusions(&self, host_id: &str, out: &mut Vec<Diagnostic>) -> Vec<Exclusion> {
        let mut all = Vec::new();
        for path in self.with_drop_ins(EXCLUSIONS.to_owned()) {
            if let Ok(text) = self.root.read_text(&path) {
                let (list, more) = exclude::from_nvme_cli(&path, &text, host_id);
                all.extend(list);
                out.extend(more);
            }
        }
        all
    }

    /// The main file, then its drop-ins in lexical order.
    fn files(&self) -> Vec<String> {
        self.with_drop_ins(self.file.to_string_lossy().into_owned())
    }

    fn with_drop_ins(&self, main: String) -> Vec<String> {
        let directory = format!("{main}.d");
        let mut names = self.root.list(&directory).unwrap_or_default();
        names.retain(|name| name.ends_with(".conf") && !name.starts_with('.'));
        names.sort_unstable();
        names.truncate(DROP_INS_MAX);
        let drop_ins = names.into_iter().map(|name| format!("{directory}/{name}"));
        std::iter::once(main).chain(drop_ins).collect()
    }
}

/// What the kernel understands: asked from the device. Kernels that do not tell are judged by their
/// release; where the device cannot be read at all, nothing beyond the basic options is assumed,
/// and the text is a complaint for the log.
#[must_use]
pub fn support(root: &Root) -> (Support, Option<String>) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut listing = [0; 4096];
    let read = std::fs::File::open(root.join(FABRICS)).and_then(|mut file| file.read(&mut listing));
    let error = match read {
        Ok(len) if len > 0 => {
            let text = String::from_utf8_lossy(listing.get(..len).unwrap_or_default());
            return (Support::from_listing(&text), None);
        }
        Ok(_) => "it is empty".to_owned(),
        // Kernels before 5.17 do not know how to tell.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            return (Support::from_kernel_version(&release), None);
        }
        Err(error) => error.to_string(),
    };
    let complaint = format!("Cannot read the supported options from {FABRICS}: {error}");
    (Support::default(), Some(complaint))
}

#[cfg(test)]
mod tests {
    use plinth::testing::Place;

    use super::*;

    struct Tree(Place);

    impl Tree {
        fn new(files: &[(&str, &[u8])]) -> Self {
            let place = Place::new();
            for (file, content) in files {
                place.file(file, content);
            }
            Self(place)
        }

        fn load(&self) -> Loaded {
            Source {
                role: Role::Finder,
                file: "/etc/stas/stafd.conf".into(),
                root: self.0.root(),
                credentials: Some(self.0.join("credentials")),
            }
            .load()
        }
    }

    const NQN: (&str, &[u8]) = ("etc/nvme/hostnqn", b"nqn.2014-08.org.example:host\n");
    const ID: (&str, &[u8]) = ("etc/nvme/hostid", b"46ba5037-7ce5-41fa-9452-48477bf00080\n");

    #[test]
    fn without_a_file_the_defaults_apply() {
        let loaded = Tree::new(&[NQN, ID]).load();
        assert!(!loaded.is_damaged());
        assert_eq!(loaded.settings, Settings::new(Role::Finder));
        assert_eq!(loaded.identity.unwrap().nqn, "nqn.2014-08.org.example:host");
    }

    // R058
    #[test]
    fn secrets_come_from_files_and_credentials() {
        let secret = b"DHHC-1:00:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:\n";
        let tree = Tree::new(&[
            NQN,
            ID,
            ("etc/nvme/one", secret),
            ("credentials/two", secret),
            ("credentials/host", secret),
            ("etc/stas/sys.conf", b"[Host]\nkey=credential:host\n"),
            (
                "etc/stas/stafd.conf",
                b"[Controllers]\n\
                      controller=transport=tcp;traddr=1.1.1.1;dhchap-secret-file=/etc/nvme/one\n\
                      controller=transport=tcp;traddr=2.2.2.2;dhchap-secret=credential:two\n\
                      controller=transport=tcp;traddr=3.3.3.3;dhchap-secret=credential:three\n\
                      controller=transport=tcp;traddr=4.4.4.4;dhchap-secret=credential:../two\n",
            ),
        ]);
        let loaded = tree.load();
        let known: Vec<bool> = loaded
            .settings
            .controllers
            .iter()
            .map(|entry| entry.overrides.dhchap_secret.as_ref().unwrap().expose().is_some())
            .collect();
        assert_eq!(known, [true, true, false, false]);
        assert!(loaded.identity.unwrap().key.unwrap().expose().is_some());
        let lines: Vec<Option<u32>> = loaded.diagnostics.iter().map(|told| told.line).collect();
        assert_eq!(lines, [Some(4), Some(5)]);
    }

    // R169, R170
    #[test]
    fn what_the_device_tells_decides_what_is_supported() {
        let names = ["host_iface", "discovery", "dhchap_secret", "dhchap_ctrl_secret"];
        let all = b"host_iface=%s,discovery,dhchap_secret=%s,dhchap_ctrl_secret=%s\n";
        for (name, files, expected, complains) in [
            ("missing", &[][..], false, true),
            ("empty", &[("dev/nvme-fabrics", &b""[..])], false, true),
            ("blah", &[("dev/nvme-fabrics", b"blah")], false, false),
            ("all", &[("dev/nvme-fabrics", all)], true, false),
        ] {
            let tree = Tree::new(files);
            let (support, complaint) = support(&tree.0.root());
            assert_eq!(names.map(|name| support.has(name)), [expected; 4], "{name}");
            assert_eq!(complaint.is_some(), complains, "{name}");
        }
    }

    // R063
    #[test]
    fn shared_exclusions_are_added() {
        let tree = Tree::new(&[
            NQN,
            ID,
            ("etc/stas/stafd.conf", b"[Controllers]\nexclude=transport=fc\n"),
            ("etc/nvme/exclusions.conf", b"[exclusions]\nexclusion=transport=rdma\n"),
            ("etc/nvme/exclusions.conf.d/a.conf", b"[exclusions]\nexclusion=nqn=n;x=y\n"),
        ]);
        let loaded = tree.load();
        let transports: Vec<&str> = loaded
            .settings
            .excludes
            .iter()
            .map(|entry| entry.fields().transport.as_str())
            .collect();
        assert_eq!(transports, ["fc", "rdma"]);
        let warned = loaded.diagnostics.iter().filter(|told| told.level == log::Level::Warn);
        assert_eq!(warned.count(), 1);
        assert!(!loaded.is_damaged());
    }

    #[test]
    fn drop_ins_come_after_the_file_in_lexical_order() {
        let tree = Tree::new(&[
            NQN,
            ID,
            ("etc/stas/stafd.conf", b"[Global]\ntron=true\nkato=10\n"),
            ("etc/stas/stafd.conf.d/20-b.conf", b"[Global]\nkato=30\n"),
            ("etc/stas/stafd.conf.d/10-a.conf", b"[Global]\nkato=20\n"),
            ("etc/stas/stafd.conf.d/30-c.conf~", b"[Global]\nkato=40\n"),
        ]);
        let loaded = tree.load();
        assert!(loaded.settings.tron);
        assert_eq!(loaded.settings.parameters.kato, Some(30));
    }

    #[test]
    fn a_host_without_names_is_damaged() {
        let loaded = Tree::new(&[ID]).load();
        assert!(loaded.is_damaged());
        let error = loaded.configuration(Support::default()).unwrap_err().to_string();
        assert!(error.starts_with("Error reading mandatory Host NQN (see stasadm --help): "));
        assert!(error.contains("/etc/nvme/hostnqn"), "{error}");
    }

    #[test]
    fn undecodable_bytes_damage_a_file_and_not_the_process() {
        let tree = Tree::new(&[NQN, ID, ("etc/stas/stafd.conf", b"[Global]\n\xff\n")]);
        let loaded = tree.load();
        assert!(loaded.is_damaged());
        assert_eq!(loaded.settings, Settings::new(Role::Finder));
        assert_eq!(loaded.diagnostics[0].path, "/etc/stas/stafd.conf");
    }
}
