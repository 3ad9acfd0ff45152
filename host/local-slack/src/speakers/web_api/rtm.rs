//! `rtm.connect`, and `rtm.start`, which has answered like it since 2022.

use serde_json::json;

use crate::lock::lock;
use crate::speakers::web_api::call::{Body, Refusal, Request, fields};
use crate::state::connection::Protocol;

pub(super) fn connect(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let core = request.core;
    let workspace = lock(&core.workspace);
    let index = request.user(&workspace);
    let protocol = Protocol::Rtm {
        batch_presence: request.arguments.flag("batch_presence_aware"),
        watched: Default::default(),
    };
    let secret = core.tickets.issue(index, protocol);
    let url = core.address.url("ws", &format!("/link/?ticket={secret}"));
    let user = &workspace.users[index];
    Ok(fields([
        ("url", json!(url)),
        ("self", json!({"id": user.id, "name": user.name})),
        ("team", json!(workspace.team)),
    ]))
}
