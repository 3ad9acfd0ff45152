//! The interface `djangobot:plugin@1.x`, as `wit/plugin.wit` defines it: the functions that plugins import, and the
//! translation of values.

use std::time::{SystemTime, UNIX_EPOCH};

use djangobot_event::{CleanText, Edit, Event, NewValue, Value};
use wasmtime::component::{HasSelf, Linker, Resource};

use crate::grant::Capability;
use crate::runtime::guest::{self, EmissionError, Guest};
use crate::services::log::Level;
use crate::services::roster;
use crate::services::{http, store};
use crate::verdict::{self, Failure};

use bindings::djangobot::plugin as wit;
pub(crate) use bindings::{Plugin, PluginIndices};
use wit::types;

/// The code that wasmtime generates from the WIT.
#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    reason = "generated; the lifting and lowering of values is unsafe by its nature"
)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "djangobot:plugin/plugin",
        imports: {
            "djangobot:plugin/http.fetch": async | trappable,
            // These wait for a disk, which may take any time.
            "djangobot:plugin/store.get": async | trappable,
            "djangobot:plugin/store.set": async | trappable,
            "djangobot:plugin/store.delete": async | trappable,
            "djangobot:plugin/store.increment": async | trappable,
            "djangobot:plugin/secrets.get": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: { "djangobot:plugin/events.event": super::EventHandle },
    });
}

/// The type behind a guest's handle of an event. It holds nothing, since the handle always means the current call's
/// event.
#[allow(
    unreachable_pub,
    reason = "the generated code gives it another name, which is public"
)]
pub struct EventHandle(());

/// The handle that a call passes. No table has an entry for it: a guest can't keep a borrowed handle beyond the call.
pub(crate) fn event_handle() -> Resource<EventHandle> {
    Resource::new_borrow(0)
}

/// Links the interfaces that need no grant, and those that were granted. An interface that is not linked can't be
/// called: a component that imports it does not start.
pub(crate) fn link(linker: &mut Linker<Guest>, grants: &[Capability]) -> wasmtime::Result<()> {
    type Own = HasSelf<Guest>;
    wit::types::add_to_linker::<_, Own>(linker, |guest| guest)?;
    wit::events::add_to_linker::<_, Own>(linker, |guest| guest)?;
    wit::roster::add_to_linker::<_, Own>(linker, |guest| guest)?;
    wit::log::add_to_linker::<_, Own>(linker, |guest| guest)?;
    wit::clock::add_to_linker::<_, Own>(linker, |guest| guest)?;
    wit::emitter::add_to_linker::<_, Own>(linker, |guest| guest)?;
    let granted = |is: fn(&Capability) -> bool| grants.iter().any(is);
    if granted(|it| matches!(it, Capability::Store)) {
        wit::store::add_to_linker::<_, Own>(linker, |guest| guest)?;
    }
    if granted(|it| matches!(it, Capability::Slack)) {
        wit::slack::add_to_linker::<_, Own>(linker, |guest| guest)?;
    }
    if granted(|it| matches!(it, Capability::Secret(_))) {
        wit::secrets::add_to_linker::<_, Own>(linker, |guest| guest)?;
    }
    if granted(|it| matches!(it, Capability::Http(_))) {
        wit::http::add_to_linker::<_, Own>(linker, |guest| guest)?;
    }
    Ok(())
}

/// Translates an answer into the host's own types, and refuses one that breaks a rule.
///
/// # Errors
/// [`Failure::Answer`], with the rule.
pub(crate) fn verdict(
    guest: &mut Guest,
    answer: types::Verdict,
) -> Result<verdict::Verdict, Failure> {
    let limit = guest.owner.limits.output;
    let owner = guest.owner.clone();
    let Some(call) = &mut guest.call else {
        return Err(Failure::Answer("there was no call to answer".into()));
    };
    match answer {
        types::Verdict::Keep => Ok(verdict::Verdict::Keep),
        types::Verdict::Drop(reason) => {
            let reason = CleanText::within(&reason, MAX_REASON);
            Ok(verdict::Verdict::Drop(reason))
        }
        types::Verdict::Modify(edits) => {
            let edits = edits.into_iter().map(|edit| {
                let (edit, bytes) = edit_of(edit);
                call.take_output(bytes, limit)?;
                check_place(call.direction, &edit)?;
                Ok(edit)
            });
            edits
                .collect::<Result<_, String>>()
                .map(verdict::Verdict::Modify)
                .map_err(|why| Failure::Answer(why.into()))
        }
        types::Verdict::Replace(emissions) => {
            if emissions.len() > MAX_REPLACEMENTS || call.hops >= guest::MAX_HOPS {
                return Err(Failure::Answer(format!(
                    "it replaced one event by {}, or at the end of too long a chain (at most {MAX_REPLACEMENTS} events may \
                     replace one, in chains of {} at most)",
                    emissions.len(),
                    guest::MAX_HOPS
                ).into()));
            }
            let emissions = emissions.into_iter().map(|emission| {
                call.take_output(emission.kind.len() + emission.body.len(), limit)?;
                guest::emission(&owner, emission.kind, emission.body)
                    .map_err(|error| error.to_string())
            });
            emissions
                .collect::<Result<_, String>>()
                .map(verdict::Verdict::Replace)
                .map_err(|why| Failure::Answer(why.into()))
        }
    }
}

