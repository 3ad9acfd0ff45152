//! The Web API: a call is read, admitted, carried out and answered as Slack would.
//!
//! The envelope is that of <https://docs.slack.dev/apis/web-api/>: every answer is an object with `ok`, a failure has
//! `error`, and remarks stand in `warning` and `response_metadata`.

use std::time::Duration;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::lock;
use crate::server::{Answered, Asked, HangUp, Payload, json as json_response, plain};
use crate::state::access::{Answer, Speaker};
use crate::state::workspace::Workspace;

mod apps;
mod arguments;
mod auth;
mod chat;
mod conversations;
mod cursor;
mod files;
mod functions;
mod messages;
mod oauth;
mod reactions;
mod rtm;
mod users;
pub(crate) mod views;

use arguments::Arguments;

/// Longer answers, in bytes, are not kept in the journal: a large roster would stay there many times over.
const LONGEST_KEPT: u64 = 64 * 1024;

/// A method: its name, the calls a minute that Slack's tier allows, and what it does.
struct Method {
    name: &'static str,
    per_minute: u32,
    /// One of these is needed; none are where the list is empty.
    scopes: &'static [&'static str],
    tokens: Tokens,
    run: fn(&mut Request<'_>) -> Result<Body, Refusal>,
}

/// Which tokens a method takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tokens {
    /// It needs none.
    None,
    /// Those of a workspace: a bot's, a user's.
    Workspace,
    /// App-level ones, in the header only.
    App,
    /// Each that is good.
    Any,
}

const METHODS: &[Method] = &[
    method("api.test", 100, &[], auth::api_test).with(Tokens::None),
    method("auth.test", 600, &[], auth::test).with(Tokens::Any),
    method("auth.teams.list", 20, &[], auth::teams),
    method("oauth.v2.access", 600, &[], oauth::access).with(Tokens::None),
    method(
        "apps.connections.open",
        50,
        &["connections:write"],
        apps::open_connection,
    )
    .with(Tokens::App),
    method("rtm.connect", 1, &["rtm:stream"], rtm::connect),
    method("rtm.start", 1, &["rtm:stream"], rtm::connect),
    method("users.list", 20, &["users:read"], users::list),
    method("users.info", 100, &["users:read"], users::info),
    method(
        "users.conversations",
        50,
        conversations::READ,
        conversations::of_user,
    ),
    method(
        "conversations.list",
        20,
        conversations::READ,
        conversations::list,
    ),
    method(
        "conversations.info",
        50,
        conversations::READ,
        conversations::info,
    ),
    method(
        "conversations.members",
        100,
        conversations::READ,
        conversations::members,
    ),
    method(
        "conversations.open",
        50,
        conversations::WRITE,
        conversations::open,
    ),
    method(
        "conversations.history",
        50,
        messages::SCOPES,
        messages::history,
    ),
    method(
        "conversations.replies",
        50,
        messages::SCOPES,
        messages::replies,
    ),
    method("chat.postMessage", 600, &["chat:write"], chat::post_message),
    method(
        "chat.postEphemeral",
        100,
        &["chat:write"],
        chat::post_ephemeral,
    ),
    method("chat.update", 50, &["chat:write"], chat::update),
    method("chat.delete", 50, &["chat:write"], chat::delete),
    method("reactions.add", 50, &["reactions:write"], reactions::add),
    method(
        "reactions.remove",
        20,
        &["reactions:write"],
        reactions::remove,
    ),
    method("views.open", 100, &[], views::open),
    method("views.push", 100, &[], views::push),
    method("views.update", 100, &[], views::update),
    method(
        "files.getUploadURLExternal",
        100,
        &["files:write"],
        files::get_upload_url,
    ),
    method(
        "files.completeUploadExternal",
        100,
        &["files:write"],
        files::complete_upload,
    ),
    method(
        "functions.completeSuccess",
        50,
        &[],
        functions::complete_success,
    ),
    method(
        "functions.completeError",
        50,
        &[],
        functions::complete_error,
    ),
    method("files.info", 100, &["files:read"], files::info),
    method("files.delete", 50, &["files:write"], files::delete),
];

const fn method(
    name: &'static str,
    per_minute: u32,
    scopes: &'static [&'static str],
    run: fn(&mut Request<'_>) -> Result<Body, Refusal>,
) -> Method {
    Method {
        name,
        per_minute,
        scopes,
        tokens: Tokens::Workspace,
        run,
    }
}

impl Method {
    const fn with(self, tokens: Tokens) -> Method {
        Method { tokens, ..self }
    }
}

type Body = Map<String, Value>;

/// A call that was admitted.
struct Request<'a> {
    core: &'a Core,
    speaker: Speaker,
    arguments: &'a Arguments,
    /// Remarks that go with the answer.
    warnings: Vec<&'static str>,
}

impl Request<'_> {
    /// The user that the caller's token speaks for.
    fn user(&self, workspace: &Workspace) -> usize {
        match self.speaker {
            Speaker::Bot => workspace.bot,
            // An app's own methods ask for no user.
            Speaker::Installer | Speaker::App => workspace.installer,
        }
    }
}

