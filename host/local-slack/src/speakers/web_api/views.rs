//! `views.open`, `views.push` and `views.update`: dialogs, for whose opening a trigger of the last three seconds is needed.

use serde_json::{Value, json};

use super::{Body, Refusal, Request, fields};
use crate::core::Core;
use crate::{delivery, lock};

const LARGEST: usize = 250_000;
/// Views that may lie upon each other.
const MOST: usize = 3;

/// The dialogs that are open, the uppermost last.
pub(crate) type Views = Vec<Value>;

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
        *view = dressed(core, given, Some(&view["id"]));
        view.clone()
    };
    delivery::note(core, &described(&view));
    Ok(fields([("view", view)]))
}

fn show(request: &mut Request<'_>, is_upon_another: bool) -> Result<Body, Refusal> {
    let trigger = request.arguments.required("trigger_id")?;
    let given = given(request)?;
    let core = request.core;
    core.deliveries.pull(&trigger)?;
    let view = {
        let mut views = lock(&core.views);
        if !is_upon_another {
            views.clear();
        } else if views.len() >= MOST {
            return Err("push_limit_reached".into());
        }
        let view = dressed(core, given, None);
        views.push(view.clone());
        view
    };
    delivery::note(core, &described(&view));
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

/// A view with what Slack adds to it; `id` where it takes the place of another.
pub(crate) fn dressed(core: &Core, mut view: Value, id: Option<&Value>) -> Value {
    let mut workspace = lock(&core.workspace);
    let number = workspace.tick().0;
    let new_id = json!(format!("V{number:011X}"));
    let bot = &workspace.users[workspace.bot];
    for (key, value) in [
        ("id", id.unwrap_or(&new_id).clone()),
        ("team_id", json!(workspace.team.id)),
        ("app_id", json!(workspace.app_id())),
        ("bot_id", json!(bot.bot().map(|(bot_id, _)| bot_id))),
        ("hash", json!(format!("{number}.local"))),
        ("state", json!({"values": {}})),
    ] {
        view[key] = value;
    }
    // What has no name gets one, as in Slack.
    for (nth, block) in view["blocks"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .enumerate()
    {
        if block.is_object() && !block["block_id"].is_string() {
            block["block_id"] = json!(format!("b{nth}"));
        }
        if block["element"].is_object() && !block["element"]["action_id"].is_string() {
            block["element"]["action_id"] = json!(format!("a{nth}"));
        }
    }
    view
}

/// A dialog in the words of the terminal: its title and its fields.
pub(crate) fn described(view: &Value) -> String {
    let title = view["title"]["text"].as_str().unwrap_or("without a title");
    let names: Vec<&str> = inputs(view)
        .map(|(_, element)| element["action_id"].as_str().unwrap_or_default())
        .collect();
    let fill = match names.as_slice() {
        [] => "/submit".to_owned(),
        names => format!("/submit {}=TEXT", names.join("=TEXT; ")),
    };
    format!("The dialog {title:?} is open: {fill}, or /close\n")
}

/// The inputs of a view: each block, and its element.
pub(crate) fn inputs(view: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let blocks = view["blocks"].as_array().into_iter().flatten();
    blocks
        .filter(|block| block["element"].is_object())
        .map(|block| (block, &block["element"]))
}
