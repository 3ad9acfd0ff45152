//! Stage 5, the plugins: their call for a message, and the messages that they add.

use djangobot_event::{EditError, Event};
use djangobot_plugins::{Direction, PluginEvent};
use serde_json::Value;

use crate::bridge::message_key::MessageKey;
use crate::bridge::outbound::message::{
    Job, MessageState, Outcome, PendingOutcome, StoredIn, Task, outcome_text, text,
};
use crate::bridge::outbound::outbox::{PluginResult, RowId};
use crate::bridge::outbound::parts::Parts;
use crate::bridge::outbound::post::Doubt;
use crate::bridge::plugin_call;
use crate::bridge::reply::{DEFAULT_METHOD, Reply, SendFailure};

/// The message and all that the plugins added, each ready to be stored.
#[derive(Default)]
struct PluginOutput {
    /// The message itself, and its next task.
    own: Option<(Event, Task)>,
    /// The message's outcome, if it goes no further.
    dropped: Option<SendFailure>,
    /// Messages that follow it in its lane.
    emitted: Vec<(MessageKey, Event)>,
    /// Messages that plugins send by themselves.
    messages: Vec<(djangobot_plugins::PluginMessage, Event)>,
}

/// The result of stage 5, with which the message's lane goes on.
pub(super) struct PluginStageResult {
    /// The bytes that the message took up in memory before.
    pub(super) bytes: usize,
    /// The message's outcome, if it ends here.
    pub(super) outcome: Option<Box<PendingOutcome>>,
    /// The message, and those that plugins emitted, in their order: they go before all that waits in the lane.
    pub(super) jobs: Vec<Job>,
    /// The newest row, if plugins sent messages by themselves, which are in the outbox.
    pub(super) newest: Option<RowId>,
}

impl Parts {
    /// Stage 5: gives a message to the plugins. Their whole result is in the outbox before the message goes on, so that
    /// a restart finds either the message as the app sent it, or everything that the plugins made of it. `None` says
    /// that a stop came first.
    pub(super) async fn through_plugins(
        &self,
        mut state: MessageState,
        message: Event,
        lane: &str,
    ) -> Option<PluginStageResult> {
        let bytes = state.size;
        let event = plugin_event(state.record.key, message.clone());
        let call = plugin_call::call(&self.plugins, None, Direction::Outbound, event, lane);
        // A stop does not wait for plugins. The message passes them again at the next start, as after a crash.
        let passed = self.stop.run_until_cancelled(call).await?;
        let mut output = self.output(&state, &message, passed);
        let outcome: Option<Outcome> = output.dropped.take().map(Err);

        let places = match state.stored_in {
            StoredIn::Outbox(row) => {
                let result = PluginResult {
                    message: output.own.as_ref().map(|(event, _)| text(event)),
                    outcome: outcome.as_ref().map(outcome_text),
                    emitted: map(&output.emitted, |(key, event)| (*key, text(event))),
                    messages: map(&output.messages, |(_, event)| text(event)),
                };
                let written = self.outbox.put_plugin_result(row, result).await;
                written
                    .map_err(|error| self.writes.failed(&error, &self.metrics))
                    .ok()
            }
            StoredIn::Layer(..) | StoredIn::Nowhere => None,
        };
        let is_stored = places.is_some();
        // Messages that plugins sent by themselves are read from the outbox in their turn. Without a row there they
        // take the way of the app's messages, through the layer.
        for (message, event) in output.messages {
            match (&self.tap, is_stored) {
                (Some(tap), true) => tap.send(&self.channel, &event),
                (None, true) => {}
                (_, false) => self.hand_over(message),
            }
        }
        let places = places.unwrap_or_default();
        // Without rows they go on in memory alone: a message that waits for a disk would hold up its conversation.
        let mut rows = places.emitted.iter().copied().map(StoredIn::Outbox);
        let mut jobs = map(&output.emitted, |(key, event)| {
            let stored_in = rows.next().unwrap_or(StoredIn::Nowhere);
            self.emitted_job(*key, event, stored_in, &state)
        });
        let mut pending = None;
        match (outcome, output.own) {
            (None, Some((event, task))) => {
                if let Task::Send(request) = &task {
                    request.method.name.clone_into(&mut state.reply.method);
                }
                state.size = event.raw().len();
                // The message itself goes before those that plugins made of it.
                jobs.insert(0, Job { state, task });
            }
            (outcome, _) => {
                // Without a reason, it was replaced, and its replacement was left out because there were too many
                // events.
                let outcome = outcome.unwrap_or_else(|| Ok(Value::Object(Default::default())));
                pending = Some(Box::new(PendingOutcome {
                    is_noted: is_stored,
                    ..self.pending_outcome(state, outcome)
                }));
            }
        }
        Some(PluginStageResult {
            bytes,
            outcome: pending,
            jobs,
            newest: places.newest,
        })
    }

