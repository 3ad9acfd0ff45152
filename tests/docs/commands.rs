//! Commands, flags and variables: the lists have all that the program takes, and what blocks type it takes.

use std::collections::BTreeSet;
use std::fs;

use clap::error::ErrorKind;
use clap::{Arg, Command};
use djangobot::reference;
use syn::{Fields, Item};

use crate::blocks;
use crate::code::root_file;
use crate::markdown::{Block, chapter, chapters, codes, name, quoted, root, rows};

/// Programs that blocks may call and that are not ours.
const FOREIGN: [&str; 11] = [
    ".",
    "cd",
    "django-admin",
    "export",
    "install",
    "kill",
    "pip",
    "podman",
    "python",
    "python3",
    "systemctl",
];
/// Variables that are not settings: they stand for any secret of a plugin, and for tests.
const OTHER_VARIABLES: [&str; 3] = [
    "DJANGOBOT_SECRET_NAME",
    "DJANGOBOT_EXAMPLE_REDIS",
    "DJANGOBOT_TEST_REDIS_SERVER",
];
/// Flags of other programs that the text speaks of.
const FOREIGN_FLAGS: [&str; 1] = ["--path"];

/// The commands that people may type, by their words: `["plugin", "add"]`.
fn leaves<'a>(command: &'a Command, path: &[&'a str], found: &mut Vec<(String, &'a Command)>) {
    let visible: Vec<_> = command
        .get_subcommands()
        .filter(|it| !it.is_hide_set() && it.get_name() != "help")
        .collect();
    if visible.is_empty() {
        found.push((path.join(" "), command));
    }
    for inner in visible {
        leaves(inner, &[path, &[inner.get_name()]].concat(), found);
    }
}

fn with_leaves<T>(look: impl FnOnce(&[(String, &Command)]) -> T) -> T {
    let line = reference::command_line();
    let mut found = Vec::new();
    leaves(&line, &[], &mut found);
    look(&found)
}

/// A flag as the chapter writes it: `-t`, `--token TOKEN`.
fn written(flag: &Arg) -> Option<String> {
    let long = flag.get_long().filter(|it| *it != "help")?;
    let short = flag.get_short();
    let short = short.map_or_else(String::new, |short| format!("`-{short}`, "));
    let takes_one = flag.get_action().takes_values();
    let value = takes_one.then(|| flag.get_value_names().unwrap_or_default()[0].as_str());
    let value = value.map_or_else(String::new, |value| format!(" {value}"));
    Some(format!("{short}`--{long}{value}`"))
}

#[test]
fn the_chapter_lists_each_command() {
    let listed = rows(
        &chapter("operating/command-line.md"),
        &["command", "what it does"],
    );
    let listed: BTreeSet<String> = listed
        .iter()
        .map(|row| {
            let typed = row[0].trim_matches('`').replace("[run]", "run");
            let words = typed.split(' ').skip(1);
            let words = words.take_while(|it| it.starts_with(|it: char| it.is_ascii_lowercase()));
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    let there = with_leaves(|leaves| leaves.iter().map(|(path, _)| path.clone()).collect());
    assert_eq!(listed, there);
}

#[test]
fn the_chapter_lists_each_flag_with_the_commands_that_have_it() {
    let chapter = chapter("operating/command-line.md");
    with_leaves(|leaves| {
        let mut listed = BTreeSet::new();
        for row in rows(&chapter, &["flag", "of", "meaning"]) {
            for of in codes(&row[1]) {
                let below = format!("{of} ");
                let named = leaves
                    .iter()
                    .filter(|(path, _)| *path == of || path.starts_with(&below));
                for (path, _) in named {
                    let is_new = listed.insert((row[0].clone(), path.clone()));
                    assert!(is_new, "{} of {path} is listed twice", row[0]);
                }
            }
        }
        let there: BTreeSet<_> = leaves
            .iter()
            .flat_map(|(path, command)| {
                let flags = command.get_arguments().filter_map(written);
                flags.map(|flag| (flag, path.clone())).collect::<Vec<_>>()
            })
            .collect();
        let missing: Vec<_> = there.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&there).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "not listed: {missing:#?}\nnot in the program: {gone:#?}"
        );
    });
}

