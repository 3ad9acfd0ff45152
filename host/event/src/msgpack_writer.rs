//! Writing msgpack, in one walk over the tape.
//!
//! The format: <https://github.com/msgpack/msgpack/blob/master/spec.md>. Integers, lengths and counts take the
//! smallest form; floats are always 64 bits, as Python's are.

use crate::document::{Document, Key, Place};
use crate::number::{self, Integer};
use crate::overlay::Replacement;
use crate::string;
use crate::tape::{Kind, Node};

/// Appends a value as msgpack, as edited.
///
/// It calls itself only for containers that hold edits, and those are never nested deeper than
/// [`crate::MAX_DEPTH`].
pub(crate) fn write(place: Place<'_>, out: &mut Vec<u8>) {
    let (document, index) = match place {
        Place::Read(document, index) => (document, index),
        Place::Set(replacement) => return write_replacement(replacement, out),
    };
    if !document.is_edited(index) {
        return write_unedited(document, index, out);
    }
    let length = document.length(index);
    if document.node(index).kind == Kind::Object {
        write_map_header(length, out);
    } else {
        write_array_header(length, out);
    }
    for (key, value) in document.entries(index) {
        match key {
            Some(Key::Read(document, key)) => write_node(document, document.node(key), out),
            Some(Key::Set(key)) => write_text(key.as_bytes(), out),
            None => {}
        }
        write(value, out);
    }
}

/// Keys and values are in the tape in the order in which msgpack wants them.
fn write_unedited(document: &Document, index: u32, out: &mut Vec<u8>) {
    let mut at = index as usize;
    let end = document.node(index).next as usize;
    // Msgpack is shorter than JSON but for floats and the like; this saves growing.
    out.reserve(document.span(document.node(index)).len());
    while let Some(node) = document.nodes()[..end].get(at) {
        at += 1;
        if node.kind == Kind::SupersededKey {
            at = document.nodes()[at].next as usize;
        } else {
            write_node(document, node, out);
        }
    }
}

/// A scalar or key, or the header of a container.
#[inline]
fn write_node(document: &Document, node: &Node, out: &mut Vec<u8>) {
    match node.kind {
        Kind::Key | Kind::Text | Kind::SupersededKey => write_text(document.content(node), out),
        Kind::EscapedText => {
            write_text_header(node.extra, out);
            string::decode_into(document.content(node), out);
        }
        Kind::EscapedKey => write_text(&string::decoded(document.content(node)), out),
        Kind::Object => write_map_header(node.extra, out),
        Kind::Array => write_array_header(node.extra, out),
        Kind::Null => out.push(0xc0),
        Kind::False => out.push(0xc2),
        Kind::True => out.push(0xc3),
        Kind::Integer => match number::integer(document.span(node)) {
            Integer::Signed(value) => write_int(value, out),
            Integer::Unsigned(value) => write_uint(value, out),
        },
        Kind::BigInteger => write_text(document.span(node), out),
        Kind::Float => write_float(number::float(document.span(node)), out),
    }
}

fn write_replacement(replacement: &Replacement, out: &mut Vec<u8>) {
    match replacement {
        Replacement::Null => out.push(0xc0),
        Replacement::Bool(false) => out.push(0xc2),
        Replacement::Bool(true) => out.push(0xc3),
        Replacement::Int(value) => write_int(*value, out),
        Replacement::UInt(value) => write_uint(*value, out),
        Replacement::Float(value) => write_float(*value, out),
        Replacement::Text(value) => write_text(value.as_bytes(), out),
        Replacement::Document(document) => write(Place::Read(document, document.root), out),
    }
}

#[inline]
fn write_text(text: &[u8], out: &mut Vec<u8>) {
    write_text_header(text.len() as u32, out);
    out.extend_from_slice(text);
}

#[inline]
fn write_text_header(length: u32, out: &mut Vec<u8>) {
    match length {
        ..32 => out.push(0xa0 | length as u8),
        ..0x100 => out.extend_from_slice(&[0xd9, length as u8]),
        ..0x1_0000 => write_with_marker(0xda, (length as u16).to_be_bytes(), out),
        _ => write_with_marker(0xdb, length.to_be_bytes(), out),
    }
}

fn write_map_header(length: u32, out: &mut Vec<u8>) {
    match length {
        ..16 => out.push(0x80 | length as u8),
        ..0x1_0000 => write_with_marker(0xde, (length as u16).to_be_bytes(), out),
        _ => write_with_marker(0xdf, length.to_be_bytes(), out),
    }
}

fn write_array_header(length: u32, out: &mut Vec<u8>) {
    match length {
        ..16 => out.push(0x90 | length as u8),
        ..0x1_0000 => write_with_marker(0xdc, (length as u16).to_be_bytes(), out),
        _ => write_with_marker(0xdd, length.to_be_bytes(), out),
    }
}

fn write_int(value: i64, out: &mut Vec<u8>) {
    match value {
        0.. => write_uint(value as u64, out),
        -32.. => out.push(value as u8),
        -0x80.. => out.extend_from_slice(&[0xd0, value as u8]),
        -0x8000.. => write_with_marker(0xd1, (value as i16).to_be_bytes(), out),
        -0x8000_0000.. => write_with_marker(0xd2, (value as i32).to_be_bytes(), out),
        _ => write_with_marker(0xd3, value.to_be_bytes(), out),
    }
}

fn write_uint(value: u64, out: &mut Vec<u8>) {
    match value {
        ..0x80 => out.push(value as u8),
        ..0x100 => out.extend_from_slice(&[0xcc, value as u8]),
        ..0x1_0000 => write_with_marker(0xcd, (value as u16).to_be_bytes(), out),
        ..0x1_0000_0000 => write_with_marker(0xce, (value as u32).to_be_bytes(), out),
        _ => write_with_marker(0xcf, value.to_be_bytes(), out),
    }
}

fn write_float(value: f64, out: &mut Vec<u8>) {
    write_with_marker(0xcb, value.to_be_bytes(), out);
}

#[inline]
fn write_with_marker<const N: usize>(marker: u8, payload: [u8; N], out: &mut Vec<u8>) {
    out.push(marker);
    out.extend_from_slice(&payload);
}

#[cfg(test)]
mod tests;
