//! The arguments of the Web API: their types and where they are required.

use std::collections::HashMap;
use std::sync::LazyLock;

/// An argument, as Slack's reference has it (`arguments.tsv` in this folder).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The type that Slack takes.
    pub kind: ArgumentType,
    /// Whether an empty text has a meaning: it clears a topic, say. For all other arguments it means the same as no
    /// argument.
    pub keeps_empty: bool,
}

/// The types of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentType {
    /// A text.
    Text,
    /// A message's timestamp, which names it: a text of seconds with six decimals.
    Ts,
    /// A moment, in Unix seconds.
    Time,
    /// An integer.
    Int,
    /// `true` or `false`.
    Bool,
    /// Texts, which Slack takes with commas between them.
    List,
    /// The id of a conversation.
    Channel,
    /// Ids of conversations, with commas.
    Channels,
    /// The id of a user.
    User,
    /// Ids of users, with commas.
    Users,
    /// JSON that people see: blocks, views. A field that is null means the same as no field.
    Layout,
    /// Data, in JSON.
    Json,
}

impl ArgumentType {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Self::Text,
            "ts" => Self::Ts,
            "time" => Self::Time,
            "int" => Self::Int,
            "bool" => Self::Bool,
            "list" => Self::List,
            "channel" => Self::Channel,
            "channels" => Self::Channels,
            "user" => Self::User,
            "users" => Self::Users,
            "layout" => Self::Layout,
            "json" => Self::Json,
            _ => return None,
        })
    }
}

/// Looks an argument of a method up; `None` for one that the reference of 2026 does not have.
pub fn get(method: &str, name: &str) -> Option<Argument> {
    let arguments: &HashMap<(&str, &str), Argument> = &ARGUMENTS;
    let found = arguments.get(&(method, name));
    found.or_else(|| arguments.get(&("", name))).copied()
}

/// By method and name. An argument that is the same in all methods stands under the method `""`.
static ARGUMENTS: LazyLock<HashMap<(&str, &str), Argument>> = LazyLock::new(|| {
    include_str!("arguments.tsv")
        .lines()
        .filter_map(read)
        .collect()
});

/// Columns: the name, or `method/name` where a method's argument is of another type than those of that name; the type;
/// `kept` where an empty text says something.
fn read(line: &'static str) -> Option<((&'static str, &'static str), Argument)> {
    let mut columns = line.split('\t');
    let name = columns.next()?;
    let argument = Argument {
        kind: ArgumentType::named(columns.next()?)?,
        keeps_empty: columns.next() == Some("kept"),
    };
    Some((name.split_once('/').unwrap_or(("", name)), argument))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::method;

    #[test]
    fn every_line_is_an_argument_and_no_method_wants_one_that_is_not_there() {
        let lines = include_str!("arguments.tsv").lines().count();
        assert_eq!(ARGUMENTS.len(), lines);
        for method in method::all() {
            for name in &method.required {
                assert!(
                    *name == "token" || get(method.name, name).is_some(),
                    "{name}"
                );
            }
        }
        for (method, name) in ARGUMENTS.keys() {
            assert!(
                method.is_empty() || method::get(method).is_some(),
                "{method}/{name}"
            );
        }
    }

    #[test]
    fn the_type_of_an_argument_is_slacks() {
        let check = |method: &str, name: &str, kind: ArgumentType| {
            assert_eq!(
                get(method, name).map(|it| it.kind),
                Some(kind),
                "{method} {name}"
            );
        };
        check("chat.postMessage", "thread_ts", ArgumentType::Ts);
        check("conversations.history", "oldest", ArgumentType::Time);
        check("conversations.invite", "users", ArgumentType::Users);
        check("calls.add", "users", ArgumentType::Json);
        check("views.publish", "user_id", ArgumentType::User);
        check(
            "assistant.threads.setStatus",
            "channel_id",
            ArgumentType::Channel,
        );
        check("chat.postMessage", "unfurl_links", ArgumentType::Bool);
        check("views.open", "view", ArgumentType::Layout);
        check("conversations.list", "types", ArgumentType::List);
        assert_eq!(get("chat.postMessage", "no_such"), None);
        assert!(get("conversations.setTopic", "topic").unwrap().keeps_empty);
        assert!(!get("conversations.list", "cursor").unwrap().keeps_empty);
    }
}
