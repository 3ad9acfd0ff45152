//! The people and channels of a workspace, generated from a seed: the same options give the same roster.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::options::Options;
use crate::state::workspace::ids::id;
use crate::state::workspace::{Bot, Conversation, Kind, Members, Nature, User, Workspace, ZONES};

mod names;

/// Named people stand at the head of the roster, so that examples can speak of them.
const PEOPLE: [(&str, &str); 4] = [
    ("alice", "Alice Novak"),
    ("bob", "Bob Okafor"),
    ("carol", "Carol Lindqvist"),
    ("dave", "Dave Marsh"),
];

/// A conversation that has a name of its own in every workspace.
struct NamedChannel {
    name: &'static str,
    kind: Kind,
    archived: bool,
    /// Whether the bot is a member.
    has_bot: bool,
    purpose: &'static str,
}

/// An open public channel with the bot in it; the others differ from it.
const CHANNEL: NamedChannel = NamedChannel {
    name: "general",
    kind: Kind::Public,
    archived: false,
    has_bot: true,
    purpose: "Announcements and everything else",
};

const CHANNELS: [NamedChannel; 6] = [
    CHANNEL,
    NamedChannel {
        name: "random",
        purpose: "What fits nowhere else",
        ..CHANNEL
    },
    NamedChannel {
        name: "ops",
        purpose: "Deploys and alerts",
        ..CHANNEL
    },
    NamedChannel {
        name: "lounge",
        has_bot: false,
        purpose: "No bots here",
        ..CHANNEL
    },
    NamedChannel {
        name: "core-team",
        kind: Kind::Private,
        purpose: "The ones who decide",
        ..CHANNEL
    },
    NamedChannel {
        name: "old-projects",
        archived: true,
        purpose: "Kept for the record",
        ..CHANNEL
    },
];

/// Fills an empty workspace.
pub(crate) fn generate(options: &Options) -> Workspace {
    let mut rng = StdRng::seed_from_u64(options.seed);
    let mut workspace = Workspace::new(options);
    let user = |name: &str, real_name: &str, nature| User {
        id: String::new(),
        name: name.to_owned(),
        real_name: real_name.to_owned(),
        nature,
        deleted: false,
        admin: false,
        zone: 0,
    };
    workspace.bot = workspace.add_user(user(
        &options.bot_name,
        &options.bot_name,
        Nature::Bot(Bot {
            bot_id: id('B', options.seed, 0),
            app_id: id('A', options.seed, 0),
        }),
    ));
    for (name, real_name) in PEOPLE {
        let index = workspace.add_user(user(name, real_name, Nature::Human));
        workspace.users[index].admin = name == "alice";
        workspace.users[index].deleted = name == "dave";
    }
    workspace.installer = workspace.bot + 1;
    workspace.add_user(user(
        "buildbot",
        "Build Bot",
        Nature::Bot(Bot {
            bot_id: id('B', options.seed, 1),
            app_id: id('A', options.seed, 1),
        }),
    ));
    let mut slackbot = user("slackbot", "Slackbot", Nature::Slackbot);
    slackbot.id = "USLACKBOT".to_owned();
    workspace.add_user(slackbot);
    for index in 0..options.users {
        let names = names::person(index, &mut rng);
        let added = workspace.add_user(user(&names.login, &names.full, Nature::Human));
        let user = &mut workspace.users[added];
        user.zone = rng.random_range(0..ZONES.len());
        // About one in forty has left.
        user.deleted = rng.random_range(0..40) == 0;
    }
    channels(options, &mut workspace, &mut rng);
    workspace
}

fn channels(options: &Options, workspace: &mut Workspace, rng: &mut StdRng) {
    let (bot, creator) = (workspace.bot, workspace.installer);
    let named: BTreeSet<usize> = (creator..creator + 3).collect();
    for NamedChannel {
        name,
        kind,
        archived,
        has_bot,
        purpose,
    } in CHANNELS
    {
        let members = if name == "general" {
            Members::Everyone
        } else {
            let mut listed = named.clone();
            if has_bot {
                listed.insert(bot);
            }
            Members::Listed(listed)
        };
        let mut conversation = Conversation::new(Some(name.to_owned()), kind, members, creator);
        conversation.archived = archived;
        conversation.purpose = purpose.to_owned();
        workspace.add_conversation(conversation);
    }
    for index in 0..options.channels {
        let mut members: BTreeSet<usize> = (0..8)
            .map(|_| rng.random_range(bot + 1..workspace.users.len()))
            .collect();
        members.insert(creator);
        // The bot was invited to nine of ten.
        if index % 10 != 9 {
            members.insert(bot);
        }
        let kind = if index % 20 == 13 {
            Kind::Private
        } else {
            Kind::Public
        };
        let name = Some(names::channel(index));
        let mut conversation = Conversation::new(name, kind, Members::Listed(members), creator);
        conversation.archived = index % 50 == 27;
        workspace.add_conversation(conversation);
    }
    for user in creator..creator + 2 {
        workspace.open_im(bot, user);
    }
    // The generated workspace is the initial state, so that nothing of it is announced.
    workspace.events.clear();
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_people_again() {
        let options = Options {
            users: 500,
            channels: 100,
            ..Options::default()
        };
        let names = |seed| {
            let workspace = generate(&Options {
                seed,
                ..options.clone()
            });
            workspace
                .users
                .iter()
                .map(|user| (user.id.clone(), user.name.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(1), names(1));
        assert_ne!(names(1), names(2));
        let unique: HashSet<String> = names(1).into_iter().map(|(_, name)| name).collect();
        assert_eq!(unique.len(), 500 + 7);
    }

    #[test]
    fn the_bot_is_in_general_and_general_is_a_channel() {
        let workspace = generate(&Options::default());
        let general = workspace.conversation_named("general").unwrap();
        let general = &workspace.conversations[general];
        assert!(general.id.starts_with('C') && general.has(workspace.bot));
    }
}
