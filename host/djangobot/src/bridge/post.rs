//! One request to Slack: its destination looked up, its pace kept, tried again where that is safe.

mod call;
mod identifiers;
mod lookup;
mod repeat;
mod upload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use djangobot_plugins::Roster as _;
use djangobot_slack::api::Failure;
use djangobot_slack::{ApiError, Class, Pacer, Roster, Rotation, WebApi, method};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::destination::Destination;
use super::outbox::Outbox;
use super::request::{Refusal, Request};
use super::roster::RosterKeeper;
use super::transport::renewed;
use crate::metrics::Metrics;
use crate::state::State;
use crate::team::Team;
use call::Call;
pub(crate) use call::{Doubt, Record};
use djangobot_slack::Backoff;
use lookup::Blind;
use repeat::{Repeat, was_done};

/// How often a call is made that Slack takes and fails at, so that it fails for what it is and not for when it came.
const TRIES: u32 = 10;

/// Calls Slack for the way out. The one place that tries a send again.
pub(crate) struct Post {
    pub(crate) api: WebApi,
    /// Where tokens are renewed, if they are.
    pub(crate) rotation: Option<Rotation>,
    pub(crate) pacer: Pacer,
    pub(crate) roster: Arc<RosterKeeper>,
    pub(crate) team: Team,
    pub(crate) outbox: Outbox,
    pub(crate) metrics: Metrics,
    /// Ends all waiting; a call that is under way is not cut, since Slack may carry it out.
    pub(crate) stop: CancellationToken,
    /// Keeps what is learnt of the token.
    pub(crate) state: State,
    /// Slack takes no metadata from this token, so that our posts carry no mark. Read from the state when first asked.
    pub(crate) unmarked: OnceLock<AtomicBool>,
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
    pub(crate) async fn call(
        &self,
        request: Request,
        record: &mut Record,
    ) -> Result<Value, Unsent> {
        let channel = match &request.channel {
            Some(named) => Some(self.find(named).await?),
            None => None,
        };
        let channel = channel.map(|id| (request.channel_key, id));
        let mut call = Call::new(request.method, channel, request.arguments);
        self.identify(call.method, &mut call.arguments).await?;
        if !request.files.is_empty() {
            return self.share(call, request.files, record).await;
        }
        if !self.unmarked().load(Ordering::Relaxed) {
            call.mark(record.key);
        }
        self.attempts(&mut call, record).await
    }

