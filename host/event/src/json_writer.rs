//! Writing JSON text, with what was not edited copied as it came.

use crate::document::{Key, Place};
use crate::overlay::Replacement;
use crate::string;
use crate::tape::Kind;

/// Appends the JSON text of a value, as edited.
///
/// It calls itself only for containers that hold edits, and those are never nested deeper than
/// [`crate::MAX_DEPTH`].
pub(crate) fn write(place: Place<'_>, out: &mut Vec<u8>) {
    let (document, index) = match place {
        Place::Read(document, index) => (document, index),
        Place::Set(replacement) => return write_replacement(replacement, out),
    };
    let node = document.node(index);
    if !document.is_edited(index) {
        out.extend_from_slice(document.span(node));
        return;
    }
    let (open, close) = if node.kind == Kind::Object {
        (b'{', b'}')
    } else {
        (b'[', b']')
    };
    let mut separator = open;
    for (key, value) in document.entries(index) {
        out.push(separator);
        separator = b',';
        match key {
            Some(Key::Read(document, key)) => {
                out.extend_from_slice(document.span(document.node(key)))
            }
            Some(Key::Set(key)) => string::write_json(key, out),
            None => {}
        }
        if key.is_some() {
            out.push(b':');
        }
        write(value, out);
    }
    if separator == open {
        out.push(open);
    }
    out.push(close);
}

fn write_replacement(replacement: &Replacement, out: &mut Vec<u8>) {
    match replacement {
        Replacement::Null => out.extend_from_slice(b"null"),
        Replacement::Bool(true) => out.extend_from_slice(b"true"),
        Replacement::Bool(false) => out.extend_from_slice(b"false"),
        Replacement::Int(value) => {
            out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes())
        }
        Replacement::UInt(value) => {
            out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes())
        }
        Replacement::Float(value) => {
            out.extend_from_slice(ryu::Buffer::new().format_finite(*value).as_bytes())
        }
        Replacement::Text(value) => string::write_json(value, out),
        Replacement::Document(document) => write(Place::Read(document, document.root), out),
    }
}
