//! `api.test`, `auth.test` and `auth.teams.list`.

use serde_json::json;

use crate::lock::lock;
use crate::speakers::web_api::call::{Body, Refusal, Request, fields};
use crate::speakers::web_api::cursor;
use crate::state::access::Speaker;

pub(super) fn api_test(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let arguments = request.arguments.to_json();
    match request.arguments.text("error")? {
        Some(error) => Err(Refusal {
            more: vec![("args", arguments)],
            ..Refusal::from(&*error)
        }),
        None => Ok(fields([("args", arguments)])),
    }
}

pub(super) fn test(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let workspace = lock(&request.core.workspace);
    if request.speaker == Speaker::App {
        let app_name = &workspace.users[workspace.bot].name;
        return Ok(fields([
            ("app_name", json!(app_name)),
            ("app_id", json!(workspace.app_id())),
        ]));
    }
    let user = &workspace.users[request.user(&workspace)];
    let mut body = fields([
        (
            "url",
            json!(format!("https://{}.slack.com/", workspace.team.domain)),
        ),
        ("team", json!(workspace.team.name)),
        ("user", json!(user.name)),
        ("team_id", json!(workspace.team.id)),
        ("user_id", json!(user.id)),
        (
            "is_enterprise_install",
            json!(lock(&request.core.access).org_wide),
        ),
    ]);
    if let Some(bot) = user.bot() {
        body.insert("bot_id".to_owned(), json!(bot.bot_id));
    }
    Ok(body)
}

/// The workspaces that the app is installed in.
pub(super) fn teams(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let team = &lock(&request.core.workspace).team;
    Ok(fields([
        ("teams", json!([{"id": team.id, "name": team.name}])),
        ("response_metadata", cursor::metadata(None)),
    ]))
}
