//! The methods of the Web API: their rate tiers, the form of their arguments, and their scopes.

use std::sync::LazyLock;

/// A Web API method, as Slack's reference has it (`methods.tsv` in this folder).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// `chat.postMessage`.
    pub name: &'static str,
    /// How often it may be called.
    pub tier: Tier,
    /// Whether it takes a JSON body; else a form.
    pub json: bool,
    /// Whether the reference gives it as a GET. All methods take POST too, and that is what we send.
    pub get: bool,
    /// The scopes that a bot token needs. Where the reference names several, some calls need one of them alone:
    /// `conversations.list` wants only those of the kinds that are asked for.
    pub scopes: Vec<&'static str>,
    /// The arguments that must be given, without `token`.
    pub required: Vec<&'static str>,
}

/// Slack's rate tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Once a minute or more.
    One,
    /// 20 times a minute or more.
    Two,
    /// 50 times a minute or more.
    Three,
    /// 100 times a minute or more.
    Four,
    /// Rules of its own; `chat.postMessage` about once a second for each channel.
    Special,
}

/// Looks a method up by its exact name; `None` for one that the reference of 2026 does not have.
pub fn get(name: &str) -> Option<&'static Method> {
    let methods: &'static [Method] = &METHODS;
    let at = methods
        .binary_search_by(|method| method.name.cmp(name))
        .ok()?;
    methods.get(at)
}

/// The method that was meant by a name that none has: one that differs by a slip or two, or in its letters' case, or
/// is written as Python's SDK writes it, `chat_postMessage`.
pub fn nearest(name: &str) -> Option<&'static Method> {
    const LONGEST: usize = 80;
    if name.len() > LONGEST {
        return None;
    }
    // `channels.list` and the like, which Slack retired.
    const RETIRED: &[&str] = &["channels.", "groups.", "im.", "mpim."];
    let plain = |name: &str| name.replace(['_', '/', ' '], ".").to_ascii_lowercase();
    let mut wrong = plain(name);
    if let Some(rest) = RETIRED.iter().find_map(|family| wrong.strip_prefix(family)) {
        wrong = format!("conversations.{rest}");
    }
    let distance = |method: &'static Method| {
        let distance = strsim::damerau_levenshtein(&wrong, &plain(method.name));
        (distance, method)
    };
    let (distance, method) = all()
        .iter()
        .map(distance)
        .min_by_key(|(distance, _)| *distance)?;
    // Of a short name, a slip is a larger part.
    (distance <= (wrong.chars().count() / 6).clamp(1, 3)).then_some(method)
}

/// All methods, ordered by name.
pub fn all() -> &'static [Method] {
    &METHODS
}

impl Tier {
    /// The calls that a minute surely allows, in all of a workspace; `None` where Slack gives no number.
    pub fn per_minute(self) -> Option<u32> {
        match self {
            Tier::One => Some(1),
            Tier::Two => Some(20),
            Tier::Three => Some(50),
            Tier::Four => Some(100),
            Tier::Special => None,
        }
    }
}

static METHODS: LazyLock<Vec<Method>> = LazyLock::new(|| {
    include_str!("methods.tsv")
        .lines()
        .filter_map(read)
        .collect()
});

/// Columns: name, verb, tier, `json` or `form`, bot scopes, required arguments; the last two comma-separated.
fn read(line: &'static str) -> Option<Method> {
    let mut columns = line.split('\t');
    let mut next = || columns.next();
    Some(Method {
        name: next()?,
        get: next()? == "GET",
        tier: match next()? {
            "1" => Tier::One,
            "2" => Tier::Two,
            "3" => Tier::Three,
            "4" => Tier::Four,
            _ => Tier::Special,
        },
        json: next()? == "json",
        scopes: list(next()?),
        required: list(next()?),
    })
}

fn list(column: &'static str) -> Vec<&'static str> {
    column.split(',').filter(|item| !item.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_method_and_they_are_in_order() {
        assert_eq!(all().len(), 322);
        assert!(all().is_sorted_by(|a, b| a.name < b.name));
        for method in all() {
            assert_eq!(get(method.name), Some(method));
        }
        assert_eq!(get("chat.postmessage"), None);
    }

    #[test]
    fn a_name_that_is_nearly_one_is_known() {
        let check = |name: &str, expect: Option<&str>| {
            assert_eq!(nearest(name).map(|method| method.name), expect, "{name}");
        };
        check("chat.postmessage", Some("chat.postMessage"));
        check("chat_postMessage", Some("chat.postMessage"));
        check("chat.postMesage", Some("chat.postMessage"));
        check("chat.sendMessage", None);
        check("reaction.add", Some("reactions.add"));
        check("view.open", Some("views.open"));
        check("files_upload_v2", None);
        check("conversation.open", Some("conversations.open"));
        check("channels.list", Some("conversations.list"));
        check("no.such", None);
        check("", None);
        check(&"x".repeat(1000), None);
    }

    #[test]
    fn the_facts_of_a_method_are_slacks() {
        let post = get("chat.postMessage").unwrap();
        assert_eq!(
            (post.tier, post.json, post.get),
            (Tier::Special, true, false)
        );
        assert_eq!(
            (&*post.scopes, &*post.required),
            (&["chat:write"][..], &["channel"][..])
        );

        let list = get("users.list").unwrap();
        assert_eq!((list.tier, list.json, list.get), (Tier::Two, false, true));
        assert_eq!(list.scopes, ["users:read"]);

        assert_eq!(get("rtm.connect").unwrap().tier.per_minute(), Some(1));
    }
}
