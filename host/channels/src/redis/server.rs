//! One Redis server, and the connection to it: made when it is needed, shared by all callers, replaced when it breaks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use djangobot_event::lock::lock;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError,
    RedisResult, ServerErrorKind, Value,
};

use crate::config::{Endpoint, Host, LoginSource, RedisConfig};
use crate::layer::LayerError;
use crate::redis::client::{command, is_barred, multiplexed, settings, within};
use crate::redis::link::{Failure, Link, SharedConnection, rest};
use crate::redis::refusal::{ends_connection, kind_of};
use crate::redis::script::Script;
use crate::redis::sentinel;
use crate::refusal::RefusalKind;
use crate::stream::Stream;
use crate::tls::TlsError;
use crate::tls::mismatch::instead_of_plain;
use crate::{score, tls};

/// One server and the connection to it that all callers share.
///
/// Calls overlap: each command is written at once, and no lock is held while its answer is awaited.
#[derive(Debug)]
pub(crate) struct Server {
    host: Host,
    address: String,
    /// The source of newer credentials, if there is one.
    credentials: Option<HostCredentials>,
    link: Mutex<Link>,
    /// Locked by the one caller that connects. The others wait for its result.
    connecting: tokio::sync::Mutex<()>,
    clock: Mutex<Option<ClockReading>>,
    /// Whether it refuses to run scripts by their hash, so that each has to be sent whole.
    only_whole_scripts: AtomicBool,
}

/// A source of credentials, and the index by which it knows this host.
#[derive(Debug)]
pub(crate) struct HostCredentials {
    pub(crate) host: usize,
    pub(crate) source: Arc<dyn LoginSource>,
}

/// A connection that its caller owns.
pub(crate) struct OwnConnection {
    pub(crate) connection: MultiplexedConnection,
    /// Whether the server can push messages over it, which needs RESP3.
    pub(crate) has_pushes: bool,
}

/// The server's time at one moment. The moment is an [`Instant`], so a change of our own clock does no harm.
#[derive(Debug, Clone, Copy)]
struct ClockReading {
    unix_seconds: f64,
    at: Instant,
}

impl Server {
    /// The servers of a layer. None is connected yet.
    pub(crate) fn all(config: &RedisConfig) -> Vec<Arc<Self>> {
        let hosts = config.hosts.iter().enumerate();
        hosts
            .map(|(nth, host)| {
                let source = config.credentials.clone();
                let credentials = source.map(|source| HostCredentials { host: nth, source });
                Arc::new(Self::new(host.clone(), credentials))
            })
            .collect()
    }

    pub(crate) fn new(host: Host, credentials: Option<HostCredentials>) -> Self {
        Self {
            address: host.to_string(),
            host,
            credentials,
            link: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            clock: Mutex::default(),
            only_whole_scripts: AtomicBool::new(false),
        }
    }

    /// The address, without a password.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether it failed a moment ago, so that another server is the better choice.
    pub(crate) fn is_resting(&self) -> bool {
        let link = self.link();
        let rest = rest(link.hangs);
        link.failure
            .as_ref()
            .is_some_and(|failure| failure.at.elapsed() < rest)
    }

    /// Whether the last call or attempt ended because the server did not answer in time.
    pub(crate) fn hangs(&self) -> bool {
        self.link().hangs > 0
    }

    pub(crate) async fn command(&self, cmd: &Cmd) -> Result<Value, LayerError> {
        let SharedConnection {
            mut connection,
            generation,
        } = self.connection().await?;
        let answer = command(&mut connection, cmd).await;
        answer.map_err(|error| self.note_error(generation, &error))
    }

    /// The connection that all callers share.
    pub(crate) async fn shared_connection(&self) -> Result<MultiplexedConnection, LayerError> {
        Ok(self.connection().await?.connection)
    }

