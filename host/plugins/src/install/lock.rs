//! `djangobot.lock`: it pins the component of each plugin, or the sources that it is built from. The host runs no
//! other.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::file;
use crate::grant::Capability;
use crate::install::component::Artifact;
use crate::install::source::Source;

/// The name of the file, which lies next to the config.
pub const LOCK_FILE: &str = "djangobot.lock";
/// The version of the file's format.
const VERSION: u32 = 1;
/// The longest file that is read, in bytes.
const LONGEST: usize = 4 << 20;
/// The comment at the head of the file.
const HEAD: &str =
    "# Written by `djangobot plugin`. Keep it with djangobot.toml in version control.\n";

/// The lock: its entries in the order in which they were added. No two have the same name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lock {
    /// One entry for each plugin.
    pub plugins: Vec<LockEntry>,
}

/// The entry of one plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockEntry {
    /// The plugin's name in the config.
    pub name: String,
    /// The source that the component came from, as in the config.
    pub source: String,
    /// The version in its manifest.
    pub version: Version,
    /// The digest of the finished component, which contains its manifest.
    pub sha256: Digest,
    /// The digest of the sources, if a recipe built the component: a build of the same sources counts as the same
    /// plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Digest>,
    /// The capabilities that were granted when this component was pinned.
    #[serde(default)]
    pub grants: Vec<Capability>,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockDocument {
    version: u32,
    #[serde(default, rename = "plugin", skip_serializing_if = "Vec::is_empty")]
    plugins: Vec<LockEntry>,
}

/// The only key that every version of the format has, which decides whether the rest can be read.
#[derive(Deserialize)]
struct LockHeader {
    version: u32,
}

/// Why the lock can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
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
    /// The file is not a lock.
    #[error("{} line {line}: {message}; restore the file from version control, or delete it and run `djangobot plugin update`, which writes it again", path.display())]
    Wrong {
        /// The file's path.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// A clause.
        message: String,
    },
    /// A later djangobot wrote it.
    #[error("{} has the format {found}, and this djangobot knows {VERSION}: run the later djangobot that wrote it, or restore the file from version control", path.display())]
    Newer {
        /// The file's path.
        path: PathBuf,
        /// Its `version`.
        found: u32,
    },
}

impl LockEntry {
    /// Whether a component was built from the pinned sources. A component names its sources itself, so this counts only
    /// for one that our recipe built, or that lies next to this program.
    pub fn is_built(&self, artifact: &Artifact) -> bool {
        let source = self.source.parse();
        let is_known = matches!(source, Ok(Source::Folder(_) | Source::Shipped(_)));
        is_known && self.sources.is_some() && self.sources == artifact.sources
    }
}

impl Lock {
    /// The path of the lock that belongs to a config file.
    pub fn beside(config: &Path) -> PathBuf {
        config.with_file_name(LOCK_FILE)
    }

