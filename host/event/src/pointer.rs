//! RFC 6901 pointers: `/blocks/0/text`.

use std::borrow::Cow;

use memchr::memchr;

/// The reference tokens of a pointer, decoded, in order. `None` where the text is not a pointer.
pub(crate) fn tokens(pointer: &str) -> Option<impl Iterator<Item = Cow<'_, str>>> {
    let mut rest = pointer;
    let escapes_are_known = || {
        pointer
            .split('~')
            .skip(1)
            .all(|escape| escape.starts_with(['0', '1']))
    };
    let is_pointer = (pointer.is_empty() || pointer.starts_with('/'))
        && (memchr(b'~', pointer.as_bytes()).is_none() || escapes_are_known());
    is_pointer.then_some(std::iter::from_fn(move || {
        let token = rest.strip_prefix('/')?;
        let end = memchr(b'/', token.as_bytes()).unwrap_or(token.len());
        rest = &token[end..];
        Some(decoded(&token[..end]))
    }))
}

fn decoded(token: &str) -> Cow<'_, str> {
    if memchr(b'~', token.as_bytes()).is_some() {
        // In this order, so that `~01` becomes `~1` (RFC 6901, section 4).
        token.replace("~1", "/").replace("~0", "~").into()
    } else {
        token.into()
    }
}

/// The index of an array element that a token names: digits without leading zeros.
pub(crate) fn index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with('0');
    (canonical && token.bytes().all(|byte| byte.is_ascii_digit())).then(|| token.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_split_and_decoded() {
        let check = |pointer, expect: Option<&[&str]>| {
            let tokens = tokens(pointer).map(Vec::from_iter);
            assert_eq!(
                tokens,
                expect.map(|tokens| tokens.iter().map(|&token| Cow::from(token)).collect()),
                "{pointer}"
            );
        };
        check("", Some(&[]));
        check("/", Some(&[""]));
        check("/a", Some(&["a"]));
        check("/a/0/-", Some(&["a", "0", "-"]));
        check("//a/", Some(&["", "a", ""]));
        check("/a~1b~0c", Some(&["a/b~c"]));
        check("/~01", Some(&["~1"]));
        check("a", None);
        check("/~", None);
        check("/~2", None);
        check("/a~/b", None);
    }

    #[test]
    fn an_index_is_digits_without_leading_zeros() {
        let check = |token, expect| assert_eq!(index(token), expect, "{token}");
        check("0", Some(0));
        check("10", Some(10));
        check("", None);
        check("-", None);
        check("01", None);
        check("+1", None);
        check("1 ", None);
        check("99999999999999999999999", None);
    }
}
