//! The interface in its released versions: one file for each, which turns that version's words into the host's own.
//!
//! A released version is never edited. Later versions of 1.x only add imports, so that one set of bindings serves all of
//! them, and a component that was built for an older one finds all that it imports.

pub(crate) mod v1;
