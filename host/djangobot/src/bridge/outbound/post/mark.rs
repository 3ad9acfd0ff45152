//! The mark of our posts: metadata with the message's key, by which a post is found again in Slack's history. Slack
//! takes metadata from apps only, and refuses it from other tokens.

use std::sync::atomic::{AtomicBool, Ordering};

use djangobot_plugins::Roster as _;
use djangobot_slack::ApiError;

use crate::bridge::outbound::post::caller::Caller;

impl Caller {
    /// Whether Slack refuses the mark from this token. A post in doubt is then looked up by its text.
    pub(super) fn refuses_marks(&self) -> bool {
        self.refusal_of_marks().load(Ordering::Relaxed)
    }

    /// Notes that Slack refuses the mark from this token, so that later posts are made without it, after a restart too.
    pub(super) fn note_refused_mark(&self, error: &ApiError) {
        self.refusal_of_marks().store(true, Ordering::Relaxed);
        if let Err(error) = self.state.set_fact(&self.fact_of_mark(), b"1") {
            tracing::debug!(%error, "the state does not have that Slack takes no metadata; the next start tries it again");
        }
        tracing::warn!(
            "Slack takes no metadata from this token: {error}; from now on a post in doubt is looked up by its text"
        );
    }

    /// The note, read from the state when it is first needed: before that, Slack has not said who we are.
    fn refusal_of_marks(&self) -> &AtomicBool {
        self.refuses_marks.get_or_init(|| {
            let fact = self.state.fact(&self.fact_of_mark()).ok().flatten();
            AtomicBool::new(fact.is_some())
        })
    }

    /// The key of the fact. Another app's token may be allowed to send metadata, so it has its own.
    fn fact_of_mark(&self) -> String {
        let me = self.team.me();
        let me = me.as_ref();
        let team = me.map_or("", |me| &me.team_id);
        format!("unmarked/{team}/{}", me.map_or("", |me| &me.user_id))
    }
}
