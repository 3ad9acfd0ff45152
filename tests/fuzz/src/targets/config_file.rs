//! Edits of `djangobot.toml`: the plugin that is meant changes and nothing else, whatever the file looks like.
//!
//! An input is the text of the file.

use std::path::Path;

use djangobot_plugins::install::config_file::{ConfigFile, ConfigFileError};
use djangobot_plugins::schema;
use toml::{Table, Value};

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "config_file",
    check,
    seeds,
    words: &[
        "[[plugin]]\n",
        "name = \"a\"\n",
        "source = \"file:a\"\n",
        "enabled = false\n",
        "grants = [\"store\"]\n",
        "[plugin.config]\n",
        "[plugin.config.x]\n",
        "# c\n",
        "\n\n",
        "[slack]\n",
        "plugin = []\n",
        "'''",
        "a.b.c = 1\n",
    ],
    longest: 768,
};

/// A change of a config file.
type Edit<'a> = &'a dyn Fn(&mut ConfigFile) -> Result<(), ConfigFileError>;

const FILE: &str = r#"# The bot of the office.
listen = "127.0.0.1:9000"   # for the probe

[slack]
token = "xoxb-1"

# Names first.
[[plugin]]
name = "names"     # ours
source = "file:names.wasm"
grants = ["store"] # the cache

[plugin.config]
style = "display-name"

# Then all that is secret.

# It must not leave the house.
[[plugin]]
name = "redact"
source = "file:redact.wasm"
enabled = false # until it is tested

[layer]
target = "redis://127.0.0.1"
# the end
"#;

fn seeds() -> Vec<Vec<u8>> {
    pieces::texts([
        FILE,
        "",
        "# mine",
        "[[plugin]]\nname = \"a\"\nsource = \"file:a\"\n[plugin.config]\nx = [1, { y = 2 }]\n[plugin.config.z]\nw = 1.5\n",
        "log = \"info\"\n[[plugin]]\nname = \"a\"\n[[plugin]]\nname = \"a\"\n[a.b]\n[[plugin]]\nenabled = 5\n",
        "plugin = [{ name = \"a\" }]\n",
    ])
}

fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    // The byte order mark of some editors is not a part of the text, and goes.
    let text = text.trim_start_matches('\u{feff}');
    let file = match proportion::bounded_by(1 << 20, || open(text)) {
        Ok(file) => file,
        Err(ConfigFileError::Unreadable { line, .. }) => {
            assert!(
                (1..=text.matches('\n').count() + 1).contains(&line),
                "line {line}"
            );
            return;
        }
        Err(_) => return,
    };
    // But for space within the brackets of tables, and a line break at the end.
    let written = file.text();
    assert!(
        letters(&written).eq(letters(text)),
        "a file that was not edited is written as it was: {written}"
    );
    assert_eq!(
        open(&written).expect("we read what we write").text(),
        written
    );
    let names: Vec<String> = file.names().iter().map(ToString::to_string).collect();
    for name in names.iter().map(String::as_str).chain(["fuzzed"]) {
        check_edits(text, name);
        for pointer in ["", "/x", "/x/1/y", "/z/w"] {
            if let Some(line) = schema::line_of(text, name, pointer) {
                assert!(
                    (1..=text.matches('\n').count() + 1).contains(&line),
                    "line {line}"
                );
            }
        }
    }
}

fn letters(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| !c.is_whitespace())
}

fn open(text: &str) -> Result<ConfigFile, ConfigFileError> {
    ConfigFile::parse(Path::new("djangobot.toml"), text)
}

fn check_edits(text: &str, name: &str) {
    let grants = ["slack".parse().expect("a capability")];
    let edits: [(&str, Edit<'_>); 6] = [
        ("add", &|file| file.add(name, "folder:new", false, &grants)),
        ("remove", &|file| file.remove(name)),
        ("disable", &|file| file.set_enabled(name, false)),
        ("enable", &|file| file.set_enabled(name, true)),
        ("source", &|file| file.set_source(name, "file:new")),
        ("grant", &|file| file.grant(name, &grants)),
    ];
    let before = table(text);
    for (what, edit) in edits {
        let mut file = open(text).expect("it was read before");
        let edited = edit(&mut file);
        let after = file.text();
        let Ok(()) = edited else {
            assert_eq!(
                after,
                open(text).expect("it was read before").text(),
                "{what} failed, and changed the file"
            );
            continue;
        };
        let mut expect = before.clone();
        change(&mut expect, what, name);
        // As text, since a TOML file may hold NaN.
        assert_eq!(
            format!("{:?}", table(&after)),
            format!("{expect:?}"),
            "{what} {name:?}: {after}"
        );
        open(&after).expect("what was written can be edited again");
    }
}

fn table(text: &str) -> Table {
    text.parse()
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Does to the values what the edit does to the file.
fn change(file: &mut Table, what: &str, name: &str) {
    let plugins = file
        .entry("plugin")
        .or_insert_with(|| Value::Array(Vec::new()))
        .as_array_mut()
        .expect("it is a list");
    let at = plugins
        .iter()
        .position(|plugin| plugin.get("name").and_then(Value::as_str) == Some(name));
    let grants = Value::Array(vec!["slack".into()]);
    if what == "add" {
        plugins.push(Value::Table(Table::from_iter([
            ("name".to_owned(), name.into()),
            ("source".to_owned(), "folder:new".into()),
            ("enabled".to_owned(), false.into()),
            ("grants".to_owned(), grants),
        ])));
        return;
    }
    let at = at.expect("it was found in the file");
    if what == "remove" {
        plugins.remove(at);
        if plugins.is_empty() {
            file.remove("plugin");
        }
        return;
    }
    let plugin = plugins[at].as_table_mut().expect("it is a table");
    match what {
        "disable" => drop(plugin.insert("enabled".into(), false.into())),
        "enable" if plugin.contains_key("enabled") => {
            drop(plugin.insert("enabled".into(), true.into()))
        }
        "enable" => {}
        "source" => drop(plugin.insert("source".into(), "file:new".into())),
        _ => match plugin.get_mut("grants").and_then(Value::as_array_mut) {
            Some(held) if held.iter().any(|held| held.as_str() == Some("slack")) => {}
            Some(held) => held.push("slack".into()),
            None => drop(plugin.insert("grants".into(), grants)),
        },
    }
}
