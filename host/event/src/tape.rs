//! The flat index over a JSON text: one node for each key and each value, in the order of the text.

use crate::string;

/// The kind of a [`Node`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    False,
    True,
    /// Fits an `i64` or a `u64`.
    Integer,
    /// Beyond both: its digits are all that is known.
    BigInteger,
    Float,
    /// A string without escapes: its bytes are its value.
    Text,
    EscapedText,
    Array,
    Object,
    Key,
    EscapedKey,
    /// The same key comes again later in the object, so this member counts for nothing.
    SupersededKey,
}

/// One key or value.
///
/// An array is followed by its elements, an object by key, value, key, value, and so on. The entry after a value is
/// at `next`, whatever the value holds, so that siblings are skipped in one step each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// Where the text of it begins, with the quote of a string or key.
    pub(crate) start: u32,
    /// One past its last byte.
    pub(crate) end: u32,
    /// The index after this value and all that is in it. While a container is still being read: its parent.
    pub(crate) next: u32,
    /// Containers: how many members or elements, without superseded ones. Strings: the length once decoded, in
    /// bytes. Keys: [`hash`] of the decoded key.
    pub(crate) extra: u32,
    pub(crate) kind: Kind,
}

/// Objects with at most this many members are checked for duplicate keys without an allocation.
const SMALL_OBJECT: usize = 32;

/// Marks the members of the object at `object` whose key comes again later; says whether there were any.
///
/// Keys that hash alike are the rare case; only then are keys compared. The worst that crafted keys can cost is a
/// sort of the object's keys.
pub(crate) fn supersede_duplicates(nodes: &mut [Node], text: &[u8], object: usize) -> bool {
    let count = nodes[object].extra as usize;
    if count < 2 {
        return false;
    }
    let keys = key_nodes(nodes, object);
    let alike = if count <= SMALL_OBJECT {
        let mut seen = [0; SMALL_OBJECT];
        let mut alike = false;
        for (position, key) in keys.enumerate() {
            let hash = nodes[key].extra;
            alike |= seen[..position].contains(&hash);
            seen[position] = hash;
        }
        alike
    } else {
        let mut hashes: Vec<u32> = keys.map(|key| nodes[key].extra).collect();
        hashes.sort_unstable();
        hashes.windows(2).any(|pair| pair[0] == pair[1])
    };
    alike && supersede_equal_keys(nodes, text, object)
}

#[cold]
fn supersede_equal_keys(nodes: &mut [Node], text: &[u8], object: usize) -> bool {
    let mut keys: Vec<_> = key_nodes(nodes, object)
        .map(|key| (key_bytes(&nodes[key], text), key))
        .collect();
    keys.sort_unstable();
    let earlier: Vec<usize> = keys
        .windows(2)
        .filter(|pair| pair[0].0 == pair[1].0)
        .map(|pair| pair[0].1)
        .collect();
    for &key in &earlier {
        nodes[key].kind = Kind::SupersededKey;
    }
    nodes[object].extra -= earlier.len() as u32;
    !earlier.is_empty()
}

/// The decoded bytes of a key whose node's offsets count from the start of `text`.
fn key_bytes<'a>(key: &Node, text: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
    let content = &text[key.start as usize + 1..key.end as usize - 1];
    if key.kind == Kind::EscapedKey {
        string::decoded(content).into()
    } else {
        content.into()
    }
}

/// The indices of an object's key nodes.
fn key_nodes(nodes: &[Node], object: usize) -> impl Iterator<Item = usize> {
    let end = nodes[object].next as usize;
    let mut at = object + 1;
    std::iter::from_fn(move || {
        let key = at;
        (key < end).then(|| {
            at = nodes[key + 1].next as usize;
            key
        })
    })
}

/// A hash of a key: its length, its first and its last eight bytes. Equal keys hash alike; the rest is for speed.
pub(crate) fn hash(key: &[u8]) -> u32 {
    match (key.first_chunk(), key.last_chunk()) {
        (Some(head), Some(tail)) => mix(key.len(), *head, *tail),
        _ => {
            let mut head = [0; 8];
            head[..key.len()].copy_from_slice(key);
            mix(key.len(), head, [0; 8])
        }
    }
}

/// [`hash`] of `text[start..end]`, which may read beyond a short key, and is faster for it.
#[inline]
pub(crate) fn hash_within(text: &[u8], start: usize, end: usize) -> u32 {
    let length = end - start;
    match text[start..].first_chunk::<8>() {
        Some(ahead) if length < 8 => {
            let wanted = u64::from_le_bytes(*ahead) & ((1 << (8 * length)) - 1);
            mix(length, wanted.to_le_bytes(), [0; 8])
        }
        _ => hash(&text[start..end]),
    }
}

#[inline]
fn mix(length: usize, head: [u8; 8], tail: [u8; 8]) -> u32 {
    // Odd constants with well-spread bits (from the golden ratio and the square root of two).
    let mixed = (u64::from_le_bytes(head) ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed =
        (mixed ^ (mixed >> 32) ^ u64::from_le_bytes(tail)).wrapping_mul(0xb504_f333_f9de_6485);
    (mixed >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_hashes_the_same_alone_and_within_a_text() {
        let text = b"a key and a half, then some more text";
        for start in 0..text.len() {
            for end in start..=text.len() {
                assert_eq!(
                    hash_within(text, start, end),
                    hash(&text[start..end]),
                    "{start}..{end}"
                );
            }
        }
    }
}
