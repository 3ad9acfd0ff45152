//! The effect of a second call: which calls of Slack may be made again when it is not known whether the first one had
//! its effect.

use djangobot_slack::method::Method;

use crate::bridge::outbound::files::SHARE;
use crate::bridge::reply::DEFAULT_METHOD;

/// The effect of a second call of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing more.
    Harmless,
    /// People would see it twice, but Slack's history shows whether the first call had its effect.
    Visible,
    /// The effect of the first call can't be looked up.
    Unknown,
}

/// Methods that write and whose second call changes nothing more, because they set a state or name the thing that they
/// change.
const HARMLESS: &[&str] = &[
    "assistant.threads.",
    "bookmarks.edit",
    "chat.delete",
    "chat.deleteScheduledMessage",
    "chat.unfurl",
    "chat.update",
    "conversations.archive",
    "conversations.close",
    "conversations.invite",
    "conversations.join",
    "conversations.kick",
    "conversations.leave",
    "conversations.mark",
    "conversations.open",
    "conversations.rename",
    "conversations.setPurpose",
    "conversations.setTopic",
    "conversations.unarchive",
    "files.delete",
    "files.getUploadURLExternal",
    "pins.",
    "reactions.",
    "stars.",
    "users.profile.set",
    "users.setPresence",
    "views.publish",
    "views.update",
];

impl Repeat {
    pub(crate) fn of(method: &Method) -> Self {
        let is_named = |name: &&str| match name.ends_with('.') {
            true => method.name.starts_with(name),
            false => method.name == *name,
        };
        match method.name {
            DEFAULT_METHOD | SHARE => Self::Visible,
            _ if method.get || HARMLESS.iter().any(is_named) => Self::Harmless,
            _ => Self::Unknown,
        }
    }
}

/// Whether `error` of a second call shows that the first one had its effect.
pub(crate) fn was_done(method: &Method, error: &str) -> bool {
    matches!(
        (method.name, error),
        ("chat.delete", "message_not_found")
            | (
                "chat.deleteScheduledMessage",
                "invalid_scheduled_message_id"
            )
            | ("conversations.kick", "not_in_channel")
            | ("files.delete", "file_not_found" | "file_deleted")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use djangobot_slack::method;

    #[test]
    fn methods_are_told_apart_by_what_their_second_call_does() {
        let check = |name: &str, expect: Repeat| {
            assert_eq!(Repeat::of(method::get(name).unwrap()), expect, "{name}");
        };
        check("chat.postMessage", Repeat::Visible);
        check("files.completeUploadExternal", Repeat::Visible);
        for name in [
            "chat.update",
            "chat.delete",
            "reactions.add",
            "reactions.remove",
            "conversations.open",
            "views.publish",
            "views.update",
            "users.info",
            "conversations.history",
        ] {
            check(name, Repeat::Harmless);
        }
        for name in [
            "chat.postEphemeral",
            "chat.meMessage",
            "chat.scheduleMessage",
            "views.open",
            "conversations.create",
        ] {
            check(name, Repeat::Unknown);
        }
    }

    #[test]
    fn every_method_that_is_named_is_one_of_slacks() {
        for name in HARMLESS {
            let is_one = |method: &Method| match name.ends_with('.') {
                true => method.name.starts_with(name),
                false => method.name == *name,
            };
            assert!(method::all().iter().any(is_one), "{name}");
        }
    }
}
