//! The evidence of a run, read where it can't be wrong: the worker's own notes, Slack's history, Redis's log, the
//! host's log and state.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::aof::Told;
use crate::host::Life;
use crate::plan::Rights;
use crate::stage::{Stage, TEAM};
use crate::traffic::Written;

/// An event that the worker handled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Handled {
    /// The channel that it came on.
    pub(crate) channel: String,
    /// `djangobot.id`.
    pub(crate) id: String,
    pub(crate) conversation: String,
    pub(crate) ts: String,
    pub(crate) text: String,
}

impl Handled {
    /// The key of the event in Redis's log.
    pub(crate) fn name(&self) -> &str {
        match &*self.channel {
            "slack.reaction_added" => &self.text,
            _ => &self.id,
        }
    }
}

/// The channel of an event, its conversation, and its `ts` or name.
pub(crate) type Key<'a> = (&'a str, &'a str, &'a str);

/// The end of `djangobot.id` of a message or a mention.
pub(crate) fn end_of_id((channel, conversation, ts): &Key<'_>) -> String {
    let kind = channel.strip_prefix("slack.").unwrap_or(channel);
    format!("{kind}.{conversation}.{ts}")
}

/// The notes of the app.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// In the order of handling.
    pub(crate) handled: Vec<Handled>,
    /// Labels of its answers, in the order in which it sent them.
    pub(crate) answers: Vec<String>,
    /// Outcomes that the app got: label, whether it was sent, and the error.
    pub(crate) outcomes: Vec<(String, bool, String)>,
}

/// A message in Slack's history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Posted {
    pub(crate) conversation: String,
    pub(crate) ts: String,
    pub(crate) text: String,
}

/// The work that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Events that never were on the layer.
    pub(crate) events: usize,
    /// Events that were, and that nobody handled: waiting, or lost by their reader.
    pub(crate) taken: usize,
    /// Messages of the app that were neither posted nor reported.
    pub(crate) sends: usize,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) rights: Rights,
    /// Conversations that are private channels.
    private: HashSet<String>,
    /// How the bot is mentioned.
    mention: String,
    pub(crate) written: Written,
    /// Reactions that Slack gave up.
    pub(crate) given_up: HashSet<String>,
    pub(crate) notes: Notes,
    /// Each conversation's oldest first.
    pub(crate) history: Vec<Posted>,
    pub(crate) told: Told,
    /// Dead letters: label, or the whole message where it has none, and the error.
    pub(crate) letters: Vec<(String, String)>,
    /// The host's output, once it has ended.
    pub(crate) lives: Vec<Life>,
}

impl Notes {
    pub(crate) fn read(path: &Path) -> Notes {
        let mut notes = Notes::default();
        let text = fs::read_to_string(path).unwrap_or_default();
        for line in text.lines() {
            // The last line may still be being written.
            let Ok(record) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
            if record.get("id").is_some() {
                notes.handled.push(Handled {
                    channel: text("channel"),
                    id: text("id"),
                    conversation: text("conversation"),
                    ts: text("ts"),
                    text: text("text"),
                });
            } else if record.get("sends").is_some() {
                notes.answers.push(text("sends"));
            } else if record.get("outcome").is_some() {
                let was_sent = text("outcome") == "slack.sent";
                notes
                    .outcomes
                    .push((text("request"), was_sent, text("error")));
            }
        }
        notes
    }
}

impl Evidence {
    /// What there is by now, but for the host's logs; `told` is what was read of Redis's log before.
    pub(crate) async fn gather(stage: &Stage, written: &Written, mut told: Told) -> Evidence {
        told.read_on(&stage.redis_folder);
        Evidence {
            rights: stage.rights,
            private: stage.private.clone(),
            mention: stage.mention.clone(),
            written: written.clone(),
            given_up: stage.given_up.lock().await.clone(),
            notes: Notes::read(&stage.folder.join("handled.jsonl")),
            history: posted(stage),
            told,
            letters: letters(&stage.folder.join("state/state.db")),
            lives: Vec::new(),
        }
    }

    /// Figures that change as long as anything comes.
    pub(crate) fn progress(&self) -> [usize; 5] {
        [
            self.notes.handled.len(),
            self.notes.outcomes.len(),
            self.history.len(),
            self.letters.len(),
            self.told.events.len() + self.told.sends.len(),
        ]
    }

    /// Whether the app is given events of this channel and conversation.
    pub(crate) fn is_given(&self, channel: &str, conversation: &str) -> bool {
        self.rights.has(match channel {
            "slack.message" if self.private.contains(conversation) => "message.groups",
            "slack.message" => "message.channels",
            other => other.strip_prefix("slack.").unwrap_or(other),
        })
    }

