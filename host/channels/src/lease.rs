//! A lease in the layer's own Redis: one holder at a time, until it gives it up or is not heard of for a while.
//!
//! It is a sorted set of one member, which says who holds it; the score is a number that grows with each holder. A
//! lease that was given up leaves a member without an id behind for a day, so that the next number is larger whatever
//! the clocks say. No command is used but those that channels_redis uses itself, on one key below the layer's prefix.

use std::sync::Arc;
use std::time::Duration;

/// Takes or renews a lease. Its arguments are those of [`claim_arguments`].
pub(crate) const CLAIM: &str = include_str!("lease/claim.lua");
/// Gives a lease up. Its arguments are those of [`release_arguments`].
pub(crate) const RELEASE: &str = include_str!("lease/release.lua");

/// How long the number of a lease that was given up is kept: a day, in seconds.
const NUMBER_KEPT: u32 = 24 * 60 * 60;

/// Who claims a lease.
#[derive(Debug, Clone)]
pub struct Holder {
    /// `HOST/PROCESS`: what does not change over restarts, and what is this process's alone. No spaces.
    pub id: Arc<str>,
    /// Its name for people.
    pub name: Arc<str>,
}

impl Holder {
    /// The part of the id that outlives the process.
    fn host(&self) -> &str {
        let end = self.id.find('/').map_or(0, |slash| slash + 1);
        &self.id[..end]
    }
}

/// A wish to hold a lease.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What the lease is for, as it is in the key: letters, digits and `:`.
    pub name: String,
    /// Who wants it.
    pub holder: Holder,
    /// How long it lasts when it is not renewed; whole seconds.
    pub time: Duration,
    /// An earlier process of the same host held it and is gone.
    pub takes_over: bool,
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whether the claimant does.
    pub is_ours: bool,
    /// The holder's name for people.
    pub holder: String,
    /// Larger than that of each earlier lease of this name.
    pub number: u64,
}

/// The key of the lease `name`: below the layer's prefix, as all that channels_redis writes.
pub(crate) fn key(prefix: &str, name: &str) -> String {
    format!("{prefix}djangobot:lease:{name}")
}

/// The words of [`CLAIM`] behind its key.
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
        // Milliseconds since 1970: also larger than before where the key had gone.
        format!("{:.0}", now * 1000.0),
        claim.time.as_secs().max(1).to_string(),
    ]
}

/// The words of [`RELEASE`] behind its key.
pub(crate) fn release_arguments(holder: &Holder) -> [String; 2] {
    [holder.id.to_string(), NUMBER_KEPT.to_string()]
}

/// What a lease's member and score say to the process `id`; nothing where the lease was given up.
pub(crate) fn read(member: &[u8], number: f64, id: &str) -> Option<Lease> {
    let member = String::from_utf8_lossy(member);
    let (holder, name) = member.split_once(' ').unwrap_or((&member, &member));
    (!holder.is_empty()).then(|| Lease {
        is_ours: holder == id,
        holder: name.to_owned(),
        number: number as u64,
    })
}
