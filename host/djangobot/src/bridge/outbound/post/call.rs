//! One call of Slack, and what is kept on the disk about it while it is made.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use djangobot_slack::method::Method;
use serde_json::{Map, Value, json};

use super::repeat::Repeat;
use crate::bridge::message_key::MessageKey;
use crate::bridge::outbound::files::SHARE;
use crate::bridge::outbound::outbox::{Outbox, RowId};
use crate::bridge::reply::{DEFAULT_METHOD, SendFailure};

/// The `event_type` of the metadata that a post carries, so that it can be found again.
pub(super) const MARK: &str = "djangobot_send";
/// How long before a call Slack's clock is believed to have been where we saw it: clocks of Slack's own servers differ.
pub(super) const MARGIN: f64 = 60.0;
/// A post may be missing in the history for so long after its call has ended.
pub(super) const LAG: Duration = Duration::from_secs(2);

/// A call, its destination found.
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
    /// A call with the id of its conversation, under the name of that argument.
    pub(super) fn new(
        method: &'static Method,
        channel: Option<(&str, String)>,
        mut arguments: Map<String, Value>,
    ) -> Self {
        if let Some((key, id)) = &channel {
            arguments.insert((*key).to_owned(), id.as_str().into());
        }
        let repeat = match Repeat::of(method) {
            // There is no conversation in which it could be seen.
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

    /// Names the files that it shares, which have been uploaded.
    pub(super) fn set_files(&mut self, files: Vec<Value>) {
        let files = Value::from(files);
        self.files = ids_of(Some(&files));
        self.arguments.insert("files".into(), files);
    }

    /// The thread that it posts in.
    pub(super) fn thread(&self) -> Option<&str> {
        self.arguments.get("thread_ts").and_then(Value::as_str)
    }

    /// Puts our mark on a post that has no metadata of the app's.
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

/// Whether a call was made before of which nobody knows whether it had its effect.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Doubt {
    /// None was.
    #[default]
    None,
    /// One may have been. Slack is asked, and where it does not say, it had no effect.
    Faint(CallTime),
    /// One was made. Unless Slack says what became of it, it is not made again.
    Begun {
        time: CallTime,
        why: Option<SendFailure>,
    },
}

/// The moment before which a call was not made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Since {
    /// A time of Slack's, in seconds since 1970; 0 where it is not known.
    Slack(f64),
    /// The time at which the message was given to us, by our clock, in seconds since 1970.
    Accepted(f64),
}

impl Since {
    /// In Slack's seconds, where it is `now` there; 0 where it is not known.
    pub(super) fn in_slack_time(self, now: Option<f64>) -> f64 {
        match (self, now) {
            (Self::Slack(since), _) => since,
            (Self::Accepted(_), None) => 0.0,
            (Self::Accepted(at), Some(now)) => {
                let our_now = SystemTime::now().duration_since(UNIX_EPOCH);
                let age = our_now.unwrap_or_default().as_secs_f64() - at;
                (now - age.max(0.0) - MARGIN).max(0.0)
            }
        }
    }
}

/// Between which moments a call was made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CallTime {
    pub(crate) since: Since,
    /// Before this moment of ours.
    pub(crate) ended: Instant,
}

impl CallTime {
    /// A call that has ended by now.
    pub(crate) fn until_now(since: Since) -> Self {
        let ended = Instant::now();
        Self { since, ended }
    }

    /// A history that is read from this moment on shows the post of the call, if there is one.
    pub(super) fn is_seen_from(&self) -> Instant {
        self.ended + LAG
    }
}

/// What is known of a message's call, here and on the disk.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) outbox: Outbox,
    /// Where the disk has it, if it does.
    pub(crate) row: Option<RowId>,
    pub(crate) key: MessageKey,
    pub(crate) doubt: Doubt,
    /// The ids of the files that an earlier run was about to share.
    pub(crate) files: Vec<String>,
    /// Whether an earlier call may have had its effect already.
    pub(crate) is_repeat: bool,
    /// From when on it is too late.
    pub(crate) deadline: Option<Instant>,
}

impl Record {
    /// One for a call that may be made twice.
    pub(super) fn none(outbox: &Outbox) -> Self {
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

    /// Notes that a call is about to be made; the time of Slack's after which it will have had its effect.
    ///
    /// Where the disk can't take the note, the call is made all the same, and the next start is told that a note is
    /// missing.
    pub(super) async fn begin(&mut self, call: &Call, now: Option<f64>) -> f64 {
        let since = now.map_or(0.0, |now| (now - MARGIN).max(0.0));
        if let Some(row) = self.row
            && let Err(error) = self.outbox.begun(row, since, &call.files).await
        {
            tracing::debug!("a call of Slack is made without a note on the disk: {error}");
            self.outbox.note_gap();
        }
        since
    }

    /// Notes that the call that was begun surely had no effect.
    pub(super) async fn not_begun(&self) {
        if let Some(row) = self.row
            && let Err(error) = self.outbox.not_begun(row).await
        {
            tracing::debug!("a call without effect stays noted on the disk: {error}");
        }
    }
}
