//! Finds or makes the state folder, and makes sure that it is ours alone. Every command opens it here.
//!
//! A user who can write to it can make djangobot send messages, run code (compiled plugins lie in it) and overwrite
//! files; a user who can read it can read messages and tokens. So its owner is the user that we run as, its mode is
//! 0700, and none of our files in it is a link or belongs to another user.

use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use djangobot_plugins::private;
use miette::Diagnostic;
use rustix::process::{getegid, geteuid, getgroups};
use thiserror::Error;

#[cfg(test)]
mod tests;

/// The name of our own folder within one that we share with other programs.
const WITHIN: &str = ".djangobot";
/// Our files in the folder. Files that begin with such a name and `-` or `.` are ours too, such as `state.db-wal`.
const FILES: [&str; 6] = [
    "control.sock",
    "lock",
    "outbox.complete",
    "plugins.db",
    "state.db",
    ".gitignore",
];
const FOLDERS: [&str; 3] = ["cache", "dev", "plugins"];
/// Folders that file systems put at the root of a volume. They are nobody's, so that such a volume still counts as ours
/// alone.
const OF_THE_SYSTEM: [&str; 1] = ["lost+found"];

/// The state folder can't be used.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum FolderError {
    #[error("there is no state folder {}", .0.display())]
    #[diagnostic(help(
        "djangobot makes it when it first runs. To use the state of another bridge, name its config file with -c, or its state folder with --state-dir"
    ))]
    Missing(PathBuf),
    #[error("{} belongs to {owner}, and djangobot runs as {us}", path.display())]
    #[diagnostic(help(
        "run djangobot as {owner}; or give the folder with all its content to {us}: chown -R {uid} {}; or choose another folder with --state-dir",
        folder.display()
    ))]
    Foreign {
        path: PathBuf,
        folder: PathBuf,
        owner: String,
        us: String,
        uid: u32,
    },
    #[error("everybody can write to the state folder {} (its mode is {mode:03o})", path.display())]
    #[diagnostic(help(
        "check that nobody has put anything there, then: chmod 700 {0}; if others need the folder too, as on a volume for several users, name a folder within it: --state-dir {0}/djangobot",
        path.display()
    ))]
    Open { path: PathBuf, mode: u32 },
    #[error("{} is a link, and djangobot follows no links in its state folder", .0.display())]
    #[diagnostic(help("delete it: rm {}", .0.display()))]
    Link(PathBuf),
    #[error("{} is not a {expected}", path.display())]
    #[diagnostic(help(
        "rename it, so that djangobot can make the {expected}, or choose another folder with --state-dir"
    ))]
    Odd {
        path: PathBuf,
        expected: &'static str,
    },
    #[error("djangobot can't keep its state in {}: {reason}", path.display())]
    Unusable {
        path: PathBuf,
        reason: io::Error,
        #[help]
        help: String,
    },
}

/// Opens the state folder at `path`, and makes it if it is missing. Returns the folder in use: it is `path`, or if
/// other programs use that one too, a folder of our own within it.
pub(crate) fn open(path: &Path) -> Result<PathBuf, FolderError> {
    look(path, true)
}

/// Opens the state folder like [`open`], but does not make one. For commands that only look at a state.
pub(crate) fn find(path: &Path) -> Result<PathBuf, FolderError> {
    look(path, false)
}

fn look(path: &Path, make: bool) -> Result<PathBuf, FolderError> {
    let us = ProcessUser::now();
    // The folder itself may be a link if it is ours or root's: nobody else can then point it elsewhere.
    match std::fs::symlink_metadata(path) {
        Ok(link) if link.is_symlink() && ![0, us.uid].contains(&link.uid()) => {
            return Err(us.foreign(path, path, link.uid()));
        }
        _ => {}
    }
    let found = folder_at(path, make)?;
    if judge(path, &Rights::from(&found), &us)? == Ownership::Shared {
        return within(path, make, &us);
    }
    let content = FolderContent::read(path)?;
    let open_to_others = found.mode() & 0o077 != 0;
    if open_to_others && content.has_others && !content.has_state {
        return within(path, make, &us);
    }
    if content.has_others && open_to_others {
        tracing::warn!(
            "the state folder {} has files of other programs too, so djangobot leaves its mode {:03o} as it is; give the state a folder of its own with --state-dir",
            path.display(),
            found.mode() & 0o777
        );
    }
    tend(path, &content, !content.has_others, &us)
}

