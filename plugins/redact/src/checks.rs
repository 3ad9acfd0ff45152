//! Check digits, by which a card number or an IBAN differs from any other row of digits.

use std::ops::Range;

/// Verifies a candidate match; returns the ranges within it that are to be redacted.
pub(crate) type Check = fn(&str) -> Vec<Range<usize>>;

/// The largest number of digits of a card number.
const MAX_CARD: usize = 19;

/// The ranges of card numbers in groups of digits. A card number has 13 to 19 digits in whole groups, begins with a
/// digit that cards have, and has the right check digit (Luhn).
pub(crate) fn cards(text: &str) -> Vec<Range<usize>> {
    let groups = groups(text);
    let mut found = Vec::new();
    let mut first = 0;
    while first < groups.len() {
        match card(text, &groups[first..]) {
            Some(length) => {
                found.push(groups[first].start..groups[first + length - 1].end);
                first += length;
            }
            None => first += 1,
        }
    }
    found
}

/// The number of groups, from the first on, that are a card number.
fn card(text: &str, groups: &[Range<usize>]) -> Option<usize> {
    let mut digits: Vec<u32> = Vec::new();
    let mut longest = None;
    for (index, group) in groups.iter().enumerate() {
        if digits.len() + group.len() > MAX_CARD {
            break;
        }
        let group = &text[group.clone()];
        digits.extend(group.chars().filter_map(|c| c.to_digit(10)));
        if digits.len() >= 13 && (2..=6).contains(&digits[0]) && luhn(&digits) {
            longest = Some(index + 1);
        }
    }
    longest
}

/// The range of an IBAN in a text that begins like one. It ends with a group, and has the right check digits.
pub(crate) fn iban(text: &str) -> Vec<Range<usize>> {
    let ends = groups(text).into_iter().rev().map(|group| group.end);
    let is_iban = |end: &usize| {
        let letters: Vec<char> = text[..*end]
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        (15..=34).contains(&letters.len()) && mod_97(&letters) == 1
    };
    ends.into_iter()
        .find(is_iban)
        .map(|end| 0..end)
        .into_iter()
        .collect()
}

/// The ranges of the groups that spaces and hyphens separate.
fn groups(text: &str) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices([' ', '-']) {
        if start < at {
            groups.push(start..at);
        }
        start = at + 1;
    }
    if start < text.len() {
        groups.push(start..text.len());
    }
    groups
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The remainder by ISO 7064: the first four characters go to the end, and letters count as numbers from 10 on.
fn mod_97(letters: &[char]) -> u32 {
    letters[4..]
        .iter()
        .chain(&letters[..4])
        .fold(0, |rest, letter| {
            let value = letter.to_digit(36).unwrap_or(0);
            let shift = if value < 10 { 10 } else { 100 };
            (rest * shift + value) % 97
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_recognised_by_its_check_digit() {
        let check = |text: &str, expect: Option<&str>| {
            let found: Vec<&str> = cards(text).into_iter().map(|range| &text[range]).collect();
            assert_eq!(found, Vec::from_iter(expect), "{text}");
        };
        check("4111111111111111", Some("4111111111111111"));
        check("4111 1111 1111 1111", Some("4111 1111 1111 1111"));
        check("4111-1111-1111-1112", None);
        check("378282246310005", Some("378282246310005"));
        check("12 4111 1111 1111 1111", Some("4111 1111 1111 1111"));
        check("4111 1111 1111 1111 99", Some("4111 1111 1111 1111"));
        check("1700000000000100", None);
        check("0000000000000000", None);
        check("41111111111111111111111", None);
    }

    #[test]
    fn an_iban_is_recognised_by_its_check_digits() {
        let check = |text: &str, expect: Option<&str>| {
            let found = iban(text).first().map(|range| &text[range.clone()]);
            assert_eq!(found, expect, "{text}");
        };
        check("DE89370400440532013000", Some("DE89370400440532013000"));
        check(
            "DE89 3704 0044 0532 0130 00",
            Some("DE89 3704 0044 0532 0130 00"),
        );
        check(
            "de89 3704 0044 0532 0130 00 then",
            Some("de89 3704 0044 0532 0130 00"),
        );
        check(
            "GB82 WEST 1234 5698 7654 32",
            Some("GB82 WEST 1234 5698 7654 32"),
        );
        check("DE88 3704 0044 0532 0130 00", None);
        check("AB12 word word word", None);
    }
}
