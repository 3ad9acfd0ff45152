//! Effects of a call, and the clock: the interfaces `log`, `clock`, `emitter` and `slack`.
//!
//! Emissions and messages are only noted here. They take place after the call has ended well, so that a call which is cut
//! off has no half of an effect. Log lines are written at once: a plugin that fails has to be able to say why.

use std::time::{SystemTime, UNIX_EPOCH};

use djangobot_event::Event;

use crate::grant::Capability;
use crate::runtime::abi::v1::bindings::djangobot::plugin as wit;
use crate::runtime::abi::v1::ungranted;
use crate::runtime::guest::{self, EmissionError, Guest};
use crate::services::log::Level;
use wit::types;

impl wit::log::Host for Guest {
    fn write(&mut self, level: wit::log::Level, message: String) -> wasmtime::Result<()> {
        self.count()?;
        self.charge_bytes(message.len())?;
        let level = match level {
            wit::log::Level::Trace => Level::Trace,
            wit::log::Level::Debug => Level::Debug,
            wit::log::Level::Info => Level::Info,
            wit::log::Level::Warn => Level::Warn,
            wit::log::Level::Error => Level::Error,
        };
        self.owner.log.write(level, &message);
        Ok(())
    }
}

impl wit::clock::Host for Guest {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        self.count()?;
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(since.as_millis() as u64)
    }
}

impl wit::emitter::Host for Guest {
    fn emit(
        &mut self,
        emission: types::Emission,
    ) -> wasmtime::Result<Result<(), wit::emitter::EmitError>> {
        use wit::emitter::EmitError;
        self.count()?;
        self.charge_bytes(emission.kind.len() + emission.body.len())?;
        let owner = self.owner.clone();
        let limit = owner.limits.output;
        let call = self.call()?;
        // An error and not a trap: a plugin may well go on with fewer events.
        if !call.has_room() {
            return Ok(Err(EmitError::TooMany));
        }
        if let Err(why) = call.take_output(emission.kind.len() + emission.body.len(), limit) {
            return Ok(Err(EmitError::Invalid(why)));
        }
        Ok(
            match guest::emission(&owner, emission.kind, emission.body) {
                Ok(emission) => {
                    call.effects.emissions.push(emission);
                    Ok(())
                }
                Err(error @ EmissionError::Unlisted(_)) => {
                    Err(EmitError::Denied(error.to_string()))
                }
                Err(error @ EmissionError::Body(_)) => Err(EmitError::Invalid(error.to_string())),
            },
        )
    }
}

impl wit::slack::Host for Guest {
    fn send(&mut self, message: String) -> wasmtime::Result<Result<(), wit::slack::SendError>> {
        use wit::slack::SendError;
        self.count()?;
        self.charge_bytes(message.len())?;
        let (owner, is_shadow) = (self.owner.clone(), self.shadow);
        if !owner.holds(&Capability::Slack) {
            return Ok(Err(SendError::Denied(ungranted("slack"))));
        }
        let call = self.call()?;
        if !call.may_send() {
            return Ok(Err(SendError::Unavailable(
                "the call sent too many messages, or the event comes at the end of too long a chain of them".into(),
            )));
        }
        if let Err(why) = call.take_output(message.len(), owner.limits.output) {
            return Ok(Err(SendError::Invalid(why)));
        }
        let message = match Event::parse(message) {
            Ok(message) => message,
            Err(error) => {
                let why = format!("the message is not a JSON object: {error}");
                return Ok(Err(SendError::Invalid(why)));
            }
        };
        // The outcome of a message goes to whoever waits for the current event, or to nobody. With any other channel, a
        // plugin could write into channels of the app.
        let named = message.text("/reply_channel");
        if message.get("/reply_channel").is_some()
            && (named.is_none() || named != call.event.text("/reply_channel"))
        {
            return Ok(Err(SendError::Invalid(
                "the reply_channel of a message must be that of the current event, or left out"
                    .into(),
            )));
        }
        // The plugin is told that the message was sent: otherwise a rehearsal would go another way than the real call.
        if is_shadow {
            call.effects.withheld = true;
            return Ok(Ok(()));
        }
        Ok(match owner.sends.try_take(1) {
            Ok(()) => {
                call.effects.sends.push(message);
                Ok(())
            }
            Err(until) => Err(SendError::RateLimited(until.as_millis() as u64)),
        })
    }
}
