//! Sends a message to a channel and reads it back: `cargo run -p djangobot-channels --example send_receive redis://localhost:6379`.
//!
//! On the other side a Django app with `channels_redis` could send or read just as well.

use djangobot_channels::{ChannelName, LayerConfig, ReceiverId, open};
use djangobot_event::Event;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "redis://localhost:6379".into());
    let layer = open(LayerConfig::from_urls(&[url])?)?;
    let channel = ChannelName::new("example.greeting")?;

    let message = Event::parse(r#"{"type": "example.greeting", "text": "hello"}"#)?;
    let sent = layer
        .send(&channel, &[layer.encode(&channel, &message)])
        .await?;
    if sent.accepted == 0 {
        return Err(format!("{channel} is full: nobody reads it").into());
    }

    // The id names this reader across restarts: its unfinished messages come again.
    let receiver = layer
        .receiver(&channel, &ReceiverId("example".into()))
        .await?;
    let delivery = receiver.next().await?;
    let received = layer.decode(delivery.payload.as_ref().map_err(Clone::clone)?)?;
    let text = received.text("/text").unwrap_or_default();
    std::io::Write::write_fmt(
        &mut std::io::stdout(),
        format_args!("{} says: {text}\n", layer.describe()),
    )?;
    receiver.done(&delivery).await?;

    receiver.close().await?;
    layer.close().await;
    Ok(())
}
