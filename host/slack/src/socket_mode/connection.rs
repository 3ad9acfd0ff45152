//! One Socket Mode connection, from Slack's hello on. It owns its socket: it reads it, writes to it and closes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use djangobot_event::Event;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::connection_end::{ConnectionEnd, Outcome};
use crate::socket_mode::health::OwnSocket;
use crate::socket_mode::life::{
    Greeting, LifeReport, ReadTimes, SlotSignals, link_disabled, too_many,
};
use crate::socket_mode::merge::Lane;
use crate::socket_mode::message::{self, Envelope, Message, Reason};
use crate::socket_mode::shared::Shared;
use crate::transport::{Ack, BadFrame, Frame, Incoming, Origin, SocketAck, ack_frame};
use crate::ws::{ConnectionLoss, ServerMessage, Socket};

/// A connection that was replaced is closed when nothing came on it for this long: an envelope that Slack sends before
/// it learns of the close can't be acknowledged any more.
const QUIET: Duration = Duration::from_millis(100);

/// A connection on which Slack has said hello.
pub(super) struct Connection<S> {
    shared: Arc<Shared>,
    socket: Socket<S>,
    own: OwnSocket,
    greeted: Instant,
    /// Where its events go on.
    lane: Lane,
    /// Whether the session was announced; nothing is handed out before.
    has_arrived: bool,
    /// Slack has asked us to leave.
    is_leaving: bool,
    acks: mpsc::UnboundedReceiver<SocketAck>,
    /// Goes with each envelope. Its queue is no longer than the list of envelopes that were handed out, which is
    /// bounded by `out` and by what the receiver takes in.
    acked: mpsc::UnboundedSender<SocketAck>,
    /// Envelopes that were handed out and are neither acknowledged nor dropped.
    outstanding: usize,
    ends: SlotSignals,
    end: Option<Outcome>,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Another connection has replaced it: envelopes are still accepted until nothing is outstanding.
    Retiring {
        until: tokio::time::Instant,
    },
    /// No more envelopes are accepted; those that were handed out may still be acknowledged.
    Stopping {
        until: tokio::time::Instant,
    },
}

impl<S: AsyncRead + AsyncWrite> Connection<S> {
    pub(super) fn new(
        shared: Arc<Shared>,
        socket: Socket<S>,
        own: OwnSocket,
        ends: SlotSignals,
    ) -> Self {
        let (acked, acks) = mpsc::unbounded_channel();
        Connection {
            socket,
            own,
            greeted: Instant::now(),
            lane: shared.merger.lane(),
            shared,
            has_arrived: false,
            is_leaving: false,
            acks,
            acked,
            outstanding: 0,
            ends,
            end: None,
        }
    }

    /// Lives until the connection ends, and closes it. `greeting` is how Slack began; more may have been read with it at
    /// these `times`.
    pub(super) async fn live(mut self, greeting: Greeting, times: ReadTimes) -> LifeReport {
        let hello = match greeting {
            Greeting::Hello(hello) => Some(hello),
            Greeting::Other(message) => {
                self.take(message, times);
                None
            }
        };
        self.read(times);
        let mut outcome = self.serve(hello).await;
        if let Outcome::Ended(ended) = &mut outcome {
            ended.lived = self.greeted.elapsed();
            ended.is_planned |= self.is_leaving;
        }
        let Connection {
            socket,
            shared,
            lane,
            has_arrived,
            own,
            acks,
            ..
        } = self;
        // From here on an answer gets the error that it is too late.
        drop(acks);
        if !matches!(&outcome, Outcome::Ended(ended) if ended.is_dead) {
            let hear = |received, times| {
                if let ServerMessage::Message(raw) = received
                    && let Message::Envelope(envelope) = message::read(raw)
                    && !shared.cancel.is_cancelled()
                {
                    let bytes = size_of_frame(&envelope.event);
                    lane.push(frame(envelope.event, envelope.origin, None, times), bytes);
                }
            };
            // No round waits for it any more.
            lane.end();
            socket
                .close_and_hear(|message, received, arrived| {
                    hear(message, ReadTimes { received, arrived });
                })
                .await;
        }
        drop(own);
        LifeReport {
            outcome,
            had_arrived: has_arrived,
        }
    }

