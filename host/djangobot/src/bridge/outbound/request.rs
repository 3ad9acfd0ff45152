//! The request of a message on `slack.send`: a Web API method with its arguments, checked, and the channel for its
//! outcome.

use std::time::Duration;

use djangobot_event::Event;
use djangobot_slack::method;
use serde_json::{Map, Value};

use crate::bridge::arguments;
use crate::bridge::outbound::files::{self, NewFile};
use crate::bridge::reply::{DEFAULT_METHOD, Reply, SendFailure, check_length, keys_of, kind};
use crate::config::is_allowed;

/// The arguments that a post may have in place of `text`.
const BODIES: &[&str] = &["text", "blocks", "attachments", "markdown_text"];

/// A call of the Web API that an app asked for.
#[derive(Debug)]
pub(crate) struct Request {
    /// The Web API method.
    pub(crate) method: &'static method::Method,
    /// Its arguments, without that of the conversation, whose id is not found yet.
    pub(crate) arguments: Map<String, Value>,
    /// The conversation as the app named it.
    pub(crate) channel: Option<String>,
    /// The name of the argument for it.
    pub(crate) channel_key: &'static str,
    /// The files that are uploaded before the call, which shares them.
    pub(crate) files: Vec<NewFile>,
}

/// The rules for messages: the methods that apps may call, and defaults.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Globs over method names, with `*` at the end.
    pub(crate) methods: Vec<String>,
    /// The conversation for a post without `channel`.
    pub(crate) default_channel: String,
    /// The greatest age of a message when it is sent; `None` if it has no bound.
    pub(crate) max_age: Option<Duration>,
    /// The most bytes that the files of a message may have.
    pub(crate) max_file_bytes: u64,
}

impl Rules {
    /// Reads a message of `slack.send`. The reply channel is read first, so that a refusal goes there too.
    ///
    /// # Errors
    ///
    /// The request is an error if Slack would not take the call, or the config does not allow it.
    pub(crate) fn read(&self, message: &Event) -> (Reply, Result<Request, SendFailure>) {
        let mut keys = match keys_of(message) {
            Ok(keys) => keys,
            Err(refusal) => return (Reply::unreadable(), Err(refusal)),
        };
        let (mut reply, read) = Reply::take(&mut keys);
        // Until the method is known, `reply` has it as the app wrote it, so that a refusal names that.
        let request = read.and_then(|()| self.request(keys));
        if let Ok(request) = &request {
            request.method.name.clone_into(&mut reply.method);
        }
        (reply, request)
    }

    fn request(&self, mut keys: Map<String, Value>) -> Result<Request, SendFailure> {
        keys.remove("type");
        // This key is ours: it says which plugin made the message. Slack would take it for an argument.
        keys.remove("djangobot");
        check_of_answers(&keys)?;
        let mut method = self.method(keys.remove("method"))?;
        // Other methods have arguments of their own with these names.
        let files = match method.name == DEFAULT_METHOD {
            true => files::take(&mut keys, self.max_file_bytes)?,
            false => Vec::new(),
        };
        if !files.is_empty() {
            method = self.method(Some(files::SHARE.into()))?;
            files::take_text(&mut keys)?;
        }
        let is_post = matches!(method.name, "chat.postMessage" | "chat.postEphemeral");
        // Most methods name their conversation by `channel`, some by `channel_id`. An app may write either a name or an
        // id under both, so the id is found for both.
        let has_channel = keys.contains_key("channel");
        let mut channel = self.channel(keys.remove("channel"))?;
        let mut arguments = arguments::convert(method, keys)?;
        let channel_key = match has_channel || is_post {
            true if files.is_empty() => "channel",
            _ => "channel_id",
        };
        if channel_key == "channel_id"
            && channel.is_none()
            && let Some(Value::String(named)) = arguments.remove(channel_key)
        {
            channel = Some(named.trim().to_owned()).filter(|named| !named.is_empty());
        }
        if is_post {
            check_post(&arguments)?;
        }
        if is_post || !files.is_empty() {
            channel.get_or_insert_with(|| self.default_channel.clone());
        }
        Ok(Request {
            method,
            arguments,
            channel,
            channel_key,
            files,
        })
    }

