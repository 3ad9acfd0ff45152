//! The way out, whole: a message that the app put on `slack.send` becomes a call of Slack's Web API, and its outcome an answer.

pub(crate) mod files;
mod job;
pub(crate) mod outbox;
mod passing;
pub(crate) mod post;
mod reading;
pub(crate) mod request;
mod telling;
mod tide;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use djangobot_channels::{ChannelLayer, ChannelName, Delivery, Receiver, ReceiverId};
use djangobot_event::Event;
use djangobot_plugins::{Direction, PluginHost};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bridge::lanes::Lanes;
use crate::bridge::message_key::MessageKey;
use crate::bridge::reply::{Refusal, Reply};
use crate::bridge::tap::Tap;
use crate::journal::JournalError;
use crate::listener::Readiness;
use crate::metrics::Metrics;
use crate::state::State;
use job::{Held, Job, Message, Staying, Taken, Task, Undecodable, Untold, text};
use outbox::{Left, Outbox, Page, RowId};
use passing::passing;
use post::{Post, Unsent};
use reading::Reading;
pub(crate) use reading::Writing;
use request::Rules;
use tide::Tide;

/// Calls that may be under way, each in a lane of its own.
const RUNNING: usize = 256;
/// Messages that may wait behind others of their conversation in memory, and their bytes; the rest waits on the disk.
const BEHIND: usize = 10_000;
const BEHIND_BYTES: usize = 64 << 20;
/// Outcomes that may wait to be told, where reply channels are full.
const UNTOLD: usize = 1_000;
/// Messages that may be on their way to the disk; they share its commits.
const KEEPING: usize = 256;
/// What may wait on the disk, in bytes; the rest waits in the layer.
const ON_DISK: u64 = 1 << 30;
/// What is read from the disk at once.
const PAGE: usize = 256;
const PAGE_BYTES: usize = 4 << 20;
/// How often it is looked whether messages can be taken again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a disk that can't be read is left alone.
const UNREADABLE: Duration = Duration::from_secs(1);
/// How long a stop waits for calls that are under way: longer than the Web API's own limit.
const LAST_CALLS: Duration = Duration::from_secs(35);

/// Takes messages from the layer and sends them to Slack.
pub(crate) struct Outbound {
    pub(crate) layer: Arc<dyn ChannelLayer>,
    pub(crate) channel: ChannelName,
    pub(crate) reader: ReceiverId,
    pub(crate) rules: Rules,
    pub(crate) plugins: PluginHost,
    /// Where messages of plugins go on that the disk can't take.
    pub(crate) messages: mpsc::Sender<djangobot_plugins::Message>,
    pub(crate) outbox: Outbox,
    /// What an earlier run left there.
    pub(crate) left: Left,
    pub(crate) writing: Writing,
    pub(crate) post: Post,
    pub(crate) state: State,
    /// Told how reading the layer goes.
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Metrics,
    pub(crate) tap: Option<Arc<dyn Tap>>,
}

/// What has come to an end.
enum Ended {
    /// A call: its lane is free, and there may be something to tell; or Slack bars us.
    Called {
        lane: String,
        size: usize,
        untold: Result<Option<Box<Untold>>, Refusal>,
    },
    /// A way through the plugins: what came out of them goes on in its lane, before all that waits there.
    Passed {
        lane: String,
        size: usize,
        untold: Option<Box<Untold>>,
        jobs: Vec<Job>,
        /// A message of a plugin's own lies in the outbox.
        newest: Option<RowId>,
    },
    /// Messages that waited on the disk, of those up to a number.
    Read(Result<Page, JournalError>, u64),
    /// The telling of an outcome.
    Told,
    /// A word to the layer.
    Left,
}

/// Where the next message may be kept until it is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Disk,
    /// In the layer alone.
    Layer,
    /// Nowhere: it is not taken yet.
    None,
}

/// What became of the attempt to put a message into the outbox.
struct Kept {
    message: Message,
    stored: Stored,
}

enum Stored {
    There(RowId),
    /// It was there already.
    Known,
    /// It stays in the layer.
    Not,
}

