//! Mistakes in a manifest: all of them at once, each with its line, so that the author can correct them in one go.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use djangobot_event::CleanText;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, ValueDeserializer};

use crate::grant::Capability;
use crate::manifest::{Filter, MANIFEST_FILE, MAX_TEXT, Manifest, Timer};

/// The number of mistakes that are reported of one file.
const MOST: usize = 16;

/// Why a text is not a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is longer than any manifest has to be.
    #[error("{MANIFEST_FILE} has more than {} KiB", MAX_TEXT >> 10)]
    TooLong,
    /// It has these mistakes, in the order of the file.
    #[error("{}", listed(.0, MANIFEST_FILE))]
    Mistakes(Vec<Mistake>),
}

/// One mistake, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// A clause.
    pub message: CleanText,
}

impl ManifestError {
    /// The error's text for the file at `path`.
    pub fn in_file(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::TooLong => format!("{path} has more than {} KiB", MAX_TEXT >> 10),
            Self::Mistakes(mistakes) => listed(mistakes, path),
        }
    }
}

fn listed(mistakes: &[Mistake], file: impl fmt::Display) -> String {
    let one = |it: &Mistake| format!("{file} line {}: {}", it.line, it.message);
    mistakes.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// A [`ManifestError`] with all mistakes and their lines.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MAX_TEXT {
            return Err(ManifestError::TooLong);
        }
        let (tables, wrong) = DeTable::parse_recoverable(text);
        let mut mistakes: Vec<_> = wrong.iter().map(|it| mistake(text, it)).collect();
        // A text that is not TOML may have its keys anywhere, so its keys are checked only once it is.
        if mistakes.is_empty() {
            let read = read(text, tables.clone(), &mut mistakes);
            if let (Some(manifest), true) = (read, mistakes.is_empty()) {
                let wrong = manifest.check();
                if wrong.is_empty() {
                    return Ok(manifest);
                }
                mistakes.extend(wrong.into_iter().map(|(key, message)| Mistake {
                    line: line(text, span_of(tables.get_ref(), key)),
                    message: format!("{key}: {message}").into(),
                }));
            }
        }
        // The parser and the checks may report the same mistake, and report them in the order of their own work.
        mistakes.sort_by_key(|it| it.line);
        mistakes.dedup();
        mistakes.truncate(MOST);
        Err(ManifestError::Mistakes(mistakes))
    }
}

/// Reads the tables. The deserializer stops at the first mistake, so each mistake is noted and taken out, and the rest
/// is read again.
fn read<'a>(
    text: &str,
    mut tables: Spanned<DeTable<'a>>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Manifest> {
    for (key, stand_in) in [("name", "unnamed"), ("version", "0.0.0")] {
        if tables.get_ref().get(key).is_none() {
            let message = format!("missing field `{key}`").into();
            mistakes.push(Mistake { line: 1, message });
            put(tables.get_mut(), key, stand_in);
        }
    }
    // The deserializer places a mistake within a list at the list as a whole, so that items are checked one by one.
    for key in ["capabilities", "optional-capabilities"] {
        if let Some(capabilities) = tables.get_mut().get_mut(key) {
            check_items::<Capability>(text, capabilities.get_mut(), mistakes);
        }
    }
    if let Some(timers) = tables.get_mut().get_mut("timer") {
        check_items::<Timer>(text, timers.get_mut(), mistakes);
    }
    if let Some(subscribe) = tables.get_mut().get_mut("subscribe")
        && let DeValue::Table(subscribe) = subscribe.get_mut()
    {
        for (_, filters) in subscribe.iter_mut() {
            check_items::<Filter>(text, filters.get_mut(), mistakes);
        }
    }
    while mistakes.len() < MOST {
        let error = match Manifest::deserialize(Deserializer::from(tables.clone())) {
            Ok(manifest) => return Some(manifest),
            Err(error) => error,
        };
        mistakes.push(mistake(text, &error));
        let span = error.span()?;
        if !take_out(tables.get_mut(), &span) {
            return None;
        }
        for (key, stand_in) in [("name", "unnamed"), ("version", "0.0.0")] {
            if tables.get_ref().get(key).is_none() {
                put(tables.get_mut(), key, stand_in);
            }
        }
    }
    None
}

