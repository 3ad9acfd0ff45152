//! The Django project that the documents make from nothing, made as they say and run: it answers in Slack.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use djangobot_tests::{Program, python};
use serde_json::json;

use crate::bridge::{Bridge, calls, djangobot};
use crate::deployment::Deployment;
use crate::markdown::{Block, blocks, chapter, root};

/// The address of the layer that `djangobot dev` serves, as the documents write it.
const LAYER: &str = "redis://127.0.0.1:6399";

/// The block of that language with these words in it.
fn block(blocks: &[Block], language: &str, words: &str) -> String {
    let mut found = blocks
        .iter()
        .filter(|it| it.language == language && it.text.contains(words));
    let block = found.next().unwrap_or_else(|| panic!("no {words}"));
    block.text.clone()
}

/// Makes the project of `document` in `folder`, with the layer at `redis`.
fn make(document: &Path, folder: &Path, redis: &str) -> PathBuf {
    let blocks = blocks(document);
    let made = Command::new(python())
        .args(["-m", "django", "startproject", "myapp"])
        .current_dir(folder)
        .status();
    assert!(made.unwrap().success());
    let project = folder.join("myapp");
    let file = |name: &str| project.join("myapp").join(name);
    let settings = block(&blocks, "python", "CHANNEL_LAYERS");
    assert!(settings.contains(LAYER), "{settings}");
    let before = fs::read_to_string(file("settings.py")).unwrap();
    let settings = format!("{before}\n{}", settings.replace(LAYER, redis));
    fs::write(file("settings.py"), settings).unwrap();
    let consumer = block(&blocks, "python", "class SlackConsumer");
    fs::write(file("consumers.py"), consumer).unwrap();
    let routing = block(&blocks, "python", "ProtocolTypeRouter");
    fs::write(file("asgi.py"), routing).unwrap();
    project
}

/// The worker that the document starts.
fn worker(document: &Path, project: &Path) -> Program {
    let typed = block(&blocks(document), "sh", "runworker");
    let arguments = typed.trim().strip_prefix("python ").unwrap().split(' ');
    let mut command = Command::new(python());
    command.args(arguments).current_dir(project);
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("DJANGO_SETTINGS_MODULE");
    Program::start(command)
}

/// That the project of `document` answers what alice says, and that its worker prints these lines.
async fn check(document: &Path, lines: &[&str]) {
    let deployment = Deployment::new().await;
    let project = make(document, deployment.folder.path(), &deployment.redis.url());
    let mut command = djangobot(&project, &["myapp.asgi:channel_layer"]);
    command
        .arg("--python")
        .arg(python())
        .args(["--listen", "127.0.0.1:0", "--slack-api-url"])
        .arg(deployment.slack.api_url())
        .env("DJANGOBOT_TOKEN", deployment.slack.token())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let bridge = Bridge::of(command).await;
    bridge.metric_is("djangobot_slack_connected", 1.0).await;
    let mut worker = worker(document, &project);
    let control = &deployment.control;
    deployment.say("hello");
    let calls = calls(control, "chat.postMessage", 1).await;
    assert_eq!(
        calls[0].answer["message"]["text"],
        json!("echo: hello"),
        "{:?}",
        calls[0]
    );
    for line in lines {
        worker.line(line).await;
    }
}

#[tokio::test]
async fn the_project_of_getting_started_answers_and_gets_its_outcomes() {
    let lines = ["Slack says hello", "sent as "];
    check(&chapter("getting-started.md"), &lines).await;
}

#[tokio::test]
async fn the_project_of_the_readme_answers() {
    check(&root().join("README.md"), &[]).await;
}
