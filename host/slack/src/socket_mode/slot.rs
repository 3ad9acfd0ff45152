//! A slot for one Socket Mode connection: it has one, or makes the next one, or does both for a moment.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::api::{ApiError, Class};
use crate::connection_end::{self, ConnectionEnd, Outcome, Pace};
use crate::socket_mode::connection::Connection;
use crate::socket_mode::health::OwnSocket;
use crate::socket_mode::life::{
    Greeting, LifeReport, ReadTimes, SlotSignals, link_disabled, too_many,
};
use crate::socket_mode::message::{self, Message, Reason};
use crate::socket_mode::shared::Shared;
use crate::ws::{self, Liveness, ServerMessage, Socket};

/// Keeps a connection in a slot of its own, until it is cancelled or no further attempt can succeed.
pub(super) async fn keep(shared: Arc<Shared>) -> Result<(), ApiError> {
    let each = &shared.config.each;
    let mut slot = Slot {
        pace: each.pace(),
        live: None,
        wait: Duration::ZERO,
        retired: JoinSet::new(),
        shared: Arc::clone(&shared),
    };
    let result = slot.cycle().await;
    // A connection that is still open has a socket to close.
    shared.cancel.cancel();
    if let Some(live) = slot.live {
        let _ = live.task.await;
    }
    while slot.retired.join_next().await.is_some() {}
    result
}

struct Slot {
    shared: Arc<Shared>,
    pace: Pace,
    live: Option<SlotConnection>,
    /// The wait before the next connection is made.
    wait: Duration,
    /// Connections that were replaced, and that end as soon as they can.
    retired: JoinSet<()>,
}

/// The connection in the slot.
struct SlotConnection {
    task: AbortOnDropHandle<LifeReport>,
    renewal: oneshot::Receiver<()>,
    retire: CancellationToken,
    began: Instant,
    /// Slack wants another one in its place.
    is_leaving: bool,
}

/// Whether there is anything left to do.
enum Next {
    GoOn,
    Stop,
}

/// A socket on which Slack has sent its first message.
struct OpenSocket {
    socket: Socket<reqwest::Upgraded>,
    own: OwnSocket,
    greeting: Greeting,
    /// When that was read. More may have come with it.
    times: ReadTimes,
}

impl Slot {
    async fn cycle(&mut self) -> Result<(), ApiError> {
        loop {
            if let Next::Stop = self.until_one_is_due().await? {
                return Ok(());
            }
            match self.make().await {
                Ok(greeted) => self.put(greeted),
                Err(Outcome::Stopped) => return Ok(()),
                Err(Outcome::Fatal(error)) => return Err(error),
                Err(Outcome::Ended(ended)) => {
                    self.wait = self.pace.retry_in(&ended);
                    let presence = &self.shared.presence;
                    presence.did_not_come(&ended.reason, self.wait).await;
                }
            }
        }
    }

    /// Waits until there is no connection, or the one that is there is to be replaced.
    async fn until_one_is_due(&mut self) -> Result<Next, ApiError> {
        let Some(live) = self.live.as_mut().filter(|live| !live.is_leaving) else {
            return Ok(Next::GoOn);
        };
        tokio::select! {
            life = &mut live.task => self.ended(life).await,
            // A connection that ends drops the sender without using it.
            Ok(()) = &mut live.renewal => {
                live.is_leaving = true;
                let ended = ConnectionEnd {
                    lived: live.began.elapsed(),
                    ..ConnectionEnd::leave("Slack wants another one")
                };
                self.wait = self.pace.retry_in(&ended);
                Ok(Next::GoOn)
            }
        }
    }

    /// Makes a connection. One that is to be replaced lives on meanwhile, for as long as it can.
    async fn make(&mut self) -> Result<OpenSocket, Outcome> {
        let shared = Arc::clone(&self.shared);
        let wait = std::mem::take(&mut self.wait);
        let making = async {
            tokio::select! {
                () = shared.cancel.cancelled() => return Err(Outcome::Stopped),
                () = async {
                    tokio::time::sleep(wait).await;
                    shared.turns.mine(shared.config.stagger).await;
                } => {}
            }
            open(&shared).await
        };
        tokio::pin!(making);
        loop {
            let Some(live) = &mut self.live else {
                return making.await;
            };
            tokio::select! {
                made = &mut making => return made,
                life = &mut live.task => match self.ended(life).await {
                    Ok(Next::GoOn) => {}
                    Ok(Next::Stop) => return Err(Outcome::Stopped),
                    Err(error) => return Err(Outcome::Fatal(error)),
                }
            }
        }
    }

    /// Puts a connection in the slot. The one that was there is to end once this one has arrived.
    fn put(&mut self, greeted: OpenSocket) {
        while self.retired.try_join_next().is_some() {}
        let (pull, renewal) = oneshot::channel();
        let retire = CancellationToken::new();
        let replaces = self.live.take().map(|old| {
            let guard = old.retire.clone().drop_guard();
            self.retired.spawn(rest(Arc::clone(&self.shared), old));
            guard
        });
        let ends = SlotSignals {
            renewal: Some(pull),
            retire: retire.clone(),
            replaces,
        };
        let OpenSocket {
            socket,
            own,
            greeting,
            times,
        } = greeted;
        let connection = Connection::new(Arc::clone(&self.shared), socket, own, ends);
        self.live = Some(SlotConnection {
            task: AbortOnDropHandle::new(tokio::spawn(connection.live(greeting, times))),
            renewal,
            retire,
            began: Instant::now(),
            is_leaving: false,
        });
    }

