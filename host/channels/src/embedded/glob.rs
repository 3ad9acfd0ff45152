//! Redis's glob patterns, for `KEYS` and `PSUBSCRIBE`: `*`, `?`, `[a-c^]` and `\`.

use bytes::Bytes;

use crate::embedded::command_error::CommandError;

/// How many steps all patterns and texts of one command or transaction may take together. That is a few tenths of a
/// second, during which the lock is held.
const STEPS: usize = 50_000_000;

/// Matches patterns for one command or transaction, within a limit of steps.
#[derive(Debug)]
pub(super) struct Matcher {
    /// The number of steps that are left.
    steps: usize,
}

impl Default for Matcher {
    fn default() -> Self {
        Self { steps: STEPS }
    }
}

impl Matcher {
    /// The texts that match the whole `pattern`.
    pub(super) fn select<'a>(
        &mut self,
        pattern: &[u8],
        texts: impl Iterator<Item = &'a Bytes>,
    ) -> Result<Vec<Bytes>, CommandError> {
        let mut found = Vec::new();
        for text in texts {
            if self.matches(pattern, text)? {
                found.push(text.clone());
            }
        }
        Ok(found)
    }

    /// Whether `pattern` matches the whole `text`. It takes at most the product of their lengths in steps.
    pub(super) fn matches(&mut self, pattern: &[u8], text: &[u8]) -> Result<bool, CommandError> {
        matches(pattern, text, &mut self.steps).ok_or(CommandError::LongMatch)
    }
}

/// Whether `pattern` matches the whole `text`; `None` if it takes more than `steps`, which it counts down.
fn matches(pattern: &[u8], text: &[u8], steps: &mut usize) -> Option<bool> {
    let (mut p, mut t) = (0, 0);
    // The position to go on from if this attempt fails: behind the last star, one byte further in the text.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        *steps = steps.checked_sub(1)?;
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return Some(true);
            }
            retry = Some((p, t));
            continue;
        }
        let step = match text.get(t) {
            Some(&byte) => match_one(&pattern[p..], byte, steps)?,
            None if p == pattern.len() => return Some(true),
            None => return Some(false),
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
            (None, None) => return Some(false),
        }
    }
}

/// Matches one byte; returns the length of the part of the pattern that matched. A class takes as many steps as its
/// length.
fn match_one(pattern: &[u8], byte: u8, steps: &mut usize) -> Option<Option<usize>> {
    Some(match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', class @ ..] => {
            let (length, matched) = match_class(class, byte);
            *steps = steps.checked_sub(length)?;
            matched.then_some(length + 1)
        }
        [literal, ..] => (*literal == byte).then_some(1),
    })
}

/// Matches a class behind its `[`; returns its length with the `]`, which may be missing.
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
            ("a", "", false),
            ("a*", "a", true),
            ("**", "ab", true),
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
                Matcher::default().matches(pattern.as_bytes(), text.as_bytes()),
                Ok(expect),
                "{pattern:?} {text:?}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        for (pattern, text) in [
            (b"*a".repeat(100), vec![b'a'; 99]),
            ([&b"*a".repeat(50)[..], b"b"].concat(), vec![b'a'; 10_000]),
        ] {
            assert_eq!(Matcher::default().matches(&pattern, &text), Ok(false));
        }
    }

    #[test]
    fn a_command_s_matching_comes_to_an_end() {
        let run = vec![b'a'; 10_000];
        for pattern in [
            [b"*", &run[..], b"b"].concat(),
            [b"*[", &run[..], b"]b"].concat(),
        ] {
            let text = vec![b'a'; 1_000_000];
            let got = Matcher::default().matches(&pattern, &text);
            assert_eq!(got, Err(CommandError::LongMatch));
        }
        // Many short patterns have the same limit together.
        let mut matcher = Matcher { steps: 1000 };
        let names = vec![Bytes::from_static(b"aaaa"); 1000];
        assert_eq!(
            matcher.select(b"*b", names.iter()),
            Err(CommandError::LongMatch)
        );
        // A pattern that ends with a star needs only the part of the text before it.
        let mut matcher = Matcher { steps: 10 };
        assert_eq!(
            matcher.matches(b"asgi*", &[b"asgi", &run[..]].concat()),
            Ok(true)
        );
    }
}
