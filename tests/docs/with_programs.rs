//! Blocks that take other programs: Python reads those in Python, systemd reads the unit.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use djangobot::fuzzing;
use djangobot_event::Event;
use djangobot_tests::{environment, python};
use serde_json::Value;

use crate::blocks;
use crate::markdown::{Block, chapter, codes, root, rows};

/// Parses stdin, and prints what it gives `to_slack` and `answer` as JSON, each on a line.
const READER: &str = r#"
import ast, base64, json, sys

def default(value):
    return {"$bytes": base64.b64encode(value).decode()}

for node in ast.walk(ast.parse(sys.stdin.read())):
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("to_slack", "answer"):
            try:
                value = ast.literal_eval(node.args[-1])
            except ValueError:
                continue
            print(json.dumps([name, value], default=default))
"#;

/// The Python source of a block.
fn read(Block { place, text, .. }: &Block) -> Vec<(String, Value)> {
    let mut python = Command::new(python())
        .args(["-c", READER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = python.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place}: {stderr}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let calls = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    calls.collect()
}

/// That djangobot takes a message from `slack.send`.
fn check_message(place: &str, message: &Value) {
    let event = Event::parse(message.to_string().into_bytes()).unwrap();
    match fuzzing::request(&event) {
        Ok(_) => {}
        // The configuration of the fuzz targets allows fewer methods than the default.
        Err(refusal) if refusal.error == "method_not_allowed" => {}
        Err(refusal) => panic!("{place}: {message}: {refusal:?}"),
    }
}

#[test]
fn python_is_read_by_python_and_its_messages_by_djangobot() {
    let blocks = blocks::of("python");
    let (mut messages, mut answers) = (0, 0);
    for block in &blocks {
        for (function, value) in read(block) {
            if function == "to_slack" {
                messages += 1;
                check_message(&block.place, &value);
            } else {
                answers += 1;
                let event = Event::parse(value.to_string().into_bytes()).unwrap();
                let answer = fuzzing::answer(&event);
                assert!(answer.is_ok(), "{}: {value}: {answer:?}", block.place);
            }
        }
    }
    assert!(blocks.len() > 5 && messages > 2 && answers > 2);
}

#[test]
fn the_table_of_messages_has_messages() {
    let rows = rows(&chapter("messages-out.md"), &["message", "what it does"]);
    for row in rows {
        let text = codes(&row[0]).pop().unwrap();
        let message = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        check_message("messages-out.md", &message);
    }
}

/// It looks for the program, the project and the tokens of the unit as if they were on this machine, so others stand for
/// them.
#[test]
fn systemd_takes_the_unit() {
    let Some(systemd) = environment::find("systemd-analyze") else {
        eprintln!("passed over: there is no systemd-analyze");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("djangobot.service");
    let text = fs::read_to_string(root().join("docs/deploy/djangobot.service")).unwrap();
    fs::write(&unit, text.replace("/usr/local/bin/djangobot", "/bin/true")).unwrap();
    let output = Command::new(systemd)
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let of_ours = told
        .lines()
        .filter(|line| line.contains("djangobot.service"));
    assert_eq!(of_ours.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(output.status.success(), "{told}");
}