    /// Reads the file. A missing file counts as a lock without entries.
    ///
    /// # Errors
    /// A [`LockError`] that names the line.
    pub fn read(path: &Path) -> Result<Self, LockError> {
        match file::read_text(path, LONGEST) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(reason) => Err(LockError::Disk {
                what: "read",
                path: path.to_owned(),
                reason,
            }),
        }
    }

    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// A [`LockError`] that names the line.
    pub fn parse(path: &Path, text: &str) -> Result<Self, LockError> {
        let wrong = |line, message| LockError::Wrong {
            path: path.to_owned(),
            line,
            message,
        };
        if let Ok(LockHeader { version }) = toml::from_str(text)
            && version > VERSION
        {
            return Err(LockError::Newer {
                path: path.to_owned(),
                found: version,
            });
        }
        let file: LockDocument = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            wrong(
                text.as_bytes()[..start]
                    .iter()
                    .filter(|&&byte| byte == b'\n')
                    .count()
                    + 1,
                error.message().to_owned(),
            )
        })?;
        let mut names = BTreeSet::new();
        match file.plugins.iter().find(|one| !names.insert(&one.name)) {
            Some(twice) => Err(wrong(
                text.lines()
                    .enumerate()
                    .filter(|(_, line)| {
                        line.starts_with("name") && line.contains(&format!("{:?}", twice.name))
                    })
                    .map(|(at, _)| at + 1)
                    .last()
                    .unwrap_or(1),
                format!("there is a second entry for {:?}", twice.name),
            )),
            None => Ok(Self {
                plugins: file.plugins,
            }),
        }
    }

    /// Replaces the file as a whole.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        let unwritten = |reason| LockError::Disk {
            what: "written",
            path: path.to_owned(),
            reason,
        };
        let text = self
            .text()
            .map_err(|error| unwritten(io::Error::other(error)))?;
        file::replace(path, text.as_bytes()).map_err(unwritten)
    }

    /// The text that [`Lock::write`] writes.
    ///
    /// # Errors
    /// TOML can't express it.
    pub fn text(&self) -> Result<String, toml::ser::Error> {
        let file = LockDocument {
            version: VERSION,
            plugins: self.plugins.clone(),
        };
        Ok(format!("{HEAD}{}", toml::to_string(&file)?))
    }

    /// The entry of a plugin.
    pub fn get(&self, name: &str) -> Option<&LockEntry> {
        self.plugins.iter().find(|locked| locked.name == name)
    }

    /// Replaces the entry with the same name, or adds one at the end.
    pub fn set(&mut self, locked: LockEntry) {
        match self.plugins.iter_mut().find(|one| one.name == locked.name) {
            Some(place) => *place = locked,
            None => self.plugins.push(locked),
        }
    }

    /// Removes an entry.
    pub fn remove(&mut self, name: &str) -> Option<LockEntry> {
        let at = self.plugins.iter().position(|one| one.name == name)?;
        Some(self.plugins.remove(at))
    }

    /// The digests of the components that it pins.
    pub fn digests(&self) -> BTreeSet<Digest> {
        self.plugins.iter().map(|locked| locked.sha256).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    fn locked(name: &str) -> LockEntry {
        LockEntry {
            name: name.into(),
            source: format!("file:{name}.wasm"),
            version: Version::new(1, 2, 3),
            sha256: Digest::of(name.as_bytes()),
            sources: name.contains('o').then(|| Digest::of(b"sources")),
            grants: vec!["store".parse().unwrap()],
        }
    }

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = Lock::beside(&folder.path().join("djangobot.toml"));
        assert_eq!(Lock::read(&path).unwrap(), Lock::default());
        let mut lock = Lock::default();
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), lock);
        lock.set(locked("one"));
        lock.set(locked("two"));
        lock.set(LockEntry {
            version: Version::new(2, 0, 0),
            ..locked("one")
        });
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), lock);
        assert_eq!(lock.get("one").unwrap().version, Version::new(2, 0, 0));
        assert!(lock.remove("one").is_some() && lock.remove("one").is_none());
        assert_eq!(lock.digests(), BTreeSet::from([Digest::of(b"two")]));
    }

    proptest! {
        #[test]
        fn any_lock_is_read_as_it_was_written(
            plugins in btree_map("[a-z0-9-]{1,9}", ("\\PC{0,20}", any::<[u16; 3]>(), vec(any::<u8>(), 0..9)), 0..5),
        ) {
            let mut lock = Lock::default();
            for (name, (source, [major, minor, patch], bytes)) in plugins {
                let version = Version::new(major.into(), minor.into(), patch.into());
                let sha256 = Digest::of(&bytes);
                lock.set(LockEntry { source, version, sha256, ..locked(&name) });
            }
            let text = lock.text().unwrap();
            prop_assert_eq!(Lock::parse(Path::new("djangobot.lock"), &text).unwrap(), lock);
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let entry = |name: &str| {
            format!(
                "[[plugin]]\nname = {name:?}\nsource = \"file:a\"\nversion = \"1.0.0\"\nsha256 = \"{}\"\n",
                Digest::of(b"")
            )
        };
        let check = |text: &str, expect: &str| {
            let error = Lock::parse(Path::new("djangobot.lock"), text).unwrap_err();
            assert!(error.to_string().contains(expect), "{error} / {expect}");
        };
        check("", "line 1: missing field `version`");
        check("version = 1\n[[plugin]\n", "line 2");
        check("version = 2\nanything = 1\n", "format 2");
        check(
            "version = 1\n[[plugin]]\nname = \"a\"\nsource = \"file:a\"\nversion = \"1.0.0\"\nsha256 = \"12\"\n",
            "line 6: \"12\" is not a sha256",
        );
        let twice = format!("version = 1\n{}{}", entry("a"), entry("a"));
        check(&twice, "line 8: there is a second entry for \"a\"");
        check(
            &format!("version = 1\n{}sources = \"12\"\n", entry("a")),
            "line 7: \"12\" is not a sha256",
        );
        check(
            &format!("version = 1\n{}grants = [\"files\"]\n", entry("a")),
            "line 7: \"files\" is not a capability",
        );
    }
}
