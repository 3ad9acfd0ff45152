//! What the test host knows and answers.

use std::collections::BTreeMap;
use std::fmt;

use super::outcome::Effects;
use crate::http::{HttpError, Request, Response};
use crate::roster::{Bot, Conversation, Identity, User, Usergroup};

/// The time at which a test host's clock stands until it is set: 2026-01-01.
const START_MS: u64 = 1_767_225_600_000;

/// A host whose team, store, secrets and clock are what a test says.
#[derive(Default)]
pub struct Host {
    pub(super) me: Option<Identity>,
    pub(super) users: Vec<User>,
    pub(super) conversations: Vec<Conversation>,
    pub(super) usergroups: Vec<Usergroup>,
    pub(super) bots: Vec<Bot>,
    /// Values, and when each ends.
    pub(super) store: BTreeMap<String, (Vec<u8>, Option<u64>)>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) now_ms: Option<u64>,
    pub(super) answer: Option<Answer>,
    #[cfg(feature = "manifest")]
    pub(super) manifest: Option<super::manifest::Manifest>,
    pub(super) effects: Effects,
}

/// Who answers a plugin's HTTP requests.
type Answer = Box<dyn FnMut(&Request) -> Result<Response, HttpError>>;

impl Host {
    /// A host that knows nobody and was never connected to Slack.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bot that the host speaks as, in the team `T1`. It is a user and a bot of the team, too.
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

    /// A user who has a handle and no other name.
    pub fn user(self, id: &str, name: &str) -> Self {
        self.add_user(plain_user(id, name))
    }

    /// A user.
    pub fn add_user(mut self, user: User) -> Self {
        self.users.push(user);
        self
    }

    /// A public channel, or a direct message where the id begins with `D`.
    pub fn channel(self, id: &str, name: &str) -> Self {
        self.add_conversation(Conversation {
            id: id.into(),
            name: name.into(),
            is_private: id.starts_with('D'),
        })
    }

    /// A channel or direct message.
    pub fn add_conversation(mut self, conversation: Conversation) -> Self {
        self.conversations.push(conversation);
        self
    }

    /// A group of users.
    pub fn usergroup(mut self, id: &str, handle: &str) -> Self {
        self.usergroups.push(Usergroup {
            id: id.into(),
            handle: handle.into(),
            name: handle.into(),
        });
        self
    }

    /// An integration that posts.
    pub fn bot(mut self, id: &str, name: &str) -> Self {
        self.bots.push(Bot {
            id: id.into(),
            name: name.into(),
        });
        self
    }

    /// A secret that was granted.
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.insert(name.into(), value.into());
        self
    }

    /// What is in the store.
    pub fn stored(mut self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.store.insert(key.into(), (value.into(), None));
        self
    }

    /// What the clock shows, in milliseconds since the Unix epoch.
    pub fn at_ms(mut self, now_ms: u64) -> Self {
        self.now_ms = Some(now_ms);
        self
    }

    /// Who answers HTTP requests; without, each is denied.
    pub fn answer(
        mut self,
        answer: impl FnMut(&Request) -> Result<Response, HttpError> + 'static,
    ) -> Self {
        self.answer = Some(Box::new(answer));
        self
    }

    /// The plugin's manifest, `include_str!("../plugin.toml")`: from now on its schema checks the config, only events
    /// that it subscribes to reach the plugin, and only kinds that it lists can be emitted.
    ///
    /// # Panics
    /// The text is no TOML, or its `config-schema` no JSON Schema.
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

    /// Whether the manifest, where there is one, lists the kind.
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
