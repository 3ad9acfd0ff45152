//! The lists that a roster is made of.

/// A list that a roster is made of. Each is read by itself, and stands for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum List {
    /// `conversations.list`.
    Conversations,
    /// `users.list`.
    Users,
    /// `usergroups.list`.
    Usergroups,
}

impl List {
    /// All lists, the most wanted first. As a number, each is its place here.
    pub const ALL: [List; 3] = [List::Conversations, List::Users, List::Usergroups];

    /// Its entries in a word for people.
    pub fn name(self) -> &'static str {
        match self {
            List::Conversations => "conversations",
            List::Users => "users",
            List::Usergroups => "user groups",
        }
    }
}
