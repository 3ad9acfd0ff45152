//! The watch of the channel layer: it sets readiness and gauges, and logs when the layer goes away and comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use djangobot_channels::{ChannelLayer, ChannelName, LayerError};

use crate::bridge::transport::SourceCounts;
use crate::cure;
use crate::listener::Readiness;
use crate::metrics::Metrics;
use crate::telemetry::Terminal;

/// The name of the reader of the app's messages in [`crate::listener::LayerUse`].
pub(crate) const READER: &str = "reader";
/// How often the layer is checked.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The last answer of the layer.
enum LayerState {
    /// It was not asked yet.
    Unknown,
    Sound,
    Failing(LayerError),
}

/// Checks the layer for ever, and updates readiness and those gauges that no other part sets.
pub(crate) async fn watch_layer(
    layer: Arc<dyn ChannelLayer>,
    send_channel: ChannelName,
    metrics: Metrics,
    readiness: Arc<Readiness>,
    counts: SourceCounts,
    terminal: Terminal,
) {
    let depth = metrics.depth(send_channel.as_str());
    let channels = [send_channel.clone()];
    let mut last = LayerState::Unknown;
    loop {
        let began = Instant::now();
        let is_sound = matches!(last, LayerState::Sound) && readiness.layer_use.failure().is_none();
        // At the start, and after a failure in another part, all kinds of calls that a bridge makes are tried: a server
        // that answers a ping may refuse scripts, or writes.
        let answer = if is_sound {
            layer.ping().await
        } else {
            layer.rehearse(&channels).await
        };
        match (&answer, &last) {
            (Ok(()), LayerState::Failing(_)) => tracing::info!("the channel layer works again"),
            // A failure of the same kind has been logged already.
            (Err(error), LayerState::Failing(before)) if before.refusal() == error.refusal() => {}
            (Err(error), _) => {
                let cure = cure::of_layer(error);
                tracing::error!(%cure, "{error}; messages of the app wait in the layer until it works again");
            }
            (Ok(()), LayerState::Unknown | LayerState::Sound) => {}
        }
        if answer.is_ok() && !is_sound {
            // The reader reports nothing before a message comes, so the rehearsal stands in for it.
            readiness.layer_use.rehearsed(READER, began);
        }
        readiness.layer.store(answer.is_ok(), Ordering::Relaxed);
        last = match answer {
            Ok(()) => LayerState::Sound,
            Err(error) => LayerState::Failing(error),
        };
        if let Ok(Some(waiting)) = layer.depth(&send_channel).await {
            depth.set(waiting as f64);
        }
        counts.show(&metrics);
        metrics.fold();
        terminal.log_omitted_lines();
        tokio::time::sleep(CHECK_EVERY).await;
    }
}
