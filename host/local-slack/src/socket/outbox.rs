//! The queue of whole frames that are still to be written to one socket, bounded in bytes.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::lock::lock;

/// A reader that is further behind than this many bytes is cut off.
const LIMIT: usize = 256 * 1024 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Something was pushed.
    pushed: Notify,
    /// Something was written.
    written: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    /// Pushed and not yet written, the chunk in the writer's hands included.
    bytes: usize,
}

/// The outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Outbox {
    /// Queues whole frames, in order.
    pub(crate) fn push(&self, frames: Bytes) -> Result<(), Full> {
        {
            let mut queue = lock(&self.queue);
            // One frame may always be queued, however large it is.
            if queue.bytes > 0 && queue.bytes + frames.len() > LIMIT {
                return Err(Full);
            }
            queue.bytes += frames.len();
            queue.chunks.push_back(frames);
        }
        self.pushed.notify_one();
        Ok(())
    }

    /// Waits for the next chunk. The writer calls [`Outbox::wrote`] once it is on the socket.
    pub(crate) async fn next(&self) -> Bytes {
        loop {
            if let Some(chunk) = lock(&self.queue).chunks.pop_front() {
                return chunk;
            }
            self.pushed.notified().await;
        }
    }

    /// The next chunk, if there is one now.
    pub(crate) fn try_next(&self) -> Option<Bytes> {
        lock(&self.queue).chunks.pop_front()
    }

    /// Says that `bytes` of what was taken are on the socket.
    pub(crate) fn wrote(&self, bytes: usize) {
        lock(&self.queue).bytes -= bytes;
        self.written.notify_waiters();
    }

    /// Waits until no more than `bytes` are left to be written.
    pub(crate) async fn at_most(&self, bytes: usize) {
        loop {
            let written = self.written.notified();
            tokio::pin!(written);
            // Registered before the look, so that no write in between is missed.
            written.as_mut().enable();
            if lock(&self.queue).bytes <= bytes {
                return;
            }
            written.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_awaited_until_the_writer_has_written() {
        let outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"one")).unwrap();
        outbox.push(Bytes::from_static(b"two")).unwrap();
        let first = outbox.next().await;
        let writer = async {
            outbox.wrote(first.len());
            outbox.wrote(outbox.next().await.len());
        };
        tokio::join!(outbox.at_most(0), writer);
        assert_eq!(first, "one");
        assert!(outbox.try_next().is_none());
    }

    #[tokio::test]
    async fn a_reader_too_far_behind_is_refused_more() {
        let outbox = Outbox::default();
        let large = Bytes::from(vec![0; LIMIT]);
        outbox.push(large).unwrap();
        assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Full));
    }
}
