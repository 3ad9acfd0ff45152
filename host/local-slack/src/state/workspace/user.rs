//! A user: a person, a bot or Slackbot.

/// A time zone.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    /// Seconds east of UTC.
    pub(crate) offset: i32,
}

/// Time zones that users live in.
pub(crate) const ZONES: [Zone; 5] = [
    Zone {
        name: "Europe/Berlin",
        label: "Central European Time",
        offset: 3600,
    },
    Zone {
        name: "America/New_York",
        label: "Eastern Standard Time",
        offset: -18000,
    },
    Zone {
        name: "America/Los_Angeles",
        label: "Pacific Standard Time",
        offset: -28800,
    },
    Zone {
        name: "Asia/Kolkata",
        label: "India Standard Time",
        offset: 19800,
    },
    Zone {
        name: "Asia/Tokyo",
        label: "Japan Standard Time",
        offset: 32400,
    },
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
    Bot(Bot),
    Slackbot,
}

/// The ids of a bot user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bot {
    /// The bot's own id (`B...`), which its messages carry.
    pub(crate) bot_id: String,
    /// The id of the app that the bot belongs to (`A...`).
    pub(crate) app_id: String,
}

impl User {
    /// The bot's ids, if the user is a bot.
    pub(crate) fn bot(&self) -> Option<&Bot> {
        match &self.nature {
            Nature::Bot(bot) => Some(bot),
            Nature::Human | Nature::Slackbot => None,
        }
    }
}
