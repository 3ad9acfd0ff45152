//! Redis's glob patterns, as `KEYS` and `PSUBSCRIBE` take them: `*`, `?`, `[a-c^]` and `\`.

/// Whether `pattern` matches all of `text`. Time is at most the product of the lengths.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the present try fails: behind the last star, one byte further in the text.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        let step = match text.get(t) {
            Some(&byte) => match_one(&pattern[p..], byte),
            None if p == pattern.len() => return true,
            None => return false,
        };
        match (step, retry) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((star, tried))) => {
                p = star;
                t = tried + 1;
                retry = Some((star, t));
            }
            (None, None) => return false,
        }
    }
}

/// Matches one byte; gives the length of the pattern's part that did.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', class @ ..] => {
            let (length, matched) = match_class(class, byte);
            matched.then_some(length + 1)
        }
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// Matches a class behind its `[`; gives its length with the `]`, which may be missing.
fn match_class(class: &[u8], byte: u8) -> (usize, bool) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut matched = false;
    loop {
        match class.get(at..).unwrap_or_default() {
            [] => return (at, matched != negated),
            [b']', ..] => return (at + 1, matched != negated),
            [b'\\', literal, ..] => {
                matched |= *literal == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                matched |= (*from.min(to)..=*from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                matched |= *literal == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expect) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("asgi*", "asgi:group:x", true),
            ("asgi*", "asg", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("[\\]]", "]", true),
            ("a[bc", "ab", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxaxxcxxb", false),
            ("a*", "ab*", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expect,
                "{pattern:?} {text:?}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        assert!(!matches(&b"*a".repeat(100), &[b'a'; 99]));
        assert!(!matches(
            &[&b"*a".repeat(50)[..], b"b"].concat(),
            &[b'a'; 10_000]
        ));
    }
}