    async fn serve(&mut self, hello: Option<Event>) -> Outcome {
        let shared = Arc::clone(&self.shared);
        let retire = self.ends.retire.clone();
        let mut rounds = shared.merger.rounds();
        let arrival = shared.presence.arrived(Frame::hello(hello));
        tokio::pin!(arrival);
        let mut phase = Phase::Serving;
        let mut heard = tokio::time::Instant::now();
        loop {
            if let Some(end) = self.end.take() {
                return end;
            }
            let is_drained = self.outstanding == 0 && self.lane.is_empty();
            let until = match phase {
                Phase::Serving => None,
                Phase::Stopping { .. } if is_drained => return Outcome::Stopped,
                Phase::Retiring { until } if is_drained => Some(until.min(heard + QUIET)),
                Phase::Retiring { until } | Phase::Stopping { until } => Some(until),
            };
            let is_stopping = matches!(phase, Phase::Stopping { .. });
            let reads = self.has_arrived && !is_stopping && self.lane.has_room();
            let until_at = until.unwrap_or_else(tokio::time::Instant::now);
            tokio::select! {
                biased;
                () = shared.cancel.cancelled(), if !is_stopping => {
                    self.lane.clear();
                    phase = Phase::Stopping { until: tokio::time::Instant::now() + shared.config.drain };
                }
                () = retire.cancelled(), if phase == Phase::Serving => {
                    phase = Phase::Retiring { until: tokio::time::Instant::now() + shared.config.drain };
                }
                () = sleep_until(until_at), if until.is_some() => return Outcome::Stopped,
                Some(ack) = self.acks.recv(), if self.socket.has_room() => {
                    if let Err(lost) = self.send_acks(ack) {
                        return self.dead(&lost);
                    }
                }
                wanted = &mut arrival, if !self.has_arrived && !is_stopping => {
                    if !wanted {
                        return Outcome::Stopped;
                    }
                    self.has_arrived = true;
                    self.lane.open();
                    self.ends.replaces = None;
                }
                () = self.lane.moved() => {}
                Ok(()) = rounds.changed() => {
                    let round = *rounds.borrow_and_update();
                    if let Some(read) = self.read_all(round, reads).await {
                        heard = read;
                    }
                }
                read = drive(&mut self.socket, reads) => match read {
                    Ok(times) => {
                        heard = times.arrived.into();
                        self.read(times);
                    }
                    Err(lost) => return self.dead(&lost),
                },
            }
        }
    }

    /// Reads all that waits in the socket, for a round; gives when something was read last.
    async fn read_all(&mut self, round: u64, mut reads: bool) -> Option<tokio::time::Instant> {
        let mut heard = None;
        while reads && self.end.is_none() {
            // The runtime has to poll the socket before its bytes are seen.
            tokio::task::yield_now().await;
            let read = tokio::select! {
                biased;
                read = drive(&mut self.socket, true) => Some(read),
                () = std::future::ready(()) => None,
            };
            match read {
                Some(Ok(times)) => {
                    heard = Some(times.arrived.into());
                    self.read(times);
                }
                Some(Err(lost)) => self.end = Some(self.dead(&lost)),
                None => break,
            }
            reads = self.lane.has_room();
        }
        self.lane.has_read(round, !self.lane.has_room());
        heard
    }

    /// Handles everything that was read.
    fn read(&mut self, times: ReadTimes) {
        while self.end.is_none() {
            let message = match self.socket.take() {
                Ok(Some(ServerMessage::Message(raw))) => message::read(raw),
                Ok(Some(ServerMessage::TooLong { length, head })) => {
                    message::too_long(length, self.shared.config.each.max_frame_bytes, &head)
                }
                Ok(Some(ServerMessage::Ping(_) | ServerMessage::Pong(_))) => continue,
                Ok(Some(ServerMessage::Close(code, words))) => {
                    self.end = Some(Outcome::Ended(ConnectionEnd::closed(code, &words)));
                    return;
                }
                Ok(None) => return,
                Err(lost) => {
                    self.end = Some(self.dead(&lost));
                    return;
                }
            };
            self.take(message, times);
        }
    }

