//! Slack's text format: what stands in angle brackets, and escaping.
//!
//! ```
//! use djangobot_plugin::mrkdwn::{self, Part};
//!
//! let text = "<@U1> see <#C1|general> and <https://a.org|this> &amp; that";
//! let names = mrkdwn::replace(text, |part| match part {
//!     Part::User { id, .. } => Some(format!("@{}", id.to_lowercase())),
//!     Part::Channel { label, .. } => label.map(|name| format!("#{name}")),
//!     _ => None,
//! });
//! assert_eq!(names, "@u1 see #general and <https://a.org|this> &amp; that");
//! assert_eq!(mrkdwn::unescape("a &amp; b"), "a & b");
//! ```

use std::borrow::Cow;

/// A piece of a text. Labels and plain text are as they stand there, escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// What stands in no brackets.
    Text(&'a str),
    /// `<@U1>` or `<@U1|label>`.
    User {
        /// `U...` or `W...`.
        id: &'a str,
        /// What Slack put beside it.
        label: Option<&'a str>,
    },
    /// `<#C1>` or `<#C1|label>`.
    Channel {
        /// `C...` or `G...`.
        id: &'a str,
        /// What Slack put beside it.
        label: Option<&'a str>,
    },
    /// `<!subteam^S1>` or `<!subteam^S1|label>`.
    Usergroup {
        /// `S...`.
        id: &'a str,
        /// What Slack put beside it.
        label: Option<&'a str>,
    },
    /// `<!here>`, `<!channel>`, `<!everyone>`, and what else begins so, such as `<!date^...|label>`.
    Special {
        /// What follows the `!`.
        name: &'a str,
        /// What to show instead.
        label: Option<&'a str>,
    },
    /// `<https://...>` or `<https://...|label>`.
    Link {
        /// As it stands there, escaped.
        url: &'a str,
        /// What it is shown as.
        label: Option<&'a str>,
    },
}

/// The pieces of a text, each with how it stands there. Together they are the text.
pub fn parts(text: &str) -> impl Iterator<Item = (&str, Part<'_>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = match bracketed(rest) {
            Some((raw, part)) => {
                rest = &rest[raw.len()..];
                return Some((raw, part));
            }
            // To the next bracket that closes; one that does not is text.
            None => rest
                .char_indices()
                .skip(1)
                .filter(|&(_, c)| c == '<')
                .find(|&(at, _)| bracketed(&rest[at..]).is_some())
                .map_or(rest.len(), |(at, _)| at),
        };
        let raw = &rest[..length];
        rest = &rest[length..];
        Some((raw, Part::Text(raw)))
    })
}

/// The piece in brackets that a text begins with, and how it stands there; `None` where it begins with none.
pub fn bracketed(text: &str) -> Option<(&str, Part<'_>)> {
    let (length, part) = read_bracketed(text)?;
    Some((&text[..length], part))
}

fn read_bracketed(text: &str) -> Option<(usize, Part<'_>)> {
    let inner = text.strip_prefix('<')?;
    let end = inner.find(['>', '<', '\n'])?;
    if !inner[end..].starts_with('>') || end == 0 {
        return None;
    }
    let inner = &inner[..end];
    let (target, label) = match inner.split_once('|') {
        Some((target, label)) => (target, Some(label).filter(|label| !label.is_empty())),
        None => (inner, None),
    };
    let part = if let Some(id) = target.strip_prefix('@') {
        Part::User { id, label }
    } else if let Some(id) = target.strip_prefix('#') {
        Part::Channel { id, label }
    } else if let Some(id) = target.strip_prefix("!subteam^") {
        Part::Usergroup { id, label }
    } else if let Some(name) = target.strip_prefix('!') {
        Part::Special { name, label }
    } else if target.contains(':') {
        Part::Link { url: target, label }
    } else {
        return None;
    };
    Some((end + 2, part))
}

