//! Calls of Slack's Web API that plugins make: one attempt each, within Slack's rates and under the host's lease.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use djangobot_event::Event;
use djangobot_plugins::{CallError, SlackApi};
use djangobot_slack::api::Failure as ApiFailure;
use djangobot_slack::{Pacer, WebApi, method};
use tokio::time::{Instant, timeout_at};

use crate::bridge::arguments;
use crate::bridge::host_lease::HostLease;
use crate::bridge::reply::keys_of;
use crate::masking;
use crate::metrics::Metrics;

/// Calls Slack for plugins, once a bridge is connected. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct PluginSlack {
    line: Arc<OnceLock<SlackLine>>,
}

/// The parts of a bridge that a call needs.
pub(crate) struct SlackLine {
    pub(crate) api: WebApi,
    pub(crate) pacer: Pacer,
    pub(crate) lease: Arc<HostLease>,
    pub(crate) metrics: Metrics,
}

impl PluginSlack {
    /// Gives the calls their way to Slack. A process has one bridge, so that a second one changes nothing.
    pub(crate) fn connect(&self, line: SlackLine) {
        let _ = self.line.set(line);
    }
}

#[async_trait]
impl SlackApi for PluginSlack {
    async fn call(
        &self,
        method: &str,
        arguments: &Event,
        limit: Duration,
    ) -> Result<String, CallError> {
        let Some(line) = self.line.get() else {
            let why = "this host is not connected to Slack".into();
            return Err(CallError::Unavailable(why));
        };
        let end = Instant::now() + limit;
        let Some(known) = method::get(method) else {
            let mut why = format!("Slack's Web API has no method {method:?}");
            if let Some(near) = method::nearest(method) {
                why.push_str(&format!("; did you mean {}?", near.name));
            }
            return Err(CallError::Invalid(why));
        };
        let arguments = keys_of(arguments)
            .and_then(|keys| arguments::convert(known, keys))
            .map_err(|failure| CallError::Invalid(failure.detail))?;
        let channel = arguments.get("channel").and_then(|it| it.as_str());
        let turn = async {
            line.lease.may_send().await;
            line.pacer.ready(known.name, channel).await;
        };
        if timeout_at(end, turn).await.is_err() {
            return Err(CallError::RateLimited(line.pacer.wait(known.name, channel)));
        }
        let called = timeout_at(end, line.api.call(known.name, &arguments)).await;
        let Ok(called) = called else {
            let why = format!("Slack did not answer within {} ms", limit.as_millis());
            return Err(CallError::Unavailable(why));
        };
        match called {
            Ok(mut answer) => {
                // Some methods answer with tokens, which no plugin gets.
                masking::mask_tokens(&mut answer);
                Ok(answer.to_string())
            }
            Err(error) => Err(match &error.failure {
                ApiFailure::Refused(refusal) => CallError::Refused {
                    error: refusal.code.clone(),
                    detail: masking::in_text(&error.to_string()).into(),
                },
                ApiFailure::RateLimited { retry_after } => {
                    line.metrics.rate_limited(known.name).increment(1);
                    line.pacer.limited(known.name, channel, *retry_after);
                    CallError::RateLimited(*retry_after)
                }
                ApiFailure::Unsendable(why) => CallError::Invalid(why.clone()),
                ApiFailure::Status(_)
                | ApiFailure::Unreachable(_)
                | ApiFailure::Interrupted(_)
                | ApiFailure::Unreadable(_) => {
                    CallError::Unavailable(masking::in_text(&error.to_string()).into())
                }
            }),
        }
    }
}
