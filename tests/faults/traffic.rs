//! The traffic of a run: numbered events of people and messages of the app, in bursts and trickles.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use crate::dice::Dice;
use crate::plan::{Plan, Transport};
use crate::stage::{Stage, Wish};

/// Of so many events, one is no message, where there is a transport that gives it again.
const OTHER: u64 = 10;
/// Of so many messages, one mentions the bot, where the app wants to hear of that.
const MENTION: u64 = 3;

/// The events that people caused in Slack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    /// Messages: conversation and `ts`.
    pub(crate) messages: Vec<(String, String)>,
    /// Reactions: conversation and name.
    pub(crate) reactions: Vec<(String, String)>,
}

/// Lets people write until the plan's end.
pub(crate) async fn people(plan: &Plan, stage: &Stage) -> Written {
    let mut dice = Dice::for_purpose(plan.seed, "people");
    let (end, mut written) = (Instant::now() + plan.length, Written::default());
    let mut number = 0;
    while Instant::now() < end {
        let (burst, pause) = burst(&mut dice);
        for _ in 0..burst {
            let conversation = dice.pick(&stage.conversations);
            let gets_others =
                plan.transport != Transport::Rtm && stage.rights.has("reaction_added");
            if gets_others && number % OTHER == 7 {
                let name = format!("n{number}");
                stage.control.event(&json!({
                    "type": "reaction_added", "user": "U1", "reaction": name, "event_ts": format!("{number}.000000"),
                    "item": {"type": "message", "channel": conversation, "ts": "1.000000"},
                }));
                written.reactions.push((conversation, name));
            } else {
                let ts = say(stage, &conversation, number);
                written.messages.push((conversation, ts));
            }
            number += 1;
        }
        let _ = timeout_at(end, sleep(pause)).await;
    }
    written
}

/// Lets the app send until the plan's end; gives the labels of what it was told to send, in order.
pub(crate) async fn sends(plan: &Plan, stage: &Stage) -> Vec<String> {
    let mut dice = Dice::for_purpose(plan.seed, "sends");
    let end = Instant::now() + plan.length;
    let (sender, mut labels) = (Arc::clone(&stage.sender), Vec::new());
    let mut number = 0;
    while Instant::now() < end {
        for wish in stage.take_wishes() {
            let message = wished(wish, number);
            labels.push(message["id"].as_str().unwrap_or_default().to_owned());
            sender.lock().await.write_line(&message.to_string()).await;
            number += 1;
        }
        let (burst, pause) = burst(&mut dice);
        for _ in 0..burst {
            let conversation = dice.pick(&stage.conversations);
            let label = format!("~s/{conversation}/{number}~");
            let mut message = json!({"text": label, "channel": conversation});
            // Of the others nobody hears, so that a failure becomes a dead letter.
            if number % 2 == 0 {
                message["reply_channel"] = json!("faults.outcome");
                message["id"] = json!(label);
            }
            sender.lock().await.write_line(&message.to_string()).await;
            labels.push(label);
            number += 1;
        }
        let _ = timeout_at(end, sleep(pause)).await;
    }
    sender.lock().await.close_stdin();
    labels
}

/// The message that a fault needs. Each kind has labels of its own: what goes by a name that nobody knows yet is in no
/// order with what goes by the id.
fn wished(wish: Wish, number: u64) -> Value {
    let (mut message, label) = match wish {
        Wish::ByName { conversation, name } => {
            let label = format!("~n/{conversation}/{number}~");
            (json!({"channel": name, "text": label}), label)
        }
        Wish::Poison {
            conversation,
            method,
            label,
        } => {
            let message =
                json!({"method": method, "channel": conversation, "ts": "1.000000", "text": label});
            (message, label)
        }
    };
    message["reply_channel"] = json!("faults.outcome");
    message["id"] = json!(label);
    message
}

/// How many come at once, and the pause after them: about eighty a second.
fn burst(dice: &mut Dice) -> (u64, Duration) {
    if dice.chance(12) {
        (
            dice.between(40, 150),
            Duration::from_millis(dice.between(200, 1500)),
        )
    } else {
        (
            dice.between(1, 4),
            Duration::from_millis(dice.between(5, 60)),
        )
    }
}

fn say(stage: &Stage, conversation: &str, number: u64) -> String {
    let mut text = format!("in {number}");
    if stage.rights.has("app_mention") && number.is_multiple_of(MENTION) {
        text.push_str(&format!(" {}", stage.mention));
    }
    let said = stage.control.say("alice", conversation, &text);
    said.expect("alice may write in all conversations")
}