    /// Runs a pipeline, which is written at once; the answers come in its order.
    pub(crate) async fn pipeline(
        &self,
        pipeline: &redis::Pipeline,
    ) -> Result<Vec<Value>, LayerError> {
        let SharedConnection {
            mut connection,
            generation,
        } = self.connection().await?;
        let answers = connection
            .send_packed_commands(pipeline, 0, pipeline.len())
            .await;
        let answers =
            answers.and_then(|answers| answers.into_iter().map(Value::extract_error).collect());
        answers.map_err(|error| self.note_error(generation, &error))
    }

    pub(crate) async fn script(
        &self,
        script: &Script,
        fill: &(dyn Fn(&mut Cmd) + Sync),
    ) -> Result<Value, LayerError> {
        let SharedConnection {
            mut connection,
            generation,
        } = self.connection().await?;
        let answer = self.run(script, &mut connection, fill).await;
        answer.map_err(|error| self.note_error(generation, &error))
    }

    /// Runs a script on `connection`, which leads to this server. `fill` writes the number of keys, the keys and the
    /// arguments.
    pub(crate) async fn run(
        &self,
        script: &Script,
        connection: &mut MultiplexedConnection,
        fill: &(dyn Fn(&mut Cmd) + Sync),
    ) -> RedisResult<Value> {
        if !self.only_whole_scripts.load(Ordering::Relaxed) {
            let mut cmd = redis::cmd("EVALSHA");
            fill(cmd.arg(script.hash()));
            let error = match command(connection, &cmd).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_unknown = error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
            let may_be_forbidden = matches!(
                kind_of(&error),
                Some(RefusalKind::Permission | RefusalKind::UnknownCommand)
            );
            if !is_unknown && !may_be_forbidden {
                return Err(error);
            }
            // channels_redis sends its scripts whole, so a server that serves it allows EVAL, though perhaps not
            // EVALSHA.
            let mut cmd = redis::cmd("EVAL");
            fill(cmd.arg(script.text()));
            let answer = command(connection, &cmd).await;
            if may_be_forbidden && answer.is_ok() {
                self.only_whole_scripts.store(true, Ordering::Relaxed);
            }
            return answer;
        }
        let mut cmd = redis::cmd("EVAL");
        fill(cmd.arg(script.text()));
        command(connection, &cmd).await
    }

    /// Checks that the server answers. A refusal of PING counts as an answer, because access rules may forbid it.
    pub(crate) async fn ping(&self) -> Result<(), LayerError> {
        match self.command(&redis::cmd("PING")).await {
            Ok(_) => {}
            Err(error) if is_barred(&error) => {}
            Err(error) => return Err(error),
        }
        let mut connection = self.connection().await?.connection;
        self.read_clock(&mut connection).await;
        Ok(())
    }

    /// Unix time in seconds: the server's time when we last read it, plus the time since; our own time if the server
    /// does not report it. Connects first if there never was a connection.
    pub(crate) async fn now(&self) -> Result<f64, LayerError> {
        if let Some(now) = self.time() {
            return Ok(now);
        }
        self.connection().await?;
        Ok(self.time().unwrap_or_else(score::now))
    }

    /// As [`Server::now`], or `None` if the server's time has not been read.
    pub(crate) fn time(&self) -> Option<f64> {
        let clock = *lock(&self.clock);
        clock.map(|reading| reading.unix_seconds + reading.at.elapsed().as_secs_f64())
    }

    pub(crate) async fn read_clock(&self, connection: &mut MultiplexedConnection) {
        match command(connection, &redis::cmd("TIME")).await {
            Ok(answer) => {
                if let Ok((seconds, micros)) = redis::from_redis_value::<(u64, u32)>(answer) {
                    let unix_seconds = seconds as f64 + f64::from(micros) / 1e6;
                    let mut clock = lock(&self.clock);
                    *clock = Some(ClockReading {
                        unix_seconds,
                        at: Instant::now(),
                    });
                }
            }
            // If TIME is forbidden, our own time serves. If the connection is lost, the next call finds that out.
            Err(error) => {
                tracing::debug!(%error, "the server did not answer TIME; djangobot's own clock is used")
            }
        }
    }

