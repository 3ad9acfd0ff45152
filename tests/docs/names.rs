//! Paths, types and functions that the documents name.

use std::fs;
use std::path::PathBuf;

use crate::code::Definitions;
use crate::markdown::{documents, name, quoted, root};

/// Where names of files in ARCHITECTURE.md begin, unless they begin at the top.
const BASES: [&str; 12] = [
    "",
    "host",
    "host/djangobot",
    "host/djangobot/src",
    "host/channels/src",
    "host/channels/src/embedded",
    "host/channels/src/redis",
    "host/channels/src/tls",
    "host/plugins/src",
    "host/slack/src",
    "host/local-slack/src",
    "host/event/src",
];
/// The sources whose names the documents may use.
const SOURCES: [&str; 9] = [
    "host/djangobot/src",
    "host/plugins/src",
    "host/slack/src",
    "host/channels/src",
    "host/event/src",
    "host/local-slack/src",
    "plugin-sdk/rust",
    "host/xtask/src",
    "tests",
];
/// Files of a user's project.
const USERS_FILES: [&str; 3] = ["djangobot.toml", "djangobot.lock", "plugin.toml"];
/// Names in capitals-and-lower-case that are not ours: Rust's and Slack's words.
const FOREIGN: [&str; 4] = ["Debug", "Origin", "Host", "Retry"];

fn is_identifier(text: &str) -> bool {
    let mut letters = text.chars();
    letters
        .next()
        .is_some_and(|it| it.is_ascii_alphabetic() || it == '_')
        && letters.all(|it| it.is_ascii_alphanumeric() || it == '_')
}

/// A type's name has small letters behind its first capital: `Event`, and neither `POST` nor `event`.
fn is_type(text: &str) -> bool {
    is_identifier(text)
        && text.starts_with(|it: char| it.is_ascii_uppercase())
        && text.contains(|it: char| it.is_ascii_lowercase())
}

fn is_file_name(text: &str) -> bool {
    let is_plain = text
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || "._-/".contains(it));
    let (_, extension) = text.rsplit_once('.').unwrap_or_default();
    is_plain && ["rs", "md", "toml", "tsv", "txt", "lua", "wit", "py"].contains(&extension)
}

/// Whether a file or folder of that name is there, below one of `bases`.
fn exists(name: &str, bases: &[PathBuf]) -> bool {
    bases.iter().any(|base| base.join(name).exists())
}

/// The fault of a span of ARCHITECTURE.md, if it has one.
fn fault(span: &str, code: &Definitions, bases: &[PathBuf]) -> Option<String> {
    let span = span.trim_end_matches("()");
    if USERS_FILES.contains(&span) {
        return None;
    }
    if is_file_name(span) || (span.contains('/') && exists_as_folder(span)) {
        return (!exists(span, bases)).then(|| format!("there is no file {span}"));
    }
    if let Some((of, member)) = span.rsplit_once("::") {
        if let Some(list) = member.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
            let missing = list
                .split(',')
                .map(str::trim)
                .find(|it| !code.has_free(it) && !code.has_type(it));
            return missing.map(|it| format!("{of} has no {it}"));
        }
        let of = of.rsplit("::").next().unwrap_or(of);
        if !is_identifier(of) || !is_identifier(member) {
            return None;
        }
        let is_there = match is_type(of) {
            true => code.has_member(of, member),
            false => code.has_free(member) || code.has_type(member),
        };
        return (!is_there).then(|| format!("there is no {of}::{member}"));
    }
    let is_ours = is_type(span) && !FOREIGN.contains(&span);
    (is_ours && !code.has_type(span)).then(|| format!("there is no type {span}"))
}

/// Whether a text with slashes means a folder of ours: its first part is one.
fn exists_as_folder(span: &str) -> bool {
    let first = span.split('/').next().unwrap_or_default();
    let is_plain = span
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || "._-/".contains(it));
    is_plain
        && [
            "host",
            "tests",
            "plugins",
            "plugin-sdk",
            "wit",
            "docs",
            "bridge",
        ]
        .contains(&first)
}

#[test]
fn all_that_the_map_names_is_in_the_code() {
    let code = Definitions::of(&SOURCES);
    let bases: Vec<_> = BASES.iter().map(|base| root().join(base)).collect();
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let faults: Vec<_> = quoted(&text)
        .into_iter()
        .filter_map(|(line, span)| Some(format!("line {line}: {}", fault(&span, &code, &bases)?)))
        .collect();
    assert!(
        faults.is_empty(),
        "ARCHITECTURE.md names what is not there:\n{}",
        faults.join("\n")
    );
}

#[test]
fn files_that_documents_name_are_there() {
    // ARCHITECTURE.md leaves the folder of the crate away, and two crates have a folder "plugins".
    let bases: Vec<_> = BASES.iter().map(|base| root().join(base)).collect();
    let mut faults = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (line, span) in quoted(&text) {
            if exists_as_folder(&span) && !bases.iter().any(|base| base.join(&span).exists()) {
                faults.push(format!("{}:{line}: {span}", name(&document)));
            }
        }
    }
    assert!(faults.is_empty(), "these are gone:\n{}", faults.join("\n"));
}

#[test]
fn a_name_that_is_gone_is_found() {
    let code = Definitions::of(&SOURCES);
    let bases = [root()];
    for gone in [
        "Outbound::work",
        "host/nowhere.rs",
        "NoSuchType",
        "djangobot_slack::{rtm, no_such_module}",
    ] {
        assert!(fault(gone, &code, &bases).is_some(), "{gone}");
    }
    for there in [
        "Outbound::advance",
        "host/djangobot/src/bridge.rs",
        "Ledger",
        "POST /control/say",
        "slack.send",
    ] {
        assert_eq!(fault(there, &code, &bases), None, "{there}");
    }
}
