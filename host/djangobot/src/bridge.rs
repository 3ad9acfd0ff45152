//! The bridge: it makes its parts, runs them next to each other, and ends them in order.

mod ages;
mod arguments;
pub(crate) mod fuzzing;
mod host_lease;
mod inbound;
mod lanes;
mod layer_watch;
mod message_key;
mod message_origin;
mod moment;
mod outbound;
mod outcome;
mod plugin_call;
mod plugin_slack;
mod reply;
mod roster;
pub(crate) mod tap;
mod transport;
mod web_api;

use std::sync::Arc;
use std::time::Duration;

use djangobot_channels::{ChannelLayer, ChannelName, GuardedLayer, ReceiverId};
use djangobot_plugins::{PluginEvent, PluginHost};
use djangobot_slack::history::History;
use djangobot_slack::{Pacer, Rotation, Session, WebApi};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::bridge::reply::SendFailure;
use crate::config::values::BodyFormat;
use crate::config::{Settings, Transport};
use crate::failure::Failure;
use crate::journal::Journal;
use crate::listener::Readiness;
use crate::metrics::Metrics;
use crate::state::State;
use crate::team::Team;
use crate::telemetry::Terminal;

use host_lease::HostLease;
pub(crate) use host_lease::name_of;
use inbound::Inbound;
use inbound::activity::Activity;
use inbound::answers::{self, AnswerDesk, Answers};
use inbound::custody::Ledger;
use inbound::delivery::spool::Spool;
use inbound::delivery::{self, Deliveries};
use inbound::envelope::Envelope;
use inbound::gaps::Gaps;
use layer_watch::watch_layer;
use outbound::outbox::{Backlog, Outbox};
use outbound::post::Caller;
use outbound::request::Rules;
use outbound::{Outbound, Parts};
pub(crate) use plugin_slack::PluginSlack;
use plugin_slack::SlackLine;
pub(crate) use reply::DEFAULT_METHOD;
use roster::RosterKeeper;
use tap::Tap;
pub(crate) use transport::Source;

/// The most frames that wait between the transport and the way in. Beyond it the transport reads no more, and Slack's
/// sockets fill.
const FRAMES: usize = 4096;
/// The most messages of plugins of the way out that wait for the way in, which puts them on the layer. Beyond it they
/// are lost and logged: the way out can't wait for the way in, which may wait for the layer.
const MESSAGES: usize = 1024;
/// The most events of the host for plugins that wait for the way in.
const HOST_EVENTS: usize = 1024;
/// How long a stop waits for events that are in plugins, and then for events that are in memory.
const DRAIN: Duration = Duration::from_secs(10);

/// The settings and parts of a bridge.
pub(crate) struct Bridge {
    pub(crate) settings: Settings,
    pub(crate) layer: Arc<dyn ChannelLayer>,
    pub(crate) format: BodyFormat,
    pub(crate) api: WebApi,
    /// The source of Slack's events.
    pub(crate) source: Source,
    /// Renews tokens, if they expire.
    pub(crate) rotation: Option<Rotation>,
    pub(crate) plugins: PluginHost,
    /// Makes the plugins' own calls of Slack, once the bridge runs.
    pub(crate) plugin_slack: PluginSlack,
    pub(crate) team: Team,
    pub(crate) state: State,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) terminal: Terminal,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    /// Whether it waits while another host serves the app.
    pub(crate) standby: bool,
}

/// The parts that several tasks of a bridge use.
struct CommonParts {
    pacer: Pacer,
    roster: Arc<RosterKeeper>,
    journal: Journal,
    ledger: Ledger,
    activity: Activity,
    lease: Arc<HostLease>,
    /// The channel of the app's messages for Slack.
    send_channel: ChannelName,
    /// The name under which messages are taken from the layer. It is the same after a restart, so that messages that
    /// were taken before are found again.
    reader: ReceiverId,
}

