//! Live activity: which kinds of messages Slack gives the app, and in which conversations something was said recently.
//!
//! Slack's history does not say to which events an app is subscribed. So after a gap only those kinds are read that
//! came live before. They are kept in the state, because a gap may well be a time in which no process ran.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use djangobot_event::Event;
use djangobot_event::lock::lock;
use djangobot_slack::Roster;
use djangobot_slack::roster::ConversationKind;
use serde::{Deserialize, Serialize};

use crate::config::HistoryEvent;

/// The most conversations that are remembered: about 250 kB of JSON, which are written as a whole. Those that were
/// quiet for longest are forgotten first.
const CONVERSATIONS: usize = 4_000;
/// After so many seconds without an event of a kind, the app counts as no longer subscribed to it.
const KIND_LIFETIME: u64 = 30 * 24 * 3600;
/// How often the time of a kind or a conversation is updated, in seconds: most events change nothing on the disk.
const UPDATE_EVERY: u64 = 60;

/// The kinds and conversations that came live. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    record: Record,
    change: Change,
}

/// The part of the record that the disk does not have.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    #[default]
    None,
    /// Newer times, which can wait.
    Times,
    /// A kind that had not come before.
    Kind,
}

/// The record as the state keeps it, in JSON. Times are Unix seconds of this machine's clock.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    kinds: HashMap<HistoryEvent, u64>,
    conversations: HashMap<String, Conversation>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Conversation {
    /// The kind of messages that come in it.
    kind: HistoryEvent,
    /// When something came in it last.
    at: u64,
}

/// A conversation in which something came live.
pub(crate) struct ActiveConversation {
    pub(crate) id: String,
    /// The event by which its messages come.
    pub(crate) kind: HistoryEvent,
    /// When something came last, in Unix seconds.
    pub(crate) at: u64,
}

impl Activity {
    /// Reads the record of an earlier run; an empty one if another version wrote it in another form.
    pub(crate) fn read(json: &[u8]) -> Self {
        let record: Record = serde_json::from_slice(json).unwrap_or_default();
        let entries = Entries {
            record,
            change: Change::None,
        };
        Self(Arc::new(Mutex::new(entries)))
    }

    /// Notes an event of Slack's type `kind` that came live.
    pub(crate) fn note(&self, kind: &str, event: &Event, roster: &Roster) {
        if !matches!(kind, "message" | "app_mention") {
            return;
        }
        let Some(channel) = event.text("/channel") else {
            return;
        };
        let now = seconds_now();
        let mut entries = self.entries();
        let known = entries.record.conversations.get(&*channel).copied();
        let of = event
            .text("/channel_type")
            .and_then(|of| event_of_type(&of))
            .or(known.map(|it| it.kind))
            .unwrap_or_else(|| event_of(kind_of(&channel, roster)));
        let came = if kind == "message" {
            of
        } else {
            HistoryEvent::Mention
        };
        let last = entries.record.kinds.get(&came).copied();
        if last.is_none_or(|last| now.abs_diff(last) >= UPDATE_EVERY) {
            entries.record.kinds.insert(came, now);
            entries.change = entries.change.max(match last {
                None => Change::Kind,
                Some(_) => Change::Times,
            });
        }
        if known.is_none_or(|it| now.abs_diff(it.at) >= UPDATE_EVERY || it.kind != of) {
            if known.is_none() && entries.record.conversations.len() >= CONVERSATIONS {
                entries.record.forget_quiet();
            }
            let noted = Conversation { kind: of, at: now };
            let conversations = &mut entries.record.conversations;
            conversations.insert(channel.chars().take(40).collect(), noted);
            entries.change = entries.change.max(Change::Times);
        }
    }

    /// The kinds that came within the last [`KIND_LIFETIME`] seconds.
    pub(crate) fn kinds(&self) -> Vec<HistoryEvent> {
        let now = seconds_now();
        let entries = self.entries();
        let kinds = entries.record.kinds.iter();
        let recent = kinds.filter(|(_, at)| now.abs_diff(**at) < KIND_LIFETIME);
        recent.map(|(kind, _)| *kind).collect()
    }

