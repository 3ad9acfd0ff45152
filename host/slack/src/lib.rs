//! Slack for the bridge: the Web API, the roster of the workspace, and the three transports of events: Real-Time
//! Messaging, Socket Mode, and the Events API over HTTP.
//!
//! This crate knows nothing of plugins or channel layers. Everything from Slack arrives as [`Incoming`] values through
//! a bounded channel, whatever the transport; everything to Slack goes through [`WebApi::call`], one attempt at a time,
//! at the pace that a [`Pacer`] allows. The caller owns the retries, except for reads ([`Roster::load`], [`history`]),
//! which are retried here because reading twice does no harm.

#![forbid(unsafe_code)]

pub mod api;
mod backoff;
mod clock;
mod connection_end;
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
