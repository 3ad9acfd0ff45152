//! The workspace: its users and conversations, and the events that each change makes.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;

use crate::options::{Options, Team};
use crate::state::ts::{Ts, now_micros};

mod conversation;
mod event;
pub(crate) mod ids;
mod message;
mod messages;
mod objects;
mod user;

pub(crate) use conversation::{Conversation, Kind, Members};
pub(crate) use event::{Audience, Event};
pub(crate) use message::{Message, MessageError, Post};
pub(crate) use user::{Bot, Nature, User, ZONES};

/// Two users, as their positions in the roster. The smaller one is first, so that the order in which they are given makes
/// no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pair {
    first: usize,
    second: usize,
}

impl Pair {
    fn new(one: usize, other: usize) -> Self {
        Self {
            first: one.min(other),
            second: one.max(other),
        }
    }
}

/// Users and conversations are named by their place in the roster, which is also the order of pages.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) team: Team,
    seed: u64,
    pub(crate) users: Vec<User>,
    users_by_id: HashMap<String, usize>,
    users_by_name: HashMap<String, usize>,
    pub(crate) conversations: Vec<Conversation>,
    conversations_by_id: HashMap<String, usize>,
    conversations_by_name: HashMap<String, usize>,
    /// Direct messages, by their users.
    ims: HashMap<Pair, usize>,
    /// Users that are `away`; all others are `active`.
    pub(crate) away: BTreeSet<usize>,
    /// The user that `xoxb-` tokens speak for.
    pub(crate) bot: usize,
    /// The user that `xoxp-` tokens speak for.
    pub(crate) installer: usize,
    clock: Ts,
    /// Counts up, from a place that no other run of the server has likely begun at: apps remember what they have seen.
    event_ids: u64,
    /// Messages kept in each conversation.
    keep: usize,
    /// Events that were not sent yet, in order.
    pub(crate) events: Vec<Event>,
}

impl Workspace {
    pub(crate) fn new(options: &Options) -> Self {
        Workspace {
            team: options.team.clone(),
            seed: options.seed,
            users: Vec::with_capacity(options.users + 8),
            users_by_id: HashMap::with_capacity(options.users + 8),
            users_by_name: HashMap::with_capacity(options.users + 8),
            conversations: Vec::new(),
            conversations_by_id: HashMap::new(),
            conversations_by_name: HashMap::new(),
            ims: HashMap::new(),
            away: BTreeSet::new(),
            bot: 0,
            installer: 0,
            clock: Ts::default(),
            event_ids: rand::random(),
            keep: options.keep,
            events: Vec::new(),
        }
    }

    /// Adds a user; an empty id is filled in.
    pub(crate) fn add_user(&mut self, mut user: User) -> usize {
        let index = self.users.len();
        if user.id.is_empty() {
            user.id = ids::id('U', self.seed, index);
        }
        self.users_by_id.insert(user.id.clone(), index);
        self.users_by_name.insert(user.name.clone(), index);
        self.users.push(user);
        index
    }

    /// Adds a conversation and gives it its id.
    pub(crate) fn add_conversation(&mut self, mut conversation: Conversation) -> usize {
        let index = self.conversations.len();
        conversation.id = ids::id(conversation.kind.prefix(), self.seed, index);
        self.conversations_by_id
            .insert(conversation.id.clone(), index);
        if let Some(name) = &conversation.name {
            self.conversations_by_name.insert(name.clone(), index);
        }
        self.conversations.push(conversation);
        index
    }

    /// Gives a conversation another name; `None` where there is no such conversation.
    pub(crate) fn rename(&mut self, conversation: &str, name: &str) -> Option<()> {
        let found = self.conversation(conversation);
        let index = found.or_else(|| self.conversation_named(conversation))?;
        if let Some(old) = self.conversations[index].name.replace(name.to_owned()) {
            self.conversations_by_name.remove(&old);
        }
        self.conversations_by_name.insert(name.to_owned(), index);
        Some(())
    }

