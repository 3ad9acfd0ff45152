//! What comes live: which kinds of messages the app is given, and in which conversations something was said of late.
//!
//! Slack's history does not say what an app is subscribed to, so that after a gap only such kinds are read as came live
//! before. It is kept in the state, for the process may be what was missing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use djangobot_event::Event;
use djangobot_event::lock::lock;
use djangobot_slack::Roster;
use djangobot_slack::roster::ConversationKind;
use serde::{Deserialize, Serialize};

use crate::config::HistoryEvent;

/// Conversations that are remembered, at most; those in which nothing was said for longest are forgotten.
const CONVERSATIONS: usize = 4_000;
/// A kind that did not come for so many seconds may no longer be subscribed to.
const FORGOTTEN: u64 = 30 * 24 * 3600;
/// How often the time of what is known already is noted anew, in seconds.
const EVERY: u64 = 60;

/// What came live. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    seen: Seen,
    change: Change,
}

/// How much of it the disk does not have.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    #[default]
    None,
    /// Times, which can wait.
    Times,
    /// A kind that had not come before.
    Kind,
}

/// As it is kept. Times are Unix seconds of this machine's clock.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Seen {
    kinds: HashMap<HistoryEvent, u64>,
    conversations: HashMap<String, Conversation>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Conversation {
    /// The kind of messages that come in it.
    kind: HistoryEvent,
    at: u64,
}

impl Activity {
    /// What was kept; nothing where that can't be read.
    pub(crate) fn read(kept: &[u8]) -> Self {
        let seen: Seen = serde_json::from_slice(kept).unwrap_or_default();
        let entries = Entries {
            seen,
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
        let known = entries.seen.conversations.get(&*channel).copied();
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
        let last = entries.seen.kinds.get(&came).copied();
        if last.is_none_or(|last| now.abs_diff(last) >= EVERY) {
            entries.seen.kinds.insert(came, now);
            entries.change = entries.change.max(match last {
                None => Change::Kind,
                Some(_) => Change::Times,
            });
        }
        if known.is_none_or(|it| now.abs_diff(it.at) >= EVERY || it.kind != of) {
            if known.is_none() && entries.seen.conversations.len() >= CONVERSATIONS {
                entries.seen.forget_quiet();
            }
            let noted = Conversation { kind: of, at: now };
            let conversations = &mut entries.seen.conversations;
            conversations.insert(channel.chars().take(40).collect(), noted);
            entries.change = entries.change.max(Change::Times);
        }
    }

    /// The kinds that come.
    pub(crate) fn kinds(&self) -> Vec<HistoryEvent> {
        let now = seconds_now();
        let entries = self.entries();
        let kinds = entries.seen.kinds.iter();
        let recent = kinds.filter(|(_, at)| now.abs_diff(**at) < FORGOTTEN);
        recent.map(|(kind, _)| *kind).collect()
    }

    /// The conversations in which something came, with their kind and the Unix seconds when that was, the latest first.
    pub(crate) fn conversations(&self) -> Vec<(String, HistoryEvent, u64)> {
        let entries = self.entries();
        let all = entries.seen.conversations.iter();
        let mut all: Vec<_> = all.map(|(id, it)| (id.clone(), it.kind, it.at)).collect();
        all.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
        all
    }

    /// What the disk is to have: at once where a kind is new, else only where there is time to `tidy`.
    pub(crate) fn unsaved(&self, tidy: bool) -> Option<Vec<u8>> {
        let mut entries = self.entries();
        let is_due = match entries.change {
            Change::None => false,
            Change::Times => tidy,
            Change::Kind => true,
        };
        if !is_due {
            return None;
        }
        entries.change = Change::None;
        serde_json::to_vec(&entries.seen).ok()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.0)
    }
}

impl Seen {
    /// Forgets the tenth of the conversations that was quiet for longest.
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

/// By the `channel_type` that messages have which come as events.
fn event_of_type(channel_type: &str) -> Option<HistoryEvent> {
    Some(match channel_type {
        "channel" => HistoryEvent::Channels,
        "group" => HistoryEvent::Groups,
        "im" | "app_home" => HistoryEvent::Im,
        "mpim" => HistoryEvent::Mpim,
        _ => return None,
    })
}

/// What kind of conversation it is, as far as that can be known.
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
    fn kinds_are_told_apart_by_their_conversation_and_kept() {
        let activity = Activity::default();
        let of = |channel: &str, of: &str| {
            format!(r#"{{"type":"message","channel":"{channel}","channel_type":"{of}"}}"#)
        };
        note(&activity, "message", of("C1", "channel"));
        assert!(
            activity.unsaved(false).is_some(),
            "a new kind is kept at once"
        );
        note(&activity, "message", of("C2", "channel"));
        assert_eq!(activity.unsaved(false), None);
        note(&activity, "message", of("D1", "im"));
        note(&activity, "message", r#"{"channel":"G1"}"#.into());
        note(&activity, "app_mention", r#"{"channel":"C3"}"#.into());
        note(&activity, "reaction_added", r#"{"channel":"C4"}"#.into());
        let kept = Activity::read(&activity.unsaved(false).unwrap());
        let mut kinds: Vec<_> = kept.kinds().iter().map(|it| format!("{it:?}")).collect();
        kinds.sort();
        assert_eq!(kinds, ["Channels", "Groups", "Im", "Mention"]);
        let conversations: Vec<_> = kept.conversations().into_iter().map(|it| it.0).collect();
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
