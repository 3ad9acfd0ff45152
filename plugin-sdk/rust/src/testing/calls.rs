//! The host's functions, with the signatures of a component's imports. The [`Host`] of the current call answers them.

use std::cell::RefCell;

use crate::testing::Host;

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::default());
}

/// Runs a call, whose host functions `host` answers, and returns the host with its new effects.
pub(super) fn during<T>(host: Host, call: impl FnOnce() -> T) -> (T, Host) {
    let before = HOST.replace(host);
    let result = call();
    (result, HOST.replace(before))
}

/// Notes the call of a host function, and answers it.
fn answer<T>(function: &'static str, answer: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with_borrow_mut(|host| {
        host.effects.calls.push(function);
        answer(host)
    })
}

pub(crate) mod clock {
    pub(crate) fn now_ms() -> u64 {
        super::answer("clock.now-ms", |host| host.now_ms())
    }
}

pub(crate) mod log {
    use crate::log::Level;
    use crate::testing::LogLine;

    pub(crate) fn write(level: Level, message: &str) {
        let message = message.to_owned();
        super::answer("log.write", |host| {
            host.effects.logs.push(LogLine { level, message });
        });
    }
}

pub(crate) mod event {
    use djangobot_event::{Event as Document, Value as Found};

    use super::answer;
    use crate::testing::Host;
    use crate::{Direction, Value};

    /// The current event, as the test gave it.
    #[derive(Debug)]
    pub(in crate::testing) struct CurrentEvent {
        pub(in crate::testing) id: String,
        pub(in crate::testing) kind: String,
        pub(in crate::testing) direction: Direction,
        pub(in crate::testing) document: Document,
    }

    pub(crate) fn id() -> String {
        answer("event.id", |host| current(host).id.clone())
    }

    pub(crate) fn kind() -> String {
        answer("event.kind", |host| current(host).kind.clone())
    }

    pub(crate) fn direction() -> Direction {
        answer("event.direction", |host| current(host).direction)
    }

    pub(crate) fn get(pointer: &str) -> Option<Value> {
        answer("event.get", |host| find(host, pointer))
    }

    pub(crate) fn select(pointers: &[String]) -> Vec<Option<Value>> {
        answer("event.select", |host| {
            pointers.iter().map(|pointer| find(host, pointer)).collect()
        })
    }

