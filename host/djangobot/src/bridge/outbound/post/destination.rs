//! Destinations: a conversation or a user as an app writes it, which is a name, an id, a mention or a link.

use url::Url;

/// A conversation or a user, as an app wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A conversation's id, in a form that is certain: `<#C024BE91L|general>`, or a link.
    Conversation(String),
    /// A user's id, in such a form: `<@U023BECGF>`. As a destination, the direct message with that user.
    User(String),
    /// A text that looks like an id of either, and may be a name all the same: `C024BE91L`, `DEV`.
    Either(String),
    /// A conversation's name, without `#`.
    Name(String),
    /// A user's handle or other name, without `@`; or a user's id, which apps write with `@` too.
    Handle(String),
}

impl Destination {
    /// Reads a text of an app. Each text is a destination: if it has no other form, it is a conversation's name.
    pub(crate) fn read(text: &str) -> Self {
        let text = text.trim();
        // Slack's form in texts of messages and of commands.
        if let Some(inner) = text.strip_prefix('<').and_then(|it| it.strip_suffix('>')) {
            let target = inner.split_once('|').map_or(inner, |(target, _)| target);
            let target = target.trim();
            return match target.strip_prefix(['#', '@']) {
                Some(id) if is_conversation(id) => Self::Conversation(id.to_owned()),
                Some(id) if is_user(id) => Self::User(id.to_owned()),
                _ => Self::plain(target),
            };
        }
        Self::plain(text)
    }

    fn plain(text: &str) -> Self {
        if let Some(found) = link(text) {
            return found;
        }
        if let Some(handle) = text.strip_prefix('@') {
            return Self::Handle(handle.trim().to_owned());
        }
        match text.strip_prefix('#').unwrap_or(text).trim() {
            id if is_conversation(id) || is_user(id) => Self::Either(id.to_owned()),
            name => Self::Name(name.to_owned()),
        }
    }

    /// One spelling for all ways to write the same destination.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Conversation(id) | Self::User(id) | Self::Either(id) => id.clone(),
            Self::Name(name) => name.to_lowercase(),
            Self::Handle(id) if is_user(id) && is_certain(id) => id.clone(),
            Self::Handle(handle) => format!("@{}", handle.to_lowercase()),
        }
    }
}

/// Whether a text looks like the id of a channel, a direct message or a private channel: `C024BE91L`.
pub(crate) fn is_conversation(text: &str) -> bool {
    is_id(text, &['C', 'D', 'G'])
}

/// Whether a text looks like the id of a user: `U023BECGF`, `W023BECGF`.
pub(crate) fn is_user(text: &str) -> bool {
    is_id(text, &['U', 'W'])
}

/// Whether a text that looks like an id hardly is a name: Slack's ids have at least nine characters, with digits among
/// them.
pub(crate) fn is_certain(id: &str) -> bool {
    id.len() >= 9 && id.bytes().any(|byte| byte.is_ascii_digit())
}

