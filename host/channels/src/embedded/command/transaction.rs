//! `MULTI`, `EXEC` and `DISCARD`: commands queued and then run as one.

use bytes::Bytes;

use crate::embedded::command::context::{Context, Transaction};
use crate::embedded::refusal::Refusal;
use crate::embedded::resp::{MAX_OUTPUT, Reply};

/// `MULTI`
pub(super) fn multi(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    if context.session.transaction.is_some() {
        return Err(Refusal::NestedMulti);
    }
    context.session.transaction = Some(Transaction::default());
    Ok(Reply::OK)
}

/// `DISCARD`
pub(super) fn discard(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    context
        .session
        .transaction
        .take()
        .map(|_| Reply::OK)
        .ok_or(Refusal::NoMulti("DISCARD"))
}

/// `EXEC`: nobody else's command runs in between.
pub(super) fn exec(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    let transaction = context
        .session
        .transaction
        .take()
        .ok_or(Refusal::NoMulti("EXEC"))?;
    if transaction.failed {
        return Err(Refusal::Aborted);
    }
    context.may_wait = false;
    let (mut replies, mut size) = (Vec::new(), 0);
    for (command, arguments) in transaction.queued {
        let reply = (command.run)(context, &arguments).unwrap_or_else(Reply::from);
        size += reply.size();
        if size > MAX_OUTPUT {
            // The commands behind it run all the same, but nothing more is kept for the client.
            replies = Vec::new();
        } else {
            replies.push(reply);
        }
    }
    if size > MAX_OUTPUT {
        // What it took from queues without being told goes back.
        let taken = std::mem::take(&mut context.session.taken);
        context.state.put_back(taken, false);
        return Err(Refusal::LongReply);
    }
    Ok(Reply::Array(replies))
}
