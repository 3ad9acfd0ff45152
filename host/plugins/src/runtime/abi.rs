//! The released versions of the interface: one file for each, which translates that version's types into the host's
//! own.
//!
//! A released version is never edited. Later versions of 1.x only add imports, so that one set of bindings serves all
//! of them, and a component that was built for an older one finds everything that it imports.

pub(crate) mod v1;
