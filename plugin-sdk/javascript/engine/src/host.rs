//! The functions that the library is made of. They take and return plain values; the library gives them their form.

use std::fmt::Display;

use rquickjs::{Array, Ctx, Exception, Function, IntoJs, Object, Result, Value};

use crate::bindings::djangobot::plugin::types::{Direction, Emission};
use crate::bindings::djangobot::plugin::{
    emitter, event, http, log, roster, secrets, slack, store,
};
use crate::values::{integer, object, to_script};

/// Writes a warning to the host's log.
pub(crate) fn warn(message: &str) {
    log::write(log::Level::Warn, message);
}

/// An object with all functions.
pub(crate) fn functions<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    macro_rules! offer {
        ($($name:literal: $function:expr,)*) => {
            $(host.set($name, Function::new(ctx.clone(), $function)?.with_name($name)?)?;)*
        };
    }
    offer! {
        "id": event::id,
        "kind": event::kind,
        "isInbound": || event::direction() == Direction::Inbound,
        "json": event::json,
        "get": get,
        "select": select,
        "log": write,
        "emit": emit,
        "me": me,
        "user": |ctx, id: String| user(ctx, roster::get_user(&id)),
        "users": users,
        "conversation": |ctx, id: String| conversation(ctx, roster::get_conversation(&id)),
        "usergroup": |ctx, id: String| usergroup(ctx, roster::get_usergroup(&id)),
        "bot": bot,
        "findUsers": |ctx: Ctx<'js>, name: String| list(&ctx, roster::find_users(&name), user),
        "findConversations": |ctx: Ctx<'js>, name: String| list(&ctx, roster::find_conversations(&name), conversation),
        "findUsergroups": |ctx: Ctx<'js>, handle: String| list(&ctx, roster::find_usergroups(&handle), usergroup),
        "rosterSelect": roster_select,
        "isAnswerable": event::is_answerable,
        "storeGet": store_get,
        "storeSet": store_set,
        "storeDelete": store_delete,
        "storeIncrement": store_increment,
        "send": send,
        "call": call,
        "secret": secret,
        "fetch": fetch,
    }
    Ok(host)
}

fn get<'js>(ctx: Ctx<'js>, pointer: String) -> Result<Value<'js>> {
    to_script(&ctx, event::get(&pointer))
}

fn select<'js>(ctx: Ctx<'js>, pointers: Vec<String>) -> Result<Array<'js>> {
    let values = Array::new(ctx.clone())?;
    for (at, value) in event::select(&pointers).into_iter().enumerate() {
        values.set(at, to_script(&ctx, value)?)?;
    }
    Ok(values)
}

fn write(level: String, line: String) {
    let level = match level.as_str() {
        "trace" => log::Level::Trace,
        "debug" => log::Level::Debug,
        "warn" => log::Level::Warn,
        "error" => log::Level::Error,
        _ => log::Level::Info,
    };
    log::write(level, &line);
}

/// An exception for what the host refused. `act` says what was tried: `store.set`.
fn refused(ctx: &Ctx<'_>, act: impl Display, why: impl Display) -> rquickjs::Error {
    Exception::throw_message(ctx, &format!("{act}: {why}"))
}

fn emit(ctx: Ctx<'_>, kind: String, body: String) -> Result<()> {
    let act = format!("emit(\"{kind}\")");
    emitter::emit(&Emission { kind, body }).map_err(|error| {
        let why = match error {
            emitter::EmitError::Denied(why)
            | emitter::EmitError::Invalid(why)
            | emitter::EmitError::Other(why) => why,
            emitter::EmitError::TooMany => {
                "this call emitted too many events, or the chain of emissions is too long".into()
            }
        };
        refused(&ctx, act, why)
    })
}

/// Members of an object, each made of a field of a record.
macro_rules! members {
    ($ctx:expr, $record:expr, { $($name:literal: $field:ident,)* }) => {
        object($ctx, [$(($name, $record.$field.into_js($ctx)?),)*])
    };
}

fn me(ctx: Ctx<'_>) -> Result<Option<Object<'_>>> {
    roster::me()
        .map(|me| members!(&ctx, me, { "teamId": team_id, "userId": user_id, "botId": bot_id, "name": name, }))
        .transpose()
}

fn user(ctx: Ctx<'_>, user: Option<roster::User>) -> Result<Option<Object<'_>>> {
    user.map(|user| {
        members!(&ctx, user, {
            "id": id, "name": name, "displayName": display_name, "realName": real_name, "isBot": is_bot, "deleted": deleted,
        })
    })
    .transpose()
}

fn users<'js>(ctx: Ctx<'js>, ids: Vec<String>) -> Result<Array<'js>> {
    let users = Array::new(ctx.clone())?;
    for (at, found) in roster::get_users(&ids).into_iter().enumerate() {
        users.set(at, user(ctx.clone(), found)?)?;
    }
    Ok(users)
}

