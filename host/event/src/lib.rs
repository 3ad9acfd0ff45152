//! A Slack event: read once into a flat index, asked by pointer, edited as an overlay, written once.
//!
//! An [`Event`] keeps the JSON text as it came. One pass over the text makes a *tape*, a flat array with one entry for
//! each key and value, and everything else works on the two together:
//!
//! - [`Event::get`] walks the tape by an RFC 6901 pointer and decodes only the value that it finds;
//! - [`Event::set`] and [`Event::remove`] leave text and tape alone and note the change in an overlay;
//! - [`Event::write_msgpack`] and [`Event::write_json`] go over the tape once and follow the notes.
//!
//! No tree of values is ever built, a clone shares text and tape, and so does a [`Event::subtree`].
//!
//! ```
//! use djangobot_event::{Event, Value};
//!
//! let mut event = Event::parse(r#"{"type":"message","user":"U1","blocks":[{"text":"h\u00e9"}]}"#)?;
//! assert_eq!(event.text("/blocks/0/text").as_deref(), Some("hé"));
//!
//! event.set("/type", "slack.message")?;
//! event.set("/djangobot", br#"{"attempt":1}"#.to_vec())?;
//! event.remove("/blocks")?;
//! assert_eq!(event.get("/djangobot/attempt"), Some(Value::Int(1)));
//!
//! let mut text = Vec::new();
//! event.write_json(&mut text);
//! assert_eq!(text, br#"{"type":"slack.message","user":"U1","djangobot":{"attempt":1}}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The JSON that is read
//! Strict JSON, RFC 8259, in UTF-8, whose root is an object. Details:
//!
//! | in the text | here |
//! |---|---|
//! | integers from -2^63 to 2^64 - 1 | exact; `-0` is the integer 0, as in Python |
//! | integers beyond that | kept as they came; msgpack, which has none, gets the digits as a text |
//! | integers of more than [`MAX_INTEGER_DIGITS`] digits | refused: Python's `json` would refuse them too |
//! | other numbers | the nearest `f64`; `1e400` is infinity, as in Python |
//! | a surrogate escape without its partner | U+FFFD where decoded, kept as it came in JSON |
//! | a key that comes twice | the last one counts, as in Python |
//! | containers in containers | to [`MAX_DEPTH`] levels |
//! | size | to `u32::MAX` bytes |

mod budget;
mod clean_text;
mod decode;
mod document;
mod edit;
mod event;
mod json_writer;
pub mod lock;
mod msgpack_reader;
mod msgpack_writer;
mod notes;
mod number;
mod overlay;
mod parser;
mod pointer;
mod reminder;
mod salvage;
mod string;
mod tape;
mod value;

pub use budget::{Budget, OverBudget};
pub use clean_text::CleanText;
pub use edit::EditError;
pub use event::Event;
pub use msgpack_reader::{BYTES_KEY, MsgpackError};
pub use notes::Notes;
pub use number::MAX_INTEGER_DIGITS;
pub use parser::{MAX_DEPTH, ParseError};
pub use reminder::Reminder;
pub use value::{Edit, NewValue, Value};
