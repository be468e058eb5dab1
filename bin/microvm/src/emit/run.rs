// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm-run`: prepares, and becomes the hypervisor.

use super::script::Script;
use crate::config::{Vm, Volume};
use crate::plan::{Piece, Plan, Step, Word};
use crate::quote::{EDITS, shell, shell_word};

/// The script of a machine.
pub(super) fn script(vm: &Vm, plan: &Plan, mut script: Script) -> Script {
    if !vm.pre_start.trim().is_empty() {
        script.body(&vm.pre_start);
    }
    for step in &plan.steps {
        self::step(&mut script, step);
    }
    for (at, volume) in vm.volumes.iter().enumerate() {
        if volume.auto_create && !volume.device {
            create(&mut script, vm, at, volume);
        }
    }
    if let Some(command) = &vm.extra_args_script {
        // On lines of its own: it may end with a comment.
        script.line(format!("extra=$(\n{command}\n)"));
    }
    start(&mut script, vm, plan);
    script
}

fn step(script: &mut Script, step: &Step) {
    match step {
        Step::Remove(path) => match path.strip_suffix('*') {
            Some(start) => script.line(format!("rm -f -- {}*", operand(start))),
            None => script.line(format!("rm -f -- {}", operand(path))),
        },
        Step::Move(from, to) => {
            let (from, to) = (operand(from), operand(to));
            script.line(format!("[ ! -e {from} ] || mv -- {from} {to}"))
        }
        Step::MakeDirectory(path) => script.line(format!("mkdir -p -- {}", operand(path))),
        Step::HomeIsHere => script.line("HOME=$PWD").line("export HOME"),
        Step::Link(name, to) => script.uses_package().line(format!(
            "ln -sfn \"$package\"/{} {}",
            shell(to),
            operand(name)
        )),
    };
}

/// A path as an operand that no tool takes for an option or an expression.
fn operand(path: &str) -> String {
    if path.starts_with(['-', '!', '(']) { shell(&format!("./{path}")) } else { shell(path) }
}

fn create(script: &mut Script, vm: &Vm, at: usize, volume: &Volume) {
    let size = volume.size.unwrap_or_default();
    let fs = shell(&volume.fs_type);
    let label = volume.label.as_ref().map(|label| format!(" --label {}", shell(label)));
    let label = label.unwrap_or_default();
    let name = shell(&vm.host_name);
    let words = [&volume.image].into_iter().chain(&volume.mkfs_extra_args);
    let words = words.map(|word| shell(word)).collect::<Vec<_>>().join(" ");
    script.uses_helper().line(format!(
        "\"$MICROVM\" internal mkvolume --size-mib {size} --fs {fs}{label} \
         --key 'volumes[{at}]' --name {name} -- {words}"
    ));
}

fn start(script: &mut Script, vm: &Vm, plan: &Plan) {
    let launch = &plan.launch;
    let all = launch.with.iter().flatten().chain(&plan.words);
    let pieces = all.flat_map(|word| &word.pieces);
    if pieces.clone().any(|piece| *piece == Piece::Package) {
        script.uses_package();
    }
    if pieces.clone().any(|piece| matches!(piece, Piece::Helper | Piece::HelperInside)) {
        script.uses_helper();
    }
    for (inside, variable, from, edit) in EDITS {
        if pieces.clone().any(|piece| piece == inside) {
            script.line(format!(
                "{variable}=$(printf '%s\\n' \"${from}\" | LC_ALL=C sed {})",
                shell(edit)
            ));
        }
    }
    let program: Vec<Word> =
        vm.wrap_command.iter().chain([&plan.program]).map(Word::text).collect();
    let mut lines = Vec::new();
    if launch.is_plain() && vm.extra_args_script.is_none() {
        lines.push("exec".to_owned());
    } else {
        script.uses_helper();
        lines.push("exec \"$MICROVM\" internal launch".to_owned());
        if let Some(name) = &launch.argv0 {
            lines.push(format!("--argv0 {}", shell(name)));
        }
        for (id, first, count) in &launch.macvtaps {
            lines.push(format!("--macvtap {}", shell(&format!("{id}:{first}:{count}"))));
        }
        for (id, placeholder) in &launch.tap_paths {
            lines.push(format!("--tap-path {}", shell(&format!("{id}={placeholder}"))));
        }
        if launch.pty {
            lines.push("--pty".to_owned());
        }
        for words in &launch.with {
            lines.push(format!("--with {}", shell_word(&in_one(words))));
        }
        for (socket, seconds) in &launch.awaits {
            lines.push(format!("--await {}", shell(&format!("{seconds}:{socket}"))));
        }
        if vm.extra_args_script.is_some() {
            lines.push("--split \"$extra\"".to_owned());
        }
        lines.push("--".to_owned());
    }
    let first = program.iter().map(shell_word).collect::<Vec<_>>().join(" ");
    if let Some(last) = lines.last_mut() {
        last.push(' ');
        last.push_str(&first);
    }
    lines.extend(grouped(&plan.words));
    script.line(lines.join(" \\\n  "));
}

/// Several words as one, separated by line feeds, which no word holds.
fn in_one(words: &[Word]) -> Word {
    let mut pieces: Vec<Piece> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let between = (at > 0).then(|| Piece::Text("\n".to_owned()));
        for piece in between.into_iter().chain(word.pieces.iter().cloned()) {
            match (pieces.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                (_, piece) => pieces.push(piece),
            }
        }
    }
    Word { pieces, ..Word::text("") }
}

/// The words, an option and its values on a line.
fn grouped(words: &[Word]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        let text = shell_word(word);
        match lines.last_mut() {
            Some(line) if !text.starts_with('-') => {
                line.push(' ');
                line.push_str(&text);
            }
            _ => lines.push(text),
        }
    }
    lines
}
