//! Slack's text format, which plugins read with the SDK.

use djangobot_plugin::mrkdwn;

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "mrkdwn",
    check,
    seeds,
    words: &[
        "<@",
        "<#",
        "<!subteam^",
        "<!",
        "<https://",
        "|",
        ">",
        "&amp;",
        "&lt;",
        "&gt;",
        "&",
    ],
    longest: 512,
};

fn seeds() -> Vec<Vec<u8>> {
    pieces::texts([
        "<@U1> see <#C1|general> and <https://a.org|this> &amp; that",
        "<!here> <!subteam^S1|@ops> <!date^1392734382^{date}|then>",
        "a < b <@U1|ada> > c << <@U2>\n<x>",
        "&amp;lt; &lt;&gt; é <#|> <@>",
    ])
}

fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let parts: Vec<_> = proportion::bounded(input, 128, || mrkdwn::parts(text).collect());
    let whole: String = parts.iter().map(|(raw, _)| *raw).collect();
    assert_eq!(whole, text);
    assert_eq!(mrkdwn::replace(text, |_| None), text);
    let all = mrkdwn::replace(text, |_| Some(String::from("x")));
    assert_eq!(all.len(), parts.len());
    for id in mrkdwn::mentioned(text) {
        assert!(text.contains(&format!("<@{id}")));
    }
    assert_eq!(mrkdwn::unescape(&mrkdwn::escape(text)), text);
    let escaped = mrkdwn::escape(text);
    assert!(!escaped.contains(['<', '>']), "{escaped}");
}