    pub(crate) fn close(&self) {
        let mut link = self.link();
        link.closed = true;
        link.connection = None;
    }

    /// The shared connection. It is made first if there is none.
    async fn connection(&self) -> Result<SharedConnection, LayerError> {
        if let Some(found) = self.existing()? {
            return Ok(found);
        }
        let began = Instant::now();
        let _turn = self.connecting.lock().await;
        if let Some(found) = self.existing()? {
            return Ok(found);
        }
        // Callers that waited for a failed attempt share its failure, instead of making one attempt each in turn.
        if let Some(failure) = &self.link().failure
            && failure.at > began
        {
            return Err(failure.error.clone());
        }
        let broken = Arc::new(AtomicBool::new(false));
        let noticed = broken.clone();
        let push = move |info: PushInfo| {
            if info.kind == PushKind::Disconnection {
                noticed.store(true, Ordering::Relaxed);
            }
        };
        let attempt = Instant::now();
        let mut made = self.connect(push).await;
        if let Ok(made) = &mut made {
            self.read_clock(&mut made.connection).await;
        }
        let mut link = self.link();
        if link.closed {
            return Err(LayerError::Closed);
        }
        match made {
            Ok(OwnConnection { connection, .. }) => {
                link.generation += 1;
                link.broken = broken;
                link.failure = None;
                link.hangs = 0;
                link.connection = Some(connection.clone());
                Ok(SharedConnection {
                    connection,
                    generation: link.generation,
                })
            }
            Err(error) => {
                link.failure = Some(Failure {
                    at: Instant::now(),
                    error: error.clone(),
                });
                link.count_hang(attempt.elapsed() >= self.host.connect_timeout);
                Err(error)
            }
        }
    }

    fn existing(&self) -> Result<Option<SharedConnection>, LayerError> {
        let link = self.link();
        if link.closed {
            return Err(LayerError::Closed);
        }
        if link.broken.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let generation = link.generation;
        Ok(link.connection.clone().map(|connection| SharedConnection {
            connection,
            generation,
        }))
    }

    /// Notes an error of the connection with number `generation`, and drops the connection if it is of no more use.
    fn note_error(&self, generation: u64, error: &RedisError) -> LayerError {
        let explained = self.explain(error);
        let mut link = self.link();
        if link.generation == generation && ends_connection(error) {
            link.connection = None;
            link.failure = Some(Failure {
                at: Instant::now(),
                error: explained.clone(),
            });
            link.count_hang(error.is_timeout());
        }
        explained
    }

    /// Opens a connection that the caller owns. If it speaks RESP3, `push` gets the messages that the server pushes.
    /// Redis before 6, and some proxies, speak only RESP2.
    pub(crate) async fn connect(
        &self,
        push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<OwnConnection, LayerError> {
        let push = Arc::new(push);
        self.with_newer_login(|| self.connect_once(push.clone()))
            .await
    }

    /// Connects. If the server refuses our credentials and there are newer ones, connects once more with those.
    async fn with_newer_login<T, F: Future<Output = Result<T, LayerError>>>(
        &self,
        connect: impl Fn() -> F,
    ) -> Result<T, LayerError> {
        let began = Instant::now();
        let error = match connect().await {
            Err(error) if error.refusal() == Some(RefusalKind::Credentials) => error,
            made => return made,
        };
        let Some(credentials) = &self.credentials else {
            return Err(error);
        };
        match credentials.source.newer(credentials.host, began).await {
            Some(login) => {
                self.link().login = Some(login);
                connect().await
            }
            None => Err(error),
        }
    }

    async fn connect_once(
        &self,
        push: Arc<impl Fn(PushInfo) + Send + Sync + 'static>,
    ) -> Result<OwnConnection, LayerError> {
        let host = self.target().await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(host.connect_timeout))
            .set_response_timeout(Some(host.response_timeout));
        let with_pushes = config.clone().set_push_sender(move |info| {
            push(info);
            Ok::<(), std::convert::Infallible>(())
        });
        let attempt = async |protocol, config| {
            multiplexed(&host, protocol, config, host.connect_timeout).await
        };
        match attempt(ProtocolVersion::RESP3, &with_pushes).await {
            Ok(connection) => Ok(OwnConnection {
                connection,
                has_pushes: true,
            }),
            Err(error) if self.explain(&error).is_temporary() => Err(self.explain(&error)),
            Err(_) => {
                let made = attempt(ProtocolVersion::RESP2, &config).await;
                made.map(|connection| OwnConnection {
                    connection,
                    has_pushes: false,
                })
                .map_err(|error| self.explain(&error))
            }
        }
    }

