//! The subscriptions of clients to channels and patterns of `PUBLISH`.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use crate::embedded::clients::Clients;
use crate::embedded::command_error::CommandError;
use crate::embedded::glob::Matcher;
use crate::embedded::resp::Reply;

/// The greatest number of channels and patterns that one client may subscribe to.
const MAX_SUBSCRIPTIONS: usize = 100_000;

/// All subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    channels: Listeners,
    patterns: Listeners,
}

/// One table of subscriptions, by name and by client. Both sides always have the same entries.
#[derive(Debug, Default)]
struct Listeners {
    by_name: HashMap<Bytes, BTreeSet<u64>>,
    by_client: HashMap<u64, BTreeSet<Bytes>>,
}

/// The kind of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Channel,
    Pattern,
}

impl Subscriptions {
    fn table(&mut self, kind: Kind) -> &mut Listeners {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }

    /// Subscribes `client`; `false` if it has too many subscriptions already.
    pub(super) fn subscribe(&mut self, kind: Kind, client: u64, name: &[u8]) -> bool {
        if self.count(client) >= MAX_SUBSCRIPTIONS {
            return false;
        }
        let name = Bytes::copy_from_slice(name);
        let table = self.table(kind);
        table
            .by_name
            .entry(name.clone())
            .or_default()
            .insert(client);
        table.by_client.entry(client).or_default().insert(name);
        true
    }

    /// Ends a subscription of `client`.
    pub(super) fn unsubscribe(&mut self, kind: Kind, client: u64, name: &[u8]) {
        let table = self.table(kind);
        if let Some(clients) = table.by_name.get_mut(name) {
            clients.remove(&client);
            if clients.is_empty() {
                table.by_name.remove(name);
            }
        }
        if let Some(names) = table.by_client.get_mut(&client) {
            names.remove(name);
            if names.is_empty() {
                table.by_client.remove(&client);
            }
        }
    }

    /// The subscriptions of `client`.
    pub(super) fn names(&mut self, kind: Kind, client: u64) -> Vec<Bytes> {
        self.table(kind)
            .by_client
            .get(&client)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// The number of subscriptions of `client`, to channels and patterns.
    pub(super) fn count(&self, client: u64) -> usize {
        [&self.channels, &self.patterns]
            .iter()
            .filter_map(|t| t.by_client.get(&client))
            .map(BTreeSet::len)
            .sum()
    }

    /// Ends all subscriptions of `client`.
    pub(super) fn disconnect(&mut self, client: u64) {
        for kind in [Kind::Channel, Kind::Pattern] {
            for name in self.names(kind, client) {
                self.unsubscribe(kind, client, &name);
            }
        }
    }

    /// Pushes `message` to all subscribers of `channel`; returns how many times it was pushed.
    pub(super) fn publish(
        &self,
        clients: &mut Clients,
        matcher: &mut Matcher,
        channel: &Bytes,
        message: &Bytes,
    ) -> Result<usize, CommandError> {
        // All patterns are matched first, because a match that takes too long refuses the message for everybody.
        let mut matching = Vec::new();
        for (pattern, listeners) in &self.patterns.by_name {
            if matcher.matches(pattern, channel)? {
                matching.push((pattern, listeners));
            }
        }
        let mut count = 0;
        let direct = self.channels.by_name.get(channel);
        let push = Reply::Push(vec![
            Reply::text("message"),
            Reply::Bulk(channel.clone()),
            Reply::Bulk(message.clone()),
        ]);
        for id in direct.into_iter().flatten() {
            clients.push(*id, &push);
            count += 1;
        }
        for (pattern, listeners) in matching {
            let parts = [
                Bytes::from_static(b"pmessage"),
                pattern.clone(),
                channel.clone(),
                message.clone(),
            ];
            let push = Reply::Push(parts.map(Reply::Bulk).to_vec());
            for id in listeners {
                clients.push(*id, &push);
                count += 1;
            }
        }
        Ok(count)
    }

    /// The number of channels or patterns that have a subscriber.
    pub(super) fn names_in_use(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel => self.channels.by_name.len(),
            Kind::Pattern => self.patterns.by_name.len(),
        }
    }
}
