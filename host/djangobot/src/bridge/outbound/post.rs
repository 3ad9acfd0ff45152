//! Stage 6, the post of one request: its destination is found, its turn is waited for, and its call is made, again if
//! that is safe.

mod attempts;
mod call;
mod caller;
pub(crate) mod destination;
mod find;
mod identifiers;
mod likeness;
mod lookup;
mod mark;
mod patience;
mod repeat;
mod send_error;
mod snapshots;
mod upload;

use serde_json::Value;

use crate::bridge::outbound::files::NewFile;
use crate::bridge::outbound::request::Request;

use call::Call;
pub(crate) use call::{CallTime, Doubt, LowerBound, Record};
pub(crate) use caller::Caller;
use destination::Destination;
use find::{Finder, Interpretation, is_about_id};
use patience::Patience;
pub(crate) use send_error::SendError;

impl Caller {
    /// The lane of `request`: the id of its conversation, however the app wrote it, or the spelling if the id is not
    /// known.
    ///
    /// While messages wait in the lane of a spelling, later ones go there too, even if the roster has learnt the id
    /// since, so that they keep their order.
    pub(crate) fn lane(&self, request: &Request, is_busy: impl Fn(&str) -> bool) -> String {
        let Some(named) = &request.channel else {
            return request.method.name.to_owned();
        };
        let destination = Destination::read(named);
        let spelling = destination.key();
        match self.known(&destination) {
            Some(id) if !is_busy(&spelling) => id,
            _ => spelling,
        }
    }

    /// Carries out `request`. Gives Slack's answer.
    ///
    /// # Errors
    ///
    /// Fails if the request has another outcome, or none because of a stop.
    pub(crate) async fn call(
        &self,
        request: Request,
        record: &mut Record,
    ) -> Result<Value, SendError> {
        let patience = &mut Patience::new(self.send_timeout);
        let mut finder = Finder::new(match record.doubt {
            Doubt::None => Interpretation::Ids,
            // The lookup needs the conversation to which the earlier call went, so the list is asked first.
            Doubt::Faint(_) | Doubt::Begun { .. } => Interpretation::Listed,
        });
        let outcome = match self.find(&request, &mut finder, patience).await {
            Ok(call) => {
                let files = request.files.clone();
                self.carry_out(call, files, record, patience).await
            }
            Err(error) => Err(error),
        };
        let refusal = match outcome {
            Err(SendError::Failed(refusal))
                if finder.has_guessed && is_about_id(&refusal.error) =>
            {
                refusal
            }
            outcome => return outcome,
        };
        // The text that was taken for an id is not one, so it may be a name. Slack refused the call, so it had no
        // effect.
        record.clear_begun().await;
        let mut finder = Finder::new(Interpretation::Names);
        let call = self.find(&request, &mut finder, patience).await?;
        // Without a new id the call would be the same, and so would be its refusal.
        match finder.has_learnt {
            true => self.carry_out(call, request.files, record, patience).await,
            false => Err(refusal.into()),
        }
    }

    /// The call of `request`, with ids in the place of names.
    async fn find(
        &self,
        request: &Request,
        finder: &mut Finder,
        patience: &mut Patience,
    ) -> Result<Call, SendError> {
        let method = request.method;
        let channel = match &request.channel {
            Some(named) => {
                let found = self.find_conversation(named, method, finder, patience);
                Some((request.channel_key, found.await?))
            }
            None => None,
        };
        let mut call = Call::new(method, channel, request.arguments.clone());
        self.identify(method, &mut call.arguments, finder, patience)
            .await?;
        Ok(call)
    }

    /// Makes a call, after uploading `files`.
    async fn carry_out(
        &self,
        mut call: Call,
        files: Vec<NewFile>,
        record: &mut Record,
        patience: &mut Patience,
    ) -> Result<Value, SendError> {
        if !files.is_empty() {
            return self.share(call, files, record, patience).await;
        }
        if !self.refuses_marks() {
            call.mark(record.key);
        }
        self.attempt(&mut call, record, patience).await
    }
}
