//! Refusals of the layer: finding out whether the batch or the channel is to blame, sending the batch in parts, and
//! making an event that is refused alone a dead letter.

use djangobot_channels::LayerError;
use djangobot_slack::Backoff;

use crate::bridge::inbound::delivery::courier::{Courier, FIRST_PAUSE, LONGEST_PAUSE};
use crate::bridge::inbound::delivery::layer_contents::OutgoingEvent;
use crate::bridge::inbound::delivery::portion::Portion;
use crate::bridge::inbound::delivery::unread_channel::ReaderState;
use crate::state::DeadLetter;

/// How often an event is sent alone before it becomes a dead letter, if the layer answers with a refusal.
const TRIES_REFUSED: u32 = 2;
/// The same if the connection ends at each try: that may also be chance.
const TRIES_CUT: u32 = 10;
/// The error of an event that became a dead letter.
const REFUSED_BY_LAYER: &str = "refused_by_layer";

/// The part that is to blame if the layer does not take a batch.
pub(super) enum Fault {
    /// The layer or the whole channel, which takes nothing now.
    Channel(LayerError),
    /// Something in the batch: the channel takes an empty call.
    Batch(LayerError),
}

/// The state of sending a refused batch in parts.
pub(super) struct Trial {
    pub(super) portion: Portion,
    alone: RefusedAlone,
    pause: Backoff,
}

/// The event that was refused alone last.
#[derive(Default)]
struct RefusedAlone {
    seq: u64,
    tries: u32,
}

impl Trial {
    pub(super) fn new() -> Self {
        Self {
            portion: Portion::new(),
            alone: RefusedAlone::default(),
            pause: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        }
    }

    /// Notes that a call succeeded.
    pub(super) fn succeeded(&mut self) {
        self.portion.succeeded();
        self.pause.succeeded();
    }

    /// Counts how often the event with number `seq` was refused alone.
    fn count(&mut self, seq: u64) -> u32 {
        if self.alone.seq != seq {
            self.alone = RefusedAlone { seq, tries: 0 };
        }
        self.alone.tries += 1;
        self.alone.tries
    }
}

impl Courier {
    /// Goes on after a batch was refused for its contents: with half of it. If it is one event, it is tried again after
    /// a pause, and becomes a dead letter in the end.
    pub(super) async fn try_parts(
        &self,
        batch: &[OutgoingEvent],
        error: &LayerError,
        trial: &mut Trial,
        reader: &ReaderState,
    ) {
        self.errors.increment(1);
        let [event] = batch else {
            let bytes = batch.iter().map(|event| event.member.0.len()).sum();
            tracing::debug!(channel = %self.queue.channel, events = batch.len(), bytes, "{error}; trying half of them");
            return trial.portion.shrink(bytes);
        };
        let (tries, most) = match error.refusal() {
            Some(_) => (trial.count(event.seq), TRIES_REFUSED),
            None => (trial.count(event.seq), TRIES_CUT),
        };
        if tries >= most && self.dead_letter(reader, event, error, tries).await {
            trial.portion.forget_refusal();
            trial.pause.succeeded();
            return;
        }
        // The event holds up those behind it, so they go to the disk, where they are safe.
        self.queue.set_stuck(true);
        trial.pause.wait().await;
    }

    /// Finds out whether the channel or the contents of a batch are to blame for `error`: if the channel takes an empty
    /// call, the contents are.
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

    /// Makes an event that the layer does not take a dead letter. Says whether the disk has taken it.
    async fn dead_letter(
        &self,
        reader: &ReaderState,
        event: &OutgoingEvent,
        error: &LayerError,
        tries: u32,
    ) -> bool {
        let channel = self.queue.channel.as_str();
        let OutgoingEvent { seq, member, .. } = event;
        let size = member.0.len();
        let detail = match error.refusal() {
            Some(_) => format!("{error}. It has {size} bytes."),
            None => format!(
                "{error}. It failed this way {tries} times while the channel took other calls. It has {size} bytes: does the server, or a proxy before it, limit the size of a request?"
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
        let (id, gone) = match self.spool.dead_letter(*seq, letter).await {
            Ok(stored) => stored,
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
            "an event was not put on the channel layer: {detail} It is kept as dead letter {id} (djangobot dead-letters show {id} prints it)."
        );
        // In an unread channel the events before it are in the layer and on the disk. They are settled when they are
        // read.
        if !reader.is_unread() {
            self.settle(*seq).await;
        }
        true
    }
}
