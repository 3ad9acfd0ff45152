//! The bytes of a message in a layer: the member of a queue, and the payload in it.

use std::fmt;

use bytes::Bytes;
use djangobot_event::{EditError, Event, MsgpackError, ParseError};

/// The bytes that stand for one message in a queue. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Member(pub Bytes);

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({} bytes)", self.0.len())
    }
}

/// The format of members: enough to find the payload in one without the layer that made it.
///
/// As text it is `msgpack/12` or `json/0/sealed`: the serializer, the number of bytes before the payload, and whether
/// the payload is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// The format of the payload.
    pub serializer: Serializer,
    /// How many bytes come before the payload.
    pub head: usize,
    /// Whether the payload is encrypted. Then only its layer can open it.
    pub sealed: bool,
}

impl Wire {
    /// The payload in a member of this format. `None` if only its layer can open it, or if it is too short.
    pub fn payload(self, member: &Member) -> Option<Bytes> {
        (!self.sealed && member.0.len() >= self.head).then(|| member.0.slice(self.head..))
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealed = if self.sealed { "/sealed" } else { "" };
        write!(f, "{}/{}{sealed}", self.serializer, self.head)
    }
}

impl std::str::FromStr for Wire {
    type Err = UnknownWire;

    fn from_str(text: &str) -> Result<Self, UnknownWire> {
        let unknown = || UnknownWire(text.to_owned());
        let (serializer, rest) = text.split_once('/').ok_or_else(unknown)?;
        let (head, sealed) = match rest.strip_suffix("/sealed") {
            Some(head) => (head, true),
            None => (rest, false),
        };
        Ok(Self {
            serializer: serializer.parse().map_err(|_| unknown())?,
            head: head.parse().map_err(|_| unknown())?,
            sealed,
        })
    }
}

/// A text that does not name a [`Wire`] that this version knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown wire format {0:?}")]
pub struct UnknownWire(String);

/// The format of payloads: channels_redis's `serializer_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Serializer {
    /// MessagePack, with bin and str types.
    #[default]
    Msgpack,
    /// JSON in UTF-8.
    Json,
}

impl fmt::Display for Serializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Msgpack => "msgpack",
            Self::Json => "json",
        })
    }
}

impl std::str::FromStr for Serializer {
    type Err = UnknownWire;

    fn from_str(name: &str) -> Result<Self, UnknownWire> {
        match name {
            "msgpack" => Ok(Self::Msgpack),
            "json" => Ok(Self::Json),
            _ => Err(UnknownWire(name.to_owned())),
        }
    }
}

impl Serializer {
    /// Writes `message` to the end of `out`.
    pub fn write(self, message: &Event, out: &mut Vec<u8>) {
        match self {
            Self::Msgpack => message.write_msgpack(out),
            Self::Json => message.write_json(out),
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// The reason why the payload is not a message.
    pub fn read(self, payload: &[u8]) -> Result<Event, DecodeError> {
        Ok(match self {
            Self::Msgpack => Event::from_msgpack(payload)?,
            Self::Json => Event::parse(payload.to_vec())?,
        })
    }
}

/// The reason why a payload is not a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is not a map in MessagePack.
    #[error(transparent)]
    Msgpack(#[from] MsgpackError),
    /// It is not an object in JSON.
    #[error(transparent)]
    Json(#[from] ParseError),
    /// The key that the layer adds could not be removed.
    #[error(transparent)]
    Edit(#[from] EditError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_reads_its_own_text_and_finds_the_payload() {
        for text in ["msgpack/12", "json/0/sealed", "json/28"] {
            assert_eq!(text.parse::<Wire>().unwrap().to_string(), text);
        }
        for text in ["", "msgpack", "xml/0", "json/-1", "json/1/open"] {
            assert!(text.parse::<Wire>().is_err(), "{text}");
        }
        let member = Member(Bytes::from_static(b"12body"));
        let check = |wire: &str, expect: Option<&'static [u8]>| {
            let payload = wire.parse::<Wire>().unwrap().payload(&member);
            assert_eq!(payload.as_deref(), expect, "{wire}");
        };
        check("json/2", Some(b"body"));
        check("json/2/sealed", None);
        check("json/7", None);
    }
}
