//! How long the oldest of what waits has waited: the figures of age that stand in `/metrics` beside those of count.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use djangobot_channels::{ChannelLayer, ChannelName};
use rusqlite::{Connection, OptionalExtension};

use crate::journal::Journal;
use crate::metrics::Metrics;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(5);

/// The first rows are the oldest, since numbers grow.
const SPOOL: &str = "SELECT at FROM spool ORDER BY seq LIMIT 1";
const OUTBOX: &str = "SELECT at FROM outbox WHERE message IS NOT NULL ORDER BY id LIMIT 1";

/// Sets the figures for ever.
pub(super) async fn watch(
    journal: Journal,
    layer: Arc<dyn ChannelLayer>,
    send_channel: ChannelName,
    metrics: Metrics,
) {
    loop {
        let kept = journal
            .write(|database| Ok((oldest(database, SPOOL)?, oldest(database, OUTBOX)?)))
            .await;
        // Who writes to the disk says what is wrong with it, and the layer's watch what is wrong with that.
        if let Ok((spool, outbox)) = kept {
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

fn oldest(database: &Connection, query: &str) -> rusqlite::Result<Option<f64>> {
    let at = database
        .prepare_cached(query)?
        .query_row([], |row| row.get(0));
    // An event that an older version spooled has no time.
    Ok(at.optional()?.flatten())
}

/// The age of what is there since `at`, in seconds; 0 where nothing is.
fn age(at: Option<f64>) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    match (at, now) {
        (Some(at), Ok(now)) => (now.as_secs_f64() - at).max(0.0),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use djangobot_channels::Member;

    use super::*;
    use crate::bridge::inbound::delivery::spool::{Entry, Spool};
    use crate::state::State;

    #[tokio::test]
    async fn the_oldest_of_the_spool_is_known_across_restarts() {
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