/// Opens our own folder within one that other programs use too.
fn within(shared: &Path, make: bool, us: &ProcessUser) -> Result<PathBuf, FolderError> {
    let path = shared.join(WITHIN);
    if path.is_symlink() {
        return Err(FolderError::Link(path));
    }
    let found = folder_at(&path, make)?;
    if found.uid() != us.uid {
        return Err(us.foreign(&path, &path, found.uid()));
    }
    judge(&path, &Rights::from(&found), us)?;
    tracing::debug!("the state is in {}", path.display());
    tend(&path, &FolderContent::read(&path)?, true, us)
}

fn folder_at(path: &Path, make: bool) -> Result<Metadata, FolderError> {
    let unusable = |reason| FolderError::of(path, reason);
    let found = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
            private::make_folder(path).map_err(unusable)?;
            std::fs::metadata(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FolderError::Missing(path.to_owned()));
        }
        found => found,
    };
    let found = found.map_err(unusable)?;
    match found.is_dir() {
        true => Ok(found),
        false => Err(FolderError::Odd {
            path: path.to_owned(),
            expected: "folder",
        }),
    }
}

/// Makes the folder and our files in it private.
///
/// # Errors
/// One of our files is a link, belongs to another user, or is of a wrong kind.
fn tend(
    path: &Path,
    content: &FolderContent,
    is_ours_alone: bool,
    us: &ProcessUser,
) -> Result<PathBuf, FolderError> {
    let unusable = |reason| FolderError::of(path, reason);
    if is_ours_alone {
        restrict(path, private::FOLDER)?;
        let ignore = path.join(".gitignore");
        if std::fs::symlink_metadata(&ignore).is_err() {
            private::replace(&ignore, b"*\n").map_err(unusable)?;
        }
    }
    for entry in &content.files {
        tend_file(path, &entry.path(), us)?;
    }
    for entry in &content.folders {
        let folder = entry.path();
        let Some(found) = owned(path, &folder, us)? else {
            continue;
        };
        if !found.is_dir() {
            return Err(FolderError::Odd {
                path: folder,
                expected: "folder",
            });
        }
        restrict(&folder, private::FOLDER)?;
        let entries = std::fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in entries.map_err(|reason| FolderError::of(&folder, reason))? {
            let inner = entry.path();
            match entry.file_type() {
                // Nobody else can reach anything deeper once this folder's mode is 0700.
                Ok(kind) if kind.is_dir() => {
                    if owned(path, &inner, us)?.is_some() {
                        restrict(&inner, private::FOLDER)?;
                    }
                }
                _ => tend_file(path, &inner, us)?,
            }
        }
    }
    Ok(path.to_owned())
}

fn tend_file(folder: &Path, path: &Path, us: &ProcessUser) -> Result<(), FolderError> {
    let Some(found) = owned(folder, path, us)? else {
        return Ok(());
    };
    let kind = found.file_type();
    match kind.is_file() || kind.is_socket() {
        true => restrict(path, private::FILE),
        false => Err(FolderError::Odd {
            path: path.to_owned(),
            expected: "file",
        }),
    }
}

/// Reads the metadata of our file at `path` in `folder`. `None` if it was deleted meanwhile, as a running host does
/// with some of its files.
///
/// # Errors
/// It is a link, or belongs to another user.
fn owned(folder: &Path, path: &Path, us: &ProcessUser) -> Result<Option<Metadata>, FolderError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Err(FolderError::Link(path.to_owned())),
        Ok(found) if found.uid() != us.uid => Err(us.foreign(path, folder, found.uid())),
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(FolderError::of(path, reason)),
    }
}

/// Takes all rights to `path` from other users. The owner's rights to a file stay as they are: an operator may have
/// made it read-only.
fn restrict(path: &Path, most: u32) -> Result<(), FolderError> {
    let restricted = std::fs::symlink_metadata(path).and_then(|found| {
        let mode = found.mode() & 0o7777;
        let wanted = match found.is_dir() {
            true => most,
            false => mode & 0o700,
        };
        match mode == wanted {
            true => Ok(()),
            false => private::set_mode(path, wanted),
        }
    });
    match restricted {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FolderError::of(path, error)),
        _ => Ok(()),
    }
}

