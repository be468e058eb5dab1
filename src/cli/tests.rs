// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the tables' three readers: parser, help, completions.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Default, PartialEq)]
struct Args {
    config: Option<OsString>,
    syslog: u32,
    system: bool,
    detailed: bool,
    output: String,
    words: Vec<String>,
}

fn output(args: &mut Args, value: OsString) -> Result<(), String> {
    args.output = value.into_string().unwrap_or_default();
    match args.output.as_str() {
        "json" | "table" => Ok(()),
        _ => Err("not one of json, table".to_owned()),
    }
}

fn word(args: &mut Args, value: OsString) -> Result<(), String> {
    args.words.push(value.into_string().map_err(|_| "not UTF-8")?);
    Ok(())
}

static DAEMON: Program<Args> = Program {
    name: "stafd",
    summary: "find storage on the network",
    flags: &[
        Flag::<Args>::option(Some('f'), "conf-file", "FILE", "read FILE instead", |args, value| {
            args.config = Some(value);
            Ok(())
        })
        .default("/etc/stas/stafd.conf"),
        Flag::switch(Some('s'), "syslog", "log to the journal or to syslog", |args, _| {
            args.syslog += 1;
            Ok(())
        }),
        Flag::switch(None, "system", "use the system's things", |args, _| {
            args.system = true;
            Ok(())
        }),
    ],
    positionals: &[],
    commands: &[],
};

static TOOL: Program<Args> = Program {
    name: "stafctl",
    summary: "ask the finder",
    flags: &[Flag::<Args>::option(Some('o'), "output", "FORMAT", "print in this FORMAT", output)
        .default("json")
        .env("STAS_OUTPUT")
        .choices(&["json", "table"])],
    positionals: &[],
    commands: &[
        Command {
            name: "ls",
            summary: "list the controllers",
            flags: &[Flag::switch(Some('d'), "detailed", "say more", |args, _| {
                args.detailed = true;
                Ok(())
            })],
            positionals: &[],
        },
        Command {
            name: "set",
            summary: "set a value",
            flags: &[],
            positionals: &[
                Positional { name: "NAME", help: "what to set", arity: Arity::Required, set: word },
                Positional { name: "VALUE", help: "what to", arity: Arity::Many, set: word },
            ],
        },
    ],
};

fn parse_in(
    program: &Program<Args>,
    words: &[&str],
    env: &[(&str, &str)],
) -> Result<Outcome<Args>, String> {
    let lookup = |name: &str| {
        env.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    };
    program.parse(words.iter().map(OsString::from), lookup).map_err(|error| error.to_string())
}

fn parse(program: &Program<Args>, words: &[&str]) -> Result<Outcome<Args>, String> {
    parse_in(program, words, &[])
}

