//! Identifiers in arguments: names are replaced by Slack's ids, for all methods.

use djangobot_slack::argument::{self, ArgumentType};
use djangobot_slack::method::Method;
use serde_json::{Map, Value};

use crate::bridge::outbound::post::caller::Caller;
use crate::bridge::outbound::post::find::Finder;
use crate::bridge::outbound::post::patience::Patience;
use crate::bridge::outbound::post::send_error::SendError;

impl Caller {
    /// Puts ids in the place of names, in all arguments of `method` that are ids of conversations or users. The table
    /// of arguments says which these are.
    ///
    /// # Errors
    ///
    /// Fails if a name can't be found, with the outcome that says so, or without one after a stop.
    pub(super) async fn identify(
        &self,
        method: &Method,
        arguments: &mut Map<String, Value>,
        finder: &mut Finder,
        patience: &mut Patience,
    ) -> Result<(), SendError> {
        for (name, value) in arguments {
            let is_conversation = match argument::get(method.name, name).map(|it| it.kind) {
                Some(ArgumentType::Channel | ArgumentType::Channels) => true,
                Some(ArgumentType::User | ArgumentType::Users) => false,
                _ => continue,
            };
            let named = match &*value {
                Value::Array(named) => named.iter().filter_map(Value::as_str).collect(),
                Value::String(named) if !named.is_empty() => vec![named.as_str()],
                _ => continue,
            };
            let mut ids = Vec::with_capacity(named.len());
            for named in named {
                ids.push(match is_conversation {
                    true => {
                        let found = self.find_conversation(named, method, finder, patience);
                        found.await?
                    }
                    false => self.find_user(named, finder, patience).await?,
                });
            }
            // Slack takes several ids as one text with commas.
            *value = ids.join(",").into();
        }
        Ok(())
    }
}
