//! One request to Slack: its destination looked up, its pace kept, tried again where that is safe.

mod call;
pub(crate) mod destination;
mod find;
mod identifiers;
mod lookup;
mod patience;
mod repeat;
mod upload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use djangobot_plugins::Roster as _;
use djangobot_slack::api::Failure;
use djangobot_slack::{ApiError, Class, Pacer, Rotation, Ts, WebApi};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::bridge::host_lease::HostLease;
use crate::bridge::outbound::files::NewFile;
use crate::bridge::outbound::outbox::Outbox;
use crate::bridge::outbound::request::Request;
use crate::bridge::reply::Refusal;
use crate::bridge::roster::RosterKeeper;
use crate::bridge::transport::renewed;
use crate::metrics::Metrics;
use crate::state::State;
use crate::team::Team;
use call::Call;
pub(crate) use call::{Doubt, Record};
use destination::Destination;
use find::{Finder, Unknown, is_about_id};
use lookup::Blind;
use patience::Patience;
use repeat::{Repeat, was_done};

/// Calls Slack for the way out. The one place that tries a send again.
pub(crate) struct Post {
    pub(crate) api: WebApi,
    /// Where tokens are renewed, if they are.
    pub(crate) rotation: Option<Rotation>,
    pub(crate) pacer: Pacer,
    pub(crate) roster: Arc<RosterKeeper>,
    pub(crate) team: Team,
    pub(crate) outbox: Outbox,
    /// Says whether this host may call.
    pub(crate) lease: Arc<HostLease>,
    pub(crate) metrics: Metrics,
    /// How long a message is tried, from its first failure on.
    pub(crate) send_timeout: Duration,
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
        let destination = Destination::read(named);
        let spelling = destination.key();
        match self.known(&destination) {
            Some(id) if !is_busy(&spelling) => id,
            _ => spelling,
        }
    }

    /// Carries `request` out and gives Slack's answer.
    pub(crate) async fn call(
        &self,
        request: Request,
        record: &mut Record,
    ) -> Result<Value, Unsent> {
        let patience = &mut Patience::new(self.send_timeout);
        let mut finder = Finder::new(match record.doubt {
            Doubt::None => Unknown::Ids,
            // What an earlier call posted is looked for where it went.
            Doubt::Faint { .. } | Doubt::Begun { .. } => Unknown::Listed,
        });
        let outcome = match self.find(&request, &mut finder, patience).await {
            Ok(call) => {
                let files = request.files.clone();
                self.carry_out(call, files, record, patience).await
            }
            Err(unsent) => Err(unsent),
        };
        let refusal = match outcome {
            Err(Unsent::Refused(refusal)) if finder.has_guessed && is_about_id(&refusal.error) => {
                refusal
            }
            outcome => return outcome,
        };
        // What was taken for an id is a name, then, if it is anything.
        record.not_begun().await;
        let mut finder = Finder::new(Unknown::Names);
        let call = self.find(&request, &mut finder, patience).await?;
        match finder.has_learnt {
            true => self.carry_out(call, request.files, record, patience).await,
            false => Err(refusal.into()),
        }
    }

    /// The call that `request` asks for, with ids in the place of names.
    async fn find(
        &self,
        request: &Request,
        finder: &mut Finder,
        patience: &mut Patience,
    ) -> Result<Call, Unsent> {
        let method = request.method;
        let channel = match &request.channel {
            Some(named) => {
                let found = self.find_conversation(named, method, finder, patience);
                Some((request.channel_key, found.await?))
            }
            None => None,
        };
        let mut call = Call::new(method, channel, request.arguments.clone());
        self.identify(method, &mut call.arguments, finder, patience)
            .await?;
        Ok(call)
    }

    async fn carry_out(
        &self,
        mut call: Call,
        files: Vec<NewFile>,
        record: &mut Record,
        patience: &mut Patience,
    ) -> Result<Value, Unsent> {
        if !files.is_empty() {
            return self.share(call, files, record, patience).await;
        }
        if !self.unmarked().load(Ordering::Relaxed) {
            call.mark(record.key);
        }
        self.attempts(&mut call, record, patience).await
    }

    /// Calls until there is an outcome.
    async fn attempts(
        &self,
        call: &mut Call,
        record: &mut Record,
        patience: &mut Patience,
    ) -> Result<Value, Unsent> {
        loop {
            let (method, channel) = (call.method.name, call.channel.as_deref());
            self.turn(method, channel, patience).await?;
            self.wait(self.lease.may_send()).await?;
            if let Some(answer) = self.settle(call, record, patience).await? {
                return Ok(answer);
            }
            if record.is_late() {
                return Err(too_old().into());
            }
            let since = match call.repeat {
                Repeat::Harmless => 0.0,
                Repeat::Visible | Repeat::Unknown => {
                    let now = self.api.slack_time().map(Ts::as_secs_f64);
                    record.begin(call, now).await
                }
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
                    self.pause(&error, patience).await?;
                }
                // It surely was not carried out.
                Class::Retry => {
                    record.not_begun().await;
                    // Unless what stands before Slack says so, which may not know.
                    if let Failure::Status(_) = error.failure {
                        record.doubt = Doubt::Faint { since };
                    }
                    self.pause(&error, patience).await?;
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
                    self.renew(&error, seen, patience).await?;
                }
                Class::Ambiguous => {
                    record.is_repeat = true;
                    if let Some(answer) =
                        self.doubted(&error, call, record, since, patience).await?
                    {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// A call of which nobody knows whether it had its effect: finds that out, or has its outcome.
    async fn doubted(
        &self,
        error: &ApiError,
        call: &Call,
        record: &mut Record,
        since: f64,
        patience: &mut Patience,
    ) -> Result<Option<Value>, Unsent> {
        if call.repeat == Repeat::Harmless {
            let paused = self.pause(error, patience).await;
            return paused.map(|()| None).map_err(may_be_done);
        }
        let why = Some(refused(error));
        record.doubt = Doubt::Begun { since, why };
        // What can't be looked up has its outcome now, also where we stop.
        if call.repeat == Repeat::Unknown {
            return self.settle(call, record, patience).await;
        }
        let paused = self.pause(error, patience).await;
        if let Err(Unsent::Stopped | Unsent::Barred(_)) = paused {
            return paused.map(|()| None);
        }
        // The last call may have had its effect, too.
        match self.settle(call, record, patience).await? {
            Some(answer) => Ok(Some(answer)),
            None => paused.map(|()| None),
        }
    }

    /// Finds out what became of an earlier call, if there is doubt; gives its answer where it had its effect.
    async fn settle(
        &self,
        call: &Call,
        record: &mut Record,
        patience: &mut Patience,
    ) -> Result<Option<Value>, Unsent> {
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
        let found = self.look(call, record, (since, is_faint), patience).await;
        match found {
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
    async fn renew(
        &self,
        error: &ApiError,
        seen: u64,
        patience: &mut Patience,
    ) -> Result<(), Unsent> {
        if self.api.token_version() == seen {
            let renewed = renewed(error, self.rotation.as_ref(), seen);
            let renewed = tokio::time::timeout(patience.left(), renewed);
            if let Ok(false) = self.wait(renewed).await? {
                return Err(Unsent::Barred(refused(error)));
            }
        }
        self.pause(error, patience).await
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

/// Says of a failure that it may be none.
fn may_be_done(unsent: Unsent) -> Unsent {
    match unsent {
        Unsent::Refused(mut refusal) => {
            refusal
                .detail
                .push_str(" Slack may have carried it out all the same.");
            Unsent::Refused(refusal)
        }
        other => other,
    }
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
