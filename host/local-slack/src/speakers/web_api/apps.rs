//! `apps.connections.open`: the address of a Socket Mode connection.

use serde_json::json;

use crate::lock::lock;
use crate::speakers::web_api::call::{Body, Refusal, Request, fields};
use crate::state::connection::Protocol;

pub(super) fn open_connection(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let core = request.core;
    let workspace = lock(&core.workspace);
    let secret = core.tickets.issue(workspace.bot, Protocol::SocketMode);
    let path = format!("/link/?ticket={secret}&app_id={}", workspace.app_id());
    // From now on the app is known to use Socket Mode, and what happens is kept for it by Slack's rules.
    core.deliveries.enable_socket_mode();
    Ok(fields([("url", json!(core.address.url("ws", &path)))]))
}
