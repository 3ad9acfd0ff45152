//! The embedded channel layer alone: `cargo run -p djangobot-channels --example embedded -- 127.0.0.1:6379`.

use std::error::Error;
use std::io::Write;

use djangobot_channels::EmbeddedServer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:6379".to_owned());
    let server = EmbeddedServer::bind(listen.parse()?).await?;
    writeln!(std::io::stdout(), "redis://{}", server.addr())?;
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
