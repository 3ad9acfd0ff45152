//! `djangobot.lock`: exactly which component each plugin of the config is, or which sources it is built from. The host runs
//! nothing else.

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

/// The file, beside the config.
pub const LOCK_FILE: &str = "djangobot.lock";
/// The form of the file that is read and written.
const VERSION: u32 = 1;
/// The longest file that is read, in bytes.
const LONGEST: usize = 4 << 20;
const HEAD: &str =
    "# Written by `djangobot plugin`. Keep it with djangobot.toml in version control.\n";

/// All entries, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lock {
    /// One for each plugin.
    pub plugins: Vec<Locked>,
}

/// One plugin, pinned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// As in the config.
    pub name: String,
    /// Where it came from, as in the config.
    pub source: String,
    /// Its manifest's.
    pub version: Version,
    /// Of the finished component, its manifest within.
    pub sha256: Digest,
    /// Of what the component was built from, where a recipe built it: a build of the same sources is the same plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Digest>,
    /// What was granted when this component was taken.
    #[serde(default)]
    pub grants: Vec<Capability>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default, rename = "plugin", skip_serializing_if = "Vec::is_empty")]
    plugins: Vec<Locked>,
}

/// Only what tells whether the rest can be read.
#[derive(Deserialize)]
struct Form {
    version: u32,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
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
    /// It is there, and not as we wrote it.
    #[error("{} line {line}: {message}; take the file from version control, or delete it, and `djangobot plugin update` writes it again", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// A clause.
        message: String,
    },
    /// A later djangobot wrote it.
    #[error("{} has the form {found}, and this djangobot knows {VERSION}: run the later djangobot that wrote it, or take the file from version control", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its `version`.
        found: u32,
    },
}

impl Locked {
    /// Whether a component was built from the sources that are pinned. It must be one of which we know: that was built by the
    /// recipe, or lies beside this program.
    pub fn is_built(&self, artifact: &Artifact) -> bool {
        let source = self.source.parse();
        let is_known = matches!(source, Ok(Source::Folder(_) | Source::Shipped(_)));
        is_known && self.sources.is_some() && self.sources == artifact.sources
    }
}

impl Lock {
    /// Where the lock of a config file is.
    pub fn beside(config: &Path) -> PathBuf {
        config.with_file_name(LOCK_FILE)
    }

    /// Reads the file; one that is not there has no entries.
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
        if let Ok(Form { version }) = toml::from_str(text)
            && version > VERSION
        {
            return Err(LockError::Newer {
                path: path.to_owned(),
                found: version,
            });
        }
        let file: File = toml::from_str(text).map_err(|error| {
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
                format!("there is a second entry {:?}", twice.name),
            )),
            None => Ok(Self {
                plugins: file.plugins,
            }),
        }
    }

    /// Writes the file, at once and whole.
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

    /// What [`Lock::write`] puts into the file.
    ///
    /// # Errors
    /// It can't be said in TOML.
    pub fn text(&self) -> Result<String, toml::ser::Error> {
        let file = File {
            version: VERSION,
            plugins: self.plugins.clone(),
        };
        Ok(format!("{HEAD}{}", toml::to_string(&file)?))
    }

    /// The entry with a name.
    pub fn get(&self, name: &str) -> Option<&Locked> {
        self.plugins.iter().find(|locked| locked.name == name)
    }

    /// Puts an entry in the place of the one with its name, or at the end.
    pub fn set(&mut self, locked: Locked) {
        match self.plugins.iter_mut().find(|one| one.name == locked.name) {
            Some(place) => *place = locked,
            None => self.plugins.push(locked),
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, name: &str) -> Option<Locked> {
        let at = self.plugins.iter().position(|one| one.name == name)?;
        Some(self.plugins.remove(at))
    }

    /// The components that it names.
    pub fn digests(&self) -> BTreeSet<Digest> {
        self.plugins.iter().map(|locked| locked.sha256).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    fn locked(name: &str) -> Locked {
        Locked {
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
        lock.set(Locked {
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
                lock.set(Locked { source, version, sha256, ..locked(&name) });
            }
            let text = lock.text().unwrap();
            prop_assert_eq!(Lock::parse(Path::new("djangobot.lock"), &text).unwrap(), lock);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
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
        check("version = 2\nanything = 1\n", "form 2");
        check(
            "version = 1\n[[plugin]]\nname = \"a\"\nsource = \"file:a\"\nversion = \"1.0.0\"\nsha256 = \"12\"\n",
            "line 6: \"12\" is no sha256",
        );
        let twice = format!("version = 1\n{}{}", entry("a"), entry("a"));
        check(&twice, "line 8: there is a second entry \"a\"");
        check(
            &format!("version = 1\n{}sources = \"12\"\n", entry("a")),
            "line 7: \"12\" is no sha256",
        );
        check(
            &format!("version = 1\n{}grants = [\"files\"]\n", entry("a")),
            "line 7: \"files\" is no capability",
        );
    }
}
