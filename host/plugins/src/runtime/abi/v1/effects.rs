//! Effects of a call, the clock and randomness: the interfaces `log`, `clock`, `random` and `emitter`.
//!
//! Emissions and messages are only noted here. They take place after the call has ended well, so that a call which is cut
//! off has no half of an effect. Log lines are written at once: a plugin that fails has to be able to say why.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngExt as _;

use crate::runtime::abi::v1::bindings::djangobot::plugin as wit;
use crate::runtime::guest::{self, EmissionError, Guest};
use crate::runtime::wasi::RANDOM_A_STEP;
use crate::services::log::Level;
use crate::verdict::Failure;
use wit::types;

/// The most random bytes of one call.
const MAX_RANDOM: u32 = 64 << 10;

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
        self.owner.log.write(level, &message, self.shadow);
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

impl wit::random::Host for Guest {
    fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        self.count()?;
        if count > MAX_RANDOM {
            return Err(self.over(Failure::Budget(format!(
                "it asked for {count} random bytes in one call of the host, and at most {MAX_RANDOM} are allowed"
            ))));
        }
        self.charge(u64::from(count) / RANDOM_A_STEP)?;
        let mut bytes = vec![0; count as usize];
        rand::rng().fill(bytes.as_mut_slice());
        Ok(bytes)
    }

    fn number(&mut self) -> wasmtime::Result<u64> {
        self.count()?;
        Ok(rand::random())
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
        // An error and not a trap: a plugin may well go on with fewer events.
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
                Err(error @ EmissionError::Unlisted(_)) => {
                    Err(EmitError::Denied(error.to_string()))
                }
                Err(error @ EmissionError::Body(_)) => Err(EmitError::Invalid(error.to_string())),
            },
        )
    }
}
