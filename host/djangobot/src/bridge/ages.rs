//! The age of the oldest event in the spool, message in the outbox, and message in the layer, as `/metrics` shows it.

use std::sync::Arc;
use std::time::Duration;

use djangobot_channels::{ChannelLayer, ChannelName};
use rusqlite::{Connection, OptionalExtension};

use crate::bridge::moment::unix_seconds_now;
use crate::journal::Journal;
use crate::metrics::Metrics;

/// How often the ages are read.
const LOOK: Duration = Duration::from_secs(5);

/// The time of the oldest event. The first row is the oldest, since numbers grow.
const SPOOL: &str = "SELECT at FROM spool ORDER BY seq LIMIT 1";
/// The same for messages that are not finished.
const OUTBOX: &str = "SELECT at FROM outbox WHERE message IS NOT NULL ORDER BY id LIMIT 1";

/// Updates the metrics for ever.
pub(super) async fn watch(
    journal: Journal,
    layer: Arc<dyn ChannelLayer>,
    send_channel: ChannelName,
    metrics: Metrics,
) {
    loop {
        let times = journal
            .write(|database| Ok((oldest(database, SPOOL)?, oldest(database, OUTBOX)?)))
            .await;
        // Errors are not logged here: the writers log those of the disk, and the layer's watch logs those of the layer.
        if let Ok((spool, outbox)) = times {
            metrics.spool_oldest().set(age(spool));
            metrics.outbox_oldest().set(age(outbox));
        }
        if let Ok(waiting) = layer.oldest(&send_channel).await {
            metrics
                .layer_oldest(send_channel.as_str())
                .set(age(waiting));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The Unix seconds that `query` finds.
fn oldest(database: &Connection, query: &str) -> rusqlite::Result<Option<f64>> {
    let at = database
        .prepare_cached(query)?
        .query_row([], |row| row.get(0));
    // Events that an older version spooled have no time.
    Ok(at.optional()?.flatten())
}

/// The age in seconds of an item since `at`; 0 if there is none.
fn age(at: Option<f64>) -> f64 {
    at.map_or(0.0, |at| (unix_seconds_now() - at).max(0.0))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use djangobot_channels::Member;

    use super::*;
    use crate::bridge::inbound::delivery::spool::{Entry, Spool};
    use crate::state::State;

    #[tokio::test]
    async fn the_oldest_event_of_the_spool_is_known_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let journal = State::open(folder.path()).unwrap().journal().unwrap();
        let look = async |journal: &Journal| {
            let found = journal.write(|database| oldest(database, SPOOL)).await;
            found.unwrap()
        };
        assert_eq!(look(&journal).await, None);
        let (spool, _) = Spool::open(journal.clone(), 1 << 20).await.unwrap();
        let entry = |seq| Entry {
            seq,
            id: "id".into(),
            wire: "msgpack/12".into(),
            member: Member(Bytes::from_static(b"member")),
        };
        spool.append("slack.message", vec![entry(1)]).await.unwrap();
        let first = look(&journal).await.unwrap();
        assert!(age(Some(first)) < 60.0, "{first}");
        spool.append("slack.message", vec![entry(2)]).await.unwrap();
        assert_eq!(look(&journal).await, Some(first));
        spool.forget("slack.message", 1).await.unwrap();
        assert!(look(&journal).await.unwrap() >= first);
        assert_eq!(age(None), 0.0);
    }
}
