//! The methods: their names, their tiers, and the tokens and scopes that they want.

use crate::speakers::web_api::call::{Body, Refusal, Request};
use crate::speakers::web_api::{
    apps, auth, chat, conversations, files, functions, messages, oauth, reactions, rtm, users,
    views,
};

/// A method: its name, the calls a minute that Slack's tier allows, and what it does.
pub(crate) struct Method {
    pub(super) name: &'static str,
    pub(super) per_minute: u32,
    /// One of these is needed; none are where the list is empty.
    pub(super) scopes: &'static [&'static str],
    pub(super) tokens: Tokens,
    pub(super) run: fn(&mut Request<'_>) -> Result<Body, Refusal>,
}

/// Which tokens a method takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// It needs none.
    None,
    /// Those of a workspace: a bot's, a user's.
    Workspace,
    /// App-level ones, in the header only.
    App,
    /// Each that is good.
    Any,
}

pub(crate) const METHODS: &[Method] = &[
    method("api.test", 100, &[], auth::api_test).with(Tokens::None),
    method("auth.test", 600, &[], auth::test).with(Tokens::Any),
    method("auth.teams.list", 20, &[], auth::teams),
    method("oauth.v2.access", 600, &[], oauth::access).with(Tokens::None),
    method(
        "apps.connections.open",
        50,
        &["connections:write"],
        apps::open_connection,
    )
    .with(Tokens::App),
    method("rtm.connect", 1, &["rtm:stream"], rtm::connect),
    method("rtm.start", 1, &["rtm:stream"], rtm::connect),
    method("users.list", 20, &["users:read"], users::list),
    method("users.info", 100, &["users:read"], users::info),
    method(
        "users.conversations",
        50,
        conversations::READ,
        conversations::of_user,
    ),
    method(
        "conversations.list",
        20,
        conversations::READ,
        conversations::list,
    ),
    method(
        "conversations.info",
        50,
        conversations::READ,
        conversations::info,
    ),
    method(
        "conversations.members",
        100,
        conversations::READ,
        conversations::members,
    ),
    method(
        "conversations.open",
        50,
        conversations::WRITE,
        conversations::open,
    ),
    method(
        "conversations.history",
        50,
        messages::SCOPES,
        messages::history,
    ),
    method(
        "conversations.replies",
        50,
        messages::SCOPES,
        messages::replies,
    ),
    method("chat.postMessage", 600, &["chat:write"], chat::post_message),
    method(
        "chat.postEphemeral",
        100,
        &["chat:write"],
        chat::post_ephemeral,
    ),
    method("chat.update", 50, &["chat:write"], chat::update),
    method("chat.delete", 50, &["chat:write"], chat::delete),
    method("reactions.add", 50, &["reactions:write"], reactions::add),
    method(
        "reactions.remove",
        20,
        &["reactions:write"],
        reactions::remove,
    ),
    method("views.open", 100, &[], views::open),
    method("views.push", 100, &[], views::push),
    method("views.update", 100, &[], views::update),
    method(
        "files.getUploadURLExternal",
        100,
        &["files:write"],
        files::get_upload_url,
    ),
    method(
        "files.completeUploadExternal",
        100,
        &["files:write"],
        files::complete_upload,
    ),
    method(
        "functions.completeSuccess",
        50,
        &[],
        functions::complete_success,
    ),
    method(
        "functions.completeError",
        50,
        &[],
        functions::complete_error,
    ),
    method("files.info", 100, &["files:read"], files::info),
    method("files.delete", 50, &["files:write"], files::delete),
];

pub(crate) const fn method(
    name: &'static str,
    per_minute: u32,
    scopes: &'static [&'static str],
    run: fn(&mut Request<'_>) -> Result<Body, Refusal>,
) -> Method {
    Method {
        name,
        per_minute,
        scopes,
        tokens: Tokens::Workspace,
        run,
    }
}

impl Method {
    pub(crate) const fn with(self, tokens: Tokens) -> Self {
        Method { tokens, ..self }
    }
}
