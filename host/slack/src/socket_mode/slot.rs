//! The place of one Socket Mode connection: there is one in it, or the next one is being made, or both for a moment.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::api::{ApiError, Class};
use crate::ended::{self, Ended, Outcome, Pace};
use crate::socket_mode::connection::Connection;
use crate::socket_mode::health::OwnSocket;
use crate::socket_mode::life::{Ends, Life, Spoken, Times, link_disabled, too_many};
use crate::socket_mode::message::{self, Message, Reason};
use crate::socket_mode::shared::Shared;
use crate::ws::{self, Liveness, Received, Socket};

/// Keeps a connection in a place of its own until there is no sense in it any more.
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
    // What still lives has a socket to close.
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
    live: Option<Live>,
    /// What is to be waited before the next connection is made.
    wait: Duration,
    /// Those that another one stands in the place of, and that end as soon as they can.
    retired: JoinSet<()>,
}

/// The connection in the slot.
struct Live {
    task: AbortOnDropHandle<Life>,
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

/// A socket on which Slack has spoken.
struct Greeted {
    socket: Socket<reqwest::Upgraded>,
    own: OwnSocket,
    spoken: Spoken,
    /// When it spoke. More may have come with that.
    times: Times,
}

impl Slot {
    async fn cycle(&mut self) -> Result<(), ApiError> {
        loop {
            if let Next::Stop = self.until_one_is_due().await? {
                return Ok(());
            }
            match self.make().await? {
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
            // One that ends does so without pulling the string.
            Ok(()) = &mut live.renewal => {
                live.is_leaving = true;
                let ended = Ended {
                    lived: live.began.elapsed(),
                    ..Ended::leave("Slack wants another one")
                };
                self.wait = self.pace.retry_in(&ended);
                Ok(Next::GoOn)
            }
        }
    }

    /// Makes a connection. One that is to be replaced lives on meanwhile, for as long as it can.
    async fn make(&mut self) -> Result<Result<Greeted, Outcome>, ApiError> {
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
                return Ok(making.await);
            };
            tokio::select! {
                made = &mut making => return Ok(made),
                life = &mut live.task => if let Next::Stop = self.ended(life).await? {
                    return Ok(Err(Outcome::Stopped));
                }
            }
        }
    }

    /// Puts a connection in the slot. The one that was there is to end once this one has arrived.
    fn put(&mut self, greeted: Greeted) {
        while self.retired.try_join_next().is_some() {}
        let (pull, renewal) = oneshot::channel();
        let retire = CancellationToken::new();
        let replaces = self.live.take().map(|old| {
            let guard = old.retire.clone().drop_guard();
            self.retired.spawn(rest(Arc::clone(&self.shared), old));
            guard
        });
        let ends = Ends {
            renewal: Some(pull),
            retire: retire.clone(),
            replaces,
        };
        let Greeted {
            socket,
            own,
            spoken,
            times,
        } = greeted;
        let connection = Connection::new(Arc::clone(&self.shared), socket, own, ends);
        self.live = Some(Live {
            task: AbortOnDropHandle::new(tokio::spawn(connection.live(spoken, times))),
            renewal,
            retire,
            began: Instant::now(),
            is_leaving: false,
        });
    }

    /// The connection in the slot has ended.
    async fn ended(
        &mut self,
        life: Result<Life, tokio::task::JoinError>,
    ) -> Result<Next, ApiError> {
        let is_replaced = self.live.take().is_some_and(|live| live.is_leaving);
        let Life {
            outcome,
            had_arrived,
        } = life.unwrap_or_else(|why| Life {
            outcome: Outcome::Ended(Ended::because(format!("its task failed: {why}"))),
            had_arrived: true,
        });
        let ended = match outcome {
            Outcome::Stopped => return Ok(Next::Stop),
            Outcome::Fatal(error) => return Err(error),
            Outcome::Ended(ended) => ended,
        };
        // That it would end was known, and the next one is being made.
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

/// The rest of the life of a connection that was replaced.
async fn rest(shared: Arc<Shared>, old: Live) {
    let had_arrived = old.task.await.is_ok_and(|life| life.had_arrived);
    if had_arrived {
        let reason = "a connection was replaced, and the new one is gone too";
        shared.presence.left(reason, Duration::ZERO).await;
    }
}

/// Opens a connection, up to Slack's hello.
async fn open(shared: &Shared) -> Result<Greeted, Outcome> {
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
            ended::refused(error)
        })?;
        let own = shared.config.health.own();
        let socket = ws::connect(shared.app.http(), &url, each.max_frame_bytes, liveness)
            .await
            .map_err(|why| Outcome::Ended(Ended::because(why.to_string())))?;
        Ok::<_, Outcome>((socket, own))
    };
    let (mut socket, mut own) = tokio::select! {
        () = shared.cancel.cancelled() => return Err(Outcome::Stopped),
        connected = tokio::time::timeout_at(open_by, connecting) => match connected {
            Ok(connected) => connected?,
            Err(_) => return Err(Outcome::Ended(Ended::slow(each.opening))),
        },
    };
    match greet(shared, &mut socket, &mut own, open_by).await {
        Ok((spoken, times)) => Ok(Greeted {
            socket,
            own,
            spoken,
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

/// Waits for the hello. A Slack that says something else is there too.
async fn greet<S>(
    shared: &Shared,
    socket: &mut Socket<S>,
    own: &mut OwnSocket,
    greeted_by: Instant,
) -> Result<(Spoken, Times), Outcome>
where
    S: AsyncRead + AsyncWrite,
{
    let dead = |lost| Outcome::Ended(Ended::dead(&lost));
    loop {
        let (received, arrived) = tokio::select! {
            () = shared.cancel.cancelled() => return Err(Outcome::Stopped),
            more = socket.wait() => more.map_err(dead)?,
            () = tokio::time::sleep_until(greeted_by) => {
                return Err(Outcome::Ended(Ended::mute(shared.config.each.opening)));
            }
        };
        let times = Times { received, arrived };
        let message = match socket.take().map_err(dead)? {
            Some(Received::Message(raw)) => message::read(raw),
            Some(Received::TooLong { length, head }) => {
                message::too_long(length, shared.config.each.max_frame_bytes, &head)
            }
            Some(Received::Close(code, words)) => {
                return Err(Outcome::Ended(Ended::closed(code, &words)));
            }
            Some(Received::Ping(_) | Received::Pong(_)) | None => continue,
        };
        return match message {
            Message::Hello {
                num_connections,
                hello,
            } => {
                own.greeted(num_connections);
                Ok((Spoken::Hello(hello), times))
            }
            Message::Disconnect(Reason::LinkDisabled) => Err(Outcome::Fatal(link_disabled())),
            Message::Disconnect(Reason::TooMany) => {
                own.is_one_too_many();
                Err(Outcome::Ended(too_many(shared)))
            }
            Message::Disconnect(Reason::Refresh(word)) => Err(Outcome::Ended(Ended::leave(
                format!("Slack ended a connection that it had not greeted: {word}"),
            ))),
            other => {
                own.greeted(None);
                Ok((Spoken::Other(other), times))
            }
        };
    }
}