    /// Sorts the plugins' output.
    fn output(
        &self,
        state: &MessageState,
        message: &Event,
        passed: djangobot_plugins::PluginOutput,
    ) -> PluginOutput {
        let mut output = PluginOutput::default();
        if let Some(dropped) = &passed.dropped {
            plugin_call::report_drop(dropped, Direction::Outbound, &self.metrics);
            output.dropped = Some(SendFailure::dropped(dropped));
        }
        for passing in passed.events {
            // The app waits for the outcome of its own message. Nobody waits for that of an emitted one.
            let emitted = passing.emitted;
            match as_message(passing) {
                Ok(event) if emitted => {
                    let key = state.record.key.emitted(output.emitted.len());
                    output.emitted.push((key, event));
                }
                Ok(mut event) => {
                    // Plugins don't change where the app gets the outcome.
                    let kept = copy(message, &mut event, "/reply_channel")
                        .and_then(|()| copy(message, &mut event, "/id"));
                    let task = match kept {
                        Ok(()) => self.task(&event).1,
                        Err(error) => Task::Refuse(invalid(&error)),
                    };
                    output.own = Some((event, task));
                }
                Err(error) if emitted => self.log_lost(&invalid(&error)),
                Err(error) => output.dropped = Some(invalid(&error)),
            }
        }
        for message in passed.messages {
            match plugin_call::message(&message) {
                Ok(event) => output.messages.push((message, event)),
                Err(error) => {
                    tracing::warn!(plugin = message.plugin, %error, "a plugin's message was dropped, because it can't be written");
                }
            }
        }
        output
    }

    /// The task for a message as the plugins made it, and its reply.
    fn task(&self, event: &Event) -> (Reply, Task) {
        match self.rules.read(event) {
            (reply, Ok(request)) => (reply, Task::Send(request)),
            (reply, Err(refusal)) => (reply, Task::Refuse(refusal)),
        }
    }

    /// The job of an emitted message. Its outcome goes to no app, so that a failure becomes a dead letter.
    fn emitted_job(
        &self,
        key: MessageKey,
        event: &Event,
        stored_in: StoredIn,
        of: &MessageState,
    ) -> Job {
        // The plugin that made the first message did not make this one.
        let (Reply { method, .. }, task) = self.task(event);
        let mut record = of.record.clone();
        (record.key, record.doubt, record.is_repeat) = (key, Doubt::None, false);
        record.files.clear();
        record.row = match stored_in {
            StoredIn::Outbox(row) => Some(row),
            StoredIn::Layer(..) | StoredIn::Nowhere => None,
        };
        let reply = Reply {
            method,
            ..Reply::default()
        };
        let state = MessageState {
            stored_in,
            reply,
            record,
            since: of.since,
            size: event.raw().len(),
        };
        Job { state, task }
    }

    /// Puts a plugin's message that the disk refused on the app's channel, through the way in.
    fn hand_over(&self, message: djangobot_plugins::PluginMessage) {
        if let Err(error) = self.plugin_messages.try_send(message) {
            tracing::error!(
                "a plugin's message for Slack is lost, because neither the disk nor memory took it: {error}"
            );
        }
    }

    /// Counts and logs an emitted message that can't be sent.
    fn log_lost(&self, refusal: &SendFailure) {
        self.metrics.sends(&refusal.error).increment(1);
        tracing::error!(
            error = refusal.error,
            "a message that a plugin emitted was not sent: {}",
            refusal.detail
        );
    }
}

/// A message as plugins see it. Its type is the Web API method, and its id is the same if the layer gives it again.
pub(super) fn plugin_event(key: MessageKey, message: Event) -> PluginEvent {
    let method = message.text("/method").map_or_else(
        || DEFAULT_METHOD.to_owned(),
        |it| it.chars().take(80).collect(),
    );
    let hops = plugin_call::hops(&message);
    PluginEvent {
        hops,
        ..PluginEvent::new(&format!("send.{key}"), &method, message)
    }
}

/// An event of the plugins in the form in which an app sends messages.
fn as_message(passing: PluginEvent) -> Result<Event, EditError> {
    let PluginEvent {
        kind,
        body: mut event,
        ..
    } = passing;
    if *kind != *DEFAULT_METHOD || event.get("/method").is_some() {
        event.set("/method", &*kind)?;
    }
    Ok(event)
}

/// Copies a field of `from` to `to`, or removes it there if `from` has none.
fn copy(from: &Event, to: &mut Event, pointer: &str) -> Result<(), EditError> {
    match (from.get(pointer), to.get(pointer).is_some()) {
        (Some(value), _) => to.set(pointer, value),
        (None, true) => to.remove(pointer),
        (None, false) => Ok(()),
    }
}

fn invalid(error: &EditError) -> SendFailure {
    SendFailure::new("invalid_message", format!("{error}."))
}

fn map<T, U>(items: &[T], each: impl FnMut(&T) -> U) -> Vec<U> {
    items.iter().map(each).collect()
}
