//! Script plugins: the scripts of a plugin's folder, which become one file with its manifest. The file is a component
//! without code, with the scripts in a custom section, so that all that holds for a plugin's file holds for it too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::file;

/// The most scripts of one plugin.
const MAX_FILES: usize = 256;
/// The most bytes of all its scripts together.
const MAX_BYTES: usize = 2 << 20;
/// The most entries of its folder that are looked at.
const MAX_ENTRIES: usize = 20_000;
/// Folders that hold no part of a plugin.
const OTHERS: &[&str] = &["node_modules", "target", "tests", "test", "__pycache__"];

/// A language of script plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScriptLanguage {
    /// JavaScript modules.
    #[serde(rename = "javascript")]
    JavaScript,
}

/// A plugin in a script language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Its language.
    pub language: ScriptLanguage,
    /// The path of the file that the engine begins with.
    pub main: String,
    /// The texts of its files by their paths in the plugin's folder, with `/` between the parts.
    pub files: BTreeMap<String, String>,
}

/// The engine of a language, which was found on this machine.
#[derive(Clone, Debug)]
pub struct ScriptEngine {
    /// Its component.
    pub component: Vec<u8>,
    /// The digest of `component`.
    pub digest: Digest,
    /// The digest of its sources, if it was built by our recipe.
    pub sources: Option<Digest>,
}

impl ScriptEngine {
    /// The digest by which two builds of one engine are the same.
    pub(crate) fn identity(&self) -> Digest {
        self.sources.unwrap_or(self.digest)
    }
}

/// Why the scripts of a folder can't be taken.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A file or a folder can't be read.
    #[error("{} can't be read: {reason}", path.display())]
    Unread {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// There is more than a plugin may have.
    #[error(
        "{} has more scripts than the {MAX_FILES} files and {} MiB that a plugin may have; move files that are not part of \
         the plugin out of it (folders named {} are left out)",
        folder.display(), MAX_BYTES >> 20, OTHERS.join(", ")
    )]
    TooMuch {
        /// The plugin's folder.
        folder: PathBuf,
    },
}

impl ScriptLanguage {
    /// All of them.
    pub const ALL: &[Self] = &[Self::JavaScript];

    /// Its name: of its engine's file, and in the lines of people.
    pub fn name(self) -> &'static str {
        match self {
            Self::JavaScript => "javascript",
        }
    }

    /// Its name as people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::JavaScript => "JavaScript",
        }
    }

    /// The names that a plugin's first file may have.
    fn mains(self) -> &'static [&'static str] {
        match self {
            Self::JavaScript => &["plugin.js", "plugin.mjs"],
        }
    }

    /// The endings of files that scripts are made of.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::JavaScript => &["js", "mjs"],
        }
    }

    /// The language and the first file of the plugin in `folder`; `None` if it is not a script plugin.
    pub fn of(folder: &Path) -> Option<(Self, &'static str)> {
        Self::ALL.iter().find_map(|language| {
            let mut mains = language.mains().iter();
            let main = mains.find(|main| folder.join(main).is_file())?;
            Some((*language, *main))
        })
    }
}

impl Script {
    /// Reads the scripts below `folder`, except for tests, for packages that a tool installed, and for hidden files.
    ///
    /// # Errors
    /// A [`ScriptError`].
    pub fn read(folder: &Path, language: ScriptLanguage, main: &str) -> Result<Self, ScriptError> {
        let mut gathering = Gathering {
            folder,
            language,
            files: BTreeMap::new(),
            bytes: 0,
            entries: 0,
        };
        gathering.gather(folder, "")?;
        Ok(Self {
            language,
            main: main.to_owned(),
            files: gathering.files,
        })
    }

    /// The text that a file of a plugin holds.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // It consists of texts, so that writing it never fails.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether it may use the roster: a guess, which is wrong only for a script that mentions it and does not use it.
    pub(crate) fn mentions_roster(&self) -> bool {
        self.files.values().any(|text| text.contains("roster"))
    }