    /// The direct messages of two users, opened if they were not.
    pub(crate) fn open_im(&mut self, from: usize, to: usize) -> (usize, bool) {
        let pair = Pair::new(from, to);
        if let Some(im) = self.ims.get(&pair) {
            return (*im, true);
        }
        let members = Members::Listed([from, to].into());
        let im = self.add_conversation(Conversation::new(None, Kind::Im, members, from));
        self.ims.insert(pair, im);
        for (user, other) in [(from, to), (to, from)] {
            let (id, other) = (&self.conversations[im].id, &self.users[other].id);
            let created = json!({"type": "im_created", "user": other,
                "channel": {"id": id, "created": ids::FOUNDED, "is_im": true, "is_org_shared": false, "user": other}});
            let open = json!({"type": "im_open", "user": other, "channel": id});
            for value in [created, open] {
                self.events.push(Event {
                    audience: Audience::User(user),
                    value,
                });
            }
            if from == to {
                break;
            }
        }
        (im, false)
    }

    /// A conversation of several users, opened if it was not.
    pub(crate) fn open_mpim(&mut self, members: BTreeSet<usize>, creator: usize) -> (usize, bool) {
        let members = Members::Listed(members);
        let same = |c: &Conversation| c.kind == Kind::Mpim && c.members == members;
        if let Some(index) = self.conversations.iter().position(same) {
            return (index, true);
        }
        let names: Vec<&str> = match &members {
            Members::Listed(listed) => listed
                .iter()
                .map(|user| self.users[*user].name.as_str())
                .collect(),
            Members::Everyone => Vec::new(),
        };
        let name = format!("mpdm-{}-1", names.join("--"));
        let conversation = Conversation::new(Some(name), Kind::Mpim, members, creator);
        let index = self.add_conversation(conversation);
        let value =
            json!({"type": "mpim_joined", "channel": self.conversation_json(index, creator)});
        self.events.push(Event {
            audience: Audience::Members(index),
            value,
        });
        (index, false)
    }

    /// The id of the app that the bot belongs to.
    pub(crate) fn app_id(&self) -> &str {
        self.users[self.bot].bot().map_or("", |bot| &bot.app_id)
    }

    pub(crate) fn user(&self, id: &str) -> Option<usize> {
        self.users_by_id.get(id).copied()
    }

    pub(crate) fn user_named(&self, name: &str) -> Option<usize> {
        self.users_by_name.get(name).copied()
    }

    pub(crate) fn conversation(&self, id: &str) -> Option<usize> {
        self.conversations_by_id.get(id).copied()
    }

    pub(crate) fn conversation_named(&self, name: &str) -> Option<usize> {
        self.conversations_by_name.get(name).copied()
    }

    /// The time, later than all that were given out before.
    pub(crate) fn tick(&mut self) -> Ts {
        self.clock = Ts(now_micros().max(self.clock.0 + 1));
        self.clock
    }

    /// The first of `count` successive times, all later than those given out before.
    pub(crate) fn ticks(&mut self, count: u64) -> Ts {
        let first = self.tick();
        self.clock = Ts(first.0 + count.saturating_sub(1));
        first
    }

    /// The id of another event, `Ev...`.
    pub(crate) fn next_event_id(&mut self) -> String {
        format!("Ev0{:012X}", self.next_event_number())
    }

    /// The number in that id: 48 bits.
    pub(crate) fn next_event_number(&mut self) -> u64 {
        self.event_ids = self.event_ids.wrapping_add(1) & 0xFFFF_FFFF_FFFF;
        self.event_ids
    }

    /// Whether a connection of `user` belongs to `audience`.
    pub(crate) fn sees(&self, audience: Audience, user: usize) -> bool {
        match audience {
            Audience::Members(index) | Audience::MembersBut(index, _) => {
                self.conversations[index].has(user)
            }
            Audience::User(one) => one == user,
            Audience::Watchers(_) => true,
        }
    }

    /// `active` or `away`.
    pub(crate) fn presence(&self, user: usize) -> &'static str {
        if self.away.contains(&user) {
            "away"
        } else {
            "active"
        }
    }
}
