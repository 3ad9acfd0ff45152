//! Calls that only read: tried again for as long as that makes sense, since to read twice does no harm, and page by page.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    api::{ApiError, Class, Failure, WebApi},
    backoff::Backoff,
    pacing::Pacer,
};

/// So many failures one after the other end it.
const MAX_FAILURES: u32 = 8;

/// Reads one answer. `waiting` is told what has to be waited before the call, where that is not zero.
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
            Class::RateLimited { retry_after } => pacer.limited(method, None, retry_after),
            Class::Retry | Class::Ambiguous if failures < MAX_FAILURES => {
                failures += 1;
                tracing::debug!(%error, failures, "what could not be read is tried again");
                tokio::time::sleep(backoff.failed()).await;
            }
            _ => return Err(error),
        }
    }
}

/// Asks for the next page in `args`; false when there is none. A page may be short, or empty: only an empty cursor ends a
/// list.
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
        return Err(ApiError {
            method: method.to_owned(),
            channel: None,
            failure: Failure::Unreadable("its next page is the page itself".into()),
        });
    }
    args.insert("cursor".to_owned(), cursor);
    Ok(true)
}
