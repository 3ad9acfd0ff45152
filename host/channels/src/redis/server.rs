//! Connections to one Redis server: made when needed, shared by all callers, replaced when they break.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError,
    RedisResult, ServerErrorKind, Value,
};

use crate::config::{Endpoint, Host, Login, LoginSource, RedisConfig};
use crate::layer::LayerError;
use crate::redis::client::{command, is_barred, multiplexed, settings, within};
use crate::redis::refusal::{ends_connection, kind_of};
use crate::redis::script::Script;
use crate::redis::sentinel;
use crate::refusal::RefusalKind;
use crate::stream::Stream;
use crate::tls::mismatch::instead_of_plain;
use crate::{score, tls};

/// How long a server that failed is passed over where another can be used instead. One that hangs
/// costs the caller who asks it again a whole timeout: so it rests twice as long each time, at most [`LONG_REST`].
const REST: Duration = Duration::from_secs(1);

/// The longest rest of a server that hangs.
const LONG_REST: Duration = Duration::from_secs(60);

/// One server and the connection to it that all callers share.
///
/// Calls overlap: each is written at once and its answer awaited, with no lock held meanwhile.
#[derive(Debug)]
pub(crate) struct Server {
    host: Host,
    address: String,
    /// Whom to ask for credentials, and as which of the layer's hosts.
    credentials: Option<(usize, Arc<dyn LoginSource>)>,
    link: Mutex<Link>,
    /// Held by the one caller that connects; the others wait for what it finds.
    connecting: tokio::sync::Mutex<()>,
    /// What its clock showed, and when we heard of that: a clock that is set moves no [`Instant`].
    clock: Mutex<Option<(f64, Instant)>>,
    /// Whether it lets nobody run a script by its hash.
    only_whole_scripts: AtomicBool,
}

#[derive(Debug, Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    /// Set when the server closes that connection (where RESP3 lets us know), so that the next call
    /// makes a new one, and does not fail for nothing.
    broken: Arc<AtomicBool>,
    /// Counts the connections, so that a late error of an old one does not end the new one.
    generation: u64,
    failed: Option<(Instant, LayerError)>,
    /// How many times in a row it did not answer in time; 0 where it failed in another way or works.
    hangs: u32,
    closed: bool,
    /// What took the place of the host's own user and password.
    login: Option<Login>,
}

impl Link {
    fn count_hang(&mut self, hung: bool) {
        self.hangs = if hung {
            self.hangs.saturating_add(1)
        } else {
            0
        };
    }
}

/// How long a server rests that hung so many times in a row.
fn rest(hangs: u32) -> Duration {
    (REST * 2_u32.saturating_pow(hangs.min(16))).min(LONG_REST)
}

impl Server {
    /// A layer's servers, none of them connected to yet.
    pub(crate) fn all(config: &RedisConfig) -> Vec<Arc<Self>> {
        let hosts = config.hosts.iter().enumerate();
        hosts
            .map(|(nth, host)| {
                let credentials = config.credentials.clone().map(|it| (nth, it));
                Arc::new(Self::new(host.clone(), credentials))
            })
            .collect()
    }

    pub(crate) fn new(host: Host, credentials: Option<(usize, Arc<dyn LoginSource>)>) -> Self {
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
        link.failed
            .as_ref()
            .is_some_and(|(at, _)| at.elapsed() < rest)
    }

    /// Whether the last that was heard of it is that it did not answer in time.
    pub(crate) fn hangs(&self) -> bool {
        self.link().hangs > 0
    }

    pub(crate) async fn command(&self, cmd: &Cmd) -> Result<Value, LayerError> {
        let (mut connection, generation) = self.connection().await?;
        let answer = command(&mut connection, cmd).await;
        answer.map_err(|error| self.failed(generation, &error))
    }

    /// The connection that all callers share.
    pub(crate) async fn shared_connection(&self) -> Result<MultiplexedConnection, LayerError> {
        Ok(self.connection().await?.0)
    }

