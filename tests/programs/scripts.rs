//! Script plugins in JavaScript: made, tested, added, edited, broken, on the engine that the clone builds.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use djangobot_tests::{Program, eventually};
use tokio::sync::OnceCell;

use crate::bridge::{Djangobot, ExitReport, check_end, djangobot};
use crate::markdown::{blocks, chapter};
use crate::plugin_deployment::PluginDeployment;

/// The first script on a machine has the engine to build, next to other tests.
const BUILD: Duration = Duration::from_secs(900);

/// Runs `djangobot plugin ARGUMENTS` in `folder`, with the patience that a build of the engine needs.
async fn plugin(folder: &Path, arguments: &[&str]) -> ExitReport {
    let all = [&["plugin"], arguments].concat();
    let mut program = Program::start(djangobot(folder, &all));
    program.close_stdin();
    let code = program.exit_within(BUILD).await.code();
    ExitReport {
        code,
        stdout: program.stdout(),
        stderr: program.stderr(),
    }
}

async fn does(folder: &Path, arguments: &[&str]) -> String {
    let ended = plugin(folder, arguments).await;
    check_end(&ended, 0, &[]);
    ended.stdout
}

/// A folder in whose state the engine is compiled.
static PREPARED: OnceCell<tempfile::TempDir> = OnceCell::const_new();

/// Puts a state into `folder` in which the engine is compiled: the compiler that tests run is slow.
async fn prepare(folder: &Path) {
    let prepared = PREPARED.get_or_init(async || {
        let folder = tempfile::tempdir().unwrap();
        does(folder.path(), &["new", "greet", "--lang", "js"]).await;
        does(folder.path(), &["test", "greet"]).await;
        folder
    });
    let state = prepared.await.path().join(".djangobot");
    let copied = Command::new("cp").arg("-a").arg(state).arg(folder).status();
    assert!(copied.unwrap().success());
}

fn check_said(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

/// A script with a file of its own, and mistakes that it makes when it is told to.
const GREET: &str = r#"import { plugin, roster, drop, log } from "djangobot-plugin";
import { shout } from "./lib/words.js";

let calls = 0;

export default plugin((event, config) => {
  calls += 1;
  const text = event.text ?? "";
  if (text.includes("spam")) return drop("spam");
  if (text.includes("boom")) broken(text);
  console.log("call", calls, { text }, "\nsecond line");
  event.set("/shout", shout(text));
  event.set("/again", event.get("/shout") + "!");
  event.set("/user_name", roster.user(event.user)?.name);
  event.calls = calls;
});

function broken(text) {
  return text.nothing.there;
}
"#;

#[tokio::test]
async fn a_script_is_made_tested_and_added_and_its_edits_are_live_in_dev() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    prepare(here).await;
    let said = does(here, &["new", "greet", "--lang", "js"]).await;
    check_said(
        &said,
        &[
            "greet/plugin.js",
            "djangobot plugin test greet",
            "djangobot plugin add greet",
        ],
    );
    let mut files = Vec::new();
    for entry in std::fs::read_dir(here.join("greet")).unwrap() {
        files.push(entry.unwrap().file_name().into_string().unwrap());
    }
    files.sort();
    assert_eq!(files, ["plugin.js", "plugin.toml", "tests"]);

    // The tests beside it, which pass; then one that does not.
    let said = does(here, &["test", "greet"]).await;
    check_said(
        &said,
        &[
            "ok      tests/messages.json: a known sender gets a name",
            "an unknown sender gets none",
        ],
    );
    let tests = std::fs::read_to_string(here.join("greet/tests/messages.json")).unwrap();
    std::fs::write(
        here.join("greet/tests/messages.json"),
        tests.replace("\"user_name\": \"alice\"", "\"user_name\": \"bob\""),
    )
    .unwrap();
    let ended = plugin(here, &["test", "greet"]).await;
    check_end(&ended, 1, &["1 of 2 tests failed"]);
    check_said(
        &ended.stdout,
        &[
            "failed  tests/messages.json: a known sender gets a name",
            "-      \"user_name\": \"bob\"",
            "+      \"user_name\": \"alice\"",
        ],
    );

    std::fs::create_dir(here.join("greet/lib")).unwrap();
    std::fs::write(
        here.join("greet/lib/words.js"),
        "export const shout = (text) => text.toUpperCase();\n",
    )
    .unwrap();
    std::fs::write(here.join("greet/plugin.js"), GREET).unwrap();
    let arguments = ["dev", "--layer-listen", "127.0.0.1:0", "--plugin", "greet"];
    let mut dev = Djangobot::start(djangobot(here, &arguments));
    dev.line("Type a message and press Enter").await;
    dev.write_line("good morning").await;
    for part in [
        "\"shout\": \"GOOD MORNING\"",
        "\"again\": \"GOOD MORNING!\"",
        "\"calls\": 1",
    ] {
        dev.line(part).await;
    }
    check_said(&dev.stdout(), &["\"user_name\": \""]);
    // What it writes to the console is in the log, a line for each line.
    eventually("its lines are in the log", async || {
        let said = format!("{}{}", dev.stdout(), dev.stderr());
        let is_said = ["call 1 {", "second line"]
            .iter()
            .all(|part| said.contains(part));
        is_said.then_some(())
    })
    .await;

    // An error leaves the event as it was, and keeps the instance with its state.
    dev.write_line("boom now").await;
    dev.line("at broken (plugin.js:19:10)").await;
    dev.write_line("spam for all").await;
    dev.write_line("still here").await;
    dev.line("\"calls\": 4").await;

    // An edit is live without anything that is built.
    std::fs::write(
        here.join("greet/lib/words.js"),
        "export const shout = (text) => text + \" (edited)\";\n",
    )
    .unwrap();
    dev.line("replaced").await;
    dev.write_line("evening").await;
    dev.line("\"shout\": \"evening (edited)\"").await;

    // A mistake refuses the new version with its line, and the old one serves on.
    std::fs::write(
        here.join("greet/lib/words.js"),
        "export const shout = (text) => {\n  return text +;\n}\n",
    )
    .unwrap();
    dev.line("lib/words.js:2:").await;
    dev.write_line("night").await;
    dev.line("\"shout\": \"night (edited)\"").await;
    assert_eq!(dev.interrupt().await.code(), Some(0));
}

