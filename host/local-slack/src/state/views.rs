//! Dialogs: the views that the app opened, completed and described as Slack does it.

use serde_json::{Value, json};

use crate::state::workspace::Workspace;

/// The dialogs that are open, the uppermost last.
pub(crate) type Views = Vec<Value>;

/// A view completed with the fields that Slack adds; `id` where it replaces another one.
pub(crate) fn dressed(workspace: &mut Workspace, mut view: Value, id: Option<&Value>) -> Value {
    let number = workspace.tick().0;
    let new_id = json!(format!("V{number:011X}"));
    let bot = &workspace.users[workspace.bot];
    for (key, value) in [
        ("id", id.unwrap_or(&new_id).clone()),
        ("team_id", json!(workspace.team.id)),
        ("app_id", json!(workspace.app_id())),
        ("bot_id", json!(bot.bot().map(|bot| &bot.bot_id))),
        ("hash", json!(format!("{number}.local"))),
        ("state", json!({"values": {}})),
    ] {
        view[key] = value;
    }
    // Blocks and elements without an id get one, as in Slack.
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
