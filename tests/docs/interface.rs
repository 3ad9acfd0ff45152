//! The interface of plugins: the chapter has the file whole, and its table has each interface.

use std::collections::BTreeSet;
use std::fs;

use djangobot_plugins::Capability;
use wit_parser::Resolve;

use crate::markdown::{blocks, chapter, codes, root, rows};

#[test]
fn the_chapter_has_the_interface_whole() {
    let wit = fs::read_to_string(root().join("wit/plugin.wit")).unwrap();
    let blocks = blocks(&chapter("plugins/interface.md"));
    let block = blocks.iter().find(|it| it.language == "wit").unwrap();
    assert_eq!(block.text.trim(), wit.trim());
}

#[test]
fn the_table_lists_each_interface_and_the_grant_that_it_needs() {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root().join("wit")).unwrap();
    let there: BTreeSet<String> = resolve.packages[package]
        .interfaces
        .keys()
        .cloned()
        .collect();
    let rows = rows(
        &chapter("plugins/interface.md"),
        &["interface", "what it is for", "needs"],
    );
    let listed: BTreeSet<String> = rows.iter().flat_map(|row| codes(&row[0])).collect();
    assert_eq!(listed, there);
    for row in rows.iter().filter(|row| row[2].starts_with("the grant")) {
        for grant in codes(&row[2]) {
            let grant = grant.replace("HOST", "api.example.com");
            assert!(grant.parse::<Capability>().is_ok(), "{grant}");
        }
    }
}
