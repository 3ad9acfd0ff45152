//! Response URLs: where an app answers a command or an interaction later, five times within half an hour.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;
use crate::state::ts::Ts;

const USES: u32 = 5;
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The response URLs that were given out, by the last part of their path.
#[derive(Debug, Default)]
pub(crate) struct ResponseUrls {
    open: Mutex<HashMap<String, ResponseUrl>>,
}

#[derive(Debug)]
struct ResponseUrl {
    place: Place,
    uses_left: u32,
    until: Instant,
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) user: usize,
    pub(crate) conversation: usize,
    /// The message that the interaction came from.
    pub(crate) message: Option<Ts>,
}

impl ResponseUrls {
    /// Makes a response URL; the last part of its path.
    pub(crate) fn make(&self, place: Place) -> String {
        let id = format!("{:032x}", rand::random::<u128>());
        let mut open = lock(&self.open);
        let now = Instant::now();
        open.retain(|_, url| url.until > now);
        let url = ResponseUrl {
            place,
            uses_left: USES,
            until: now + LIFETIME,
        };
        open.insert(id.clone(), url);
        id
    }

    /// Where answers to a response URL go.
    pub(crate) fn place(&self, id: &str) -> Option<Place> {
        lock(&self.open).get(id).map(|url| url.place)
    }

    /// Counts one use of a response URL; its place, or Slack's error code.
    pub(crate) fn spend(&self, id: &str) -> Result<Place, &'static str> {
        let mut open = lock(&self.open);
        let url = open.get_mut(id).ok_or("invalid_url")?;
        if url.until <= Instant::now() {
            return Err("expired_url");
        }
        url.uses_left = url.uses_left.checked_sub(1).ok_or("used_url")?;
        Ok(url.place)
    }
}
