//! Recognising a text that addresses the bot, and removing the address from it.

use djangobot_plugin::mrkdwn::{self, Part};
use serde::Deserialize;

/// The place in a text where a mention counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Position {
    Anywhere,
    Start,
}

/// The text without the bot's mentions or alias; `None` if it has none that count.
pub(crate) fn strip(
    text: &str,
    user_id: &str,
    position: Position,
    aliases: &[String],
) -> Option<String> {
    let text = text.trim();
    if let Some(rest) = aliases.iter().find_map(|alias| without_alias(text, alias)) {
        // After an alias, a mention further on belongs to the text itself.
        return Some(rest.to_owned());
    }
    let is_mention = |part: &Part<'_>| matches!(part, Part::User { id, .. } if *id == user_id);
    let counts = match position {
        Position::Anywhere => mrkdwn::parts(text).any(|(_, part)| is_mention(&part)),
        Position::Start => mrkdwn::parts(text)
            .next()
            .is_some_and(|(_, part)| is_mention(&part)),
    };
    if !counts {
        return None;
    }
    let mut stripped = String::with_capacity(text.len());
    let mut after_mention = false;
    for (raw, part) in mrkdwn::parts(text) {
        if is_mention(&part) {
            after_mention = true;
            continue;
        }
        stripped.push_str(match after_mention {
            true => joined(&stripped, raw),
            false => raw,
        });
        after_mention = false;
    }
    Some(stripped.trim().to_owned())
}

/// The text after a removed mention, made to fit the text before it: at the start the colon or comma of the address is
/// removed, and elsewhere the second space.
fn joined<'a>(before: &str, after: &'a str) -> &'a str {
    if before.trim().is_empty() {
        return after
            .trim_start()
            .trim_start_matches([':', ','])
            .trim_start();
    }
    match before.ends_with(char::is_whitespace) {
        true => after.trim_start_matches(' '),
        false => after,
    }
}

/// The text after an alias at its start; `None` if it does not begin with the alias as a word of its own.
fn without_alias<'a>(text: &'a str, alias: &str) -> Option<&'a str> {
    let text = text.strip_prefix('@').unwrap_or(text);
    let (start, rest) = text.split_at_checked(alias.len())?;
    if start.to_lowercase() != alias.to_lowercase() {
        return None;
    }
    match rest.chars().next() {
        None => Some(""),
        Some(c) if c.is_whitespace() || c == ':' || c == ',' => Some(joined("", rest).trim_end()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mention_is_removed_if_its_place_counts() {
        let check = |text: &str, position, expect: Option<&str>| {
            let found = strip(text, "U0", position, &[]);
            assert_eq!(found.as_deref(), expect, "{text}");
        };
        for position in [Position::Anywhere, Position::Start] {
            check("<@U0> deploy", position, Some("deploy"));
            check("<@U0>: deploy", position, Some("deploy"));
            check(
                "  <@U0|bot>, deploy <#C1>  ",
                position,
                Some("deploy <#C1>"),
            );
            check("<@U0>", position, Some(""));
            check("<@U0> <@U0> twice", position, Some("twice"));
            check("<@U1> deploy", position, None);
            check("&lt;@U0&gt; deploy", position, None);
            check("", position, None);
        }
        check(
            "please <@U0> deploy",
            Position::Anywhere,
            Some("please deploy"),
        );
        check("please, <@U0>!", Position::Anywhere, Some("please, !"));
        check("thanks <@U0>", Position::Anywhere, Some("thanks"));
        check("<@U1> ask <@U0>", Position::Anywhere, Some("<@U1> ask"));
        check("please <@U0> deploy", Position::Start, None);
    }

    #[test]
    fn an_alias_counts_as_a_word_at_the_start() {
        let aliases = ["bot".to_owned(), "Jürgen".to_owned()];
        let check = |text: &str, expect: Option<&str>| {
            let found = strip(text, "U0", Position::Start, &aliases);
            assert_eq!(found.as_deref(), expect, "{text}");
        };
        check("bot: deploy", Some("deploy"));
        check("@Bot deploy ", Some("deploy"));
        check("BOT", Some(""));
        check("jürgen, hi", Some("hi"));
        check("bots: deploy", None);
        check("a bot: deploy", None);
        check("jü", None);
    }
}
