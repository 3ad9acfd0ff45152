//! Tests of the config file: the settings that it makes, and the errors when it is wrong.

use djangobot_plugins::OnError;

use super::*;
use crate::cli::FilesArgs;

fn read(text: &str, target: &[&str]) -> Result<Settings, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("djangobot.toml");
    std::fs::write(&path, text).unwrap();
    let target = TargetArgs {
        target: target.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let host = host(path);
    Settings::read(&target, &SlackArgs::default(), &host)
}

fn host(config: PathBuf) -> HostArgs {
    HostArgs::of(&FilesArgs {
        config: Some(config),
        ..Default::default()
    })
}

/// The settings of a file that has `text` below `[slack]`.
pub(crate) fn slack_settings(text: &str) -> SlackSettings {
    read(&format!("[slack]\n{text}\n"), &[]).unwrap().slack
}

fn refused(text: &str) -> (String, Option<String>) {
    match read(text, &[]).unwrap_err() {
        ConfigError::Wrong { message, help } => (message, help),
        other => (other.to_string(), None),
    }
}

#[test]
fn flags_beat_the_file_and_the_file_beats_the_defaults() {
    let settings = read(
        "[slack]\ndefault-channel = \"ops\"\n[layer]\ntarget = \"redis://a\"\n",
        &["redis://b"],
    )
    .unwrap();
    assert_eq!(settings.slack.default_channel, "ops");
    assert_eq!(
        settings.layer.target,
        Some(Target::Urls(vec!["redis://b".into()]))
    );
    assert_eq!(settings.slack.api_url.as_str(), "https://slack.com/api/");
}

#[test]
fn paths_of_the_file_are_meant_from_where_it_is() {
    let settings = read(
        "state-dir = \"state\"\n[layer]\ntarget = \"myapp.settings\"\n",
        &[],
    )
    .unwrap();
    let home = settings
        .file
        .as_deref()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    assert_eq!(settings.state_dir, home.join("state"));
    assert_eq!(
        settings.layer.target,
        Some(Target::Project {
            target: "myapp.settings".into(),
            directory: home
        })
    );
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_likely_one() {
    let (message, help) = refused("[slack]\n\ntokne = \"x\"\n");
    assert!(
        message.contains("djangobot.toml line 3: unknown field `tokne`"),
        "{message}"
    );
    assert_eq!(help.as_deref(), Some("did you mean `token`?"));
}

#[test]
fn a_wrong_type_and_a_syntax_error_name_their_line() {
    assert!(
        refused("[slack]\nmethods = 5\n")
            .0
            .contains("line 2: invalid type"),
        "{:?}",
        refused("[slack]\nmethods = 5\n")
    );
    assert!(
        refused("[slack\n").0.contains("line 1"),
        "{:?}",
        refused("[slack\n")
    );
    assert!(
        refused("[layer]\nsend-channel = \"a b\"\n")
            .0
            .contains("line 2")
    );
    assert!(
        refused("[slack]\nroster-wait = -1.0\n")
            .0
            .contains("is not a number of seconds")
    );
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let host = host("/nowhere/djangobot.toml".into());
    let error = Settings::read(&TargetArgs::default(), &SlackArgs::default(), &host).unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/djangobot.toml"),
        "{error}"
    );
}

#[test]
fn plain_http_is_for_loopback_only() {
    assert!(read("[slack]\napi-url = \"http://127.0.0.1:7000/api\"\n", &[]).is_ok());
    assert!(
        refused("[slack]\napi-url = \"http://example.org/api/\"\n")
            .0
            .contains("plain http")
    );
}

#[test]
fn modules_and_urls_do_not_mix() {
    assert!(matches!(
        read("", &["redis://a", "myapp.asgi"]),
        Err(ConfigError::MixedTargets(_))
    ));
}

#[test]
fn an_error_about_a_wrong_file_shows_no_value_of_it() {
    for text in [
        "[slack]\ntoken = \"SECRET\"\ntokne = 1\n",
        "[slack]\ntokne = 1\ntoken = \"SECRET\"\n",
        "[slack]\ntoken = SECRET\n",
        "[slack]\ntoken = \"SECRET\n",
        "[slack]\ntoken = \"\"\"\nSECRET\\q\"\"\"\n",
        "[slack]\ntoken = \"a\"SECRET\n",
        "[slack]\ntoken = [\"SECRET\"]\n",
        "[slack]\ntoken = { SECRET = \"SECRET\" }\n",
        "[slack]\nmethods = \"SECRET\"\n",
        "[slack]\nroster-wait = \"a \\\" SECRET\"\n",
        "[slack]\napi-url = \"SECRET\"\n",
        "[layer]\nhold = \"redis://:SECRET@host\"\n",
        "[layer]\ntarget = { url = \"SECRET\" }\n",
        "listen = \"SECRET\"\n",
        "slack = \"SECRET\"\n",
        "SECRET\n",
    ] {
        let report = miette::Report::new(read(text, &[]).unwrap_err());
        let shown = format!("{report:?} {report}");
        assert!(shown.contains("djangobot.toml line"), "{text}: {shown}");
        assert!(!shown.contains("SECRET"), "{text}: {shown}");
    }
}