/// The longest reason of a drop, in bytes.
const MAX_REASON: usize = 1024;
/// The largest number of events that may replace one.
const MAX_REPLACEMENTS: usize = 64;
/// The cost of a request's header in addition to its texts, in bytes.
const HEADER_COST: usize = 64;
/// The cost of an edit in addition to its texts, in bytes of output: a million empty edits are not a small answer.
const EDIT_COST: usize = 32;

/// Translates an edit, and returns it with its cost in bytes of output.
fn edit_of(edit: types::Edit) -> (Edit, usize) {
    match edit {
        types::Edit::Remove(pointer) => {
            let bytes = EDIT_COST + pointer.len();
            (Edit::Remove { pointer }, bytes)
        }
        types::Edit::Set(types::Field { pointer, value }) => {
            let (value, bytes) = match value {
                types::Value::Null => (NewValue::Null, 0),
                types::Value::Boolean(value) => (NewValue::Bool(value), 0),
                types::Value::Integer(value) => (NewValue::Int(value), 0),
                types::Value::Number(value) => (NewValue::Float(value), 0),
                types::Value::Text(text) => {
                    let bytes = text.len();
                    (NewValue::Text(text), bytes)
                }
                types::Value::Json(text) => {
                    let bytes = text.len();
                    (NewValue::Json(text.into_bytes()), bytes)
                }
            };
            let bytes = EDIT_COST + pointer.len() + bytes;
            (Edit::Set { pointer, value }, bytes)
        }
    }
}

/// Refuses an edit of a field that decides where an event goes: a plugin may change an event's content only.
///
/// # Errors
/// A clause that names the field.
pub fn check_place(direction: roster::Direction, edit: &Edit) -> Result<(), String> {
    let pointer = match edit {
        Edit::Set { pointer, .. } | Edit::Remove { pointer } => pointer,
    };
    // A pointer has the escapes `~0` and `~1` alone, for `~` and `/`. None of these names has such a character, so that
    // there is no second spelling of them.
    let first = pointer.strip_prefix('/').unwrap_or(pointer);
    let first = first.split('/').next().unwrap_or_default();
    let kept: &[&str] = match direction {
        roster::Direction::Inbound => &["type", "djangobot", "reply_channel"],
        roster::Direction::Outbound => &["type", "djangobot", "reply_channel", "method", "id"],
    };
    match kept.contains(&first) {
        true => Err(format!(
            "a plugin can't edit /{first}, since it decides where the event goes; it can emit an event of another kind instead"
        )),
        false => Ok(()),
    }
}

fn value_of(value: Value<'_>) -> types::Value {
    match value {
        Value::Null => types::Value::Null,
        Value::Bool(value) => types::Value::Boolean(value),
        Value::Int(value) => types::Value::Integer(value),
        Value::UInt(value) => types::Value::Json(value.to_string()),
        Value::Float(value) => types::Value::Number(value),
        Value::Text(text) => types::Value::Text(text.into_owned()),
        Value::Json(text) => types::Value::Json(text.into_owned()),
    }
}

impl types::Host for Guest {}
impl wit::events::Host for Guest {}

