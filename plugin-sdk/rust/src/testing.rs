//! A host for `cargo test`: it runs a plugin natively, on events in JSON, and shows all results.
//!
//! ```
//! # use djangobot_plugin::{Edits, Error, Event, NoConfig, Plugin, Verdict, roster};
//! # struct Shout;
//! # impl Plugin for Shout {
//! #     type Config = NoConfig;
//! #     fn new(_: NoConfig) -> Result<Self, Error> { Ok(Shout) }
//! #     fn on_event(&mut self, event: &Event) -> Result<Verdict, Error> {
//! #         let Some(text) = event.text("/text") else { return Ok(Verdict::Keep) };
//! #         djangobot_plugin::info!("{} characters", text.len());
//! #         Ok(Edits::new().set("/text", text.to_uppercase()).into())
//! #     }
//! # }
//! use djangobot_plugin::testing::Host;
//! use serde_json::json;
//!
//! let mut shout = Host::new().me("U0", "B0", "djangobot").user("U1", "alice").load::<Shout>(json!({}));
//! let outcome = shout.inbound("message", json!({"text": "hi"}));
//! assert_eq!(outcome.event, json!({"text": "HI"}));
//! assert_eq!(outcome.logs[0].message, "2 characters");
//! ```
//!
//! Edits are made by the same code as in the real host. Grants are not checked here, and there are no limits.

pub(crate) mod calls;
mod host;
#[cfg(feature = "manifest")]
mod manifest;
mod outcome;

use std::fmt;

use djangobot_event::Event as Document;
use serde_json::Value;

use crate::{Direction, Error, Event, Lifecycle, Plugin, Verdict, config, export};

pub use host::Host;
pub use outcome::{EmittedEvent, LogLine, Outcome};

use calls::event::CurrentEvent;

/// A plugin in a test: it was made, and can be called.
pub struct TestPlugin<P> {
    plugin: P,
    host: Host,
    /// The events so far, by which their ids are numbered.
    events: u32,
}

/// Makes a plugin in a host with an empty roster; see [`Host::load`].
#[track_caller]
pub fn load<P: Plugin>(config: Value) -> TestPlugin<P> {
    Host::new().load(config)
}

impl Host {
    /// Makes a plugin.
    ///
    /// # Panics
    /// The config is refused.
    #[track_caller]
    pub fn load<P: Plugin>(self, config: Value) -> TestPlugin<P> {
        match self.try_load(config) {
            Ok(loaded) => loaded,
            #[allow(clippy::panic)]
            Err(error) => panic!("the plugin refuses its config: {error}"),
        }
    }

    /// Makes a plugin.
    ///
    /// # Errors
    /// The manifest's schema, the config's type or the plugin refuses the config. The error is what an operator would
    /// read.
    pub fn try_load<P: Plugin>(self, config: Value) -> Result<TestPlugin<P>, String> {
        #[cfg(feature = "manifest")]
        if let Some(manifest) = &self.manifest {
            manifest.check_config(&config)?;
        }
        let config = config::parse(&config.to_string())?;
        let (plugin, host) = calls::during(self, || P::new(config));
        let plugin = plugin.map_err(|error| export::sentence(&*error))?;
        Ok(TestPlugin {
            plugin,
            host,
            events: 0,
        })
    }
}

impl<P: Plugin> TestPlugin<P> {
    /// Calls the plugin for an event from Slack.
    ///
    /// # Panics
    /// The plugin fails, or the host would refuse its verdict.
    #[track_caller]
    pub fn inbound(&mut self, kind: &str, event: Value) -> Outcome {
        expect(self.try_call(Direction::Inbound, kind, event))
    }

    /// Calls the plugin for a message to Slack; `kind` is the Web API method, such as `chat.postMessage`.
    ///
    /// # Panics
    /// The plugin fails, or the host would refuse its verdict.
    #[track_caller]
    pub fn outbound(&mut self, kind: &str, event: Value) -> Outcome {
        expect(self.try_call(Direction::Outbound, kind, event))
    }

    /// Calls the plugin for an event.
    ///
    /// # Errors
    /// The plugin fails, or the host would refuse its verdict.
    pub fn try_call(
        &mut self,
        direction: Direction,
        kind: &str,
        event: Value,
    ) -> Result<Outcome, String> {
        self.try_call_text(direction, kind, &event.to_string())
    }

    /// Calls the plugin for an event's text, as [`TestPlugin::try_call`] does. A text can have what a [`Value`] can't hold,
    /// such as half of a surrogate pair, or a key that occurs twice.
    ///
    /// # Errors
    /// The text is not an event, or [`TestPlugin::try_call`] fails.
    pub fn try_call_text(
        &mut self,
        direction: Direction,
        kind: &str,
        event: &str,
    ) -> Result<Outcome, String> {
        let document = Document::parse(event.to_owned()).map_err(|error| error.to_string())?;
        #[cfg(feature = "manifest")]
        if let Some(manifest) = &self.host.manifest
            && !manifest.wants(direction, kind, &document)
        {
            return Outcome::passed_by(&document);
        }
        self.events += 1;
        self.host.current = Some(CurrentEvent {
            id: format!("test-{}", self.events),
            kind: kind.to_owned(),
            direction,
            document,
        });
        let verdict = self.with_host(|plugin| plugin.on_event(&Event::new()));
        let current = self.host.current.take().ok_or("the test host is busy")?;
        let effects = std::mem::take(&mut self.host.effects);
        let verdict: Verdict = verdict.map_err(|error| export::sentence(&*error))?;
        Outcome::of(verdict, &current, effects, &self.host)
    }

    /// The plugin itself.
    pub fn plugin(&mut self) -> &mut P {
        &mut self.plugin
    }

    /// Runs some code with the plugin, whose calls the host answers.
    pub fn with_host<T>(&mut self, call: impl FnOnce(&mut P) -> T) -> T {
        let host = std::mem::take(&mut self.host);
        let plugin = &mut self.plugin;
        let (result, host) = calls::during(host, || call(plugin));
        self.host = host;
        result
    }

    /// Changes the host.
    pub fn change_host(&mut self, change: impl FnOnce(Host) -> Host) {
        self.host = change(std::mem::take(&mut self.host));
    }
}

impl<P: Lifecycle> TestPlugin<P> {
    /// The plugin's state.
    pub fn snapshot(&mut self) -> Vec<u8> {
        self.with_host(P::snapshot)
    }

    /// Gives the plugin the state of another one, and checks its health.
    ///
    /// # Errors
    /// The plugin refuses the state. The error is what an operator would read.
    pub fn restore(&mut self, state: Vec<u8>) -> Result<(), String> {
        self.with_host(|plugin| plugin.restore(state).and_then(|()| plugin.health()))
            .map_err(|error: Error| export::sentence(&*error))
    }
}

impl<P> fmt::Debug for TestPlugin<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestPlugin")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

#[track_caller]
fn expect(outcome: Result<Outcome, String>) -> Outcome {
    match outcome {
        Ok(outcome) => outcome,
        #[allow(clippy::panic)]
        Err(error) => panic!("the plugin fails: {error}"),
    }
}

#[cfg(test)]
mod tests;
