//! JSON strings: finding their end, reading their escapes, writing them.

use memchr::memchr;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The first byte at or after `at` that a string can't hold as it is: a quote, a backslash or a control character.
/// The length of `text` if there is none.
#[inline]
pub(crate) fn find_special(text: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // In each term the lowest set high bit is exact: a borrow reaches upwards only.
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let found = found & HIGH_BITS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < text.len() && !matches!(text[at], b'"' | b'\\' | 0..0x20) {
        at += 1;
    }
    at
}

/// One escape sequence, or two that make a surrogate pair.
pub(crate) struct Escape {
    pub(crate) meaning: char,
    /// How many bytes of text it takes.
    pub(crate) length: usize,
    /// It is a surrogate without its partner, and `meaning` is U+FFFD.
    pub(crate) lone_surrogate: bool,
}

/// Reads the escape whose backslash is at `at`. `None`: there is no such escape.
pub(crate) fn read_escape(text: &[u8], at: usize) -> Option<Escape> {
    let meaning = match *text.get(at + 1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\x08',
        b'f' => '\x0c',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return read_unicode_escape(text, at),
        _ => return None,
    };
    Some(Escape {
        meaning,
        length: 2,
        lone_surrogate: false,
    })
}

fn read_unicode_escape(text: &[u8], at: usize) -> Option<Escape> {
    let unit = code_unit(text, at)?;
    if let Some(meaning) = char::from_u32(unit) {
        return Some(Escape {
            meaning,
            length: 6,
            lone_surrogate: false,
        });
    }
    if unit < 0xdc00
        && let Some(low @ 0xdc00..0xe000) = code_unit(text, at + 6)
        && let Some(meaning) = char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
    {
        return Some(Escape {
            meaning,
            length: 12,
            lone_surrogate: false,
        });
    }
    Some(Escape {
        meaning: char::REPLACEMENT_CHARACTER,
        length: 6,
        lone_surrogate: true,
    })
}

/// The four hex digits of a `\uXXXX` at `at`.
fn code_unit(text: &[u8], at: usize) -> Option<u32> {
    let escape: &[u8; 6] = text.get(at..)?.first_chunk()?;
    let [b'\\', b'u', digits @ ..] = escape else {
        return None;
    };
    digits.iter().try_fold(0, |unit, &digit| {
        Some(unit << 4 | char::from(digit).to_digit(16)?)
    })
}

/// The value of a string, given what is between its quotes; the escapes were checked when it was read.
pub(crate) fn decoded(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    decode_into(content, &mut out);
    out
}

/// Appends what [`decoded`] gives.
pub(crate) fn decode_into(content: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(plain) = memchr(b'\\', &content[at..]) {
        out.extend_from_slice(&content[at..at + plain]);
        at += plain;
        let Some(escape) = read_escape(content, at) else {
            break;
        };
        let mut utf8 = [0; 4];
        out.extend_from_slice(escape.meaning.encode_utf8(&mut utf8).as_bytes());
        at += escape.length;
    }
    out.extend_from_slice(&content[at..]);
}

/// Appends `text` as a JSON string: only what must be escaped is, so the output is UTF-8.
pub(crate) fn write_json(text: &str, out: &mut Vec<u8>) {
    let text = text.as_bytes();
    out.push(b'"');
    let mut at = 0;
    loop {
        let special = find_special(text, at);
        out.extend_from_slice(&text[at..special]);
        let Some(&byte) = text.get(special) else {
            break;
        };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            }
        }
        at = special + 1;
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
