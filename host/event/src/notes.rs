//! Oddities of a text that could be read all the same.

/// The oddities of a text that could be read. Those of a subtree or an edited event are the oddities of all texts that
/// it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// An object has the same key more than once; the last one counts.
    pub duplicate_keys: bool,
    /// There is an integer beyond 64 bits.
    pub big_integers: bool,
    /// There is an escape of a surrogate without its partner.
    pub lone_surrogates: bool,
}

impl Notes {
    /// The oddities of two texts together.
    pub(crate) fn and(self, other: Notes) -> Self {
        Notes {
            duplicate_keys: self.duplicate_keys || other.duplicate_keys,
            big_integers: self.big_integers || other.big_integers,
            lone_surrogates: self.lone_surrogates || other.lone_surrogates,
        }
    }
}
