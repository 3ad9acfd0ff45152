//! The interfaces that clients speak to: the Web API, RTM, Socket Mode, response URLs, and the control interface.

pub(crate) mod control;
pub(crate) mod response_url;
pub(crate) mod rtm;
pub(crate) mod socket_mode;
pub(crate) mod web_api;
