//! What a plugin answers, whichever version of the interface it speaks, and all that can go wrong with an answer.

use std::time::Duration;

use djangobot_event::{CleanText, Edit, Event};

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It goes on as it is.
    Keep,
    /// It goes on with these edits, made in order, all or none.
    Modify(Vec<Edit>),
    /// It ends here, for this reason.
    Drop(CleanText),
    /// These go on in its place.
    Replace(Vec<Emission>),
}

/// A new event, checked: its kind is one that the manifest lists, its body a JSON object.
#[derive(Clone, Debug)]
pub struct Emission {
    /// A Slack type, or a Web API method.
    pub kind: String,
    /// Without the kind.
    pub body: Event,
}

impl PartialEq for Emission {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.body.raw() == other.body.raw()
    }
}

/// What a call did beside its verdict. It counts only once the call has ended well.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Events beside the one at hand.
    pub(crate) emissions: Vec<Emission>,
    /// Messages for Slack.
    pub(crate) sends: Vec<Event>,
    /// Something was not done because the call was a rehearsal, so that its outcome proves little.
    pub(crate) withheld: bool,
}

/// Why a call of a plugin came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It did something that WebAssembly or the host forbids, or gave up by itself: a Rust panic is one.
    #[error("it trapped: {0}")]
    Trap(CleanText),
    /// It computed for longer than it may.
    #[error("it computed for more than {} ms", .0.as_millis())]
    Time(Duration),
    /// It took longer than it may, with all that it waited for.
    #[error("it took more than {} ms with all that it waited for", .0.as_millis())]
    Wait(Duration),
    /// It wanted more memory than it may have, and did not get by without.
    #[error("it wanted more than {} MiB of memory", .0 >> 20)]
    Memory(usize),
    /// It wanted larger tables than it may have, and did not get by without.
    #[error("it wanted tables of more than {0} entries in all")]
    Table(usize),
    /// It called the host too often, or had it do too much.
    #[error("{0}")]
    Budget(String),
    /// It said that it failed.
    #[error("it returned an error: {0}")]
    Error(CleanText),
    /// Its answer is none.
    #[error("its answer is refused: {0}")]
    Answer(CleanText),
}

impl Failure {
    /// What the host did for one call, with its computing, came to more than `limit`.
    pub(crate) fn over_budget(limit: Duration) -> Self {
        Self::Budget(format!(
            "what the host had to do for one call of it takes, with its computing, more than {} ms (limits.time-ms)",
            limit.as_millis()
        ))
    }

    /// Whether the instance can't be called again.
    pub(crate) fn costs_the_instance(&self) -> bool {
        // Who returns an error has put its own house in order, and may have state that is worth keeping.
        !matches!(self, Self::Error(_))
    }

    /// A word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Time(_) | Self::Wait(_) => "timeout",
            Self::Memory(_) | Self::Table(_) => "memory",
            Self::Budget(_) => "budget",
            Self::Error(_) => "error",
            Self::Answer(_) => "answer",
        }
    }
}
