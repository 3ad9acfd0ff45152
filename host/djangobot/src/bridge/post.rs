//! One request to Slack: its destination looked up, its pace kept, tried again where that is safe.

use std::sync::Arc;
use std::time::Duration;

use djangobot_slack::{ApiError, Class, Pacer, Roster, WebApi};
use serde_json::{Map, Value};

use super::backoff::Backoff;
use super::destination::Destination;
use super::request::{Refusal, Request};
use super::roster::RosterKeeper;

/// How often a call is tried that surely was not carried out.
const TRIES: u32 = 8;

/// Calls Slack for the way out. The one place that tries a send again.
pub(crate) struct Post {
    pub(crate) api: WebApi,
    pub(crate) pacer: Pacer,
    pub(crate) roster: Arc<RosterKeeper>,
}

impl Post {
    /// The lane of `request`: its conversation, under one name whatever the app called it.
    pub(crate) fn lane(&self, request: &Request) -> String {
        let Some(named) = &request.channel else {
            return request.method.name.to_owned();
        };
        match self.known(&Destination::read(named)) {
            Some(id) => id,
            None => named.trim_start_matches('#').to_owned(),
        }
    }

    /// Carries `request` out and gives Slack's answer.
    pub(crate) async fn call(&self, request: Request) -> Result<Value, Refusal> {
        let Request {
            method,
            mut arguments,
            channel,
            ..
        } = request;
        let channel = match channel {
            Some(named) => Some(self.find(&named).await?),
            None => None,
        };
        if let Some(id) = &channel {
            arguments.insert("channel".into(), id.as_str().into());
        }
        self.attempts(method.name, channel.as_deref(), &arguments)
            .await
    }

    async fn attempts(
        &self,
        method: &str,
        channel: Option<&str>,
        arguments: &Map<String, Value>,
    ) -> Result<Value, Refusal> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut tries = 0;
        loop {
            self.pacer.ready(method, channel).await;
            let error = match self.api.call(method, arguments).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match error.class() {
                Class::AlreadyDone => return Ok(serde_json::json!({ "already": error.code() })),
                Class::RateLimited { retry_after } => {
                    tracing::warn!(
                        method,
                        channel,
                        ?retry_after,
                        "Slack limits the rate; this method and channel wait"
                    );
                    self.pacer.limited(method, channel, retry_after);
                }
                Class::Retry if tries < TRIES => {
                    tries += 1;
                    tracing::warn!(method, channel, tries, "{error}; trying again");
                    backoff.wait().await;
                }
                Class::Fatal | Class::Permanent | Class::Retry | Class::Refresh => {
                    return Err(refused(&error));
                }
                Class::Ambiguous => {
                    let mut refusal = refused(&error);
                    refusal.detail.push_str(
                        " Slack may have carried it out all the same, so it was not tried again.",
                    );
                    return Err(refusal);
                }
            }
        }
    }

    /// The id of the conversation that an app named. A DM that is not open yet is opened.
    async fn find(&self, named: &str) -> Result<String, Refusal> {
        let destination = Destination::read(named);
        if let Some(id) = self.known(&destination) {
            return Ok(id);
        }
        if !matches!(destination, Destination::User(_)) {
            self.roster.ready().await;
            if let Some(id) = self.known(&destination) {
                return Ok(id);
            }
        }
        match destination {
            Destination::Conversation(id) => Ok(id),
            Destination::User(id) => self.open(&id).await,
            Destination::Handle(handle) => match self.roster.roster().find_user(&handle) {
                Some(user) => self.open(user.id()).await,
                None => Err(Refusal::new(
                    "user_not_found",
                    format!(
                        "There is no user @{handle} among the {} that the bot sees.",
                        self.roster.roster().len().users
                    ),
                )),
            },
            // What the roster could not be asked about, for want of a scope, Slack can.
            Destination::Name(name) if !self.roster.knows_conversations() => Ok(format!("#{name}")),
            Destination::Name(name) => Err(Refusal::new(
                "channel_not_found",
                format!(
                    "There is no channel #{name} among the {} that the bot sees. Private channels are seen once the bot is invited.",
                    self.roster.roster().len().conversations
                ),
            )),
        }
    }

    fn known(&self, destination: &Destination) -> Option<String> {
        let roster: &Roster = self.roster.roster();
        match destination {
            Destination::Conversation(id) => Some(id.clone()),
            Destination::User(id) => roster.im_of(id).map(|im| im.id().to_owned()),
            Destination::Name(name) => roster
                .find_conversation(name)
                .map(|found| found.id().to_owned()),
            Destination::Handle(handle) => roster
                .find_user(handle)
                .and_then(|user| roster.im_of(user.id()))
                .map(|im| im.id().to_owned()),
        }
    }

    async fn open(&self, user: &str) -> Result<String, Refusal> {
        let arguments = Map::from_iter([("users".to_owned(), Value::from(user))]);
        let answer = Box::pin(self.attempts("conversations.open", None, &arguments)).await?;
        match answer.pointer("/channel/id").and_then(Value::as_str) {
            Some(id) => {
                self.roster.roster().want(id);
                Ok(id.to_owned())
            }
            None => Err(Refusal::new(
                "unreadable_answer",
                format!("Slack opened a conversation with {user} but named no id."),
            )),
        }
    }
}

/// What Slack said, as a sentence that another can follow.
fn refused(error: &ApiError) -> Refusal {
    Refusal::new(error.code(), format!("{error}."))
}
