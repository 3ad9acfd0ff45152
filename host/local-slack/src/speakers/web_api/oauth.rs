//! `oauth.v2.access`, with a refresh token: the local Slack has no page on which a person could install an app.

use serde_json::{Value, json};

use crate::lock::lock;
use crate::speakers::web_api::call::{Body, Refusal, Request, fields};

pub(super) fn access(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let arguments = request.arguments;
    let (client_id, client_secret) = match arguments.basic() {
        Some(basic) => (basic.user.clone(), basic.password.clone()),
        None => (
            arguments.text("client_id")?.unwrap_or_default(),
            arguments.text("client_secret")?.unwrap_or_default(),
        ),
    };
    match arguments.text("grant_type")?.as_deref() {
        Some("refresh_token") => {}
        None | Some("authorization_code") => return Err("invalid_code".into()),
        Some(_) => return Err("invalid_grant_type".into()),
    }
    let refresh = arguments.text("refresh_token")?.unwrap_or_default();
    let workspace = lock(&request.core.workspace);
    let mut access = lock(&request.core.access);
    let pair = access
        .rotation
        .renew(&client_id, &client_secret, &refresh)?;
    let scopes: Vec<&str> = access.scopes.iter().map(String::as_str).collect();
    let team = &workspace.team;
    Ok(fields([
        ("access_token", json!(pair.access)),
        ("refresh_token", json!(pair.refresh)),
        // Whole seconds, as Slack gives them.
        ("expires_in", json!(pair.lifetime.as_secs())),
        ("token_type", json!("bot")),
        ("scope", json!(scopes.join(","))),
        ("bot_user_id", json!(workspace.users[workspace.bot].id)),
        ("app_id", json!(workspace.app_id())),
        ("team", json!({"id": team.id, "name": team.name})),
        ("enterprise", Value::Null),
        ("is_enterprise_install", json!(false)),
    ]))
}
