//! Where a message goes: a conversation's or user's name or id, as an app wrote it.

/// A conversation, as an app named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A conversation's id: `C024BE91L`, a DM's `D024BE91L`, a private channel's `G024BE91L`.
    Conversation(String),
    /// A user's id, `U023BECGF` or `W023BECGF`: the DM with that user.
    User(String),
    /// A channel's name, without `#`.
    Name(String),
    /// A user's handle, without `@`: the DM with that user.
    Handle(String),
}

impl Destination {
    /// Slack's ids are capital letters and digits; names of channels have no capitals, so the two never meet.
    pub(crate) fn read(text: &str) -> Self {
        if let Some(name) = text.strip_prefix('#') {
            return Self::Name(name.to_owned());
        }
        if let Some(handle) = text.strip_prefix('@') {
            return match Self::read(handle) {
                Self::User(id) => Self::User(id),
                _ => Self::Handle(handle.to_owned()),
            };
        }
        let mut characters = text.chars();
        let first = characters.next();
        let rest = characters.as_str();
        let id = rest.len() >= 2
            && rest
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        match first {
            Some('C' | 'D' | 'G') if id => Self::Conversation(text.to_owned()),
            Some('U' | 'W') if id => Self::User(text.to_owned()),
            _ => Self::Name(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Destination::{self, *};

    #[test]
    fn names_and_ids_are_told_apart() {
        let check =
            |text: &str, expect: Destination| assert_eq!(Destination::read(text), expect, "{text}");
        check("general", Name("general".into()));
        check("#general", Name("general".into()));
        check("C024BE91L", Conversation("C024BE91L".into()));
        check("D024BE91L", Conversation("D024BE91L".into()));
        check("U023BECGF", User("U023BECGF".into()));
        check("@U023BECGF", User("U023BECGF".into()));
        check("@alice", Handle("alice".into()));
        check("Cafe", Name("Cafe".into()));
        check("C", Name("C".into()));
    }
}
