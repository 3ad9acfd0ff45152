//! The attempts of one call, until there is an outcome: the one place that tries a call of Slack again.

use std::sync::atomic::{AtomicBool, Ordering};

use djangobot_plugins::Roster as _;
use djangobot_slack::api::Failure;
use djangobot_slack::{ApiError, Class, Ts};
use serde_json::{Value, json};

use crate::bridge::outbound::post::call::{Call, CallTime, Doubt, LowerBound, Record};
use crate::bridge::outbound::post::caller::Caller;
use crate::bridge::outbound::post::lookup::LookupError;
use crate::bridge::outbound::post::patience::Patience;
use crate::bridge::outbound::post::repeat::{Repeat, was_done};
use crate::bridge::outbound::post::send_error::{SendError, refused, too_old};
use crate::bridge::reply::SendFailure;
use crate::bridge::transport::renewed;

impl Caller {
    /// Calls Slack until there is an outcome. Each attempt is noted in the outbox before it is made, and a doubt that
    /// an earlier one left is settled before the next.
    pub(super) async fn attempt(
        &self,
        call: &mut Call,
        record: &mut Record,
        patience: &mut Patience,
    ) -> Result<Value, SendError> {
        loop {
            let (method, channel) = (call.method.name, call.channel.as_deref());
            self.wait_for_turn(method, channel, patience).await?;
            self.wait(self.lease.may_send()).await?;
            if let Some(answer) = self.settle(call, record, patience).await? {
                return Ok(answer);
            }
            if record.is_late() {
                return Err(too_old().into());
            }
            let since = match call.repeat {
                Repeat::Harmless => Ts::default(),
                Repeat::Visible | Repeat::Unknown => {
                    let now = self.api.slack_time();
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
                    record.clear_begun().await;
                    self.note_rate_limit(method, channel, retry_after);
                    self.pause(&error, patience).await?;
                }
                // The call surely was not carried out.
                Class::Retry => {
                    record.clear_begun().await;
                    // If only the HTTP status says so, it may come from a proxy in front of Slack, which may not know.
                    if let Failure::Status(_) = error.failure {
                        record.doubt = Doubt::Faint(CallTime::until_now(LowerBound::Slack(since)));
                    }
                    self.pause(&error, patience).await?;
                }
                Class::Permanent if record.is_repeat && was_done(call.method, error.code()) => {
                    return Ok(json!({ "already": error.code() }));
                }
                Class::Permanent if is_about_mark(&error) && call.is_marked() => {
                    record.clear_begun().await;
                    self.unmark(&error);
                    call.unmark();
                }
                Class::Permanent => return Err(refused(&error).into()),
                Class::Fatal | Class::Refresh => {
                    record.clear_begun().await;
                    self.renew(&error, seen, patience).await?;
                }
                Class::Ambiguous => {
                    record.is_repeat = true;
                    if let Some(answer) = self
                        .resolve_doubt(&error, call, record, since, patience)
                        .await?
                    {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// Goes on after a failure that leaves it open whether the call had its effect: finds it out, or gives the outcome.
    async fn resolve_doubt(
        &self,
        error: &ApiError,
        call: &Call,
        record: &mut Record,
        since: Ts,
        patience: &mut Patience,
    ) -> Result<Option<Value>, SendError> {
        if call.repeat == Repeat::Harmless {
            let paused = self.pause(error, patience).await;
            return paused.map(|()| None).map_err(may_be_done);
        }
        let why = Some(refused(error));
        let time = CallTime::until_now(LowerBound::Slack(since));
        record.doubt = Doubt::Begun { time, why };
        // A call that can't be looked up has its outcome now, even during a stop.
        if call.repeat == Repeat::Unknown {
            return self.settle(call, record, patience).await;
        }
        let paused = self.pause(error, patience).await;
        if let Err(SendError::Stopped | SendError::Barred(_)) = paused {
            return paused.map(|()| None);
        }
        // The time is over, but the last call may have had its effect.
        match self.settle(call, record, patience).await? {
            Some(answer) => Ok(Some(answer)),
            None => paused.map(|()| None),
        }
    }

    /// Settles the doubt about an earlier call. Gives its answer if it had its effect, and `None` if the call may be
    /// made.
    pub(super) async fn settle(
        &self,
        call: &Call,
        record: &mut Record,
        patience: &mut Patience,
    ) -> Result<Option<Value>, SendError> {
        let (time, why, is_faint) = match (std::mem::take(&mut record.doubt), call.repeat) {
            (Doubt::None, _) | (_, Repeat::Harmless) | (Doubt::Faint(_), Repeat::Unknown) => {
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
            (Doubt::Faint(time), Repeat::Visible) => (time, None, true),
            (Doubt::Begun { time, why }, Repeat::Visible) => (time, why, false),
        };
        let (method, channel) = (call.method.name, call.channel.as_deref());
        let found = self.look_up(call, record, time, patience).await;
        match found {
            Ok(Some(message)) => {
                self.metrics.ambiguous("found").increment(1);
                let ts = &message["ts"];
                tracing::info!(method, channel, %ts, "a message was not posted again, because an earlier call had posted it");
                Ok(Some(
                    json!({"ok": true, "channel": channel, "ts": ts, "message": message}),
                ))
            }
            Ok(None) => {
                self.metrics.ambiguous("absent").increment(1);
                record.clear_begun().await;
                Ok(None)
            }
            Err(LookupError::Ended(error)) => Err(error),
            // The doubt is faint: the call most likely had no effect.
            Err(LookupError::Impossible(_)) if is_faint => Ok(None),
            Err(LookupError::Impossible(failure)) => {
                self.metrics.ambiguous("refused").increment(1);
                let mut refusal = why.unwrap_or_else(|| cut_off(call));
                refusal.detail.push_str(&format!(
                    " Slack may have carried it out all the same, and that can't be looked up, so it was not tried again. {}",
                    failure.detail
                ));
                Err(refusal.into())
            }
        }
    }

    /// Goes on after Slack refused the token of version `seen`: with another one, if there is one or can be.
    ///
    /// # Errors
    ///
    /// Fails if no other token can be had.
    pub(super) async fn renew(
        &self,
        error: &ApiError,
        seen: u64,
        patience: &mut Patience,
    ) -> Result<(), SendError> {
        if self.api.token_version() == seen {
            let renewed = renewed(error, self.rotation.as_ref(), seen);
            let renewed = tokio::time::timeout(patience.left(), renewed);
            if let Ok(false) = self.wait(renewed).await? {
                return Err(SendError::Barred(refused(error)));
            }
        }
        self.pause(error, patience).await
    }

    /// Whether Slack takes no metadata from this token.
    pub(super) fn unmarked(&self) -> &AtomicBool {
        self.unmarked.get_or_init(|| {
            let fact = self.state.fact(&self.fact_of_mark()).ok().flatten();
            AtomicBool::new(fact.is_some())
        })
    }

    /// Remembers that Slack takes no metadata from this token, so that posts are not looked up by their mark.
    fn unmark(&self, error: &ApiError) {
        self.unmarked().store(true, Ordering::Relaxed);
        let kept = self.state.set_fact(&self.fact_of_mark(), b"1");
        tracing::warn!(
            ?kept,
            "Slack takes no metadata from this token: {error}; from now on a post in doubt is looked up by its text"
        );
    }

    /// The key of the fact. Another app's token may be allowed to send metadata, so it has its own.
    fn fact_of_mark(&self) -> String {
        let me = self.team.me();
        let me = me.as_ref();
        let team = me.map_or("", |me| &me.team_id);
        format!("unmarked/{team}/{}", me.map_or("", |me| &me.user_id))
    }
}

/// Whether Slack refuses the metadata, which only apps may send.
fn is_about_mark(error: &ApiError) -> bool {
    matches!(
        error.code(),
        "metadata_must_be_sent_from_app" | "invalid_metadata_format" | "invalid_metadata_schema"
    )
}

/// Adds to a failure that Slack may have carried out the call.
fn may_be_done(error: SendError) -> SendError {
    match error {
        SendError::Failed(mut refusal) => {
            refusal
                .detail
                .push_str(" Slack may have carried it out all the same.");
            SendError::Failed(refusal)
        }
        other => other,
    }
}

/// The failure of a call in whose midst an earlier run ended.
fn cut_off(call: &Call) -> SendFailure {
    let channel = match &call.channel {
        Some(channel) => format!(" (channel {channel})"),
        None => String::new(),
    };
    let detail = format!(
        "djangobot was ended while it called Slack's {}{channel}.",
        call.method.name
    );
    SendFailure::new("interrupted", detail)
}