/// All that is under way.
struct Flow<'a> {
    receiver: &'a dyn Receiver,
    lanes: Lanes<Job>,
    /// What the lanes hold, in bytes.
    bytes: usize,
    work: FuturesUnordered<BoxFuture<'a, Ended>>,
    /// Outcomes that are being told.
    telling: usize,
    /// Messages on their way to the disk, in order, and their bytes.
    keeping: FuturesOrdered<BoxFuture<'a, Kept>>,
    keeping_bytes: usize,
    tide: Tide,
    /// Messages that the disk could not take, in their place among those that wait on it.
    late: VecDeque<Message>,
    late_bytes: usize,
    /// Counts these until they are finished.
    in_layer: Staying,
    /// The disk could not take one of those that are on their way to it, and so takes none of those behind it.
    is_broken: bool,
    /// The last one that was given to the disk.
    newest: Option<MessageKey>,
}

impl Outbound {
    /// Sends until `cancel` or until Slack bars us, which is the error; lets calls that are under way end. What was not
    /// begun stays in the outbox, or goes back to the layer.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Refusal> {
        let Some(receiver) = cancel.run_until_cancelled(self.open()).await else {
            return Ok(());
        };
        let mut flow = Flow::new(&*receiver, self.left.newest);
        let mut reading = Reading::new(self.readiness.clone());
        let outcome = loop {
            self.take_up(&mut flow);
            self.measure(&flow);
            let place = flow.place(self.outbox.bytes());
            tokio::select! {
                () = cancel.cancelled() => break Ok(()),
                Some(ended) = flow.work.next() => {
                    if let Err(barred) = self.ended(ended, &mut flow) {
                        break Err(barred);
                    }
                }
                Some(kept) = flow.keeping.next() => self.kept(kept, &mut flow),
                // `None` has to match too: it asks for another round, and a branch that does not match waits for the others.
                taken = self.take(&*receiver, &mut reading), if place != Place::None => {
                    match taken.map(|delivery| self.read(delivery)) {
                        Some(message) if place == Place::Disk => {
                            let behind = flow.behind(&message);
                            flow.keeping_bytes += message.size();
                            flow.keeping.push_back(self.keep(message, behind).boxed());
                        }
                        Some(message) => flow.stay(message),
                        None => {}
                    }
                }
                () = tokio::time::sleep(LOOK_AGAIN), if place != Place::Disk => {}
            }
        };
        // Whoever waits gives up; what Slack may be carrying out just now is seen to its end.
        self.post.stop.cancel();
        let _ = tokio::time::timeout(LAST_CALLS, self.last(&mut flow)).await;
        drop(flow);
        if let Err(error) = receiver.close().await {
            tracing::warn!(%error, "unfinished messages could not be given back now; they come again at the next start");
        }
        outcome
    }

    /// Sees to the end what is under way, and begins nothing.
    async fn last<'a>(&'a self, flow: &mut Flow<'a>) {
        loop {
            tokio::select! {
                Some(kept) = flow.keeping.next() => drop(self.leave(kept, flow)),
                Some(ended) = flow.work.next() => {
                    if let Ended::Called { untold: Ok(Some(untold)), .. }
                        | Ended::Passed { untold: Some(untold), .. } = ended
                    {
                        self.tell_of(*untold, flow);
                    }
                }
                else => return,
            }
        }
    }

    async fn open(&self) -> Arc<dyn Receiver> {
        let mut reading = Reading::new(self.readiness.clone());
        loop {
            match self.layer.receiver(&self.channel, &self.reader).await {
                Ok(receiver) => return receiver,
                Err(error) => reading.failed(&error, &self.metrics).await,
            }
        }
    }

    /// The next message. `None` after a failure, to try again.
    async fn take(&self, receiver: &dyn Receiver, reading: &mut Reading) -> Option<Delivery> {
        match receiver.next().await {
            Ok(delivery) => {
                reading.worked();
                Some(delivery)
            }
            Err(error) => {
                reading.failed(&error, &self.metrics).await;
                None
            }
        }
    }

    fn read(&self, delivery: Delivery) -> Message {
        let content = self.decode(&delivery);
        if let (Some(tap), Ok(event)) = (&self.tap, &content) {
            tap.send(&self.channel, event);
        }
        Message::given(delivery, content, self.layer.wire())
    }

    /// Puts a message into the outbox, behind another one. What can't be read stays in the layer until it is a dead
    /// letter.
    async fn keep(&self, message: Message, behind: Option<MessageKey>) -> Kept {
        let stored = match &message.content {
            Ok(event) => match self.outbox.keep(message.key, text(event), behind).await {
                Ok(kept) => {
                    self.writing.worked();
                    match kept {
                        outbox::Kept::There(row) => Stored::There(row),
                        outbox::Kept::Known => Stored::Known,
                        outbox::Kept::Gap => Stored::Not,
                    }
                }
                Err(error) => {
                    self.writing.failed(&error, &self.metrics);
                    Stored::Not
                }
            },
            Err(_) => Stored::Not,
        };
        Kept { message, stored }
    }

    fn decode(&self, delivery: &Delivery) -> Result<Event, Undecodable> {
        let refusal = |detail| Refusal::new("undecodable", detail);
        let payload = match &delivery.payload {
            Ok(payload) => payload,
            Err(error) => {
                return Err(Undecodable {
                    refusal: refusal(format!("The message can't be opened: {error}.")),
                    reply: Reply::unreadable(),
                });
            }
        };
        self.layer
            .decode_with_bytes(payload)
            .map_err(|error| Undecodable {
                refusal: refusal(format!(
                    "The message is not a dict that a channel layer may carry: {error}."
                )),
                reply: Reply::from(&self.layer.salvage(payload, Reply::KEYS)),
            })
    }

    /// A message is in the outbox: it leaves the layer, and goes on when those before it have.
    fn kept<'a>(&'a self, kept: Kept, flow: &mut Flow<'a>) {
        flow.keeping_bytes -= kept.message.size();
        let stored = match &kept.stored {
            Stored::There(row) => Some(row.number()),
            Stored::Known | Stored::Not => None,
        };
        let Some(message) = self.leave(kept, flow) else {
            return;
        };
        let has_room = flow.has_room();
        match stored {
            Some(number) if flow.tide.kept(number, has_room) => self.begin(message, flow),
            Some(_) => {}
            None => {
                flow.is_broken |= message.content.is_ok();
                flow.stay(message);
            }
        }
    }

    /// Lets the layer forget a message that is in the outbox; gives it back where it has still to be sent.
    fn leave<'a>(&'a self, kept: Kept, flow: &mut Flow<'a>) -> Option<Message> {
        let Kept {
            mut message,
            stored,
        } = kept;
        let held = match stored {
            Stored::There(row) => Held::Outbox(row),
            Stored::Known => Held::Nowhere,
            Stored::Not => return Some(message),
        };
        let is_known = matches!(held, Held::Nowhere);
        if let Held::Layer(delivery, _) = std::mem::replace(&mut message.held, held) {
            let receiver = flow.receiver;
            let leaving = async move {
                self.leave_layer(receiver, &delivery).await;
                Ended::Left
            };
            flow.work.push(leaving.boxed());
        }
        if is_known {
            tracing::debug!("the layer gave a message that is known");
            self.metrics.known_again().increment(1);
        }
        (!is_known).then_some(message)
    }

    /// Goes on with what waits, as far as there is room: on the disk, and then what the disk could not take.
    fn take_up<'a>(&'a self, flow: &mut Flow<'a>) {
        if !flow.has_room() {
            return;
        }
        if let Some((after, upto)) = flow.tide.read() {
            let read = async move {
                let page = self.outbox.read(after, upto, PAGE, PAGE_BYTES).await;
                if let Err(error) = &page {
                    self.writing.failed(error, &self.metrics);
                    let stopped = self.post.stop.cancelled();
                    let _ = tokio::time::timeout(UNREADABLE, stopped).await;
                }
                Ended::Read(page, upto)
            };
            flow.work.push(read.boxed());
        }
        while !flow.tide.waits()
            && flow.has_room()
            && let Some(message) = flow.late.pop_front()
        {
            flow.late_bytes -= message.size();
            self.begin(message, flow);
            if flow.late.is_empty() {
                flow.tide.lift();
            }
        }
    }

    /// Gives a message to its lane; what has its outcome has none, and is only told.
    fn begin<'a>(&'a self, message: Message, flow: &mut Flow<'a>) {
        let (size, record) = (
            message.size(),
            message.record(&self.outbox, self.rules.max_age),
        );
        let (event, (reply, request)) = match message.content {
            Ok(event) => {
                let read = self.rules.read(&event);
                (Some(event), read)
            }
            Err(Undecodable { refusal, reply }) => (None, (reply, Err(refusal))),
        };
        if let Some(outcome) = message.outcome {
            let (held, is_noted) = (message.held, true);
            let untold = Untold {
                held,
                reply,
                outcome,
                is_noted,
            };
            return self.tell_of(untold, flow);
        }
        // Order is kept within a conversation; conversations do not wait for each other.
        let lane = match &request {
            Ok(request) => self.post.lane(request, |lane| flow.lanes.is_busy(lane)),
            Err(_) => String::new(),
        };
        let wanted = event.filter(|event| {
            let passing = passing(record.key, event.clone());
            !message.is_passed && self.plugins.wants(Direction::Outbound, &passing)
        });
        let task = match (wanted, request) {
            (Some(event), _) => Task::Pass(event),
            (None, Ok(request)) => Task::Send(request),
            (None, Err(refusal)) => Task::Refuse(refusal),
        };
        let taken = Taken {
            held: message.held,
            reply,
            record,
            at: Instant::now(),
            size,
        };
        if let Task::Refuse(refusal) = task {
            let untold = self.untold(taken, Err(refusal));
            return self.tell_of(untold, flow);
        }
        flow.bytes += size;
        if let Some(job) = flow.lanes.admit(&lane, Job { taken, task }) {
            flow.work.push(self.call(lane, job).boxed());
        }
    }

    /// One message's way out, to Slack's answer; or through the plugins, from where it comes again.
    async fn call(&self, lane: String, job: Job) -> Ended {
        let Job { mut taken, task } = job;
        let size = taken.size;
        let outcome = match task {
            Task::Send(request) => self.post.call(request, &mut taken.record).await,
            Task::Pass(message) => return self.pass(taken, message, lane).await,
            Task::Refuse(refusal) => Err(refusal.into()),
        };
        let untold = match outcome {
            Ok(answer) => Ok(Some(Box::new(self.untold(taken, Ok(answer))))),
            Err(Unsent::Refused(refusal)) => Ok(Some(Box::new(self.untold(taken, Err(refusal))))),
            Err(Unsent::Stopped) => Ok(None),
            Err(Unsent::Barred(why)) => Err(why),
        };
        Ended::Called { lane, size, untold }
    }

    /// Goes on after an end: with the next message of the lane, and with telling the app.
    fn ended<'a>(&'a self, ended: Ended, flow: &mut Flow<'a>) -> Result<(), Refusal> {
        let (lane, size, untold) = match ended {
            Ended::Called { lane, size, untold } => (lane, size, untold?),
            Ended::Passed {
                lane,
                size,
                untold,
                jobs,
                newest,
            } => {
                if let Some(row) = newest {
                    // It is read when those before it have been: they may be on their way to us.
                    flow.tide.kept(row.number(), false);
                }
                flow.bytes += jobs.iter().map(|job| job.taken.size).sum::<usize>();
                flow.lanes.put_first(&lane, jobs);
                (lane, size, untold)
            }
            Ended::Read(Ok(page), upto) => {
                // Numbers that are not there are those of messages that are finished.
                let upto = if page.is_end { upto } else { 0 };
                flow.tide.was_read(page.last.max(upto));
                for entry in page.entries {
                    self.begin(Message::of(entry, &self.left), flow);
                }
                return Ok(());
            }
            Ended::Read(Err(_), _) => {
                flow.tide.was_not_read();
                return Ok(());
            }
            Ended::Told => {
                flow.telling -= 1;
                return Ok(());
            }
            Ended::Left => return Ok(()),
        };
        flow.bytes = flow.bytes.saturating_sub(size);
        // What is told is noted on the disk before the next call of the lane is.
        if let Some(untold) = untold {
            self.tell_of(*untold, flow);
        }
        if let Some(job) = flow.lanes.finished(&lane) {
            flow.work.push(self.call(lane, job).boxed());
        }
        Ok(())
    }

    /// Counts an outcome, which has then to be told.
    fn untold(&self, taken: Taken, outcome: Result<serde_json::Value, Refusal>) -> Untold {
        let label = outcome
            .as_ref()
            .map_or_else(|refusal| refusal.error.as_str(), |_| "sent");
        self.metrics.sends(label).increment(1);
        self.metrics
            .send_seconds()
            .record(taken.at.elapsed().as_secs_f64());
        Untold {
            held: taken.held,
            reply: taken.reply,
            outcome,
            is_noted: false,
        }
    }

    fn tell_of<'a>(&'a self, untold: Untold, flow: &mut Flow<'a>) {
        flow.telling += 1;
        flow.work.push(self.tell(flow.receiver, untold).boxed());
    }

    fn measure(&self, flow: &Flow<'_>) {
        let here = flow.lanes.running() + flow.lanes.behind() + flow.telling;
        self.metrics.sending().set(here as f64);
        self.metrics.outbox().set(self.outbox.messages() as f64);
        self.metrics.outbox_bytes().set(self.outbox.bytes() as f64);
    }
}