/// The text with other words for some of its pieces: those for which `with` says any.
pub fn replace(text: &str, mut with: impl FnMut(Part<'_>) -> Option<String>) -> Cow<'_, str> {
    let mut replaced: Option<String> = None;
    let mut done = 0;
    for (raw, part) in parts(text) {
        match (with(part), &mut replaced) {
            (Some(new), Some(so_far)) => so_far.push_str(&new),
            (Some(new), None) => replaced = Some(format!("{}{new}", &text[..done])),
            (None, Some(so_far)) => so_far.push_str(raw),
            (None, None) => {}
        }
        done += raw.len();
    }
    replaced.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The ids of the users whom a text mentions, in order.
pub fn mentioned(text: &str) -> impl Iterator<Item = &str> {
    parts(text).filter_map(|(_, part)| match part {
        Part::User { id, .. } => Some(id),
        _ => None,
    })
}

/// `<@U1>`: mentions a user.
pub fn user(id: &str) -> String {
    format!("<@{id}>")
}

/// `<#C1>`: links to a channel.
pub fn channel(id: &str) -> String {
    format!("<#{id}>")
}

/// `<!subteam^S1>`: mentions a group of users.
pub fn usergroup(id: &str) -> String {
    format!("<!subteam^{id}>")
}

/// `<https://...|label>`. Both are escaped; what ends a link early is encoded or taken out.
///
/// ```
/// # use djangobot_plugin::mrkdwn;
/// assert_eq!(mrkdwn::link("https://a.org/?a=1&b=2", "a > b"), "<https://a.org/?a=1&amp;b=2|a &gt; b>");
/// ```
pub fn link(url: &str, label: &str) -> String {
    let url = escape(url).replace('|', "%7C").replace(['\n', '\r'], "");
    let label = escape(label).replace('|', "¦").replace(['\n', '\r'], " ");
    match label.is_empty() {
        true => format!("<{url}>"),
        false => format!("<{url}|{label}>"),
    }
}

/// Text as it must stand in a message, so that Slack takes nothing in it for its own: `&`, `<` and `>` escaped.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Undoes [`escape`].
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    // `&amp;` last, so that `&amp;lt;` becomes `&lt;`.
    Cow::Owned(
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart() {
        let check = |text: &str, expect: &[Part<'_>]| {
            let found: Vec<_> = parts(text).collect();
            let whole: String = found.iter().map(|(raw, _)| *raw).collect();
            assert_eq!(whole, text);
            let found: Vec<_> = found.into_iter().map(|(_, part)| part).collect();
            assert_eq!(found, expect, "{text}");
        };
        check("", &[]);
        check("plain &lt;@U1&gt;", &[Part::Text("plain &lt;@U1&gt;")]);
        check(
            "hi <@U1>!",
            &[
                Part::Text("hi "),
                Part::User {
                    id: "U1",
                    label: None,
                },
                Part::Text("!"),
            ],
        );
        check(
            "<@W1|ann>",
            &[Part::User {
                id: "W1",
                label: Some("ann"),
            }],
        );
        check(
            "<#C1|>",
            &[Part::Channel {
                id: "C1",
                label: None,
            }],
        );
        check(
            "<!subteam^S1|@ops><!here>",
            &[
                Part::Usergroup {
                    id: "S1",
                    label: Some("@ops"),
                },
                Part::Special {
                    name: "here",
                    label: None,
                },
            ],
        );
        check(
            "<mailto:a@b.org|a@b.org>",
            &[Part::Link {
                url: "mailto:a@b.org",
                label: Some("a@b.org"),
            }],
        );
        check("a < b <@U1", &[Part::Text("a < b <@U1")]);
        check(
            "é<<@U1>",
            &[
                Part::Text("é<"),
                Part::User {
                    id: "U1",
                    label: None,
                },
            ],
        );
        check("<><x>", &[Part::Text("<><x>")]);
    }

    #[test]
    fn what_is_not_replaced_is_borrowed() {
        assert!(matches!(
            replace("a <@U1>", |_| None),
            Cow::Borrowed("a <@U1>")
        ));
        let out = replace("a <@U1> b <@U2>", |part| match part {
            Part::User { id: "U2", .. } => Some("two".into()),
            _ => None,
        });
        assert_eq!(out, "a <@U1> b two");
        assert_eq!(
            mentioned("<@U1> <#C1> <@U2|b>").collect::<Vec<_>>(),
            ["U1", "U2"]
        );
    }

    #[test]
    fn escaping_is_undone_by_unescaping() {
        for text in ["", "plain", "a & b < c > d", "&lt;", "&amp;lt;", "<@U1>"] {
            assert_eq!(unescape(&escape(text)), text);
            assert_eq!(mentioned(&escape(text)).count(), 0);
        }
    }

    #[test]
    fn a_link_can_not_be_ended_by_its_label() {
        let link = link("https://a.org/a|b", "x|y> <!channel>\nz");
        assert_eq!(parts(&link).count(), 1, "{link}");
    }
}
