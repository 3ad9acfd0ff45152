//! Secrets that a plugin may be granted, from the environment and from a folder. The host's own tokens are never given.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

/// The prefix of environment variables with secrets: `DJANGOBOT_SECRET_<NAME>`.
pub const PREFIX: &str = "DJANGOBOT_SECRET_";
/// The largest secret, in bytes.
pub const MAX_SECRET: usize = 64 << 10;

/// The secrets that the operator set. They are read again at each use, so that a changed secret needs no restart.
pub struct Secrets {
    folder: Option<PathBuf>,
    /// The host's own tokens.
    withheld: Vec<SecretString>,
    /// Reads a variable of the environment; a test has an environment of its own.
    variable: fn(&str) -> Option<OsString>,
}

/// Why a secret that is set can't be given.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("the secret {name} can't be read from {}: {reason}", path.display())]
    Unreadable {
        /// The secret's name.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// It is not UTF-8, or longer than [`MAX_SECRET`].
    #[error("the secret {name} is {what}, and so can't be given to a plugin")]
    Unfit {
        /// The secret's name.
        name: String,
        /// The rest of the clause.
        what: &'static str,
    },
    /// Its value is one of the host's own tokens.
    #[error(
        "the secret {name} has the value of one of the host's own tokens, which no plugin gets; make a token for the plugin alone"
    )]
    Withheld {
        /// The secret's name.
        name: String,
    },
}

impl Secrets {
    /// Secrets from the environment and from the files of `folder`. A value in `withheld`, the host's own tokens, is
    /// never given, whatever the secret's name.
    pub fn new(folder: Option<PathBuf>, withheld: Vec<SecretString>) -> Self {
        Self {
            folder,
            withheld,
            variable: |name| std::env::var_os(name),
        }
    }

    /// The secret `name`. One that can't be given is logged, and counts as not set.
    pub fn get(&self, name: &str) -> Option<SecretString> {
        self.read(name).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            None
        })
    }

    /// The secret `name`, from the environment, or else from its file. An empty secret counts as not set.
    ///
    /// # Errors
    /// It is set, but can't be given.
    pub fn read(&self, name: &str) -> Result<Option<SecretString>, SecretError> {
        // With other characters the name would be a path, perhaps to another folder.
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Ok(None);
        }
        let unfit = |what| SecretError::Unfit {
            name: name.to_owned(),
            what,
        };
        let text = match (self.variable)(&format!("{PREFIX}{name}")) {
            Some(text) => text.into_string().map_err(|_| unfit("not UTF-8"))?,
            None => match self.bytes_of_file(name)? {
                Some(bytes) if bytes.len() > MAX_SECRET => return Err(unfit("larger than 64 KiB")),
                Some(bytes) => String::from_utf8(bytes).map_err(|_| unfit("not UTF-8"))?,
                None => return Ok(None),
            },
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.len() > MAX_SECRET {
            return Err(unfit("larger than 64 KiB"));
        }
        if text.is_empty() {
            return Ok(None);
        }
        if self.withheld.iter().any(|own| own.expose_secret() == text) {
            return Err(SecretError::Withheld {
                name: name.to_owned(),
            });
        }
        Ok(Some(SecretString::from(text)))
    }

    fn bytes_of_file(&self, name: &str) -> Result<Option<Vec<u8>>, SecretError> {
        let Some(path) = self.folder.as_ref().map(|folder| folder.join(name)) else {
            return Ok(None);
        };
        match read_file(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(SecretError::Unreadable {
                name: name.to_owned(),
                path,
                reason,
            }),
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// The bytes of a file. It reads a little more than a secret may have, so that a longer one is noticed.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Checked before the file is opened, because opening a pipe would wait for a writer.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    warn_of_readers(path, &metadata);
    let mut bytes = Vec::new();
    // Two bytes for the end of the line, and one more to notice a longer secret.
    File::open(path)?
        .take(MAX_SECRET as u64 + 3)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(unix)]
fn warn_of_readers(path: &Path, metadata: &std::fs::Metadata) {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode();
    if mode & 0o007 != 0 {
        tracing::warn!(
            "every user of this machine can read the secret {}; chmod 600 lets its owner alone read it",
            path.display()
        );
    }
}

#[cfg(not(unix))]
fn warn_of_readers(_: &Path, _: &std::fs::Metadata) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(folder: Option<&Path>) -> Secrets {
        Secrets {
            folder: folder.map(Into::into),
            withheld: vec![SecretString::from("xoxb-own")],
            variable: |name| match name {
                "DJANGOBOT_SECRET_FROM_ENV" | "DJANGOBOT_SECRET_BOTH" => Some("env\r\n".into()),
                "DJANGOBOT_SECRET_OWN" => Some("xoxb-own".into()),
                "DJANGOBOT_SECRET_EMPTY" => Some("".into()),
                "DJANGOBOT_SECRET_LARGE" => Some("x".repeat(MAX_SECRET + 1).into()),
                "DJANGOBOT_TOKEN" => Some("a token".into()),
                _ => None,
            },
        }
    }

    fn value(secrets: &Secrets, name: &str) -> Option<String> {
        let secret = secrets.read(name).unwrap();
        secret.map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn a_secret_comes_from_the_environment_or_else_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
        write("BOTH", b"file");
        write("from_file", b"two\nlines\n");
        write("EXACT", &[b'x'; MAX_SECRET]);
        write(".hidden", b"no");
        let secrets = secrets(Some(folder.path()));
        let check = |name: &str, expect: Option<&str>| {
            assert_eq!(value(&secrets, name).as_deref(), expect, "{name}");
        };
        check("FROM_ENV", Some("env"));
        check("BOTH", Some("env"));
        check("from_file", Some("two\nlines"));
        check("EMPTY", None);
        check("MISSING", None);
        check("", None);
        check(".hidden", None);
        check("../secret", None);
        check("/etc/hostname", None);
        assert_eq!(value(&secrets, "EXACT").unwrap().len(), MAX_SECRET);
        write("from_file", b"changed");
        check("from_file", Some("changed"));
    }

    #[test]
    fn the_hosts_own_tokens_are_never_given() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("MINE"), "xoxb-own\n").unwrap();
        let secrets = secrets(Some(folder.path()));
        for name in ["OWN", "MINE"] {
            assert!(matches!(
                secrets.read(name),
                Err(SecretError::Withheld { .. })
            ));
            assert!(secrets.get(name).is_none());
        }
        assert_eq!(value(&secrets, "TOKEN"), None);
        assert_eq!(value(&secrets, "DJANGOBOT_TOKEN"), None);
    }

    #[test]
    fn a_secret_that_can_not_be_given_is_named_without_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join("BINARY"), b"s3cret\xff").unwrap();
        std::fs::write(path.join("TOO_MUCH"), vec![b'x'; MAX_SECRET + 3]).unwrap();
        std::fs::create_dir(path.join("FOLDER")).unwrap();
        let secrets = secrets(Some(path));
        for name in ["BINARY", "TOO_MUCH", "FOLDER", "LARGE"] {
            let told = secrets.read(name).unwrap_err().to_string();
            assert!(told.contains(name) && !told.contains("s3cret"), "{told}");
            assert!(secrets.get(name).is_none());
        }
    }

    #[test]
    fn nothing_is_shown_of_a_secret() {
        let secrets = secrets(None);
        let secret = secrets.get("FROM_ENV").unwrap();
        let shown = format!("{secrets:?} {secret:?}");
        assert!(!shown.contains("env") && !shown.contains("xoxb"), "{shown}");
    }
}