impl Bridge {
    /// Runs until `cancel`, or until a part ends for good. Finishes what was taken.
    ///
    /// # Errors
    ///
    /// Fails if a part can't begin or fails, for example because Slack refuses the token.
    pub(crate) async fn run(mut self, cancel: CancellationToken) -> Result<(), Failure> {
        let stop = cancel.child_token();
        let letters = self.state.dead_letter_count().map_err(Failure::failed)?;
        self.metrics.dead_letters().set(letters as f64);
        let common = self.common_parts().await?;
        // From here on nothing reaches the layer while another host has the lease.
        self.layer = Arc::new(GuardedLayer {
            layer: self.layer,
            guard: common.lease.clone(),
        });
        let session = self.team.session();
        let (frames, incoming) = mpsc::channel(FRAMES);
        let (messages, of_plugins) = mpsc::channel(MESSAGES);
        let (host_events, of_host) = mpsc::channel(HOST_EVENTS);
        self.plugin_slack.connect(SlackLine {
            api: self.api.clone(),
            pacer: common.pacer.clone(),
            lease: common.lease.clone(),
            metrics: self.metrics.clone(),
        });
        let (inbound, desk) = self
            .inbound(&common, of_plugins, of_host, stop.clone())
            .await?;
        let (outbox, backlog) = Outbox::open(common.journal.clone(), self.state.folder())
            .await
            .map_err(Failure::failed)?;
        let outbound = self.outbound(&common, messages, host_events.clone(), outbox, backlog);
        let CommonParts {
            roster,
            journal,
            ledger,
            activity,
            lease,
            send_channel,
            ..
        } = common;

        // Taken out, because it runs in a task of its own. The one in its place holds nothing.
        let source = std::mem::replace(&mut self.source, Source::Rtm);
        let counts = source.counts();
        let transport = spawn(
            source.run(
                self.api.clone(),
                self.rotation.clone(),
                self.state.clone(),
                frames,
                lease.clone(),
                stop.clone(),
            ),
            &stop,
        );
        let keeping = spawn(lease.clone().keep(stop.clone()), &stop);
        let way_in = spawn(inbound.run(incoming, DRAIN), &stop);
        let answering = spawn(desk.run(), &stop);
        let way_out = spawn(
            once_connected(session.clone(), stop.clone(), outbound),
            &stop,
        );
        // Not ended by `stop`: ids are written until the last event is safe.
        let all_safe = CancellationToken::new();
        let remembering = AbortOnDropHandle::new(tokio::spawn(ledger.save_until(
            journal,
            activity,
            all_safe.clone(),
        )));
        let timing = spawn(
            run_timers(
                session.clone(),
                self.plugins.clone(),
                host_events,
                stop.clone(),
            ),
            &stop,
        );
        let names = spawn(roster.clone().run(session, stop.clone()), &stop);
        let ages = spawn(
            ages::watch(
                self.state.journal().map_err(Failure::failed)?,
                self.layer.clone(),
                send_channel.clone(),
                self.metrics.clone(),
            ),
            &stop,
        );
        let watching = spawn(
            watch_layer(
                self.layer.clone(),
                send_channel,
                self.metrics.clone(),
                self.readiness.clone(),
                counts,
                self.terminal.clone(),
            ),
            &stop,
        );
        let asking = spawn(
            web_api::watch(
                self.api.clone(),
                self.readiness.clone(),
                self.metrics.clone(),
            ),
            &stop,
        );

        // The transport ends first, on a signal or for good. Events that it has handed over are finished then: the way
        // in ends when `frames` is closed and empty, and then its queues are emptied.
        let transport = transport.await.map_err(Failure::plain)?;
        let (left, barred) = tokio::join!(
            async { Ok::<_, tokio::task::JoinError>(way_in.await?.drain(DRAIN).await) },
            way_out
        );
        let (left, barred) = (
            left.map_err(Failure::plain)?,
            barred.map_err(Failure::plain)?,
        );
        // The answer desk ends with the way in, from which its questions come.
        answering.await.map_err(Failure::plain)?;
        // The last ids are written only now, because an event that becomes safe in the queues has one, too.
        all_safe.cancel();
        remembering.await.map_err(Failure::plain)?;
        names.await.map_err(Failure::plain)?;
        timing.await.map_err(Failure::plain)?;
        let kept = keeping.await.map_err(Failure::plain)?;
        // After all that writes to the layer or calls Slack: from here on another host may do that.
        lease.give_back().await;
        drop((watching, asking, ages));
        self.layer.close().await;
        if left > 0 {
            tracing::error!(
                events = left,
                "{left} events were not stored before the stop; Slack redelivers those that it has no acknowledgement for"
            );
        }
        // Usually one of these has failed, and has ended the others.
        transport.map_err(Failure::plain)?;
        kept.map_err(Failure::deposed)?;
        barred.map_err(Failure::plain)
    }

    /// Makes the parts that several tasks use.
    async fn common_parts(&self) -> Result<CommonParts, Failure> {
        let slack = &self.settings.slack;
        let pacer = Pacer::new(slack.speed());
        let roster = Arc::new(RosterKeeper::new(
            &self.team,
            self.api.clone(),
            pacer.clone(),
            self.state.clone(),
            self.metrics.clone(),
            self.terminal.clone(),
            slack.roster_wait,
        ));
        let send_channel =
            ChannelName::new(&self.settings.layer.send_channel).map_err(Failure::plain)?;
        let host_id = self.state.host_id().map_err(Failure::failed)?;
        let journal = self.state.journal().map_err(Failure::failed)?;
        let (ledger, activity) = Ledger::open(&journal).await.map_err(Failure::failed)?;
        let lease = HostLease::new(
            self.layer.clone(),
            &host_id,
            self.standby,
            ledger.clone(),
            self.readiness.clone(),
            self.metrics.clone(),
        );
        Ok(CommonParts {
            pacer,
            roster,
            journal,
            ledger,
            activity,
            lease,
            send_channel,
            reader: ReceiverId(host_id.into()),
        })
    }