impl<'a> Flow<'a> {
    fn new(receiver: &'a dyn Receiver, newest: u64) -> Self {
        Self {
            receiver,
            lanes: Lanes::default(),
            bytes: 0,
            work: FuturesUnordered::new(),
            telling: 0,
            keeping: FuturesOrdered::new(),
            keeping_bytes: 0,
            tide: Tide::new(newest),
            late: VecDeque::new(),
            late_bytes: 0,
            in_layer: Staying::default(),
            is_broken: false,
            newest: None,
        }
    }

    /// Where the next message may be kept, with so many bytes on the disk.
    ///
    /// It goes to the disk where none that came before it is in the layer alone: after a restart, what the disk has goes
    /// before what the layer gives. Where those stay for long, it joins them.
    fn place(&mut self, on_disk: u64) -> Place {
        self.is_broken &= !self.keeping.is_empty();
        let is_in_order = !self.is_broken && self.late.is_empty() && self.in_layer.is_over();
        if is_in_order {
            let has_room = self.keeping.len() < KEEPING
                && self.keeping_bytes < BEHIND_BYTES
                && on_disk < ON_DISK;
            return if has_room { Place::Disk } else { Place::None };
        }
        let joins = self.in_layer.lasts(Instant::now())
            && self.keeping.is_empty()
            && self.late.len() < BEHIND
            && self.late_bytes < BEHIND_BYTES;
        if joins { Place::Layer } else { Place::None }
    }

    /// Lets a message stay in the layer until it is sent, in its place among those on the disk.
    fn stay(&mut self, message: Message) {
        self.tide.bar();
        self.late_bytes += message.size();
        self.late.push_back(self.in_layer.mark(message));
    }

    /// Which message the disk has to have before it takes this one.
    fn behind(&mut self, message: &Message) -> Option<MessageKey> {
        let on_their_way = !self.keeping.is_empty();
        match message.content {
            Ok(_) => self.newest.replace(message.key).filter(|_| on_their_way),
            Err(_) => None,
        }
    }

    /// Whether more may be taken up.
    fn has_room(&self) -> bool {
        self.lanes.running() < RUNNING
            && self.lanes.behind() < BEHIND
            && self.bytes < BEHIND_BYTES
            && self.telling < UNTOLD
    }
}
