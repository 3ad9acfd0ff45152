//! Edits of `djangobot.toml`: an edit changes one plugin's table, and keeps all comments and the order.

use std::io;
use std::path::{Path, PathBuf};

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use crate::file;
use crate::grant::Capability;

/// The key of the `[[plugin]]` tables.
const KEY: &str = "plugin";
/// The longest file that is edited, in bytes.
const LONGEST: usize = 4 << 20;
/// The text of a file without settings.
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
    /// The system refused it.
    #[error("{} can't be {what}: {reason}", path.display())]
    Disk {
        /// `read` or `written`.
        what: &'static str,
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// It is not TOML.
    #[error("{} line {line}: {message}; nothing was changed", path.display())]
    Unreadable {
        /// The file's path.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// A clause.
        message: String,
    },
    /// It is TOML, but its plugins are not written as `[[plugin]]` tables, which are all that is edited here.
    #[error("{}: `plugin` is not a list of [[plugin]] tables; nothing was changed", path.display())]
    NotTables {
        /// The file's path.
        path: PathBuf,
    },
    /// It has a plugin of this name already.
    #[error("{} has a plugin {name:?} already; `djangobot plugin update {name}` changes it", path.display())]
    Taken {
        /// The file's path.
        path: PathBuf,
        /// The plugin's name.
        name: String,
    },
    /// It has no plugin of this name.
    #[error("{} has no plugin {name:?}; `djangobot plugin list` shows the names", path.display())]
    Missing {
        /// The file's path.
        path: PathBuf,
        /// The plugin's name.
        name: String,
    },
}

impl ConfigFile {
    /// Reads the file. A missing file counts as empty, and [`ConfigFile::save`] creates it.
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

    /// Replaces the file as a whole.
    ///
    /// # Errors
    /// It can't be written.
    pub fn save(&self) -> Result<(), ConfigFileError> {
        let mut text = self.text();
        // A running host takes an empty file for one that is still being written, and would wait for the rest.
        if text.trim().is_empty() {
            text = EMPTY.into();
        }
        file::replace(&self.path, text.as_bytes()).map_err(|reason| ConfigFileError::Disk {
            what: "written",
            path: self.path.clone(),
            reason,
        })
    }

    /// The text that [`ConfigFile::save`] writes.
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

    /// Adds a plugin after all others.
    ///
    /// # Errors
    /// There is a plugin of this name already.
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
        // After all tables of the file, so that the new one does not stand within another plugin's.
        let below = tables_below(self.document.as_table());
        let last = below.into_iter().filter_map(Table::position).max();
        table.set_position(Some(last.unwrap_or(0) + 1));
        // A comment at the end of the file belongs to the table above it, and has to stay before the new one.
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

    /// Removes a plugin with the comment right above it. A comment that a blank line separates from it stays.
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

    /// Enables or disables a plugin.
    ///
    /// # Errors
    /// There is no such plugin.
    pub fn set_enabled(&mut self, name: &str, enabled: bool) -> Result<(), ConfigFileError> {
        let table = self.table(name)?;
        match table.get("enabled") {
            // Enabled is the default, so that the key is not needed.
            None if enabled => {}
            _ => put(table, "enabled", enabled.into()),
        }
        Ok(())
    }

    /// Sets the source of a plugin.
    ///
    /// # Errors
    /// There is no such plugin.
    pub fn set_source(&mut self, name: &str, source: &str) -> Result<(), ConfigFileError> {
        put(self.table(name)?, "source", source.into());
        Ok(())
    }

    /// Adds grants to a plugin's, without those that it has already.
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

/// Sets a key, and keeps the comment in the old value's line.
fn put(table: &mut Table, key: &str, mut new: Value) {
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *new.decor_mut() = old.decor().clone();
    }
    table.insert(key, Item::Value(new));
}

/// The part of the lines above a table that a blank line separates from it.
fn apart(prefix: &str) -> &str {
    prefix.rfind("\n\n").map_or("", |at| &prefix[..at + 2])
}

/// The tables within `table`, at any depth, that have a header of their own.
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

/// The table at a position in the file.
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

/// The line of a byte in the text, from 1.
fn line(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests;