/// Why a call fails: Slack's code, and what goes with it.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    error: String,
    /// Sentences for `response_metadata.messages`.
    messages: Vec<String>,
    /// For `missing_scope` and `unknown_method`.
    more: Vec<(&'static str, Value)>,
    /// For `ratelimited`.
    retry_after: Option<u64>,
}

impl From<&str> for Refusal {
    fn from(error: &str) -> Refusal {
        Refusal {
            error: error.to_owned(),
            messages: Vec::new(),
            more: Vec::new(),
            retry_after: None,
        }
    }
}

impl Refusal {
    fn missing(field: &str) -> Refusal {
        Refusal::invalid(format!("[ERROR] missing required field: {field}"))
    }

    fn invalid(message: String) -> Refusal {
        Refusal {
            messages: vec![message],
            ..Refusal::from("invalid_arguments")
        }
    }

    fn too_fast(wait: Duration) -> Refusal {
        Refusal {
            // Whole seconds, never less than what there is to wait.
            retry_after: Some(wait.as_secs_f64().ceil().max(1.0) as u64),
            ..Refusal::from("ratelimited")
        }
    }
}

/// What is sent back, before headers that all answers have.
struct Reply {
    status: StatusCode,
    retry_after: Option<u64>,
    body: Value,
}

/// Answers a call of `method`.
pub(crate) async fn answer(core: &Core, method: &str, asked: Asked) -> Answered {
    let arguments = Arguments::read(&asked);
    let told = arguments.to_json();
    let text = told.to_string();
    let number = core.journal.called(method, told);
    let prescribed = lock(&core.access).prescribed(method, &text);
    let reply = match &prescribed {
        Some(answer) if answer.replaces() => {
            if answer.perform {
                perform(core, method, &arguments);
            }
            prescribed_reply(answer)
        }
        _ => perform(core, method, &arguments),
    };
    if let Some(answer) = &prescribed
        && let Err(hang_up) = held_back(answer).await
    {
        core.journal.answered(number, 0, Value::Null);
        return Err(hang_up);
    }
    let mut response = response(&reply);
    let headers = response.headers_mut();
    let scopes = {
        let access = lock(&core.access);
        let speaker = arguments.token().and_then(Speaker::of);
        let scopes = access.scopes_of(speaker.unwrap_or(Speaker::Bot));
        scopes.iter().cloned().collect::<Vec<_>>().join(",")
    };
    if let Ok(scopes) = HeaderValue::from_str(&scopes) {
        headers.insert(HeaderName::from_static("x-oauth-scopes"), scopes);
    }
    if let Some(known) = METHODS.iter().find(|known| known.name == method)
        && let Ok(scopes) = HeaderValue::from_str(&known.scopes.join(","))
    {
        headers.insert(HeaderName::from_static("x-accepted-oauth-scopes"), scopes);
    }
    headers.insert(
        HeaderName::from_static("x-slack-req-id"),
        HeaderValue::from(number),
    );
    let length = response.body().len() as u64;
    let kept = if length <= LONGEST_KEPT {
        reply.body
    } else {
        json!({"ok": reply.body["ok"], "too_long_to_keep": length})
    };
    core.journal.answered(number, reply.status.as_u16(), kept);
    Ok(broken_off(response, prescribed.as_ref()))
}

/// The answer that was prescribed for something that is no method, if one was.
pub(crate) async fn prescribed(
    core: &Core,
    what: &str,
) -> Result<Option<Response<Payload>>, HangUp> {
    let Some(answer) = lock(&core.access).prescribed(what, "") else {
        return Ok(None);
    };
    held_back(&answer).await?;
    let replaced = answer.replaces();
    Ok(replaced.then(|| broken_off(response(&prescribed_reply(&answer)), Some(&answer))))
}

/// Holds an answer back for as long as is prescribed.
async fn held_back(answer: &Answer) -> Result<(), HangUp> {
    tokio::time::sleep(Duration::from_millis(answer.delay_ms)).await;
    if answer.hang_up { Err(HangUp) } else { Ok(()) }
}