    /// Opens a connection that only receives published messages.
    pub(crate) async fn subscriber(&self) -> Result<redis::aio::PubSub, LayerError> {
        self.with_newer_login(|| self.subscriber_once()).await
    }

    async fn subscriber_once(&self) -> Result<redis::aio::PubSub, LayerError> {
        let host = self.target().await?;
        let made = within(host.connect_timeout, async {
            let stream = Stream::connect(&host).await?;
            let settings = settings(&host, ProtocolVersion::RESP2);
            let made = redis::aio::PubSub::new(&settings, stream).await;
            instead_of_plain(&host, made).await
        });
        made.await.map_err(|error| self.explain(&error))
    }

    /// Waits for an answer that the client library waits for without a limit of its own.
    pub(crate) async fn answered<T>(
        &self,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, LayerError> {
        match tokio::time::timeout(self.host.response_timeout, answer).await {
            Ok(answer) => answer.map_err(|error| self.explain(&error)),
            Err(_) => {
                Err(self.unavailable(format!("no answer within {:?}", self.host.response_timeout)))
            }
        }
    }

    /// The server to connect to: the configured one, or the master that the Sentinels name now.
    async fn target(&self) -> Result<Host, LayerError> {
        let host = match &self.link().login {
            Some(login) => login.at(&self.host),
            None => self.host.clone(),
        };
        match &host.endpoint {
            Endpoint::Sentinel { sentinels, master } => {
                let found = sentinel::master(sentinels, master).await;
                let endpoint = found.map_err(|no_master| match no_master.wants_login {
                    true => LayerError::Refused {
                        address: self.address.clone(),
                        reason: no_master.reason,
                        kind: RefusalKind::Credentials,
                    },
                    false => self.unavailable(no_master.reason),
                })?;
                Ok(Host { endpoint, ..host })
            }
            _ => Ok(host),
        }
    }

    pub(crate) fn unavailable(&self, reason: String) -> LayerError {
        LayerError::Unavailable {
            address: self.address.clone(),
            reason,
        }
    }

    /// Turns an error of the client library into one of the layer.
    pub(crate) fn explain(&self, error: &RedisError) -> LayerError {
        let address = self.address.clone();
        if let Some(TlsError { kind, reason }) = tls::failure(error) {
            return LayerError::Tls {
                address,
                reason,
                kind,
            };
        }
        let reason = error.to_string();
        match kind_of(error) {
            Some(kind) => LayerError::Refused {
                address,
                reason,
                kind,
            },
            None => LayerError::Unavailable { address, reason },
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        lock(&self.link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_that_quotes_bytes_is_shown_and_breaks_no_connection() {
        let redis = djangobot_tests::Redis::start();
        let server = Server::new(Host::tcp("127.0.0.1", redis.port()), None);
        server.ping().await.unwrap();
        let before = server.link().generation;
        let mut odd = redis::cmd("NOSUCH");
        odd.arg(b"\xff\x00\xfe");
        let error = server.command(&odd).await.unwrap_err();
        assert_eq!(
            error.refusal(),
            Some(RefusalKind::UnknownCommand),
            "{error}"
        );
        assert!(error.to_string().contains("\\xff"), "{error}");
        server.ping().await.unwrap();
        assert_eq!(
            server.link().generation,
            before,
            "the connection is the same"
        );
    }
}
