//! A budget for work on events that others ask for, such as plugins.

/// Bytes that cost as much as one step.
const BYTES_A_STEP: u64 = 16;

/// Steps that work on events may still take. A step is about 10 ns: one entry of an object or array that is passed, or
/// 16 bytes that are copied.
///
/// Work that is asked for by a plugin is charged against a budget, since one pointer may lead past as many entries as
/// the event has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    left: u64,
}

/// The steps of a [`Budget`] are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it takes more work than the budget allows")]
pub struct OverBudget;

impl Budget {
    /// A budget of so many steps.
    pub const fn new(steps: u64) -> Self {
        Self { left: steps }
    }

    /// For work of the host's own, which asks for a handful of fields.
    pub(crate) const fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Takes `steps`. Where fewer are left, nothing is left afterwards, so that smaller work does not go on either.
    ///
    /// # Errors
    /// [`OverBudget`] where fewer steps are left.
    #[inline]
    pub fn spend(&mut self, steps: u64) -> Result<(), OverBudget> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(OverBudget)
            }
        }
    }

    /// Takes the cost of copying or reading `bytes`.
    ///
    /// # Errors
    /// [`OverBudget`] where fewer steps are left.
    #[inline]
    pub fn spend_bytes(&mut self, bytes: usize) -> Result<(), OverBudget> {
        self.spend(bytes as u64 / BYTES_A_STEP)
    }

    /// How many steps are left.
    pub fn left(&self) -> u64 {
        self.left
    }
}
