//! What the layer refuses: found out whose fault it is, sent in parts, and an event that is refused alone made a dead letter.

use djangobot_channels::{LayerError, Member};
use djangobot_slack::Backoff;

use super::courier::{Courier, FIRST, REFUSED};
use super::lying::Outgoing;
use super::portion::Portion;
use super::unread::Reading;
use crate::state::DeadLetter;

/// How often an event is sent alone that the layer refuses by name, and one at which the connection ends each time,
/// before it becomes a dead letter.
const TRIES_REFUSED: u32 = 2;
const TRIES_CUT: u32 = 10;
/// The error of an event that became a dead letter.
const REFUSED_BY_LAYER: &str = "refused_by_layer";

/// What keeps the layer from taking a batch.
pub(super) enum Fault {
    /// The layer, or the whole channel: nothing is taken just now.
    Channel(LayerError),
    /// Something in the batch, as the channel itself takes a call.
    Batch(LayerError),
}

/// How the sending of what was refused goes.
pub(super) struct Trial {
    pub(super) portion: Portion,
    /// The number of the event that was refused alone last, and how often that was.
    alone: (u64, u32),
    pause: Backoff,
}

impl Trial {
    pub(super) fn new() -> Self {
        Self {
            portion: Portion::new(),
            alone: (0, 0),
            pause: Backoff::new(FIRST, REFUSED),
        }
    }

    /// A call succeeded.
    pub(super) fn succeeded(&mut self) {
        self.portion.succeeded();
        self.pause.succeeded();
    }

    /// Counts how often the event with number `seq` was refused alone.
    fn count(&mut self, seq: u64) -> u32 {
        let before = if self.alone.0 == seq { self.alone.1 } else { 0 };
        self.alone = (seq, before + 1);
        before + 1
    }
}

impl Courier {
    /// Goes on after a batch was refused for what is in it: with half of it, or, where it is one event, after a pause and
    /// at last without that event.
    pub(super) async fn try_parts(
        &self,
        batch: &[Outgoing],
        error: &LayerError,
        trial: &mut Trial,
        reading: &Reading,
    ) {
        self.errors.increment(1);
        let [event] = batch else {
            let bytes = batch.iter().map(|event| event.member.0.len()).sum();
            tracing::debug!(channel = %self.queue.channel, events = batch.len(), bytes, "{error}; trying half of them");
            return trial.portion.refused(bytes);
        };
        let (tries, most) = match error.refusal() {
            Some(_) => (trial.count(event.seq), TRIES_REFUSED),
            None => (trial.count(event.seq), TRIES_CUT),
        };
        if tries >= most
            && self
                .dead_letter(reading, (event.seq, &event.member), error, tries)
                .await
        {
            trial.portion.blamed_on_one();
            trial.pause.succeeded();
            return;
        }
        // It holds the others up: they are safe on the disk meanwhile.
        self.queue.set_stuck(true);
        trial.pause.wait().await;
    }

    /// Finds out whether the layer failed or refused a batch for what is in it: then the channel takes an empty call.
    pub(super) async fn blame(&self, error: LayerError) -> Fault {
        let may_be_content = match error.refusal() {
            Some(kind) => kind.is_about_content(),
            // A server or proxy that finds a request too large may just end the connection.
            None => matches!(error, LayerError::Unavailable { .. }),
        };
        if may_be_content && self.send(&[]).await.is_ok() {
            return Fault::Batch(error);
        }
        Fault::Channel(error)
    }

    /// Makes an event that the layer does not take a dead letter; says whether the disk has it.
    async fn dead_letter(
        &self,
        reading: &Reading,
        (seq, member): (u64, &Member),
        error: &LayerError,
        tries: u32,
    ) -> bool {
        let channel = self.queue.channel.as_str();
        let size = member.0.len();
        let detail = match error.refusal() {
            Some(_) => format!("{error}. It has {size} bytes."),
            None => format!(
                "{error}. So it was {tries} times while the channel took other calls: does the server, or a proxy before it, limit the size of a request? It has {size} bytes."
            ),
        };
        let payload = self
            .layer
            .unseal(member)
            .unwrap_or_else(|_| member.0.clone());
        let letter = DeadLetter {
            serializer: Some(self.layer.serializer()),
            ..DeadLetter::new(channel, REFUSED_BY_LAYER, &detail, &payload)
        };
        let (id, gone) = match self.spool.dead_letter(seq, letter).await {
            Ok(buried) => buried,
            Err(error) => {
                tracing::error!(
                    channel,
                    "an event that the channel layer refuses can't be made a dead letter: {error}"
                );
                return false;
            }
        };
        {
            let mut waiting = self.queue.lock();
            waiting.on_disk = waiting.on_disk.saturating_sub(gone);
        }
        self.letters.increment(1.0);
        tracing::error!(
            channel,
            dead_letter = id,
            "an event was not put on the channel layer: {detail} Kept as dead letter {id} (djangobot dead-letters shows it)."
        );
        // Of an unread channel, what lies before it in the layer stays on the disk until it is read.
        if !reading.is_unread() {
            self.settled(seq).await;
        }
        true
    }
}
