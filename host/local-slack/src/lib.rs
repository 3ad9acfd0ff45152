//! A Slack workspace on loopback: Web API, RTM, Socket Mode, events over HTTP, faults on demand and a control
//! interface, for development and tests.
//!
//! [`LocalSlack::start`] gives a server that Slack's own SDKs take for Slack once they are pointed at
//! [`LocalSlack::api_url`]. [`LocalSlack::control`] makes things happen in it and shows what it was asked; the same is
//! served as HTTP under `/control/`. [`terminal()`] lets a person talk to a bot through it.
//!
//! Events of the workspace go to all sockets of RTM. They also go to the app, once: through HTTP where there is a
//! request URL ([`Options::events_url`]), else through Socket Mode, to one of its connections in turn. Socket Mode
//! begins with the first call of `apps.connections.open`, or at once with [`Options::socket_mode`]; from then on,
//! events that are not acknowledged are redelivered by Slack's rules, also while no connection is open.
//!
//! The code has layers, each of which uses those before it alone: `http` and `state`, `socket`, `delivery`, the `core`,
//! the `speakers` (Web API, RTM, Socket Mode, control), and the `server`.
//!
//! ```
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use local_slack::{LocalSlack, Options};
//!
//! let slack = LocalSlack::start(Options::default()).await?;
//! let control = slack.control();
//! let ts = control.say("alice", "general", "good morning")?;
//! assert!(ts.contains('.'));
//! slack.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod browser;
mod core;
mod delivery;
mod fault;
mod http;
mod local_slack;
mod lock;
mod options;
mod server;
mod socket;
mod speakers;
mod state;
mod terminal;

pub use crate::delivery::{Attempt, Delivery, Latency, Outcome};
pub use crate::fault::{Fault, Happening, Reason};
pub use crate::local_slack::{LocalSlack, StartError};
pub use crate::options::{OAuth, Options, Team};
pub use crate::speakers::control::{
    AppReply, Burst, BurstReport, Connection, Control, ControlError, Frame, Report, Storm, Through,
    Traffic,
};
pub use crate::state::access::Answer;
pub use crate::state::connection::ConnectionId;
pub use crate::state::journal::{Call, ReceivedFrame};
pub use crate::terminal::{HELP, terminal};
