//! Lua scripts, which a server runs.

/// A Lua script, run by its hash and sent whole when the server has forgotten it.
#[derive(Debug)]
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self {
            text,
            hash: redis::Script::new(text).get_hash().to_owned(),
        }
    }

    /// Its SHA-1, by which a server knows it once it has seen it.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Its Lua.
    pub(crate) fn text(&self) -> &'static str {
        self.text
    }
}
