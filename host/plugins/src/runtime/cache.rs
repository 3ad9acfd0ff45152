//! The cache of compiled plugins. Each file begins with a MAC, whose key is a secret in the state folder.
//!
//! Machine code can't be checked before it runs, and a file may be cut short by a loss of power, or written by somebody
//! else. So code is taken from here only if the MAC shows that this host wrote all of it, for this engine and this
//! component. It is read into memory first, where nobody can change it between the check and its use.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, Mac};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use sha2::Sha256;

use crate::digest::Digest;
use crate::private;

/// The file with the secret.
const SECRET: &str = "secret";
/// The extension of the files with compiled code.
const ENDING: &str = "code";
/// The first part of what the MAC covers, so that another use of the secret would give other MACs.
const PURPOSE: &[u8] = b"djangobot compiled plugin 1";
/// Bytes of a MAC and of the secret.
const MAC: usize = 32;
/// The block of SHA-256, in bytes.
const BLOCK: usize = 64;
/// The largest file that is read, in bytes: code and its MAC.
const LONGEST: u64 = 1 << 30;
/// The number of files with code that are kept: versions of plugins come and go, and each has tens of megabytes.
const MOST: usize = 64;
/// The age at which an unfinished file is deleted: by then, whoever wrote it has ended.
const UNFINISHED: Duration = Duration::from_secs(3600);

/// The origin of the code in a file. Code of another key must not be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// The fingerprint of the engine: its version, its settings and the kind of processor.
    pub(crate) engine: Digest,
    /// The digest of the component.
    pub(crate) component: Digest,
}

/// Machine code that this host made: the output of a child that compiled it, or a file of the cache whose MAC is right.
/// `compile::load` relies on there being no other way to make one.
pub(crate) struct Code(Vec<u8>);

