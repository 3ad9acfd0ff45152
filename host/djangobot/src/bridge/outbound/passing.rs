//! A message's way through the plugins, and what they put beside it.

use djangobot_event::{EditError, Event};
use djangobot_plugins::{Direction, Passing};
use serde_json::Value;

use super::job::{Held, Job, Outcome, Taken, Task, Untold, outcome_text, text};
use super::{Ended, Outbound};
use crate::bridge::lanes::lane_number;
use crate::bridge::message_key::MessageKey;
use crate::bridge::outbound::outbox::Passed;
use crate::bridge::outbound::post::Doubt;
use crate::bridge::passage;
use crate::bridge::reply::{DEFAULT_METHOD, Refusal, Reply};

/// What came out of the plugins, ready to be kept.
#[derive(Default)]
struct Parts {
    /// The message itself, and how it is sent or why not.
    own: Option<(Event, Task)>,
    dropped: Option<Refusal>,
    beside: Vec<(MessageKey, Event)>,
    messages: Vec<(djangobot_plugins::Message, Event)>,
}

impl Outbound {
    /// Gives a message to the plugins. What comes out of them is in the outbox, all of it, before it goes on; so a restart
    /// finds either the message as the app sent it, or what came of it.
    pub(super) async fn pass(&self, mut taken: Taken, message: Event, lane: String) -> Ended {
        let size = taken.size;
        let passing = passing(taken.record.key, message.clone());
        let through = self
            .plugins
            .pass(Direction::Outbound, passing, lane_number(&lane));
        // A plugin may hold a message for as long as it is broken; a stop leaves it for the next start.
        let Some(passed) = self.post.stop.run_until_cancelled(through).await else {
            let untold = Ok(None);
            return Ended::Called { lane, size, untold };
        };
        let mut parts = self.parts(&taken, &message, passed);
        let outcome: Option<Outcome> = parts.dropped.take().map(Err);

        let places = match taken.held {
            Held::Outbox(row) => {
                let written = Passed {
                    message: parts.own.as_ref().map(|(event, _)| text(event)),
                    outcome: outcome.as_ref().map(outcome_text),
                    beside: map(&parts.beside, |(key, event)| (*key, text(event))),
                    messages: map(&parts.messages, |(_, event)| text(event)),
                };
                let written = self.outbox.passed(row, written).await;
                written
                    .map_err(|error| self.writing.failed(&error, &self.metrics))
                    .ok()
            }
            Held::Layer(..) | Held::Nowhere => None,
        };
        let is_kept = places.is_some();
        for (message, event) in parts.messages {
            match (&self.tap, is_kept) {
                (Some(tap), true) => tap.send(&self.channel, &event),
                (None, true) => {}
                (_, false) => self.hand_over(message),
            }
        }
        let places = places.unwrap_or_default();
        let mut rows = places.beside.iter().copied().map(Held::Outbox);
        let mut beside = map(&parts.beside, |(key, event)| {
            self.beside(*key, event, rows.next().unwrap_or(Held::Nowhere), &taken)
        });
        let (untold, own) = match (outcome, parts.own) {
            (None, Some((event, task))) => {
                if let Task::Send(request) = &task {
                    request.method.name.clone_into(&mut taken.reply.method);
                }
                taken.size = event.raw().len();
                (None, Some(Job { taken, task }))
            }
            (outcome, _) => {
                let outcome = outcome.unwrap_or_else(|| Ok(Value::Object(Default::default())));
                let untold = Untold {
                    is_noted: is_kept,
                    ..self.untold(taken, outcome)
                };
                (Some(Box::new(untold)), None)
            }
        };
        beside.splice(0..0, own);
        Ended::Passed {
            lane,
            size,
            untold,
            jobs: beside,
            newest: places.newest,
        }
    }

