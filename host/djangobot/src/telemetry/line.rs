//! Makes each log line one line of bounded length, whatever texts from outside it quotes.

use std::borrow::Cow;

use djangobot_event::CleanText;
use serde_json::Value;

/// The longest line, in bytes.
const MAX_LINE: usize = 8 << 10;
/// The longest text in a line of JSON that is too long, in bytes.
const MAX_VALUE: usize = 1 << 10;

/// Cleans a line for people, and keeps its colours.
pub(super) fn human(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut left = MAX_LINE;
    let mut rest = line.strip_suffix('\n').unwrap_or(line);
    while !rest.is_empty() {
        let (words, colour) = rest.split_at(rest.find('\u{1b}').unwrap_or(rest.len()));
        let words = CleanText::line(words, left);
        left -= words.len();
        shown.push_str(&words);
        let length = colour_length(colour);
        shown.push_str(&colour[..length]);
        // An escape that does not set a colour is left out.
        rest = match length {
            0 => colour.get(1..).unwrap_or_default(),
            _ => &colour[length..],
        };
    }
    shown.push('\n');
    shown
}

/// Cleans a line of JSON. If it is too long, its texts are cut.
pub(super) fn json(line: &str) -> Cow<'_, str> {
    if line.len() <= MAX_LINE {
        return CleanText::json(line);
    }
    match serde_json::from_str(line) {
        Ok(mut value) => {
            cut(&mut value);
            format!("{}\n", CleanText::json(&value.to_string())).into()
        }
        Err(_) => human(line).into(),
    }
}

fn cut(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > MAX_VALUE => {
            *text = CleanText::within(text, MAX_VALUE).into();
        }
        Value::Array(items) => items.iter_mut().for_each(cut),
        Value::Object(fields) => fields.values_mut().for_each(cut),
        _ => {}
    }
}

/// The length of the escape sequence at the beginning of `text`, if it sets a colour; 0 otherwise.
fn colour_length(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else {
        return 0;
    };
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'));
    match end {
        Some(end) if parameters[end..].starts_with('m') => end + 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people_is_one_and_keeps_its_colours() {
        let check = |line: &str, expect: &str| assert_eq!(human(line), expect);
        check("INFO all is well\n", "INFO all is well\n");
        check(
            "\u{1b}[32m INFO\u{1b}[0m it said: a\nERROR forged\r\u{202e}\n",
            "\u{1b}[32m INFO\u{1b}[0m it said: a\\nERROR forged\\n\n",
        );
        check("\u{1b}[2Jx\u{1b}", "[2Jx\n");
        let long = human(&"x".repeat(600_000));
        assert!(long.len() <= MAX_LINE + 1, "{}", long.len());
        let long = human(&"\u{1b}[31mx".repeat(10_000));
        assert!(long.len() <= 10_000 * 6 + 1);
    }

    #[test]
    fn a_line_of_json_stays_json() {
        assert_eq!(json("{\"a\":\"b\\nc\"}\n"), "{\"a\":\"b\\nc\"}\n");
        assert_eq!(json("{\"a\":\"\u{202e}\"}\n"), "{\"a\":\"\\u202e\"}\n");
        let long = format!("{{\"a\":[\"{}\"],\"b\":1}}\n", "x\\n".repeat(300_000));
        let shown = json(&long);
        let value: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(value["b"], 1);
        assert!(
            shown.len() < 2 * MAX_VALUE && shown.ends_with('\n'),
            "{shown}"
        );
    }
}