    pub(crate) fn json() -> String {
        answer("event.json", |host| {
            let mut text = Vec::new();
            current(host).document.write_json(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    }

    /// The real host ends the call with a trap where there is no event.
    #[allow(clippy::panic)]
    fn current(host: &Host) -> &CurrentEvent {
        match &host.current {
            Some(current) => current,
            None => panic!("there is no current event: it can be read only in `on_event`"),
        }
    }

    fn find(host: &Host, pointer: &str) -> Option<Value> {
        current(host)
            .document
            .get(pointer)
            .map(|found| match found {
                Found::Null => Value::Null,
                Found::Bool(value) => Value::Boolean(value),
                Found::Int(value) => Value::Integer(value),
                Found::UInt(value) => Value::from(value),
                Found::Float(value) => Value::Number(value),
                Found::Text(text) => Value::Text(text.into_owned()),
                Found::Json(text) => Value::Json(text.into_owned()),
            })
    }
}

pub(crate) mod roster {
    use super::answer;
    use crate::roster::{Bot, Conversation, Identity, User, Usergroup};

    pub(crate) fn me() -> Option<Identity> {
        answer("roster.me", |host| host.me.clone())
    }

    pub(crate) fn get_user(id: &str) -> Option<User> {
        answer("roster.get-user", |host| {
            host.users.iter().find(|user| user.id == id).cloned()
        })
    }

    pub(crate) fn get_users(ids: &[String]) -> Vec<Option<User>> {
        answer("roster.get-users", |host| {
            ids.iter()
                .map(|id| host.users.iter().find(|user| &user.id == id).cloned())
                .collect()
        })
    }

    pub(crate) fn get_conversation(id: &str) -> Option<Conversation> {
        answer("roster.get-conversation", |host| {
            host.conversations.iter().find(|one| one.id == id).cloned()
        })
    }

    pub(crate) fn get_usergroup(id: &str) -> Option<Usergroup> {
        answer("roster.get-usergroup", |host| {
            host.usergroups.iter().find(|one| one.id == id).cloned()
        })
    }

    pub(crate) fn get_bot(id: &str) -> Option<Bot> {
        answer("roster.get-bot", |host| {
            host.bots.iter().find(|one| one.id == id).cloned()
        })
    }

    pub(crate) fn find_user(name: &str) -> Option<User> {
        let name = name.trim_start_matches('@').to_lowercase();
        answer("roster.find-user", |host| {
            // The real host ranks users in the same way.
            let rank = |user: &User| {
                let names = [&user.name, &user.display_name, &user.real_name];
                let which = names.iter().position(|it| it.to_lowercase() == name)?;
                Some((user.deleted, which))
            };
            let best = host.users.iter().filter_map(rank).min()?;
            let mut found = host.users.iter().filter(|user| rank(user) == Some(best));
            found.next().filter(|_| found.next().is_none()).cloned()
        })
    }

    pub(crate) fn find_conversation(name: &str) -> Option<Conversation> {
        let name = name.trim_start_matches('#').to_lowercase();
        answer("roster.find-conversation", |host| {
            let fits = |one: &&Conversation| one.name.to_lowercase() == name;
            host.conversations.iter().find(fits).cloned()
        })
    }
}

pub(crate) mod emitter {
    use super::answer;
    use crate::testing::outcome::read;
    use crate::{Emission, EmitError};

    pub(crate) fn emit(emission: &Emission) -> Result<(), EmitError> {
        answer("emitter.emit", |host| {
            if !host.may_emit(&emission.kind) {
                let kind = &emission.kind;
                let why = format!("the manifest's `emits` does not list {kind:?}");
                return Err(EmitError::Denied(why));
            }
            let emitted = read(emission).map_err(EmitError::Invalid)?;
            host.effects.emitted.push(emitted);
            Ok(())
        })
    }
}

pub(crate) mod store {
    use super::answer;
    use crate::store::StoreError;
    use crate::testing::Host;

    fn value(host: &Host, key: &str) -> Option<Vec<u8>> {
        let now = host.now_ms();
        host.store
            .get(key)
            .filter(|(_, end)| end.is_none_or(|end| now < end))
            .map(|(value, _)| value.clone())
    }

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        answer("store.get", |host| Ok(value(host, key)))
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), StoreError> {
        answer("store.set", |host| {
            let end = ttl_ms.map(|ttl| host.now_ms().saturating_add(ttl));
            host.store.insert(key.to_owned(), (value.to_vec(), end));
            Ok(())
        })
    }

    pub(crate) fn delete(key: &str) -> Result<(), StoreError> {
        answer("store.delete", |host| {
            host.store.remove(key);
            Ok(())
        })
    }

    pub(crate) fn increment(key: &str, by: i64) -> Result<i64, StoreError> {
        answer("store.increment", |host| {
            let before = match value(host, key) {
                None => 0,
                Some(digits) => std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|digits| digits.parse::<i64>().ok())
                    .ok_or(StoreError::NotANumber)?,
            };
            let sum = before.checked_add(by).ok_or(StoreError::NotANumber)?;
            let end = host.store.get(key).and_then(|(_, end)| *end);
            let digits = sum.to_string().into_bytes();
            host.store.insert(key.to_owned(), (digits, end));
            Ok(sum)
        })
    }
}

pub(crate) mod slack {
    use super::answer;
    use crate::slack::SendError;

    pub(crate) fn send(message: &str) -> Result<(), SendError> {
        answer("slack.send", |host| {
            let message: serde_json::Value = serde_json::from_str(message)
                .map_err(|error| SendError::Invalid(error.to_string()))?;
            if !message.is_object() {
                return Err(SendError::Invalid(
                    "the message is not a JSON object".into(),
                ));
            }
            host.effects.sent.push(message);
            Ok(())
        })
    }
}

pub(crate) mod secrets {
    use crate::secrets::SecretError;

    pub(crate) fn get(name: &str) -> Result<Option<String>, SecretError> {
        super::answer("secrets.get", |host| Ok(host.secrets.get(name).cloned()))
    }
}

pub(crate) mod http {
    use super::answer;
    use crate::http::{HttpError, Request, Response};

    pub(crate) fn fetch(request: &Request) -> Result<Response, HttpError> {
        answer("http.fetch", |host| match &mut host.answer {
            Some(answer) => answer(request),
            None => Err(HttpError::Denied(format!(
                "the test host has no answer to {}; Host::answer sets one",
                request.url
            ))),
        })
    }
}
