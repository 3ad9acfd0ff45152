//! The WebSockets of RTM and Socket Mode: their frames, what waits to be written, and their life until they are closed.

mod disconnect;
pub(crate) mod frame;
mod open;
mod outbox;
mod session;

pub(crate) use disconnect::{disconnect, farewell, garbled};
pub(crate) use open::{FAREWELL, Socket, Sockets};
pub(crate) use session::{Surroundings, serve, turn_away};
