//! The command line of the fault suite.

use std::time::Duration;

use crate::plan::{Plan, Transport};

/// The seeds of the short set, one for each transport.
const SHORT: [(u64, Transport); 3] = [
    (1, Transport::Rtm),
    (2, Transport::SocketMode),
    (3, Transport::Http),
];
const SHORT_LENGTH: Duration = Duration::from_secs(10);
const LENGTH: Duration = Duration::from_secs(16);
const USAGE: &str = "the fault suite takes --seed S, --seeds N, --transport rtm|socket-mode|http, --seconds L, --plan, --keep";

/// The runs that are asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The first seed; without one, the short set is run.
    seed: Option<u64>,
    seeds: u64,
    transport: Option<Transport>,
    /// How long there is traffic and faults in each run.
    pub(crate) length: Duration,
    /// Plans are shown, and not run.
    pub(crate) shows_plans: bool,
    /// Files of runs that passed are kept, too.
    pub(crate) keeps: bool,
}

impl Arguments {
    /// Reads the command line; `None` where nothing of ours is asked for.
    pub(crate) fn read(
        mut given: impl Iterator<Item = String>,
    ) -> Result<Option<Arguments>, String> {
        let mut arguments = Arguments {
            seed: None,
            seeds: 1,
            transport: None,
            length: Duration::ZERO,
            shows_plans: false,
            keeps: false,
        };
        while let Some(name) = given.next() {
            let mut value = || {
                given
                    .next()
                    .ok_or_else(|| format!("{name} needs a value; {USAGE}"))
            };
            let number = |text: String| {
                text.parse::<u64>()
                    .map_err(|error| format!("{text:?}: {error}; {USAGE}"))
            };
            match &*name {
                "--seed" => arguments.seed = Some(number(value()?)?),
                "--seeds" => arguments.seeds = number(value()?)?,
                "--transport" => {
                    let name = value()?;
                    let found = Transport::read(&name).ok_or(format!("{name:?}; {USAGE}"))?;
                    arguments.transport = Some(found);
                }
                "--seconds" => arguments.length = Duration::from_secs(number(value()?)?),
                "--plan" => arguments.shows_plans = true,
                "--keep" => arguments.keeps = true,
                // What cargo hands to all tests: there is one here, and it has no other name.
                "--list" => return Ok(None),
                filter if !filter.starts_with('-') && !"faults".contains(filter) => {
                    return Ok(None);
                }
                filter if !filter.starts_with('-') => {}
                "--nocapture" | "--show-output" | "--quiet" | "-q" => {}
                other => return Err(format!("{other:?}; {USAGE}")),
            }
        }
        if arguments.seeds > 1 && arguments.seed.is_none() {
            arguments.seed = Some(1);
        }
        if arguments.length.is_zero() {
            arguments.length = if arguments.seed.is_some() {
                LENGTH
            } else {
                SHORT_LENGTH
            };
        }
        Ok(Some(arguments))
    }

    /// The runs, in their order.
    pub(crate) fn runs(&self) -> Vec<(u64, Transport)> {
        let Some(first) = self.seed else {
            let asked = |it: &Transport| self.transport.is_none_or(|transport| transport == *it);
            return SHORT
                .into_iter()
                .filter(|(_, transport)| asked(transport))
                .collect();
        };
        (first..first + self.seeds)
            .map(|seed| {
                let drawn = || Plan::transport(seed);
                (seed, self.transport.unwrap_or_else(drawn))
            })
            .collect()
    }
}
