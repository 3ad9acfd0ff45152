//! The control interface: makes things happen in the workspace, and shows and awaits what clients do.

mod app;
mod burst;
mod calls;
mod handle;
pub(crate) mod http;
mod messages;
mod sockets;
mod storm;
mod template;
mod traffic;
mod unseen;

pub use app::AppReply;
pub use burst::{Burst, BurstReport};
pub use handle::{Control, ControlError};
pub(crate) use handle::{find_conversation, find_user};
pub use sockets::{Connection, Frame};
pub use storm::Storm;
pub use traffic::{Report, Through, Traffic};