#[test]
fn the_chapter_says_the_defaults_of_flags() {
    let rows = rows(
        &chapter("operating/command-line.md"),
        &["flag", "of", "meaning"],
    );
    with_leaves(|leaves| {
        for (path, command) in leaves {
            for flag in command.get_arguments() {
                let Some(written) = written(flag).filter(|_| !flag.is_hide_default_value_set())
                else {
                    continue;
                };
                for default in flag.get_default_values() {
                    let default = default.to_str().unwrap();
                    let is_said = rows.iter().any(|row| {
                        row[0] == written
                            && codes(&row[1]).contains(path)
                            && row[2].contains(default)
                    });
                    let is_switch = !flag.get_action().takes_values();
                    assert!(is_switch || is_said, "{written} of {path}: {default}");
                }
            }
        }
    });
}

/// The variable that stands for each flag.
fn variables() -> BTreeSet<(String, String)> {
    with_leaves(|leaves| {
        let flags = leaves.iter().flat_map(|(_, it)| it.get_arguments());
        let variables = flags.filter_map(|flag| {
            let variable = flag.get_env()?.to_str()?;
            Some((format!("--{}", flag.get_long()?), variable.to_owned()))
        });
        variables.collect()
    })
}

#[test]
fn the_chapter_lists_each_variable_with_its_flag() {
    let rows = rows(
        &chapter("operating/configuration.md"),
        &["flag", "environment", "`djangobot.toml`"],
    );
    let listed: BTreeSet<_> = rows
        .iter()
        .filter_map(|row| {
            let flag = codes(&row[0]).into_iter().find(|it| it.starts_with("--"))?;
            Some((flag, codes(&row[1]).pop()?))
        })
        .collect();
    assert_eq!(listed, variables());
}

/// Whether the program reads a variable, or a document may name it all the same.
pub(crate) fn is_variable(name: &str) -> bool {
    OTHER_VARIABLES.contains(&name) || variables().iter().any(|(_, it)| it == name)
}

#[test]
fn each_variable_that_a_chapter_names_is_read() {
    let known: BTreeSet<_> = variables().into_iter().map(|(_, it)| it).collect();
    for document in chapters().into_iter().chain([root().join("README.md")]) {
        let text = fs::read_to_string(&document).unwrap();
        let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        for word in words.filter(|it| it.starts_with("DJANGOBOT_") && *it != "DJANGOBOT_") {
            assert!(
                known.contains(word) || OTHER_VARIABLES.contains(&word),
                "{}: nothing reads {word}",
                name(&document)
            );
        }
    }
}

#[test]
fn each_flag_and_command_that_a_chapter_names_is_there() {
    let (flags, commands) = with_leaves(|leaves| {
        let flags = leaves.iter().flat_map(|(_, it)| it.get_arguments());
        let flags: BTreeSet<String> = flags
            .filter_map(|it| Some(format!("--{}", it.get_long()?)))
            .collect();
        let commands: Vec<String> = leaves.iter().map(|(path, _)| path.clone()).collect();
        (flags, commands)
    });
    for document in chapters().into_iter().chain([root().join("README.md")]) {
        let text = fs::read_to_string(&document).unwrap();
        for (line, span) in quoted(&text) {
            let place = format!("{}:{line}: {span}", name(&document));
            let words: Vec<_> = span.split(' ').collect();
            if words[0].starts_with("--") {
                let is_known = flags.contains(words[0]) || FOREIGN_FLAGS.contains(&words[0]);
                assert!(is_known, "{place}: no command has this flag");
            }
            let is_word = |it: &&&str| {
                it.starts_with(|it: char| it.is_ascii_lowercase()) && !it.contains([':', '.'])
            };
            if words[0] == "djangobot" {
                let path: Vec<_> = words[1..].iter().take_while(is_word).copied().collect();
                let is_known = path.is_empty()
                    || commands.iter().any(|it| {
                        let known: Vec<_> = it.split(' ').collect();
                        known.starts_with(&path) || path.starts_with(&known)
                    });
                assert!(is_known, "{place}: there is no such command");
            }
        }
    }
}