    /// Makes the way in, and the task that gives the app's answers to Slack.
    async fn inbound(
        &self,
        common: &CommonParts,
        messages: mpsc::Receiver<djangobot_plugins::PluginMessage>,
        host_events: mpsc::Receiver<PluginEvent>,
        stop: CancellationToken,
    ) -> Result<(Inbound, AnswerDesk), Failure> {
        let layer = &self.settings.layer;
        let slack = &self.settings.slack;
        let (spool, backlogs) = Spool::open(common.journal.clone(), layer.spool_bytes)
            .await
            .map_err(Failure::failed)?;
        let answer_parts = answers::Parts {
            layer: self.layer.clone(),
            api: self.api.clone(),
            journal: common.journal.clone(),
            roster: common.roster.clone(),
            metrics: self.metrics.clone(),
            tap: self.tap.clone(),
        };
        let has_interactions = slack.transport != Transport::Rtm;
        let (answers, desk) = Answers::open(
            answer_parts,
            common.reader.clone(),
            slack.answer_wait,
            has_interactions,
        )
        .await
        .map_err(Failure::plain)?;
        let delivery_parts = delivery::Parts {
            layer: self.layer.clone(),
            spool,
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
            rules: layer.unread.clone(),
            hold: layer.hold,
            stop,
        };
        let inbound = Inbound::new(inbound::Parts {
            envelope: Envelope::new(
                self.format,
                layer.send_channel.clone(),
                slack.transport.name(),
            ),
            deliveries: Deliveries::new(delivery_parts, backlogs),
            answers,
            gaps: Gaps::new(
                History::new(self.api.clone(), common.pacer.clone()),
                slack.history.clone(),
                slack.transport,
                common.ledger.clone(),
                common.activity.clone(),
                self.metrics.clone(),
            ),
            ledger: common.ledger.clone(),
            activity: common.activity.clone(),
            send_channel: common.send_channel.clone(),
            plugins: self.plugins.clone(),
            messages,
            host_events,
            roster: common.roster.clone(),
            team: self.team.clone(),
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
            tap: self.tap.clone(),
        });
        Ok((inbound, desk))
    }

    /// Makes the way out.
    fn outbound(
        &self,
        common: &CommonParts,
        messages: mpsc::Sender<djangobot_plugins::PluginMessage>,
        host_events: mpsc::Sender<PluginEvent>,
        outbox: Outbox,
        backlog: Backlog,
    ) -> Outbound {
        let slack = &self.settings.slack;
        // Its own, because calls that are under way at a stop are not cut: `Outbound::run` cancels it when it takes no
        // further message.
        let stop = CancellationToken::new();
        let parts = Parts {
            layer: self.layer.clone(),
            channel: common.send_channel.clone(),
            rules: Rules {
                methods: slack.methods.clone(),
                default_channel: slack.default_channel.clone(),
                max_age: slack.max_age,
                max_file_bytes: slack.max_file_mib << 20,
            },
            plugins: self.plugins.clone(),
            plugin_messages: messages,
            host_events,
            caller: Caller {
                api: self.api.clone(),
                rotation: self.rotation.clone(),
                pacer: common.pacer.clone(),
                roster: common.roster.clone(),
                team: self.team.clone(),
                outbox: outbox.clone(),
                lease: common.lease.clone(),
                state: self.state.clone(),
                metrics: self.metrics.clone(),
                send_timeout: slack.send_timeout,
                stop: stop.clone(),
                refuses_marks: Default::default(),
                snapshots: Default::default(),
            },
            outbox,
            writes: Default::default(),
            state: self.state.clone(),
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
            tap: self.tap.clone(),
            stop,
        };
        Outbound::new(parts, common.reader.clone(), backlog)
    }
}

/// Starts a task that ends with its owner. When it ends, for any reason, all others are asked to end as well: a bridge
/// that lacks a part would lose events or messages, and nobody would know.
fn spawn<F>(work: F, stop: &CancellationToken) -> AbortOnDropHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let ends_all = stop.clone().drop_guard();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let _ends_all = ends_all;
        work.await
    }))
}

/// Gives the events of plugins' timers to the way in, once Slack has accepted our token: a host that stands by, or that
/// can't begin, must not act.
async fn run_timers(
    mut session: watch::Receiver<Option<Session>>,
    plugins: PluginHost,
    host_events: mpsc::Sender<PluginEvent>,
    stop: CancellationToken,
) {
    let run = async {
        if session.wait_for(Option::is_some).await.is_err() {
            return;
        }
        loop {
            let event = plugins.next_timer().await;
            if host_events.send(event).await.is_err() {
                return;
            }
        }
    };
    stop.run_until_cancelled(run).await;
}

/// Runs the way out once Slack has accepted our token. Messages wait in the layer until then, so that a wrong token
/// fails none of them.
async fn once_connected(
    mut session: watch::Receiver<Option<Session>>,
    stop: CancellationToken,
    outbound: Outbound,
) -> Result<(), SendFailure> {
    let connected = stop
        .run_until_cancelled(session.wait_for(Option::is_some))
        .await
        .is_some_and(|session| session.is_ok());
    match connected {
        true => outbound.run(stop).await,
        false => Ok(()),
    }
}
