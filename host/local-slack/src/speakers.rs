//! The interfaces that clients speak to: the Web API, RTM, Socket Mode, response URLs, files, and the control interface.

pub(crate) mod control;
pub(crate) mod files;
pub(crate) mod response_url;
pub(crate) mod rtm;
pub(crate) mod socket_mode;
pub(crate) mod web_api;
