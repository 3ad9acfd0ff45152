//! One call of Slack, the doubt whether it had its effect, and its record in the outbox.

use std::time::{Duration, Instant};

use djangobot_slack::Ts;
use djangobot_slack::method::Method;
use serde_json::{Map, Value, json};

use crate::bridge::message_key::MessageKey;
use crate::bridge::moment::{between, ts_now};
use crate::bridge::outbound::files::SHARE;
use crate::bridge::outbound::outbox::{Outbox, RowId};
use crate::bridge::outbound::post::repeat::Repeat;
use crate::bridge::reply::{DEFAULT_METHOD, SendFailure};

/// The `event_type` of the metadata that a post carries, so that it can be found again.
pub(super) const MARK: &str = "djangobot_send";
/// A history is read from so long before the call, since the clocks of Slack's own servers differ.
pub(super) const MARGIN: Duration = Duration::from_secs(60);
/// A post may be missing in the history for so long after its call has ended.
pub(super) const LAG: Duration = Duration::from_secs(2);

/// A call whose destination is found.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: &'static Method,
    pub(super) channel: Option<String>,
    pub(super) arguments: Map<String, Value>,
    pub(super) repeat: Repeat,
    /// The ids of the files that it shares.
    pub(super) files: Vec<String>,
}

impl Call {
    /// A call with the id of its conversation `channel` in the argument of that name.
    pub(super) fn new(
        method: &'static Method,
        channel: Option<(&str, String)>,
        mut arguments: Map<String, Value>,
    ) -> Self {
        if let Some((key, id)) = &channel {
            arguments.insert((*key).to_owned(), id.as_str().into());
        }
        let repeat = match Repeat::of(method) {
            // Without a conversation there is no history in which it could be seen.
            Repeat::Visible if channel.is_none() => Repeat::Unknown,
            other => other,
        };
        Self {
            files: match method.name == SHARE {
                true => ids_of(arguments.get("files")),
                false => Vec::new(),
            },
            method,
            channel: channel.map(|(_, id)| id),
            arguments,
            repeat,
        }
    }

    /// Sets the uploaded files that it shares.
    pub(super) fn set_files(&mut self, files: Vec<Value>) {
        let files = Value::from(files);
        self.files = ids_of(Some(&files));
        self.arguments.insert("files".into(), files);
    }

    /// The thread in which it posts.
    pub(super) fn thread(&self) -> Option<&str> {
        self.arguments.get("thread_ts").and_then(Value::as_str)
    }

    /// Puts our mark on a post, unless the app gave metadata.
    pub(super) fn mark(&mut self, key: MessageKey) {
        let has_own = self
            .arguments
            .get("metadata")
            .is_some_and(|it| !it.is_null());
        if self.method.name == DEFAULT_METHOD && !has_own {
            let mark = json!({"event_type": MARK, "event_payload": {"id": key.to_string()}});
            self.arguments.insert("metadata".into(), mark);
        }
    }

    /// Whether it has our mark.
    pub(super) fn is_marked(&self) -> bool {
        self.arguments
            .get("metadata")
            .is_some_and(|it| it["event_type"] == MARK)
    }

    pub(super) fn unmark(&mut self) {
        if self.is_marked() {
            self.arguments.remove("metadata");
        }
    }
}

fn ids_of(files: Option<&Value>) -> Vec<String> {
    let files = files.and_then(Value::as_array).into_iter().flatten();
    let ids = files.filter_map(|file| file["id"].as_str());
    ids.map(str::to_owned).collect()
}

/// The doubt whether an earlier call had its effect.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Doubt {
    /// No such call was made.
    #[default]
    None,
    /// A call may have been made. It is looked up, and if that is not possible, it counts as without effect.
    Faint(CallTime),
    /// A call was made. It is made again only if the lookup shows that it had no effect.
    Begun {
        time: CallTime,
        why: Option<SendFailure>,
    },
}

/// The moment before which a call was not made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LowerBound {
    /// A time of Slack's; 1970 if it is not known.
    Slack(Ts),
    /// The time at which the message was given to us, by our clock.
    Accepted(Ts),
}

impl LowerBound {
    /// The moment by Slack's clock, where it is `now`; 1970 if it is not known.
    pub(super) fn in_slack_time(self, now: Option<Ts>) -> Ts {
        match (self, now) {
            (Self::Slack(since), _) => since,
            (Self::Accepted(_), None) => Ts::default(),
            (Self::Accepted(at), Some(now)) => {
                let age = between(at, ts_now());
                now.saturating_sub(age).saturating_sub(MARGIN)
            }
        }
    }
}

/// The time of a call: between `since` and `ended`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CallTime {
    pub(crate) since: LowerBound,
    /// The call had ended before this moment.
    pub(crate) ended: Instant,
}

impl CallTime {
    /// A call that has ended by now.
    pub(crate) fn until_now(since: LowerBound) -> Self {
        let ended = Instant::now();
        Self { since, ended }
    }

    /// A history that is read from this moment on shows the post of the call, if there is one.
    pub(super) fn is_seen_from(&self) -> Instant {
        self.ended + LAG
    }
}

/// The record of a message's call, in memory and on the disk.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) outbox: Outbox,
    /// The row of the message, if the outbox has it.
    pub(crate) row: Option<RowId>,
    pub(crate) key: MessageKey,
    pub(crate) doubt: Doubt,
    /// The ids of the files that an earlier run was about to share.
    pub(crate) files: Vec<String>,
    /// Whether an earlier call may have had its effect already.
    pub(crate) is_repeat: bool,
    /// The moment from which on the message is too old to be sent.
    pub(crate) deadline: Option<Instant>,
}

impl Record {
    /// The record of a call of our own, which may be made twice.
    pub(super) fn untracked(outbox: &Outbox) -> Self {
        Self {
            outbox: outbox.clone(),
            row: None,
            key: MessageKey::new(),
            doubt: Doubt::None,
            files: Vec::new(),
            is_repeat: false,
            deadline: None,
        }
    }

    pub(super) fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Notes that a call is about to be made. Gives the time of Slack's after which it will have had its effect.
    ///
    /// If the disk does not take the note, the call is made all the same, and the marker file of the outbox is deleted.
    pub(super) async fn begin(&mut self, call: &Call, now: Option<Ts>) -> Ts {
        let since = now.map_or(Ts::default(), |now| now.saturating_sub(MARGIN));
        if let Some(row) = self.row
            && let Err(error) = self.outbox.note_begun(row, since, &call.files).await
        {
            tracing::debug!(%error, "a call of Slack is made without a note on the disk");
            self.outbox.note_gap();
        }
        since
    }

    /// Notes that the call that was begun surely had no effect.
    pub(super) async fn clear_begun(&self) {
        if let Some(row) = self.row
            && let Err(error) = self.outbox.clear_begun(row).await
        {
            tracing::debug!(%error, "a call without effect stays noted as begun; after a crash it is looked up");
        }
    }
}
