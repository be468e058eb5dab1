// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Completion scripts for bash, zsh and fish, from the tables alone.
//!
//! The scripts are generated, committed and compared: equal tables give equal bytes. Words of the
//! tables are ours, and stay within `[A-Za-z0-9-]` where a shell would care; phrases are quoted.

use super::{Command, Flag, Program};

/// Shells that there are scripts for.
pub const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Values of these names are completed as files.
const FILE: &str = "FILE";
const PATH: &str = "PATH";
/// Values of this name are completed as directories.
const DIR: &str = "DIR";

impl<A> Program<A> {
    /// The completion script for `shell`, one of [`SHELLS`]; `None` for any other.
    #[must_use]
    pub fn completions(&self, shell: &str) -> Option<String> {
        match shell {
            "bash" => Some(self.bash()),
            "zsh" => Some(self.zsh()),
            "fish" => Some(self.fish()),
            _ => None,
        }
    }

    fn bash(&self) -> String {
        let function = format!("_{}", self.name.replace('-', "_"));
        let mut out = format!("# bash completion for {}\n{function}() {{\n", self.name);
        out.push_str("    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n");
        out.push_str("    local command= word words\n    COMPREPLY=()\n");
        // The shell makes three words of `--option=value`.
        out.push_str("    [[ $cur == = ]] && cur=\n");
        out.push_str("    [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD-2]}\n");
        if !self.commands.is_empty() {
            let names: Vec<&str> = self.commands.iter().map(|c| c.name).collect();
            out.push_str("    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n");
            out.push_str(&format!(
                "        case $word in {}) command=$word; break ;; esac\n    done\n",
                names.join("|")
            ));
        }
        out.push_str("    case $command:$prev in\n");
        for (scope, flag) in self.scoped().filter(|(_, flag)| flag.value.is_some()) {
            let scope = scope.unwrap_or("*");
            let mut patterns = format!("{scope}:--{}", flag.long);
            if let Some(letter) = flag.short {
                patterns.push_str(&format!("|{scope}:-{letter}"));
            }
            let reply = match (flag.choices, flag.value) {
                ([], Some(FILE | PATH)) => "compgen -f -- \"$cur\"".to_owned(),
                ([], Some(DIR)) => "compgen -d -- \"$cur\"".to_owned(),
                ([], _) => ":".to_owned(),
                (choices, _) => format!("compgen -W \"{}\" -- \"$cur\"", choices.join(" ")),
            };
            out.push_str(&format!(
                "        {patterns}) mapfile -t COMPREPLY < <({reply}); return ;;\n"
            ));
        }
        out.push_str("    esac\n    case $command in\n");
        for command in self.commands {
            let words = dashed(command.flags.iter().chain(self.flags));
            out.push_str(&format!("        {}) words=\"{words}\" ;;\n", command.name));
        }
        let names: Vec<&str> = self.commands.iter().map(|c| c.name).collect();
        let words = [names.join(" "), dashed(self.flags.iter())].join(" ");
        out.push_str(&format!("        *) words=\"{}\" ;;\n    esac\n", words.trim_start()));
        out.push_str("    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}\n");
        out.push_str(&format!("complete -o default -F {function} {}\n", self.name));
        out
    }

    fn zsh(&self) -> String {
        let mut out = format!("#compdef {}\n# zsh completion for {}\n", self.name, self.name);
        let base: Vec<String> =
            self.flags.iter().flat_map(zsh_flag).chain(zsh_built_in()).collect();
        if self.commands.is_empty() {
            out.push_str(&zsh_arguments("", &base, &["'*:file:_files'"]));
            return out;
        }
        out.push_str("local curcontext=$curcontext state line\ntypeset -A opt_args\n");
        out.push_str(&zsh_arguments("-C ", &base, &["'1:command:->command'", "'*::arg:->args'"]));
        out.push_str("case $state in\ncommand)\n    local -a commands=(\n");
        for command in self.commands {
            let text = format!("{}:{}", command.name, command.summary);
            out.push_str(&format!("        {}\n", quoted(&text)));
        }
        out.push_str("    )\n    _describe command commands ;;\nargs)\n    case $line[1] in\n");
        for command in self.commands {
            let own: Vec<String> =
                command.flags.iter().flat_map(zsh_flag).chain(base.iter().cloned()).collect();
            let rest: &[&str] =
                if command.positionals.is_empty() { &[] } else { &["'*:argument:_default'"] };
            out.push_str(&format!("    {})\n", command.name));
            out.push_str(&zsh_arguments("", &own, rest));
            out.push_str("    ;;\n");
        }
        out.push_str("    esac ;;\nesac\n");
        out
    }

