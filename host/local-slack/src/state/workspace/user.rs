//! A user: a person, a bot or Slackbot.

/// Time zones that users live in: name, label, offset in seconds.
pub(crate) const ZONES: [(&str, &str, i32); 5] = [
    ("Europe/Berlin", "Central European Time", 3600),
    ("America/New_York", "Eastern Standard Time", -18000),
    ("America/Los_Angeles", "Pacific Standard Time", -28800),
    ("Asia/Kolkata", "India Standard Time", 19800),
    ("Asia/Tokyo", "Japan Standard Time", 32400),
];

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) real_name: String,
    pub(crate) nature: Nature,
    pub(crate) deleted: bool,
    pub(crate) admin: bool,
    /// A place in [`ZONES`].
    pub(crate) zone: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Nature {
    Human,
    Bot { bot_id: String, app_id: String },
    Slackbot,
}

impl User {
    /// The bot's own id (`B...`) and its app's, where the user is a bot.
    pub(crate) fn bot(&self) -> Option<(&str, &str)> {
        match &self.nature {
            Nature::Bot { bot_id, app_id } => Some((bot_id, app_id)),
            Nature::Human | Nature::Slackbot => None,
        }
    }
}
