//! The scopes that a set-up needs, and the consequence if one is missing. They follow from the bridge's own calls, from
//! the transport, and from the methods that the app may call.

use std::collections::BTreeMap;

use djangobot_slack::method::{self, Method};

use crate::config::{SlackSettings, Transport};

/// The scopes of the bridge's own calls, which it makes with any settings, and what fails without each.
const OWN: &[(&str, &str)] = &[
    (
        "users:read",
        "@names can't be found, and events keep user ids only",
    ),
    (
        "channels:read",
        "channels can't be found by name, and events keep channel ids only",
    ),
    ("groups:read", "private channels can't be found by name"),
    ("im:read", "DMs that are open already are opened again"),
    ("mpim:read", "group conversations can't be found"),
    ("im:write", "no DM can be opened for a message to a user"),
    ("usergroups:read", "names of user groups are not known"),
    (
        "channels:history",
        "djangobot can't fetch messages of public channels that were posted while it was away, nor check whether a doubtful post arrived there",
    ),
    (
        "groups:history",
        "djangobot can't fetch messages of private channels that were posted while it was away, nor check whether a doubtful post arrived there",
    ),
    (
        "im:history",
        "djangobot can't fetch direct messages that were posted while it was away, nor check whether a doubtful post arrived there",
    ),
    (
        "mpim:history",
        "djangobot can't fetch messages of group conversations that were posted while it was away, nor check whether a doubtful post arrived there",
    ),
];

/// The scopes of events that come over Socket Mode and HTTP, but not over RTM.
const OF_INTERACTIONS: &[(&str, &str)] = &[("commands", "slash commands and shortcuts don't come")];

/// Scopes of features that most apps don't have, and that Slack grants only with these features. Such a scope counts as
/// missing only if `methods` names one of its methods in full; a pattern such as `chat.*` is not a wish for all of
/// them.
const OF_FEATURES: &[&str] = &[
    "assistant:write",
    "links:write",
    "search:read.files",
    "search:read.public",
    "search:read.users",
];

/// A scope that the set-up needs and the token lacks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MissingScope {
    /// Any one of these is enough.
    pub(super) scopes: Vec<&'static str>,
    /// A clause about the consequence.
    pub(super) loss: String,
    /// Whether nothing can be posted without it.
    pub(super) is_fatal: bool,
}

