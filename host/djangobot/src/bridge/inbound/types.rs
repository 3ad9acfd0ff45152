//! The types of events: those that Slack documents, and odd ones, of which there may be ever more.
//!
//! What is kept for each type (a route, a queue, the labels of metrics) is bounded by what odd types may take up. A type
//! that Slack documents is never refused, forgotten or counted as another one on their account.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Odd types that something may be kept for at the same time.
pub(crate) const MAX_ODD: usize = 1_000;

/// From Slack's reference of events, 2016 to 2026, and of interactions.
static DOCUMENTED: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("types.txt").lines().collect());

/// Whether Slack documents this type.
pub(crate) fn is_documented(kind: &str) -> bool {
    DOCUMENTED.contains(kind)
}

/// Names as labels of metrics, which are never forgotten: odd ones beyond the first are one.
#[derive(Default)]
pub(crate) struct Labels {
    odd: HashSet<Box<str>>,
}

impl Labels {
    /// The label for what is named `name` and belongs to events of type `kind`.
    pub(crate) fn of<'a>(&mut self, name: &'a str, kind: &str) -> &'a str {
        if is_documented(kind) || self.odd.contains(name) {
            return name;
        }
        if self.odd.len() >= MAX_ODD {
            return "other";
        }
        self.odd.insert(name.into());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slack_documents_has_its_label_however_many_odd_types_came_before() {
        let mut labels = Labels::default();
        for n in 0..2 * MAX_ODD {
            let odd = format!("odd_{n}");
            let expect = if n < MAX_ODD { &*odd } else { "other" };
            assert_eq!(labels.of(&odd, &odd), expect);
        }
        for kind in [
            "message",
            "app_mention",
            "slash_commands",
            "view_submission",
            "hello",
        ] {
            assert_eq!(labels.of(kind, kind), kind);
        }
        assert_eq!(labels.of("odd_7", "odd_7"), "odd_7");
    }
}
