//! The elements of a message that can be clicked or chosen from.

use serde_json::{Value, json};

use crate::state::ts::Ts;
use crate::state::workspace::Message;

/// Elements of a block that can be clicked or chosen from.
const CLICKABLE: &[&str] = &[
    "button",
    "static_select",
    "users_select",
    "conversations_select",
    "channels_select",
    "external_select",
    "overflow",
    "radio_buttons",
    "checkboxes",
    "datepicker",
    "timepicker",
    "workflow_button",
];

/// Something in a message that can be clicked.
pub(super) struct Element {
    block: Value,
    element: Value,
    /// The attachment that it stands in, where it is an action of an old-style attachment.
    attachment: Option<Value>,
}

/// The names of what can be clicked in a message.
pub(super) fn clickable(message: &Message) -> Vec<String> {
    all_in(message).iter().map(Element::shown).collect()
}

/// The clickable elements of a message: those of its blocks, or the actions of its attachments.
pub(super) fn all_in(message: &Message) -> Vec<Element> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut found = Vec::new();
    let attachments = list(message.get("attachments"));
    let inner = attachments.iter().flat_map(|it| list(it.get("blocks")));
    for (nth, mut block) in list(message.get("blocks"))
        .into_iter()
        .chain(inner)
        .enumerate()
    {
        if block.is_object() && !block["block_id"].is_string() {
            block["block_id"] = json!(format!("b{nth}"));
        }
        let elements = list(block.get("elements")).into_iter();
        for element in elements.chain(block.get("accessory").cloned()) {
            let kind = element["type"].as_str().unwrap_or_default();
            if CLICKABLE.contains(&kind) {
                found.push(Element {
                    block: block.clone(),
                    element,
                    attachment: None,
                });
            }
        }
    }
    for attachment in attachments {
        for element in list(attachment.get("actions")) {
            found.push(Element {
                block: Value::Null,
                element,
                attachment: Some(attachment.clone()),
            });
        }
    }
    found
}

impl Element {
    /// Its names: those for the app, and those that people read.
    fn names(&self) -> impl Iterator<Item = &str> {
        let element = &self.element;
        let names = [
            &element["action_id"],
            &element["name"],
            &element["value"],
            &element["text"]["text"],
            &element["text"],
            &element["placeholder"]["text"],
        ];
        names.into_iter().filter_map(Value::as_str)
    }

    /// Whether the element has this name; the empty name stands for any element.
    pub(super) fn is_called(&self, name: &str) -> bool {
        name.is_empty() || self.names().any(|it| it.eq_ignore_ascii_case(name))
    }

    pub(super) fn shown(&self) -> String {
        let name = self.names().next().unwrap_or("one without a name");
        let choices = options(&self.element);
        match choices.is_empty() {
            true => name.to_owned(),
            false => format!("{name}={}", choices.join("|")),
        }
    }

    /// Slack's payload of a click (<https://docs.slack.dev/reference/interaction-payloads>).
    pub(super) fn clicked(
        &self,
        ts: Ts,
        message: &Message,
        choice: Option<&str>,
    ) -> Result<Value, String> {
        let element = &self.element;
        let kind = element["type"].as_str().unwrap_or("button");
        if let Some(attachment) = &self.attachment {
            let mut action = json!({"name": element["name"], "type": kind});
            match choice {
                Some(choice) => action["selected_options"] = json!([{ "value": choice }]),
                None => action["value"] = element["value"].clone(),
            }
            return Ok(json!({"type": "interactive_message", "actions": [action],
                "callback_id": attachment["callback_id"], "message_ts": ts.to_string(),
                "attachment_id": "1", "action_ts": ts.to_string(), "original_message": message}));
        }
        let mut action = json!({"type": kind, "action_id": element["action_id"],
            "block_id": self.block["block_id"], "action_ts": ts.to_string()});
        for key in ["text", "value"] {
            if let Some(value) = element.get(key) {
                action[key] = value.clone();
            }
        }
        if kind != "button" {
            let choice = choice.ok_or_else(|| format!("choose: /click {}", self.shown()))?;
            let (key, value) = match kind {
                "datepicker" => ("selected_date", json!(choice)),
                "timepicker" => ("selected_time", json!(choice)),
                "users_select" => ("selected_user", json!(choice)),
                "channels_select" => ("selected_channel", json!(choice)),
                "conversations_select" => ("selected_conversation", json!(choice)),
                "checkboxes" => ("selected_options", json!([option_of(element, choice)?])),
                _ => ("selected_option", option_of(element, choice)?),
            };
            action[key] = value;
        }
        Ok(
            json!({"type": "block_actions", "actions": [action], "message": message,
            "container": {"type": "message", "message_ts": ts.to_string(), "is_ephemeral": false},
            "state": {"values": {}}}),
        )
    }
}

/// The values of a menu's options.
fn options(element: &Value) -> Vec<&str> {
    let options = element["options"].as_array().into_iter().flatten();
    options.filter_map(|it| it["value"].as_str()).collect()
}

/// An option by its value or its text. A menu whose options the app gives takes any.
pub(super) fn option_of(element: &Value, name: &str) -> Result<Value, String> {
    if element["type"] == "external_select" {
        return Ok(json!({"text": {"type": "plain_text", "text": name}, "value": name}));
    }
    let mut list = element["options"].as_array().into_iter().flatten();
    let found = list.find(|it| it["value"] == name || it["text"]["text"] == name);
    found.cloned().ok_or_else(|| {
        let choices = options(element).join(", ");
        format!("{name:?} is not one of its choices: {choices}")
    })
}
