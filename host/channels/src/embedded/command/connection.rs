//! Commands about the connection itself.

use bytes::Bytes;

use crate::embedded::clients::Tracking;
use crate::embedded::command::arguments::{integer, is};
use crate::embedded::command::context::{Context, Session};
use crate::embedded::command::server::REDIS_VERSION;
use crate::embedded::command_error::{CommandError, check_name};
use crate::embedded::resp::{Protocol, Reply};
use crate::embedded::store::DATABASES;
use crate::embedded::subscriptions::Kind;

/// The greatest number of prefixes that a client may track.
const MAX_PREFIXES: usize = 100;

/// `AUTH [username] password`
pub(super) fn auth(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    match arguments {
        [_] if context.state.password.is_none() => Err(CommandError::NoPassword),
        [password] => authenticate(context, b"default", password).map(|()| Reply::OK),
        [user, password] => authenticate(context, user, password).map(|()| Reply::OK),
        _ => Err(CommandError::Syntax),
    }
}

/// Checks a password. There is one user, as in a Redis with `requirepass`. If no password is set, any is accepted.
fn authenticate(
    context: &mut Context<'_>,
    user: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    let expected = context.state.password.as_deref().map(str::as_bytes);
    // All bytes are compared, even after the first difference, so that the time reveals nothing about the password.
    let same = expected.is_none_or(|expected| {
        let differences = expected
            .iter()
            .zip(password)
            .fold(0, |all, (a, b)| all | (a ^ b));
        expected.len() == password.len() && differences == 0
    });
    if user != b"default" || !same {
        return Err(CommandError::WrongPassword);
    }
    context.session.authenticated = true;
    Ok(())
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`
pub(super) fn hello(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let (version, mut options) = match arguments.split_first() {
        None => (None, arguments),
        Some((version, options)) => (Some(version), options),
    };
    let protocol = match version.map(|version| &version[..]) {
        None => context.session.protocol,
        Some(b"2") => Protocol::Resp2,
        Some(b"3") => Protocol::Resp3,
        Some(_) => return Err(CommandError::Protocol),
    };
    let mut name = None;
    while let Some((option, rest)) = options.split_first() {
        options = match rest {
            [user, password, rest @ ..] if is(option, "AUTH") => {
                authenticate(context, user, password)?;
                rest
            }
            [given, rest @ ..] if is(option, "SETNAME") => {
                name = Some(given);
                rest
            }
            _ => return Err(CommandError::Syntax),
        };
    }
    if !context.session.authenticated {
        return Err(CommandError::NotAuthenticated);
    }
    if let Some(name) = name {
        set_name(context, name)?;
    }
    set_protocol(context, protocol);
    let entry = |key: &'static str, value| (Reply::text(key), value);
    Ok(Reply::Map(vec![
        entry("server", Reply::text("redis")),
        entry("version", Reply::text(REDIS_VERSION)),
        entry(
            "proto",
            Reply::Integer(if protocol == Protocol::Resp3 { 3 } else { 2 }),
        ),
        entry("id", client_id(context.session)),
        entry("mode", Reply::text("standalone")),
        entry("role", Reply::text("master")),
        entry("modules", Reply::Array(Vec::new())),
    ]))
}

fn set_protocol(context: &mut Context<'_>, protocol: Protocol) {
    context.session.protocol = protocol;
    if let Some(client) = context.state.clients.get_mut(context.session.id) {
        client.protocol = protocol;
    }
}

fn client_id(session: &Session) -> Reply {
    Reply::Integer(i64::try_from(session.id).unwrap_or(i64::MAX))
}

/// `CLIENT ID | GETNAME | SETNAME name | SETINFO attribute value | INFO | LIST | TRACKING ...`
pub(super) fn client(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let Some((subcommand, arguments)) = arguments.split_first() else {
        return Err(CommandError::Syntax);
    };
    match (&subcommand.to_ascii_uppercase()[..], arguments) {
        (b"ID", []) => Ok(client_id(context.session)),
        (b"GETNAME", []) => {
            let name = context
                .state
                .clients
                .get_mut(context.session.id)
                .map(|client| client.name.clone());
            Ok(name
                .filter(|name| !name.is_empty())
                .map_or(Reply::Null, Reply::Bulk))
        }
        (b"SETNAME", [name]) => set_name(context, name).map(|()| Reply::OK),
        // The name of the client's library changes nothing here.
        (b"SETINFO", [_, _]) | (b"NO-EVICT" | b"NO-TOUCH", [_]) => Ok(Reply::OK),
        (b"INFO", []) => Ok(Reply::text(list(context, Some(context.session.id)))),
        (b"LIST", _) => Ok(Reply::text(list(context, None))),
        (b"TRACKING", [switch, options @ ..]) => tracking(context, switch, options),
        (
            b"ID" | b"GETNAME" | b"SETNAME" | b"SETINFO" | b"NO-EVICT" | b"NO-TOUCH" | b"INFO"
            | b"TRACKING",
            _,
        ) => Err(CommandError::Arity(format!(
            "client|{}",
            String::from_utf8_lossy(subcommand).to_ascii_lowercase()
        ))),
        _ => Err(CommandError::UnknownSubcommand {
            command: "CLIENT",
            subcommand: String::from_utf8_lossy(&subcommand[..subcommand.len().min(128)])
                .into_owned(),
        }),
    }
}

fn set_name(context: &mut Context<'_>, name: &[u8]) -> Result<(), CommandError> {
    check_name(name)?;
    if !name.iter().all(u8::is_ascii_graphic) {
        return Err(CommandError::Other(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    if let Some(client) = context.state.clients.get_mut(context.session.id) {
        client.name = Bytes::copy_from_slice(name);
    }
    Ok(())
}

/// The lines of `CLIENT LIST`, or the single line of `CLIENT INFO`.
fn list(context: &Context<'_>, only: Option<u64>) -> String {
    let mut text = String::new();
    for (id, client) in context
        .state
        .clients
        .iter()
        .filter(|(id, _)| only.is_none_or(|only| only == *id))
    {
        let name = String::from_utf8_lossy(&client.name);
        let resp = if client.protocol == Protocol::Resp3 {
            3
        } else {
            2
        };
        text.push_str(&format!(
            "id={id} addr={} name={name} db={} resp={resp}\n",
            client.address, client.database
        ));
    }
    text
}

/// `CLIENT TRACKING ON BCAST [PREFIX prefix]... [NOLOOP] | OFF`. Only this mode is supported, and only with RESP3.
fn tracking(
    context: &mut Context<'_>,
    switch: &[u8],
    mut options: &[Bytes],
) -> Result<Reply, CommandError> {
    let id = context.session.id;
    if is(switch, "OFF") {
        context.state.clients.track(id, None);
        return Ok(Reply::OK);
    }
    let (mut tracking, mut broadcast) = (Tracking::default(), false);
    while let Some((option, rest)) = options.split_first() {
        options = rest;
        match rest {
            [prefix, rest @ ..] if is(option, "PREFIX") => {
                check_name(prefix)?;
                if tracking.prefixes.len() >= MAX_PREFIXES {
                    return Err(CommandError::TooManyNames);
                }
                tracking.prefixes.push(Bytes::copy_from_slice(prefix));
                options = rest;
            }
            _ if is(option, "BCAST") => broadcast = true,
            _ if is(option, "NOLOOP") => tracking.no_loop = true,
            _ => return Err(CommandError::Syntax),
        }
    }
    if !is(switch, "ON") {
        return Err(CommandError::Syntax);
    }
    if !broadcast || context.session.protocol == Protocol::Resp2 {
        return Err(CommandError::Other(
            "ERR the embedded channel layer has CLIENT TRACKING with BCAST and RESP3 only",
        ));
    }
    context.state.clients.track(id, Some(tracking));
    Ok(Reply::OK)
}

/// `ECHO message`
pub(super) fn echo(_: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    Ok(arguments.first().cloned().map_or(Reply::Null, Reply::Bulk))
}

/// `PING [message]`
pub(super) fn ping(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let listens = context.state.subscriptions.count(context.session.id) > 0;
    match arguments {
        [] | [_] if listens && context.session.protocol == Protocol::Resp2 => {
            let message = arguments.first().cloned().unwrap_or_default();
            Ok(Reply::Array(vec![
                Reply::text("pong"),
                Reply::Bulk(message),
            ]))
        }
        [] => Ok(Reply::Status("PONG")),
        [message] => Ok(Reply::Bulk(message.clone())),
        _ => Err(CommandError::Arity("ping".to_owned())),
    }
}

/// `QUIT`
pub(super) fn quit(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, CommandError> {
    context.session.closing = true;
    Ok(Reply::OK)
}

/// `RESET`: the session starts again, as after a new connection.
pub(super) fn reset(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, CommandError> {
    let id = context.session.id;
    for kind in [Kind::Channel, Kind::Pattern] {
        for name in context.state.subscriptions.names(kind, id) {
            context.state.subscriptions.unsubscribe(kind, id, &name);
        }
    }
    context.state.clients.track(id, None);
    if let Some(client) = context.state.clients.get_mut(id) {
        client.name = Bytes::new();
        client.database = 0;
    }
    context.session.database = 0;
    context.session.authenticated = context.state.password.is_none();
    context.session.transaction = None;
    set_protocol(context, Protocol::Resp2);
    Ok(Reply::Status("RESET"))
}

/// `SELECT index`
pub(super) fn select(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let index = integer(arguments.first().map_or(&[][..], |index| index))?;
    let index = usize::try_from(index)
        .ok()
        .filter(|index| *index < DATABASES)
        .ok_or(CommandError::Database)?;
    context.session.database = index;
    if let Some(client) = context.state.clients.get_mut(context.session.id) {
        client.database = index;
    }
    Ok(Reply::OK)
}
