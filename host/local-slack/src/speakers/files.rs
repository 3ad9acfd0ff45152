//! The content of files over HTTP: uploaded by apps, and downloaded as `url_private` is.

use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::core::Core;
use crate::http::{HttpAnswer, HttpRequest, Payload, plain, with_body};
use crate::lock::lock;
use crate::speakers::web_api::prescribed::prescribed;

/// The name under which uploads stand among the calls, and under which answers to them are prescribed.
const METHOD: &str = "upload";

/// Answers an upload of a file's content.
pub(crate) async fn upload(core: &Core, path: &str, request: HttpRequest) -> HttpAnswer {
    let number = core
        .journal
        .called(METHOD, json!({"length": request.body.len()}));
    let response = match prescribed(&core.access, METHOD).await {
        Ok(Some(response)) => response,
        Ok(None) => {
            let length = request.body.len();
            let done = match request.head.method {
                Method::POST => lock(&core.files).upload(path, request.body),
                _ => Err("upload the file with POST"),
            };
            match done {
                Ok(_) => plain(StatusCode::OK, &format!("OK - {length}")),
                Err(why) => plain(StatusCode::BAD_REQUEST, why),
            }
        }
        Err(hang_up) => {
            core.journal.answered(number, 0, Value::Null);
            return Err(hang_up);
        }
    };
    core.journal
        .answered(number, response.status().as_u16(), json!("upload"));
    Ok(response)
}

/// Answers a download with a valid token, as `url_private` does.
pub(crate) fn download(core: &Core, id: &str, request: &HttpRequest) -> Response<Payload> {
    let authorization = request.head.headers.get(hyper::header::AUTHORIZATION);
    let token = authorization
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    if lock(&core.access).admit(token).is_err() {
        return plain(StatusCode::FORBIDDEN, "a valid token is needed");
    }
    let content = lock(&core.files).get(id).and_then(|it| it.content.clone());
    match content {
        Some(content) => with_body(StatusCode::OK, "application/octet-stream", content),
        None => plain(StatusCode::NOT_FOUND, "there is no such file"),
    }
}