    /// The conversations in which something came, the latest first.
    pub(crate) fn conversations(&self) -> Vec<ActiveConversation> {
        let entries = self.entries();
        let all = entries.record.conversations.iter();
        let mut all: Vec<_> = all
            .map(|(id, it)| ActiveConversation {
                id: id.clone(),
                kind: it.kind,
                at: it.at,
            })
            .collect();
        all.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.id.cmp(&b.id)));
        all
    }

    /// The record, if it has to be written: at once if a kind is new; if only times are, when `is_due` says that a
    /// regular write is due.
    pub(crate) fn take_unsaved(&self, is_due: bool) -> Option<Vec<u8>> {
        let mut entries = self.entries();
        let is_due = match entries.change {
            Change::None => false,
            Change::Times => is_due,
            Change::Kind => true,
        };
        if !is_due {
            return None;
        }
        entries.change = Change::None;
        serde_json::to_vec(&entries.record).ok()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.0)
    }
}

impl Record {
    /// Forgets the tenth of the conversations that was quiet for longest: several at once, so that they are seldom
    /// sorted.
    fn forget_quiet(&mut self) {
        let mut times: Vec<u64> = self.conversations.values().map(|it| it.at).collect();
        let (_, oldest, _) = times.select_nth_unstable(CONVERSATIONS / 10);
        let oldest = *oldest;
        self.conversations.retain(|_, it| it.at > oldest);
    }
}

/// The event by which messages in conversations of a kind come.
pub(crate) fn event_of(kind: ConversationKind) -> HistoryEvent {
    match kind {
        ConversationKind::Channel => HistoryEvent::Channels,
        ConversationKind::Private => HistoryEvent::Groups,
        ConversationKind::Im => HistoryEvent::Im,
        ConversationKind::Mpim => HistoryEvent::Mpim,
    }
}

/// The same by a message's `channel_type`, which messages on RTM do not have.
fn event_of_type(channel_type: &str) -> Option<HistoryEvent> {
    Some(match channel_type {
        "channel" => HistoryEvent::Channels,
        "group" => HistoryEvent::Groups,
        "im" | "app_home" => HistoryEvent::Im,
        "mpim" => HistoryEvent::Mpim,
        _ => return None,
    })
}

/// The kind of a conversation: as the roster knows it, else by the first letter of its id.
fn kind_of(channel: &str, roster: &Roster) -> ConversationKind {
    match (roster.conversation(channel), channel.chars().next()) {
        (Some(known), _) => known.kind(),
        (None, Some('D')) => ConversationKind::Im,
        (None, Some('G')) => ConversationKind::Private,
        (None, _) => ConversationKind::Channel,
    }
}

fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(activity: &Activity, kind: &str, event: String) {
        activity.note(kind, &Event::parse(event).unwrap(), &Roster::new());
    }

    #[test]
    fn kinds_follow_from_the_conversation_and_are_kept() {
        let activity = Activity::default();
        let of = |channel: &str, of: &str| {
            format!(r#"{{"type":"message","channel":"{channel}","channel_type":"{of}"}}"#)
        };
        note(&activity, "message", of("C1", "channel"));
        assert!(
            activity.take_unsaved(false).is_some(),
            "a new kind is kept at once"
        );
        note(&activity, "message", of("C2", "channel"));
        assert_eq!(activity.take_unsaved(false), None);
        note(&activity, "message", of("D1", "im"));
        note(&activity, "message", r#"{"channel":"G1"}"#.into());
        note(&activity, "app_mention", r#"{"channel":"C3"}"#.into());
        note(&activity, "reaction_added", r#"{"channel":"C4"}"#.into());
        let read = Activity::read(&activity.take_unsaved(false).unwrap());
        let mut kinds: Vec<_> = read.kinds().iter().map(|it| format!("{it:?}")).collect();
        kinds.sort();
        assert_eq!(kinds, ["Channels", "Groups", "Im", "Mention"]);
        let conversations: Vec<_> = read.conversations().into_iter().map(|it| it.id).collect();
        assert_eq!(conversations, ["C1", "C2", "C3", "D1", "G1"]);
        assert!(Activity::read(b"{").kinds().is_empty());
    }

    #[test]
    fn conversations_are_bounded() {
        let activity = Activity::default();
        for n in 0..CONVERSATIONS + 10 {
            note(&activity, "message", format!(r#"{{"channel":"C{n}"}}"#));
        }
        assert!(activity.conversations().len() <= CONVERSATIONS);
    }
}
