//! The watch over the channel layer: for readiness, for gauges, and for the log when the layer goes away and comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use djangobot_channels::{ChannelLayer, ChannelName, LayerError};

use crate::bridge::transport::SourceCounts;
use crate::cure;
use crate::listener::Readiness;
use crate::metrics::Metrics;
use crate::telemetry::Terminal;

/// Who reads the app's messages, in [`crate::listener::LayerUse`].
pub(crate) const READER: &str = "reader";
/// How often the layer is asked how it is.
const LOOK: Duration = Duration::from_secs(5);

/// Asks the layer how it is: for readiness, for the gauges that nobody else sets, and to tell when it goes and comes.
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
    let mut last: Option<Result<(), LayerError>> = None;
    loop {
        let began = Instant::now();
        let is_sound = matches!(last, Some(Ok(()))) && readiness.layer_use.failure().is_none();
        // At the start, and when somebody found something amiss, all that a bridge does is tried.
        let answer = if is_sound {
            layer.ping().await
        } else {
            layer.rehearse(&channels).await
        };
        match (&answer, &last) {
            (Ok(()), Some(Err(_))) => tracing::info!("the channel layer does its work again"),
            (Err(error), before) => {
                let before = before.as_ref().and_then(|it| it.as_ref().err());
                if before.is_none_or(|before| before.refusal() != error.refusal()) {
                    let cure = cure::of_layer(error);
                    tracing::error!(%cure, "{error}; what the app sends waits there until it does");
                }
            }
            _ => {}
        }
        if answer.is_ok() && !is_sound {
            // A reader says nothing until a message comes.
            readiness.layer_use.rehearsed(READER, began);
        }
        readiness.layer.store(answer.is_ok(), Ordering::Relaxed);
        last = Some(answer);
        if let Ok(Some(waiting)) = layer.depth(&send_channel).await {
            depth.set(waiting as f64);
        }
        counts.show(&metrics);
        metrics.fold();
        terminal.tell_left_out();
        tokio::time::sleep(LOOK).await;
    }
}
