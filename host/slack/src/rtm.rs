//! The Real-Time Messaging connection: one WebSocket, kept for as long as its token is good.

use std::time::{Duration, Instant, SystemTime};

use djangobot_event::Event;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::{RtmSession, WebApi};
use crate::connection_end::{ConnectionEnd, Outcome, Pace, refused};
use crate::transport::{BadFrame, Fatal, Frame, Incoming, Origin, Session};
use crate::ws::{self, Liveness, ServerMessage, Socket};

/// How an RTM connection is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How often we ping (WebSocket pings).
    pub ping_every: Duration,
    /// A connection on which nothing at all arrived for this long is replaced.
    pub silence: Duration,
    /// How long it may take to open a connection, from the call that asks for its URL to Slack's `hello`.
    pub opening: Duration,
    /// The wait after a first failure; it doubles with each further one, and is jittered down to its half.
    pub backoff_first: Duration,
    /// The longest wait between two attempts; only Slack's own `Retry-After` can be longer.
    pub backoff_max: Duration,
    /// A connection that lived this long was a success: the next one is tried without a growing wait.
    pub stable_after: Duration,
    /// Longer frames are skipped and reported as [`BadFrame::TooLong`]; in bytes.
    pub max_frame_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            ping_every: Duration::from_secs(8),
            silence: Duration::from_secs(25),
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(10),
            opening: Duration::from_secs(15),
            stable_after: Duration::from_secs(20),
            max_frame_bytes: 16 << 20,
        }
    }
}

impl Config {
    /// The waits between connections.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(self.backoff_first, self.backoff_max, self.stable_after)
    }
}

/// Keeps an RTM connection open, and sends everything that happens on it to `out`.
///
/// It returns `Ok` when `cancel` fired (the socket is closed properly first) or the receiver of `out` is gone, and
/// retries everything but a [`Fatal`] error for ever.
///
/// # Errors
/// A [`Fatal`] error, which no further attempt can heal.
///
/// Pongs, acks (`reply_to`) and `reconnect_url` are the connection's own and don't come out; all other frames do, known
/// or not. While `out` is full, nothing is read from Slack.
pub async fn run(
    api: WebApi,
    config: Config,
    out: mpsc::Sender<Incoming>,
    cancel: CancellationToken,
) -> Result<(), Fatal> {
    let mut pace = config.pace();
    loop {
        let connection = Connection {
            api: &api,
            config: &config,
            out: &out,
            cancel: &cancel,
        };
        let ended = match connection.live().await {
            Outcome::Stopped => return Ok(()),
            Outcome::Fatal(error) => return Err(Fatal(error)),
            Outcome::Ended(ended) => ended,
        };
        let retry_in = pace.retry_in(&ended);
        let reason = ended.reason;
        tracing::warn!(
            reason,
            retry_in_ms = retry_in.as_millis() as u64,
            "disconnected from Slack"
        );
        if !connection
            .tell(Incoming::Disconnected { reason, retry_in })
            .await
        {
            return Ok(());
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(retry_in) => {}
        }
    }
}

/// The parts that one attempt to connect needs.
#[derive(Clone, Copy)]
struct Connection<'a> {
    api: &'a WebApi,
    config: &'a Config,
    out: &'a mpsc::Sender<Incoming>,
    cancel: &'a CancellationToken,
}

/// Whether Slack has said hello, with which the session begins.
enum Greeting {
    /// Not yet; the session is announced once it does.
    Awaited(Session),
    Came(Instant),
}

/// The meaning of a frame for the connection that it came on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It is for others.
    Event,
    /// The session has begun. For others too.
    Hello,
    /// It is ours alone.
    Ours,
    /// For others too, but no more will come: reconnect.
    Leave(&'static str),
    /// Slack complains. For others too, and fatal to a connection that has not seen its hello.
    Error,
}