impl Code {
    /// The output of a child of this host.
    pub(crate) fn compiled(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The cache, a folder in the state folder.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(crate) fn of(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The code for `key`; `None` if there is none. An error is a clause that says why the file is not used.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Code>, String> {
        let bytes = match read(&self.path(key)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let secret = match self.secret() {
            Ok(Some(secret)) => secret,
            Ok(None) => return Err("the secret of the cache is missing".into()),
            Err(error) => return Err(format!("the secret of the cache can't be used: {error}")),
        };
        let Some((mac, code)) = bytes.split_at_checked(MAC) else {
            return Err("its file is cut short".into());
        };
        match mac_of(&secret, key, code).verify_slice(mac) {
            Ok(()) => Ok(Some(Code(code.to_vec()))),
            Err(_) => Err("its file is not as this host wrote it".into()),
        }
    }

    /// Writes the code of `key`: all of it is on the disk before the file has its name. Deletes the component's code
    /// for other engines, which an upgrade of djangobot left behind.
    pub(crate) fn put(&self, key: &Key, code: &Code) -> io::Result<()> {
        private::make_folder(&self.folder)?;
        let secret = match self.secret() {
            Ok(Some(secret)) => secret,
            Ok(None) | Err(_) => self.new_secret()?,
        };
        let mac = mac_of(&secret, key, code.bytes()).finalize().into_bytes();
        let mut bytes = Vec::with_capacity(MAC + code.bytes().len());
        bytes.extend_from_slice(&mac);
        bytes.extend_from_slice(code.bytes());
        let path = self.path(key);
        private::replace(&path, &bytes)?;
        let others = self.files()?;
        let same = key.component.to_string();
        for (other, _) in &others {
            if *other != path && name_of(other).starts_with(&same) {
                delete(other)?;
            }
        }
        self.keep_newest()
    }

    /// Deletes the code of all other components, and old unfinished files.
    pub(crate) fn keep_only(&self, kept: &BTreeSet<Digest>) -> io::Result<()> {
        let now = SystemTime::now();
        for (path, data) in self.files()? {
            let name = name_of(&path);
            let digest = name.get(..64).and_then(|it| it.parse::<Digest>().ok());
            let is_old = data
                .modified()
                .ok()
                .and_then(|at| now.duration_since(at).ok())
                .is_some_and(|age| age > UNFINISHED);
            let is_useless = match digest {
                Some(digest) => !kept.contains(&digest) || !name.ends_with(ENDING),
                None => {
                    is_old
                        && [".djangobot-", "compiling-"]
                            .iter()
                            .any(|it| name.starts_with(it))
                }
            };
            if is_useless {
                delete(&path)?;
            }
        }
        Ok(())
    }

    fn keep_newest(&self) -> io::Result<()> {
        let mut files = self.files()?;
        files.retain(|(path, _)| name_of(path).ends_with(ENDING));
        files.sort_by_key(|(_, data)| data.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        let over = files.len().saturating_sub(MOST);
        files
            .iter()
            .take(over)
            .try_for_each(|(path, _)| delete(path))
    }

    fn files(&self) -> io::Result<Vec<(PathBuf, Metadata)>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            match std::fs::symlink_metadata(&path) {
                Ok(data) if data.is_dir() => {}
                Ok(data) => files.push((path, data)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn path(&self, key: &Key) -> PathBuf {
        let Key { engine, component } = key;
        self.folder
            .join(format!("{component}-{}.{ENDING}", engine.short()))
    }

    /// The secret, if there is one. One that others may read is an error.
    fn secret(&self) -> io::Result<Option<[u8; MAC]>> {
        let bytes = match read(&self.folder.join(SECRET)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        bytes
            .try_into()
            .map(Some)
            .map_err(|_| io::Error::other("it does not have 32 bytes"))
    }

    /// Makes a new secret. Files with MACs by an old one are no longer valid, and are compiled again.
    fn new_secret(&self) -> io::Result<[u8; MAC]> {
        let secret: [u8; MAC] = rand::random();
        private::replace(&self.folder.join(SECRET), &secret)?;
        Ok(secret)
    }
}

fn mac_of(secret: &[u8; MAC], key: &Key, code: &[u8]) -> Hmac<Sha256> {
    // HMAC pads a key with zeros up to the block of the hash; a key of that length can be passed without a check.
    let mut block = [0; BLOCK];
    block[..MAC].copy_from_slice(secret);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    // All parts but the last have a fixed length, so that two different inputs never make the same bytes.
    for part in [PURPOSE, key.engine.bytes(), key.component.bytes(), code] {
        mac.update(part);
    }
    mac
}

/// Reads a file, if nobody else can have written it.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = opened.map_err(|error| match path.is_symlink() {
        true => io::Error::other("it is a link"),
        false => error,
    })?;
    let data = file.metadata()?;
    let wrong = if !data.is_file() {
        "it is not a file"
    } else if data.uid() != geteuid().as_raw() {
        "it belongs to another user"
    } else if data.mode() & 0o077 != 0 {
        "others may read or write it"
    } else if data.nlink() != 1 {
        "it has a second name"
    } else if data.len() > LONGEST {
        "it is too large"
    } else {
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes)?;
        return Ok(bytes);
    };
    Err(io::Error::other(wrong))
}

fn delete(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn name_of(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(component: &str) -> Key {
        Key {
            engine: Digest::of(b"engine"),
            component: Digest::of(component.as_bytes()),
        }
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::of(folder.path().join("cache"));
        (folder, cache)
    }

    fn put(cache: &Cache, component: &str) -> PathBuf {
        let code = Code::compiled(vec![7; 10_000]);
        cache.put(&key(component), &code).unwrap();
        cache.path(&key(component))
    }

    #[test]
    fn code_is_read_again_and_any_change_of_its_file_is_noticed() {
        let (_folder, cache) = cache();
        assert!(cache.get(&key("a")).unwrap().is_none());
        let path = put(&cache, "a");
        let good = std::fs::read(&path).unwrap();
        let got = cache.get(&key("a")).unwrap().unwrap();
        assert_eq!(got.bytes(), [7; 10_000]);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        let mut zeroed = good.clone();
        zeroed[4096..8192].fill(0);
        let mut flipped = good.clone();
        flipped[9_000] ^= 1;
        let mut longer = good.clone();
        longer.push(0);
        let spoilt = [
            zeroed,
            flipped,
            longer,
            good[..5_000].to_vec(),
            good[..9].to_vec(),
            vec![],
        ];
        for bytes in spoilt {
            std::fs::write(&path, bytes).unwrap();
            assert!(cache.get(&key("a")).is_err());
        }
        // The file of another plugin, or of the same one for another engine, lies under this name.
        let other = put(&cache, "b");
        std::fs::copy(&other, &path).unwrap();
        assert!(cache.get(&key("a")).is_err());
        std::fs::write(&path, &good).unwrap();
        let engine = Digest::of(b"another engine");
        let key_of_other = Key { engine, ..key("a") };
        std::fs::copy(&path, cache.path(&key_of_other)).unwrap();
        assert!(cache.get(&key_of_other).is_err());
        assert!(cache.get(&key("a")).is_ok());
    }

    #[test]
    fn files_that_others_could_have_written_are_not_taken() {
        let (folder, cache) = cache();
        let path = put(&cache, "a");
        let check = |expect: &str| {
            let error = cache.get(&key("a")).err().unwrap();
            assert!(error.contains(expect), "{error}");
        };
        let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
        mode(&path, 0o666).unwrap();
        check("others may");
        mode(&path, 0o600).unwrap();
        let (second, moved) = (folder.path().join("second"), folder.path().join("moved"));
        std::fs::hard_link(&path, &second).unwrap();
        check("a second name");
        std::fs::remove_file(&second).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &path).unwrap();
        check("a link");
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&moved, &path).unwrap();
        assert!(cache.get(&key("a")).unwrap().is_some());
        let secret = cache.folder.join(SECRET);
        mode(&secret, 0o644).unwrap();
        check("the secret of the cache");
        // Others may know the secret, so that a new one is made.
        put(&cache, "b");
        check("not as this host wrote it");
        std::fs::remove_file(&secret).unwrap();
        check("the secret of the cache is missing");
        put(&cache, "a");
        assert!(cache.get(&key("a")).unwrap().is_some());
    }

    #[test]
    fn code_of_other_components_is_deleted_and_the_number_of_files_is_bounded() {
        let (_folder, cache) = cache();
        let (a, b) = (put(&cache, "a"), put(&cache, "b"));
        let old_form = cache
            .folder
            .join(format!("{}-0123.cwasm", key("a").component));
        std::fs::write(&old_form, "").unwrap();
        let unfinished = cache.folder.join(".djangobot-x");
        std::fs::write(&unfinished, "").unwrap();
        let kept = BTreeSet::from([key("a").component]);
        cache.keep_only(&kept).unwrap();
        assert!(a.exists() && unfinished.exists());
        assert!(!b.exists() && !old_form.exists());
        let long_ago = SystemTime::now() - 2 * UNFINISHED;
        let file = File::options().write(true).open(&unfinished).unwrap();
        file.set_modified(long_ago).unwrap();
        cache.keep_only(&kept).unwrap();
        assert!(!unfinished.exists());
        for n in 0..MOST + 3 {
            put(&cache, &n.to_string());
        }
        let files = cache.files().unwrap();
        assert_eq!(files.len(), MOST + 1, "and the secret");
    }
}
