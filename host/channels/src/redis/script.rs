//! A Lua script that a server runs.

/// A Lua script. It is run by its hash, and sent whole if the server does not know it.
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
