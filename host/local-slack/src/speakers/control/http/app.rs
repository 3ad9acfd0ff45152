//! The operations on the app's side of things: what it is given, and faults.

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fault::{Fault, Reason};
use crate::speakers::control::handle::Control;
use crate::speakers::control::http::operation::{OperationError, read};
use crate::speakers::control::storm::Storm;
use crate::speakers::control::traffic::Traffic;
use crate::state::connection::ConnectionId;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    event: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    payload: Value,
    #[serde(default)]
    accepts_response_payload: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slash {
    user: String,
    channel: String,
    command: String,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Interact {
    user: String,
    channel: Option<String>,
    payload: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnect {
    connection: Option<ConnectionId>,
    reason: Reason,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {
    connection: Option<ConnectionId>,
    bytes_per_second: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsUrl {
    url: Option<String>,
}

/// Does an operation, if it is one of these.
pub(super) async fn operate(
    control: &Control,
    method: &Method,
    operation: &str,
    body: &Bytes,
) -> Result<Option<Value>, OperationError> {
    let begun = |number: u64| json!({ "delivery": number });
    let done = json!({});
    Ok(Some(match (method, operation) {
        (&Method::POST, "event") => begun(control.event(&read::<Event>(operation, body)?.event)),
        (&Method::POST, "envelope") => {
            let envelope: Envelope = read(operation, body)?;
            let accepts = envelope.accepts_response_payload;
            begun(control.envelope(&envelope.kind, &envelope.payload, accepts))
        }
        (&Method::POST, "slash") => {
            let slash: Slash = read(operation, body)?;
            begun(control.slash(&slash.user, &slash.channel, &slash.command, &slash.text)?)
        }
        (&Method::POST, "interact") => {
            let interact: Interact = read(operation, body)?;
            let channel = interact.channel.as_deref();
            begun(control.interact(&interact.user, channel, &interact.payload)?)
        }
        (&Method::POST, "app_rate_limited") => begun(control.app_rate_limited()),
        (&Method::POST, "traffic") => {
            json!(control.traffic(read::<Traffic>(operation, body)?).await)
        }
        (&Method::POST, "storm") => {
            json!({"connections": control.storm(read::<Storm>(operation, body)?).await})
        }
        (&Method::POST, "disconnect") => {
            let disconnect: Disconnect = read(operation, body)?;
            json!({"connections": control.disconnect(disconnect.connection, disconnect.reason)})
        }
        (&Method::POST, "slow") => {
            let slow: Slow = read(operation, body)?;
            json!({"connections": control.read_slowly(slow.connection, slow.bytes_per_second)})
        }
        (&Method::POST, "fault") => {
            control.fault(read::<Fault>(operation, body)?);
            done
        }
        (&Method::GET, "faults") => json!({"faults": control.faults()}),
        (&Method::DELETE, "faults") => {
            control.clear_faults();
            done
        }
        (&Method::DELETE, "deliveries") => {
            control.clear_deliveries();
            done
        }
        (&Method::POST, "events_url") => {
            let url = read::<EventsUrl>(operation, body)?.url;
            control.set_events_url(url.as_deref())?;
            done
        }
        (&Method::POST, "verify_url") => {
            let (verified, answer) = control.verify_url().await;
            json!({"verified": verified, "answer": answer})
        }
        (&Method::POST, "ssl_check") => json!({"answer": control.ssl_check().await}),
        (&Method::POST, "expire_tokens") => {
            control.expire_tokens();
            done
        }
        _ => return Ok(None),
    }))
}
