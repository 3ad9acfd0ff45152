//! The current event, which a plugin reads by pointers.

use std::cell::OnceCell;

use serde::de::DeserializeOwned;

use crate::imports::event as current;
use crate::{Direction, Error, Value};

/// The event that the plugin is called for. The host holds it, and each value is copied out when the plugin asks for it.
/// One [`select`](Event::select) of many fields costs less than many calls.
///
/// Pointers are JSON pointers (RFC 6901): `/user`, `/item/channel`, `/blocks/0/text/text`.
#[derive(Debug)]
pub struct Event {
    kind: OnceCell<String>,
    direction: OnceCell<Direction>,
}

impl Event {
    /// The event of the current call: there is one at a time.
    pub(crate) fn new() -> Self {
        Event {
            kind: OnceCell::new(),
            direction: OnceCell::new(),
        }
    }

    /// The id of the event, which stays the same if the event comes again: it is the key for deduplication.
    pub fn id(&self) -> String {
        current::id()
    }

    /// The kind: inbound Slack's `type`, such as `message`; outbound the Web API method, such as `chat.postMessage`.
    pub fn kind(&self) -> &str {
        self.kind.get_or_init(current::kind)
    }

    /// The direction of the event.
    pub fn direction(&self) -> Direction {
        *self.direction.get_or_init(current::direction)
    }

    /// Whether the verdict may be [`Verdict::answer`](crate::Verdict::answer): Slack takes an answer to a slash command, a
    /// click, a shortcut and a dialog.
    pub fn is_answerable(&self) -> bool {
        current::is_answerable()
    }

    /// Whether it goes from Slack to the app.
    pub fn is_inbound(&self) -> bool {
        self.direction() == Direction::Inbound
    }

    /// Whether it goes from the app to Slack.
    pub fn is_outbound(&self) -> bool {
        self.direction() == Direction::Outbound
    }

    /// The value at a pointer; `""` is the whole event.
    pub fn get(&self, pointer: &str) -> Option<Value> {
        current::get(pointer)
    }

    /// The string at a pointer; `None` if there is none, or a value of another type.
    pub fn text(&self, pointer: &str) -> Option<String> {
        self.get(pointer)?.into_text()
    }

    /// Whether there is a value at a pointer.
    pub fn has(&self, pointer: &str) -> bool {
        self.get(pointer).is_some()
    }

    /// The value at a pointer as a type of your own; `None` if there is none.
    ///
    /// # Errors
    /// The value has another type.
    pub fn read<T: DeserializeOwned>(&self, pointer: &str) -> Result<Option<T>, Error> {
        match self.get(pointer) {
            None => Ok(None),
            Some(value) => match value.parse() {
                Ok(read) => Ok(Some(read)),
                Err(error) => Err(format!("{pointer}: {error}").into()),
            },
        }
    }

    /// Many values in one call:
    ///
    /// ```
    /// # use djangobot_plugin::Event;
    /// # fn f(event: &Event) {
    /// let [user, channel] = event.select(["/user", "/channel"]);
    /// # }
    /// ```
    pub fn select<const N: usize>(&self, pointers: [&str; N]) -> [Option<Value>; N] {
        let pointers = pointers.map(str::to_owned);
        let mut values = current::select(&pointers).into_iter();
        std::array::from_fn(|_| values.next().flatten())
    }

    /// Many values in one call, if their number is known only at run time: one for each pointer, in the same order.
    pub fn select_all(&self, pointers: &[String]) -> Vec<Option<Value>> {
        current::select(pointers)
    }

    /// The whole event as JSON text. Its cost grows with the event; prefer [`get`](Event::get).
    pub fn json_text(&self) -> String {
        current::json()
    }

    /// The whole event, parsed. It costs even more than [`json_text`](Event::json_text).
    ///
    /// # Errors
    /// `serde_json` can't read the text, for example because it has half of a surrogate pair.
    pub fn json(&self) -> Result<serde_json::Value, Error> {
        Ok(serde_json::from_str(&self.json_text())?)
    }
}
