//! The source of a plugin: one enum with one text form, which the config and the lock hold.

mod download;
mod obtain;

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use url::Url;

pub use self::download::{DownloadError, Downloader, Progress};
pub use self::obtain::ObtainError;

use crate::digest::{Digest, DigestError};
use crate::file;
use crate::install::component::MAX_SIZE;
use crate::install::shipped::{self, Place, ShippedError};

/// The start of an address's fragment that gives the sha256 of its file.
const FRAGMENT: &str = "sha256=";

/// The source of a plugin. In text: `shipped:NAME`, `file:PATH`, `folder:PATH`, `https://...`.
///
/// A path that is not absolute is relative to the config file's folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A plugin that ships with djangobot, by its name.
    Shipped(String),
    /// A file with a component or a core module.
    File(PathBuf),
    /// A folder with plugin.toml and code, which is built.
    Folder(PathBuf),
    /// A file to download. Its sha256 must be known.
    Https(Url),
}

/// Why a text is not a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It is not the name of anything on this machine.
    #[error(
        "there is no file or folder {0:?}, it is not an https:// address, and no plugin of that name ships with djangobot; {help}",
        help = shipped::help(.0)
    )]
    Nothing(String),
    /// No plugin of this name ships.
    #[error("no plugin {0:?} ships with djangobot; {help}", help = shipped::help(.0))]
    NotShipped(String),
    /// It does not begin with a kind of source.
    #[error("{0:?} is not a source: use shipped:NAME, file:PATH, folder:PATH or https://HOST/PATH")]
    Kind(String),
    /// There is no path after the colon.
    #[error("{0:?} is not a source: it has no path after the colon")]
    NoPath(String),
    /// Its address is not encrypted, so that anyone on the way could replace the file.
    #[error("{0:?} is plain http, which is not allowed: use the https:// address")]
    PlainHttp(String),
    /// It begins like an address, and is not one.
    #[error("{text:?} is not an address: {reason}")]
    Address {
        /// The text as it was written.
        text: String,
        /// A clause.
        reason: String,
    },
    /// The sha256 in it is not one.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Two sha256 were given for it.
    #[error("two different sha256 are given for one source; leave out the wrong one")]
    TwoDigests,
}

impl Source {
    /// A source as people write it on a command line in the folder `here`: its text form, the name of a plugin that
    /// ships, the path of a file or folder, or an address that may end in `#sha256=HEX`.
    ///
    /// The name of a plugin that ships always means that plugin, whatever lies in the folder: `./NAME` is the path.
    ///
    /// # Errors
    /// A [`SourceError`].
    pub fn given(word: &str, here: &Path) -> Result<(Self, Option<Digest>), SourceError> {
        if let Some((address, fragment)) = word.split_once('#')
            && address.contains("://")
        {
            let digest = match fragment.strip_prefix(FRAGMENT) {
                Some(digest) => digest.parse()?,
                None => {
                    return Err(SourceError::Address {
                        text: word.into(),
                        reason: "only #sha256=HEX may follow it".into(),
                    });
                }
            };
            return Ok((address.parse()?, Some(digest)));
        }
        if shipped::ships(word) {
            return Ok((Self::Shipped(word.to_owned()), None));
        }
        let source = match word.parse() {
            Ok(Self::File(path)) => Self::File(here.join(path)),
            Ok(Self::Folder(path)) => Self::Folder(here.join(path)),
            Ok(source) => source,
            Err(error) => {
                let path = here.join(word);
                match std::fs::metadata(&path) {
                    Ok(data) if data.is_dir() => Self::Folder(path),
                    Ok(_) => Self::File(path),
                    Err(_) if matches!(error, SourceError::Kind(_)) => {
                        return Err(SourceError::Nothing(word.into()));
                    }
                    Err(_) => return Err(error),
                }
            }
        };
        Ok((source, None))
    }

    /// The source as it is on this machine: an absolute file or folder, or an address. Paths are relative to the folder
    /// `home` of the config file.
    ///
    /// # Errors
    /// It ships with djangobot, and was not found on this machine.
    pub fn located(&self, home: &Path) -> Result<Self, ShippedError> {
        Ok(match self {
            Self::Shipped(name) => match shipped::find(name)? {
                Place::Component(path) => Self::File(path),
                Place::Folder(path) => Self::Folder(path),
            },
            Self::File(path) => Self::File(home.join(path)),
            Self::Folder(path) => Self::Folder(home.join(path)),
            Self::Https(_) => self.clone(),
        })
    }