#[test]
fn plugins_come_in_the_order_of_the_file() {
    let settings = read(
        "[[plugin]]\nname = \"b\"\nsource = \"file:b.wasm\"\non-error = \"drop\"\n[plugin.config]\nx = 1\n\
         [[plugin]]\nname = \"a\"\nsource = \"folder:a\"\nenabled = false\ngrants = [\"store\"]\n",
        &[],
    )
    .unwrap();
    let names: Vec<_> = settings.plugins.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(settings.plugins[0].config, serde_json::json!({"x": 1}));
    assert!(!settings.plugins[1].enabled);
}

#[test]
fn a_mistake_in_one_plugin_holds_back_that_one_and_is_named_with_its_line() {
    let check = |plugin: &str, name: &str, on_error: OnError, expect: &str| {
        let good = "[slack]\n\n[[plugin]]\nname = \"a\"\nsource = \"file:a\"\n\n";
        let plugins = read(&format!("{good}{plugin}"), &[]).unwrap().plugins;
        assert_eq!(plugins[0], PluginConfig::new("a", "file:a"));
        let (wrong, mistake) = (&plugins[1], plugins[1].mistake.clone().unwrap());
        assert!(mistake.contains(expect), "{mistake} / {expect}");
        assert_eq!(
            (&*wrong.name, wrong.on_error),
            (name, on_error),
            "{mistake}"
        );
    };
    let named = |name: &str| format!("[[plugin]]\nname = \"{name}\"\nsource = \"file:b\"\n");
    let guard = |name: &str| named(name) + "on-error = \"drop\"\n";
    let nameless = "the [[plugin]] of line 7";
    check(
        &guard("a"),
        "a of line 7",
        OnError::Drop,
        "line 7: there is a second plugin \"a\"",
    );
    check(
        &guard("A b"),
        nameless,
        OnError::Drop,
        "line 7: \"A b\" is not a plugin's name",
    );
    check(
        &format!("{}[plugin.limits]\nmemory = 1\n", guard("b")),
        "b",
        OnError::Drop,
        "line 12: unknown field `memory`",
    );
    check(
        &format!("{}grants = [\"files\"]\n", named("b")),
        "b",
        OnError::Pass,
        "line 10",
    );
    check(
        "[[plugin]]\nname = \"b\"\n",
        "b",
        OnError::Pass,
        "line 7: missing field `source`",
    );
    check(
        "[[plugin]]\nnmae = \"b\"\nsource = \"file:b\"\n",
        nameless,
        OnError::Pass,
        "line 8: unknown field `nmae`",
    );
    check(
        "[[plugin]]\nname = \"b\"\nsource = \"http://x/y\"\n",
        "b",
        OnError::Pass,
        "line 7: the plugin \"b\": \"http://x/y\" is plain http",
    );
    // A policy that can't be read must not let events pass.
    for (key, value, expect) in [
        ("on-error", "\"dorp\"", OnError::Hold),
        ("on-error", "1", OnError::Hold),
        ("on_error", "\"drop\"", OnError::Drop),
        ("onerror", "\"hold\"", OnError::Hold),
        ("on-eror", "\"pass\"", OnError::Pass),
    ] {
        check(
            &format!("{}{key} = {value}\n", named("b")),
            "b",
            expect,
            "line 10",
        );
    }
    let (message, _) = refused("[plugin]\nname = \"a\"\n");
    assert!(
        message.contains("line 1: plugins are written as [[plugin]]"),
        "{message}"
    );
}

/// The config file that the documents have as its reference; `tests/docs` compares its keys with the parser's.
fn reference() -> String {
    let chapter = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/src/operating/configuration.md"
    );
    let text = std::fs::read_to_string(chapter).unwrap();
    let start = text.find("```toml\n# djangobot.toml: every key").unwrap();
    let block = &text[start + "```toml\n".len()..];
    block[..block.find("```").unwrap()].to_owned()
}

#[test]
fn the_reference_says_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("djangobot.toml");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let host = host(path.clone());
        let settings =
            Settings::read(&TargetArgs::default(), &SlackArgs::default(), &host).unwrap();
        format!("{settings:#?}")
    };
    let text = reference();
    assert_eq!(read(&text), read(""));
}
