//! The events that are sent through the whole bridge: Slack's samples, all known types, and some of our own.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Types for where Slack's full list is not at hand.
const TYPES: &[&str] = &[
    "accounts_changed",
    "app_mention",
    "bot_added",
    "channel_created",
    "channel_joined",
    "channel_marked",
    "commands_changed",
    "dnd_updated_user",
    "emoji_changed",
    "error",
    "file_shared",
    "goodbye",
    "group_open",
    "hello",
    "im_created",
    "manual_presence_change",
    "member_joined_channel",
    "message",
    "mpim_joined",
    "pin_added",
    "pref_change",
    "presence_change",
    "reaction_added",
    "reconnect_url",
    "star_removed",
    "subteam_updated",
    "team_join",
    "team_migration_started",
    "user_change",
    "user_typing",
];

/// Slack's own sample payloads and list of types, which lie next to the clone where the project is worked on.
fn samples() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/slack");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "no sample payloads in {}: events of our own are all that is tested",
        folder.display()
    );
    None
}

/// The inner events of Slack's sample payloads; none where there are no samples.
pub(crate) fn sample_events() -> Vec<Value> {
    let Some(samples) = samples() else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = fs::read_dir(samples.join("events"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "json")
    });
    files.sort();
    let events: Vec<Value> = files
        .iter()
        .filter_map(|file| read(file).get_mut("event").map(Value::take))
        .collect();
    assert!(
        events.len() > 80,
        "{} events in {} files",
        events.len(),
        files.len()
    );
    events
}

/// All types that any of Slack's documents or clients knows of, or the list above.
pub(crate) fn types() -> Vec<String> {
    match samples() {
        Some(samples) => {
            serde_json::from_value(read(&samples.join("rtm-types.json"))["union"].take()).unwrap()
        }
        None => TYPES.iter().map(ToString::to_string).collect(),
    }
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Events that look for what a way through two formats could lose, as Slack would write them.
pub(crate) fn own_events() -> Vec<String> {
    let nested = format!(
        r#"{{"type":"nested","value":{}1{}}}"#,
        "[{\"a\":".repeat(40),
        "}]".repeat(40)
    );
    let long = format!(
        r#"{{"type":"long","text":"{}"}}"#,
        "0123456789abcdef".repeat(1 << 15)
    );
    let wide = json!({"type": "wide", "keys": (0..1000).map(|n| (format!("key {n}"), json!(n))).collect::<serde_json::Map<_, _>>()});
    [
        r#"{"type":"text","text":"Grüße, 世界 🚀 \ud83d\ude80 \u00e9 \" \\ \/ \b\f\n\r\t \u0000 \u2028"}"#,
        r#"{"type":"integers","values":[0,-1,127,128,-32,-33,65535,65536,4294967296,9223372036854775807,-9223372036854775808,18446744073709551615]}"#,
        r#"{"type":"floats","values":[0.1,-0.5,1e300,1.5e-7,2.5E+3,123456789.125,1234567890123456789.5]}"#,
        r#"{"type":"empty","object":{},"array":[],"text":"","nothing":null,"yes":true,"no":false}"#,
        r#"{"type":"keys","":1,"a.b":2,"a/b":3,"~0":4,"ключ":5,"Type":6,"type ":7}"#,
        r#"{ "type" : "spaces" , "list" : [ 1 , 2 ] , "x" : { "y" : "z" } }"#,
        r#"{"text":"the type comes last","nested":{"type":"inner"},"type":"last"}"#,
        r#"{"type":"ours","reply_channel":"elsewhere","djangobot":{"id":"forged"}}"#,
        r#"{"type":"dotted.and-dashed","text":"a type that is a channel name as it stands"}"#,
        r#"{"type":"message","subtype":"me_message","channel":"C0000000001","user":"U0000000001","text":"waves","ts":"1355517523.000005","thread_ts":"1355517523.000001"}"#,
        r#"{"type":"message","channel":"D0000000001","user":"U0000000001","text":"<@U1|al> &lt;b&gt; <https://a.example/?b=c&amp;d|label>","ts":"1355517523.000006"}"#,
        r#"{"type":"future_type_of_2031","payload":[[[{"deep":[null,{"er":1}]}]]]}"#,
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([nested, long, wide.to_string()])
    .collect()
}

/// The `type` of an event.
pub(crate) fn kind(event: &Value) -> &str {
    event["type"].as_str().expect("an event has a type")
}