impl wit::events::HostEvent for Guest {
    fn id(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<String> {
        self.count()?;
        Ok(self.call()?.id.to_string())
    }

    fn kind(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<String> {
        self.count()?;
        Ok(self.call()?.kind.to_string())
    }

    fn direction(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<types::Direction> {
        self.count()?;
        Ok(match self.call()?.direction {
            roster::Direction::Inbound => types::Direction::Inbound,
            roster::Direction::Outbound => types::Direction::Outbound,
        })
    }

    fn get(
        &mut self,
        _: Resource<EventHandle>,
        pointer: String,
    ) -> wasmtime::Result<Option<types::Value>> {
        self.count()?;
        let (event, budget) = self.event()?;
        let value = event
            .get_within(&pointer, budget)
            .map(|value| value.map(value_of));
        self.within_budget(value)
    }

    fn select(
        &mut self,
        _: Resource<EventHandle>,
        pointers: Vec<String>,
    ) -> wasmtime::Result<Vec<Option<types::Value>>> {
        self.count()?;
        self.many("selected", "fields", pointers.len())?;
        let (event, budget) = self.event()?;
        let mut values = Vec::with_capacity(pointers.len());
        // Each value may be as large as the event, so that ten thousand of them could fill the host's memory.
        let mut bytes = 0;
        for pointer in &pointers {
            let value = budget
                .spend(SELECT_STEPS)
                .and_then(|()| event.get_within(pointer, budget))
                .map(|value| value.map(value_of));
            let value = match value {
                Ok(value) => value,
                Err(over) => return self.within_budget(Err(over)),
            };
            if let Some(types::Value::Text(text) | types::Value::Json(text)) = &value {
                bytes += text.len();
            }
            if bytes > MAX_SELECTED {
                return Err(self.over(Failure::Budget(
                    "it selected more than 16 MiB in one call of the host".into(),
                )));
            }
            values.push(value);
        }
        Ok(values)
    }

    fn json(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<String> {
        self.count()?;
        let (event, budget) = self.event()?;
        let text = event.json_within(budget);
        let text = self.within_budget(text)?;
        String::from_utf8(text).map_err(wasmtime::Error::new)
    }

    fn drop(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl Guest {
    /// Traps if one call of the host asks for too many things.
    fn many(&mut self, did: &str, what: &str, count: usize) -> wasmtime::Result<()> {
        let limit = self.owner.limits.select();
        match count > limit {
            true => Err(self.over(Failure::Budget(format!(
                "it {did} {count} {what} in one call of the host, and at most {limit} are allowed (limits.host-calls)"
            )))),
            false => Ok(()),
        }
    }
}

/// The cost of each pointer of a `select` in addition to following it.
const SELECT_STEPS: u64 = 5;
/// The cost of looking up one user, channel or the like in the roster.
const ROSTER_STEPS: u64 = 50;
/// The largest size of all values that one `select` returns, in bytes.
const MAX_SELECTED: usize = 16 << 20;

impl From<roster::User> for wit::roster::User {
    fn from(user: roster::User) -> Self {
        Self {
            id: user.id,
            name: user.name,
            display_name: user.display_name,
            real_name: user.real_name,
            is_bot: user.is_bot,
            deleted: user.deleted,
        }
    }
}

impl From<roster::Conversation> for wit::roster::Conversation {
    fn from(it: roster::Conversation) -> Self {
        Self {
            id: it.id,
            name: it.name,
            is_private: it.is_private,
        }
    }
}

impl Guest {
    /// Counts and charges one look-up in the roster.
    fn asked(&mut self, about: &str) -> wasmtime::Result<()> {
        self.count()?;
        self.charge(ROSTER_STEPS)?;
        self.charge_bytes(about.len())
    }
}

impl wit::roster::Host for Guest {
    fn me(&mut self) -> wasmtime::Result<Option<wit::roster::Identity>> {
        self.count()?;
        Ok(self
            .owner
            .services
            .roster
            .me()
            .map(|me| wit::roster::Identity {
                team_id: me.team_id,
                user_id: me.user_id,
                bot_id: me.bot_id,
                name: me.name,
            }))
    }

    fn get_user(&mut self, id: String) -> wasmtime::Result<Option<wit::roster::User>> {
        self.asked(&id)?;
        Ok(self.owner.services.roster.user(&id).map(Into::into))
    }

    fn get_users(&mut self, ids: Vec<String>) -> wasmtime::Result<Vec<Option<wit::roster::User>>> {
        self.count()?;
        self.many("asked for", "users", ids.len())?;
        for id in &ids {
            self.charge(ROSTER_STEPS)?;
            self.charge_bytes(id.len())?;
        }
        let roster = &self.owner.services.roster;
        Ok(ids
            .iter()
            .map(|id| roster.user(id).map(Into::into))
            .collect())
    }

    fn get_conversation(
        &mut self,
        id: String,
    ) -> wasmtime::Result<Option<wit::roster::Conversation>> {
        self.asked(&id)?;
        Ok(self.owner.services.roster.conversation(&id).map(Into::into))
    }

    fn get_usergroup(&mut self, id: String) -> wasmtime::Result<Option<wit::roster::Usergroup>> {
        self.asked(&id)?;
        let found = self.owner.services.roster.usergroup(&id);
        Ok(found.map(|it| wit::roster::Usergroup {
            id: it.id,
            handle: it.handle,
            name: it.name,
        }))
    }

    fn get_bot(&mut self, id: String) -> wasmtime::Result<Option<wit::roster::Bot>> {
        self.asked(&id)?;
        let found = self.owner.services.roster.bot(&id);
        Ok(found.map(|it| wit::roster::Bot {
            id: it.id,
            name: it.name,
        }))
    }

    fn find_user(&mut self, name: String) -> wasmtime::Result<Option<wit::roster::User>> {
        self.asked(&name)?;
        Ok(self.owner.services.roster.find_user(&name).map(Into::into))
    }

    fn find_conversation(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Option<wit::roster::Conversation>> {
        self.asked(&name)?;
        Ok(self
            .owner
            .services
            .roster
            .find_conversation(&name)
            .map(Into::into))
    }
}

impl wit::log::Host for Guest {
    fn write(&mut self, level: wit::log::Level, message: String) -> wasmtime::Result<()> {
        self.count()?;
        self.charge_bytes(message.len())?;
        let level = match level {
            wit::log::Level::Trace => Level::Trace,
            wit::log::Level::Debug => Level::Debug,
            wit::log::Level::Info => Level::Info,
            wit::log::Level::Warn => Level::Warn,
            wit::log::Level::Error => Level::Error,
        };
        self.owner.log.write(level, &message);
        Ok(())
    }
}

impl wit::clock::Host for Guest {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        self.count()?;
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(since.as_millis() as u64)
    }
}

impl wit::emitter::Host for Guest {
    fn emit(
        &mut self,
        emission: types::Emission,
    ) -> wasmtime::Result<Result<(), wit::emitter::EmitError>> {
        use wit::emitter::EmitError;
        self.count()?;
        self.charge_bytes(emission.kind.len() + emission.body.len())?;
        let owner = self.owner.clone();
        let limit = owner.limits.output;
        let call = self.call()?;
        if !call.has_room() {
            return Ok(Err(EmitError::TooMany));
        }
        if let Err(why) = call.take_output(emission.kind.len() + emission.body.len(), limit) {
            return Ok(Err(EmitError::Invalid(why)));
        }
        Ok(
            match guest::emission(&owner, emission.kind, emission.body) {
                Ok(emission) => {
                    call.effects.emissions.push(emission);
                    Ok(())
                }
                Err(EmissionError::Unlisted(_)) => Err(EmitError::Denied),
                Err(error @ EmissionError::Body(_)) => Err(EmitError::Invalid(error.to_string())),
            },
        )
    }
}

impl wit::slack::Host for Guest {
    fn send(&mut self, message: String) -> wasmtime::Result<Result<(), wit::slack::SendError>> {
        use wit::slack::SendError;
        self.count()?;
        self.charge_bytes(message.len())?;
        let (owner, is_shadow) = (self.owner.clone(), self.shadow);
        let call = self.call()?;
        if !call.may_send() {
            return Ok(Err(SendError::Unavailable(
                "the call sent too many messages, or the event comes at the end of too long a chain of them".into(),
            )));
        }
        if let Err(why) = call.take_output(message.len(), owner.limits.output) {
            return Ok(Err(SendError::Invalid(why)));
        }
        let message = match Event::parse(message) {
            Ok(message) => message,
            Err(error) => {
                let why = format!("the message is not a JSON object: {error}");
                return Ok(Err(SendError::Invalid(why)));
            }
        };
        // The outcome of a message goes to whoever waits for the current event, or to nobody. With any other channel, a
        // plugin could write into channels of the app.
        let named = message.text("/reply_channel");
        if message.get("/reply_channel").is_some()
            && (named.is_none() || named != call.event.text("/reply_channel"))
        {
            return Ok(Err(SendError::Invalid(
                "the reply_channel of a message must be that of the current event, or left out"
                    .into(),
            )));
        }
        if is_shadow {
            call.effects.withheld = true;
            return Ok(Ok(()));
        }
        Ok(match owner.sends.try_take(1) {
            Ok(()) => {
                call.effects.sends.push(message);
                Ok(())
            }
            Err(until) => Err(SendError::RateLimited(until.as_millis() as u64)),
        })
    }
}

impl From<store::StoreError> for wit::store::StoreError {
    fn from(error: store::StoreError) -> Self {
        match error {
            store::StoreError::OverQuota { .. } => Self::OverQuota,
            store::StoreError::NotANumber => Self::NotANumber,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl Guest {
    /// Does some work with the store, or with the rehearsal's own view of it. The work runs off the thread of events,
    /// since a disk may take any time; the limit of the call's time holds nevertheless.
    async fn in_store<T: Send + 'static>(
        &mut self,
        bytes: usize,
        work: impl FnOnce(&store::PluginStore) -> Result<T, store::StoreError> + Send + 'static,
    ) -> wasmtime::Result<Result<T, wit::store::StoreError>> {
        self.count()?;
        self.charge(guest::STORE_STEPS)?;
        // Each byte is written twice: to the database's log, and later to its place.
        self.charge_bytes(bytes.saturating_mul(4))?;
        let store = match &self.shadow_store {
            Some(shadow) => Some(shadow),
            None => self.owner.services.store.as_ref(),
        };
        let store = store.cloned();
        let store = store.ok_or_else(|| wasmtime::Error::msg("the grant `store` is missing"))?;
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        Ok(done.map_err(wasmtime::Error::new)?.map_err(Into::into))
    }
}

impl wit::store::Host for Guest {
    async fn get(
        &mut self,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, wit::store::StoreError>> {
        let found = self
            .in_store(key.len(), move |store| store.get(&key))
            .await?;
        if let Ok(Some(value)) = &found {
            self.charge_bytes(value.len())?;
        }
        Ok(found)
    }

    async fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> wasmtime::Result<Result<(), wit::store::StoreError>> {
        let bytes = key.len() + value.len();
        self.in_store(bytes, move |store| store.set(&key, &value, ttl_ms))
            .await
    }

    async fn delete(
        &mut self,
        key: String,
    ) -> wasmtime::Result<Result<(), wit::store::StoreError>> {
        self.in_store(key.len(), move |store| store.delete(&key))
            .await
    }

    async fn increment(
        &mut self,
        key: String,
        by: i64,
    ) -> wasmtime::Result<Result<i64, wit::store::StoreError>> {
        self.in_store(key.len(), move |store| store.increment(&key, by))
            .await
    }
}

impl wit::secrets::Host for Guest {
    async fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        self.count()?;
        self.charge(guest::STORE_STEPS)?;
        self.charge_bytes(name.len())?;
        // The secret may be a file, and its folder may lie on a network.
        let owner = self.owner.clone();
        tokio::task::spawn_blocking(move || owner.secret(&name))
            .await
            .map_err(wasmtime::Error::new)
    }
}

impl wit::http::Host for Guest {
    async fn fetch(
        &mut self,
        request: wit::http::Request,
    ) -> wasmtime::Result<Result<wit::http::Response, wit::http::HttpError>> {
        use wit::http::HttpError;
        self.count()?;
        if self.shadow {
            if let Some(call) = &mut self.call {
                call.effects.withheld = true;
            }
            return Ok(Err(HttpError::Failed(
                "nothing is fetched during a rehearsal".into(),
            )));
        }
        let headers = request.headers.iter();
        let headers = headers.map(|(name, value)| name.len() + value.len() + HEADER_COST);
        let bytes = request.url.len() + headers.sum::<usize>();
        self.charge_bytes(bytes + request.body.len())?;
        let request = http::Request {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
            timeout_ms: request.timeout_ms,
        };
        let owner = self.owner.clone();
        // A little less than the call's own time, so that the plugin gets a timeout that it can handle, and is not
        // ended.
        let budget = owner.limits.wait.mul_f32(0.9);
        let fetched = owner
            .services
            .http
            .fetch(&owner.http_grants, request, budget)
            .await;
        if let Ok(response) = &fetched {
            self.charge_bytes(response.body.len())?;
        }
        Ok(match fetched {
            Ok(response) => Ok(wit::http::Response {
                status: response.status,
                headers: response.headers,
                body: response.body,
            }),
            Err(http::HttpError::Denied(why)) => Err(HttpError::Denied(why)),
            Err(http::HttpError::Timeout) => Err(HttpError::Timeout),
            Err(http::HttpError::TooLarge) => Err(HttpError::TooLarge),
            Err(http::HttpError::Failed(why)) => Err(HttpError::Failed(why)),
        })
    }
}