    /// Runs a pipeline, which is written in one go; the answers come in its order.
    pub(crate) async fn pipeline(
        &self,
        pipeline: &redis::Pipeline,
    ) -> Result<Vec<Value>, LayerError> {
        let (mut connection, generation) = self.connection().await?;
        let answers = connection
            .send_packed_commands(pipeline, 0, pipeline.len())
            .await;
        let answers =
            answers.and_then(|answers| answers.into_iter().map(Value::extract_error).collect());
        answers.map_err(|error| self.failed(generation, &error))
    }

    pub(crate) async fn script(
        &self,
        script: &Script,
        fill: &(dyn Fn(&mut Cmd) + Sync),
    ) -> Result<Value, LayerError> {
        let (mut connection, generation) = self.connection().await?;
        let answer = self.run(script, &mut connection, fill).await;
        answer.map_err(|error| self.failed(generation, &error))
    }

    /// Runs a script on `connection`, which is one to this server; `fill` writes the number of keys, the keys and the
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
            let is_forgotten = error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
            let may_be_barred = matches!(
                kind_of(&error),
                Some(RefusalKind::Permission | RefusalKind::UnknownCommand)
            );
            if !is_forgotten && !may_be_barred {
                return Err(error);
            }
            // channels_redis sends its scripts whole, so that alone has to be allowed.
            let mut cmd = redis::cmd("EVAL");
            fill(cmd.arg(script.text()));
            let answer = command(connection, &cmd).await;
            if may_be_barred && answer.is_ok() {
                self.only_whole_scripts.store(true, Ordering::Relaxed);
            }
            return answer;
        }
        let mut cmd = redis::cmd("EVAL");
        fill(cmd.arg(script.text()));
        command(connection, &cmd).await
    }

    /// Whether it is there: an answer of any kind to a question that may be forbidden is one.
    pub(crate) async fn ping(&self) -> Result<(), LayerError> {
        match self.command(&redis::cmd("PING")).await {
            Ok(_) => {}
            Err(error) if is_barred(&error) => {}
            Err(error) => return Err(error),
        }
        let (mut connection, _) = self.connection().await?;
        self.look_at_clock(&mut connection).await;
        Ok(())
    }

    /// Unix time in seconds by the server's clock, as it goes on since we last looked; by ours where the server does not
    /// say. Connects first where there never was a connection.
    pub(crate) async fn now(&self) -> Result<f64, LayerError> {
        if let Some(now) = self.time() {
            return Ok(now);
        }
        self.connection().await?;
        Ok(self.time().unwrap_or_else(score::now))
    }

    /// As [`Server::now`], where it is known.
    pub(crate) fn time(&self) -> Option<f64> {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.map(|(showed, at)| showed + at.elapsed().as_secs_f64())
    }

    pub(crate) async fn look_at_clock(&self, connection: &mut MultiplexedConnection) {
        match command(connection, &redis::cmd("TIME")).await {
            Ok(answer) => {
                if let Ok((seconds, micros)) = redis::from_redis_value::<(u64, u32)>(answer) {
                    let showed = seconds as f64 + f64::from(micros) / 1e6;
                    let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
                    *clock = Some((showed, Instant::now()));
                }
            }
            // One that may not be asked is taken to have our time; one that is gone is found out by who needs it.
            Err(error) => tracing::debug!(%error, "the server does not tell its time"),
        }
    }

    pub(crate) fn close(&self) {
        let mut link = self.link();
        link.closed = true;
        link.connection = None;
    }

    /// The shared connection, made first where there is none.
    async fn connection(&self) -> Result<(MultiplexedConnection, u64), LayerError> {
        if let Some(found) = self.existing()? {
            return Ok(found);
        }
        let began = Instant::now();
        let _turn = self.connecting.lock().await;
        if let Some(found) = self.existing()? {
            return Ok(found);
        }
        // Those who waited for an attempt that failed share its failure, and don't queue up for more.
        if let Some((_, error)) = self.link().failed.as_ref().filter(|(at, _)| *at > began) {
            return Err(error.clone());
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
        if let Ok((connection, _)) = &mut made {
            self.look_at_clock(connection).await;
        }
        let mut link = self.link();
        if link.closed {
            return Err(LayerError::Closed);
        }
        match made {
            Ok((connection, _)) => {
                link.generation += 1;
                link.broken = broken;
                link.failed = None;
                link.hangs = 0;
                link.connection = Some(connection.clone());
                Ok((connection, link.generation))
            }
            Err(error) => {
                link.failed = Some((Instant::now(), error.clone()));
                link.count_hang(attempt.elapsed() >= self.host.connect_timeout);
                Err(error)
            }
        }
    }

    fn existing(&self) -> Result<Option<(MultiplexedConnection, u64)>, LayerError> {
        let link = self.link();
        if link.closed {
            return Err(LayerError::Closed);
        }
        if link.broken.load(Ordering::Relaxed) {
            return Ok(None);
        }
        Ok(link
            .connection
            .clone()
            .map(|connection| (connection, link.generation)))
    }

    /// Notes an error of connection number `generation`, which is given up where it can't be used on.
    fn failed(&self, generation: u64, error: &RedisError) -> LayerError {
        let told = self.explain(error);
        let mut link = self.link();
        if link.generation == generation && ends_connection(error) {
            link.connection = None;
            link.failed = Some((Instant::now(), told.clone()));
            link.count_hang(error.is_timeout());
        }
        told
    }

    /// Makes a connection of the caller's own; says whether it speaks RESP3, and so tells `push` what
    /// the server says unasked. Redis before 6, and some proxies, know only RESP2.
    pub(crate) async fn connect(
        &self,
        push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<(MultiplexedConnection, bool), LayerError> {
        let push = Arc::new(push);
        self.logged_in(|| self.connect_once(push.clone())).await
    }

    /// Connects, and where the server refuses our credentials and there are newer ones, once more.
    async fn logged_in<T, F: Future<Output = Result<T, LayerError>>>(
        &self,
        connect: impl Fn() -> F,
    ) -> Result<T, LayerError> {
        let began = Instant::now();
        let error = match connect().await {
            Err(error) if error.refusal() == Some(RefusalKind::Credentials) => error,
            made => return made,
        };
        let Some((nth, credentials)) = &self.credentials else {
            return Err(error);
        };
        match credentials.newer(*nth, began).await {
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
    ) -> Result<(MultiplexedConnection, bool), LayerError> {
        let host = self.target().await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(host.connect_timeout))
            .set_response_timeout(Some(host.response_timeout));
        let telling = config.clone().set_push_sender(move |info| {
            push(info);
            Ok::<(), std::convert::Infallible>(())
        });
        let attempt = async |protocol, config| {
            multiplexed(&host, protocol, config, host.connect_timeout).await
        };
        match attempt(ProtocolVersion::RESP3, &telling).await {
            Ok(connection) => Ok((connection, true)),
            Err(error) if self.explain(&error).is_temporary() => Err(self.explain(&error)),
            Err(_) => {
                let made = attempt(ProtocolVersion::RESP2, &config).await;
                made.map(|connection| (connection, false))
                    .map_err(|error| self.explain(&error))
            }
        }
    }

    /// Opens a connection that only listens to subscriptions.
    pub(crate) async fn subscriber(&self) -> Result<redis::aio::PubSub, LayerError> {
        self.logged_in(|| self.subscriber_once()).await
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

    /// Waits for what another part of the client library asked, as long as any answer may take.
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

    /// The server to connect to: as configured, or the master that the Sentinels name now.
    async fn target(&self) -> Result<Host, LayerError> {
        let host = match &self.link().login {
            Some(login) => login.at(&self.host),
            None => self.host.clone(),
        };
        match &self.host.endpoint {
            Endpoint::Sentinel { sentinels, master } => {
                let found = sentinel::master(sentinels, master).await;
                let (name, port) = found.map_err(|reason| self.unavailable(reason))?;
                Ok(Host {
                    endpoint: Endpoint::Tcp(name, port),
                    ..host
                })
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

    /// Says what a client library's error means to a caller.
    pub(crate) fn explain(&self, error: &RedisError) -> LayerError {
        let address = self.address.clone();
        if let Some((kind, reason)) = tls::failure(error) {
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
        // No code that can panic runs under this lock.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_server_that_hangs_rests_longer_each_time() {
        let seconds = [0, 1, 2, 5, 6, u32::MAX].map(|hangs| rest(hangs).as_secs());
        assert_eq!(seconds, [1, 2, 4, 32, 60, 60]);
    }
}
