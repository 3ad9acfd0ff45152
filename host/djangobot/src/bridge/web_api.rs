//! Whether Slack's Web API serves us, for readiness: a call that failed makes us ask.
//!
//! A single call may fail for its own sake, such as an update that Slack breaks on each time. So what failed is no sign by
//! itself: `auth.test` is asked, and only if that fails too is the Web API held for away, until it answers again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use djangobot_slack::{Backoff, Class, WebApi};

use crate::listener::Readiness;
use crate::metrics::Metrics;

/// How often the Web API is asked at most while calls fail and it answers.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest wait between two questions while it is away.
const LONGEST: Duration = Duration::from_secs(30);

/// Follows `api` until the client is gone.
pub(super) async fn watch(api: WebApi, readiness: Arc<Readiness>, metrics: Metrics) {
    let mut failures = api.failures();
    metrics.web_api().set(1.0);
    while failures.changed().await.is_ok() {
        let mut backoff = Backoff::new(Duration::from_secs(1), LONGEST);
        while let Err(error) = api.auth_test().await {
            let is_away = match error.class() {
                // Slack itself answers that it is asked too often.
                Class::RateLimited { .. } => break,
                // A token that has expired is being renewed, which takes a moment.
                Class::Refresh => !backoff.is_fresh(),
                _ => true,
            };
            if is_away && !readiness.web_api_away.swap(true, Ordering::Relaxed) {
                metrics.web_api().set(0.0);
                tracing::warn!(
                    "Slack's Web API serves no calls: {error}; what the app sends waits, and /readyz says so until it does"
                );
            }
            backoff.wait().await;
        }
        if readiness.web_api_away.swap(false, Ordering::Relaxed) {
            metrics.web_api().set(1.0);
            tracing::info!("Slack's Web API serves calls again");
        }
        tokio::time::sleep(PAUSE).await;
        // The questions that failed are among them.
        failures.mark_unchanged();
    }
}
