//! `rtm.connect`, and `rtm.start`, which has answered like it since 2022.

use std::time::Instant;

use serde_json::json;

use super::{Body, Refusal, Request, fields};
use crate::lock;
use crate::socket::{Protocol, Ticket};

pub(super) fn connect(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let core = request.core;
    let workspace = lock(&core.workspace);
    let index = request.user(&workspace);
    let secret = format!("{:032x}", rand::random::<u128>());
    let url = core.url("ws", &format!("/link/?ticket={secret}"));
    let ticket = Ticket {
        user: index,
        protocol: Protocol::Rtm {
            batch_presence: request.arguments.flag("batch_presence_aware"),
            watched: Default::default(),
        },
        until: Instant::now() + core.options.url_lifetime,
    };
    lock(&core.tickets).insert(secret, ticket);
    let user = &workspace.users[index];
    Ok(fields([
        ("url", json!(url)),
        ("self", json!({"id": user.id, "name": user.name})),
        ("team", json!(workspace.team)),
    ]))
}
