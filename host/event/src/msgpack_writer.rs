//! Writing msgpack, in one walk over the tape.
//!
//! The format: <https://github.com/msgpack/msgpack/blob/master/spec.md>. Integers, lengths and counts take the
//! smallest form; floats are always 64 bits, as Python's are.

use crate::document::Document;
use crate::number::{self, Integer};
use crate::overlay::{Addition, Change, Replacement};
use crate::string;
use crate::tape::{Kind, Node};

/// Appends a document as msgpack, as edited.
///
/// The nodes are in the order in which msgpack wants them, so they are written in runs, from one place that the
/// overlay has something to say about to the next. It calls itself only for documents that were set within this one,
/// and those are never nested deeper than [`crate::MAX_DEPTH`].
pub(crate) fn write(document: &Document, out: &mut Vec<u8>) {
    // Msgpack is shorter than JSON but for floats and the like; this saves growing.
    out.reserve(document.text().len());
    let mut at = document.root;
    let end = document.node(at).next;
    if document.overlay.is_empty() {
        write_run(document, at, end, out);
        return;
    }
    let mut changes = document.overlay.changes();
    let mut extensions = document.overlay.extensions();
    // The extended containers around `at`: where their entries end, and what was added to them.
    let mut open: Vec<(u32, &[Addition])> = Vec::new();
    loop {
        let change = changes.first().map_or(end, |change| change.0);
        let extension = extensions.first().map_or(end, |extension| extension.0);
        let close = open.last().map_or(end, |container| container.0);
        at = write_run(document, at, change.min(extension).min(close), out);
        // A container's end comes before what follows it at the same index.
        if at == close {
            let Some((_, added)) = open.pop() else {
                return;
            };
            for added in added {
                if let Some(key) = &added.key {
                    write_text(key.as_bytes(), out);
                }
                write_replacement(&added.value, out);
            }
        } else if at == change {
            let value = document.value_of(at);
            if let Some(((_, Change::Replaced(replacement)), rest)) = changes.split_first() {
                write_run(document, at, value, out);
                write_replacement(replacement, out);
                changes = rest;
            } else {
                changes = &changes[1..];
            }
            at = document.node(value).next;
        } else {
            let length = document.length(at);
            match document.node(at).kind {
                Kind::Object => write_map_header(length, out),
                _ => write_array_header(length, out),
            }
            open.push((document.node(at).next, &extensions[0].1.added));
            extensions = &extensions[1..];
            at += 1;
        }
    }
}

/// The nodes from `at` to before `end`, as they were read. Where it ended: at `end`.
fn write_run(document: &Document, at: u32, end: u32, out: &mut Vec<u8>) -> u32 {
    let nodes = &document.nodes()[..end as usize];
    let mut at = at as usize;
    while let Some(node) = nodes.get(at) {
        at += 1;
        if node.kind == Kind::SupersededKey {
            at = nodes[at].next as usize;
        } else {
            write_node(document, node, out);
        }
    }
    at as u32
}

/// A scalar or key, or the header of a container.
#[inline]
fn write_node(document: &Document, node: &Node, out: &mut Vec<u8>) {
    match node.kind {
        Kind::Key | Kind::Text | Kind::SupersededKey => write_plain_text(document, node, out),
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

/// A string or key without escapes.
///
/// Most are short. Those are copied in one piece of a fixed size, of which the surplus is cut off again: it takes two
/// instructions instead of a call.
#[inline]
fn write_plain_text(document: &Document, node: &Node, out: &mut Vec<u8>) {
    const PIECE: usize = 16;
    let length = (node.end - node.start) as usize - 2;
    match document.text_from(node).first_chunk::<PIECE>() {
        Some(piece) if length <= PIECE => {
            let mut text = [0; 1 + PIECE];
            text[0] = 0xa0 | length as u8;
            text[1..].copy_from_slice(piece);
            out.extend_from_slice(&text);
            out.truncate(out.len() - (PIECE - length));
        }
        _ => write_text(document.content(node), out),
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
        Replacement::Document(document) => write(document, out),
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
        0..=31 => out.push(0xa0 | length as u8),
        32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        0x100..=0xffff => write_with_marker(0xda, (length as u16).to_be_bytes(), out),
        _ => write_with_marker(0xdb, length.to_be_bytes(), out),
    }
}

fn write_map_header(length: u32, out: &mut Vec<u8>) {
    match length {
        0..=15 => out.push(0x80 | length as u8),
        16..=0xffff => write_with_marker(0xde, (length as u16).to_be_bytes(), out),
        _ => write_with_marker(0xdf, length.to_be_bytes(), out),
    }
}

fn write_array_header(length: u32, out: &mut Vec<u8>) {
    match length {
        0..=15 => out.push(0x90 | length as u8),
        16..=0xffff => write_with_marker(0xdc, (length as u16).to_be_bytes(), out),
        _ => write_with_marker(0xdd, length.to_be_bytes(), out),
    }
}

fn write_int(value: i64, out: &mut Vec<u8>) {
    match value {
        0.. => write_uint(value as u64, out),
        -32..=-1 => out.push(value as u8),
        -0x80..=-33 => out.extend_from_slice(&[0xd0, value as u8]),
        -0x8000..=-0x81 => write_with_marker(0xd1, (value as i16).to_be_bytes(), out),
        -0x8000_0000..=-0x8001 => write_with_marker(0xd2, (value as i32).to_be_bytes(), out),
        _ => write_with_marker(0xd3, value.to_be_bytes(), out),
    }
}

fn write_uint(value: u64, out: &mut Vec<u8>) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => write_with_marker(0xcd, (value as u16).to_be_bytes(), out),
        0x1_0000..=0xffff_ffff => write_with_marker(0xce, (value as u32).to_be_bytes(), out),
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
