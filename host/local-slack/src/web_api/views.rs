//! `views.open`: a modal, for which a trigger of the last three seconds is needed.

use serde_json::{Value, json};

use super::{Body, Refusal, Request, fields};
use crate::lock;

/// A longer view, in bytes of JSON, is refused.
const LARGEST: usize = 250_000;

pub(super) fn open(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let arguments = request.arguments;
    let trigger = arguments.required("trigger_id")?;
    let view = match arguments.get("view") {
        Some(Value::Object(view)) => view.clone(),
        Some(_) => {
            let message = "[ERROR] must be an object [json-pointer:/view]";
            return Err(Refusal::invalid(message.to_owned()));
        }
        None => return Err(Refusal::missing("view")),
    };
    let mut view = Value::Object(view);
    if view.to_string().len() > LARGEST {
        return Err("view_too_large".into());
    }
    let core = request.core;
    core.deliveries.pull(&trigger)?;
    let mut workspace = lock(&core.workspace);
    let number = workspace.tick().0;
    let bot = &workspace.users[workspace.bot];
    for (key, value) in [
        ("id", json!(format!("V{number:011X}"))),
        ("team_id", json!(workspace.team.id)),
        ("app_id", json!(workspace.app_id())),
        ("bot_id", json!(bot.bot().map(|(bot_id, _)| bot_id))),
        ("hash", json!(format!("{number}.local"))),
        ("state", json!({"values": {}})),
    ] {
        view[key] = value;
    }
    Ok(fields([("view", view)]))
}
