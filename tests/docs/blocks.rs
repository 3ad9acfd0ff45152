//! Code blocks: each is of a language that a test reads, or says that it is text.

use crate::markdown::{Block, blocks, documents};

/// The languages of which some test reads the blocks; `text` is for people alone.
const LANGUAGES: [&str; 11] = [
    "dockerfile",
    "ini",
    "javascript",
    "json",
    "python",
    "rust",
    "sh",
    "text",
    "toml",
    "wit",
    "yaml",
];

/// The blocks of that language in all documents.
pub(crate) fn of(language: &str) -> Vec<Block> {
    let all = documents().into_iter().flat_map(|it| blocks(&it));
    all.filter(|it| it.language == language).collect()
}

#[test]
fn each_block_says_its_language() {
    for document in documents() {
        for Block {
            place, language, ..
        } in blocks(&document)
        {
            assert!(
                LANGUAGES.contains(&&*language),
                "{place}: no test reads blocks of {language:?}"
            );
        }
    }
}

#[test]
fn json_can_be_read() {
    let blocks = of("json");
    assert!(!blocks.is_empty());
    for Block { place, text, .. } in blocks {
        if let Err(error) = serde_json::from_str::<serde_json::Value>(&text) {
            panic!("{place}: {error}");
        }
    }
}
