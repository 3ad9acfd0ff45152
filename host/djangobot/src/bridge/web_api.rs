//! The watch of Slack's Web API, for readiness.
//!
//! A single call may fail for a reason of its own, such as an update on which Slack fails each time. So a failed call
//! alone does not mean that the Web API is away: `auth.test` is called then, and only if that fails too, the Web API
//! counts as away until `auth.test` succeeds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use djangobot_slack::{Backoff, Class, WebApi};

use crate::listener::Readiness;
use crate::metrics::Metrics;

/// The pause between two questions while calls fail although the Web API answers.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest pause between two questions while the Web API is away.
const LONGEST: Duration = Duration::from_secs(30);

/// Watches the Web API until the client is gone.
pub(super) async fn watch(api: WebApi, readiness: Arc<Readiness>, metrics: Metrics) {
    let mut failures = api.failures();
    metrics.web_api().set(1.0);
    while failures.changed().await.is_ok() {
        let mut backoff = Backoff::new(Duration::from_secs(1), LONGEST);
        while let Err(error) = api.auth_test().await {
            let is_away = match error.class() {
                // Slack answers, if only to say that it is asked too often.
                Class::RateLimited { .. } => break,
                // A token that has expired is being renewed, which takes a moment.
                Class::Refresh => !backoff.is_fresh(),
                _ => true,
            };
            if is_away && !readiness.web_api_away.swap(true, Ordering::Relaxed) {
                metrics.web_api().set(0.0);
                tracing::warn!(
                    "Slack's Web API serves no calls: {error}; messages of the app wait, and /readyz reports it until the Web API answers"
                );
            }
            backoff.wait().await;
        }
        if readiness.web_api_away.swap(false, Ordering::Relaxed) {
            metrics.web_api().set(1.0);
            tracing::info!("Slack's Web API serves calls again");
        }
        tokio::time::sleep(PAUSE).await;
        // Our own questions that failed are counted too; they must not start the next round.
        failures.mark_unchanged();
    }
}
