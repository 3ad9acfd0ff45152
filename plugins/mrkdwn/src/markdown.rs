//! Converting the lines of a Markdown text: headings, lists, quotes and blocks of code.

use crate::inline::{Asterisk, Inline, Search};

/// The text in Slack's format.
///
/// It works line by line, since in Slack's format only a block of code goes over the end of a line.
pub(crate) fn convert(text: &str, asterisk: Asterisk, bullet: &str) -> String {
    let search = Search::new();
    let inline = Inline::new(asterisk, &search);
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut fence: Option<Fence> = None;
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        match (&fence, Fence::of(line)) {
            (Some(open), Some(found)) if found.closes(open) => {
                out.push_str("```");
                fence = None;
            }
            (Some(_), _) => inline.escape(line, &mut out),
            // The language is left out, because Slack would show it as a line of the code.
            (None, Some(found)) => {
                out.push_str("```");
                fence = Some(found);
            }
            (None, None) => convert_line(line, &inline, bullet, &mut out),
        }
    }
    out
}

/// A line that begins or ends a block of code.
struct Fence {
    mark: char,
    length: usize,
    /// Whether nothing follows the marks, such as a language: only such a fence ends a block.
    bare: bool,
}

impl Fence {
    fn of(line: &str) -> Option<Self> {
        let line = line.trim();
        let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let rest = line.trim_start_matches(mark);
        let length = line.len() - rest.len();
        // ```code``` in one line is not a fence.
        let fits = length >= 3 && !(mark == '`' && rest.contains('`'));
        fits.then_some(Fence {
            mark,
            length,
            bare: rest.is_empty(),
        })
    }

    fn closes(&self, open: &Fence) -> bool {
        self.bare && self.mark == open.mark && self.length >= open.length
    }
}

fn convert_line(line: &str, inline: &Inline<'_>, bullet: &str, out: &mut String) {
    let mut line = line.strip_suffix('\r').unwrap_or(line);
    let mut quoted = false;
    // Slack has no quotes within quotes, so that these become one.
    while let Some(rest) = line.trim_start_matches(' ').strip_prefix('>') {
        quoted = true;
        line = rest;
    }
    if quoted {
        out.push_str("> ");
        line = line.strip_prefix(' ').unwrap_or(line);
    }
    let line = hard_break(line);
    let content = line.trim_start_matches([' ', '\t']);
    let indent = &line[..line.len() - content.len()];

    if let Some(heading) = heading(content) {
        out.push_str(indent);
        return inline.bold(heading, out);
    }
    if let Some(item) = item(content) {
        out.push_str(indent);
        let (mark, item) = match task(item) {
            Some((true, item)) => ("☑", item),
            Some((false, item)) => ("☐", item),
            None => (bullet, item),
        };
        out.push_str(mark);
        out.push(' ');
        return inline.convert(item, out);
    }
    out.push_str(indent);
    inline.convert(content, out);
}

/// A line without the mark of a hard break, two spaces or a backslash: in Slack each line ends anyway.
fn hard_break(line: &str) -> &str {
    let trimmed = line.trim_end_matches(' ');
    if line.len() - trimmed.len() >= 2 {
        return trimmed;
    }
    match line.strip_suffix('\\') {
        Some(rest) if !rest.ends_with('\\') && !rest.is_empty() => rest,
        _ => line,
    }
}

/// The text of `## a heading ##`.
fn heading(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    if !(1..=6).contains(&level) || !rest.starts_with([' ', '\t']) {
        return None;
    }
    let text = rest.trim();
    let bare = text.trim_end_matches('#');
    let text = if bare.ends_with(' ') {
        bare.trim_end()
    } else {
        text
    };
    Some(text).filter(|text| !text.is_empty())
}

/// The text of `- an item`.
fn item(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(['-', '*', '+'])?;
    let text = rest.strip_prefix([' ', '\t'])?.trim_start();
    // `- - -` is a horizontal rule.
    let rule = text.chars().all(|c| matches!(c, '-' | '*' | '+' | ' '));
    (!text.is_empty() && !rule).then_some(text)
}

/// Whether `[x] a task` is done, and its text.
fn task(item: &str) -> Option<(bool, &str)> {
    let rest = item.strip_prefix('[')?;
    let done = match rest.chars().next()? {
        ' ' => false,
        'x' | 'X' => true,
        _ => return None,
    };
    Some((done, rest[1..].strip_prefix("] ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(convert(text, Asterisk::Italic, "•"), expect, "{text}");
    }

    #[test]
    fn headings_are_bold_lines() {
        check("# Title", "*Title*");
        check("### A **b** c ##", "*A b c*");
        check("#hashtag", "#hashtag");
        check("# ", "# ");
        check("####### seven", "####### seven");
        check("# C#", "*C#*");
        check("# *it* `x*`", "*_it_ `x*`*");
    }

    #[test]
    fn lists_have_bullets() {
        check("- a\n* b\n+ c", "• a\n• b\n• c");
        check("- a\n  - **b**", "• a\n  • *b*");
        check("1. a\n2) b", "1. a\n2) b");
        check("- [ ] a\n- [x] b\n- [link] c", "☐ a\n☑ b\n• [link] c");
        check("-a\n*b*\n- ", "-a\n_b_\n- ");
        check("---\n* * *", "---\n* * *");
    }

    #[test]
    fn quotes_stay_quotes() {
        check("> a **b**\n> - c", "> a *b*\n> • c");
        check("> > deep", "> deep");
        check(">tight", "> tight");
        check("a > b", "a &gt; b");
    }

    #[test]
    fn code_is_left_alone_but_for_escaping() {
        check(
            "```\n**a** <b> & c\n```",
            "```\n**a** &lt;b&gt; &amp; c\n```",
        );
        check(
            "```rust\nlet a = \"*x*\";\n```\n**b**",
            "```\nlet a = \"*x*\";\n```\n*b*",
        );
        check("~~~\n- a\n~~~", "```\n- a\n```");
        check("````\n```\n- a\n````", "```\n```\n- a\n```");
        check("```\n# never closed", "```\n# never closed");
        check("  ```\n  - a\n  ```", "```\n  - a\n```");
        check("```one line``` **b**", "```one line``` *b*");
    }

    #[test]
    fn lines_end_where_they_end() {
        check("a  \nb\\\nc\r\nd", "a\nb\nc\nd");
        check("", "");
        check("\n\n", "\n\n");
    }
}
