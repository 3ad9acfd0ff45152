//! A plugin's manifest, which comes with a component from anywhere.

use djangobot_event::Event;
use djangobot_plugins::manifest::{Manifest, ManifestError, is_name};
use djangobot_plugins::{Direction, schema};

use crate::{Target, pieces, proportion, samples};

pub(crate) const TARGET: Target = Target {
    name: "manifest",
    check,
    seeds,
    words: &[
        "name = \"a\"\n",
        "version = \"1.0.0\"\n",
        "summary = ",
        "emits = [",
        "capabilities = [\"store\"",
        "[subscribe]\n",
        "inbound = [\"*\"]\n",
        "{ kind = \"message\", has = [\"/text\"] }",
        "[config-schema]\n",
        "type = \"object\"\n",
        "\"$ref\" = \"#\"\n",
        "pattern = \"",
        "[limits]\n",
        "memory-mib = ",
        "'''",
        "\"\"\"",
    ],
    longest: 768,
};

const MANIFEST: &str = r#"
name = "resolve-names"
version = "1.2.0"
summary = "Puts names beside ids"
emits = ["standup"]
capabilities = ["store", "http:api.example.com"]
[subscribe]
inbound = ["reaction_*", { kind = "message", has = ["/text"], lacks = ["/bot_id"] }]
outbound = ["chat.postMessage"]
[config-schema]
type = "object"
additionalProperties = false
[config-schema.properties.style]
enum = ["name", "display-name"]
[limits]
memory-mib = 32
"#;

fn seeds() -> Vec<Vec<u8>> {
    pieces::texts([
        MANIFEST,
        "name = \"a\"\nversion = \"1.0.0\"\n",
        "name = \"a\"\nversion = \"1.0.0-rc.1+b\"\nlimits = { time-ms = 5 }\nsubscribe.inbound = [\"*\"]\n",
        "name = \"A b\"\nversion = 1\n",
        "name = \"a\"\nversion = \"1.0.0\"\n[subscribe]\ninbound = [\"a*b\"]",
    ])
}

fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let read = proportion::bounded_by(4 << 20, || Manifest::parse(text));
    match read {
        Ok(manifest) => {
            assert!(is_name(&manifest.name));
            for kind in &manifest.emits {
                assert!(manifest.may_emit(kind));
                djangobot_channels::ChannelName::new(&format!("slack.{kind}"))
                    .expect("what is emitted has a channel");
            }
            for text in samples::EVENTS {
                let event = Event::parse(*text).expect("a sample is an event");
                let kind = event.text("/type").unwrap_or_default();
                manifest.wants(Direction::Inbound, &kind, &event);
            }
            let _problems = schema::check(&manifest, &serde_json::json!({"style": "name"}));
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            if let ManifestError::Mistakes(mistakes) = &error {
                let lines = 1..=text.matches('\n').count() + 1;
                assert!(!mistakes.is_empty());
                assert!(
                    mistakes.iter().all(|it| lines.contains(&it.line)),
                    "{error}"
                );
            }
        }
    }
}
