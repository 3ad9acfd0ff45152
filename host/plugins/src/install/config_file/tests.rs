//! Tests of edits of the config file: its text before and after.

use super::*;

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

fn edited(text: &str, edit: impl FnOnce(&mut ConfigFile) -> Result<(), ConfigFileError>) -> String {
    let mut file = ConfigFile::parse(Path::new("djangobot.toml"), text).unwrap();
    edit(&mut file).unwrap();
    file.document.to_string()
}

fn grants(texts: &[&str]) -> Vec<Capability> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_plugin_is_added_at_the_end_and_all_else_stays() {
    let check = |before: &str, expect: &str| {
        let after = edited(before, |file| {
            file.add("new", "folder:new", true, &grants(&["slack"]))
        });
        assert_eq!(after, expect);
    };
    let new = "[[plugin]]\nname = \"new\"\nsource = \"folder:new\"\ngrants = [\"slack\"]\n";
    check("", new);
    check("# mine\n", &format!("# mine\n\n{new}"));
    check("log = \"info\"\n", &format!("log = \"info\"\n\n{new}"));
    check("log = \"info\"", &format!("log = \"info\"\n\n{new}"));
    check("# mine", &format!("# mine\n\n{new}"));
    check(FILE, &format!("{FILE}\n{new}"));
    // The second one comes after the first.
    let both = edited(FILE, |file| {
        file.add("a", "file:a", false, &[])?;
        file.add("b", "file:b", true, &[])
    });
    assert_eq!(
        both,
        format!(
            "{FILE}\n[[plugin]]\nname = \"a\"\nsource = \"file:a\"\nenabled = false\n\n[[plugin]]\nname = \"b\"\nsource = \"file:b\"\n"
        )
    );
}

#[test]
fn a_plugin_is_removed_with_its_own_comment_only() {
    let names = edited(FILE, |file| file.remove("names"));
    let (start, rest) = FILE.split_once("# Names first.\n").unwrap();
    let rest = &rest[rest.find("# Then all").unwrap()..];
    assert_eq!(names, format!("{start}{rest}"));

    let redact = edited(FILE, |file| file.remove("redact"));
    let (start, rest) = FILE.split_once("# It must not").unwrap();
    let rest = &rest[rest.find("[layer]").unwrap()..];
    assert_eq!(redact, format!("{start}{rest}"));

    let none = edited(FILE, |file| {
        file.remove("redact")?;
        file.remove("names")
    });
    assert!(none.contains("# Then all that is secret.\n"), "{none}");
    assert!(!none.contains("plugin"), "{none}");

    let last = edited(
        "# head\n\n[[plugin]]\nname = \"a\"\nsource = \"b\"\n",
        |file| file.remove("a"),
    );
    assert_eq!(last, "# head\n\n");
}

#[test]
fn a_plugin_that_was_added_and_removed_leaves_no_trace() {
    let after = edited(FILE, |file| {
        file.add("new", "file:new", true, &[])?;
        file.remove("new")
    });
    assert_eq!(after.trim_end(), FILE.trim_end());
}

#[test]
fn one_key_changes_and_its_comment_stays() {
    let check = |edit: fn(&mut ConfigFile) -> Result<(), ConfigFileError>, from: &str, to: &str| {
        assert!(FILE.contains(from));
        assert_eq!(edited(FILE, edit), FILE.replacen(from, to, 1));
    };
    check(
        |file| file.set_enabled("redact", true),
        "enabled = false #",
        "enabled = true #",
    );
    check(|file| file.set_enabled("names", true), "names", "names");
    check(
        |file| file.set_enabled("names", false),
        "# the cache\n",
        "# the cache\nenabled = false\n",
    );
    check(
        |file| file.set_source("redact", "folder:redact"),
        "file:redact.wasm",
        "folder:redact",
    );
    check(
        |file| file.grant("names", &grants(&["slack", "store"])),
        "[\"store\"] #",
        "[\"store\", \"slack\"] #",
    );
    check(
        |file| file.grant("redact", &grants(&["store"])),
        "until it is tested\n",
        "until it is tested\ngrants = [\"store\"]\n",
    );
    check(|file| file.grant("redact", &[]), "names", "names");
}

#[test]
fn a_file_that_can_not_be_edited_is_an_error() {
    let open = |text: &str| ConfigFile::parse(Path::new("djangobot.toml"), text);
    let check = |error: ConfigFileError, expect: &str| {
        let error = error.to_string();
        assert!(error.contains(expect), "{error} / {expect}");
    };
    check(
        open("log = 1\n[slack\n").unwrap_err(),
        "djangobot.toml line 2",
    );
    check(
        open("plugin = [{ name = \"a\" }]\n").unwrap_err(),
        "not a list of [[plugin]]",
    );
    let mut file = open(FILE).unwrap();
    assert_eq!(file.names(), ["names", "redact"]);
    check(
        file.add("names", "file:x", true, &[]).unwrap_err(),
        "has a plugin \"names\" already",
    );
    check(file.remove("other").unwrap_err(), "no plugin \"other\"");
}

#[test]
fn a_file_that_is_not_there_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("djangobot.toml");
    let mut file = ConfigFile::open(&path).unwrap();
    file.add("a", "file:a", true, &[]).unwrap();
    file.save().unwrap();
    assert_eq!(ConfigFile::open(&path).unwrap().names(), ["a"]);
    assert!(matches!(
        ConfigFile::open(folder.path()),
        Err(ConfigFileError::Disk { .. })
    ));
}
