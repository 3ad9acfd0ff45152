//! The Web API: a call is read, admitted, carried out and answered as Slack would.
//!
//! The envelope is that of <https://docs.slack.dev/apis/web-api/>: every answer is an object with `ok`, a failure has
//! `error`, and remarks stand in `warning` and `response_metadata`.

mod answer;
mod apps;
mod arguments;
mod auth;
mod call;
mod chat;
mod conversations;
mod cursor;
mod files;
mod functions;
mod messages;
mod method;
mod oauth;
pub(crate) mod prescribed;
mod reactions;
mod refusal;
mod rtm;
mod users;
mod views;

pub(crate) use answer::answer;
