//! Tickets: the right to open one socket, given out by `rtm.connect` and `apps.connections.open`.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;
use crate::state::connection::Protocol;

/// The right to open one socket.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) user: usize,
    pub(crate) protocol: Protocol,
    until: Instant,
}

/// The tickets that were not redeemed yet, by their secrets.
#[derive(Debug)]
pub(crate) struct Tickets {
    open: Mutex<HashMap<String, Ticket>>,
    lifetime: Duration,
}

impl Tickets {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self {
            open: Mutex::default(),
            lifetime,
        }
    }

    /// Gives out a ticket; its secret.
    pub(crate) fn issue(&self, user: usize, protocol: Protocol) -> String {
        let secret = format!("{:032x}", rand::random::<u128>());
        let until = Instant::now() + self.lifetime;
        let ticket = Ticket {
            user,
            protocol,
            until,
        };
        lock(&self.open).insert(secret.clone(), ticket);
        secret
    }

    /// Takes a ticket, so that it is gone afterwards; `None` where it was redeemed before, has expired or never was.
    pub(crate) fn redeem(&self, secret: &str) -> Option<Ticket> {
        let mut open = lock(&self.open);
        let now = Instant::now();
        let ticket = open.remove(secret);
        // The expired ones are removed on this occasion.
        open.retain(|_, ticket| ticket.until > now);
        ticket.filter(|ticket| ticket.until > now)
    }
}
