//! The documents, and their parts: code blocks, texts in backticks, headings.

use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

/// A chapter of the book, by its path below `docs/src`.
pub(crate) fn chapter(name: &str) -> PathBuf {
    root().join("docs/src").join(name)
}

/// The chapters of the book.
pub(crate) fn chapters() -> Vec<PathBuf> {
    let mut chapters = Vec::new();
    let mut folders = vec![root().join("docs/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if is_markdown(&path) && !path.ends_with("SUMMARY.md") {
                chapters.push(path);
            }
        }
    }
    chapters.sort();
    assert!(!chapters.is_empty());
    chapters
}

/// All documents: the chapters, and those at the top. CHANGELOG.md speaks of things as they were.
pub(crate) fn documents() -> Vec<PathBuf> {
    let at_the_top = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut documents: Vec<_> = at_the_top
        .filter(|path| is_markdown(path) && !path.ends_with("CHANGELOG.md"))
        .chain([root().join("docs/src/SUMMARY.md")])
        .chain(chapters())
        .collect();
    documents.sort();
    documents
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "md")
}

/// A document's path below the top, as failures name it.
pub(crate) fn name(document: &Path) -> String {
    let within = document.strip_prefix(root()).unwrap_or(document);
    within.display().to_string()
}

/// A code block.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Its document and line.
    pub(crate) place: String,
    /// The word behind its fence.
    pub(crate) language: String,
    /// With included files in their places.
    pub(crate) text: String,
}

impl Block {
    /// The file that the block shows, where its first line is a comment that begins with a name: `# plugin.toml`.
    pub(crate) fn file(&self) -> Option<&str> {
        let first = self.text.lines().next()?.strip_prefix("# ")?;
        let name = first.split([':', ' ']).next()?;
        name.ends_with(".toml").then_some(name)
    }
}

/// The code blocks of a document.
pub(crate) fn blocks(document: &Path) -> Vec<Block> {
    let text = fs::read_to_string(document).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        let Some(fence) = line.trim_start().strip_prefix("```") else {
            if let Some(block) = &mut open {
                block.text.push_str(&included(document, line));
                block.text.push('\n');
            }
            continue;
        };
        match open.take() {
            Some(block) => blocks.push(block),
            None => {
                open = Some(Block {
                    place: format!("{}:{}", name(document), number + 1),
                    language: fence.trim().to_owned(),
                    text: String::new(),
                });
            }
        }
    }
    assert!(open.is_none(), "{}: a block has no end", name(document));
    blocks
}

/// A line, or the file that mdBook puts in its place.
fn included(document: &Path, line: &str) -> String {
    let named = line.strip_prefix("{{#include ");
    let Some(path) = named.and_then(|it| it.strip_suffix("}}")) else {
        return line.to_owned();
    };
    let path = document.parent().unwrap().join(path);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {}: {error}", name(document), path.display()))
}

/// The lines outside of code blocks, with their numbers.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_fence && !is_code).then_some((number + 1, line))
    })
}

/// The texts between backticks, outside of code blocks.
pub(crate) fn quoted(text: &str) -> Vec<(usize, String)> {
    let spans = prose(text).flat_map(|(number, line)| {
        let spans = line.split('`').skip(1).step_by(2);
        spans.map(move |span| (number, span.to_owned()))
    });
    spans.collect()
}

/// The anchors of a document's headings, as mdBook and GitHub make them.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    let anchors = headings.map(|(_, line)| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let letters = heading.chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            _ => letter.is_alphanumeric().then_some(letter),
        });
        letters.collect()
    });
    anchors.collect()
}

/// A table: the cells of its head and of its rows.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// The tables of a document.
pub(crate) fn tables(document: &Path) -> Vec<Table> {
    let text = fs::read_to_string(document).unwrap();
    let mut tables: Vec<Table> = Vec::new();
    let mut is_within = false;
    for (_, line) in prose(&text) {
        let cells = line.strip_prefix('|').and_then(|it| it.strip_suffix('|'));
        let Some(cells) = cells else {
            is_within = false;
            continue;
        };
        let cells: Vec<String> = cells.split('|').map(|it| it.trim().to_owned()).collect();
        match tables.last_mut().filter(|_| is_within) {
            Some(table) if cells.iter().all(|it| it.starts_with("--")) => {
                assert!(table.rows.is_empty());
            }
            Some(table) => {
                assert_eq!(cells.len(), table.head.len(), "{line}");
                table.rows.push(cells);
            }
            None => tables.push(Table {
                head: cells,
                rows: Vec::new(),
            }),
        }
        is_within = true;
    }
    tables
}

/// The rows of all tables of a document with that head.
pub(crate) fn rows(document: &Path, head: &[&str]) -> Vec<Vec<String>> {
    let tables = tables(document).into_iter();
    let rows: Vec<_> = tables
        .filter(|table| table.head == head)
        .flat_map(|table| table.rows)
        .collect();
    assert!(!rows.is_empty(), "{} has no table {head:?}", name(document));
    rows
}

/// The texts between backticks in a cell.
pub(crate) fn codes(cell: &str) -> Vec<String> {
    let spans = cell.split('`').skip(1).step_by(2);
    spans.map(str::to_owned).collect()
}
