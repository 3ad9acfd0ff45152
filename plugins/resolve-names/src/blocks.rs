//! Finding and naming ids within blocks: elements of rich text, and texts with mentions.

use serde_json::{Map, Value, json};

use crate::names::Names;
use crate::{want_mentioned, with_names};

/// The elements of rich text with an id: their type, the key of the id, and the sign before the name.
const ELEMENTS: [(&str, &str, char); 3] = [
    ("user", "user_id", '@'),
    ("channel", "channel_id", '#'),
    ("usergroup", "usergroup_id", '@'),
];

/// Notes the ids within blocks.
pub(crate) fn want(value: &Value, names: &mut Names) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| want(element, names)),
        Value::Object(members) => {
            if let Some((id, _)) = mentioned(members) {
                names.want(id);
            }
            if let Some(text) = mrkdwn_text(members) {
                want_mentioned(text, names);
            }
            members.values().for_each(|member| want(member, names));
        }
        _ => {}
    }
}

/// Replaces ids by names, and returns whether there was one.
pub(crate) fn name(value: &mut Value, names: &Names) -> bool {
    let members = match value {
        Value::Array(elements) => {
            // Not `any`, which would stop at the first element with a name.
            return elements
                .iter_mut()
                .fold(false, |put, element| name(element, names) | put);
        }
        Value::Object(members) => members,
        _ => return false,
    };
    if let Some((id, sign)) = mentioned(members)
        && let Some(name) = names.get(id)
    {
        let mut text = json!({"type": "text", "text": format!("{sign}{name}")});
        if let Some(style) = members.remove("style") {
            text["style"] = style;
        }
        *value = text;
        return true;
    }
    let mut put = false;
    if let Some(text) = mrkdwn_text(members)
        && let std::borrow::Cow::Owned(text) = with_names(text, names)
    {
        members.insert("text".into(), text.into());
        put = true;
    }
    members
        .values_mut()
        .fold(put, |put, member| name(member, names) | put)
}

fn mentioned(members: &Map<String, Value>) -> Option<(&str, char)> {
    let kind = members.get("type")?.as_str()?;
    let (_, key, sign) = ELEMENTS.iter().find(|(element, ..)| *element == kind)?;
    Some((members.get(*key)?.as_str()?, *sign))
}

/// The text of a text object of type `mrkdwn`. In rich text, angle brackets have no meaning.
fn mrkdwn_text(members: &Map<String, Value>) -> Option<&str> {
    let is_mrkdwn = members.get("type")?.as_str()? == "mrkdwn";
    is_mrkdwn.then(|| members.get("text")?.as_str()).flatten()
}
