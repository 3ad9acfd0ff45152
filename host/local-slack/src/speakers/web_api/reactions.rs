//! `reactions.add` and `reactions.remove`.

use crate::speakers::web_api::call::{Body, Refusal, Request};
use crate::speakers::web_api::conversations;
use crate::state::ts::Ts;

pub(super) fn add(request: &mut Request<'_>) -> Result<Body, Refusal> {
    change(request, true)
}

pub(super) fn remove(request: &mut Request<'_>) -> Result<Body, Refusal> {
    change(request, false)
}

fn change(request: &mut Request<'_>, add: bool) -> Result<Body, Refusal> {
    let arguments = request.arguments;
    let name = arguments.required("name")?;
    // Colons around the name are allowed, and left away.
    let name = name.trim_matches(':');
    let known =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-+':".contains(&byte);
    if name.is_empty() || !name.bytes().all(known) {
        return Err("invalid_name".into());
    }
    if arguments.get("channel").is_none() || arguments.get("timestamp").is_none() {
        return Err("no_item_specified".into());
    }
    let ts = arguments.required("timestamp")?;
    let ts = Ts::parse(&ts).ok_or("bad_timestamp")?;
    let core = request.core;
    core.change(|workspace| {
        let user = request.user(workspace);
        let index = conversations::named(workspace, arguments, user)?;
        if workspace.conversations[index].archived {
            return Err("is_archived".into());
        }
        let changed = workspace.react(user, index, ts, name, add);
        changed.map_err(|refused| Refusal::from(&*refused.to_string()))?;
        Ok(Body::new())
    })
}