fn args(program: &Program<Args>, words: &[&str]) -> Args {
    match parse(program, words) {
        Ok(Outcome::Run { args, .. }) => args,
        other => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn every_spelling_of_an_option_with_a_value_is_understood() {
    let file = Some(OsString::from("x.conf"));
    for words in [
        &["--conf-file", "x.conf"][..],
        &["--conf-file=x.conf"],
        &["--conf=x.conf"],
        &["--c", "x.conf"],
        &["-f", "x.conf"],
        &["-fx.conf"],
        &["-f=x.conf"],
    ] {
        assert_eq!(args(&DAEMON, words), Args { config: file.clone(), ..Args::default() });
    }
    let joined = args(&DAEMON, &["-ssf", "x.conf", "-s"]);
    assert_eq!(joined, Args { config: file, syslog: 3, ..Args::default() });
}

#[test]
fn values_need_not_be_unicode_and_may_begin_with_a_dash() {
    let raw = OsString::from_vec(vec![b'/', 0xff]);
    let parsed = DAEMON.parse([OsString::from("-f"), raw.clone()], |_| None);
    let Ok(Outcome::Run { args: got, .. }) = parsed else { panic!("{parsed:?}") };
    assert_eq!(got.config, Some(raw));
    assert_eq!(args(&DAEMON, &["-f", "--syslog"]).config, Some("--syslog".into()));
}

#[test]
fn abbreviations_must_be_unique_and_exact_names_win() {
    assert!(args(&DAEMON, &["--syst"]).system);
    assert_eq!(
        parse(&DAEMON, &["--sys"]),
        Err("ambiguous option '--sys': --syslog, --system".to_owned())
    );
    assert_eq!(args(&DAEMON, &["--syslog"]).syslog, 1);
    assert_eq!(parse(&DAEMON, &["--vers"]), Ok(Outcome::Version));
    assert_eq!(parse(&DAEMON, &["--completion", "bash"]), unknown("--completion"));
}

fn unknown(option: &str) -> Result<Outcome<Args>, String> {
    Err(format!("unknown option '{option}'"))
}

#[test]
fn faults_name_the_word() {
    for (words, text) in [
        (&["--frob"][..], "unknown option '--frob'"),
        (&["-sx"], "unknown option '-x'"),
        (&["--syslog=yes"], "option '--syslog' takes no value, but was given 'yes'"),
        (&["--conf-file"], "option '--conf-file' needs a value"),
        (&["-sf"], "option '-f' needs a value"),
        (&["stray"], "unexpected argument 'stray'"),
        (&["--", "-s"], "unexpected argument '-s'"),
        (&["-"], "unexpected argument '-'"),
        (&["a\nb"], "unexpected argument 'a\\nb'"),
        (&["--completions=tcsh"], "no completions for 'tcsh'"),
    ] {
        assert_eq!(parse(&DAEMON, words), Err(text.to_owned()));
    }
    for (words, text) in [
        (&["frob"][..], "unknown command 'frob'"),
        (&["--detailed", "ls"], "unknown option '--detailed'"),
        (&["set"], "argument NAME is missing"),
        (&["-o", "xml", "ls"], "option --output: 'xml': not one of json, table"),
    ] {
        assert_eq!(parse(&TOOL, words), Err(text.to_owned()));
    }
}

#[test]
fn commands_take_their_own_and_the_programs_options() {
    let parsed = parse(&TOOL, &["--output=table", "ls", "-d"]);
    let expected = Args { detailed: true, output: "table".into(), ..Args::default() };
    assert_eq!(parsed, Ok(Outcome::Run { command: Some("ls"), args: expected }));
    assert_eq!(args(&TOOL, &["ls", "-o", "table"]).output, "table");
    assert_eq!(args(&TOOL, &["set", "a", "--", "-b", "c"]).words, ["a", "-b", "c"]);
    assert_eq!(parse(&TOOL, &[]), Ok(Outcome::Run { command: None, args: Args::default() }));
}

#[test]
fn a_variable_stands_in_for_an_absent_option() {
    let env = [("STAS_OUTPUT", "table")];
    for (words, output) in [(&["ls"][..], "table"), (&["ls", "-o", "json"], "json")] {
        let Ok(Outcome::Run { args, .. }) = parse_in(&TOOL, words, &env) else {
            panic!("{words:?}")
        };
        assert_eq!(args.output, output);
    }
    assert_eq!(
        parse_in(&TOOL, &["ls"], &[("STAS_OUTPUT", "xml")]),
        Err("variable STAS_OUTPUT: 'xml': not one of json, table".to_owned())
    );
    assert!(parse_in(&TOOL, &["ls"], &[("STAS_OUTPUT", "")]).is_ok());
}

#[test]
fn help_comes_from_the_table() {
    let help = DAEMON.help(None);
    assert_eq!(parse(&DAEMON, &["-sh", "--frob"]), Ok(Outcome::Help(help.clone())));
    assert_eq!(
        help,
        "Usage: stafd [OPTION]...\n\
         \n\
         Find storage on the network.\n\
         \n\
         Options:\n\
         \x20 -f, --conf-file FILE    read FILE instead (default: /etc/stas/stafd.conf)\n\
         \x20 -s, --syslog            log to the journal or to syslog\n\
         \x20     --system            use the system's things\n\
         \x20 -h, --help              print this help and exit\n\
         \x20 -v, --version           print the version and exit\n"
    );
    let Ok(Outcome::Help(tool)) = parse(&TOOL, &["--help"]) else { panic!("no help") };
    assert!(tool.starts_with("Usage: stafctl [OPTION]... COMMAND ...\n\nAsk the finder.\n"));
    assert!(tool.contains("\nCommands:\n  ls                      list the controllers\n"));
    let Ok(Outcome::Help(set)) = parse(&TOOL, &["set", "-h"]) else { panic!("no help") };
    assert!(set.starts_with("Usage: stafctl set [OPTION]... NAME [VALUE]...\n"), "{set}");
    assert!(set.contains("[$STAS_OUTPUT]"));
    assert!(tool.lines().chain(set.lines()).all(|line| line.chars().count() <= 80));
}

#[test]
fn completion_scripts_name_every_option_and_command() {
    for shell in SHELLS {
        let Ok(Outcome::Completions(script)) = parse(&TOOL, &["--completions", shell]) else {
            panic!("no script for {shell}")
        };
        for word in ["ls", "set", "output", "detailed", "json table", "help", "version"] {
            assert!(script.contains(word), "{shell} script lacks {word}:\n{script}");
        }
        assert!(!script.contains("completions"), "the option is hidden");
        assert_eq!(Some(script), TOOL.completions(shell));
    }
}

#[test]
fn the_bash_script_completes() {
    // Runs the shell itself where it is installed: quoting mistakes show nowhere else.
    for (program, line, expected) in [
        (&TOOL, "stafctl l", "ls"),
        (&TOOL, "stafctl ls --d", "--detailed"),
        (&TOOL, "stafctl --output t", "table"),
        (&TOOL, "stafctl --output = t", "table"),
        (&TOOL, "stafctl --output =", "json table"),
        (&DAEMON, "stafd --sysl", "--syslog"),
    ] {
        let script = program.completions("bash").expect("bash is known");
        let words: Vec<&str> = line.split(' ').collect();
        let test = format!(
            "{script}\nCOMP_WORDS=({line}); COMP_CWORD={}; _{}; echo \"${{COMPREPLY[@]}}\"",
            words.len() - 1,
            program.name
        );
        match std::process::Command::new("bash").args(["--norc", "-c", &test]).output() {
            Ok(output) => {
                assert_eq!(String::from_utf8_lossy(&output.stderr), "");
                assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{line}");
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        }
    }
}

proptest! {
    #[test]
    fn any_words_give_an_answer_of_one_line(
        words in prop::collection::vec("(-{0,2}[a-z=é\\n]{0,8}|--|ls|set|-o|\\PC{0,4})", 0..6),
    ) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        for program in [&DAEMON, &TOOL] {
            if let Err(text) = parse(program, &words) {
                prop_assert_eq!(text.lines().count(), 1, "{}", text);
            }
        }
    }

    #[test]
    fn bytes_of_no_encoding_are_handled(words in prop::collection::vec(any::<Vec<u8>>(), 0..4)) {
        let words: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
        for program in [&DAEMON, &TOOL] {
            if let Err(error) = program.parse(words.clone(), |_| None) {
                prop_assert_eq!(error.to_string().lines().count(), 1);
            }
        }
    }

    #[test]
    fn every_spelling_of_a_value_means_the_same(value in "\\PC{0,20}") {
        let long = format!("--conf-file={value}");
        let expected = args(&DAEMON, &["-f", &value]);
        prop_assert_eq!(&args(&DAEMON, &[&long]), &expected);
        prop_assert_eq!(&args(&DAEMON, &["--conf", &value]), &expected);
        prop_assert_eq!(expected.config, Some(value.into()));
    }
}
