//! Puts members on queues: on one host, or spread over several.

use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::join_all;
use tracing::debug;

use crate::layer::LayerError;
use crate::redis::backend::Backend;
use crate::redis::dialect::{AppendRequest, Dialect};
use crate::redis::placement::{Deal, Share, Turns};
use crate::redis::server::Server;
use crate::score;
use crate::wire::Member;

/// The sender of a layer.
pub(super) struct Sender<D: Dialect> {
    backend: Arc<Backend>,
    turns: Turns,
    dialect: PhantomData<D>,
}

/// The outcome of [`Dialect::append`] on one host, or its sum over several.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AppendOutcome {
    /// How many of the members from the front were accepted.
    pub(super) accepted: usize,
    /// How many messages had expired, and are gone.
    pub(super) expired: u64,
    /// How many messages wait now.
    pub(super) waiting: u64,
}

impl<D: Dialect> Sender<D> {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self {
            backend,
            turns: Turns::default(),
            dialect: PhantomData,
        }
    }

    /// Puts members on the queue of one host.
    pub(super) async fn append(
        &self,
        server: &Server,
        append: &AppendRequest<'_>,
    ) -> Result<AppendOutcome, LayerError> {
        let answer = server
            .script(D::append(), &|cmd| D::write_append(cmd, append))
            .await?;
        let numbers: (usize, u64, u64) = redis::from_redis_value(answer).map_err(|error| {
            server.unavailable(format!(
                "the server gave an unexpected answer to a send: {error}"
            ))
        })?;
        let (accepted, expired, waiting) = numbers;
        Ok(AppendOutcome {
            accepted,
            expired,
            waiting,
        })
    }

    /// Spreads members over all hosts. A host that is full or does not answer is passed over.
    pub(super) async fn spread(
        &self,
        whole: &AppendRequest<'_>,
    ) -> Result<AppendOutcome, LayerError> {
        let servers = &self.backend.servers;
        let first = self
            .turns
            .advance(whole.queue, whole.members.len(), servers.len());
        let mut deal = Deal::new(whole.members.len(), servers.len(), first);
        if servers.iter().any(|server| !server.is_resting()) {
            let resting = (0..servers.len()).filter(|&host| servers[host].is_resting());
            resting.for_each(|host| deal.pass_over(host));
        }
        let mut failure = None;
        let mut sum = AppendOutcome::default();
        loop {
            let round = deal.round();
            if round.is_empty() {
                break;
            }
            let answers = join_all(round.iter().map(|share| self.append_share(whole, share))).await;
            let mut passed_over = Vec::new();
            for (Share { host, members }, answer) in round.iter().zip(answers) {
                match answer {
                    Ok(appended) => {
                        deal.took(*host, appended.accepted);
                        sum.expired += appended.expired;
                        if appended.accepted < members.len() {
                            passed_over.push(*host);
                        }
                    }
                    Err(error) => {
                        passed_over.push(*host);
                        failure = Some(error);
                    }
                }
            }
            // Only now is it known what each host took, so only now are the others' members given to other hosts.
            passed_over
                .into_iter()
                .for_each(|host| deal.pass_over(host));
        }
        for Share { host, members } in deal.strays() {
            let (_, members) = pick(whole, &members);
            let withdrawn = servers[host]
                .command(&D::withdraw(&AppendRequest {
                    members: &members,
                    ..*whole
                }))
                .await;
            if let Err(error) = withdrawn {
                debug!(%error, queue = whole.queue, "messages that will be sent again could not be withdrawn; the app may get them twice");
            }
        }
        match (deal.accepted(), failure) {
            (0, Some(error)) if !whole.members.is_empty() => Err(error),
            (accepted, _) => Ok(AppendOutcome { accepted, ..sum }),
        }
    }

    /// Puts one host's share of the members on its queue.
    async fn append_share(
        &self,
        whole: &AppendRequest<'_>,
        share: &Share,
    ) -> Result<AppendOutcome, LayerError> {
        let (scores, members) = pick(whole, &share.members);
        let append = AppendRequest {
            scores: &scores,
            members: &members,
            ..*whole
        };
        let server = &self.backend.servers[share.host];
        match self.append(server, &append).await {
            // The server may have taken the members and its answer been lost. The same host is asked again, or the
            // members would lie on two hosts. A host that hangs would not answer now either, and would delay all
            // others.
            Err(error) if error.is_temporary() && !server.hangs() => {
                self.append(server, &append).await
            }
            answer => answer,
        }
    }

    /// Asks `servers` with an empty call whether they take messages. One that answers is enough.
    pub(super) async fn ask(
        &self,
        servers: &[Arc<Server>],
        whole: &AppendRequest<'_>,
    ) -> Result<AppendOutcome, LayerError> {
        let answers = join_all(servers.iter().map(|server| self.append(server, whole))).await;
        let mut sum = None;
        let mut failure = None;
        for answer in answers {
            match answer {
                Ok(one) => {
                    let all = sum.get_or_insert_with(AppendOutcome::default);
                    all.expired += one.expired;
                    all.waiting += one.waiting;
                }
                Err(error) => failure = Some(error),
            }
        }
        match (sum, failure) {
            (None, Some(error)) => Err(error),
            (sum, _) => Ok(sum.unwrap_or_default()),
        }
    }
}

/// The time by the clock of one of `servers`: of several, the first whose clock is known, even if it is away now.
pub(super) async fn time(servers: &[Arc<Server>]) -> Result<f64, LayerError> {
    if let [server] = servers {
        return server.now().await;
    }
    if let Some(now) = servers.iter().find_map(|server| server.time()) {
        return Ok(now);
    }
    for server in servers {
        if let Ok(now) = server.now().await {
            return Ok(now);
        }
    }
    // None is reachable, which the send finds out by itself.
    Ok(score::now())
}

/// The scores and members of `whole` at `indexes`.
fn pick<'a>(whole: &AppendRequest<'a>, indexes: &[usize]) -> (Vec<f64>, Vec<&'a Member>) {
    indexes
        .iter()
        .map(|&at| (whole.scores[at], whole.members[at]))
        .unzip()
}
