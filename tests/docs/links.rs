//! Links: what they lead to is there, and each chapter is in the book.

use std::fs;
use std::path::{Path, PathBuf};

use crate::markdown::{anchors, chapters, documents, name, prose, root};

/// Where the book, which is built without the repository's other files, finds them.
const REPOSITORY: [&str; 2] = [
    "https://github.com/djangobot/djangobot/blob/main/",
    "https://github.com/djangobot/djangobot/tree/main/",
];

/// The links of a text, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let links = prose(text).flat_map(|(number, line)| {
        let targets = line.split("](").skip(1);
        targets.map(move |it| (number, it.split(')').next().unwrap_or_default().to_owned()))
    });
    links.collect()
}

/// The fault of a link of `document`, if it has one.
fn fault(document: &Path, link: &str) -> Option<String> {
    if let Some(path) = REPOSITORY.iter().find_map(|it| link.strip_prefix(it)) {
        return (!root().join(path).exists()).then(|| "the repository has no such file".into());
    }
    if link.contains("://") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target: PathBuf = match path {
        "" => document.to_owned(),
        path => document.parent().unwrap().join(path),
    };
    if !target.exists() {
        return Some("there is no such file".into());
    }
    let in_book = |path: &Path| path.starts_with(root().join("docs/src"));
    let Ok(target) = target.canonicalize() else {
        return Some("it can't be followed".into());
    };
    if in_book(document) && !in_book(&target) {
        return Some(format!(
            "the book does not have it: begin with {}",
            REPOSITORY[0]
        ));
    }
    if anchor.is_empty() {
        return None;
    }
    let has_it = anchors(&fs::read_to_string(&target).ok()?)
        .iter()
        .any(|it| it == anchor);
    (!has_it).then(|| "the document has no such heading".into())
}

#[test]
fn links_of_documents_lead_to_files_and_headings_that_are_there() {
    let mut faults = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (line, link) in links(&text) {
            if let Some(fault) = fault(&document, &link) {
                faults.push(format!("{}:{line}: {link}: {fault}", name(&document)));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let document = root().join("docs/src/introduction.md");
    for (link, is_fine) in [
        ("getting-started.md", true),
        ("getting-started.md#try-it-without-slack", true),
        ("#words", true),
        ("https://api.slack.com/apps", true),
        (
            "https://github.com/djangobot/djangobot/blob/main/STYLE.md",
            true,
        ),
        ("nowhere.md", false),
        ("getting-started.md#nowhere", false),
        ("../../STYLE.md", false),
        (
            "https://github.com/djangobot/djangobot/blob/main/NOWHERE.md",
            false,
        ),
    ] {
        assert_eq!(fault(&document, link).is_none(), is_fine, "{link}");
    }
}

#[test]
fn the_summary_lists_each_chapter_once() {
    let folder = root().join("docs/src");
    let summary = fs::read_to_string(folder.join("SUMMARY.md")).unwrap();
    let mut listed: Vec<_> = links(&summary)
        .into_iter()
        .map(|(_, link)| folder.join(link))
        .collect();
    listed.sort();
    assert_eq!(listed, chapters());
}

/// So that a reader knows at once whether the chapter is meant for them.
#[test]
fn each_chapter_says_at_its_head_for_whom_it_is() {
    for chapter in chapters() {
        if chapter.ends_with("introduction.md") {
            continue;
        }
        let text = fs::read_to_string(&chapter).unwrap();
        let mut lines = text.lines();
        let title = lines.next().unwrap_or_default();
        let reader = lines.nth(1).unwrap_or_default();
        assert!(title.starts_with("# "), "{}: {title}", name(&chapter));
        assert!(
            reader.starts_with("*For ") && reader.ends_with('*'),
            "{}: {reader}",
            name(&chapter)
        );
    }
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 150);
}
