//! Triggers: the right to open a view, for a short time after a person did something.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a trigger is good.
const LIFETIME: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(super) struct Triggers {
    /// When each was made, and whether it was used.
    made: HashMap<String, (Instant, bool)>,
}

impl Triggers {
    pub(super) fn make(&mut self) -> String {
        let now = Instant::now();
        // What was made long ago is as if it never was.
        self.made
            .retain(|_, (at, _)| now.duration_since(*at) < 20 * LIFETIME);
        let trigger = format!("{}.local.{:032x}", self.made.len(), rand::random::<u128>());
        self.made.insert(trigger.clone(), (now, false));
        trigger
    }

    pub(super) fn pull(&mut self, trigger: &str) -> Result<(), &'static str> {
        let (at, used) = self.made.get_mut(trigger).ok_or("invalid_trigger_id")?;
        if at.elapsed() > LIFETIME {
            return Err("expired_trigger_id");
        }
        if std::mem::replace(used, true) {
            return Err("exchanged_trigger_id");
        }
        Ok(())
    }
}