    /// Calls until there is an outcome.
    async fn attempts(&self, call: &mut Call, record: &mut Record) -> Result<Value, Unsent> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let (mut tries, mut told) = (0, false);
        loop {
            let (method, channel) = (call.method.name, call.channel.as_deref());
            self.wait(self.pacer.ready(method, channel)).await?;
            if let Some(answer) = self.settle(call, record).await? {
                return Ok(answer);
            }
            if record.is_late() {
                return Err(too_old().into());
            }
            let since = match call.repeat {
                Repeat::Harmless => 0.0,
                Repeat::Visible | Repeat::Unknown => record.begin(call, self.api.slack_time()).await,
            };
            let seen = self.api.token_version();
            let error = match self.api.call(method, &call.arguments).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match error.class() {
                Class::AlreadyDone => return Ok(json!({ "already": error.code() })),
                Class::RateLimited { retry_after } => {
                    record.not_begun().await;
                    self.limited(method, channel, retry_after);
                }
                // It surely was not carried out, so it is tried until it is.
                Class::Retry => {
                    record.not_begun().await;
                    // Unless what stands before Slack says so, which may not know.
                    if let Failure::Status(_) = error.failure {
                        record.doubt = Doubt::Faint { since };
                    }
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(method, channel, "{error}; trying again until it works");
                    }
                    self.wait(backoff.wait()).await?;
                }
                Class::Permanent if record.is_repeat && was_done(call.method, error.code()) => {
                    return Ok(json!({ "already": error.code() }));
                }
                Class::Permanent if is_about_mark(&error) && call.is_marked() => {
                    record.not_begun().await;
                    self.unmark(&error);
                    call.unmark();
                }
                Class::Permanent => return Err(refused(&error).into()),
                Class::Fatal | Class::Refresh => {
                    record.not_begun().await;
                    self.renew(&error, seen).await?;
                }
                Class::Ambiguous => {
                    record.is_repeat = true;
                    tries += 1;
                    // Where Slack itself answers, it is the call that it fails at; else all calls may be in for it.
                    let is_slacks = matches!(error.failure, Failure::Refused(_));
                    if tries >= TRIES && (is_slacks || call.repeat != Repeat::Harmless) {
                        let mut refusal = refused(&error);
                        refusal
                            .detail
                            .push_str(&format!(" So it did {TRIES} times."));
                        return Err(refusal.into());
                    }
                    if call.repeat != Repeat::Harmless {
                        let why = Some(refused(&error));
                        record.doubt = Doubt::Begun { since, why };
                    }
                    // What can't be looked up has its outcome now, also where we stop.
                    if call.repeat != Repeat::Unknown {
                        tracing::warn!(
                            method,
                            channel,
                            "{error}; seeing to it that it is done once"
                        );
                        self.wait(backoff.wait()).await?;
                    }
                    if let Some(answer) = self.settle(call, record).await? {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// Finds out what became of an earlier call, if there is doubt; gives its answer where it had its effect.
    async fn settle(&self, call: &Call, record: &mut Record) -> Result<Option<Value>, Unsent> {
        let (since, why, is_faint) = match (std::mem::take(&mut record.doubt), call.repeat) {
            (Doubt::None, _) | (_, Repeat::Harmless) | (Doubt::Faint { .. }, Repeat::Unknown) => {
                return Ok(None);
            }
            (Doubt::Begun { why, .. }, Repeat::Unknown) => {
                self.metrics.ambiguous("refused").increment(1);
                let mut refusal = why.unwrap_or_else(|| cut_off(call));
                refusal.detail.push_str(
                    " Slack may have carried it out all the same, so it was not tried again.",
                );
                return Err(refusal.into());
            }
            (Doubt::Faint { since }, Repeat::Visible) => (since, None, true),
            (Doubt::Begun { since, why }, Repeat::Visible) => (since, why, false),
        };
        let (method, channel) = (call.method.name, call.channel.as_deref());
        match self.look(call, record, since, is_faint).await {
            Ok(Some(message)) => {
                self.metrics.ambiguous("found").increment(1);
                let ts = &message["ts"];
                tracing::info!(method, channel, %ts, "an earlier call had posted it");
                Ok(Some(
                    json!({"ok": true, "channel": channel, "ts": ts, "message": message}),
                ))
            }
            Ok(None) => {
                self.metrics.ambiguous("absent").increment(1);
                record.not_begun().await;
                Ok(None)
            }
            Err(Blind::Unsent(unsent)) => Err(unsent),
            // It most likely had no effect.
            Err(Blind::Refused(_)) if is_faint => Ok(None),
            Err(Blind::Refused(blind)) => {
                self.metrics.ambiguous("refused").increment(1);
                let mut refusal = why.unwrap_or_else(|| cut_off(call));
                refusal.detail.push_str(&format!(
                    " Slack may have carried it out all the same, and that can't be looked up, so it was not tried again. {}",
                    blind.detail
                ));
                Err(refusal.into())
            }
        }
    }

    /// Slack refused the token of version `seen`: goes on with another one, where there is one or will be.
    async fn renew(&self, error: &ApiError, seen: u64) -> Result<(), Unsent> {
        let is_renewed = self.api.token_version() > seen
            || self
                .wait(renewed(error, self.rotation.as_ref(), seen))
                .await?;
        match is_renewed {
            true => Ok(()),
            false => Err(Unsent::Barred(refused(error))),
        }
    }

    fn unmarked(&self) -> &AtomicBool {
        self.unmarked.get_or_init(|| {
            let fact = self.state.fact(&self.fact_of_mark()).ok().flatten();
            AtomicBool::new(fact.is_some())
        })
    }

    /// Remembers that Slack takes no metadata from this token, so that what was posted is not looked for by it.
    fn unmark(&self, error: &ApiError) {
        self.unmarked().store(true, Ordering::Relaxed);
        let kept = self.state.set_fact(&self.fact_of_mark(), b"1");
        tracing::warn!(
            ?kept,
            "{error}; posts carry no metadata of djangobot's from here on"
        );
    }

    /// A token of another app may be one that is allowed to.
    fn fact_of_mark(&self) -> String {
        let me = self.team.me();
        let me = me.as_ref();
        let team = me.map_or("", |me| &me.team_id);
        format!("unmarked/{team}/{}", me.map_or("", |me| &me.user_id))
    }

    /// Slack limits the rate of a method, and of a channel where it is limited by channel.
    fn limited(&self, method: &str, channel: Option<&str>, retry_after: Duration) {
        self.metrics.rate_limited(method).increment(1);
        tracing::warn!(
            method,
            channel,
            ?retry_after,
            "Slack limits the rate; this method and channel wait"
        );
        self.pacer.limited(method, channel, retry_after);
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
        let unreadable = || {
            let detail = format!("Slack opened a conversation with {user} but named no id.");
            Refusal::new("unreadable_answer", detail)
        };
        let method = method::get("conversations.open").ok_or_else(unreadable)?;
        let arguments = Map::from_iter([("users".to_owned(), Value::from(user))]);
        let mut call = Call::new(method, None, arguments);
        let mut record = Record::none(&self.outbox);
        let answer = Box::pin(self.attempts(&mut call, &mut record)).await?;
        let id = answer.pointer("/channel/id").and_then(Value::as_str);
        let id = id.ok_or_else(unreadable)?;
        self.roster.roster().want(id);
        Ok(id.to_owned())
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

/// Whether Slack takes no metadata from this token: only apps may give some.
fn is_about_mark(error: &ApiError) -> bool {
    matches!(
        error.code(),
        "metadata_must_be_sent_from_app" | "invalid_metadata_format" | "invalid_metadata_schema"
    )
}

/// An earlier run ended in the middle of it.
fn cut_off(call: &Call) -> Refusal {
    let channel = match &call.channel {
        Some(channel) => format!(" (channel {channel})"),
        None => String::new(),
    };
    let detail = format!(
        "djangobot was ended while it called Slack's {}{channel}.",
        call.method.name
    );
    Refusal::new("interrupted", detail)
}

fn too_old() -> Refusal {
    Refusal::new(
        "too_old",
        "It could not be sent before it was older than max-age below [slack] lets messages become.",
    )
}
