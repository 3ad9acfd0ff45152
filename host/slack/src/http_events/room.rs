//! The memory for requests' bodies: a body takes as much as came of it, and the oldest one that is still being read
//! gives way where there is no more.
//!
//! Until a body is whole, nobody knows whether Slack sent it, and anybody can send bytes slowly under a made-up
//! signature. A body of Slack's comes at once; so the oldest that is not whole is the one least likely to be Slack's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use djangobot_event::lock;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

/// The bytes of one permit.
const UNIT: usize = 1024;

/// The room for all bodies.
#[derive(Debug)]
pub(super) struct Room {
    permits: Semaphore,
    readers: Mutex<BTreeMap<u64, Reader>>,
    number: AtomicU64,
}

/// A body that is being read.
#[derive(Debug, Default)]
struct Reader {
    permits: usize,
    gives_way: CancellationToken,
}

/// A body's part of the room; dropping it gives that back.
#[derive(Debug)]
pub(super) struct Place<'a> {
    room: &'a Room,
    number: u64,
    permits: Option<SemaphorePermit<'a>>,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoomError {
    /// All of it is taken by what waits for an answer.
    Full,
    /// It was given to another body.
    GaveWay,
}

impl Room {
    /// Room for so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Room {
            permits: Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS)),
            readers: Mutex::default(),
            number: AtomicU64::new(0),
        }
    }

    /// A place for a body, with nothing in it yet.
    pub(super) fn enter(&self) -> Place<'_> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.readers().insert(number, Reader::default());
        Place {
            room: self,
            number,
            permits: None,
        }
    }

    /// Returns when the body in place `number` is to give way.
    pub(super) async fn given_up(&self, number: u64) {
        let gives_way = self.readers().get(&number).map(|it| it.gives_way.clone());
        match gives_way {
            Some(gives_way) => gives_way.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Tells the oldest bodies, but for the one in place `number`, to give way until so many permits are coming; says
    /// whether they are.
    fn make(&self, permits: usize, number: u64) -> bool {
        let mut coming = self.permits.available_permits();
        let readers = self.readers();
        let others = readers.iter().filter(|(other, _)| **other != number);
        // Bodies that were asked before have not given way yet.
        for (_, reader) in others {
            if coming >= permits {
                break;
            }
            reader.gives_way.cancel();
            coming += reader.permits;
        }
        coming >= permits
    }

    fn readers(&self) -> MutexGuard<'_, BTreeMap<u64, Reader>> {
        lock::lock(&self.readers)
    }
}

impl<'a> Place<'a> {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Takes room for `bytes` in all.
    pub(super) async fn grow(&mut self, bytes: usize) -> Result<(), RoomError> {
        let has = self
            .permits
            .as_ref()
            .map_or(0, SemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT).saturating_sub(has);
        let Ok(count) = u32::try_from(more) else {
            return Err(RoomError::Full);
        };
        let permits = match self.room.permits.try_acquire_many(count) {
            Ok(permits) => permits,
            Err(_) if !self.room.make(more, self.number) => return Err(RoomError::Full),
            Err(_) => {
                let coming = self.room.permits.acquire_many(count).await;
                coming.map_err(|_| RoomError::Full)?
            }
        };
        match &mut self.permits {
            Some(own) => own.merge(permits),
            none => *none = Some(permits),
        }
        if let Some(reader) = self.room.readers().get_mut(&self.number) {
            reader.permits = has + more;
        }
        Ok(())
    }

    /// Keeps the memory until this is dropped, even where another body wants it: the body is whole, and Slack's.
    pub(super) fn keep(self) -> Self {
        self.room.readers().remove(&self.number);
        self
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.readers().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_oldest_body_that_is_not_whole_gives_way() {
        let room = Room::new(4 * UNIT);
        let mut kept = room.enter();
        kept.grow(UNIT).await.unwrap();
        let kept = kept.keep();
        let (mut first, mut second) = (room.enter(), room.enter());
        first.grow(2 * UNIT).await.unwrap();
        second.grow(UNIT).await.unwrap();

        let mut third = room.enter();
        let first_leaves = room.given_up(first.number());
        let second_leaves = room.given_up(second.number());
        let mut growing = Box::pin(third.grow(2 * UNIT));
        assert_eq!(growing.as_mut().now_or_never(), None);
        assert_eq!(first_leaves.now_or_never(), Some(()));
        assert_eq!(second_leaves.now_or_never(), None);
        drop(first);
        assert_eq!(growing.await, Ok(()));

        // A body that Slack has signed never gives way, so that no other waits for it.
        let mut large = room.enter();
        assert_eq!(large.grow(4 * UNIT).await, Err(RoomError::Full));
        drop((kept, second, third));
        assert_eq!(large.grow(4 * UNIT).await, Ok(()));
    }
}
