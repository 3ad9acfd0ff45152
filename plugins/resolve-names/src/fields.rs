//! The fields that hold ids, and the places of their names.

use djangobot_plugin::{Error, Value};
use serde::Deserialize;

use crate::names::Names;

/// The fields of a `message` in all its subtypes: joins, edits, deletions, replies and broadcasts to a thread.
pub(crate) const OF_MESSAGES: [&str; 18] = [
    "/user",
    "/channel",
    "/bot_id",
    "/inviter",
    "/parent_user_id",
    "/edited/user",
    "/reply_users",
    "/message/user",
    "/message/bot_id",
    "/message/parent_user_id",
    "/message/edited/user",
    "/message/reply_users",
    "/previous_message/user",
    "/previous_message/bot_id",
    "/previous_message/edited/user",
    "/root/user",
    "/root/bot_id",
    "/root/reply_users",
];

/// The fields of all other events. The name for the `/id` of an object is set next to the object.
pub(crate) const OF_OTHERS: [&str; 41] = [
    "/user",
    "/users",
    "/user/id",
    "/user_id",
    "/channel",
    "/channel/id",
    "/channel/creator",
    "/channel/user",
    "/channel_id",
    "/channel_ids",
    "/old_channel_id",
    "/new_channel_id",
    "/bot_id",
    "/bot/id",
    "/actor_id",
    "/creator",
    "/inviter",
    "/item_user",
    "/item/user",
    "/item/channel",
    "/item/created_by",
    "/item/message/user",
    "/item/message/bot_id",
    "/item/file/user",
    "/item/comment/user",
    "/pinned_info/channel",
    "/pinned_info/pinned_by",
    "/file/user",
    "/comment/user",
    "/subteam_id",
    "/subteam/id",
    "/subteam/users",
    "/subteam/created_by",
    "/subteam/updated_by",
    "/added_users",
    "/removed_users",
    "/invite/inviting_user/id",
    "/invite/recipient_user_id",
    "/assistant_thread/user_id",
    "/assistant_thread/channel_id",
    "/assistant_thread/context/channel_id",
];

/// The fields with texts.
pub(crate) const TEXTS: [&str; 3] = ["/text", "/message/text", "/previous_message/text"];

/// The fields with blocks.
pub(crate) const BLOCKS: [&str; 3] = ["/blocks", "/message/blocks", "/previous_message/blocks"];

/// The place of a name: next to the id, or instead of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    Beside,
    Replace,
}

/// A field that may hold an id, or an array of ids.
pub(crate) struct Field {
    /// The pointer at which the name is set.
    pub(crate) target: String,
}

impl Field {
    pub(crate) fn new(pointer: &str, mode: Mode, suffix: &str) -> Result<Self, Error> {
        let (parent, key) = pointer
            .rsplit_once('/')
            .ok_or_else(|| {
                format!(
                    "fields: {pointer:?} is not a JSON pointer, which begins with a slash, as \"/user\" does"
                )
            })?;
        if mode == Mode::Replace {
            return Ok(Field {
                target: pointer.to_owned(),
            });
        }
        if key == "-" || key.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!(
                "fields: {pointer:?} is an element of an array, which has no room for a name next to it; \
                 use the pointer of the array, or mode = \"replace\""
            )
            .into());
        }
        let target = match key {
            "id" if !parent.is_empty() => format!("{parent}{suffix}"),
            _ => format!(
                "{parent}/{}{suffix}",
                key.strip_suffix("_id").unwrap_or(key)
            ),
        };
        Ok(Field { target })
    }
}

/// Calls `seen` with each id in a field.
pub(crate) fn each_id(value: &Value, mut seen: impl FnMut(&str)) {
    match value {
        Value::Text(id) => seen(id),
        Value::Json(text) if text.starts_with('[') => {
            for id in list(value) {
                if let serde_json::Value::String(id) = id {
                    seen(&id);
                }
            }
        }
        _ => {}
    }
}

/// The name for a field's id; for an array, the array with its known ids replaced by names. `None` if no id is known.
pub(crate) fn named(value: &Value, names: &Names) -> Option<Value> {
    match value {
        Value::Text(id) => names.get(id).map(Value::from),
        Value::Json(text) if text.starts_with('[') => {
            let mut any = false;
            let named = list(value).into_iter().map(|id| {
                let name = id.as_str().and_then(|id| names.get(id));
                any |= name.is_some();
                name.map_or(id.clone(), serde_json::Value::from)
            });
            let named: serde_json::Value = named.collect();
            any.then(|| named.into())
        }
        _ => None,
    }
}

fn list(value: &Value) -> Vec<serde_json::Value> {
    value.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_place_next_to_the_id() {
        let check = |pointer: &str, expect: &str| {
            let field = Field::new(pointer, Mode::Beside, "_name").unwrap();
            assert_eq!(field.target, expect, "{pointer}");
            let field = Field::new(pointer, Mode::Replace, "_name").unwrap();
            assert_eq!(field.target, pointer);
        };
        check("/user", "/user_name");
        check("/item/channel", "/item/channel_name");
        check("/bot_id", "/bot_name");
        check("/channel/id", "/channel_name");
        check("/id", "/id_name");
        check("/users", "/users_name");
        check("/a~1b", "/a~1b_name");
    }

    #[test]
    fn an_element_of_an_array_has_no_place_next_to_it() {
        assert!(Field::new("/users/0", Mode::Beside, "_name").is_err());
        assert!(Field::new("/users/0", Mode::Replace, "_name").is_ok());
        assert!(Field::new("user", Mode::Replace, "_name").is_err());
    }

    #[test]
    fn no_two_default_fields_have_one_target_in_one_object() {
        for defaults in [&OF_MESSAGES[..], &OF_OTHERS[..]] {
            for pointer in defaults {
                assert_eq!(
                    defaults.iter().filter(|other| other == &pointer).count(),
                    1,
                    "{pointer}"
                );
            }
        }
    }
}