/// The entries of a folder.
struct FolderContent {
    /// Our files.
    files: Vec<DirEntry>,
    /// Our folders.
    folders: Vec<DirEntry>,
    /// Whether a state is there, and not only names such as `lock` that other programs use too.
    has_state: bool,
    /// Whether there are entries that are not ours.
    has_others: bool,
}

impl FolderContent {
    fn read(path: &Path) -> Result<Self, FolderError> {
        let unusable = |reason| FolderError::of(path, reason);
        let mut content = Self {
            files: Vec::new(),
            folders: Vec::new(),
            has_state: false,
            has_others: false,
        };
        for entry in std::fs::read_dir(path).map_err(unusable)? {
            let entry = entry.map_err(unusable)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_of = |own: &str| {
                let rest = name.strip_prefix(own);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
            };
            content.has_state |= ["state.db", "plugins.db"].contains(&&*name);
            if FILES.iter().any(|own| is_of(own)) || name.starts_with(".djangobot-") {
                content.files.push(entry);
            } else if FOLDERS.contains(&&*name) {
                content.folders.push(entry);
            } else if !OF_THE_SYSTEM.contains(&&*name) {
                content.has_others = true;
            }
        }
        Ok(content)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ownership {
    /// The folder belongs to us.
    Ours,
    /// It belongs to root, and our group may write to it, as with a container's volume.
    Shared,
}

fn judge(path: &Path, rights: &Rights, us: &ProcessUser) -> Result<Ownership, FolderError> {
    let &Rights { owner, group, mode } = rights;
    if ![0, us.uid].contains(&owner) {
        return Err(us.foreign(path, path, owner));
    }
    if mode & 0o002 != 0 {
        return Err(FolderError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    if owner == us.uid {
        return Ok(Ownership::Ours);
    }
    match mode & 0o020 != 0 && us.groups.contains(&group) {
        true => Ok(Ownership::Shared),
        false => Err(us.foreign(path, path, owner)),
    }
}

/// The owner, group and mode of a folder.
struct Rights {
    owner: u32,
    group: u32,
    mode: u32,
}

impl From<&Metadata> for Rights {
    fn from(found: &Metadata) -> Self {
        Self {
            owner: found.uid(),
            group: found.gid(),
            mode: found.mode() & 0o777,
        }
    }
}

/// The user and the groups that this process runs as.
struct ProcessUser {
    uid: u32,
    groups: Vec<u32>,
}

impl ProcessUser {
    fn now() -> Self {
        let mut groups = vec![getegid().as_raw()];
        groups.extend(
            getgroups()
                .into_iter()
                .flatten()
                .map(|group| group.as_raw()),
        );
        Self {
            uid: geteuid().as_raw(),
            groups,
        }
    }

    fn foreign(&self, path: &Path, folder: &Path, owner: u32) -> FolderError {
        FolderError::Foreign {
            path: path.to_owned(),
            folder: folder.to_owned(),
            owner: user(owner),
            us: user(self.uid),
            uid: self.uid,
        }
    }
}

impl FolderError {
    /// Gives an error of the system about `path` its cure.
    pub(crate) fn of(path: &Path, reason: io::Error) -> Self {
        let help = match reason.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "{}; give that user the right to write there, or choose another folder with --state-dir",
                owner_of(path)
            ),
            _ => "with --state-dir or DJANGOBOT_STATE_DIR, name a folder that djangobot can make or write to"
                .to_owned(),
        };
        Self::Unusable {
            path: path.to_owned(),
            reason,
            help,
        }
    }
}

/// Describes the owner of `path`, or of the nearest folder above it that exists: "/srv belongs to root (mode 755), and
/// djangobot runs as app".
pub(super) fn owner_of(path: &Path) -> String {
    let us = user(geteuid().as_raw());
    let found = path.ancestors().find_map(|at| {
        let at = if at.as_os_str().is_empty() {
            Path::new(".")
        } else {
            at
        };
        Some((at, std::fs::symlink_metadata(at).ok()?))
    });
    match found {
        Some((at, found)) => format!(
            "{} belongs to {} (mode {:03o}), and djangobot runs as {us}",
            at.display(),
            user(found.uid()),
            found.mode() & 0o777
        ),
        None => format!("djangobot runs as {us}"),
    }
}

/// A user's name and number, from `/etc/passwd`.
fn user(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    match name {
        Some(name) => format!("{name} (user {uid})"),
        None => format!("user {uid}"),
    }
}
