//! Where a plugin comes from: one enum with one string form, which config and lock hold.

mod download;
mod obtain;

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use url::Url;

pub use self::download::{DownloadError, Downloader, Progress};
pub use self::obtain::ObtainError;

use crate::digest::{BadDigest, Digest};
use crate::file;
use crate::install::component::MAX_SIZE;
use crate::install::shipped::{self, NotHere, Place};

/// What separates the address from its sha256, where both are given as one word.
const FRAGMENT: &str = "sha256=";

/// Where a plugin comes from. In text: `shipped:NAME`, `file:PATH`, `folder:PATH`, `https://...`.
///
/// Paths that are not absolute are meant from the config file's folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// One that ships with djangobot, wherever that has its plugins on this machine.
    Shipped(String),
    /// A component or a core module.
    File(PathBuf),
    /// A folder with plugin.toml and code, which is built.
    Folder(PathBuf),
    /// A file to download. Its sha256 must be known.
    Https(Url),
}

/// A text that is no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    /// It names nothing that is there.
    #[error(
        "there is no file or folder {0:?}, it is no https:// address, and no plugin of that name ships with djangobot; {help}",
        help = shipped::help(.0)
    )]
    Nothing(String),
    /// No such plugin ships.
    #[error("no plugin {0:?} ships with djangobot; {help}", help = shipped::help(.0))]
    NotShipped(String),
    /// It names no kind of source.
    #[error(
        "{0:?} is no source: there are shipped:NAME, file:PATH, folder:PATH and https://HOST/PATH"
    )]
    Kind(String),
    /// No path after the colon.
    #[error("{0:?} is no source: it names no path")]
    NoPath(String),
    /// Anyone on the way could put another file in its place.
    #[error("{0:?} is plain http, which is not taken: give the https:// address")]
    PlainHttp(String),
    /// It begins as an address.
    #[error("{text:?} is no address: {reason}")]
    Address {
        /// As it was written.
        text: String,
        /// A clause.
        reason: String,
    },
    /// Its sha256 is none.
    #[error(transparent)]
    Digest(#[from] BadDigest),
    /// It has two of them.
    #[error("two different sha256 are given for one source")]
    TwoDigests,
}

impl Source {
    /// A source as one writes it on a command line, from the folder `here`: its text form, or just the name of a plugin that
    /// ships, or the path of what is there, or an address that may end in `#sha256=HEX`.
    ///
    /// A name of one that ships means that, whatever lies in the folder: `./NAME` is the path.
    ///
    /// # Errors
    /// A [`BadSource`].
    pub fn given(word: &str, here: &Path) -> Result<(Self, Option<Digest>), BadSource> {
        if let Some((address, fragment)) = word.split_once('#')
            && address.contains("://")
        {
            let digest = match fragment.strip_prefix(FRAGMENT) {
                Some(digest) => digest.parse()?,
                None => {
                    return Err(BadSource::Address {
                        text: word.into(),
                        reason: "what follows # is not sha256=HEX".into(),
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
                    Err(_) if matches!(error, BadSource::Kind(_)) => {
                        return Err(BadSource::Nothing(word.into()));
                    }
                    Err(_) => return Err(error),
                }
            }
        };
        Ok((source, None))
    }

    /// Where it is on this machine, for use: a file, a folder or an address. Paths are meant from the folder `home` of the
    /// config file.
    ///
    /// # Errors
    /// It ships with djangobot, and is not here.
    pub fn located(&self, home: &Path) -> Result<Self, NotHere> {
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

    /// With paths as they are written in a config file in the folder `home`: relative to it where they are in it or
    /// not far away, so that the project can be moved.
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
    type Err = BadSource;

    fn from_str(text: &str) -> Result<Self, BadSource> {
        let path = |path: &str| match path {
            "" => Err(BadSource::NoPath(text.into())),
            path => Ok(PathBuf::from(path)),
        };
        match text.split_once(':') {
            Some(("shipped", name)) => match shipped::ships(name) {
                true => Ok(Self::Shipped(name.to_owned())),
                false => Err(BadSource::NotShipped(name.to_owned())),
            },
            Some(("file", rest)) => path(rest).map(Self::File),
            Some(("folder", rest)) => path(rest).map(Self::Folder),
            Some(("https", _)) => address(text).map(Self::Https),
            Some(("http", rest)) if rest.starts_with("//") => {
                Err(BadSource::PlainHttp(text.into()))
            }
            _ => Err(BadSource::Kind(text.into())),
        }
    }
}

fn address(text: &str) -> Result<Url, BadSource> {
    let wrong = |reason: String| BadSource::Address {
        text: text.into(),
        reason,
    };
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    if !url.has_host() {
        return Err(wrong("it names no host".into()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadSource::Address {
            text: "https://...@".into(),
            reason: "a user or password in it would stand in the config and the lock".into(),
        });
    }
    match url.fragment() {
        None => Ok(url),
        Some(_) => Err(wrong("the lock holds its sha256, not the address".into())),
    }
}

/// `path` from `home`; `path` itself where they have no folder in common but the root.
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

/// A file that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("{} can't be read: {reason}", path.display())]
pub struct ReadError {
    /// Which file.
    pub path: PathBuf,
    /// The system's word, or a clause.
    pub reason: std::io::Error,
}

/// Reads a component's file. Of one that is larger than [`MAX_SIZE`] no more than a byte beyond that is read.
///
/// # Errors
/// It is not there, is no file, or can't be read.
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
        check("", "is no source");
        check(
            "plugins/a.wasm",
            "there are shipped:NAME, file:PATH, folder:PATH",
        );
        check("shipped:", "no plugin \"\" ships");
        check(
            "shipped:resolve-name",
            "did you mean resolve-names? These ship: ignore-self",
        );
        check("file:", "names no path");
        check("oci://ghcr.io/a", "is no source");
        check("http://example.com/a.wasm", "plain http");
        check("https://", "no address");
        check("https:///", "no address");
        check("https://me:secret@example.com/", "user or password");
        check(
            "https://example.com/a#sha256=1",
            "the lock holds its sha256",
        );
        let error = "https://me:secret@example.com/".parse::<Source>();
        assert!(!error.unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn a_word_on_the_command_line_is_what_is_there() {
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
        check("https://a/b#md5=1", Err("not sha256=HEX"));
        check("https://a/b#sha256=1", Err("no sha256"));
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
    fn what_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path, expect: &str| {
            let error = read_file(path).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(folder.path(), "it is no file");
        check(Path::new("/dev/zero"), "it is no file");
        check(&folder.path().join("none"), "No such file");
    }
}