fn is_id(text: &str, first: &[char]) -> bool {
    text.len() >= 3
        && text.starts_with(first)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// The destination of a link of Slack's: of "copy link", of an app's URL, or of `slack://`.
fn link(text: &str) -> Option<Destination> {
    let url = match text.contains("://") {
        true => Url::parse(text).ok()?,
        // A link as browsers show it, without the scheme.
        false if text.contains(".com/") => Url::parse(&format!("https://{text}")).ok()?,
        false => return None,
    };
    let asked = |key: &str| {
        let mut query = url.query_pairs();
        query.find_map(|(name, value)| (name == key).then(|| value.into_owned()))
    };
    match url.scheme() {
        // slack://channel?team=T...&id=C..., slack://user?team=T...&id=U...
        "slack" => by_id(&asked("id")?),
        "http" | "https" if is_slack(url.host_str()?) => {
            let segments: Vec<&str> = url.path_segments()?.filter(|it| !it.is_empty()).collect();
            match *segments.as_slice() {
                ["archives" | "messages", place, ..] => {
                    by_id(place).or_else(|| Some(Destination::plain(place)))
                }
                ["team", user, ..] => by_id(user),
                ["app_redirect", ..] => by_id(&asked("channel")?),
                // app.slack.com/client/T.../C..., also with a thread or a profile behind it.
                ["client", _team, ref rest @ ..] => rest.iter().find_map(|id| by_id(id)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn by_id(text: &str) -> Option<Destination> {
    if is_conversation(text) {
        return Some(Destination::Conversation(text.to_owned()));
    }
    is_user(text).then(|| Destination::User(text.to_owned()))
}

fn is_slack(host: &str) -> bool {
    ["slack.com", "slack-gov.com"].iter().any(|slack| {
        host.strip_suffix(slack)
            .is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::Destination::{self, *};

    fn check(texts: &[&str], expect: &Destination) {
        for text in texts {
            assert_eq!(Destination::read(text), *expect, "{text}");
        }
    }

    #[test]
    fn names_and_ids_are_told_apart() {
        check(
            &[
                "general",
                "#general",
                " #general ",
                "# general",
                "<#general>",
            ],
            &Name("general".into()),
        );
        check(
            &["C024BE91L", " C024BE91L\n", "#C024BE91L"],
            &Either("C024BE91L".into()),
        );
        check(&["D024BE91L"], &Either("D024BE91L".into()));
        check(&["U023BECGF"], &Either("U023BECGF".into()));
        check(&["DEV"], &Either("DEV".into()));
        check(&["@U023BECGF"], &Handle("U023BECGF".into()));
        check(
            &["@alice", "@ alice", "\t@alice", "<@alice>"],
            &Handle("alice".into()),
        );
        check(&["@WEB"], &Handle("WEB".into()));
        check(&["Cafe"], &Name("Cafe".into()));
        check(&["C"], &Name("C".into()));
        check(&["", "#", "<>"], &Name(String::new()));
    }

    #[test]
    fn slacks_own_forms_of_a_conversation_are_read() {
        check(
            &[
                "<#C024BE91L|general>",
                "<#C024BE91L>",
                "<#C024BE91L|>",
                " <#C024BE91L|general> ",
                "https://team.slack.com/archives/C024BE91L",
                "https://team.slack.com/archives/C024BE91L/",
                "https://team.slack.com/archives/C024BE91L/p1234567890123456",
                "https://team.slack.com/archives/C024BE91L/p1234567890123456?thread_ts=1234567890.123456&cid=C024BE91L",
                "https://org.enterprise.slack.com/archives/C024BE91L",
                "http://team.slack.com/archives/C024BE91L",
                "team.slack.com/archives/C024BE91L",
                "<https://team.slack.com/archives/C024BE91L>",
                "<https://team.slack.com/archives/C024BE91L/p1234567890123456|this message>",
                "https://app.slack.com/client/T024BE7LD/C024BE91L",
                "https://app.slack.com/client/T024BE7LD/C024BE91L/thread/C024BE91L-1234567890.123456",
                "https://slack.com/app_redirect?channel=C024BE91L&team=T024BE7LD",
                "https://team.slack.com/messages/C024BE91L/",
                "slack://channel?team=T024BE7LD&id=C024BE91L",
                "https://team.slack-gov.com/archives/C024BE91L",
            ],
            &Conversation("C024BE91L".into()),
        );
        check(
            &[
                "https://app.slack.com/client/T024BE7LD/D024BE91L",
                "https://team.slack.com/archives/D024BE91L/p1234567890123456",
            ],
            &Conversation("D024BE91L".into()),
        );
        check(
            &["https://team.slack.com/messages/general"],
            &Name("general".into()),
        );
    }

    #[test]
    fn slacks_own_forms_of_a_user_are_read() {
        check(
            &[
                "<@U023BECGF>",
                "<@U023BECGF|bob>",
                "https://team.slack.com/team/U023BECGF",
                "slack://user?team=T024BE7LD&id=U023BECGF",
                "https://app.slack.com/client/T024BE7LD/user_profile/U023BECGF",
            ],
            &User("U023BECGF".into()),
        );
        check(&["<@W023BECGF>"], &User("W023BECGF".into()));
        check(
            &["https://team.slack.com/messages/@bob"],
            &Handle("bob".into()),
        );
    }

    #[test]
    fn links_that_are_not_slacks_are_names_that_nobody_has() {
        for text in [
            "https://example.com/archives/C024BE91L",
            "https://slack.com.example.com/archives/C024BE91L",
            "https://notslack.com/archives/C024BE91L",
            "https://team.slack.com/",
            "slack://open",
            "http://[",
        ] {
            check(&[text], &Name(text.into()));
        }
    }
}