    /// The conversation that a message names. An empty value is refused: an app whose variable is not set must not
    /// publish in the default channel.
    fn channel(&self, named: Option<Value>) -> Result<Option<String>, SendFailure> {
        let found = match named {
            None => return Ok(None),
            Some(Value::String(channel)) if !channel.trim().is_empty() => {
                return Ok(Some(channel.trim().to_owned()));
            }
            Some(Value::String(_)) => "an empty text",
            // The form of interactions and some events.
            Some(Value::Object(place)) if id_in(&place).is_some() => return Ok(id_in(&place)),
            Some(other) => kind(&other),
        };
        Err(SendFailure::new(
            "invalid_channel",
            format!(
                "`channel` must be a text, which is a name or an id; it is {found}. Only a post without the key goes to #{}.",
                self.default_channel.trim_start_matches('#')
            ),
        ))
    }

    fn method(&self, named: Option<Value>) -> Result<&'static method::Method, SendFailure> {
        let name = match named {
            Some(Value::String(name)) if !name.is_empty() => name,
            None | Some(Value::Null | Value::String(_)) => DEFAULT_METHOD.to_owned(),
            Some(other) => {
                return Err(SendFailure::new(
                    "unknown_method",
                    format!("`method` must be a text; it is {}.", kind(&other)),
                ));
            }
        };
        if name.replace('_', ".").starts_with("files.upload") {
            return Err(SendFailure::new(
                "method_deprecated",
                "Slack has retired files.upload. Leave `method` out, and send the file as {\"file\": {\"name\": ..., \"content\": ...}}.",
            ));
        }
        let Some(method) = method::get(&name) else {
            let mut detail = format!("Slack's Web API has no method {name:.80?}.");
            if let Some(near) = method::nearest(&name) {
                detail.push_str(&format!(" Did you mean {}?", near.name));
            }
            return Err(SendFailure::new("unknown_method", detail));
        };
        if !is_allowed(&self.methods, &name) {
            let detail = format!(
                "{name} is not among the methods that slack.send may call ({}). Add it to slack.methods in djangobot.toml to allow it.",
                self.methods.join(", ")
            );
            return Err(SendFailure::new("method_not_allowed", detail));
        }
        Ok(method)
    }
}

/// Keys that only answers to a command or an interaction have, and the cure for each in a message.
const OF_ANSWERS: &[(&str, &str)] = &[
    (
        "replace_original",
        "To change a message that was posted, call chat.update with its `channel` and `ts`",
    ),
    (
        "delete_original",
        "To delete a message that was posted, call chat.delete with its `channel` and `ts`",
    ),
    (
        "response_type",
        "To show a message to one person only, call chat.postEphemeral with `user`",
    ),
    (
        "response_url",
        "That channel is where djangobot posts to the response_url",
    ),
];

/// Refuses keys of answers. Slack would ignore them, and show the message to all.
fn check_of_answers(arguments: &Map<String, Value>) -> Result<(), SendFailure> {
    let is_there = |key: &str| arguments.get(key).is_some_and(|value| !value.is_null());
    match OF_ANSWERS.iter().find(|(key, _)| is_there(key)) {
        Some((key, otherwise)) => Err(SendFailure::new(
            "invalid_arguments",
            format!(
                "`{key}` is of an answer to a command or a click, and this is a call of Slack's Web API. Answers go to the event's own `reply_channel`, not to slack.send. {otherwise}."
            ),
        )),
        None => Ok(()),
    }
}

