//! Triggers: the right to open a view, for a short time after a person did something.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;

/// How long a trigger is good.
const LIFETIME: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(crate) struct Triggers {
    made: Mutex<HashMap<String, Trigger>>,
}

#[derive(Debug)]
struct Trigger {
    at: Instant,
    used: bool,
}

impl Triggers {
    /// Makes a trigger, with which a view can be opened for three seconds.
    pub(crate) fn make(&self) -> String {
        let now = Instant::now();
        let mut made = lock(&self.made);
        // Old triggers are forgotten.
        made.retain(|_, trigger| now.duration_since(trigger.at) < 20 * LIFETIME);
        let trigger = format!("{}.local.{:032x}", made.len(), rand::random::<u128>());
        let fresh = Trigger {
            at: now,
            used: false,
        };
        made.insert(trigger.clone(), fresh);
        trigger
    }

    /// Uses a trigger up, or says why it cannot be used, by Slack's code.
    pub(crate) fn pull(&self, trigger: &str) -> Result<(), &'static str> {
        let mut made = lock(&self.made);
        let trigger = made.get_mut(trigger).ok_or("invalid_trigger_id")?;
        if trigger.at.elapsed() > LIFETIME {
            return Err("expired_trigger_id");
        }
        if std::mem::replace(&mut trigger.used, true) {
            return Err("exchanged_trigger_id");
        }
        Ok(())
    }
}
