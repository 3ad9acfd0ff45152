//! Messages to Slack and calls of its Web API: the interface `slack`.
//!
//! A message is only noted here: it is sent after the call has ended well. A call of the Web API waits for its answer.

use djangobot_event::Event;

use crate::grant::Capability;
use crate::runtime::abi::v1::bindings::djangobot::plugin as wit;
use crate::runtime::abi::v1::ungranted;
use crate::runtime::guest::Guest;
use crate::services::slack::CallError;
use crate::verdict::PluginSend;
use wit::slack::{CallError as WitCallError, SendError};

/// The longest name of a method of the Web API, in bytes.
const MAX_METHOD: usize = 100;

impl wit::slack::Host for Guest {
    fn send(&mut self, message: String) -> wasmtime::Result<Result<String, SendError>> {
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
        // It follows from the event's id, so that an event that comes twice gives its messages the same ids.
        call.sends += 1;
        let id = format!("{}.{}.send.{}", call.id, owner.name, call.sends);
        // The plugin is told that the message was sent: otherwise a rehearsal would go another way than the real call.
        if is_shadow {
            call.effects.withheld = true;
            return Ok(Ok(id));
        }
        Ok(match owner.sends.try_take(1) {
            Ok(()) => {
                call.effects.sends.push(PluginSend {
                    id: id.clone(),
                    message,
                });
                Ok(id)
            }
            Err(until) => Err(SendError::RateLimited(until.as_millis() as u64)),
        })
    }

    async fn call(
        &mut self,
        method: String,
        arguments: String,
    ) -> wasmtime::Result<Result<String, WitCallError>> {
        self.count()?;
        self.charge_bytes(method.len() + arguments.len())?;
        if method.len() > MAX_METHOD {
            let why = format!("the name of a method has at most {MAX_METHOD} bytes");
            return Ok(Err(WitCallError::Invalid(why)));
        }
        let owner = self.owner.clone();
        let allows =
            |it: &Capability| matches!(it, Capability::SlackMethod(it) if it.matches(&method));
        if !owner.grants.iter().any(allows) {
            let denied = ungranted(&format!("slack:{method}"));
            return Ok(Err(WitCallError::Denied(denied)));
        }
        if self.shadow {
            if let Some(call) = &mut self.call {
                call.effects.withheld = true;
            }
            return Ok(Err(WitCallError::Unavailable(
                "Slack is not called during a rehearsal".into(),
            )));
        }
        let arguments = match Event::parse(arguments) {
            Ok(arguments) => arguments,
            Err(error) => {
                let why = format!("the arguments are not a JSON object: {error}");
                return Ok(Err(WitCallError::Invalid(why)));
            }
        };
        if let Err(until) = owner.slack_calls.try_take(1) {
            return Ok(Err(WitCallError::RateLimited(until.as_millis() as u64)));
        }
        // A little less than the call's own time, so that the plugin gets an error that it can handle, and is not ended.
        let limit = owner.limits.wait.mul_f32(0.9);
        let called = owner.services.slack.call(&method, &arguments, limit).await;
        if let Ok(answer) = &called {
            self.charge_bytes(answer.len())?;
        }
        Ok(called.map_err(|error| match error {
            CallError::Invalid(why) => WitCallError::Invalid(why),
            CallError::RateLimited(until) => WitCallError::RateLimited(until.as_millis() as u64),
            CallError::Refused { error, detail } => {
                WitCallError::Refused(wit::slack::Refusal { error, detail })
            }
            CallError::Unavailable(why) => WitCallError::Unavailable(why),
        }))
    }
}
