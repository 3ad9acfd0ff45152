//! Channel and group names. They are checked once, at construction.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name that Channels accepts, in characters (`BaseChannelLayer.MAX_NAME_LENGTH` is exclusive).
pub const MAX_NAME_LENGTH: usize = 99;

/// The key of a message that names its process-local channels.
pub(crate) const CHANNEL_KEY: &str = "__asgi_channel__";

/// A channel's name: ASCII letters, digits, `-`, `_` and `.`, fewer than 100 characters.
///
/// A process-local name has one `!`. The part up to the `!` is the queue that one process reads, and the part behind it
/// is one channel of that process. The rule is `channels.layers.BaseChannelLayer.channel_name_regex`, kept to ASCII.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// A group's name: like a channel's, without `!`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName(Arc<str>);

/// The reason why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("the name is empty; a name has 1 to {MAX_NAME_LENGTH} characters")]
    Empty,
    /// 100 characters or more.
    #[error("the name has {0} characters; a name has at most {MAX_NAME_LENGTH}")]
    TooLong(usize),
    /// A character that no name may have.
    #[error(
        "{0:?} is not allowed in the name {1:?}; allowed are ASCII letters, digits, '-', '_' and '.', and one '!' in the name of a channel"
    )]
    Character(char, String),
}

impl ChannelName {
    /// Checks `name`.
    ///
    /// # Errors
    /// The reason why it is not a valid name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let (queue, local) = name.split_once('!').unwrap_or((name, ""));
        check(name, queue, local)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only one process reads it (it has a `!`).
    pub fn is_process_local(&self) -> bool {
        self.0.contains('!')
    }

    /// Whether it ends with its `!`. Then it stands for all channels of that queue, and a reader of it gets the
    /// messages of all of them.
    pub fn is_whole_queue(&self) -> bool {
        self.0.ends_with('!')
    }

    /// The channel `local` of this queue, which ends with `!`.
    ///
    /// # Errors
    /// The reason why that is not a valid name.
    pub fn join(&self, local: &str) -> Result<Self, NameError> {
        Self::new(&format!("{}{local}", self.queue()))
    }

    /// The queue of this channel: the name up to and with its `!`, or the whole name.
    pub fn queue(&self) -> &str {
        self.0.find('!').map_or(&self.0, |bang| &self.0[..=bang])
    }
}

impl GroupName {
    /// Checks `name`.
    ///
    /// # Errors
    /// The reason why it is not a valid name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check(name, name, "")?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(name: &str, queue: &str, local: &str) -> Result<(), NameError> {
    if queue.is_empty() {
        return Err(NameError::Empty);
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(wrong) = queue.chars().chain(local.chars()).find(|c| !allowed(c)) {
        return Err(NameError::Character(
            wrong,
            name.chars().take(MAX_NAME_LENGTH).collect(),
        ));
    }
    if name.len() > MAX_NAME_LENGTH {
        return Err(NameError::TooLong(name.len()));
    }
    Ok(())
}

macro_rules! text_like {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}
text_like!(ChannelName);
text_like!(GroupName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_channels_rule() {
        for good in ["slack.message", "a", "specific.3af3!da16", "x!", "A-b_c.9"] {
            assert_eq!(ChannelName::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a b",
            "a/b",
            "é",
            "a!b!c",
            "!x",
            "a:b",
            &"x".repeat(100),
        ] {
            assert!(ChannelName::new(bad).is_err(), "{bad:?}");
        }
        assert!(GroupName::new("ops!x").is_err());
    }

    #[test]
    fn the_queue_of_a_process_local_name_ends_with_its_bang() {
        assert_eq!(
            ChannelName::new("specific.a!b").unwrap().queue(),
            "specific.a!"
        );
        assert_eq!(
            ChannelName::new("slack.send").unwrap().queue(),
            "slack.send"
        );
    }
}
