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

    pub(crate) fn is_answerable() -> bool {
        answer("event.is-answerable", |host| host.is_answerable)
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
        current(host).document.get(pointer).map(value_of)
    }

    /// Translates a value as the real host does.
    pub(super) fn value_of(found: Found<'_>) -> Value {
        match found {
            Found::Null => Value::Null,
            Found::Bool(value) => Value::Boolean(value),
            Found::Int(value) => Value::Integer(value),
            Found::UInt(value) => Value::BigInteger(value.to_string()),
            Found::Float(value) => Value::Number(value),
            Found::Text(text) => Value::Text(text.into_owned()),
            Found::Json(text) if !text.starts_with(['[', '{']) => {
                Value::BigInteger(text.into_owned())
            }
            Found::Json(text) => Value::Json(text.into_owned()),
        }
    }
}

pub(crate) mod host {
    use super::answer;

    pub(crate) fn name() -> String {
        answer("host.name", |_| "test".to_owned())
    }

    pub(crate) fn version() -> String {
        answer("host.version", |_| "0.0.0".to_owned())
    }

    pub(crate) fn host_version() -> String {
        answer("host.host-version", |_| {
            env!("CARGO_PKG_VERSION").to_owned()
        })
    }

    pub(crate) fn grants() -> Vec<String> {
        answer("host.grants", |host| host.grants.clone())
    }

    pub(crate) fn instance() -> u32 {
        answer("host.instance", |_| 0)
    }

    pub(crate) fn instances() -> u32 {
        answer("host.instances", |_| 1)
    }

    pub(crate) fn is_rehearsal() -> bool {
        answer("host.is-rehearsal", |_| false)
    }
}

pub(crate) mod random {
    use super::answer;

    /// The same numbers in each test, so that a test can expect them.
    pub(crate) fn bytes(count: u32) -> Vec<u8> {
        answer("random.bytes", |host| {
            (0..count).map(|_| next(&mut host.random) as u8).collect()
        })
    }

    pub(crate) fn number() -> u64 {
        answer("random.number", |host| next(&mut host.random))
    }

    /// A step of SplitMix64.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = *state;
        number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ number >> 31
    }
}

pub(crate) mod roster {
    use djangobot_event::Event as Document;
    use serde_json::json;

    use super::answer;
    use super::event::value_of;
    use crate::Value;
    use crate::roster::{Bot, Conversation, Identity, Table, User, Usergroup};
    use crate::testing::Host;

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

    pub(crate) fn find_users(name: &str) -> Vec<User> {
        let name = name.trim_start_matches('@').to_lowercase();
        answer("roster.find-users", |host| {
            // The real host ranks users in the same way.
            let rank = |user: &User| {
                let names = [&user.name, &user.display_name, &user.real_name];
                let which = names.iter().position(|it| it.to_lowercase() == name)?;
                Some((user.deleted, which))
            };
            let mut found: Vec<_> = host
                .users
                .iter()
                .filter_map(|user| Some((rank(user)?, user)))
                .collect();
            found.sort_by_key(|(rank, _)| *rank);
            found.into_iter().map(|(_, user)| user.clone()).collect()
        })
    }

    pub(crate) fn find_conversations(name: &str) -> Vec<Conversation> {
        let name = name.trim_start_matches('#').to_lowercase();
        answer("roster.find-conversations", |host| {
            let fits = |one: &&Conversation| one.name.to_lowercase() == name;
            host.conversations.iter().filter(fits).cloned().collect()
        })
    }

    pub(crate) fn find_usergroups(handle: &str) -> Vec<Usergroup> {
        let handle = handle.trim_start_matches('@').to_lowercase();
        answer("roster.find-usergroups", |host| {
            let fits = |one: &&Usergroup| one.handle.to_lowercase() == handle;
            host.usergroups.iter().filter(fits).cloned().collect()
        })
    }

    pub(crate) fn select(
        table: Table,
        id: &str,
        pointers: &[String],
    ) -> Option<Vec<Option<Value>>> {
        answer("roster.select", |host| {
            let entry = Document::from_value(&object(host, table, id)?).ok()?;
            let values = pointers.iter().map(|it| entry.get(it).map(value_of));
            Some(values.collect())
        })
    }

