//! `MULTI`, `EXEC` and `DISCARD`: commands are queued, and then run as one.

use bytes::Bytes;

use crate::embedded::command::context::{Context, QueuedCommand, Transaction};
use crate::embedded::command_error::CommandError;
use crate::embedded::resp::{MAX_OUTPUT, Reply};

/// `MULTI`
pub(super) fn multi(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, CommandError> {
    if context.session.transaction.is_some() {
        return Err(CommandError::NestedMulti);
    }
    context.session.transaction = Some(Transaction::default());
    Ok(Reply::OK)
}

/// `DISCARD`
pub(super) fn discard(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, CommandError> {
    context
        .session
        .transaction
        .take()
        .map(|_| Reply::OK)
        .ok_or(CommandError::NoMulti("DISCARD"))
}

/// `EXEC`. No command of another client runs in between.
pub(super) fn exec(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, CommandError> {
    let transaction = context
        .session
        .transaction
        .take()
        .ok_or(CommandError::NoMulti("EXEC"))?;
    if transaction.failed {
        return Err(CommandError::Aborted);
    }
    context.may_wait = false;
    let (mut replies, mut size) = (Vec::new(), 0);
    for QueuedCommand { command, arguments } in transaction.commands {
        let reply = (command.run)(context, &arguments).unwrap_or_else(Reply::from);
        size += reply.size();
        if size > MAX_OUTPUT {
            // The remaining commands run, but their replies are not kept.
            replies = Vec::new();
        } else {
            replies.push(reply);
        }
    }
    if size > MAX_OUTPUT {
        // Items that it popped go back, because the client does not hear of them.
        let items = std::mem::take(&mut context.session.unwritten);
        context.state.put_back(items, false);
        return Err(CommandError::LongReply);
    }
    Ok(Reply::Array(replies))
}