#[tokio::test]
async fn a_mistake_in_a_script_is_one_sentence_with_its_place_and_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    prepare(here).await;
    does(here, &["new", "greet", "--lang", "js"]).await;
    std::fs::write(
        here.join("event.json"),
        r#"{"type": "message", "user": "U1", "text": "hi"}"#,
    )
    .unwrap();
    let check = async |script: &str, parts: &[&str]| {
        std::fs::write(here.join("greet/plugin.js"), script).unwrap();
        let ended = plugin(here, &["test", "greet", "event.json"]).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let said: String = format!("{}{}", ended.stdout, ended.stderr)
            .split_whitespace()
            .filter(|word| *word != "│")
            .collect::<Vec<_>>()
            .join(" ");
        check_said(&said, parts);
    };
    check(
        "import { plugin } from \"djangobot-plugin\";\nlet x = ;\n",
        &["SyntaxError", "plugin.js:2:"],
    )
    .await;
    check(
        "import { plugin } from \"djangobot-plugin\";\nimport _ from \"lodash\";\n",
        &[
            "plugin.js:2 imports \"lodash\", which does not exist",
            "bundle the code into the script",
        ],
    )
    .await;
    check(
        "import \"./words\";\n",
        &[
            "plugin.js:1 imports \"./words\"",
            "the plugin's folder has no such file",
        ],
    )
    .await;
    check(
        "import \"../outside.js\";\n",
        &[
            "plugin.js:1 imports \"../outside.js\"",
            "outside the plugin's folder",
        ],
    )
    .await;
    check(
        "import { plugin,\n  rooster } from \"djangobot-plugin\";\n",
        &[
            "Could not find export 'rooster'",
            "plugin.js:2",
            "djangobot-plugin exports plugin, drop",
        ],
    )
    .await;
    check(
        "export const a = 1;\n",
        &["plugin.js has no handler", "export default plugin("],
    )
    .await;
    let start = "import { plugin, store } from \"djangobot-plugin\";\n";
    check(
        &format!("{start}export default plugin({{ init(config) {{ throw new Error(\"word must be set\") }}, event() {{}} }});\n"),
        &["Error: word must be set", "plugin.js:2:"],
    )
    .await;
    let handler =
        |body: &str| format!("{start}export default plugin((event) => {{\n{body}\n}});\n");
    check(
        &handler("event.set('/a/b', 1);"),
        &[
            "/a/b can't be set",
            "no object or array at /a",
            "plugin.js:3:",
        ],
    )
    .await;
    check(
        &handler("event.type = 'other';"),
        &["can't edit /type", "plugin.js:3:"],
    )
    .await;
    check(
        &handler("event.count = 0 / 0;"),
        &["NaN at /count", "plugin.js:3:"],
    )
    .await;
    check(
        &handler("store.set('a', 1);"),
        &["store.set(\"a\")", "`store`", "plugin.js:3:"],
    )
    .await;
    check(
        &handler("return 'spam';"),
        &["the handler returned spam", "it may return drop(...)"],
    )
    .await;
    check(
        &handler("return new Promise(() => {});"),
        &["a promise never settles"],
    )
    .await;
    check(
        &handler("const f = () => f() + 1; f();"),
        &["Maximum call stack size exceeded", "plugin.js:3:"],
    )
    .await;
    check(
        &handler("event.long = 'x'.repeat(1 << 26);"),
        &["out of memory"],
    )
    .await;
    check(
        &handler("throw new Error('outer', { cause: new Error('inner') });"),
        &["Error: outer", "caused by Error: inner"],
    )
    .await;
}