    /// The source as it is written into a config file in the folder `home`: its path is made relative to that folder,
    /// so that the project can be moved.
    pub fn written_from(&self, home: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(relative(path, home)),
            Self::Folder(path) => Self::Folder(relative(path, home)),
            Self::Shipped(_) | Self::Https(_) => self.clone(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shipped(name) => write!(f, "shipped:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
            Self::Https(url) => write!(f, "{url}"),
        }
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let path = |path: &str| match path {
            "" => Err(SourceError::NoPath(text.into())),
            path => Ok(PathBuf::from(path)),
        };
        match text.split_once(':') {
            Some(("shipped", name)) => match shipped::ships(name) {
                true => Ok(Self::Shipped(name.to_owned())),
                false => Err(SourceError::NotShipped(name.to_owned())),
            },
            Some(("file", rest)) => path(rest).map(Self::File),
            Some(("folder", rest)) => path(rest).map(Self::Folder),
            Some(("https", _)) => address(text).map(Self::Https),
            Some(("http", rest)) if rest.starts_with("//") => {
                Err(SourceError::PlainHttp(text.into()))
            }
            _ => Err(SourceError::Kind(text.into())),
        }
    }
}

fn address(text: &str) -> Result<Url, SourceError> {
    let wrong = |reason: String| SourceError::Address {
        text: text.into(),
        reason,
    };
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    if !url.has_host() {
        return Err(wrong("it does not name a host".into()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SourceError::Address {
            text: "https://...@".into(),
            reason: "a user or password in it would be written to the config and the lock".into(),
        });
    }
    match url.fragment() {
        None => Ok(url),
        Some(_) => Err(wrong(
            "the sha256 belongs in the lock and not in the address; leave out all from # on".into(),
        )),
    }
}

/// `path` relative to `home`; `path` itself if they have no folder in common but the root.
fn relative(path: &Path, home: &Path) -> PathBuf {
    let real = |path: &Path| path.canonicalize().ok();
    let home = match home.as_os_str().is_empty() {
        true => Path::new("."),
        false => home,
    };
    let (Some(path), Some(home)) = (real(path), real(home)) else {
        return path.to_owned();
    };
    let common = path
        .components()
        .zip(home.components())
        .take_while(|(a, b)| a == b)
        .count();
    if common <= 1 {
        return path;
    }
    let up = home.components().skip(common).map(|_| Component::ParentDir);
    let relative: PathBuf = up.chain(path.components().skip(common)).collect();
    match relative.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => relative,
    }
}

/// The error for a file that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{} can't be read: {reason}", path.display())]
pub struct ReadError {
    /// The file's path.
    pub path: PathBuf,
    /// The system's error, or a clause.
    pub reason: std::io::Error,
}

/// Reads a component's file, and no more than one byte beyond [`MAX_SIZE`]: by that byte a larger file is noticed.
///
/// # Errors
/// It is missing, is not a file, or can't be read.
pub fn read_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    use std::io::Read;
    let unread = |reason| ReadError {
        path: path.to_owned(),
        reason,
    };
    let mut bytes = Vec::new();
    file::open(path)
        .map_err(unread)?
        .take(MAX_SIZE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_is_written() {
        for text in [
            "file:plugins/a.wasm",
            "file:/abs/a b.wasm",
            "folder:../a",
            "https://example.com/a.wasm?v=1",
            "shipped:resolve-names",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        let check = |text: &str, expect: &str| {
            let error = text.parse::<Source>().unwrap_err().to_string();
            assert!(error.contains(expect), "{error} / {expect}");
        };
        check("", "is not a source");
        check("plugins/a.wasm", "use shipped:NAME, file:PATH, folder:PATH");
        check("shipped:", "no plugin \"\" ships");
        check(
            "shipped:resolve-name",
            "did you mean resolve-names? These plugins ship: ignore-self",
        );
        check("file:", "no path after the colon");
        check("oci://ghcr.io/a", "is not a source");
        check("http://example.com/a.wasm", "plain http");
        check("https://", "not an address");
        check("https:///", "not an address");
        check("https://me:secret@example.com/", "user or password");
        check(
            "https://example.com/a#sha256=1",
            "the sha256 belongs in the lock",
        );
        let error = "https://me:secret@example.com/".parse::<Source>();
        assert!(!error.unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn a_word_on_the_command_line_means_the_plugin_file_or_folder_of_that_name() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        std::fs::create_dir(here.join("code")).unwrap();
        std::fs::write(here.join("a.wasm"), "").unwrap();
        let check =
            |word: &str, expect: Result<Source, &str>| match (Source::given(word, here), expect) {
                (Ok((source, _)), Ok(expect)) => assert_eq!(source, expect, "{word}"),
                (Err(error), Err(expect)) => assert!(error.to_string().contains(expect), "{error}"),
                (got, expect) => panic!("{word}: {got:?}, not {expect:?}"),
            };
        check("code", Ok(Source::Folder(here.join("code"))));
        check("./a.wasm", Ok(Source::File(here.join("./a.wasm"))));
        check("file:none", Ok(Source::File(here.join("none"))));
        check("none", Err("no file or folder \"none\""));
        check("redcat", Err("did you mean redact?"));
        std::fs::create_dir(here.join("redact")).unwrap();
        check("redact", Ok(Source::Shipped("redact".into())));
        check("shipped:redact", Ok(Source::Shipped("redact".into())));
        check("./redact", Ok(Source::Folder(here.join("./redact"))));
        check("redact/", Ok(Source::Folder(here.join("redact/"))));
        check("http://a/b.wasm", Err("plain http"));
        check("https://a/b#md5=1", Err("only #sha256=HEX may follow"));
        check("https://a/b#sha256=1", Err("not a sha256"));
        let digest = Digest::of(b"");
        let (source, given) = Source::given(&format!("https://a/b#sha256={digest}"), here).unwrap();
        assert_eq!(
            (source.to_string().as_str(), given),
            ("https://a/b", Some(digest))
        );
    }

    #[test]
    fn paths_are_written_from_where_the_config_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let (home, code) = (root.join("bot/conf"), root.join("bot/plugins/a"));
        std::fs::create_dir_all(&home).unwrap();
        std::fs::create_dir_all(&code).unwrap();
        let check = |path: PathBuf, expect: &str| {
            let written = Source::Folder(path.clone()).written_from(&home);
            assert_eq!(written.to_string(), format!("folder:{expect}"));
            let Ok(Source::Folder(back)) = written.located(&home) else {
                panic!("no folder")
            };
            assert_eq!(back.canonicalize().unwrap(), path.canonicalize().unwrap());
        };
        check(code, "../plugins/a");
        check(home.clone(), ".");
        check("/usr".into(), "/usr");
    }

    #[test]
    fn a_folder_and_a_device_are_not_read_as_files() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path, expect: &str| {
            let error = read_file(path).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(folder.path(), "it is not a file");
        check(Path::new("/dev/zero"), "it is not a file");
        check(&folder.path().join("none"), "No such file");
    }
}
