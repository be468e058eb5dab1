// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Command lines that are refused: words and options that nothing would heed, and how that is told.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

mod support;

use support::microvm;

/// A directory of this test with a description `vm.toml`, and its package `result`.
fn directory(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("words-{name}"));
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(dir.join("images")).expect("a directory");
    fs::write(dir.join("vm.toml"), "kernel = \"/k\"\n").expect("a file");
    dir
}

/// Runs the command line with `@` for the directory; its status and what it said instead of doing.
fn refused(dir: &str, line: &str) -> (u8, String) {
    let words: Vec<String> = line.split(' ').map(|word| word.replace('@', dir)).collect();
    let words: Vec<&str> = words.iter().map(|word| word.trim_matches('\'')).collect();
    let (status, said) = microvm(&words);
    (status, said.trim_end().trim_start_matches("failure: ").replace(dir, "@"))
}

#[test]
fn what_nothing_would_heed_is_refused() {
    let dir = directory("unheeded").display().to_string();
    assert_eq!(refused(&dir, "build @/vm.toml -o @/result").0, 0);
    for (line, said) in [
        ("host apply nosuch --root @", "host apply takes no NAME"),
        ("host install nosuch --root @", "host install takes no NAME"),
        ("host doctor web1 --dry-run --root @", "option --dry-run is not for host doctor"),
        ("host doctor --prune --root @", "option --prune is not for host doctor"),
        ("host doctor --bridge br9 --root @", "option --bridge is not for host doctor"),
        ("host doctor --prefix @", "option --prefix is not for host doctor"),
        ("host install --prune --root @", "option --prune is not for host install"),
        ("host install --net --root @", "option --net is not for host install"),
        ("host install -j 4 --root @", "option --jobs is not for host install"),
        ("test-examples --cleanup nosuch", "test-examples --cleanup takes no NAME"),
        ("show @/result --set mem=1", "--set is for descriptions; @/result is a package"),
        (
            "show @/result --hypervisor qemu",
            "--hypervisor is for descriptions; @/result is a package",
        ),
        ("show @/result --vm a", "--vm is for descriptions; @/result is a package"),
        ("diff @/result @/result --set mem=1", "--set is for descriptions; @/result is a package"),
        ("image build @/images --set mem=1", "--set is for descriptions; @/images is a directory"),
        ("image verify @/x @/images -o @/y", "option --out is not for image verify"),
        ("measure @/vm.toml --send x", "option --send needs --port"),
    ] {
        let (status, text) = refused(&dir, line);
        let text = text.lines().last().unwrap_or_default().to_owned();
        assert_eq!((status, text.as_str()), (2, said), "{line}");
    }
    // What one side heeds is not refused.
    assert_eq!(refused(&dir, "diff @/result @/vm.toml --set mem=600").0, 1);
    assert_eq!(refused(&dir, "show @/none --set mem=600").0, 4);
}

#[test]
fn values_are_held_to_their_form_and_their_range() {
    for (line, said) in [
        ("gc --keep x", "option --keep: 'x': not a number from 0 to 10000"),
        ("host apply -j x", "option --jobs: 'x': not a number from 1 to 1024"),
        ("host apply -j 0", "option --jobs: '0': not a number from 1 to 1024"),
        (
            "volume grow a b --size 1G",
            "option --size: '1G': not a number of MiB from 1 to 17592186044415",
        ),
        ("check x --deny MV999", "option --deny: 'MV999': no warning has this code"),
        ("check x --deny MV001", "option --deny: 'MV001': no warning has this code"),
        ("check x -W MV105", "option --warn: 'MV105': no warning has this code"),
        ("check x -W x", "option --warn: 'x': not a code such as MV104"),
        ("build x -o ''", "option --out: '': not a path"),
        ("list --root ''", "option --root: '': not a path"),
        ("test-examples --dir ''", "option --dir: '': not a path"),
        ("build ''", "FILE: '': not a path"),
        ("check ''", "FILE: '': not a path"),
        ("show ''", "FILE|NAME: '': not a path"),
        ("build", "argument FILE is missing"),
        ("stop", "argument NAME is missing"),
        ("kernel extract", "argument VMLINUZ is missing"),
        ("kernel extract x", "kernel extract needs --out FILE"),
        ("kernel x y", "kernel has no action 'x'; it has extract"),
        ("image buil x", "image has no action 'buil'; it has build and verify"),
        ("host instal", "host has no action 'instal'; it has install, apply and doctor"),
        ("volume grwo a b", "volume has no action 'grwo'; it has grow"),
        ("buld x", "unknown command 'buld'; did you mean 'build'?"),
        ("list --no-colour", "unknown option '--no-colour'; did you mean '--no-color'?"),
        ("--jsn list", "unknown option '--jsn'; did you mean '--json'?"),
        ("help", "unknown command 'help'; did you mean '--help'?"),
        ("version", "unknown command 'version'; did you mean '--version'?"),
        ("zzzzzzzz", "unknown command 'zzzzzzzz'"),
    ] {
        assert_eq!(refused("/no/such/directory", line), (2, said.to_owned()), "{line}");
    }
    assert_eq!(
        microvm(&[]),
        (2, "failure: a command is missing; microvm --help names them all\n".into())
    );
    for code in ["warnings", "MV104", "MV106"] {
        assert_eq!(microvm(&["check", "/no/such/file", "--deny", code]).0, 4);
    }
}

#[test]
fn the_codes_of_warnings_are_those_of_the_manual() {
    let page = include_str!("../../../man/microvm-diagnostics.7");
    let mut code = "";
    let mut codes = BTreeSet::new();
    for line in page.lines() {
        if let Some(next) = line.strip_prefix(".It Cm MV") {
            code = next;
        } else if line.starts_with("Warning.") || line.starts_with("Error or warning.") {
            codes.insert(format!("MV{code}"));
        }
    }
    assert_eq!(codes, microvm::diag::WARNINGS.iter().map(|&it| it.to_owned()).collect());
}

#[test]
fn what_is_in_the_place_of_a_package_is_a_conflict() {
    let dir = directory("taken").display().to_string();
    fs::write(format!("{dir}/images/x"), "x").expect("a file");
    assert_eq!(refused(&dir, "build @/vm.toml -o @/images").0, 5);
    assert_eq!(refused(&dir, "build @/vm.toml -o @/images --check").0, 5);
    assert_eq!(refused(&dir, "build @/vm.toml -o @/result").0, 0);
    let (status, said) = refused(&dir, "build @/vm.toml -o @/result --set mem=600");
    let text = "@/result holds another package; --force replaces it";
    assert_eq!((status, said.as_str()), (5, text));
}

#[test]
fn completions_offer_directories_and_files_where_they_belong() {
    for (shell, line) in [
        ("bash", "build:--out|build:-o) mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")"),
        ("zsh", "'--root=[what stands for /]:directory:_files -/'"),
        ("fish", "complete -c microvm -n __fish_use_subcommand -f\n"),
        ("fish", "_from build' -s o -l out -x -a '(__fish_complete_directories)'"),
    ] {
        let (status, script) = microvm(&["completions", shell]);
        assert!(status == 0 && script.contains(line), "{shell}: {script}");
        assert!(!script.contains("complete -c microvm -f\n"), "{shell}");
    }
}