    /// Tells apart what came out of the plugins.
    fn parts(&self, taken: &Taken, message: &Event, passed: djangobot_plugins::Passed) -> Parts {
        let mut parts = Parts::default();
        if let Some(dropped) = &passed.dropped {
            passage::tell_dropped(dropped, Direction::Outbound, &self.metrics);
            parts.dropped = Some(Refusal::dropped(dropped));
        }
        for passing in passed.events {
            let emitted = passing.emitted;
            match as_message(passing) {
                Ok(event) if emitted => {
                    let key = taken.record.key.beside(parts.beside.len());
                    parts.beside.push((key, event));
                }
                Ok(mut event) => {
                    // Whom to answer is the app's to say, and plugins don't change it.
                    let kept = copy(message, &mut event, "/reply_channel")
                        .and_then(|()| copy(message, &mut event, "/id"));
                    let task = match kept {
                        Ok(()) => self.task(&event).1,
                        Err(error) => Task::Refuse(unfit(&error)),
                    };
                    parts.own = Some((event, task));
                }
                Err(error) if emitted => self.lost(&unfit(&error)),
                Err(error) => parts.dropped = Some(unfit(&error)),
            }
        }
        for message in passed.messages {
            match passage::message(&message) {
                Ok(event) => parts.messages.push((message, event)),
                Err(error) => {
                    tracing::warn!(plugin = message.plugin, %error, "a plugin's message can't be sent");
                }
            }
        }
        parts
    }

    fn task(&self, event: &Event) -> (Reply, Task) {
        match self.rules.read(event) {
            (reply, Ok(request)) => (reply, Task::Send(request)),
            (reply, Err(refusal)) => (reply, Task::Refuse(refusal)),
        }
    }

    /// What a plugin put beside a message: nobody is told of it, and a failure is a dead letter.
    fn beside(&self, key: MessageKey, event: &Event, held: Held, of: &Taken) -> Job {
        let (Reply { method, .. }, task) = self.task(event);
        let mut record = of.record.clone();
        (record.key, record.doubt, record.is_repeat) = (key, Doubt::None, false);
        record.files.clear();
        record.row = match held {
            Held::Outbox(row) => Some(row),
            Held::Layer(..) | Held::Nowhere => None,
        };
        let reply = Reply {
            method,
            ..Reply::default()
        };
        let taken = Taken {
            held,
            reply,
            record,
            at: of.at,
            size: event.raw().len(),
        };
        Job { taken, task }
    }

    /// A plugin's message that the disk can't take goes where the app's go.
    fn hand_over(&self, message: djangobot_plugins::Message) {
        if let Err(error) = self.messages.try_send(message) {
            tracing::error!("a plugin's message for Slack is lost: {error}");
        }
    }

    fn lost(&self, refusal: &Refusal) {
        self.metrics.sends(&refusal.error).increment(1);
        tracing::error!(
            error = refusal.error,
            "a message that a plugin emitted was not sent: {}",
            refusal.detail
        );
    }
}

/// A message as plugins see it: by its Web API method, with an id that is the same should the layer give it again.
pub(super) fn passing(key: MessageKey, message: Event) -> Passing {
    let method = message.text("/method").map_or_else(
        || DEFAULT_METHOD.to_owned(),
        |it| it.chars().take(80).collect(),
    );
    let hops = passage::hops(&message);
    Passing {
        hops,
        ..Passing::new(&format!("send.{key}"), &method, message)
    }
}

/// What came out of the plugins as the app would have sent it.
fn as_message(passing: Passing) -> Result<Event, EditError> {
    let Passing {
        kind, mut event, ..
    } = passing;
    if *kind != *DEFAULT_METHOD || event.get("/method").is_some() {
        event.set("/method", &*kind)?;
    }
    Ok(event)
}

/// Makes a field of `to` what it is in `from`.
fn copy(from: &Event, to: &mut Event, pointer: &str) -> Result<(), EditError> {
    match (from.get(pointer), to.get(pointer).is_some()) {
        (Some(value), _) => to.set(pointer, value),
        (None, true) => to.remove(pointer),
        (None, false) => Ok(()),
    }
}

fn unfit(error: &EditError) -> Refusal {
    Refusal::new("invalid_message", format!("{error}."))
}

fn map<T, U>(items: &[T], each: impl FnMut(&T) -> U) -> Vec<U> {
    items.iter().map(each).collect()
}
