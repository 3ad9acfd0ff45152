//! A plugin's answer in the host's own words, whichever version of the interface it speaks, and the ways in which a
//! call fails.

use std::time::Duration;

use djangobot_event::{CleanText, Edit, Event};

/// A plugin's decision about an event.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The event goes on as it is.
    Keep,
    /// The event goes on with these edits. They are made in order, and if one fails, none is made.
    Modify(Vec<Edit>),
    /// The event ends here, for this reason.
    Drop(CleanText),
    /// These events go on in its place.
    Replace(Vec<Emission>),
    /// The event ends here, and this is the answer to it.
    Answer(Event),
    /// The plugin gets the event again after this time.
    Defer(Duration),
}

/// A new event that was checked: the manifest lists its kind, and its body is a JSON object.
#[derive(Clone, Debug)]
pub struct Emission {
    /// A Slack event type, or a Web API method.
    pub kind: String,
    /// The JSON object, without the kind.
    pub body: Event,
}

/// The effects of a call besides its verdict. They take place only once the call has ended well: a call that fails half
/// way has none.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Events in addition to the current one.
    pub(crate) emissions: Vec<Emission>,
    /// Messages for Slack.
    pub(crate) sends: Vec<PluginSend>,
    /// The host refused some effect because the call is a rehearsal, so that the call's failure proves little.
    pub(crate) withheld: bool,
}

/// A message for Slack.
#[derive(Debug)]
pub(crate) struct PluginSend {
    /// The plugin's name for it, by which it knows the outcome.
    pub(crate) id: String,
    pub(crate) message: Event,
}

/// Why a call of a plugin failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It did something that WebAssembly or the host forbids, or aborted by itself: a Rust panic does so.
    #[error("it trapped: {0}")]
    Trap(CleanText),
    /// It computed for longer than its limit.
    #[error("it computed for more than {} ms (limits.time-ms)", .0.as_millis())]
    Time(Duration),
    /// It took longer than its limit, with all that it waited for.
    #[error("it took more than {} ms with all that it waited for (limits.wait-ms)", .0.as_millis())]
    Wait(Duration),
    /// It asked for more memory than its limit, and trapped when it did not get it.
    #[error("it asked for more than {} MiB of memory (limits.memory-mib)", .0 >> 20)]
    Memory(usize),
    /// It asked for larger tables than the host allows, and trapped when it did not get them.
    #[error("it asked for tables of more than {0} entries in all")]
    Table(usize),
    /// It called the host too often, or caused too much work there.
    #[error("{0}")]
    Budget(String),
    /// It returned an error by itself.
    #[error("it returned an error: {0}")]
    Error(CleanText),
    /// The host refused its answer.
    #[error("its answer was refused: {0}")]
    Answer(CleanText),
}

impl Failure {
    /// The host's work for one call took, with the guest's computing, more than `limit`.
    pub(crate) fn over_budget(limit: Duration) -> Self {
        Self::Budget(format!(
            "the host's work for one call, with the plugin's computing, took more than {} ms (limits.time-ms)",
            limit.as_millis()
        ))
    }

    /// Whether the instance must not be called again.
    pub(crate) fn costs_the_instance(&self) -> bool {
        // A plugin that returns an error ran to its end: its memory is consistent, and may hold state worth keeping.
        // All other failures cut it off at some point in between.
        !matches!(self, Self::Error(_))
    }
}