    /// What the engine's `init` gets, in JSON: the files with the plugin's config, and the memory that it has.
    pub(crate) fn envelope(&self, config: &serde_json::Value, memory: usize) -> String {
        serde_json::json!({ "main": self.main, "files": self.files, "config": config, "memory": memory }).to_string()
    }

    /// A digest of the plugin, for machines whose engines differ byte for byte: of its files, its manifest, and the
    /// engine's sources.
    pub(crate) fn sources(&self, manifest: &str, engine: Digest) -> Digest {
        let parts = (self, manifest, engine);
        Digest::of(&serde_json::to_vec(&parts).unwrap_or_default())
    }
}

struct Gathering<'a> {
    folder: &'a Path,
    language: ScriptLanguage,
    files: BTreeMap<String, String>,
    bytes: usize,
    entries: usize,
}

impl Gathering<'_> {
    /// Adds the scripts of `folder`, whose path in the plugin is `within`.
    fn gather(&mut self, folder: &Path, within: &str) -> Result<(), ScriptError> {
        let unread = |path: &Path, reason| ScriptError::Unread {
            path: path.to_owned(),
            reason,
        };
        let entries = std::fs::read_dir(folder).map_err(|reason| unread(folder, reason))?;
        for entry in entries {
            let entry = entry.map_err(|reason| unread(folder, reason))?;
            let (path, name) = (entry.path(), entry.file_name());
            // A name that is not UTF-8 can't be imported.
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(self.too_much());
            }
            let kind = entry.file_type().map_err(|reason| unread(&path, reason))?;
            let own = format!("{within}{name}");
            if kind.is_dir() {
                if !OTHERS.contains(&name) {
                    self.gather(&path, &format!("{own}/"))?;
                }
                continue;
            }
            let ending = name.rsplit('.').next().unwrap_or_default();
            // A link could lead out of the folder.
            if !kind.is_file() || !self.language.endings().contains(&ending) {
                continue;
            }
            let text = file::read_text(&path, MAX_BYTES).map_err(|reason| unread(&path, reason))?;
            self.bytes += text.len();
            if self.files.len() >= MAX_FILES || self.bytes > MAX_BYTES {
                return Err(self.too_much());
            }
            self.files.insert(own, text);
        }
        Ok(())
    }

    fn too_much(&self) -> ScriptError {
        ScriptError::TooMuch {
            folder: self.folder.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn the_scripts_below_a_folder_are_taken_and_nothing_else() {
        let folder = folder_with(&[
            ("plugin.js", "1"),
            ("lib/words.js", "2"),
            ("lib/deep/more.mjs", "3"),
            ("tests/a.js", ""),
            ("node_modules/x/index.js", ""),
            (".hidden/a.js", ""),
            (".a.js", ""),
            ("plugin.toml", ""),
            ("types.d.ts", ""),
        ]);
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.js")).unwrap();
        let (language, main) = ScriptLanguage::of(folder.path()).unwrap();
        let script = Script::read(folder.path(), language, main).unwrap();
        let files: Vec<_> = script
            .files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        assert_eq!(
            files,
            [
                ("lib/deep/more.mjs", "3"),
                ("lib/words.js", "2"),
                ("plugin.js", "1")
            ]
        );
        assert_eq!(script.main, "plugin.js");
        let again: Script = serde_json::from_slice(&script.to_json()).unwrap();
        assert_eq!(again, script);
    }

    #[test]
    fn more_than_a_plugin_may_have_is_refused() {
        let check = |folder: &Path| {
            let error = Script::read(folder, ScriptLanguage::JavaScript, "plugin.js").unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("more scripts than the 256 files and 2 MiB"),
                "{error}"
            );
        };
        let folder = folder_with(&[("plugin.js", "1")]);
        for n in 0..MAX_FILES {
            std::fs::write(folder.path().join(format!("{n}.js")), "").unwrap();
        }
        check(folder.path());
        let half = "x".repeat(MAX_BYTES / 2 + 1);
        check(folder_with(&[("plugin.js", &half), ("a.js", &half)]).path());
    }
}
