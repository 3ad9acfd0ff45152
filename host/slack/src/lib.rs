//! Slack for the bridge: the Web API, who and what is in the workspace, and the ways in which Slack gives events: Real-Time
//! Messaging, Socket Mode, and the Events API over HTTP.
//!
//! Knows nothing of plugins or channel layers. All that comes from Slack comes as [`Incoming`] values through a bounded
//! channel, whatever transport brought it; all that goes to Slack goes through [`WebApi::call`], one attempt at a time,
//! at the pace that a [`Pacer`] allows. Who calls owns the retries, but for reading ([`Roster::load`], [`history`]), which
//! may be done twice.

#![forbid(unsafe_code)]

pub mod api;
mod backoff;
mod clock;
mod ended;
mod envelope;
#[doc(hidden)]
pub mod fuzzing;
pub mod history;
pub mod http_events;
pub mod pacing;
mod reading;
mod respond;
pub mod roster;
pub mod rotation;
pub mod rtm;
pub mod socket_mode;
pub mod token;
pub mod transport;
mod ts;
pub mod ws;

pub use api::{ApiError, Class, Identity, SLACK_API_URL, WebApi, argument, method};
pub use backoff::Backoff;
pub use envelope::BOT_ACCESS_TOKEN;
pub use history::History;
pub use pacing::Pacer;
pub use respond::ResponseUrl;
pub use roster::Roster;
pub use rotation::Rotation;
pub use token::{BotAccessToken, RefreshToken, Token, TokenError, TokenKind};
pub use transport::{Ack, AnswerError, BadFrame, Fatal, Frame, Incoming, Origin, Session};
pub use ts::Ts;

#[cfg(test)]
mod testing;