/// Notes each item of a list that can't be read, and removes it from the list.
fn check_items<T: DeserializeOwned>(
    text: &str,
    list: &mut DeValue<'_>,
    mistakes: &mut Vec<Mistake>,
) {
    let DeValue::Array(items) = list else { return };
    let good = items.iter().filter(|item| {
        match T::deserialize(ValueDeserializer::from((*item).clone())) {
            Ok(_) => true,
            Err(error) => {
                mistakes.push(Mistake {
                    line: line(text, Some(item.span())),
                    message: error.message().into(),
                });
                false
            }
        }
    });
    *items = good.cloned().collect();
}

/// Puts a stand-in for a required key that is missing, so that the other keys can be read as well.
fn put<'a>(table: &mut DeTable<'a>, key: &'a str, value: &'a str) {
    let value = DeValue::String(value.into());
    table.insert(Spanned::new(0..0, key.into()), Spanned::new(0..0, value));
}

/// Removes the smallest entry that contains `span`. Returns whether there was one.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let holds = |it: &Range<usize>| it.start <= span.start && span.end <= it.end;
    let found = table.iter_mut().find_map(|(key, value)| {
        let is_key = holds(&key.span());
        if !is_key && !holds(&value.span()) && !is_within(value.get_ref(), span) {
            return None;
        }
        let is_done = !is_key
            && match value.get_mut() {
                DeValue::Table(below) => take_out(below, span),
                _ => false,
            };
        Some((key.get_ref().to_string(), is_done))
    });
    match found {
        None => false,
        Some((_, true)) => true,
        Some((key, false)) => table.remove(key.as_str()).is_some(),
    }
}

/// Whether something in a table contains `span`. The span of a table itself does not do where it is written in parts.
fn is_within(value: &DeValue<'_>, span: &Range<usize>) -> bool {
    let DeValue::Table(table) = value else {
        return false;
    };
    table.iter().any(|(key, value)| {
        let holds = |it: Range<usize>| it.start <= span.start && span.end <= it.end;
        holds(key.span()) || holds(value.span()) || is_within(value.get_ref(), span)
    })
}

fn mistake(text: &str, error: &toml::de::Error) -> Mistake {
    Mistake {
        line: line(text, error.span()),
        message: error.message().into(),
    }
}

/// The place of a key in the text.
fn span_of(table: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    let (key, _) = table.get_key_value(key)?;
    Some(key.span())
}

fn line(text: &str, span: Option<Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start.min(text.len()));
    let before = text.as_bytes().get(..start).unwrap_or_default();
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_reported_at_once_each_with_its_line() {
        let check = |text: &str, expect: &[(usize, &str)]| {
            let Err(ManifestError::Mistakes(found)) = Manifest::parse(text) else {
                panic!("{text} is taken");
            };
            let is_so = found.len() == expect.len()
                && found.iter().zip(expect).all(|(it, (line, part))| {
                    it.line == *line && it.message.to_string().contains(part)
                });
            assert!(is_so, "{text}: {found:?} / {expect:?}");
        };
        check(
            "name = \"a\"\nversion = \"1\"\nsumary = \"x\"\n[subscribe]\ninbuond = []\noutbound = [\"a*b\",\n\"c*d\"]\n",
            &[
                (2, "unexpected end"),
                (3, "unknown field `sumary`"),
                (5, "unknown field `inbuond`"),
                (6, "not a kind"),
                (7, "not a kind"),
            ],
        );
        check(
            "",
            &[(1, "missing field `name`"), (1, "missing field `version`")],
        );
        check(
            "version = 1\n[limits]\nmemory-mib = -1\ntime-ms = \"x\"\n",
            &[
                (1, "missing field `name`"),
                (1, "invalid type"),
                (3, "invalid value"),
                (4, "invalid type"),
            ],
        );
        check(
            "name = \"A\"\nversion = \"1.0.0\"\nsummary = \"a\\nb\"\nemits = [\"a b\"]\n",
            &[(1, "name: \"A\""), (3, "summary: "), (4, "emits: ")],
        );
        check("name = \nversion = \"1.0.0\"\n[[[\n", &[(1, ""), (3, "")]);
        let error = Manifest::parse("name = 1\nversion = \"1.0.0\"\n").unwrap_err();
        let told = error.in_file(Path::new("here/plugin.toml"));
        assert!(told.starts_with("here/plugin.toml line 1: "), "{told}");
    }
}
