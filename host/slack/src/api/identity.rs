//! The user and the workspace of a token, as `auth.test` and `rtm.connect` give them.

use serde::Deserialize;
use url::Url;

/// The identity of a token, from `auth.test`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// `T...`.
    pub team_id: String,
    /// The workspace's name.
    pub team: String,
    /// `U...`: the token's user; for a bot token the bot's.
    pub user_id: String,
    /// That user's name.
    pub user: String,
    /// `B...`, with a bot token.
    pub bot_id: Option<String>,
    /// The workspace's address, `https://example.slack.com/`.
    pub url: String,
    /// The scopes of the token, from the header `x-oauth-scopes`; empty where Slack did not say.
    #[serde(skip)]
    pub scopes: Vec<String>,
}

/// The answer of `rtm.connect`: a URL that is good once and for 30 seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RtmSession {
    /// `wss://...`.
    pub url: Url,
    /// The connection's own user.
    #[serde(rename = "self")]
    pub me: RtmSelf,
    /// The workspace.
    pub team: RtmTeam,
}

/// The user that an RTM connection is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RtmSelf {
    /// `U...`.
    pub id: String,
    /// The handle.
    #[serde(default)]
    pub name: String,
}

/// The workspace of an RTM connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RtmTeam {
    /// `T...`.
    pub id: String,
    /// The workspace's name.
    #[serde(default)]
    pub name: String,
    /// `example` of `example.slack.com`.
    #[serde(default)]
    pub domain: String,
}
