//! Answers of the app to slash commands, clicks, shortcuts and dialogs.
//!
//! Such an event is a *question* here, and has a `reply_channel` of its own. Where Slack waits for an answer, the app's
//! first one goes into the acknowledgement if it comes before the deadline; else the acknowledgement is empty. All
//! others are posted to the event's `response_url`: five at most, for half an hour, across restarts, in their order.
//!
//! All reply channels are names in one queue, `slack.answers.<host>!`, which one task empties. [`AnswerDesk`] knows by
//! its [`Questions`] to which event each answer belongs. An answer is noted in the state as begun, then posted, then
//! its outcome is reported, and only then the layer forgets it. So an answer that a crash interrupts comes again, is
//! known as begun, and is not shown twice.

mod answer;
mod desk;
mod parts;
mod pending;
mod post;
mod questions;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use djangobot_channels::{ChannelName, ReceiverId};
use djangobot_event::Event;
use djangobot_plugins::PluginAnswer;
use djangobot_slack::{Ack, ResponseUrl};
use tokio::sync::mpsc;

use crate::bridge::inbound::custody::Custody;
use crate::bridge::moment::unix_seconds_now;
use crate::bridge::reply::SendFailure;
use crate::journal::JournalError;

use answer::{Answer, Kind};
pub(crate) use desk::AnswerDesk;
use desk::{DeskInput, NewQuestion, OwnAnswer};
pub(crate) use parts::Parts;
use post::Poster;
use questions::{AnswerAddress, PendingAck, Question, Questions};

/// The most questions that wait for the task. Beyond it the way in waits.
const MAX_NEW_QUESTIONS: usize = 1_024;

/// The way in's end of the answers: gives events their reply channels.
pub(crate) struct Answers {
    /// The queue of all of them, which ends with `!`.
    queue: ChannelName,
    /// How long the acknowledgement waits for the app's answer; zero if it never waits.
    wait: Duration,
    desk: mpsc::Sender<DeskInput>,
}

/// The JSON that Slack gets of an answer.
///
/// # Errors
///
/// Fails if the answer is not one that Slack takes.
pub(crate) fn body_of(message: &Event) -> Result<Bytes, SendFailure> {
    Answer::read(message).1.map(|answer| answer.json())
}

impl Answers {
    /// Makes the two ends: that of the way in, and the task that has to run as well. `reader` is the host's name, under
    /// which answers are found after a restart. `has_interactions` says whether the transport brings questions.
    ///
    /// # Errors
    ///
    /// Fails if the state can't be read, or if the host's name does not fit into a channel's name.
    pub(crate) async fn open(
        parts: Parts,
        reader: ReceiverId,
        wait: Duration,
        has_interactions: bool,
    ) -> Result<(Self, AnswerDesk), AnswersError> {
        let queue = ChannelName::new(&format!("slack.answers.{}!", reader.0))?;
        let questions = Questions::open(&parts.journal, unix_seconds_now()).await?;
        let (sender, receiver) = mpsc::channel(MAX_NEW_QUESTIONS);
        let desk = AnswerDesk {
            queue: queue.clone(),
            reader,
            is_wanted: has_interactions || questions.len() > 0,
            inputs: receiver,
            questions,
            behind: 0,
            forgotten: Vec::new(),
            tidied: Instant::now(),
            poster: Arc::new(Poster::new(parts)),
        };
        let answers = Self {
            queue,
            wait,
            desk: sender,
        };
        Ok((answers, desk))
    }

    /// Whether this acknowledgement waits for an answer.
    pub(crate) fn wants(&self, ack: &Ack) -> bool {
        !self.wait.is_zero() && ack.accepts_payload()
    }

    /// A reply channel for the event `id` of Slack's type `kind`, if it takes answers: in its acknowledgement `ack`,
    /// which the desk gives then, or at `addresses`.
    pub(crate) async fn expect(
        &self,
        id: &str,
        kind: &str,
        ack: Option<Ack>,
        addresses: &[ResponseUrl],
        custody: &Custody,
    ) -> Option<ChannelName> {
        if ack.is_none() && addresses.is_empty() {
            return None;
        }
        let token = uuid::Uuid::new_v4().simple().to_string();
        let channel = self.queue.join(&token).ok()?;
        let address = |url: &ResponseUrl| AnswerAddress {
            url: url.clone(),
            begun: Vec::new(),
        };
        let addresses: Vec<_> = addresses.iter().map(address).collect();
        let question = NewQuestion {
            token,
            deadline: ack
                .as_ref()
                .map(|ack| ack.deadline().min(Instant::now() + self.wait)),
            part: (!addresses.is_empty()).then(|| custody.add_part()),
            question: Question {
                kind: Kind::of(kind),
                id: id.into(),
                at: unix_seconds_now(),
                ack: ack.map(|ack| PendingAck {
                    ack,
                    safe: custody.signal(),
                }),
                addresses,
                waiting: VecDeque::new(),
                is_busy: false,
            },
        };
        // This fails only when the bridge ends. The custody ends with it, and Slack redelivers the event.
        self.desk.send(DeskInput::Question(question)).await.ok()?;
        Some(channel)
    }

    /// Gives a plugin's answer to the event whose reply channel `channel` is. It is put on that channel, and so goes the
    /// same way as an app's answer, with the same deadline, tries and bounds.
    pub(crate) async fn answer(
        &self,
        channel: &ChannelName,
        answer: PluginAnswer,
        custody: &Custody,
    ) {
        let answer = OwnAnswer {
            channel: channel.clone(),
            answer,
            part: custody.add_part(),
        };
        // This fails only when the bridge ends. The custody ends with it, and Slack redelivers the event.
        let _ = self.desk.send(DeskInput::Answer(answer)).await;
    }
}

/// The reason for which the bridge can't take answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswersError {
    #[error(transparent)]
    Name(#[from] djangobot_channels::NameError),
    #[error(transparent)]
    State(#[from] JournalError),
}
