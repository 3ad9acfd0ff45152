//! The bytes of a message in a layer: members of queues, and the payloads in them.

use std::fmt;

use bytes::Bytes;
use djangobot_event::{EditError, Event, MsgpackError, ParseError};

/// Bytes as they go on the wire. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Member(pub Bytes);

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({} bytes)", self.0.len())
    }
}

/// How members are written, as far as it takes to find the payload in one without the layer that made it.
///
/// Its text is `msgpack/12`, or `json/0/sealed`: serializer, bytes before the payload, and whether it is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// How the payload is written.
    pub serializer: Serializer,
    /// How many bytes stand before it.
    pub head: usize,
    /// Whether it is encrypted, and so only its layer can open it.
    pub sealed: bool,
}

impl Wire {
    /// The payload in a member of this wire; `None` where only its layer can open it, or it is too short.
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

/// Text that describes no [`Wire`] of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no way in which members are written that this version knows")]
pub struct UnknownWire(String);

/// How a layer writes payloads: channels_redis's `serializer_format`.
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
    pub fn read(self, payload: &[u8]) -> Result<Event, DecodeError> {
        Ok(match self {
            Self::Msgpack => Event::from_msgpack(payload)?,
            Self::Json => Event::parse(payload.to_vec())?,
        })
    }
}

/// Why a payload is no message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is no map in MessagePack.
    #[error(transparent)]
    Msgpack(#[from] MsgpackError),
    /// It is no object in JSON.
    #[error(transparent)]
    Json(#[from] ParseError),
    /// The layer's own key could not be taken out.
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
