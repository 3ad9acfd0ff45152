//! Names in arguments that are ids: Slack gets the ids, whatever the method.

use djangobot_slack::argument::{self, ArgumentType};
use djangobot_slack::method::Method;
use serde_json::{Map, Value};

use super::{Post, Unsent};
use crate::bridge::destination::Destination;
use crate::bridge::request::Refusal;

impl Post {
    /// Puts ids in the place of names, in all arguments of `method` that are ids of conversations or users.
    pub(super) async fn identify(
        &self,
        method: &Method,
        arguments: &mut Map<String, Value>,
    ) -> Result<(), Unsent> {
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
                    true => self.find(named).await?,
                    false => self.find_user(named).await?,
                });
            }
            *value = ids.join(",").into();
        }
        Ok(())
    }

    /// The id of the user whom an app named.
    async fn find_user(&self, named: &str) -> Result<String, Unsent> {
        let handle = match Destination::read(named) {
            Destination::User(id) | Destination::Conversation(id) => return Ok(id),
            Destination::Handle(name) | Destination::Name(name) => name,
        };
        self.wait(self.roster.loaded()).await?;
        match self.roster.roster().find_user(&handle) {
            Some(user) => Ok(user.id().to_owned()),
            None => {
                let detail = format!("There is no user @{handle} among those that the bot sees.");
                Err(Refusal::new("user_not_found", detail).into())
            }
        }
    }
}
