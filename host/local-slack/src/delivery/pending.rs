//! A parcel on its way to the app.

use std::sync::Arc;

use tokio::time::Instant;

use crate::delivery::parcel::Parcel;
use crate::delivery::tally::Tally;

/// How the app is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    SocketMode,
    Http,
}

impl Route {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Route::SocketMode => "socket-mode",
            Route::Http => "http",
        }
    }
}

/// A parcel on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) parcel: Arc<Parcel>,
    pub(super) route: Route,
    /// Its place in the records; generated traffic has none.
    pub(super) record: Option<u64>,
    pub(super) tally: Option<Arc<Tally>>,
    /// 0 for the first attempt.
    pub(crate) retry: u32,
    /// Why the attempt before failed.
    pub(crate) reason: &'static str,
    /// It was held back already, and is not to be again.
    pub(super) was_delayed: bool,
    pub(super) sent: Instant,
}