    /// The connection in the slot has ended.
    async fn ended(
        &mut self,
        life: Result<LifeReport, tokio::task::JoinError>,
    ) -> Result<Next, ApiError> {
        let is_replaced = self.live.take().is_some_and(|live| live.is_leaving);
        let LifeReport {
            outcome,
            had_arrived,
        } = life.unwrap_or_else(|why| LifeReport {
            outcome: Outcome::Ended(ConnectionEnd::because(format!("its task failed: {why}"))),
            had_arrived: true,
        });
        let ended = match outcome {
            Outcome::Stopped => return Ok(Next::Stop),
            Outcome::Fatal(error) => return Err(error),
            Outcome::Ended(ended) => ended,
        };
        // Its end was expected, and the next connection is being made.
        let retry_in = if is_replaced {
            Duration::ZERO
        } else {
            self.wait = self.pace.retry_in(&ended);
            self.wait
        };
        let presence = &self.shared.presence;
        if had_arrived {
            presence.left(&ended.reason, retry_in).await;
        } else {
            presence.did_not_come(&ended.reason, retry_in).await;
        }
        if ended.is_deaf && had_arrived {
            presence.was_deaf().await;
        }
        Ok(Next::GoOn)
    }
}

/// Waits for the end of a connection that was replaced.
async fn rest(shared: Arc<Shared>, old: SlotConnection) {
    let had_arrived = old.task.await.is_ok_and(|life| life.had_arrived);
    if had_arrived {
        let reason = "a connection was replaced, and the new one is gone too";
        shared.presence.left(reason, Duration::ZERO).await;
    }
}

/// Opens a connection, up to Slack's hello.
async fn open(shared: &Shared) -> Result<OpenSocket, Outcome> {
    let each = &shared.config.each;
    let open_by = Instant::now() + each.opening;
    let liveness = Liveness {
        ping_every: each.ping_every,
        silence: each.silence,
    };
    let connecting = async {
        let url = shared.app.connections_open().await.map_err(|error| {
            if let Class::RateLimited { retry_after } = error.class() {
                shared.turns.hold(retry_after);
            }
            connection_end::refused(error)
        })?;
        let own = shared.config.health.own();
        let socket = ws::connect(shared.app.http(), &url, each.max_frame_bytes, liveness)
            .await
            .map_err(|why| Outcome::Ended(ConnectionEnd::because(why.to_string())))?;
        Ok::<_, Outcome>((socket, own))
    };
    let (mut socket, mut own) = tokio::select! {
        () = shared.cancel.cancelled() => return Err(Outcome::Stopped),
        connected = tokio::time::timeout_at(open_by, connecting) => match connected {
            Ok(connected) => connected?,
            Err(_) => return Err(Outcome::Ended(ConnectionEnd::slow(each.opening))),
        },
    };
    match greet(shared, &mut socket, &mut own, open_by).await {
        Ok((greeting, times)) => Ok(OpenSocket {
            socket,
            own,
            greeting,
            times,
        }),
        Err(outcome) => {
            if !matches!(&outcome, Outcome::Ended(ended) if ended.is_dead) {
                socket.close().await;
            }
            Err(outcome)
        }
    }
}

/// Waits for the hello. Another message shows as well that Slack is there.
async fn greet<S>(
    shared: &Shared,
    socket: &mut Socket<S>,
    own: &mut OwnSocket,
    greeted_by: Instant,
) -> Result<(Greeting, ReadTimes), Outcome>
where
    S: AsyncRead + AsyncWrite,
{
    let dead = |lost| Outcome::Ended(ConnectionEnd::dead(&lost));
    loop {
        let (received, arrived) = tokio::select! {
            () = shared.cancel.cancelled() => return Err(Outcome::Stopped),
            more = socket.wait() => more.map_err(dead)?,
            () = tokio::time::sleep_until(greeted_by) => {
                return Err(Outcome::Ended(ConnectionEnd::mute(shared.config.each.opening)));
            }
        };
        let times = ReadTimes { received, arrived };
        let message = match socket.take().map_err(dead)? {
            Some(ServerMessage::Message(raw)) => message::read(raw),
            Some(ServerMessage::TooLong { length, head }) => {
                message::too_long(length, shared.config.each.max_frame_bytes, &head)
            }
            Some(ServerMessage::Close(code, words)) => {
                return Err(Outcome::Ended(ConnectionEnd::closed(code, &words)));
            }
            Some(ServerMessage::Ping(_) | ServerMessage::Pong(_)) | None => continue,
        };
        return match message {
            Message::Hello {
                num_connections,
                hello,
            } => {
                own.greeted(num_connections);
                Ok((Greeting::Hello(hello), times))
            }
            Message::Disconnect(Reason::LinkDisabled) => Err(Outcome::Fatal(link_disabled())),
            Message::Disconnect(Reason::TooMany) => {
                own.is_one_too_many();
                Err(Outcome::Ended(too_many(shared)))
            }
            Message::Disconnect(Reason::Refresh(word)) => {
                Err(Outcome::Ended(ConnectionEnd::leave(format!(
                    "Slack ended a connection that it had not greeted: {word}"
                ))))
            }
            other => {
                own.greeted(None);
                Ok((Greeting::Other(other), times))
            }
        };
    }
}