    fn take(&mut self, message: Message, times: ReadTimes) {
        match message {
            Message::Hello {
                num_connections, ..
            } => self.own.greeted(num_connections),
            Message::Pong => {}
            Message::Ping(answer) => self.send(&answer),
            Message::Disconnect(reason) => self.leave(reason),
            Message::Envelope(envelope) => self.envelope(*envelope, times),
            Message::Bad { error, envelope_id } => {
                if let Some(id) = &envelope_id {
                    self.send(&ack_frame(id));
                }
                let origin = Origin {
                    envelope_id,
                    ..Origin::default()
                };
                self.hand(Err(error), origin, None, times);
            }
        }
    }

    /// Slack wants to end the connection.
    fn leave(&mut self, reason: Reason) {
        match reason {
            Reason::Refresh(word) => {
                self.is_leaving = true;
                tracing::info!(
                    reason = word,
                    "Slack asks for a new Socket Mode connection in place of an old one"
                );
                if let Some(renewal) = self.ends.renewal.take() {
                    // The slot does not listen where it is about to end.
                    let _ = renewal.send(());
                }
            }
            Reason::TooMany => {
                self.own.is_one_too_many();
                self.end = Some(Outcome::Ended(too_many(&self.shared)));
            }
            Reason::LinkDisabled => self.end = Some(Outcome::Fatal(link_disabled())),
        }
    }

    fn envelope(&mut self, envelope: Envelope, times: ReadTimes) {
        let Envelope {
            event,
            origin,
            accepts_payload,
        } = envelope;
        let ack = origin.envelope_id.as_ref().and_then(|id| {
            if event.is_err() {
                self.send(&ack_frame(id));
                return None;
            }
            self.outstanding += 1;
            Some(Ack::of_envelope(
                id.clone(),
                accepts_payload,
                times.arrived + self.shared.config.ack_within,
                self.acked.clone(),
            ))
        });
        self.hand(event, origin, ack, times);
    }

    /// Hands out, now or when there is room.
    fn hand(
        &self,
        event: Result<Event, BadFrame>,
        origin: Origin,
        ack: Option<Ack>,
        times: ReadTimes,
    ) {
        let bytes = size_of_frame(&event);
        self.lane.push(frame(event, origin, ack, times), bytes);
    }

    fn send(&mut self, text: &str) {
        if let Err(lost) = self.socket.send_text(text) {
            self.end = Some(self.dead(&lost));
        }
    }

    /// Queues an acknowledgement and all that wait behind it; they go out together.
    fn send_acks(&mut self, first: SocketAck) -> Result<(), ConnectionLoss> {
        let mut next = Some(first);
        while let Some(ack) = next {
            self.outstanding = self.outstanding.saturating_sub(1);
            match ack {
                SocketAck::Frame(text) => self.socket.send_text(&text)?,
                SocketAck::Unused => {
                    tracing::debug!("an envelope is not acknowledged; Slack redelivers it");
                }
            }
            next = if self.socket.has_room() {
                self.acks.try_recv().ok()
            } else {
                None
            };
        }
        Ok(())
    }

    fn dead(&mut self, lost: &ConnectionLoss) -> Outcome {
        self.own.is_half_open =
            matches!(lost, ConnectionLoss::Silent(_) | ConnectionLoss::NotReading);
        Outcome::Ended(ConnectionEnd::dead(lost))
    }
}

/// The memory that a frame takes. A subtree holds the whole frame, which is a little longer than this.
fn size_of_frame(event: &Result<Event, BadFrame>) -> usize {
    event.as_ref().map_or(0, |event| event.raw().len()) + size_of::<Frame>()
}

fn frame(
    event: Result<Event, BadFrame>,
    origin: Origin,
    ack: Option<Ack>,
    times: ReadTimes,
) -> Incoming {
    Incoming::Frame(Frame {
        event,
        origin,
        ack,
        received: times.received,
        arrived: times.arrived,
    })
}

/// Drives a socket: with `reads` until something was read, else without reading, until it is lost.
async fn drive<S: AsyncRead + AsyncWrite>(
    socket: &mut Socket<S>,
    reads: bool,
) -> Result<ReadTimes, ConnectionLoss> {
    if !reads {
        return Err(socket.tend().await);
    }
    let (received, arrived) = socket.wait().await?;
    Ok(ReadTimes { received, arrived })
}