    fn fish(&self) -> String {
        let mut out = format!("# fish completion for {}\n", self.name);
        let line = |out: &mut String, rest: &str| {
            out.push_str(&format!("complete -c {}{rest}\n", self.name));
        };
        if !self.commands.is_empty() {
            // Behind a command there may be files.
            line(&mut out, " -n __fish_use_subcommand -f");
        }
        for Command { name, summary, .. } in self.commands {
            let text = fish_quoted(summary);
            line(&mut out, &format!(" -n __fish_use_subcommand -a {name} -d {text}"));
        }
        for (scope, flag) in self.scoped() {
            let mut rest = String::new();
            if let Some(scope) = scope {
                rest.push_str(&format!(" -n '__fish_seen_subcommand_from {scope}'"));
            }
            if let Some(letter) = flag.short {
                rest.push_str(&format!(" -s {letter}"));
            }
            rest.push_str(&format!(" -l {}", flag.long));
            match (flag.choices, flag.value) {
                (_, None) => {}
                ([], Some(FILE | PATH)) => rest.push_str(" -r -F"),
                ([], Some(DIR)) => rest.push_str(" -x -a '(__fish_complete_directories)'"),
                ([], Some(_)) => rest.push_str(" -x"),
                (choices, Some(_)) => rest.push_str(&format!(" -x -a '{}'", choices.join(" "))),
            }
            rest.push_str(&format!(" -d {}", fish_quoted(flag.help)));
            line(&mut out, &rest);
        }
        line(&mut out, " -s h -l help -d 'print help and exit'");
        line(&mut out, " -s v -l version -d 'print the version and exit'");
        out
    }

    /// Every flag with the command it belongs to, the commands' first.
    fn scoped(&self) -> impl Iterator<Item = (Option<&'static str>, &'static Flag<A>)> {
        let own = self.commands.iter().flat_map(|c| c.flags.iter().map(|f| (Some(c.name), f)));
        own.chain(self.flags.iter().map(|flag| (None, flag)))
    }
}

fn dashed<A: 'static>(flags: impl Iterator<Item = &'static Flag<A>>) -> String {
    let mut words: Vec<String> = flags.map(|flag| format!("--{}", flag.long)).collect();
    words.extend(["--help".to_owned(), "--version".to_owned()]);
    words.join(" ")
}

fn zsh_flag<A>(flag: &Flag<A>) -> Vec<String> {
    let help = flag.help.replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
    let value = match (flag.choices, flag.value) {
        (_, None) => String::new(),
        ([], Some(FILE | PATH)) => ":file:_files".to_owned(),
        ([], Some(DIR)) => ":directory:_files -/".to_owned(),
        ([], Some(name)) => format!(":{name}: "),
        (choices, Some(name)) => format!(":{name}:({})", choices.join(" ")),
    };
    let assign = if flag.value.is_some() { "=" } else { "" };
    let mut out = vec![quoted(&format!("--{}{assign}[{help}]{value}", flag.long))];
    if let Some(letter) = flag.short {
        let plus = if flag.value.is_some() { "+" } else { "" };
        out.push(quoted(&format!("-{letter}{plus}[{help}]{value}")));
    }
    out
}

fn zsh_built_in() -> [String; 2] {
    // Braces outside the quotes: the shell makes two specifications of each.
    let both = |short, long, text| format!("{{-{short},--{long}}}'[{text}]'");
    [both('h', "help", "print help and exit"), both('v', "version", "print the version and exit")]
}

fn zsh_arguments(options: &str, flags: &[String], rest: &[&str]) -> String {
    let mut out = format!("_arguments {options}-s -S");
    for spec in flags.iter().map(String::as_str).chain(rest.iter().copied()) {
        out.push_str(" \\\n    ");
        out.push_str(spec);
    }
    out.push('\n');
    out
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn fish_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