/// That the program takes a command line.
pub(crate) fn check_line(place: &str, arguments: &[String]) {
    let line = ["djangobot".to_owned()].into_iter();
    let read = reference::command_line().try_get_matches_from(line.chain(arguments.to_owned()));
    match read.map_err(|error| (error.kind(), error)) {
        Ok(_) | Err((ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _)) => {}
        Err((_, error)) => panic!("{place}: djangobot {arguments:?}: {error}"),
    }
}

/// The chores of `cargo xtask`, and the flags of each; none where it hands its arguments on.
fn chores() -> Vec<(String, Option<Vec<String>>)> {
    let chore = root_file("host/xtask/src/main.rs")
        .items
        .into_iter()
        .find_map(|item| match item {
            Item::Enum(it) if it.ident == "Chore" => Some(it),
            _ => None,
        });
    let variants = chore.expect("the enum Chore").variants.into_iter();
    let chores = variants.map(|variant| {
        let fields = match &variant.fields {
            Fields::Named(fields) => fields
                .named
                .iter()
                .map(|it| it.ident.as_ref().unwrap().to_string())
                .collect(),
            _ => Vec::new(),
        };
        let hands_on = fields.iter().any(|it| it == "arguments");
        let flags = fields.iter().map(|it| format!("--{it}"));
        (
            variant.ident.to_string().to_lowercase(),
            (!hands_on).then(|| flags.collect()),
        )
    });
    chores.collect()
}

fn check_chore(place: &str, arguments: &[String]) {
    let named = arguments.first().map(String::as_str).unwrap_or_default();
    let chores = chores();
    let found = chores.iter().find(|(name, _)| name == named);
    let Some((_, flags)) = found else {
        panic!("{place}: cargo xtask has no chore {named:?}")
    };
    for flag in arguments.iter().filter(|it| it.starts_with("--")) {
        let is_known = flags.as_ref().is_none_or(|flags| flags.contains(flag));
        assert!(is_known, "{place}: cargo xtask {named} has no flag {flag}");
    }
}

/// The words of a line as a shell reads them; quotes are all that it knows.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match (letter, quote) {
            ('"' | '\'', None) => quote = Some(letter),
            (_, Some(open)) if open == letter => quote = None,
            (' ', None) => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// That one command of a block can be typed.
fn check_command(place: &str, typed: &str) {
    let mut words = words(typed);
    let is_export = words.first().is_some_and(|it| it == "export");
    let from = usize::from(is_export);
    while let Some((variable, _)) = words.get(from).and_then(|it| it.split_once('=')) {
        assert!(
            is_variable(variable),
            "{place}: nothing reads the variable {variable}"
        );
        words.remove(from);
    }
    let Some(program) = words.first().cloned() else {
        return;
    };
    let rest = &words[1..];
    match (program.as_str(), rest.first().map(String::as_str)) {
        ("djangobot", _) => check_line(place, rest),
        ("cargo", Some("run")) => {
            let own = rest.iter().position(|it| it == "--").expect("a --");
            check_line(place, &rest[own + 1..]);
        }
        ("cargo", Some("xtask")) => check_chore(place, &rest[1..]),
        ("cargo", Some("install")) => {
            let path = rest.iter().skip_while(|it| *it != "--path").nth(1);
            assert!(root().join(path.expect("a --path")).is_dir(), "{place}");
        }
        ("cargo", Some("test")) => {}
        ("podman", _) => {
            let file = rest.iter().skip_while(|it| *it != "-f").nth(1);
            assert!(file.is_none_or(|it| root().join(it).is_file()), "{place}");
            let inner = rest.iter().skip_while(|it| *it != "djangobot").skip(1);
            let inner: Vec<String> = inner.cloned().collect();
            if inner.first().is_some_and(|it| it == "run") {
                check_line(place, &inner);
            }
        }
        (program, _) => assert!(
            FOREIGN.contains(&program),
            "{place}: no test knows of the program {program}"
        ),
    }
}

#[test]
fn what_blocks_type_is_taken() {
    let blocks = blocks::of("sh");
    assert!(blocks.len() > 10);
    for Block { place, text, .. } in blocks {
        for line in text.lines() {
            let typed = line.split(" #").next().unwrap_or_default();
            for command in typed.split("&&").filter(|it| !it.starts_with('#')) {
                check_command(&place, command.trim());
            }
        }
    }
}
