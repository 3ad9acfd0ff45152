//! The journal of clients: the calls and the frames that came in, kept to be listed and awaited.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::lock::lock;
use crate::state::connection::ConnectionId;
use crate::state::ts::now;

/// A call of the Web API.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// Counts up from 0 over the server's life.
    pub number: u64,
    /// `chat.postMessage` and the like, as it stood in the path.
    pub method: String,
    /// The arguments, without the token; what came as JSON inside a form is read.
    pub arguments: Value,
    /// When it came, in seconds since 1970.
    pub at: f64,
    /// The HTTP status of the answer; 0 as long as it has not been answered.
    pub status: u16,
    /// The answer's body; null as long as it has not been answered. Of one over 64 KiB only `ok` is kept, with its
    /// length in `too_long_to_keep`.
    pub answer: Value,
}

/// A message that a client sent on its socket.
#[derive(Debug, Clone, Serialize)]
pub struct ReceivedFrame {
    /// Which socket.
    pub connection: ConnectionId,
    /// `text`, `binary`, `ping`, `pong` or `close`.
    pub kind: &'static str,
    /// Its payload; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// When it came, in seconds since 1970.
    pub at: f64,
}

#[derive(Debug)]
pub(crate) struct Journal {
    calls: Mutex<Calls>,
    frames: Mutex<VecDeque<ReceivedFrame>>,
    keep: usize,
    /// Counts what has happened, connections included, so that it can be awaited.
    activity: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Calls {
    kept: VecDeque<Call>,
    next: u64,
}

impl Journal {
    pub(crate) fn new(keep: usize) -> Self {
        Journal {
            calls: Mutex::default(),
            frames: Mutex::default(),
            keep: keep.max(1),
            activity: watch::Sender::new(0),
        }
    }

    /// Notes a call that is going to be answered.
    pub(crate) fn called(&self, method: &str, arguments: Value) -> u64 {
        let number = {
            let mut calls = lock(&self.calls);
            let number = calls.next;
            calls.next += 1;
            if calls.kept.len() == self.keep {
                calls.kept.pop_front();
            }
            calls.kept.push_back(Call {
                number,
                method: method.to_owned(),
                arguments,
                at: now(),
                status: 0,
                answer: Value::Null,
            });
            number
        };
        self.happened();
        number
    }

    /// Notes how it was answered.
    pub(crate) fn answered(&self, number: u64, status: u16, answer: Value) {
        {
            let mut calls = lock(&self.calls);
            let call = calls.kept.iter_mut().rev();
            // The newest are at the end, so that the search is short.
            if let Some(call) = call
                .take_while(|call| call.number >= number)
                .find(|call| call.number == number)
            {
                call.status = status;
                call.answer = answer;
            }
        }
        self.happened();
    }

    pub(crate) fn received(&self, connection: ConnectionId, kind: &'static str, payload: &[u8]) {
        {
            let mut frames = lock(&self.frames);
            if frames.len() == self.keep {
                frames.pop_front();
            }
            frames.push_back(ReceivedFrame {
                connection,
                kind,
                text: String::from_utf8_lossy(payload).into_owned(),
                at: now(),
            });
        }
        self.happened();
    }

    /// All kept calls of `method`, or of all methods.
    pub(crate) fn calls(&self, method: Option<&str>) -> Vec<Call> {
        let calls = lock(&self.calls);
        let wanted = |call: &&Call| method.is_none_or(|method| call.method == method);
        calls.kept.iter().filter(wanted).cloned().collect()
    }

    pub(crate) fn frames(&self) -> Vec<ReceivedFrame> {
        lock(&self.frames).iter().cloned().collect()
    }

    pub(crate) fn clear_calls(&self) {
        lock(&self.calls).kept.clear();
    }

    pub(crate) fn clear_frames(&self) {
        lock(&self.frames).clear();
    }

    /// Wakes all that wait.
    pub(crate) fn happened(&self) {
        self.activity.send_modify(|count| *count += 1);
    }

    /// Looks again after everything that happens, until there is a result.
    pub(crate) async fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut activity = self.activity.subscribe();
        loop {
            activity.mark_unchanged();
            if let Some(found) = look() {
                return found;
            }
            // The sender lives as long as `self`.
            activity.changed().await.ok();
        }
    }
}
