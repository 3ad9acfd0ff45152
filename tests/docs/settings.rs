//! The config file and the manifest: blocks are read by the real parsers, and the lists have all keys.

use std::collections::BTreeSet;

use djangobot::reference;
use djangobot_plugins::manifest::{Manifest, RequestedLimits};
use djangobot_plugins::{Limits, LimitsConfig, PluginConfig};
use serde::Deserialize;

use crate::blocks;
use crate::markdown::{Block, blocks as blocks_of, chapter, codes, rows};

#[test]
fn each_toml_block_is_read_by_the_parser_of_its_file() {
    let (mut configs, mut manifests) = (0, 0);
    for block in blocks::of("toml") {
        let Block { place, text, .. } = &block;
        let read = match block.file() {
            None | Some("djangobot.toml") => {
                configs += 1;
                reference::config(text)
            }
            Some("plugin.toml") => {
                manifests += 1;
                let read = Manifest::parse(text);
                read.map(drop).map_err(|error| error.to_string())
            }
            Some(other) => Err(format!("no test reads {other}")),
        };
        if let Err(error) = read {
            panic!("{place}: {error}");
        }
    }
    assert!(configs > 3 && manifests > 0);
}

/// The reference of the config file.
fn reference_block() -> Block {
    let blocks = blocks_of(&chapter("operating/configuration.md"));
    let mut whole = blocks
        .into_iter()
        .filter(|it| it.text.starts_with("# djangobot.toml: every key"));
    whole.next().expect("the reference")
}

/// Each `# key = value` stands for a key without a default; each is read alone, since some exclude each other.
#[test]
fn what_stands_behind_a_hash_in_the_reference_is_read() {
    let mut section = String::new();
    let mut count = 0;
    for line in reference_block().text.lines() {
        if line.starts_with('[') {
            section = line.to_owned();
        }
        let example = line.strip_prefix("# ").filter(|it| it.contains(" = "));
        if let Some(example) = example {
            let read = reference::config(&format!("{section}\n{example}\n"));
            assert_eq!(read, Ok(()), "{section} {example}");
            count += 1;
        }
    }
    assert!(count > 15, "{count}");
}

/// The keys that a section takes, as the parser lists them where it meets another one.
fn keys(section: &str) -> BTreeSet<String> {
    let needed = match section.starts_with("[[plugin]]") {
        true => "[[plugin]]\nname = \"a\"\nsource = \"shipped:redact\"\n",
        false => "",
    };
    let section = section.trim_start_matches("[[plugin]]");
    let error = reference::config(&format!("{needed}{section}\nno-such-key = 1\n")).unwrap_err();
    let keys = error.split('`').skip(1).step_by(2).skip(1);
    let keys: BTreeSet<String> = keys
        .map(str::to_owned)
        .filter(|it| it != "no-such-key")
        .collect();
    assert!(keys.len() > 1, "{section}: {error}");
    keys
}

/// The keys that a block has in a section, those behind a hash too.
fn written(text: &str, section: &str) -> BTreeSet<String> {
    let mut is_within = section.is_empty();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('[') {
            let head = line.split(" #").next().unwrap_or_default();
            is_within = head.trim() == section;
            continue;
        }
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some((key, _)) = line.split_once(" = ")
            && is_within
            && !key.contains([' ', '"'])
        {
            keys.insert(key.to_owned());
        }
    }
    keys
}

#[test]
fn the_reference_has_each_key_of_each_section_and_no_other() {
    // Tables, which have headings of their own.
    let tables = |keys: BTreeSet<String>| -> BTreeSet<String> {
        let tables = ["slack", "layer", "plugins", "plugin", "history", "unread"];
        let keys = keys.into_iter();
        keys.filter(|key| !tables.contains(&key.as_str())).collect()
    };
    let text = reference_block().text;
    for section in ["", "[slack]", "[slack.history]", "[layer]", "[plugins]"] {
        assert_eq!(written(&text, section), tables(keys(section)), "{section}");
    }
    let text = &plugin_block();
    let mut of_plugin = keys("[[plugin]]");
    of_plugin.retain(|key| !["limits", "config"].contains(&key.as_str()));
    assert_eq!(written(text, "[[plugin]]"), of_plugin);
    assert_eq!(
        written(text, "[plugin.limits]"),
        keys("[[plugin]][plugin.limits]")
    );
    assert_eq!(written(text, "[plugins]"), keys("[plugins]"));
}

/// The reference of `[[plugin]]`.
fn plugin_block() -> String {
    let using = blocks_of(&chapter("plugins/using.md"));
    let block = using.into_iter().find(|it| it.text.contains("[[plugin]]"));
    block.expect("a [[plugin]]").text
}

#[test]
fn the_reference_of_plugins_says_the_defaults() {
    #[derive(Deserialize)]
    struct File {
        plugin: Vec<PluginConfig>,
    }
    let file: File = toml::from_str(&plugin_block()).unwrap();
    let written = &file.plugin[0];
    let default = PluginConfig::new(&written.name, &written.source);
    let limits = |config: &LimitsConfig| Limits::of(config, &RequestedLimits::default(), false);
    assert_eq!(limits(&written.limits), limits(&default.limits));
    assert_eq!(written.on_error, default.on_error);
    assert_eq!(written.enabled, default.enabled);
    assert_eq!(written.grants, default.grants);
}

#[test]
fn keys_that_flags_stand_for_are_there() {
    let rows = rows(
        &chapter("operating/configuration.md"),
        &["flag", "environment", "`djangobot.toml`"],
    );
    for row in rows {
        for named in codes(&row[2]) {
            let (section, key) = match named.split_once("] ") {
                Some((section, key)) => (format!("{section}]"), key),
                None => (String::new(), named.as_str()),
            };
            let is_place = key.chars().all(|it| it.is_ascii_uppercase());
            assert!(is_place || keys(&section).contains(key), "{named}");
        }
    }
}
