//! The options of a local Slack.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

/// The options of a workspace and its server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen: a loopback address; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Generated people, in addition to the named ones (alice, bob, carol, dave who has left, two bots and Slackbot).
    pub users: usize,
    /// Generated channels, in addition to the named ones (general, random, ops, lounge, core-team, old-projects).
    pub channels: usize,
    /// The same seed gives the same people, channels and ids.
    pub seed: u64,
    /// The workspace's own name.
    pub team: Team,
    /// The bot that `xoxb-` tokens speak for.
    pub bot_name: String,
    /// Only this token is accepted; with `None`, any that begins with `xoxb-` (the bot) or `xoxp-` (alice).
    pub token: Option<String>,
    /// Only this app-level token is accepted; with `None`, any that begins with `xapp-`.
    pub app_token: Option<String>,
    /// For tokens that expire.
    pub oauth: OAuth,
    /// Where the app takes events, commands and interactions over HTTP: a URL on this machine. Without one it gets them
    /// through Socket Mode.
    pub events_url: Option<String>,
    /// The secret that requests to the app are signed with.
    pub signing_secret: String,
    /// Whether the app uses Socket Mode from the start, so that events wait for its connection by Slack's rules;
    /// otherwise from its first call of `apps.connections.open`.
    pub socket_mode: bool,
    /// Whether the events of a conversation stay on one connection of Socket Mode as long as the same connections are
    /// open, so that they come in their order; otherwise the connections take turns, since Slack promises no more.
    pub sticky: bool,
    /// How long the app may take to acknowledge; Slack gives 3 s.
    pub ack_timeout: Duration,
    /// When an event that was not acknowledged is redelivered; Slack does so at once, after 1 min and after 5 min.
    pub retry_delays: [Duration; 3],
    /// How long after a `disconnect` with the reason `warning` a connection is closed; Slack gives about 10 s.
    pub warning_time: Duration,
    /// The app's subscriptions, by Slack's names: `message.channels`, `app_mention`, `reaction_added`. `None`
    /// subscribes to everything that its bot may see, except `app_mention`.
    pub subscriptions: Option<Vec<String>>,
    /// How often a minute `conversations.history` and `conversations.replies` may each be called, for 15 messages: once
    /// with Slack, for apps that are distributed outside of its Marketplace. `None`: at their tier's rate.
    pub history_per_minute: Option<u32>,
    /// Whether calls beyond Slack's rates are answered with 429: one post a second in each channel, in bursts of up
    /// to 10, and for other methods their tier's calls a minute.
    pub rate_limits: bool,
    /// Whether the token is that of an org-wide app, which has to name the workspace of each list.
    pub org_wide: bool,
    /// How often each socket is sent a WebSocket ping.
    pub ping_interval: Duration,
    /// How long a URL from `rtm.connect` or `apps.connections.open` can be used; Slack gives 30 s.
    pub url_lifetime: Duration,
    /// How many messages are kept for each conversation; as many calls, frames and deliveries are kept in the journal.
    pub keep: usize,
}

/// The credentials with which an app renews its tokens in `oauth.v2.access`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth {
    /// The app's id in OAuth.
    pub client_id: String,
    /// The app's secret in OAuth.
    pub client_secret: String,
    /// The first refresh token; each serves once, and its answer has the next.
    pub refresh_token: String,
    /// How long an access token is good; Slack gives 12 h.
    pub token_lifetime: Duration,
}

/// A workspace's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Team {
    /// `T...`.
    pub id: String,
    /// For people.
    pub name: String,
    /// The part of the workspace's address before `.slack.com`.
    pub domain: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            users: 40,
            channels: 8,
            seed: 1,
            team: Team {
                id: "T0LOCAL0001".to_owned(),
                name: "Local Slack".to_owned(),
                domain: "local-slack".to_owned(),
            },
            bot_name: "djangobot".to_owned(),
            token: None,
            app_token: None,
            oauth: OAuth::default(),
            events_url: None,
            signing_secret: "local-slack-signing-secret".to_owned(),
            socket_mode: false,
            sticky: false,
            ack_timeout: Duration::from_secs(3),
            retry_delays: [
                Duration::ZERO,
                Duration::from_secs(60),
                Duration::from_secs(300),
            ],
            warning_time: Duration::from_secs(10),
            subscriptions: None,
            history_per_minute: None,
            org_wide: false,
            rate_limits: false,
            ping_interval: Duration::from_secs(15),
            url_lifetime: Duration::from_secs(30),
            keep: 10_000,
        }
    }
}

impl Default for OAuth {
    fn default() -> Self {
        OAuth {
            client_id: "1000000000000.2000000000000".to_owned(),
            client_secret: "local-slack-client-secret".to_owned(),
            refresh_token: "xoxe-1-local-slack".to_owned(),
            token_lifetime: Duration::from_secs(12 * 3600),
        }
    }
}
