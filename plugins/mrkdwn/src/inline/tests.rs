//! Tests of single lines: Markdown before, and Slack's format after.

use super::*;

fn convert(text: &str) -> String {
    let mut out = String::new();
    Inline::new(Asterisk::Italic, &Search::new()).convert(text, &mut out);
    out
}

fn check(text: &str, expect: &str) {
    assert_eq!(convert(text), expect, "{text}");
}

#[test]
fn emphasis_has_slack_s_marks() {
    check("**bold** __bold__", "*bold* *bold*");
    check("*it* _it_", "_it_ _it_");
    check("***both*** ___both___", "*_both_* *_both_*");
    check("~~gone~~ ~kept~", "~gone~ ~kept~");
    check("**a *b* c**", "*a _b_ c*");
    check("*a **b** c*", "_a *b* c_");
    check("**a *b***", "*a _b_*");
    check("*a **b***", "_a *b*_");
    check("***a** b*", "_*a* b_");
    check("***a* b**", "*_a_ b*");
    check("**a __b__ c**", "*a b c*");
    check("~~**a**~~", "~*a*~");
    check("**é**", "*é*");
}

#[test]
fn marks_that_emphasize_nothing_stay() {
    check("2 * 3 * 4", "2 * 3 * 4");
    check("snake_case_name", "snake_case_name");
    check("_snake_case_", "_snake_case_");
    check("a ** b", "a ** b");
    check("**never closed", "**never closed");
    check("****", "****");
    check("** **", "** **");
    check(r"\*not\* \_it\_", "*not* _it_");
    check(r"C:\dir \\", r"C:\dir \");
    check("trailing \\", "trailing \\");
    check("~~~", "~~~");
}

#[test]
fn code_is_left_alone_but_for_escaping() {
    check("`**a** <@U1> &` **b**", "`**a** &lt;@U1&gt; &amp;` *b*");
    check("``a`b`` *c*", "``a`b`` _c_");
    check("`open *a*", "`open _a_");
    check("**a `**` b**", "*a `**` b*");
}

#[test]
fn links_have_slack_s_form() {
    check("[a](https://a.org)", "<https://a.org|a>");
    check("[a **b**](https://a.org \"Title\")", "<https://a.org|a b>");
    check("![alt](https://a.org/i.png)", "<https://a.org/i.png|alt>");
    check("![](https://a.org/i.png)", "<https://a.org/i.png>");
    check(
        "[a](https://a.org/?b=1&c=(2))",
        "<https://a.org/?b=1&amp;c=(2)|a>",
    );
    check("[x|y](<https://a.org/a|b>)", "<https://a.org/a%7Cb|x¦y>");
    check("[a [b]](mailto:a@b.org)", "<mailto:a@b.org|a [b]>");
    check("[rel](/docs)", "rel (/docs)");
    check("[a] (b) [c]", "[a] (b) [c]");
    check("[a](b c)", "[a](b c)");
    check("**[a](https://a.org)**", "*<https://a.org|a>*");
    check("wow!", "wow!");
    check("https://a.org/a_b_c*d* _x_", "https://a.org/a_b_c*d* _x_");
    check("**https://a.org/?a&b**", "*https://a.org/?a&amp;b*");
    check(
        "<a@b.org> <https://a.org>",
        "<mailto:a@b.org|a@b.org> <https://a.org>",
    );
}

#[test]
fn what_is_slack_s_goes_through_and_all_else_is_escaped() {
    check("a & b < c > d", "a &amp; b &lt; c &gt; d");
    check(
        "a &amp; b &lt;@U1&gt; &copy;",
        "a &amp; b &lt;@U1&gt; &amp;copy;",
    );
    check(
        "<@U1> <#C1|x_y_z> <!here> <!subteam^S1>",
        "<@U1> <#C1|x_y_z> <!here> <!subteam^S1>",
    );
    check("<https://a.org/_x_|a *b* c>", "<https://a.org/_x_|a *b* c>");
    check("**hi <@U1>**", "*hi <@U1>*");
    check("<b>html</b>", "&lt;b&gt;html&lt;/b&gt;");
    check("if a<b: c>d", "if a&lt;b: c&gt;d");
}

#[test]
fn no_text_is_too_odd() {
    let marks = [
        "*", "_", "~", "`", "[", "](", ")", "<", ">", "\\", "!", "é", " ", "a", "http://",
    ];
    // A walk through texts of these, the same each time.
    let mut state = 1u32;
    for _ in 0..5_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(marks[(state >> 16) as usize % marks.len()]);
        }
        convert(&text);
    }
    let start = std::time::Instant::now();
    for beginning in [
        "*a ", "*a **b ", "[", "``a ` ", "<*a", "[a](", "*`a ", "_a ~~b ",
    ] {
        convert(&beginning.repeat(40_000 / beginning.len()));
    }
    convert(&format!("{}x{}", "[".repeat(5_000), "](u:v)".repeat(5_000)));
    // Without a bound, over a minute.
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
