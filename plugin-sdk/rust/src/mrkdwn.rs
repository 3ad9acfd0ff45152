//! Slack's text format: the references in angle brackets, and escaping.
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

/// A part of a text. Labels and plain text are escaped, as in the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text outside of brackets.
    Text(&'a str),
    /// `<@U1>` or `<@U1|label>`.
    User {
        /// The id: `U...` or `W...`.
        id: &'a str,
        /// The label, if Slack added one.
        label: Option<&'a str>,
    },
    /// `<#C1>` or `<#C1|label>`.
    Channel {
        /// The id: `C...` or `G...`.
        id: &'a str,
        /// The label, if Slack added one.
        label: Option<&'a str>,
    },
    /// `<!subteam^S1>` or `<!subteam^S1|label>`.
    Usergroup {
        /// The id: `S...`.
        id: &'a str,
        /// The label, if Slack added one.
        label: Option<&'a str>,
    },
    /// `<!here>`, `<!channel>`, `<!everyone>`, and anything else that begins with `!`, such as `<!date^...|label>`.
    Special {
        /// The text after the `!`.
        name: &'a str,
        /// The text that Slack shows in its place.
        label: Option<&'a str>,
    },
    /// `<https://...>` or `<https://...|label>`.
    Link {
        /// The address, escaped as in the text.
        url: &'a str,
        /// The text that Slack shows for the link.
        label: Option<&'a str>,
    },
}

/// The parts of a text, each with the piece of the text that it was read from. The pieces together are the text.
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
            // Plain text goes up to the next bracket that is closed; one that is not closed is text, too.
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

/// The part in brackets at the beginning of a text, with its piece of the text; `None` if the text begins otherwise.
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

/// The text with some of its parts replaced: those for which `with` returns a text.
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

/// A mention of a user: `<@U1>`.
pub fn user(id: &str) -> String {
    format!("<@{id}>")
}

/// A link to a channel: `<#C1>`.
pub fn channel(id: &str) -> String {
    format!("<#{id}>")
}

/// A mention of a group of users: `<!subteam^S1>`.
pub fn usergroup(id: &str) -> String {
    format!("<!subteam^{id}>")
}

/// A link: `<https://...|label>`. Both parts are escaped. Characters that would end the link too early are encoded or
/// removed.
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

/// Escapes `&`, `<` and `>`, so that Slack shows the text as it is and finds no references in it.
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
    // `&amp;` goes last, so that `&amp;lt;` becomes `&lt;` and not `<`.
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
    fn a_text_is_split_into_its_parts() {
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
    fn a_text_without_replacements_is_borrowed() {
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
