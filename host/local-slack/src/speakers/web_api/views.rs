//! `views.open`, `views.push` and `views.update`: dialogs, for whose opening a trigger of the last three seconds is needed.

use serde_json::Value;

use crate::lock::lock;
use crate::speakers::web_api::call::{Body, Refusal, Request, fields};
use crate::state::views::{described, dressed};

const LARGEST: usize = 250_000;
/// Views that may lie upon each other.
const MOST: usize = 3;

pub(super) fn open(request: &mut Request<'_>) -> Result<Body, Refusal> {
    show(request, false)
}

pub(super) fn push(request: &mut Request<'_>) -> Result<Body, Refusal> {
    show(request, true)
}

pub(super) fn update(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let given = given(request)?;
    let arguments = request.arguments;
    let (id, external) = (arguments.text("view_id")?, arguments.text("external_id")?);
    let core = request.core;
    let view = {
        let mut views = lock(&core.views);
        let is_meant = |view: &&mut Value| {
            id.as_deref().is_some_and(|id| view["id"] == *id)
                || external
                    .as_deref()
                    .is_some_and(|id| view["external_id"] == *id)
        };
        let view = views.iter_mut().find(is_meant).ok_or("not_found")?;
        *view = dressed(&mut lock(&core.workspace), given, Some(&view["id"]));
        view.clone()
    };
    core.feed.note(&described(&view));
    Ok(fields([("view", view)]))
}

fn show(request: &mut Request<'_>, is_upon_another: bool) -> Result<Body, Refusal> {
    let trigger = request.arguments.required("trigger_id")?;
    let given = given(request)?;
    let core = request.core;
    core.triggers.pull(&trigger)?;
    let view = {
        let mut views = lock(&core.views);
        if !is_upon_another {
            views.clear();
        } else if views.len() >= MOST {
            return Err("push_limit_reached".into());
        }
        let view = dressed(&mut lock(&core.workspace), given, None);
        views.push(view.clone());
        view
    };
    core.feed.note(&described(&view));
    Ok(fields([("view", view)]))
}

fn given(request: &Request<'_>) -> Result<Value, Refusal> {
    let view = match request.arguments.get("view") {
        Some(Value::Object(view)) => Value::Object(view.clone()),
        Some(_) => {
            let message = "[ERROR] must be an object [json-pointer:/view]";
            return Err(Refusal::invalid(message.to_owned()));
        }
        None => return Err(Refusal::missing("view")),
    };
    match view.to_string().len() > LARGEST {
        true => Err("view_too_large".into()),
        false => Ok(view),
    }
}
