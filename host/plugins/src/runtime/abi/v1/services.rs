//! The services that need a grant and may wait: the interfaces `store`, `secrets` and `http`.
//!
//! While one waits, the guest's computing time stands still, and the limit of the whole call (`limits.wait-ms`) goes on.

use crate::grant::Capability;
use crate::runtime::abi::v1::bindings::djangobot::plugin as wit;
use crate::runtime::abi::v1::ungranted;
use crate::runtime::guest::{self, Guest};
use crate::services::store::StoreWrite;
use crate::services::{http, store};

/// The cost of a request's header in addition to its texts, in bytes.
const HEADER_COST: usize = 64;
/// The cost of a key of the store in addition to its texts, in bytes: looking it up takes some microseconds.
const ITEM_COST: usize = 1_024;

impl From<wit::store::Item> for StoreWrite {
    fn from(item: wit::store::Item) -> Self {
        Self {
            key: item.key,
            value: item.value,
            ttl_ms: item.ttl_ms,
        }
    }
}

/// The bytes of a write, as they are charged.
fn size_of(write: &StoreWrite) -> usize {
    ITEM_COST + write.key.len() + write.value.as_ref().map_or(0, Vec::len)
}

impl From<store::StoreError> for wit::store::StoreError {
    fn from(error: store::StoreError) -> Self {
        match error {
            store::StoreError::OverQuota { .. } => Self::OverQuota,
            store::StoreError::NotANumber => Self::NotANumber,
            error @ store::StoreError::Unavailable(_) => Self::Unavailable(error.to_string()),
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
        let Some(store) = store.cloned() else {
            return Ok(Err(wit::store::StoreError::Denied(ungranted("store"))));
        };
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

    async fn get_many(
        &mut self,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Option<Vec<u8>>>, wit::store::StoreError>> {
        self.many("asked for", "keys", keys.len())?;
        let bytes = keys.iter().map(|key| key.len() + ITEM_COST).sum();
        let found = self
            .in_store(bytes, move |store| store.get_many(&keys))
            .await?;
        if let Ok(found) = &found {
            self.charge_bytes(found.iter().flatten().map(Vec::len).sum())?;
        }
        Ok(found)
    }

    async fn keys(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<String>, wit::store::StoreError>> {
        let bytes = prefix.len() + after.as_ref().map_or(0, String::len);
        let found = self
            .in_store(bytes, move |store| {
                store.keys(&prefix, after.as_deref(), limit)
            })
            .await?;
        if let Ok(found) = &found {
            self.charge_bytes(found.iter().map(|key| key.len() + ITEM_COST).sum())?;
        }
        Ok(found)
    }

    async fn set_many(
        &mut self,
        items: Vec<wit::store::Item>,
    ) -> wasmtime::Result<Result<(), wit::store::StoreError>> {
        self.many("set", "keys", items.len())?;
        let writes: Vec<_> = items.into_iter().map(StoreWrite::from).collect();
        let bytes = writes.iter().map(size_of).sum();
        self.in_store(bytes, move |store| store.set_many(&writes))
            .await
    }

    async fn compare_and_set(
        &mut self,
        expected: Option<Vec<u8>>,
        item: wit::store::Item,
    ) -> wasmtime::Result<Result<bool, wit::store::StoreError>> {
        let write = StoreWrite::from(item);
        let bytes = size_of(&write) + expected.as_ref().map_or(0, Vec::len);
        self.in_store(bytes, move |store| {
            store.compare_and_set(expected.as_deref(), &write)
        })
        .await
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
    async fn get(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Result<Option<String>, wit::secrets::SecretError>> {
        self.count()?;
        self.charge(guest::STORE_STEPS)?;
        self.charge_bytes(name.len())?;
        // The secret may be a file, and its folder may lie on a network.
        if !self.owner.holds(&Capability::Secret(name.clone())) {
            let grant = format!("secrets:{name}");
            let denied = wit::secrets::SecretError::Denied(ungranted(&grant));
            return Ok(Err(denied));
        }
        let owner = self.owner.clone();
        tokio::task::spawn_blocking(move || owner.secret(&name))
            .await
            .map(Ok)
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
        if self.owner.http_grants.is_empty() {
            return Ok(Err(HttpError::Denied(ungranted("http:HOST"))));
        }
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
        // The grants are checked for each address, redirects included, in `Fetcher`.
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
