//! The event at hand, read by pointer.

use std::cell::OnceCell;

use serde::de::DeserializeOwned;

use crate::host::events;
use crate::{Direction, Error, Value};

/// An event. The host holds it; what is asked for crosses over, so that one [`select`](Event::select) of many fields
/// costs less than many calls.
///
/// A pointer is RFC 6901's: `/user`, `/item/channel`, `/blocks/0/text/text`.
#[derive(Debug)]
pub struct Event<'a> {
    source: &'a events::Event,
    kind: OnceCell<String>,
    direction: OnceCell<Direction>,
}

impl<'a> Event<'a> {
    pub(crate) fn new(source: &'a events::Event) -> Self {
        Event {
            source,
            kind: OnceCell::new(),
            direction: OnceCell::new(),
        }
    }

    /// The same however often the event comes: the key for deduplication.
    pub fn id(&self) -> String {
        self.source.id()
    }

    /// Inbound Slack's `type`, such as `message`; outbound the Web API method, such as `chat.postMessage`.
    pub fn kind(&self) -> &str {
        self.kind.get_or_init(|| self.source.kind())
    }

    /// Which way it goes.
    pub fn direction(&self) -> Direction {
        *self.direction.get_or_init(|| self.source.direction())
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
        self.source.get(pointer)
    }

    /// The string at a pointer; `None` for any other value, too.
    pub fn text(&self, pointer: &str) -> Option<String> {
        self.get(pointer)?.into_text()
    }

    /// Whether there is anything at a pointer.
    pub fn has(&self, pointer: &str) -> bool {
        self.get(pointer).is_some()
    }

    /// What is at a pointer, read as a type of yours; `None` where there is nothing.
    ///
    /// # Errors
    /// What is there is of another type.
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
        let mut values = self.source.select(&pointers).into_iter();
        std::array::from_fn(|_| values.next().flatten())
    }

    /// Many values in one call, where their number is known at run time only: as many as pointers, in their order.
    pub fn select_all(&self, pointers: &[String]) -> Vec<Option<Value>> {
        self.source.select(pointers)
    }

    /// The whole event as JSON text. Costs the more the larger the event is; prefer [`get`](Event::get).
    pub fn json_text(&self) -> String {
        self.source.json()
    }

    /// The whole event, parsed. As [`json_text`](Event::json_text), and more so.
    ///
    /// # Errors
    /// The text holds what `serde_json` does not read, such as half of a surrogate pair.
    pub fn json(&self) -> Result<serde_json::Value, Error> {
        Ok(serde_json::from_str(&self.json_text())?)
    }
}
