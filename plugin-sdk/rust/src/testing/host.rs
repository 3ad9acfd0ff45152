//! The test host, which a test sets up with a roster, a store, secrets, a clock and answers to HTTP requests.

use std::collections::BTreeMap;
use std::fmt;

use crate::http::{HttpError, Request, Response};
use crate::roster::{Bot, Conversation, Identity, User, Usergroup};
use crate::slack::CallError;
use crate::testing::calls::event::CurrentEvent;
use crate::testing::outcome::Effects;

/// The time on a test host's clock until it is set: 2026-01-01.
const START_MS: u64 = 1_767_225_600_000;

/// A host whose roster, store, secrets and clock a test sets.
#[derive(Default)]
pub struct Host {
    pub(super) me: Option<Identity>,
    pub(super) users: Vec<User>,
    pub(super) conversations: Vec<Conversation>,
    pub(super) usergroups: Vec<Usergroup>,
    pub(super) bots: Vec<Bot>,
    /// Values, each with its expiry in milliseconds since the Unix epoch.
    pub(super) store: BTreeMap<String, (Vec<u8>, Option<u64>)>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) now_ms: Option<u64>,
    pub(super) answer: Option<Answer>,
    pub(super) slack: Option<SlackAnswer>,
    /// Fields of entries of the roster beyond those of their records, by the entry's id.
    pub(super) fields: BTreeMap<String, serde_json::Value>,
    pub(super) grants: Vec<String>,
    pub(super) is_answerable: bool,
    /// The state of the random numbers.
    pub(super) random: u64,
    #[cfg(feature = "manifest")]
    pub(super) manifest: Option<super::manifest::Manifest>,
    /// The event that the plugin is called for; `None` between two calls.
    pub(super) current: Option<CurrentEvent>,
    pub(super) effects: Effects,
}

/// The function that answers a plugin's HTTP requests.
type Answer = Box<dyn FnMut(&Request) -> Result<Response, HttpError>>;

/// The function that answers a plugin's calls of Slack's Web API: it gets the method and the arguments.
type SlackAnswer = Box<dyn FnMut(&str, &serde_json::Value) -> Result<serde_json::Value, CallError>>;

impl Host {
    /// A host with an empty roster, which was never connected to Slack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the host's identity, in the team `T1`. It is added as a user and as a bot of the team, too.
    pub fn me(mut self, user_id: &str, bot_id: &str, name: &str) -> Self {
        self.me = Some(Identity {
            team_id: "T1".into(),
            user_id: user_id.into(),
            bot_id: Some(bot_id.into()),
            name: name.into(),
        });
        self.bot(bot_id, name).add_user(User {
            is_bot: true,
            ..plain_user(user_id, name)
        })
    }

    /// Adds a user who has a handle and no other name.
    pub fn user(self, id: &str, name: &str) -> Self {
        self.add_user(plain_user(id, name))
    }

    /// Adds a user.
    pub fn add_user(mut self, user: User) -> Self {
        self.users.push(user);
        self
    }

    /// Adds a public channel, or a direct message if the id begins with `D`.
    pub fn channel(self, id: &str, name: &str) -> Self {
        self.add_conversation(Conversation {
            id: id.into(),
            name: name.into(),
            is_private: id.starts_with('D'),
        })
    }

    /// Adds a channel or a direct message.
    pub fn add_conversation(mut self, conversation: Conversation) -> Self {
        self.conversations.push(conversation);
        self
    }

    /// Adds a group of users.
    pub fn usergroup(mut self, id: &str, handle: &str) -> Self {
        self.usergroups.push(Usergroup {
            id: id.into(),
            handle: handle.into(),
            name: handle.into(),
        });
        self
    }

    /// Adds a bot.
    pub fn bot(mut self, id: &str, name: &str) -> Self {
        self.bots.push(Bot {
            id: id.into(),
            name: name.into(),
        });
        self
    }

    /// Adds a secret, as if it was granted.
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.insert(name.into(), value.into());
        self
    }

    /// Puts a value into the store.
    pub fn stored(mut self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.store.insert(key.into(), (value.into(), None));
        self
    }

    /// Sets the clock, in milliseconds since the Unix epoch.
    pub fn at_ms(mut self, now_ms: u64) -> Self {
        self.now_ms = Some(now_ms);
        self
    }

    /// Sets the function that answers HTTP requests. Without one, each request is denied.
    pub fn answer(
        mut self,
        answer: impl FnMut(&Request) -> Result<Response, HttpError> + 'static,
    ) -> Self {
        self.answer = Some(Box::new(answer));
        self
    }

    /// Sets the function that answers calls of Slack's Web API: it gets the method and the arguments. Without one, each
    /// call is denied.
    pub fn slack(
        mut self,
        answer: impl FnMut(&str, &serde_json::Value) -> Result<serde_json::Value, CallError> + 'static,
    ) -> Self {
        self.slack = Some(Box::new(answer));
        self
    }

    /// Sets fields of a user, a conversation, a user group or a bot that was added, in the shape that Slack's Web API
    /// gives them: `json!({"tz": "Europe/Vienna", "profile": {"email": "alice@example.com"}})`.
    pub fn fields(mut self, id: &str, fields: serde_json::Value) -> Self {
        self.fields.insert(id.into(), fields);
        self
    }

    /// Sets the grants that `host::grants` gives.
    pub fn grants(mut self, grants: &[&str]) -> Self {
        self.grants = grants.iter().map(ToString::to_string).collect();
        self
    }

    /// Sets whether events can be answered, as slash commands can.
    pub fn answerable(mut self, is_answerable: bool) -> Self {
        self.is_answerable = is_answerable;
        self
    }

    /// Sets the plugin's manifest, `include_str!("../plugin.toml")`: from then on its schema checks the config, only
    /// events that it subscribes to reach the plugin, and only kinds that it lists can be emitted.
    ///
    /// # Panics
    /// The text is not TOML, or its `config-schema` is not a JSON Schema.
    #[cfg(feature = "manifest")]
    #[track_caller]
    pub fn manifest(mut self, text: &str) -> Self {
        match super::manifest::Manifest::parse(text) {
            Ok(manifest) => self.manifest = Some(manifest),
            #[allow(clippy::panic)]
            Err(error) => panic!("plugin.toml: {error}"),
        }
        self
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.unwrap_or(START_MS)
    }

    /// Whether the manifest lists the kind. Without a manifest, every kind is allowed.
    pub(super) fn may_emit(&self, kind: &str) -> bool {
        #[cfg(feature = "manifest")]
        if let Some(manifest) = &self.manifest {
            return manifest.may_emit(kind);
        }
        !kind.is_empty()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("me", &self.me)
            .field("users", &self.users)
            .field("conversations", &self.conversations)
            .finish_non_exhaustive()
    }
}

fn plain_user(id: &str, name: &str) -> User {
    User {
        id: id.into(),
        name: name.into(),
        display_name: String::new(),
        real_name: String::new(),
        is_bot: false,
        deleted: false,
    }
}
