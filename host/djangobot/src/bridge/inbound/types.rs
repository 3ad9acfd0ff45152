//! The types of events: those that Slack documents, and odd ones, of which there may be more and more.
//!
//! Each type has a route, a queue and labels of metrics. Their number is bounded by [`MAX_ODD`], which odd types share.
//! A type that Slack documents is never refused, forgotten or counted as another one because of them.

use std::collections::HashSet;
use std::sync::LazyLock;

/// The most odd types for which something is kept at the same time.
pub(crate) const MAX_ODD: usize = 1_000;

/// The types of Slack's references of events, 2016 to 2026, and of interactions.
static DOCUMENTED: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("types.txt").lines().collect());

/// Whether Slack documents this type.
pub(crate) fn is_documented(kind: &str) -> bool {
    DOCUMENTED.contains(kind)
}

/// Labels of metrics, which a process never forgets. Odd ones beyond the first [`MAX_ODD`] share the label `other`.
#[derive(Default)]
pub(crate) struct Labels {
    odd: HashSet<Box<str>>,
}

impl Labels {
    /// The label for `name`, which belongs to events of type `kind`.
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
    fn a_documented_type_has_its_label_however_many_odd_types_came_before() {
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
