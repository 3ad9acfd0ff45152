//! Calls that only read: they are retried, because reading twice does no harm, and lists are read page by page.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::api::{ApiError, Class, Failure, Identity, WebApi};
use crate::backoff::Backoff;
use crate::pacing::Pacer;

/// A list of more pages does not end: its cursors go round. So many pages hold a million entries.
const MAX_PAGES: u32 = 5_000;

/// So many failures in a row end a read.
const MAX_FAILURES: u32 = 8;

/// Reads one answer. `waiting` gets the wait before the call, where that is not zero.
pub(crate) async fn read<T: DeserializeOwned>(
    api: &WebApi,
    pacer: &Pacer,
    method: &str,
    args: &Map<String, Value>,
    waiting: impl Fn(Duration),
) -> Result<T, ApiError> {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let mut failures = 0;
    loop {
        let wait = pacer.wait(method, None);
        if !wait.is_zero() {
            waiting(wait);
        }
        pacer.ready(method, None).await;
        let error = match api.call_as(method, args).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match error.class() {
            // Where Slack limits the call again and again, the pauses grow beyond Slack's `Retry-After`.
            Class::RateLimited { retry_after } => {
                pacer.limited(method, None, retry_after.max(backoff.failed()));
            }
            Class::Retry | Class::Ambiguous if failures < MAX_FAILURES => {
                failures += 1;
                tracing::debug!(%error, failures, "a call that only reads has failed and is tried again");
                tokio::time::sleep(backoff.failed()).await;
            }
            _ => return Err(error),
        }
    }
}

/// A page of a list. Its entries are read one by one, so that an odd one costs only itself.
#[derive(Deserialize)]
struct Page {
    #[serde(
        alias = "channels",
        alias = "members",
        alias = "teams",
        alias = "usergroups"
    )]
    entries: Vec<Box<RawValue>>,
    response_metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    next_cursor: Option<String>,
}

/// A workspace, in `auth.teams.list`.
#[derive(Deserialize)]
struct Team {
    id: String,
}

/// Reads a list from its first page to its last, and gives `page` the entries of each page.
///
/// A token of an org-wide app has to name the workspace: its lists are read for each of its workspaces.
pub(crate) async fn list<T: DeserializeOwned>(
    api: &WebApi,
    pacer: &Pacer,
    method: &str,
    args: Map<String, Value>,
    mut page: impl FnMut(Vec<T>),
    waiting: impl Fn(Duration),
) -> Result<(), ApiError> {
    let listed = pages(api, pacer, method, args.clone(), &mut page, &waiting).await;
    let wanted = match listed {
        Err(error) if wants_team(&error) => error,
        listed => return listed,
    };
    let (mut is_read, mut refused) = (false, wanted);
    for team in teams(api, pacer, &waiting).await? {
        let mut args = args.clone();
        args.insert("team_id".to_owned(), team.as_str().into());
        match pages(api, pacer, method, args, &mut page, &waiting).await {
            Ok(()) => is_read = true,
            Err(error) if error.class() == Class::Permanent => {
                tracing::warn!(team, "{error}; this workspace is left out");
                refused = error;
            }
            Err(error) => return Err(error),
        }
    }
    match is_read {
        true => Ok(()),
        false => Err(refused),
    }
}

/// Whether a list has to be asked for by workspace.
fn wants_team(error: &ApiError) -> bool {
    match &error.failure {
        Failure::Refused(refusal) => {
            refusal.code == "missing_argument"
                || refusal.messages.iter().any(|it| it.contains("team_id"))
        }
        _ => false,
    }
}

/// The workspaces of an org-wide token; where Slack does not list them, the one that the token names.
async fn teams(
    api: &WebApi,
    pacer: &Pacer,
    waiting: &impl Fn(Duration),
) -> Result<Vec<String>, ApiError> {
    let mut teams = Vec::new();
    let note = &mut |page: Vec<Team>| teams.extend(page.into_iter().map(|team| team.id));
    let listed = pages(api, pacer, "auth.teams.list", Map::new(), note, waiting).await;
    match listed {
        Ok(()) => {}
        Err(error) if error.class() == Class::Permanent => {
            tracing::debug!("the workspaces of the token can't be listed: {error}");
        }
        Err(error) => return Err(error),
    }
    if teams.is_empty() {
        let me: Identity = read(api, pacer, "auth.test", &Map::new(), waiting).await?;
        teams.push(me.team_id);
    }
    Ok(teams)
}

impl Page {
    /// The entries that can be read, the number of those that can't, and the error of the first of these.
    fn read<T: DeserializeOwned>(&self) -> (Vec<T>, u64, Option<serde_json::Error>) {
        let (mut odd, mut first) = (0, None);
        let mut readable = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            match serde_json::from_str(entry.get()) {
                Ok(entry) => readable.push(entry),
                Err(error) => {
                    odd += 1;
                    first.get_or_insert(error);
                }
            }
        }
        (readable, odd, first)
    }
}

/// For the fuzz targets: the readable entries of a page, and the number of the others.
pub(crate) fn entries<T: DeserializeOwned>(page: &[u8]) -> Option<(Vec<T>, u64)> {
    let page: Page = serde_json::from_slice(page).ok()?;
    let (readable, odd, _) = page.read();
    Some((readable, odd))
}

/// Reads all pages of a list. A page may be short, or empty: only an empty cursor ends it, or too many pages.
async fn pages<T: DeserializeOwned>(
    api: &WebApi,
    pacer: &Pacer,
    method: &str,
    mut args: Map<String, Value>,
    page: &mut impl FnMut(Vec<T>),
    waiting: &impl Fn(Duration),
) -> Result<(), ApiError> {
    let (mut odd, mut first) = (0, None);
    for number in 1.. {
        let answer: Page = read(api, pacer, method, &args, waiting).await?;
        let (readable, unreadable, error) = answer.read();
        odd += unreadable;
        first = first.or(error);
        page(readable);
        let cursor = answer
            .response_metadata
            .and_then(|metadata| metadata.next_cursor);
        if !turn_page(method, &mut args, cursor)? {
            break;
        }
        if number == MAX_PAGES {
            return Err(endless(method, "it has too many pages"));
        }
    }
    if let Some(first) = first {
        tracing::warn!(
            method,
            entries = odd,
            "entries in one of Slack's lists can't be read and are left out; the first one: {first}"
        );
    }
    Ok(())
}

fn endless(method: &str, why: &str) -> ApiError {
    ApiError {
        method: method.to_owned(),
        channel: None,
        failure: Failure::Unreadable(why.to_owned()),
    }
}

/// Asks for the next page in `args`; false when there is none. A page may be short, or empty: only an empty cursor ends
/// a list.
pub(crate) fn turn_page(
    method: &str,
    args: &mut Map<String, Value>,
    next_cursor: Option<String>,
) -> Result<bool, ApiError> {
    let Some(cursor) = next_cursor.filter(|cursor| !cursor.is_empty()) else {
        return Ok(false);
    };
    let cursor = Value::from(cursor);
    if args.get("cursor") == Some(&cursor) {
        return Err(endless(method, "its next page is the page itself"));
    }
    args.insert("cursor".to_owned(), cursor);
    Ok(true)
}
