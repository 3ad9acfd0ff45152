//! Edits of `djangobot.toml`: the plugin that is meant changes, and nothing else, not a comment, not the order.

use std::io;
use std::path::{Path, PathBuf};

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use crate::file;
use crate::grant::Capability;

/// The key of the `[[plugin]]` tables.
const KEY: &str = "plugin";
/// The longest file that is edited, in bytes.
const LONGEST: usize = 4 << 20;
/// What a file says that has nothing to say.
const EMPTY: &str = "# djangobot has no settings here.\n";

/// The config file, open for edits that [`ConfigFile::save`] makes.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    document: DocumentMut,
}

/// Why the file can't be edited.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// The disk says no.
    #[error("{} can't be {what}: {reason}", path.display())]
    Disk {
        /// Read or written.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's word.
        reason: io::Error,
    },
    /// It is no TOML; nothing was changed.
    #[error("{} line {line}: {message}; nothing was changed", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// A clause.
        message: String,
    },
    /// TOML, but its plugins are written in a way that is not edited here.
    #[error("{}: `plugin` is no list of [[plugin]] tables; nothing was changed", path.display())]
    NotTables {
        /// Which file.
        path: PathBuf,
    },
    /// There is such a plugin already.
    #[error("{} has a plugin {name:?} already", path.display())]
    Taken {
        /// Which file.
        path: PathBuf,
        /// Which name.
        name: String,
    },
    /// There is no such plugin.
    #[error("{} has no plugin {name:?}", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// Which name.
        name: String,
    },
}

impl ConfigFile {
    /// Reads the file; one that is not there is empty, and made by [`ConfigFile::save`].
    ///
    /// # Errors
    /// A [`ConfigFileError`] that names the line.
    pub fn open(path: &Path) -> Result<Self, ConfigFileError> {
        let text = match file::read_text(path, LONGEST) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(reason) => {
                return Err(ConfigFileError::Disk {
                    what: "read",
                    path: path.to_owned(),
                    reason,
                });
            }
        };
        Self::parse(path, &text)
    }

    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// A [`ConfigFileError`] that names the line.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigFileError> {
        let document: DocumentMut =
            text.parse()
                .map_err(|error: toml_edit::TomlError| ConfigFileError::Unreadable {
                    path: path.to_owned(),
                    line: line(text, error.span().map_or(0, |span| span.start)),
                    message: error.message().to_owned(),
                })?;
        match document.get(KEY) {
            None | Some(Item::ArrayOfTables(_)) => Ok(Self {
                path: path.to_owned(),
                document,
            }),
            Some(_) => Err(ConfigFileError::NotTables {
                path: path.to_owned(),
            }),
        }
    }

    /// Puts the file in the place of the old one, at once and whole.
    ///
    /// # Errors
    /// It can't be written.
    pub fn save(&self) -> Result<(), ConfigFileError> {
        let mut text = self.text();
        // A host that runs takes an empty file for one that is about to be written.
        if text.trim().is_empty() {
            text = EMPTY.into();
        }
        file::replace(&self.path, text.as_bytes()).map_err(|reason| ConfigFileError::Disk {
            what: "written",
            path: self.path.clone(),
            reason,
        })
    }

    /// What [`ConfigFile::save`] puts into the file.
    pub fn text(&self) -> String {
        self.document.to_string()
    }

    /// The names of the plugins, in their order.
    pub fn names(&self) -> Vec<&str> {
        self.tables()
            .into_iter()
            .flat_map(ArrayOfTables::iter)
            .filter_map(name_of)
            .collect()
    }

    /// Adds a plugin behind all others.
    ///
    /// # Errors
    /// The name is taken.
    pub fn add(
        &mut self,
        name: &str,
        source: &str,
        enabled: bool,
        grants: &[Capability],
    ) -> Result<(), ConfigFileError> {
        if self.names().contains(&name) {
            return Err(ConfigFileError::Taken {
                path: self.path.clone(),
                name: name.to_owned(),
            });
        }
        let mut table = Table::new();
        table.insert("name", value(name));
        table.insert("source", value(source));
        if !enabled {
            table.insert("enabled", value(false));
        }
        if !grants.is_empty() {
            let grants: Array = grants.iter().map(ToString::to_string).collect();
            table.insert("grants", value(grants));
        }
        // Behind all tables of the file, other plugins' or not.
        let below = tables_below(self.document.as_table());
        let last = below.into_iter().filter_map(Table::position).max();
        table.set_position(Some(last.unwrap_or(0) + 1));
        // What stands at the end of the file belongs to what is above it.
        let end = self.document.trailing().as_str().unwrap_or_default();
        let gap = match (self.document.is_empty(), end) {
            (true, "") => "",
            (_, end) if end.is_empty() || end.ends_with('\n') => "\n",
            _ => "\n\n",
        };
        table.decor_mut().set_prefix(format!("{end}{gap}"));
        self.document.set_trailing("");
        let plugins = self
            .document
            .entry(KEY)
            .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        if let Item::ArrayOfTables(plugins) = plugins {
            plugins.push(table);
        }
        Ok(())
    }

    /// Takes a plugin out, with the comment right above it; a comment that a blank line parts from it stays.
    ///
    /// # Errors
    /// There is no such plugin.
    pub fn remove(&mut self, name: &str) -> Result<(), ConfigFileError> {
        let at = self.index(name)?;
        let Some(Item::ArrayOfTables(plugins)) = self.document.get_mut(KEY) else {
            return Ok(());
        };
        let removed = plugins.remove(at);
        if plugins.is_empty() {
            self.document.remove(KEY);
        }
        let prefix = removed.decor().prefix().and_then(|prefix| prefix.as_str());
        let kept = apart(prefix.unwrap_or_default()).to_owned();
        if kept.trim().is_empty() {
            return Ok(());
        }
        let place = removed.position().unwrap_or(0);
        let next = tables_below(self.document.as_table())
            .into_iter()
            .filter_map(Table::position)
            .filter(|position| *position > place)
            .min();
        match next.and_then(|next| table_at(self.document.as_table_mut(), next)) {
            Some(next) => {
                let own = next.decor().prefix().and_then(|prefix| prefix.as_str());
                let prefix = format!("{kept}{}", own.unwrap_or_default().trim_start_matches('\n'));
                next.decor_mut().set_prefix(prefix);
            }
            None => {
                let own = self.document.trailing().as_str().unwrap_or_default();
                let trailing = format!("{kept}{own}");
                self.document.set_trailing(trailing);
            }
        }
        Ok(())
    }

    /// Lets events meet a plugin, or not.
    ///
    /// # Errors
    /// There is no such plugin.
    pub fn set_enabled(&mut self, name: &str, enabled: bool) -> Result<(), ConfigFileError> {
        let table = self.table(name)?;
        match table.get("enabled") {
            // The default needs no word.
            None if enabled => {}
            _ => put(table, "enabled", enabled.into()),
        }
        Ok(())
    }

    /// Says where a plugin comes from.
    ///
    /// # Errors
    /// There is no such plugin.
    pub fn set_source(&mut self, name: &str, source: &str) -> Result<(), ConfigFileError> {
        put(self.table(name)?, "source", source.into());
        Ok(())
    }

    /// Grants a plugin what it has not got yet.
    ///
    /// # Errors
    /// There is no such plugin.
    pub fn grant(&mut self, name: &str, grants: &[Capability]) -> Result<(), ConfigFileError> {
        let table = self.table(name)?;
        if grants.is_empty() {
            return Ok(());
        }
        let held = table
            .entry("grants")
            .or_insert_with(|| value(Array::new()))
            .as_array_mut();
        let Some(held) = held else {
            return Err(ConfigFileError::NotTables {
                path: self.path.clone(),
            });
        };
        for grant in grants.iter().map(ToString::to_string) {
            if !held.iter().any(|held| held.as_str() == Some(&grant)) {
                held.push(grant);
            }
        }
        Ok(())
    }

    fn tables(&self) -> Option<&ArrayOfTables> {
        self.document.get(KEY).and_then(Item::as_array_of_tables)
    }

    fn index(&self, name: &str) -> Result<usize, ConfigFileError> {
        self.tables()
            .and_then(|tables| tables.iter().position(|table| name_of(table) == Some(name)))
            .ok_or_else(|| ConfigFileError::Missing {
                path: self.path.clone(),
                name: name.to_owned(),
            })
    }

    fn table(&mut self, name: &str) -> Result<&mut Table, ConfigFileError> {
        let at = self.index(name)?;
        let path = self.path.clone();
        self.document
            .get_mut(KEY)
            .and_then(Item::as_array_of_tables_mut)
            .and_then(|tables| tables.get_mut(at))
            .ok_or(ConfigFileError::NotTables { path })
    }
}

