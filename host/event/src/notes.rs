//! Oddities of a text that could be read all the same.

/// What was odd in a text, though it could be read. Of a subtree or an edited event: what was odd in all the texts
/// that it is made of.
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
    /// What was odd in either of two texts.
    pub(crate) fn and(self, other: Notes) -> Notes {
        Notes {
            duplicate_keys: self.duplicate_keys || other.duplicate_keys,
            big_integers: self.big_integers || other.big_integers,
            lone_surrogates: self.lone_surrogates || other.lone_surrogates,
        }
    }
}
