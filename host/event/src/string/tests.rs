//! Strings against their meaning.

use super::*;

#[test]
fn the_first_special_byte_is_found_wherever_it_is() {
    for length in 0..40 {
        for special in [b'"', b'\\', 0, 0x0a, 0x1f] {
            for position in 0..length {
                let mut text = vec![0x7f; length];
                text[position] = special;
                assert_eq!(find_special(&text, 0), position, "{text:?}");
                // A second one behind it, and bytes with the high bit set before it, change nothing.
                text[length - 1] = b'"';
                text[..position].fill(0xff);
                assert_eq!(find_special(&text, 0), position, "{text:?}");
            }
        }
        assert_eq!(find_special(&vec![b' '; length], 0), length);
    }
}

#[test]
fn escapes_mean_what_json_says() {
    check(r"", "");
    check(r"plain", "plain");
    check(r#"\"\\\/\b\f\n\r\t"#, "\"\\/\x08\x0c\n\r\t");
    check(r"caf\u00e9 \u00E9", "café é");
    check(r"\ud83d\ude00!", "😀!");
    check(r"\u0000", "\0");
    check(r"\uffff", "\u{ffff}");
}

#[test]
fn each_lone_surrogate_becomes_one_replacement_character() {
    check(r"\ud800", "\u{fffd}");
    check(r"a\udc00b", "a\u{fffd}b");
    check(r"\ud800\ud83d\ude00", "\u{fffd}😀");
    check(r"\ud800\ud800", "\u{fffd}\u{fffd}");
    check(r"\udc00\ud800", "\u{fffd}\u{fffd}");
    check(r"\ud800\n", "\u{fffd}\n");
    check(r"\ud800\u0041", "\u{fffd}A");
}

fn check(content: &str, expect: &str) {
    assert_eq!(
        String::from_utf8_lossy(&decoded(content.as_bytes())),
        expect,
        "{content}"
    );
}

#[test]
fn serde_json_reads_the_written_text_back() {
    for text in [
        "",
        "plain",
        "\"\\/",
        "\0\x01\x1f\x7f",
        "\n\r\t\x08\x0c",
        "é😀\u{2028}\u{fffd}",
        "a longer text\nof two lines",
    ] {
        let mut json = Vec::new();
        write_json(text, &mut json);
        assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
    }
}