fn conversation(ctx: Ctx<'_>, found: Option<roster::Conversation>) -> Result<Option<Object<'_>>> {
    found
        .map(|found| members!(&ctx, found, { "id": id, "name": name, "isPrivate": is_private, }))
        .transpose()
}

fn usergroup(ctx: Ctx<'_>, found: Option<roster::Usergroup>) -> Result<Option<Object<'_>>> {
    found
        .map(|found| members!(&ctx, found, { "id": id, "handle": handle, "name": name, }))
        .transpose()
}

/// An array of records, each made an object by `form`.
fn list<'js, R>(
    ctx: &Ctx<'js>,
    records: Vec<R>,
    form: impl Fn(Ctx<'js>, Option<R>) -> Result<Option<Object<'js>>>,
) -> Result<Array<'js>> {
    let array = Array::new(ctx.clone())?;
    for (at, record) in records.into_iter().enumerate() {
        array.set(at, form(ctx.clone(), Some(record))?)?;
    }
    Ok(array)
}

fn roster_select<'js>(
    ctx: Ctx<'js>,
    table: String,
    id: String,
    pointers: Vec<String>,
) -> Result<Option<Array<'js>>> {
    let table = match table.as_str() {
        "users" => roster::Table::Users,
        "conversations" => roster::Table::Conversations,
        "usergroups" => roster::Table::Usergroups,
        "bots" => roster::Table::Bots,
        other => {
            let why = "the tables are users, conversations, usergroups and bots";
            return Err(refused(&ctx, format!("roster.select(\"{other}\")"), why));
        }
    };
    let Some(values) = roster::select(table, &id, &pointers) else {
        return Ok(None);
    };
    let array = Array::new(ctx.clone())?;
    for (at, value) in values.into_iter().enumerate() {
        array.set(at, to_script(&ctx, value)?)?;
    }
    Ok(Some(array))
}

fn bot(ctx: Ctx<'_>, id: String) -> Result<Option<Object<'_>>> {
    roster::get_bot(&id)
        .map(|bot| members!(&ctx, bot, { "id": id, "name": name, }))
        .transpose()
}

/// The exception for an error of the store.
fn store_error(ctx: &Ctx<'_>, act: &str, key: &str, error: store::StoreError) -> rquickjs::Error {
    use store::StoreError::{Denied, NotANumber, Other, OverQuota, Unavailable};
    let why = match error {
        Denied(why) | Unavailable(why) | Other(why) => why,
        OverQuota => "the key, the value or the whole store is too large (limits.store-mib)".into(),
        NotANumber => "the value is not a number".into(),
    };
    refused(ctx, format!("store.{act}(\"{key}\")"), why)
}

fn store_get(ctx: Ctx<'_>, key: String) -> Result<Option<String>> {
    let bytes = store::get(&key).map_err(|error| store_error(&ctx, "get", &key, error))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn store_set(ctx: Ctx<'_>, key: String, value: String, ttl_ms: Option<f64>) -> Result<()> {
    let ttl_ms = ttl_ms.map(|ms| ms as u64);
    store::set(&key, value.as_bytes(), ttl_ms)
        .map_err(|error| store_error(&ctx, "set", &key, error))
}

fn store_delete(ctx: Ctx<'_>, key: String) -> Result<()> {
    store::delete(&key).map_err(|error| store_error(&ctx, "delete", &key, error))
}

fn store_increment<'js>(ctx: Ctx<'js>, key: String, by: f64) -> Result<Value<'js>> {
    let sum = store::increment(&key, by as i64)
        .map_err(|error| store_error(&ctx, "increment", &key, error))?;
    integer(&ctx, sum)
}

fn send(ctx: Ctx<'_>, message: String) -> Result<String> {
    use slack::SendError::{Denied, Invalid, Other, RateLimited, Unavailable};
    slack::send(&message).map_err(|error| {
        let why = match error {
            Denied(why) | Invalid(why) | Unavailable(why) | Other(why) => why,
            RateLimited(ms) => format!("the plugin sent as many messages as it may in a minute; the next one may go in {ms} ms"),
        };
        refused(&ctx, "slack.send", why)
    })
}

fn call(ctx: Ctx<'_>, method: String, arguments: String) -> Result<String> {
    use slack::CallError::{Denied, Invalid, Other, RateLimited, Refused, Unavailable};
    slack::call(&method, &arguments).map_err(|error| {
        let why = match error {
            Denied(why) | Invalid(why) | Unavailable(why) | Other(why) => why,
            RateLimited(ms) => format!("too many calls were made; the next one may go in {ms} ms"),
            Refused(refusal) => format!("{}: {}", refusal.error, refusal.detail),
        };
        refused(&ctx, format!("slack.call(\"{method}\")"), why)
    })
}

fn secret(ctx: Ctx<'_>, name: String) -> Result<Option<String>> {
    use secrets::SecretError::{Denied, Other};
    secrets::get(&name).map_err(|error| {
        let (Denied(why) | Other(why)) = error;
        refused(&ctx, format!("secret(\"{name}\")"), why)
    })
}

/// Makes an HTTP request. `headers` has a name and a value for each header, and so has the answer: its status, its
/// headers, its body.
fn fetch<'js>(
    ctx: Ctx<'js>,
    method: String,
    url: String,
    headers: Vec<Vec<String>>,
    body: String,
    timeout_ms: Option<u32>,
) -> Result<Array<'js>> {
    use http::HttpError::{Denied, Failed, Other, Timeout, TooLarge};
    let headers = headers.into_iter().filter_map(|pair| {
        let [name, value] = <[String; 2]>::try_from(pair).ok()?;
        Some((name, value))
    });
    let act = format!("fetch(\"{url}\")");
    let request = http::Request {
        method,
        url,
        headers: headers.collect(),
        body: body.into_bytes(),
        timeout_ms,
    };
    let response = http::fetch(&request).map_err(|error| {
        let why = match error {
            Denied(why) | Failed(why) | Other(why) => why,
            Timeout => "there was no answer in time".into(),
            TooLarge => "the request or the answer is too large".into(),
        };
        refused(&ctx, act, why)
    })?;
    let answer = Array::new(ctx.clone())?;
    answer.set(0, response.status)?;
    let headers: Vec<_> = response
        .headers
        .into_iter()
        .map(|(name, value)| vec![name, value])
        .collect();
    answer.set(1, headers)?;
    answer.set(2, String::from_utf8_lossy(&response.body).into_owned())?;
    Ok(answer)
}