#[tokio::test]
async fn a_script_that_is_added_is_pinned_with_its_engine() {
    let deployment = PluginDeployment::new().await;
    let here = deployment.folder.path();
    prepare(here).await;
    does(here, &["new", "greet", "--lang", "js"]).await;
    // Nobody is asked, since nothing of it runs outside of the sandbox.
    does(here, &["add", "greet"]).await;
    check_said(
        &deployment.text("djangobot.toml"),
        &["source = \"folder:greet\""],
    );
    let lock = deployment.text("djangobot.lock");
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.message_app().await;
    deployment.say("hello");
    let message = app.next("slack.message").await;
    assert!(message["user_name"].is_string(), "{message}");

    // The lock binds: an edit serves only after an update, and a mistake changes nothing.
    let script = deployment.text("greet/plugin.js");
    deployment.write("greet/plugin.js", "let x = ;");
    let ended = plugin(here, &["update", "greet"]).await;
    check_end(&ended, 1, &["SyntaxError", "plugin.js:1:"]);
    assert_eq!(deployment.text("djangobot.lock"), lock);
    deployment.write(
        "greet/plugin.js",
        &script.replace("user?.name", "`${user?.name} the first`"),
    );
    deployment.say("hello again");
    let message = app.next("slack.message").await;
    assert!(
        !message["user_name"]
            .as_str()
            .unwrap()
            .ends_with("the first"),
        "{message}"
    );
    does(here, &["update", "greet"]).await;
    assert_ne!(deployment.text("djangobot.lock"), lock);
    deployment.say("hello once more");
    let message = app.next("slack.message").await;
    assert!(
        message["user_name"]
            .as_str()
            .unwrap()
            .ends_with("the first"),
        "{message}"
    );
    check_said(
        &does(here, &["info", "greet"]).await,
        &["engine    JavaScript, sha256 "],
    );

    // What `build` makes has no engine in it: whoever adds it pins their own.
    does(here, &["build", "greet"]).await;
    does(here, &["add", "greet.wasm", "--name", "packed"]).await;
    let list = does(here, &["list"]).await;
    check_said(&list, &["packed"]);
    assert!(!list.contains("refused"), "{list}");
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

/// The parts of a plugin that the page on JavaScript shows, in its order: manifest, script, tests.
#[tokio::test]
async fn each_plugin_of_the_page_on_javascript_passes_the_tests_that_the_page_shows() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    prepare(here).await;
    std::fs::create_dir_all(here.join("shown/tests")).unwrap();
    let (mut run, mut manifest, mut script) = (0, String::new(), String::new());
    for block in blocks(&chapter("plugins/javascript.md")) {
        match &*block.language {
            "toml" => manifest = block.text,
            "javascript" => script = block.text,
            "json" => {
                std::fs::write(here.join("shown/plugin.toml"), &manifest).unwrap();
                std::fs::write(here.join("shown/plugin.js"), &script).unwrap();
                std::fs::write(here.join("shown/tests/shown.json"), &block.text).unwrap();
                let ended = plugin(here, &["test", "shown"]).await;
                assert_eq!(ended.code, Some(0), "{}: {ended:?}", block.place);
                run += 1;
            }
            _ => {}
        }
    }
    assert!(run >= 2, "{run}");
}
