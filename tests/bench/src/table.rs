//! Tables in Markdown, and numbers as people read them.

/// A table: its head and its rows; all cells but a row's first are right-aligned.
#[derive(Debug)]
pub(crate) struct Table(String);

impl Table {
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        let mut table = Self(String::new());
        table.row(head);
        table.0.push_str("|---|");
        table.0.push_str(&"---:|".repeat(N - 1));
        table.0.push('\n');
        table
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [impl AsRef<str>; N]) {
        for cell in cells {
            self.0.push_str("| ");
            self.0.push_str(cell.as_ref());
            self.0.push(' ');
        }
        self.0.push_str("|\n");
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// `1234567.8` as `1,234,568`.
pub(crate) fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three digits that matter, or all before the point: `0.0123`, `1.23`, `123`, `1,234`.
pub(crate) fn short(number: f64) -> String {
    match number {
        0.0 => "0".into(),
        _ if number >= 100.0 => whole(number),
        _ if number >= 10.0 => format!("{number:.1}"),
        _ if number >= 0.1 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_thousands_are_set_apart() {
        for (number, expect) in [
            (1_234_567.8, "1,234,568"),
            (999.4, "999"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.01234, "0.012"),
            (0.0, "0"),
        ] {
            assert_eq!(short(number), expect);
        }
        assert_eq!(whole(1000.0), "1,000");
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(["a", "b"]);
        table.row(["1", "2"]);
        assert_eq!(table.finish(), "| a | b |\n|---|---:|\n| 1 | 2 |\n");
    }
}
