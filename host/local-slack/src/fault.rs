//! Faults on demand in deliveries to the app: which, how often, and when.
//!
//! Faults of Web API calls are prescribed as [`crate::Answer`].

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// A fault, and how often it is to happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The kind of fault.
    pub happening: Happening,
    /// It happens so many times; 0 stands for once, or without end where a `probability` is given.
    #[serde(default)]
    pub times: u64,
    /// So many deliveries are spared before.
    #[serde(default)]
    pub spare: u64,
    /// The share of deliveries that it happens to, drawn for each; `None` for all.
    #[serde(default)]
    pub probability: Option<f64>,
    /// The same seed draws the same deliveries.
    #[serde(default)]
    pub seed: u64,
}

/// The kinds of fault of an envelope or its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Happening {
    /// It is not sent, though it counts as sent.
    Lose,
    /// It is sent twice: the same envelope, the same number of the attempt.
    Duplicate,
    /// It is sent later.
    Delay {
        /// By so many milliseconds.
        ms: u64,
    },
    /// The next one on its connection overtakes it, if one comes soon.
    Reorder,
    /// It is cut off in the middle of its JSON.
    Garble,
    /// Its connection is cut right after it was queued, so that it may or may not arrive.
    Drop,
    /// Its connection goes silent, open all the same. Over HTTP as `lose_ack`.
    Freeze {
        /// For so many milliseconds; 0 for good.
        ms: u64,
    },
    /// Slack says `disconnect` on its connection. Over HTTP nothing.
    Disconnect {
        /// Why.
        reason: Reason,
    },
    /// Its acknowledgement counts as if it had never come.
    LoseAck,
    /// Its acknowledgement counts as if it had come later. Over HTTP as `lose_ack`.
    LateAck {
        /// By so many milliseconds.
        ms: u64,
    },
}

/// Why Slack ends a connection of Socket Mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The connection is going to be closed in about ten seconds.
    Warning,
    /// The client is to make a new connection; this one is closed.
    RefreshRequested,
    /// The app has too many connections.
    TooManyWebsockets,
    /// Socket Mode was turned off for the app.
    LinkDisabled,
}

impl Reason {
    /// As it stands in the message.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Warning => "warning",
            Reason::RefreshRequested => "refresh_requested",
            Reason::TooManyWebsockets => "too_many_websockets",
            Reason::LinkDisabled => "link_disabled",
        }
    }
}

/// When a fault can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    Send,
    Ack,
}

impl Happening {
    fn occasion(self) -> Occasion {
        match self {
            Happening::LoseAck | Happening::LateAck { .. } => Occasion::Ack,
            _ => Occasion::Send,
        }
    }
}

/// The faults that are on.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    on: Vec<ActiveFault>,
}

#[derive(Debug)]
struct ActiveFault {
    fault: Fault,
    /// `None` for no end.
    left: Option<u64>,
    dice: StdRng,
}

impl Faults {
    /// Turns a fault on, behind those that are on already.
    pub(crate) fn add(&mut self, fault: Fault) {
        let left = match (fault.times, fault.probability) {
            (0, Some(_)) => None,
            (times, _) => Some(times.max(1)),
        };
        let dice = StdRng::seed_from_u64(fault.seed);
        self.on.push(ActiveFault { fault, left, dice });
    }

    pub(crate) fn clear(&mut self) {
        self.on.clear();
    }

    /// Those that are on, as they were given.
    pub(crate) fn all(&self) -> Vec<Fault> {
        self.on.iter().map(|armed| armed.fault.clone()).collect()
    }

    /// The fault of the delivery that is sent, or acknowledged, now: the first one that applies.
    pub(crate) fn draw(&mut self, occasion: Occasion) -> Option<Happening> {
        let on = self.on.iter_mut();
        let mut on = on.filter(|armed| armed.fault.happening.occasion() == occasion);
        let armed = on.find_map(|armed| armed.befalls().then_some(armed))?;
        let happening = armed.fault.happening;
        if let Some(left) = &mut armed.left {
            *left -= 1;
        }
        self.on.retain(|armed| armed.left != Some(0));
        Some(happening)
    }
}

impl ActiveFault {
    fn befalls(&mut self) -> bool {
        if self.fault.spare > 0 {
            self.fault.spare -= 1;
            return false;
        }
        match self.fault.probability {
            None => true,
            Some(share) => self.dice.random::<f64>() < share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(happening: Happening) -> Fault {
        Fault {
            happening,
            times: 0,
            spare: 0,
            probability: None,
            seed: 1,
        }
    }

    fn befallen(faults: &mut Faults, occasion: Occasion, count: usize) -> Vec<bool> {
        (0..count)
            .map(|_| faults.draw(occasion).is_some())
            .collect()
    }

    #[test]
    fn a_fault_spares_some_and_befalls_so_many() {
        let mut faults = Faults::default();
        faults.add(Fault {
            spare: 1,
            times: 2,
            ..fault(Happening::Lose)
        });
        let expect = [false, true, true, false];
        assert_eq!(befallen(&mut faults, Occasion::Send, 4), expect);
        assert!(faults.all().is_empty());
    }

    #[test]
    fn a_fault_waits_for_its_occasion() {
        let mut faults = Faults::default();
        faults.add(fault(Happening::LoseAck));
        assert_eq!(faults.draw(Occasion::Send), None);
        assert_eq!(faults.draw(Occasion::Ack), Some(Happening::LoseAck));
        assert_eq!(faults.draw(Occasion::Ack), None);
    }

    #[test]
    fn a_probability_holds_without_end_and_a_seed_draws_the_same() {
        let drawn = |seed| {
            let mut faults = Faults::default();
            faults.add(Fault {
                probability: Some(0.1),
                seed,
                ..fault(Happening::Duplicate)
            });
            befallen(&mut faults, Occasion::Send, 2000)
        };
        let count = drawn(3).iter().filter(|befallen| **befallen).count();
        assert!((120..280).contains(&count), "{count}");
        assert_eq!(drawn(3), drawn(3));
        assert_ne!(drawn(3), drawn(4));
    }

    #[test]
    fn a_fault_is_written_in_one_object() {
        let text =
            r#"{"happening": {"what": "disconnect", "reason": "link_disabled"}, "times": 3}"#;
        let expect = Fault {
            times: 3,
            seed: 0,
            ..fault(Happening::Disconnect {
                reason: Reason::LinkDisabled,
            })
        };
        assert_eq!(serde_json::from_str::<Fault>(text).unwrap(), expect);
    }
}