/// Checks for what Slack would refuse or cut of a post. The app hears of it before the post waits for its turn.
fn check_post(arguments: &Map<String, Value>) -> Result<(), SendFailure> {
    check_length(arguments)?;
    let has_body = BODIES.iter().any(|body| match arguments.get(*body) {
        None => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    });
    if has_body {
        return Ok(());
    }
    Err(SendFailure::new(
        "no_text",
        "The message has no `text` (nor `blocks`, `attachments` or `markdown_text`).",
    ))
}

/// The id in Slack's long form of a conversation: `{"id": "C024BE91L", "name": "general"}`.
fn id_in(place: &Map<String, Value>) -> Option<String> {
    let id = place.get("id")?.as_str()?.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> (Reply, Result<Request, SendFailure>) {
        let rules = Rules {
            methods: ["chat.*", "conversations.open", "files.*", "assistant.*"]
                .map(String::from)
                .to_vec(),
            default_channel: "general".into(),
            max_age: None,
            max_file_bytes: 1 << 20,
        };
        rules.read(&Event::parse(json.to_owned()).unwrap())
    }

    #[test]
    fn a_text_alone_is_a_post_to_the_default_channel() {
        let (reply, request) = read(r#"{"type":"x","text":"hi","thread_ts":"1.2","id":7}"#);
        let request = request.unwrap();
        assert_eq!(request.method.name, "chat.postMessage");
        assert_eq!(request.channel.as_deref(), Some("general"));
        assert_eq!(
            Value::Object(request.arguments),
            serde_json::json!({"text": "hi", "thread_ts": "1.2"})
        );
        assert_eq!(
            (reply.request, reply.method.as_str()),
            (serde_json::json!(7), "chat.postMessage")
        );
    }

    #[test]
    fn a_conversation_as_interactions_have_it_is_one() {
        let (_, request) = read(r#"{"text":"x","channel":{"id":"C024BE91L","name":"general"}}"#);
        assert_eq!(request.unwrap().channel.as_deref(), Some("C024BE91L"));
    }

    #[test]
    fn a_message_that_can_not_be_sent_is_refused_with_a_code_and_a_sentence() {
        let check = |json: &str, error: &str| {
            let (_, outcome) = read(json);
            let refusal = outcome.unwrap_err();
            assert_eq!(refusal.error, error, "{json:.60}");
            assert!(refusal.detail.ends_with(['.', '?']), "{}", refusal.detail);
        };
        check("{}", "no_text");
        check(r#"{"text":"  "}"#, "no_text");
        check(r#"{"blocks":[]}"#, "no_text");
        check(r#"{"text":5}"#, "invalid_text");
        check(r#"{"text":"x","channel":5}"#, "invalid_channel");
        for absent in ["null", "\"\"", "\"  \"", "false", "[]"] {
            for method in ["chat.postMessage", "chat.update"] {
                let message = format!(r#"{{"text":"x","method":"{method}","channel":{absent}}}"#);
                check(&message, "invalid_channel");
            }
        }
        check(r#"{"text":"x","channel":{"id":5}}"#, "invalid_channel");
        check(r#"{"text":"x","channel":{"id":" "}}"#, "invalid_channel");
        check(r#"{"text":"x","channel":{}}"#, "invalid_channel");
        for (key, _) in OF_ANSWERS {
            check(
                &format!(r#"{{"text":"x","{key}":true}}"#),
                "invalid_arguments",
            );
            let update = format!(r#"{{"method":"chat.update","{key}":"x"}}"#);
            check(&update, "invalid_arguments");
        }
        check(r#"{"text":"x","method":"no.such"}"#, "unknown_method");
        check(r#"{"method":"admin.users.list"}"#, "method_not_allowed");
        check(
            r#"{"text":"x","reply_channel":"a b"}"#,
            "invalid_reply_channel",
        );
        check(
            &format!(r#"{{"text":"{}"}}"#, "x".repeat(40_001)),
            "msg_too_long",
        );
    }

    #[test]
    fn a_message_with_files_is_an_upload_into_its_conversation() {
        let (reply, request) = read(
            r#"{"file": {"name": "a.txt", "content": "hi"}, "text": "look", "thread_ts": "1.2", "icon_emoji": null}"#,
        );
        let request = request.unwrap();
        assert_eq!(request.method.name, "files.completeUploadExternal");
        assert_eq!(reply.method, request.method.name);
        let place = (request.channel.as_deref(), request.channel_key);
        assert_eq!(place, (Some("general"), "channel_id"));
        assert_eq!(
            Value::Object(request.arguments),
            serde_json::json!({"initial_comment": "look", "thread_ts": "1.2"})
        );
        assert_eq!(request.files.len(), 1);

        let check = |json: &str, error: &str| assert_eq!(read(json).1.unwrap_err().error, error);
        let with = |more: &str| format!(r#"{{"file": {{"name": "a", "content": "x"}}, {more}}}"#);
        check(&with(r#""channel": null"#), "invalid_channel");
        check(&with(r#""metadata": {}"#), "invalid_arguments");
        check(&with(r#""text": 5"#), "invalid_text");
        check(
            r#"{"method": "files.upload", "file": "x"}"#,
            "method_deprecated",
        );
        // Of other methods, `file` is an argument.
        let (_, request) = read(r#"{"method": "files.info", "file": "F1"}"#);
        assert_eq!(request.unwrap().arguments["file"], "F1");
    }

    #[test]
    fn a_conversation_may_stand_under_channel_id() {
        let (_, request) = read(
            r##"{"method": "assistant.threads.setStatus", "channel_id": "#general", "thread_ts": "1.2", "status": ""}"##,
        );
        let request = request.unwrap();
        assert_eq!(
            (request.channel.as_deref(), request.channel_key),
            (Some("#general"), "channel_id")
        );
        assert_eq!(request.arguments["status"], "");
    }

    #[test]
    fn a_refusal_names_the_method_that_was_refused() {
        let check = |json: &str, method: &str| {
            let (reply, outcome) = read(json);
            assert!(outcome.is_err(), "{json}");
            assert_eq!(reply.method, method, "{json}");
        };
        check(
            r#"{"text":"x","method":"chat.postMesage"}"#,
            "chat.postMesage",
        );
        check(r#"{"method":"admin.users.list"}"#, "admin.users.list");
        check(r#"{"method":5}"#, "5");
        check(r#"{"method":["chat.update"]}"#, r#"["chat.update"]"#);
        check(
            &format!(r#"{{"method":"{}"}}"#, "x".repeat(200)),
            &"x".repeat(80),
        );
        for absent in [r#"{}"#, r#"{"method":null}"#, r#"{"method":""}"#] {
            check(absent, "chat.postMessage");
        }
        check(
            r#"{"method":"chat.update","reply_channel":"a b"}"#,
            "chat.update",
        );
        let (_, outcome) = read(r#"{"text":"x","method":"chat.postMesage"}"#);
        let detail = outcome.unwrap_err().detail;
        assert!(
            detail.ends_with("Did you mean chat.postMessage?"),
            "{detail}"
        );
    }

    #[test]
    fn the_reply_channel_of_a_broken_message_is_read_as_far_as_possible() {
        let broken = r#"{"x":NaN,"reply_channel":"app","id":7,"method":"chat.update"}"#;
        let reply = Reply::from(&Event::salvage(broken.as_bytes(), Reply::KEYS));
        assert_eq!(reply.channel.unwrap().as_str(), "app");
        assert_eq!((reply.request, &*reply.method), (7.into(), "chat.update"));
    }

    #[test]
    fn a_refusal_knows_where_to_go() {
        let (reply, outcome) = read(r#"{"reply_channel":"specific.a!b","id":"q"}"#);
        assert!(outcome.is_err());
        assert_eq!(reply.channel.unwrap().as_str(), "specific.a!b");
        assert_eq!(reply.request, Value::from("q"));
    }
}