    /// An entry in the shape that Slack's Web API gives it: the fields that the test set, and those of the record.
    fn object(host: &Host, table: Table, id: &str) -> Option<serde_json::Value> {
        let mut object = host.fields.get(id).cloned().unwrap_or_else(|| json!({}));
        match table {
            Table::Users => {
                let user = host.users.iter().find(|it| it.id == id)?;
                object["name"] = json!(user.name);
                object["real_name"] = json!(user.real_name);
                object["is_bot"] = json!(user.is_bot);
                object["deleted"] = json!(user.deleted);
                object["profile"]["display_name"] = json!(user.display_name);
                object["profile"]["real_name"] = json!(user.real_name);
            }
            Table::Conversations => {
                let it = host.conversations.iter().find(|it| it.id == id)?;
                object["name"] = json!(it.name);
                object["is_private"] = json!(it.is_private);
            }
            Table::Usergroups => {
                let it = host.usergroups.iter().find(|it| it.id == id)?;
                object["handle"] = json!(it.handle);
                object["name"] = json!(it.name);
            }
            Table::Bots => {
                let it = host.bots.iter().find(|it| it.id == id)?;
                object["name"] = json!(it.name);
            }
        }
        object["id"] = json!(id);
        Some(object)
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
    use crate::store::{Item, StoreError};
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

    pub(crate) fn get_many(keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        answer("store.get-many", |host| {
            Ok(keys.iter().map(|key| value(host, key)).collect())
        })
    }

    pub(crate) fn keys(
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        answer("store.keys", |host| {
            let keys = host.store.keys().filter(|key| {
                key.starts_with(prefix)
                    && after.is_none_or(|after| key.as_str() > after)
                    && value(host, key).is_some()
            });
            Ok(keys.take(limit.min(1_000) as usize).cloned().collect())
        })
    }

    fn put(host: &mut Host, item: &Item) {
        let end = item.ttl_ms.map(|ttl| host.now_ms().saturating_add(ttl));
        match &item.value {
            Some(value) => host.store.insert(item.key.clone(), (value.clone(), end)),
            None => host.store.remove(&item.key),
        };
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), StoreError> {
        answer("store.set", |host| {
            let (key, value) = (key.to_owned(), Some(value.to_vec()));
            put(host, &Item { key, value, ttl_ms });
            Ok(())
        })
    }

    pub(crate) fn set_many(items: &[Item]) -> Result<(), StoreError> {
        answer("store.set-many", |host| {
            items.iter().for_each(|item| put(host, item));
            Ok(())
        })
    }

    pub(crate) fn compare_and_set(
        expected: Option<&[u8]>,
        item: &Item,
    ) -> Result<bool, StoreError> {
        answer("store.compare-and-set", |host| {
            let fits = value(host, &item.key).as_deref() == expected;
            if fits {
                put(host, item);
            }
            Ok(fits)
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
    use crate::slack::{CallError, SendError};

    pub(crate) fn send(message: &str) -> Result<String, SendError> {
        answer("slack.send", |host| {
            let message: serde_json::Value = serde_json::from_str(message)
                .map_err(|error| SendError::Invalid(error.to_string()))?;
            if !message.is_object() {
                return Err(SendError::Invalid(
                    "the message is not a JSON object".into(),
                ));
            }
            host.effects.sent.push(message);
            let event = host.current.as_ref().map_or("", |current| &current.id);
            Ok(format!("{event}.test.send.{}", host.effects.sent.len()))
        })
    }

    pub(crate) fn call(method: &str, arguments: &str) -> Result<String, CallError> {
        answer("slack.call", |host| {
            let arguments = serde_json::from_str(arguments)
                .map_err(|error| CallError::Invalid(error.to_string()))?;
            match &mut host.slack {
                Some(slack) => slack(method, &arguments).map(|answer| answer.to_string()),
                None => Err(CallError::Denied(format!(
                    "the test host has no answer to {method}; Host::slack sets one"
                ))),
            }
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
