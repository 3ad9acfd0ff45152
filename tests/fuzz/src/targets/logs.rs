//! A plugin's words, which stand in the host's log and on a terminal.

use djangobot_event::CleanText;

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "logs",
    check,
    seeds,
    words: &[
        "\u{1b}[",
        "\u{1b}]0;",
        "\u{7}",
        "\u{1b}\\",
        "\u{9b}",
        "\u{90}",
        "\u{9c}",
        "\u{202e}",
        "\u{feff}",
        "\r\n",
        "\u{2028}",
    ],
    longest: 512,
};

fn seeds() -> Vec<Vec<u8>> {
    let texts = pieces::texts([
        "plain words",
        "two\nlines\r\n\tand a tab\n",
        "\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7} \u{9b}1m",
        "turned \u{202e}txet\u{202c} \u{feff}",
        "\u{1b}Pnever ended",
        "cut \u{1f600}\u{1f600}\u{1f600} off",
    ]);
    texts
        .into_iter()
        .map(|text| [vec![20], text].concat())
        .collect()
}

fn check(input: &[u8]) {
    let (most, rest) = pieces::choice(input);
    let Ok(text) = str::from_utf8(rest) else {
        return;
    };
    let line = proportion::bounded(input, 16, || CleanText::line(text, most));
    assert!(
        line.len() <= most,
        "{} bytes, and {most} are the most",
        line.len()
    );
    assert!(
        !line
            .chars()
            .any(|c| c.is_control() || "\u{202e}\u{2066}\u{2028}\u{feff}".contains(c)),
        "{line:?}"
    );
    assert_eq!(
        CleanText::line(&line, most),
        line,
        "what is clean stays as it is"
    );
    let quoted = serde_json::Value::from(text).to_string();
    let shown = CleanText::json(&quoted);
    assert_eq!(
        serde_json::from_str::<String>(&shown).expect("it is JSON as before"),
        text
    );
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}
