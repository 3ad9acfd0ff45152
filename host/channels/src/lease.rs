//! A lease in the layer's own Redis. It has one holder at a time, until that gives it up or does not renew it in time.
//!
//! The lease is a sorted set with one member, which names the holder. The score is the lease's number. Each new holder
//! gets a larger number than all holders before it: the larger of the last number plus one and the time in
//! milliseconds. A lease that was given up leaves a member without an id for a day, which keeps the last number, so
//! that this holds even if the clocks go back. The scripts use only commands that channels_redis uses too, on one key
//! below the layer's prefix.

use std::sync::Arc;
use std::time::Duration;

/// Takes or renews a lease. Its arguments are those of [`claim_arguments`].
pub(crate) const CLAIM: &str = include_str!("lease/claim.lua");
/// Gives a lease up. Its arguments are those of [`release_arguments`].
pub(crate) const RELEASE: &str = include_str!("lease/release.lua");

/// For how many seconds the number of a lease that was given up is kept: a day.
const NUMBER_LIFETIME: u32 = 24 * 60 * 60;

/// A process that claims a lease.
#[derive(Debug, Clone)]
pub struct Holder {
    /// `HOST/PROCESS`, without spaces: the first part stays the same over restarts, and the second is unique to the
    /// process.
    pub id: Arc<str>,
    /// Its name for people.
    pub name: Arc<str>,
}

impl Holder {
    /// The part of the id that stays the same over restarts.
    fn host(&self) -> &str {
        let end = self.id.find('/').map_or(0, |slash| slash + 1);
        &self.id[..end]
    }
}

/// A request for a lease.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The name of the lease, as it is in the key: letters, digits and `:`.
    pub name: String,
    /// The process that requests it.
    pub holder: Holder,
    /// How long the lease lasts without renewal, in whole seconds.
    pub time: Duration,
    /// Whether it may be taken over from an earlier process of the same host, which is known to be gone.
    pub takes_over: bool,
}

/// A lease that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whether the claimant holds it.
    pub is_ours: bool,
    /// The holder's name for people.
    pub holder: String,
    /// A number that is larger than that of each earlier holder of this lease.
    pub number: u64,
}

/// The key of the lease `name`. It begins with the layer's prefix, as all keys of channels_redis do.
pub(crate) fn key(prefix: &str, name: &str) -> String {
    format!("{prefix}djangobot:lease:{name}")
}

/// The arguments of [`CLAIM`].
pub(crate) fn claim_arguments(claim: &Claim, now: f64) -> [String; 5] {
    let own_host = if claim.takes_over {
        claim.holder.host()
    } else {
        ""
    };
    [
        claim.holder.id.to_string(),
        own_host.to_owned(),
        claim.holder.name.to_string(),
        // The time in milliseconds: so the number is larger than before even if the key had expired.
        format!("{:.0}", now * 1000.0),
        claim.time.as_secs().max(1).to_string(),
    ]
}

/// The arguments of [`RELEASE`].
pub(crate) fn release_arguments(holder: &Holder) -> [String; 2] {
    [holder.id.to_string(), NUMBER_LIFETIME.to_string()]
}

/// Reads the member and score of a lease, for the process `id`. `None` if the lease was given up.
pub(crate) fn read(member: &[u8], number: f64, id: &str) -> Option<Lease> {
    let member = String::from_utf8_lossy(member);
    let (holder, name) = member.split_once(' ').unwrap_or((&member, &member));
    (!holder.is_empty()).then(|| Lease {
        is_ours: holder == id,
        holder: name.to_owned(),
        number: number as u64,
    })
}