impl Connection<'_> {
    /// Connects, and lives on the connection until it ends.
    async fn live(&self) -> Outcome {
        let connecting = async {
            let session = self.api.rtm_connect().await.map_err(refused)?;
            let liveness = Liveness {
                ping_every: self.config.ping_every,
                silence: self.config.silence,
            };
            let opening = ws::connect(
                self.api.http(),
                &session.url,
                self.config.max_frame_bytes,
                liveness,
            );
            let socket = opening
                .await
                .map_err(|why| Outcome::Ended(ConnectionEnd::because(why.to_string())))?;
            Ok::<_, Outcome>((session, socket))
        };
        let open_by = tokio::time::Instant::now() + self.config.opening;
        let (session, mut socket) = tokio::select! {
            () = self.cancel.cancelled() => return Outcome::Stopped,
            connected = tokio::time::timeout_at(open_by, connecting) => match connected {
                Ok(Ok(connected)) => connected,
                Ok(Err(outcome)) => return outcome,
                Err(_) => return Outcome::Ended(ConnectionEnd::slow(self.config.opening)),
            },
        };
        let mut greeting = Greeting::Awaited(session.into());
        let mut outcome = self.read(&mut socket, &mut greeting, open_by).await;
        if let Outcome::Ended(ended) = &mut outcome {
            if let Greeting::Came(at) = greeting {
                ended.lived = at.elapsed();
            }
            if ended.is_dead {
                return outcome;
            }
        }
        socket.close().await;
        outcome
    }

    /// Reads frames until the connection ends. A connection without Slack's hello counts as one that could not be made.
    async fn read<S>(
        &self,
        socket: &mut Socket<S>,
        greeting: &mut Greeting,
        greeted_by: tokio::time::Instant,
    ) -> Outcome
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
    {
        let mut end = None;
        loop {
            let (received, arrived) = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Outcome::Stopped,
                more = socket.wait() => match more {
                    Ok(times) => times,
                    Err(lost) => return Outcome::Ended(ConnectionEnd::dead(&lost)),
                },
                () = tokio::time::sleep_until(greeted_by), if greeting.is_awaited() => {
                    return Outcome::Ended(ConnectionEnd::mute(self.config.opening));
                }
            };
            loop {
                let event = match socket.take() {
                    Ok(Some(ServerMessage::Message(raw))) => Event::parse(raw.clone())
                        .map_err(|error| BadFrame::Unreadable { raw, error }),
                    Ok(Some(ServerMessage::TooLong { length, .. })) => Err(BadFrame::TooLong {
                        length,
                        limit: self.config.max_frame_bytes,
                    }),
                    Ok(Some(ServerMessage::Ping(_) | ServerMessage::Pong(_))) => continue,
                    Ok(None) => break,
                    // Slack's last frame says more about the reason than the close itself.
                    Ok(Some(ServerMessage::Close(code, words))) => {
                        end.get_or_insert_with(|| ConnectionEnd::closed(code, &words));
                        break;
                    }
                    Err(lost) => {
                        end.get_or_insert_with(|| ConnectionEnd::dead(&lost));
                        break;
                    }
                };
                match event.as_ref().map_or(Meaning::Event, meaning) {
                    Meaning::Event => {}
                    Meaning::Ours => continue,
                    Meaning::Hello => {
                        if let Some(session) = greeting.came()
                            && !self.connected(session).await
                        {
                            return Outcome::Stopped;
                        }
                    }
                    Meaning::Leave(why) => end = Some(ConnectionEnd::leave(why)),
                    Meaning::Error => {
                        complain(&event);
                        if greeting.is_awaited() {
                            end = Some(ConnectionEnd::leave("Slack did not accept the connection"));
                        }
                    }
                }
                if !self.frame(event, received, arrived).await {
                    return Outcome::Stopped;
                }
            }
            if let Some(end) = end {
                return Outcome::Ended(end);
            }
        }
    }

    /// Announces that a session has begun; false when nobody waits for it any more.
    async fn connected(&self, session: Session) -> bool {
        tracing::info!(
            team = session.team_name,
            user = session.self_name,
            "connected to Slack"
        );
        self.tell(Incoming::Connected(session)).await
    }

    async fn frame(
        &self,
        event: Result<Event, BadFrame>,
        received: SystemTime,
        arrived: Instant,
    ) -> bool {
        let incoming = Incoming::Frame(Frame {
            event,
            origin: Origin::default(),
            ack: None,
            received,
            arrived,
        });
        match self.out.try_send(incoming) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(incoming)) => self.tell(incoming).await,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Hands a frame out; false when nobody waits for it any more.
    async fn tell(&self, incoming: Incoming) -> bool {
        tokio::select! {
            sent = self.out.send(incoming) => sent.is_ok(),
            () = self.cancel.cancelled() => false,
        }
    }
}

impl Greeting {
    fn is_awaited(&self) -> bool {
        matches!(self, Greeting::Awaited(_))
    }

    /// Notes the hello, and gives the session that it begins; `None` when it had begun.
    fn came(&mut self) -> Option<Session> {
        if !self.is_awaited() {
            return None;
        }
        match std::mem::replace(self, Greeting::Came(Instant::now())) {
            Greeting::Awaited(session) => Some(session),
            Greeting::Came(_) => None,
        }
    }
}

/// Reads the meaning of a frame from its `type`. Acks have `reply_to` in its place.
pub(crate) fn meaning(event: &Event) -> Meaning {
    match event.text("/type").as_deref() {
        Some("hello") => Meaning::Hello,
        Some("goodbye") => Meaning::Leave("Slack said goodbye"),
        Some("team_migration_started") => {
            Meaning::Leave("Slack moves the workspace to another server")
        }
        Some("error") => Meaning::Error,
        Some("pong" | "reconnect_url") => Meaning::Ours,
        None if event.field("type").is_none() && event.field("reply_to").is_some() => Meaning::Ours,
        _ => Meaning::Event,
    }
}

fn complain(event: &Result<Event, BadFrame>) {
    if let Ok(event) = event {
        let code = event.get("/error/code").and_then(|code| code.as_i64());
        tracing::warn!(
            code,
            message = event.text("/error/msg").as_deref(),
            "Slack sent an error frame"
        );
    }
}

impl From<RtmSession> for Session {
    fn from(RtmSession { me, team, .. }: RtmSession) -> Self {
        Session {
            self_id: me.id,
            self_name: me.name,
            team_id: team.id,
            team_name: team.name,
            team_domain: team.domain,
        }
    }
}

#[cfg(test)]
mod tests;
