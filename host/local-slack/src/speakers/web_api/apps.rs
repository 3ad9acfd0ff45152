//! `apps.connections.open`: the address of a Socket Mode connection.

use std::time::Instant;

use serde_json::json;

use super::{Body, Refusal, Request, fields};
use crate::lock;
use crate::socket::{Protocol, Ticket};

pub(super) fn open_connection(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let core = request.core;
    let workspace = lock(&core.workspace);
    let secret = format!("{:032x}", rand::random::<u128>());
    let path = format!("/link/?ticket={secret}&app_id={}", workspace.app_id());
    let ticket = Ticket {
        user: workspace.bot,
        protocol: Protocol::SocketMode,
        until: Instant::now() + core.options.url_lifetime,
    };
    lock(&core.tickets).insert(secret, ticket);
    // From now on the app is known to use Socket Mode, and what happens is kept for it by Slack's rules.
    core.deliveries.enable_socket_mode();
    Ok(fields([("url", json!(core.url("ws", &path)))]))
}
