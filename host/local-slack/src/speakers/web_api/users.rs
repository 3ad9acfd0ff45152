//! `users.list` and `users.info`.

use serde_json::{Value, json};

use crate::lock::lock;
use crate::speakers::web_api::call::{Body, Refusal, Request, fields, of_team};
use crate::speakers::web_api::cursor;
use crate::state::ts::now_micros;

/// Without a limit this many users are given at once; Slack refuses where there are more.
const UNLIMITED: usize = 10_000;
const LONGEST_PAGE: usize = 1000;

pub(super) fn list(request: &mut Request<'_>) -> Result<Body, Refusal> {
    of_team(request)?;
    let workspace = lock(&request.core.workspace);
    let count = workspace.users.len();
    let limit = match request.arguments.get("limit") {
        None if count > UNLIMITED => return Err("limit_required".into()),
        None => count,
        // A limit that is too large is lowered without a warning, as in Slack.
        Some(_) => cursor::limit(request.arguments, LONGEST_PAGE, usize::MAX)?.min(LONGEST_PAGE),
    };
    let from = match cursor::decode(request.arguments, "user")? {
        Some(id) => workspace.user(&id).ok_or("invalid_cursor")?,
        None => 0,
    };
    let until = (from + limit).min(count);
    let members: Vec<Value> = (from..until)
        .map(|user| workspace.user_json(user))
        .collect();
    let next = workspace.users.get(until);
    Ok(fields([
        ("members", Value::Array(members)),
        ("cache_ts", json!(now_micros() / 1_000_000)),
        (
            "response_metadata",
            cursor::metadata(next.map(|user| cursor::encode("user", &user.id))),
        ),
    ]))
}

pub(super) fn info(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let id = request.arguments.required("user")?;
    let workspace = lock(&request.core.workspace);
    let user = workspace.user(&id).ok_or("user_not_found")?;
    Ok(fields([("user", workspace.user_json(user))]))
}
