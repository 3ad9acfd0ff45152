//! The unit of systemd and the file of the container image: what they name is there, and the program takes what they say.

use std::collections::BTreeSet;
use std::fs;

use crate::blocks;
use crate::commands::{check_line, is_variable};
use crate::markdown::{name, root};

/// The instructions of a container file that ours may use.
const INSTRUCTIONS: [&str; 11] = [
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "RUN",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_files_are_in_the_chapter_whole() {
    for (language, file) in [
        ("ini", "docs/deploy/djangobot.service"),
        ("dockerfile", "docs/deploy/Containerfile"),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let blocks = blocks::of(language);
        assert_eq!(blocks.len(), 1, "{language}");
        assert_eq!(blocks[0].text.trim(), text.trim());
    }
}

#[test]
fn the_unit_starts_the_program_as_it_can_be_started() {
    let path = root().join("docs/deploy/djangobot.service");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().filter_map(|it| it.split_once('=')).collect();
    let of = |key: &str| -> Vec<&str> {
        let lines = lines.iter().filter(|(it, _)| *it == key);
        lines.map(|(_, value)| *value).collect()
    };
    let start = words(of("ExecStart")[0]);
    check_line(&name(&path), &start[1..]);
    let credentials: BTreeSet<_> = of("LoadCredential")
        .iter()
        .map(|it| it.split(':').next().unwrap())
        .collect();
    let mut used = BTreeSet::new();
    for variable in of("Environment") {
        let (variable, value) = variable.split_once('=').unwrap();
        assert!(is_variable(variable), "{variable}");
        used.extend(value.strip_prefix("%d/"));
    }
    assert_eq!(used, credentials);
    // A call that is under way has 35 seconds, and then layer and disk have 10.
    let stop: u32 = of("TimeoutStopSec")[0].parse().unwrap();
    assert!(stop > 45, "{stop}");
    // Plugins are machine code that was made a moment ago.
    assert!(of("MemoryDenyWriteExecute").is_empty());
}

#[test]
fn the_image_is_built_from_what_is_there() {
    let path = root().join("docs/deploy/Containerfile");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("\\\n", " ");
    let lines = text
        .lines()
        .filter(|it| !it.is_empty() && !it.starts_with('#'));
    let mut command = Vec::new();
    for line in lines {
        let (instruction, rest) = line.split_once(' ').unwrap();
        assert!(INSTRUCTIONS.contains(&instruction), "{line}");
        match instruction {
            "COPY" if !rest.starts_with("--from") => {
                let mut sources = words(rest);
                sources.pop();
                for source in sources {
                    assert!(root().join(&source).exists(), "{line}");
                }
            }
            "ENV" => {
                let (variable, _) = rest.split_once('=').unwrap();
                assert!(is_variable(variable), "{line}");
            }
            "ENTRYPOINT" | "CMD" => {
                let words: Vec<String> = serde_json::from_str(rest).unwrap();
                command.extend(words);
            }
            "FROM" if rest.contains("/rust:") => {
                let needed = fs::read_to_string(root().join("Cargo.toml")).unwrap();
                let version = rest.split(['/', ':', '-']).find(|it| it.starts_with("1."));
                let version = format!("rust-version = {:?}", version.unwrap());
                assert!(needed.contains(&version), "{line}: {version}");
            }
            _ => {}
        }
    }
    check_line(&name(&path), &command[1..]);
    // All members of the workspace are in the image, or cargo refuses to build one of them.
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = workspace.split("members = [").nth(1).unwrap();
    let members = members.split(']').next().unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        let top = member.split('/').next().unwrap();
        assert!(text.contains(&format!("COPY {top} {top}")), "{member}");
    }
}