fn response(reply: &Reply) -> Response<Payload> {
    let mut response = match &reply.body {
        Value::String(text) => plain(reply.status, text),
        body => json_response(reply.status, body),
    };
    if let Some(seconds) = reply.retry_after {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Cuts the body short where that is prescribed; the length of the whole is announced all the same.
fn broken_off(response: Response<Payload>, prescribed: Option<&Answer>) -> Response<Payload> {
    if !prescribed.is_some_and(|answer| answer.truncate) {
        return response;
    }
    let length = response.body().len();
    let mut response = response.map(Payload::cut_short);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn prescribed_reply(answer: &Answer) -> Reply {
    let status = match (answer.status, answer.retry_after) {
        (0, Some(_)) => 429,
        (0, None) => 200,
        (status, _) => status,
    };
    let error = answer.error.as_deref().unwrap_or(match status {
        429 => "ratelimited",
        503 => "service_unavailable",
        _ => "internal_error",
    });
    Reply {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        retry_after: answer.retry_after,
        body: match &answer.body {
            Some(body) => body.clone(),
            None => json!({"ok": false, "error": error}),
        },
    }
}

/// Carries a call out, and puts its answer together.
fn perform(core: &Core, method: &str, arguments: &Arguments) -> Reply {
    let mut warnings = arguments.warnings();
    let outcome = attempt(core, method, arguments, &mut warnings);
    let (mut body, messages, retry_after) = match outcome {
        Ok(mut body) => {
            body.insert("ok".to_owned(), json!(true));
            (body, Vec::new(), None)
        }
        Err(refusal) => {
            let more = refusal.more.into_iter();
            let mut body: Body = more.map(|(key, value)| (key.to_owned(), value)).collect();
            body.insert("ok".to_owned(), json!(false));
            body.insert("error".to_owned(), json!(refusal.error));
            (body, refusal.messages, refusal.retry_after)
        }
    };
    if !warnings.is_empty() {
        body.insert("warning".to_owned(), json!(warnings.join(",")));
    }
    if !warnings.is_empty() || !messages.is_empty() {
        let metadata = body.entry("response_metadata").or_insert_with(|| json!({}));
        if !warnings.is_empty() {
            metadata["warnings"] = json!(warnings);
        }
        if !messages.is_empty() {
            metadata["messages"] = json!(messages);
        }
    }
    let status = match retry_after {
        Some(_) => StatusCode::TOO_MANY_REQUESTS,
        None => StatusCode::OK,
    };
    Reply {
        status,
        retry_after,
        body: Value::Object(body),
    }
}

fn attempt(
    core: &Core,
    name: &str,
    arguments: &Arguments,
    warnings: &mut Vec<&'static str>,
) -> Result<Body, Refusal> {
    let Some(method) = METHODS.iter().find(|method| method.name == name) else {
        return Err(Refusal {
            more: vec![("req_method", json!(name))],
            ..Refusal::from("unknown_method")
        });
    };
    if let Some(error) = arguments.malformed() {
        return Err(error.into());
    }
    let speaker = match method.tokens {
        Tokens::None => Speaker::Bot,
        _ => admitted(core, method, arguments)?,
    };
    if core.options.rate_limits {
        // A tier's calls may come all at once, and a few even of the rarest; Slack documents no finer rule.
        let burst = method.per_minute.max(10);
        let spent = lock(&core.access).spend(name, method.per_minute, burst);
        spent.map_err(Refusal::too_fast)?;
    }
    if let Some(per_minute) = core.options.history_per_minute
        && messages::LIMITED.contains(&name)
    {
        let spent = lock(&core.access).spend(&format!("limited {name}"), per_minute, 1);
        spent.map_err(Refusal::too_fast)?;
    }
    let mut request = Request {
        core,
        speaker,
        arguments,
        warnings: Vec::new(),
    };
    let outcome = (method.run)(&mut request);
    warnings.append(&mut request.warnings);
    outcome
}

/// Refuses a list that a token of an org-wide app asks for without saying of which workspace.
fn of_team(request: &Request<'_>) -> Result<(), Refusal> {
    let is_org_wide = lock(&request.core.access).org_wide;
    let team = request.arguments.text("team_id")?;
    match (is_org_wide, team) {
        (false, _) => Ok(()),
        (true, None) => Err(Refusal {
            messages: vec!["[ERROR] missing required field: team_id".to_owned()],
            ..Refusal::from("missing_argument")
        }),
        (true, Some(team)) if *team == *lock(&request.core.workspace).team.id => Ok(()),
        (true, Some(_)) => Err("team_not_found".into()),
    }
}

/// Whom the caller's token speaks for, where it may call the method.
fn admitted(core: &Core, method: &Method, arguments: &Arguments) -> Result<Speaker, Refusal> {
    let token = match method.tokens {
        Tokens::App => arguments.bearer(),
        _ => arguments.token(),
    };
    let access = lock(&core.access);
    let speaker = access
        .admit(token)
        .map_err(|error| Refusal::from(&*error))?;
    let is_app = speaker == Speaker::App;
    match method.tokens {
        Tokens::App if !is_app => return Err("not_allowed_token_type".into()),
        Tokens::Workspace if is_app => return Err("not_allowed_token_type".into()),
        _ => {}
    }
    let has = access.scopes_of(speaker);
    if method.scopes.is_empty() || method.scopes.iter().any(|scope| has.contains(*scope)) {
        return Ok(speaker);
    }
    let provided: Vec<&str> = has.iter().map(String::as_str).collect();
    let more = vec![
        ("needed", json!(method.scopes.join(","))),
        ("provided", json!(provided.join(","))),
    ];
    Err(Refusal {
        more,
        ..Refusal::from("missing_scope")
    })
}

/// An object's fields.
fn fields<const N: usize>(fields: [(&str, Value); N]) -> Body {
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