/// Finds the scopes that are missing among `given`.
pub(super) fn missing(slack: &SlackSettings, given: &[String]) -> Vec<MissingScope> {
    let has = |scope: &&str| given.iter().any(|it| it == scope);
    let of_transport = match slack.transport {
        Transport::Rtm => &[],
        Transport::SocketMode | Transport::Http => OF_INTERACTIONS,
    };
    let own = OWN.iter().chain(of_transport);
    let own = own
        .filter(|(scope, _)| !has(scope))
        .map(|(scope, loss)| MissingScope {
            scopes: vec![scope],
            loss: (*loss).to_owned(),
            is_fatal: false,
        });
    let mut of_methods: BTreeMap<&[&'static str], Vec<&str>> = BTreeMap::new();
    for method in method::all() {
        let is_named = slack.methods.iter().any(|glob| glob == method.name);
        let is_wanted = is_named || (slack.allows(method.name) && !is_of_a_feature(method));
        if is_wanted && !method.scopes.is_empty() && !method.scopes.iter().any(&has) {
            of_methods
                .entry(&method.scopes)
                .or_default()
                .push(method.name);
        }
    }
    let mut missing: Vec<_> = own.collect();
    for (scopes, methods) in of_methods {
        // A scope of the bridge's own calls is in the list already.
        if scopes
            .iter()
            .any(|it| missing.iter().any(|listed| listed.scopes == [*it]))
        {
            continue;
        }
        let is_fatal = methods.contains(&crate::bridge::DEFAULT_METHOD);
        missing.push(MissingScope {
            scopes: scopes.to_vec(),
            loss: match is_fatal {
                true => "nothing can be posted".to_owned(),
                false => format!(
                    "Slack refuses {}, which `methods` below [slack] lets the app call",
                    in_words(&methods)
                ),
            },
            is_fatal,
        });
    }
    missing
}

fn is_of_a_feature(method: &Method) -> bool {
    method.scopes.iter().all(|it| OF_FEATURES.contains(it))
}

/// Names two of the methods, and the number of the others.
fn in_words(methods: &[&str]) -> String {
    match methods {
        [one] => (*one).to_owned(),
        [first, second] => format!("{first} and {second}"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::slack_settings;

    /// The scopes and the events of the manifest in the documents.
    fn of_manifest(chapter: &str) -> (Vec<String>, Vec<String>) {
        let manifest = chapter.split("display_information:").nth(1).unwrap();
        let manifest = manifest.split("```").next().unwrap();
        let items = |from: &str, to: &str| -> Vec<String> {
            let part = manifest
                .split(from)
                .nth(1)
                .unwrap()
                .split(to)
                .next()
                .unwrap();
            let lines = part
                .lines()
                .map(|line| line.split('#').next().unwrap().trim());
            lines
                .filter_map(|line| line.strip_prefix("- "))
                .map(|it| it.trim().to_owned())
                .collect()
        };
        (
            items("bot:\n", "settings:"),
            items("bot_events:", "interactivity:"),
        )
    }

    #[test]
    fn the_manifest_in_the_documents_has_each_scope_that_check_wants_and_the_events_that_keep_names_current()
     {
        let chapter = include_str!("../../../../docs/src/connecting-to-slack.md");
        let (scopes, events) = of_manifest(chapter);
        for transport in ["rtm", "socket-mode", "http"] {
            let settings = slack_settings(&format!("transport = {transport:?}"));
            assert_eq!(missing(&settings, &scopes), [], "{transport}");
        }
        for event in [
            "channel_archive",
            "channel_created",
            "channel_deleted",
            "channel_id_changed",
            "channel_left",
            "channel_rename",
            "channel_unarchive",
            "group_archive",
            "group_deleted",
            "group_left",
            "group_rename",
            "group_unarchive",
            "im_created",
            "member_joined_channel",
            "member_left_channel",
            "team_join",
            "user_change",
        ] {
            assert!(
                events.iter().any(|it| it == event),
                "{event} is not in {events:?}"
            );
        }
    }

    #[test]
    fn scopes_follow_from_methods_and_transport() {
        let check = |config: &str, without: &str, expect: Option<&str>| {
            let settings = slack_settings(config);
            let given: Vec<String> =
                of_manifest(include_str!("../../../../docs/src/connecting-to-slack.md")).0;
            let given: Vec<String> = given.into_iter().filter(|it| it != without).collect();
            let missing = missing(&settings, &given);
            let found = missing.iter().find(|it| it.scopes.contains(&without));
            let loss = found.map(|it| it.loss.as_str());
            match expect {
                Some(part) => assert!(loss.is_some_and(|loss| loss.contains(part)), "{missing:?}"),
                None => assert_eq!(missing, [], "{config}"),
            }
        };
        check(
            "",
            "reactions:write",
            Some("reactions.add and reactions.remove"),
        );
        check("", "files:write", Some("files.completeUploadExternal"));
        check("", "chat:write", Some("nothing can be posted"));
        check("", "im:write", Some("no DM"));
        check("methods = [\"chat.postMessage\"]", "reactions:write", None);
        check("methods = [\"pins.*\"]", "pins:write", Some("pins.add"));
        check("methods = [\"reactions.add\"]", "chat:write", None);
        check("methods = [\"chat.*\"]", "links:write", None);
        check(
            "methods = [\"chat.unfurl\"]",
            "links:write",
            Some("chat.unfurl"),
        );
        check(
            "transport = \"socket-mode\"",
            "commands",
            Some("slash commands"),
        );
        check("transport = \"rtm\"", "commands", None);
    }
}
