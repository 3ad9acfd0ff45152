//! Commands to publish and to subscribe.

use bytes::Bytes;

use crate::embedded::command::context::Context;
use crate::embedded::command_error::{CommandError, check_name};
use crate::embedded::resp::Reply;
use crate::embedded::subscriptions::Kind;

/// `SUBSCRIBE channel...`
pub(super) fn subscribe(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    subscribe_to(context, arguments, Kind::Channel, "subscribe")
}

/// `PSUBSCRIBE pattern...`
pub(super) fn psubscribe(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    subscribe_to(context, arguments, Kind::Pattern, "psubscribe")
}

fn subscribe_to(
    context: &mut Context<'_>,
    names: &[Bytes],
    kind: Kind,
    word: &'static str,
) -> Result<Reply, CommandError> {
    let id = context.session.id;
    names.iter().try_for_each(|name| check_name(name))?;
    let mut replies = Vec::with_capacity(names.len());
    for name in names {
        if !context.state.subscriptions.subscribe(kind, id, name) {
            replies.push(
                CommandError::Other("ERR this client is subscribed to too many channels").into(),
            );
            break;
        }
        replies.push(confirmation(context, word, Reply::Bulk(name.clone())));
    }
    Ok(Reply::Several(replies))
}

/// `UNSUBSCRIBE [channel...]`; all of them if none is named.
pub(super) fn unsubscribe(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    unsubscribe_from(context, arguments, Kind::Channel, "unsubscribe")
}

/// `PUNSUBSCRIBE [pattern...]`; all of them if none is named.
pub(super) fn punsubscribe(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    unsubscribe_from(context, arguments, Kind::Pattern, "punsubscribe")
}

fn unsubscribe_from(
    context: &mut Context<'_>,
    names: &[Bytes],
    kind: Kind,
    word: &'static str,
) -> Result<Reply, CommandError> {
    let id = context.session.id;
    let names = if names.is_empty() {
        context.state.subscriptions.names(kind, id)
    } else {
        names.to_vec()
    };
    if names.is_empty() {
        return Ok(confirmation(context, word, Reply::Null));
    }
    let mut replies = Vec::with_capacity(names.len());
    for name in names {
        context.state.subscriptions.unsubscribe(kind, id, &name);
        replies.push(confirmation(context, word, Reply::Bulk(name)));
    }
    Ok(Reply::Several(replies))
}

/// The answer for each name, with the number of the client's subscriptions.
fn confirmation(context: &Context<'_>, word: &'static str, name: Reply) -> Reply {
    let count = context.state.subscriptions.count(context.session.id);
    Reply::Push(vec![Reply::text(word), name, Reply::count(count)])
}

/// `PUBLISH channel message`
pub(super) fn publish(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let [channel, message] = arguments else {
        return Err(CommandError::Syntax);
    };
    let state = &mut *context.state;
    let count =
        state
            .subscriptions
            .publish(&mut state.clients, &mut context.matcher, channel, message)?;
    Ok(Reply::count(count))
}
