//! The attempts of one call, until there is an outcome: the one place that tries a call of Slack again.
//!
//! After a failed attempt, the class of the failure says whether the call had its effect, and so what follows:
//!
//! | failure | had its effect | what follows |
//! |---|---|---|
//! | Slack has that state already | yes | the outcome |
//! | a rate limit | no | another attempt, after Slack's pause |
//! | Slack can't be reached, or says "later" | no | another attempt, after a pause |
//! | a status without Slack's JSON that says "not done" | hardly: a proxy may have said it | the same, after a lookup where there can be one |
//! | a refusal of our mark | no | another attempt, without the mark |
//! | a refusal of the token | no | another attempt with another token, or an end without an outcome |
//! | any other refusal | no | the outcome; a repeated call may learn from it that an earlier one had its effect |
//! | a connection that broke, an internal error of Slack | not known | the call's [`Repeat`] decides: another attempt, a lookup first, or the outcome |

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

/// The result of settling a doubt.
pub(super) enum Settlement {
    /// An earlier call had its effect. This stands in for Slack's answer to it.
    HadEffect(Value),
    /// No earlier call had its effect, as far as anybody can tell. The call may be made.
    MayCall,
}

impl Caller {
    /// Calls Slack until there is an outcome. Each attempt that people would see twice is noted in the outbox before it
    /// is made, and a doubt that an earlier one left is settled before the next.
    ///
    /// # Errors
    ///
    /// Fails with the outcome if it is a failure, and without one after a stop or if Slack refuses the token.
    pub(super) async fn attempt(
        &self,
        call: &mut Call,
        record: &mut Record,
        patience: &mut Patience,
    ) -> Result<Value, SendError> {
        loop {
            let (method, channel) = (call.method.name, call.channel.as_deref());
            // All waiting comes first: the note must be followed by the call at once, because the time in it bounds a
            // lookup from below, and a message may become too old while it waits.
            self.wait_for_turn(method, channel, patience).await?;
            self.wait(self.lease.may_send()).await?;
            if let Settlement::HadEffect(answer) = self.settle_doubt(call, record, patience).await?
            {
                return Ok(answer);
            }
            // The lookup may have taken a minute, in which another host may have become the one that sends.
            self.wait(self.lease.may_send()).await?;
            if record.is_late() {
                return Err(too_old().into());
            }
            let since = match call.repeat {
                // It is never looked up, so a crash needs no note of it.
                Repeat::Harmless => Ts::default(),
                Repeat::Visible | Repeat::Unknown => {
                    let now = self.api.slack_time();
                    record.begin(call, now).await
                }
            };
            // Read before the call: if the token is renewed during it, the refusal is about the old one.
            let token_version = self.api.token_version();
            let error = match self.api.call(method, &call.arguments).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match error.class() {
                Class::AlreadyDone => return Ok(already(&error)),
                Class::RateLimited { retry_after } => {
                    record.clear_begun().await;
                    // The pacer holds the next attempt back for as long as Slack asks. The pause counts this one.
                    self.note_rate_limit(method, channel, retry_after);
                    self.pause(&error, patience).await?;
                }
                Class::Retry => {
                    record.clear_begun().await;
                    // If only the HTTP status says so, it may come from a proxy in front of Slack, which may not know.
                    if let Failure::Status(_) = error.failure {
                        record.doubt = Doubt::Faint(CallTime::until_now(LowerBound::Slack(since)));
                    }
                    self.pause(&error, patience).await?;
                }
                Class::Permanent if record.is_repeat && was_done(call.method, error.code()) => {
                    return Ok(already(&error));
                }
                Class::Permanent if call.is_marked() && is_about_mark(&error) => {
                    record.clear_begun().await;
                    self.note_refused_mark(&error);
                    call.unmark();
                }
                Class::Permanent => return Err(refused(&error).into()),
                Class::Fatal | Class::Refresh => {
                    record.clear_begun().await;
                    self.renew(&error, token_version, patience).await?;
                }
                Class::Ambiguous => {
                    // From now on Slack's "not found" may mean that this attempt had its effect.
                    record.is_repeat = true;
                    let settled = self.settle_ambiguous(&error, call, record, since, patience);
                    if let Settlement::HadEffect(answer) = settled.await? {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// Finds out whether an attempt had its effect whose failure leaves that open. Pauses before another one.
    async fn settle_ambiguous(
        &self,
        error: &ApiError,
        call: &Call,
        record: &mut Record,
        since: Ts,
        patience: &mut Patience,
    ) -> Result<Settlement, SendError> {
        if call.repeat == Repeat::Harmless {
            return match self.pause(error, patience).await {
                Ok(()) => Ok(Settlement::MayCall),
                Err(SendError::Failed(failure)) => Err(may_have_effect(failure).into()),
                Err(ended) => Err(ended),
            };
        }
        record.doubt = Doubt::Begun {
            time: CallTime::until_now(LowerBound::Slack(since)),
            why: Some(refused(error)),
        };
        // A call that can't be looked up has its outcome now, even during a stop.
        if call.repeat == Repeat::Unknown {
            return self.settle_doubt(call, record, patience).await;
        }
        match self.pause(error, patience).await {
            Ok(()) => self.settle_doubt(call, record, patience).await,
            // The message's time is over, but its last attempt may have had its effect.
            Err(SendError::Failed(timed_out)) => {
                match self.settle_doubt(call, record, patience).await? {
                    Settlement::MayCall => Err(timed_out.into()),
                    settled => Ok(settled),
                }
            }
            // The outbox has the note of the attempt, so that the next start looks it up.
            Err(ended) => Err(ended),
        }
    }

    /// Settles the doubt about an earlier call.
    ///
    /// # Errors
    ///
    /// Fails with an outcome if the earlier call may have had its effect and that can't be looked up, and without one
    /// if a stop or a refusal of the token ends the lookup.
    pub(super) async fn settle_doubt(
        &self,
        call: &Call,
        record: &mut Record,
        patience: &mut Patience,
    ) -> Result<Settlement, SendError> {
        // Taken, because it is settled once: then comes the call, an outcome, or the next start, which reads the note
        // on the disk.
        let doubt = std::mem::take(&mut record.doubt);
        let is_faint = matches!(doubt, Doubt::Faint(_));
        let (time, why) = match (doubt, call.repeat) {
            (Doubt::None, _) | (_, Repeat::Harmless) | (Doubt::Faint(_), Repeat::Unknown) => {
                return Ok(Settlement::MayCall);
            }
            (Doubt::Begun { why, .. }, Repeat::Unknown) => {
                self.metrics.ambiguous("refused").increment(1);
                let mut refusal = why.unwrap_or_else(|| interrupted(call));
                refusal.detail.push_str(
                    " Slack may have carried it out all the same, so it was not tried again.",
                );
                return Err(refusal.into());
            }
            (Doubt::Faint(time), Repeat::Visible) => (time, None),
            (Doubt::Begun { time, why }, Repeat::Visible) => (time, why),
        };
        let (method, channel) = (call.method.name, call.channel.as_deref());
        match self.look_up(call, record, time, patience).await {
            Ok(Some(message)) => {
                self.metrics.ambiguous("found").increment(1);
                let ts = &message["ts"];
                tracing::info!(method, channel, %ts, "a message was not posted again, because an earlier call had posted it");
                Ok(Settlement::HadEffect(
                    json!({"ok": true, "channel": channel, "ts": ts, "message": message}),
                ))
            }
            Ok(None) => {
                self.metrics.ambiguous("absent").increment(1);
                record.clear_begun().await;
                Ok(Settlement::MayCall)
            }
            Err(LookupError::Ended(error)) => Err(error),
            // The doubt is faint: the call most likely had no effect.
            Err(LookupError::Impossible(_)) if is_faint => Ok(Settlement::MayCall),
            // A message that is posted twice in front of people is worse than one that is reported as failed.
            Err(LookupError::Impossible(failure)) => {
                self.metrics.ambiguous("refused").increment(1);
                let mut refusal = why.unwrap_or_else(|| interrupted(call));
                refusal.detail.push_str(&format!(
                    " Slack may have carried it out all the same, and that can't be looked up, so it was not tried again. {}",
                    failure.detail
                ));
                Err(refusal.into())
            }
        }
    }

    /// Goes on after Slack refused the token of this version: with another one, if there is one or can be.
    ///
    /// # Errors
    ///
    /// Fails if no other token can be had, or if the message's time is over.
    pub(super) async fn renew(
        &self,
        error: &ApiError,
        token_version: u64,
        patience: &mut Patience,
    ) -> Result<(), SendError> {
        if self.api.token_version() == token_version {
            let renewed = renewed(error, self.rotation.as_ref(), token_version);
            // A renewal that takes longer than the message's time says nothing about the token. The pause then gives
            // the outcome.
            let renewed = tokio::time::timeout(patience.left(), renewed);
            if let Ok(false) = self.wait(renewed).await? {
                return Err(SendError::Barred(refused(error)));
            }
        }
        self.pause(error, patience).await
    }
}

/// Whether Slack refuses the metadata, which only apps may send.
fn is_about_mark(error: &ApiError) -> bool {
    matches!(
        error.code(),
        "metadata_must_be_sent_from_app" | "invalid_metadata_format" | "invalid_metadata_schema"
    )
}

/// The answer of a call whose effect was there before it.
fn already(error: &ApiError) -> Value {
    json!({ "already": error.code() })
}

/// Adds to a failure that Slack may have carried out the call.
fn may_have_effect(mut failure: SendFailure) -> SendFailure {
    failure
        .detail
        .push_str(" Slack may have carried it out all the same.");
    failure
}

/// The failure of a call during which an earlier run of djangobot ended.
fn interrupted(call: &Call) -> SendFailure {
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
