//! The body of an answer: whole, or broken off on purpose.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The connection is closed without an answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection is closed without an answer, as was prescribed")]
pub(crate) struct HangUp;

/// The bytes of a body.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    rest: Bytes,
    ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Ending {
    /// After the bytes.
    #[default]
    Regular,
    /// The connection is cut after the bytes, which are fewer than were announced.
    Cut,
    /// The bytes were handed out; the cut comes next.
    CutNext,
}

impl Payload {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Payload {
            rest: bytes,
            ending: Ending::Regular,
        }
    }

    /// The first half of the bytes, before the connection is cut.
    pub(crate) fn cut_short(mut self) -> Self {
        self.rest.truncate(self.rest.len() / 2);
        self.ending = Ending::Cut;
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = HangUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HangUp>>> {
        if !self.rest.is_empty() {
            let bytes = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match self.ending {
            Ending::Regular => Poll::Ready(None),
            // One turn of the event loop, in which the server writes out what it has.
            Ending::Cut => {
                self.ending = Ending::CutNext;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Ending::CutNext => Poll::Ready(Some(Err(HangUp))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.ending == Ending::Regular
    }

    fn size_hint(&self) -> SizeHint {
        match self.ending {
            Ending::Regular => SizeHint::with_exact(self.rest.len() as u64),
            // The announced length is in the header.
            Ending::Cut | Ending::CutNext => SizeHint::default(),
        }
    }
}
