//! A call from its arguments to its answer.

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::core::Core;
use crate::http::{HttpAnswer, HttpRequest};
use crate::lock::lock;
use crate::speakers::web_api::arguments::Arguments;
use crate::speakers::web_api::call::{Body, Refusal, Request};
use crate::speakers::web_api::messages;
use crate::speakers::web_api::method::{METHODS, Method, Tokens};
use crate::speakers::web_api::prescribed::{
    Reply, broken_off, held_back, prescribed_reply, response,
};
use crate::state::access::{Access, Speaker};

/// Longer answers, in bytes, are not kept in the journal: a large roster would stay there many times over.
const LONGEST_KEPT: u64 = 64 * 1024;

/// Answers a call of `method`.
pub(crate) async fn answer(core: &Core, method: &str, request: HttpRequest) -> HttpAnswer {
    let arguments = Arguments::read(&request);
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
        _ => admitted(&lock(&core.access), method, arguments)?,
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

/// Whom the caller's token speaks for, where it may call the method.
fn admitted(access: &Access, method: &Method, arguments: &Arguments) -> Result<Speaker, Refusal> {
    let token = match method.tokens {
        Tokens::App => arguments.bearer(),
        _ => arguments.token(),
    };
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
