//! Events to begin with: a few of our own, and the collected samples of Slack's if they lie next to the repository.

use std::fs;
use std::path::Path;

/// Events of each shape that parsers tell apart.
pub const EVENTS: &[&str] = &[
    r#"{"type":"hello"}"#,
    r#"{"type":"message","channel":"C024BE91L","user":"U023BECGF","text":"hi <@U2> &amp; \u00e9\ud83d\ude00","ts":"1355517523.000005"}"#,
    r#"{"type":"message","subtype":"bot_message","bot_id":"B1","blocks":[{"type":"section","text":{"type":"mrkdwn","text":"*x*"}}],"edited":null}"#,
    r#"{"type":"error","error":{"code":1,"msg":"Socket URL has expired"}}"#,
    r#"{"ok":true,"reply_to":7,"ts":"1.2","text":"sent"}"#,
    r#"{"type":"reaction_added","item":{"type":"message","channel":"C1","ts":"1.2"},"event_ts":"1360782804.083113","n":-12.5e3}"#,
    r#"{"type":"x","type":"y","big":18446744073709551616,"a/b":{"m~n":[[],{},[{}]]},"":0,"yes":true,"no":false}"#,
];

/// The events that the roster listens to.
pub const ROSTER_EVENTS: &[&str] = &[
    r#"{"type":"team_join","user":{"id":"U1","name":"ada","profile":{"display_name":"Ada","real_name":"Ada L","bot_id":""},"is_bot":false,"deleted":false}}"#,
    r#"{"type":"bot_added","bot":{"id":"B1","name":"helper"}}"#,
    r#"{"type":"subteam_updated","subteam":{"id":"S1","handle":"ops","name":"Ops","date_delete":0}}"#,
    r#"{"type":"channel_created","channel":{"id":"C1","name":"general","is_channel":true,"is_private":false}}"#,
    r#"{"type":"channel_joined","channel":"C2"}"#,
    r#"{"type":"im_open","user":"U1","channel":"D1"}"#,
    r#"{"type":"channel_rename","channel":{"id":"C1","name":"all"}}"#,
    r#"{"type":"channel_archive","channel":"C1"}"#,
    r#"{"type":"member_joined_channel","user":"U0","channel":"C1"}"#,
    r#"{"type":"channel_id_changed","old_channel_id":"C1","new_channel_id":"G9"}"#,
    r#"{"type":"channel_deleted","channel":"C1"}"#,
];

/// Sample payloads of Slack's Events API: those that are found, in the order of their names.
pub fn of_slack() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/slack/events");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| fs::read(path).ok())
        .collect()
}
