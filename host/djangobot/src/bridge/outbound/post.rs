//! One request to Slack: its destination looked up, its pace kept, tried again where that is safe.

mod attempts;
mod call;
mod caller;
pub(crate) mod destination;
mod find;
mod identifiers;
mod lookup;
mod patience;
mod repeat;
mod send_error;
mod snapshots;
mod upload;

use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::bridge::outbound::files::NewFile;
use crate::bridge::outbound::request::Request;
use call::Call;
pub(crate) use call::{CallTime, Doubt, Record, Since};
pub(crate) use caller::Caller;
use destination::Destination;
use find::{Finder, Unknown, is_about_id};
use patience::Patience;
pub(crate) use send_error::SendError;

impl Caller {
    /// The lane of `request`: its conversation, under one name whatever the app called it.
    ///
    /// A name that the roster learns while messages wait under it keeps them, and those that follow, in their order.
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

    /// Carries `request` out and gives Slack's answer.
    pub(crate) async fn call(
        &self,
        request: Request,
        record: &mut Record,
    ) -> Result<Value, SendError> {
        let patience = &mut Patience::new(self.send_timeout);
        let mut finder = Finder::new(match record.doubt {
            Doubt::None => Unknown::Ids,
            // What an earlier call posted is looked for where it went.
            Doubt::Faint(_) | Doubt::Begun { .. } => Unknown::Listed,
        });
        let outcome = match self.find(&request, &mut finder, patience).await {
            Ok(call) => {
                let files = request.files.clone();
                self.carry_out(call, files, record, patience).await
            }
            Err(unsent) => Err(unsent),
        };
        let refusal = match outcome {
            Err(SendError::Failed(refusal))
                if finder.has_guessed && is_about_id(&refusal.error) =>
            {
                refusal
            }
            outcome => return outcome,
        };
        // What was taken for an id is a name, then, if it is anything.
        record.not_begun().await;
        let mut finder = Finder::new(Unknown::Names);
        let call = self.find(&request, &mut finder, patience).await?;
        match finder.has_learnt {
            true => self.carry_out(call, request.files, record, patience).await,
            false => Err(refusal.into()),
        }
    }

    /// The call that `request` asks for, with ids in the place of names.
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
        if !self.unmarked().load(Ordering::Relaxed) {
            call.mark(record.key);
        }
        self.attempts(&mut call, record, patience).await
    }
}
