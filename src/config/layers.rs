// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds the files that make up one configuration: vendor's, run-time, administrator's, drop-ins.
//!
//! Owns the search, as the UAPI group's Configuration Files Specification describes it. What is in
//! the files is left to the syntaxes. The main file is taken whole from the highest directory that
//! has one. Drop-ins lie in a directory named like the main file with `.d` behind it; they apply
//! after it, in the order of their names, whatever their directories. Of several drop-ins of one
//! name, the one in the highest directory counts. A file that is empty, or a link to `/dev/null`,
//! hides those of its name below, and says nothing itself. No file at all is a valid configuration.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::file::Root;

/// Where configuration lies, lowest first.
pub const DIRECTORIES: [&str; 3] = ["/usr/lib", "/run", "/etc"];

/// One file that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its path as an administrator knows it, without the injected root.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

/// A file that exists, and cannot be read.
#[derive(Debug)]
pub struct LayerError {
    /// The file, or the directory with drop-ins.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {}", self.path.display())
    }
}

impl Error for LayerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// The layers of the configuration `name`, such as `plinth/guest.toml`, lowest first. Drop-ins have
/// the same extension as the main file; names that begin with a dot are passed over.
///
/// # Errors
/// Every file that cannot be read, unless it does not exist.
pub fn find(root: &Root, name: &str) -> Result<Vec<Layer>, Vec<LayerError>> {
    let mut search = Search { root, layers: Vec::new(), errors: Vec::new() };
    for directory in DIRECTORIES.iter().rev() {
        if search.read(&Path::new(directory).join(name)) {
            break;
        }
    }
    for path in search.drop_ins(name) {
        search.read(&path);
    }
    if search.errors.is_empty() { Ok(search.layers) } else { Err(search.errors) }
}

struct Search<'a> {
    root: &'a Root,
    layers: Vec<Layer>,
    errors: Vec<LayerError>,
}

impl Search<'_> {
    /// Adds the file, unless it says nothing. `false` when it does not exist.
    fn read(&mut self, path: &Path) -> bool {
        match self.root.read_text(path) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => self.layers.push(Layer { path: path.to_owned(), text }),
            Err(source) if source.kind() == ErrorKind::NotFound => return false,
            Err(source) => self.errors.push(LayerError { path: path.to_owned(), source }),
        }
        true
    }

    /// The path that counts for each name of a drop-in, in the order of the names.
    fn drop_ins(&mut self, name: &str) -> Vec<PathBuf> {
        let suffix = Path::new(name).extension().map(|it| format!(".{}", it.to_string_lossy()));
        let suffix = suffix.unwrap_or_default();
        let mut paths = BTreeMap::new();
        for directory in DIRECTORIES {
            let directory = Path::new(directory).join(format!("{name}.d"));
            match self.root.list(&directory) {
                Ok(names) => {
                    let names = names.into_iter().filter(|it| it.ends_with(&suffix));
                    let names = names.filter(|it| !it.starts_with('.'));
                    paths.extend(names.map(|it| (it.clone(), directory.join(it))));
                }
                Err(source) if source.kind() == ErrorKind::NotFound => {}
                Err(source) => self.errors.push(LayerError { path: directory, source }),
            }
        }
        paths.into_values().collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A directory that plays the root, removed in the end.
    pub(crate) struct Tree(PathBuf);

    impl Tree {
        /// `name` is unique to the test.
        pub(crate) fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("plinth-{}-{name}", std::process::id()));
            let tree = Self(path);
            for (path, text) in files {
                tree.write(path, text);
            }
            tree
        }

        pub(crate) fn root(&self) -> Root {
            Root::at(&self.0)
        }

        fn write(&self, path: &str, text: impl AsRef<[u8]>) {
            fs::write(self.below(path), text).expect("a file");
        }

        fn below(&self, path: &str) -> PathBuf {
            let path = self.root().join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
            path
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0)); // there may be none
        }
    }

    fn found(tree: &Tree) -> Vec<String> {
        let layers = find(&tree.root(), "app/x.toml").expect("readable");
        layers.into_iter().map(|it| format!("{}: {}", it.path.display(), it.text)).collect()
    }

    #[test]
    fn no_file_at_all_is_a_valid_configuration() {
        let tree = Tree::new("layers-none", &[("/etc/app/other.toml", "a")]);
        assert_eq!(found(&tree), [""; 0]);
    }

    #[test]
    fn the_highest_main_file_is_taken_whole() {
        let tree = Tree::new("layers-main", &[("/usr/lib/app/x.toml", "a")]);
        assert_eq!(found(&tree), ["/usr/lib/app/x.toml: a"]);
        tree.write("/run/app/x.toml", "b");
        assert_eq!(found(&tree), ["/run/app/x.toml: b"]);
        tree.write("/etc/app/x.toml", "c");
        assert_eq!(found(&tree), ["/etc/app/x.toml: c"]);
    }

    #[test]
    fn drop_ins_are_ordered_by_name_and_overridden_by_directory() {
        let tree = Tree::new(
            "layers-drop-ins",
            &[
                ("/usr/lib/app/x.toml.d/20-b.toml", "vendor 20"),
                ("/usr/lib/app/x.toml.d/90-z.toml", "vendor 90"),
                ("/run/app/x.toml.d/20-b.toml", "run 20"),
                ("/etc/app/x.toml.d/50-m.toml", "admin 50"),
                ("/etc/app/x.toml.d/10-a.toml", "admin 10"),
                ("/etc/app/x.toml.d/README", "no drop-in"),
                ("/etc/app/x.toml.d/.hidden.toml", "no drop-in"),
                ("/etc/app/x.toml.d/30-c.toml~", "no drop-in"),
                ("/usr/lib/app/x.toml", "main"),
            ],
        );
        assert_eq!(
            found(&tree),
            [
                "/usr/lib/app/x.toml: main",
                "/etc/app/x.toml.d/10-a.toml: admin 10",
                "/run/app/x.toml.d/20-b.toml: run 20",
                "/etc/app/x.toml.d/50-m.toml: admin 50",
                "/usr/lib/app/x.toml.d/90-z.toml: vendor 90",
            ]
        );
    }

    #[test]
    fn empty_files_and_links_to_nowhere_hide_what_is_below() {
        let tree = Tree::new(
            "layers-masks",
            &[
                ("/usr/lib/app/x.toml", "main"),
                ("/run/app/x.toml", ""),
                ("/usr/lib/app/x.toml.d/10-a.toml", "a"),
                ("/usr/lib/app/x.toml.d/20-b.toml", "b"),
                ("/usr/lib/app/x.toml.d/30-c.toml", "c"),
                ("/run/app/x.toml.d/10-a.toml", ""),
            ],
        );
        let mask = tree.below("/etc/app/x.toml.d/20-b.toml");
        symlink("/dev/null", mask).expect("a link");
        assert_eq!(found(&tree), ["/usr/lib/app/x.toml.d/30-c.toml: c"]);
    }

    #[test]
    fn every_unreadable_file_is_named() {
        let tree = Tree::new("layers-errors", &[("/etc/app/x.toml.d", "no directory")]);
        tree.write("/run/app/x.toml.d/a.toml", [0xff]);
        fs::create_dir_all(tree.below("/etc/app/x.toml")).expect("no file");
        let errors = find(&tree.root(), "app/x.toml").expect_err("three of them");
        let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "cannot read /etc/app/x.toml",
                "cannot read /etc/app/x.toml.d",
                "cannot read /run/app/x.toml.d/a.toml",
            ]
        );
        assert!(errors.iter().all(|it| it.source().is_some()));
    }
}
