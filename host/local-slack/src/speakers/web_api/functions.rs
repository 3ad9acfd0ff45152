//! `functions.completeSuccess` and `completeError`: the result of a function that an app was asked to carry out.

use serde_json::Value;

use crate::speakers::web_api::call::{Body, Refusal, Request};

pub(super) fn complete_success(request: &mut Request<'_>) -> Result<Body, Refusal> {
    request.arguments.required("function_execution_id")?;
    match request.arguments.get("outputs") {
        Some(Value::Object(_)) => Ok(Body::new()),
        Some(_) => Err("parameter_validation_failed".into()),
        None => Err(Refusal::missing("outputs")),
    }
}

pub(super) fn complete_error(request: &mut Request<'_>) -> Result<Body, Refusal> {
    request.arguments.required("function_execution_id")?;
    request.arguments.required("error")?;
    Ok(Body::new())
}
