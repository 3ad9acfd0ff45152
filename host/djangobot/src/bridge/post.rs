//! One request to Slack: its destination looked up, its pace kept, tried again where that is safe.

use std::sync::Arc;
use std::time::Duration;

use djangobot_slack::{ApiError, Class, Pacer, Roster, WebApi};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::destination::Destination;
use super::request::{Refusal, Request};
use super::roster::RosterKeeper;
use djangobot_slack::Backoff;

/// Calls Slack for the way out. The one place that tries a send again.
pub(crate) struct Post {
    pub(crate) api: WebApi,
    pub(crate) pacer: Pacer,
    pub(crate) roster: Arc<RosterKeeper>,
    /// Ends all waiting; a call that is under way is not cut, since Slack may carry it out.
    pub(crate) stop: CancellationToken,
}

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// It can't be, and that is its outcome.
    Refused(Refusal),
    /// We stop before it was its turn: it is for the next start.
    Stopped,
    /// Slack takes nothing from us any more, this message or another: it is for who mends that.
    Barred(Refusal),
}

impl From<Refusal> for Unsent {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Post {
    /// The lane of `request`: its conversation, under one name whatever the app called it.
    ///
    /// A name that the roster learns while messages wait under it keeps them, and those that follow, in their order.
    pub(crate) fn lane(&self, request: &Request, is_busy: impl Fn(&str) -> bool) -> String {
        let Some(named) = &request.channel else {
            return request.method.name.to_owned();
        };
        let spelling = named.trim_start_matches('#');
        match self.known(&Destination::read(named)) {
            Some(id) if !is_busy(spelling) => id,
            _ => spelling.to_owned(),
        }
    }

    /// Carries `request` out and gives Slack's answer.
    pub(crate) async fn call(&self, request: Request) -> Result<Value, Unsent> {
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
    ) -> Result<Value, Unsent> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut told = false;
        loop {
            self.wait(self.pacer.ready(method, channel)).await?;
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
                // It surely was not carried out, so it is tried until it is.
                Class::Retry => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(method, channel, "{error}; trying again until it works");
                    }
                    self.wait(backoff.wait()).await?;
                }
                Class::Permanent => return Err(refused(&error).into()),
                Class::Fatal | Class::Refresh => return Err(Unsent::Barred(refused(&error))),
                Class::Ambiguous => {
                    let mut refusal = refused(&error);
                    refusal.detail.push_str(
                        " Slack may have carried it out all the same, so it was not tried again.",
                    );
                    return Err(refusal.into());
                }
            }
        }
    }

    /// The id of the conversation that an app named. A DM that is not open yet is opened.
    async fn find(&self, named: &str) -> Result<String, Unsent> {
        let destination = Destination::read(named);
        if let Some(id) = self.known(&destination) {
            return Ok(id);
        }
        if !matches!(destination, Destination::User(_)) {
            self.wait(self.roster.ready()).await?;
            if let Destination::Handle(_) = destination {
                // Slack can't be asked for a handle, so that only the whole roster can say that there is none.
                self.wait(self.roster.loaded()).await?;
            }
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
                )
                .into()),
            },
            // What the roster could not be asked about, for want of a scope, Slack can.
            Destination::Name(name) if !self.roster.knows_conversations() => Ok(format!("#{name}")),
            Destination::Name(name) => Err(Refusal::new(
                "channel_not_found",
                format!(
                    "There is no channel #{name} among the {} that the bot sees. Private channels are seen once the bot is invited.",
                    self.roster.roster().len().conversations
                ),
            )
            .into()),
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

    async fn open(&self, user: &str) -> Result<String, Unsent> {
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
            )
            .into()),
        }
    }

    async fn wait<T>(&self, until: impl Future<Output = T>) -> Result<T, Unsent> {
        self.stop
            .run_until_cancelled(until)
            .await
            .ok_or(Unsent::Stopped)
    }
}

/// What Slack said, as a sentence that another can follow.
fn refused(error: &ApiError) -> Refusal {
    Refusal::new(error.code(), format!("{error}."))
}
