//! Check digits: what tells a card's number or an IBAN from any other row of digits.

/// What tells a match from what only looks like one: where in it that is which is to be taken out.
pub(crate) type Check = fn(&str) -> Vec<(usize, usize)>;

/// The most digits that a card's number has.
const MAX_CARD: usize = 19;

/// Where in groups of digits there are numbers of cards: 13 to 19 digits that begin and end with a group, whose first
/// digit is one that cards have, and whose check digit is right (Luhn).
pub(crate) fn cards(text: &str) -> Vec<(usize, usize)> {
    let groups = groups(text);
    let mut found = Vec::new();
    let mut first = 0;
    while first < groups.len() {
        match card(text, &groups[first..]) {
            Some(length) => {
                found.push((groups[first].0, groups[first + length - 1].1));
                first += length;
            }
            None => first += 1,
        }
    }
    found
}

/// How many of the groups are a card's number, from the first on.
fn card(text: &str, groups: &[(usize, usize)]) -> Option<usize> {
    let mut digits: Vec<u32> = Vec::new();
    let mut longest = None;
    for (index, (start, end)) in groups.iter().enumerate() {
        if digits.len() + (end - start) > MAX_CARD {
            break;
        }
        digits.extend(text[*start..*end].chars().filter_map(|c| c.to_digit(10)));
        if digits.len() >= 13 && (2..=6).contains(&digits[0]) && luhn(&digits) {
            longest = Some(index + 1);
        }
    }
    longest
}

/// Where an IBAN stands in a text that begins like one: to the end of a group, and with the right check digits.
pub(crate) fn iban(text: &str) -> Vec<(usize, usize)> {
    let ends = groups(text).into_iter().rev().map(|(_, end)| end);
    let is_iban = |end: &usize| {
        let letters: Vec<char> = text[..*end]
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        (15..=34).contains(&letters.len()) && mod_97(&letters) == 1
    };
    ends.into_iter()
        .find(is_iban)
        .map(|end| (0, end))
        .into_iter()
        .collect()
}

/// Where the groups are that spaces and hyphens part.
fn groups(text: &str) -> Vec<(usize, usize)> {
    let mut groups = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices([' ', '-']) {
        if start < at {
            groups.push((start, at));
        }
        start = at + 1;
    }
    if start < text.len() {
        groups.push((start, text.len()));
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

/// ISO 7064: the first four come last, a letter counts as a number from 10 on.
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
    fn a_card_is_told_by_its_check_digit() {
        let check = |text: &str, expect: Option<&str>| {
            let found: Vec<&str> = cards(text)
                .into_iter()
                .map(|(start, end)| &text[start..end])
                .collect();
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
    fn an_iban_is_told_by_its_check_digits() {
        let check = |text: &str, expect: Option<&str>| {
            let found = iban(text).first().map(|&(start, end)| &text[start..end]);
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