    /// Events by what they are, and where each is to be handled.
    pub(crate) fn expected(&self) -> Vec<Key<'_>> {
        let messages = self
            .history
            .iter()
            .map(|it| ("slack.message", &*it.conversation, &*it.ts));
        let mentions = self
            .history
            .iter()
            .filter(|it| it.text.contains(&self.mention))
            .map(|it| ("slack.app_mention", &*it.conversation, &*it.ts));
        let reactions = self
            .written
            .reactions
            .iter()
            .filter(|(_, name)| !self.given_up.contains(name))
            .map(|(conversation, name)| ("slack.reaction_added", &**conversation, &**name));
        let all = messages.chain(mentions).chain(reactions);
        all.filter(|(channel, conversation, _)| self.is_given(channel, conversation))
            .collect()
    }

    /// Handled events by the same.
    pub(crate) fn handled(&self) -> HashMap<Key<'_>, Vec<&Handled>> {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        for one in &self.notes.handled {
            let name = match &*one.channel {
                "slack.reaction_added" => &one.text,
                _ => &one.ts,
            };
            let key = (&*one.channel, &*one.conversation, &**name);
            all.entry(key).or_default().push(one);
        }
        all
    }

    /// Labels of what is reported as not, or perhaps not, sent.
    pub(crate) fn reported(&self) -> BTreeMap<&str, &str> {
        let failed = self
            .notes
            .outcomes
            .iter()
            .filter(|(_, was_sent, _)| !was_sent);
        let failed = failed.map(|(label, _, error)| (&**label, &**error));
        let letters = self
            .letters
            .iter()
            .map(|(label, error)| (&**label, &**error));
        failed.chain(letters).collect()
    }

    /// Whether the layer was given an event, and did not throw it away as too old.
    pub(crate) fn was_told(&self, key: &Key<'_>) -> bool {
        let name = match *key {
            ("slack.reaction_added", _, name) => name.to_owned(),
            _ => format!("{TEAM}.{}", end_of_id(key)),
        };
        self.told.events.contains_key(&name) && !self.told.expired.contains(&name)
    }

    /// The events and messages that are still on their way.
    pub(crate) fn pending(&self) -> Pending {
        let handled = self.handled();
        let expected = self.expected();
        let unhandled = expected
            .into_iter()
            .filter(|key| !handled.contains_key(key));
        let (taken, events): (Vec<_>, Vec<_>) = unhandled.partition(|key| self.was_told(key));
        let posted: HashSet<&str> = self.history.iter().map(|it| &*it.text).collect();
        let reported = self.reported();
        let sends = self
            .told
            .sends
            .keys()
            .filter(|label| !posted.contains(&***label) && !reported.contains_key(&***label))
            .count();
        Pending {
            events: events.len(),
            taken: taken.len(),
            sends,
        }
    }
}

fn posted(stage: &Stage) -> Vec<Posted> {
    let mut all = Vec::new();
    for conversation in &stage.conversations {
        let messages = stage.control.messages(conversation);
        for message in messages.into_iter().flatten() {
            let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
            // Joins and the like are not messages of ours.
            if message.get("subtype").is_none_or(|it| it == "bot_message") {
                all.push(Posted {
                    conversation: conversation.clone(),
                    ts: text("ts"),
                    text: text("text"),
                });
            }
        }
    }
    all
}

/// The kinds of events that the host remembers to have come live.
pub(crate) fn kinds_seen(path: &Path) -> Vec<String> {
    let seen = || -> rusqlite::Result<Vec<u8>> {
        let query = "SELECT value FROM facts WHERE key = 'activity'";
        look(path)?.query_row(query, [], |row| row.get(0))
    };
    // It has not seen any before there is such a row.
    let seen: Value = serde_json::from_slice(&seen().unwrap_or_default()).unwrap_or_default();
    let kinds = seen["kinds"].as_object().into_iter().flatten();
    kinds.map(|(kind, _)| kind.clone()).collect()
}

fn letters(path: &Path) -> Vec<(String, String)> {
    let all = || -> rusqlite::Result<Vec<(String, String)>> {
        let database = look(path)?;
        let mut query = database.prepare("SELECT message, error FROM dead_letters")?;
        let rows = query.query_map([], |row| {
            let message: Vec<u8> = row.get(0)?;
            Ok((label(&message), row.get(1)?))
        })?;
        rows.collect()
    };
    // A host that has just begun has no state; one that writes may hold it for a moment.
    all().unwrap_or_default()
}

fn label(message: &[u8]) -> String {
    let read: Value = serde_json::from_slice(message).unwrap_or_default();
    let text = read["text"].as_str().map(ToOwned::to_owned);
    text.unwrap_or_else(|| String::from_utf8_lossy(message).into_owned())
}

/// Unfinished rows in the host's tables: table and number.
pub(crate) fn unfinished(path: &Path) -> Result<Vec<(&'static str, u64)>, rusqlite::Error> {
    let database = look(path)?;
    let count = |query: &str| database.query_row(query, [], |row| row.get(0));
    let has_outbox = count("SELECT count(*) FROM sqlite_master WHERE name = 'outbox'")? > 0;
    let outbox = match has_outbox {
        true => count("SELECT count(*) FROM outbox WHERE message IS NOT NULL")?,
        false => 0,
    };
    let rows = [
        ("spool", count("SELECT count(*) FROM spool")?),
        ("outbox", outbox),
    ];
    Ok(rows.into_iter().filter(|(_, rows)| *rows > 0).collect())
}

fn look(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}
