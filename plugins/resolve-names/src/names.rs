//! The names of an event's ids. First all ids are noted, and then they are looked up together.

use djangobot_plugin::roster::{self, User};
use serde::Deserialize;

/// The choice among a user's names. If the chosen one is empty, the next one that is not is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Style {
    /// The handle.
    Name,
    /// The display name, else the full name, else the handle.
    DisplayName,
    /// The full name, else the display name, else the handle.
    RealName,
}

/// The ids of one event, and their names.
///
/// After `ask`, `found` has the names of `users` and then those of `others`, in the order of the ids.
pub(crate) struct Names {
    style: Style,
    users: Vec<String>,
    /// The ids of channels, groups of users and bots, which the host can only look up one by one.
    others: Vec<String>,
    found: Vec<Option<String>>,
}

impl Names {
    pub(crate) fn new(style: Style) -> Self {
        Names {
            style,
            users: Vec::new(),
            others: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Notes an id of any kind. A text that is not an id is ignored.
    pub(crate) fn want(&mut self, id: &str) {
        let ids = match kind(id) {
            Some('U' | 'W') => &mut self.users,
            Some(_) => &mut self.others,
            None => return,
        };
        if !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    }

    /// Looks up all ids in the roster.
    pub(crate) fn ask(&mut self) {
        if !self.users.is_empty() {
            let users = roster::users(&self.users);
            self.found
                .extend(users.into_iter().map(|user| Some(self.style.of(user?))));
        }
        let others = self.others.iter().map(|id| match kind(id) {
            Some('B') => Some(roster::bot(id)?.name),
            Some('S') => Some(roster::usergroup(id)?.handle),
            _ => Some(roster::conversation(id)?.name),
        });
        self.found.extend(others);
    }

    /// The name of an id that was looked up. An empty name, such as that of a direct message, counts as none.
    pub(crate) fn get(&self, id: &str) -> Option<&str> {
        let at = self
            .users
            .iter()
            .chain(&self.others)
            .position(|known| known == id)?;
        let name = self.found.get(at)?.as_deref()?;
        Some(name).filter(|name| !name.is_empty())
    }
}

impl Style {
    fn of(self, user: User) -> String {
        let names = match self {
            Style::Name => [user.name, user.display_name, user.real_name],
            Style::DisplayName => [user.display_name, user.real_name, user.name],
            Style::RealName => [user.real_name, user.display_name, user.name],
        };
        names
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_default()
    }
}

/// The first letter of an id, which is its kind; `None` if a text is not an id.
fn kind(id: &str) -> Option<char> {
    let first = id.chars().next()?;
    let rest = id.get(1..)?;
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let is_id = "UWCGDBS".contains(first) && !rest.is_empty() && rest.bytes().all(fits);
    is_id.then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_distinguished_from_other_texts() {
        for (text, expect) in [
            ("U1", Some('U')),
            ("W012A3CDE", Some('W')),
            ("USLACKBOT", Some('U')),
            ("D1", Some('D')),
            ("U", None),
            ("T1", None),
            ("Useless", None),
            ("general", None),
            ("", None),
            ("Ü1", None),
        ] {
            assert_eq!(kind(text), expect, "{text}");
        }
    }

    #[test]
    fn an_empty_name_is_replaced_by_the_next_one() {
        let user = |display: &str, real: &str| User {
            id: "U1".into(),
            name: "alice".into(),
            display_name: display.into(),
            real_name: real.into(),
            is_bot: false,
            deleted: false,
        };
        assert_eq!(Style::Name.of(user("Ally", "Alice A")), "alice");
        assert_eq!(Style::DisplayName.of(user("Ally", "Alice A")), "Ally");
        assert_eq!(Style::DisplayName.of(user("", "Alice A")), "Alice A");
        assert_eq!(Style::RealName.of(user("Ally", "")), "Ally");
        assert_eq!(Style::RealName.of(user("", "")), "alice");
    }
}