fn name_of(table: &Table) -> Option<&str> {
    table.get("name")?.as_str()
}

/// Sets a key, with the comment beside the old value kept.
fn put(table: &mut Table, key: &str, mut new: Value) {
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *new.decor_mut() = old.decor().clone();
    }
    table.insert(key, Item::Value(new));
}

/// What of the lines above a table is parted from it by a blank line.
fn apart(prefix: &str) -> &str {
    prefix.rfind("\n\n").map_or("", |at| &prefix[..at + 2])
}

/// The tables below `table` that are written as such, at any depth.
fn tables_below(table: &Table) -> Vec<&Table> {
    let mut all = Vec::new();
    for (_, item) in table.iter() {
        let own: Vec<_> = match item {
            Item::Table(below) => vec![below],
            Item::ArrayOfTables(tables) => tables.iter().collect(),
            _ => Vec::new(),
        };
        for below in own {
            all.push(below);
            all.extend(tables_below(below));
        }
    }
    all
}

/// The table that has a place in the file.
fn table_at(table: &mut Table, position: isize) -> Option<&mut Table> {
    for (_, item) in table.iter_mut() {
        let own: Vec<_> = match item {
            Item::Table(below) => vec![below],
            Item::ArrayOfTables(tables) => tables.iter_mut().collect(),
            _ => Vec::new(),
        };
        for below in own {
            if below.position() == Some(position) {
                return Some(below);
            }
            if let Some(found) = table_at(below, position) {
                return Some(found);
            }
        }
    }
    None
}

fn line(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests;
