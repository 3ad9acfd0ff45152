//! Ids that the roster did not know are fetched in the background, each once, so that no event waits for that.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::api::{ApiError, Class, WebApi};
use crate::backoff::Backoff;
use crate::pacing::Pacer;
use crate::roster::Roster;
use crate::roster::wire::{BotFields, ConversationFields, UserFields};

#[derive(Deserialize)]
struct UserAnswer {
    user: UserFields,
}

#[derive(Deserialize)]
struct ConversationAnswer {
    channel: ConversationFields,
}

#[derive(Deserialize)]
struct BotAnswer {
    bot: BotFields,
}

impl Roster {
    /// Asks for an id (`U`, `W`, `C`, `G`, `D` or `B`) that the roster does not know. Returns at once;
    /// [`Roster::fetch`] does the work. Ids that are known, that wait already or that were asked for recently are left
    /// alone.
    pub fn want(&self, id: &str) {
        let is_known = match id.as_bytes().first() {
            Some(b'U' | b'W') => self.read().users.get(id).is_some(),
            Some(b'C' | b'G' | b'D') => self.read().conversations.get(id).is_some(),
            Some(b'B') => self.read().bots.get(id).is_some(),
            _ => true,
        };
        let is_id =
            (2..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_known && is_id && self.shared.missing.put(id) {
            self.shared.missing.more.notify_one();
        }
    }

    /// Fetches the ids that [`Roster::want`] asked for, one after the other, until `cancel` fires.
    pub async fn fetch(&self, api: &WebApi, pacer: &Pacer, cancel: CancellationToken) {
        let work = async {
            loop {
                match self.shared.missing.take() {
                    Some(id) => self.fetch_one(api, pacer, &id).await,
                    None => self.shared.missing.more.notified().await,
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = work => {}
        }
    }

    async fn fetch_one(&self, api: &WebApi, pacer: &Pacer, id: &str) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut failures = 0;
        loop {
            let Err(error) = self.ask(api, pacer, id).await else {
                return;
            };
            match error.class() {
                Class::RateLimited { retry_after } => {
                    let pause = retry_after.max(backoff.failed());
                    pacer.limited(&error.method, None, pause);
                }
                Class::Retry | Class::Ambiguous if failures < 5 => {
                    failures += 1;
                    tokio::time::sleep(backoff.failed()).await;
                }
                _ => {
                    tracing::debug!(id, %error, "an unknown id can't be looked up");
                    return;
                }
            }
        }
    }

    async fn ask(&self, api: &WebApi, pacer: &Pacer, id: &str) -> Result<(), ApiError> {
        let (method, key) = match id.as_bytes().first() {
            Some(b'B') => ("bots.info", "bot"),
            Some(b'C' | b'G' | b'D') => ("conversations.info", "channel"),
            _ => ("users.info", "user"),
        };
        pacer.ready(method, None).await;
        let args = Map::from_iter([(key.to_owned(), Value::from(id))]);
        match key {
            "bot" => {
                let BotAnswer { bot } = api.call_as(method, &args).await?;
                self.write().put_bot(bot);
            }
            "channel" => {
                let ConversationAnswer { channel } = api.call_as(method, &args).await?;
                self.write().put_conversation(channel);
            }
            _ => {
                let UserAnswer { user } = api.call_as(method, &args).await?;
                self.write().put_user(user);
            }
        }
        Ok(())
    }
}
