//! Files and folders that their owner alone may read: 0600 and 0700, whatever the umask. A symbolic link in the place
//! of one is an error and never followed, since somebody else may have put it there.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The mode of a folder.
pub const FOLDER: u32 = 0o700;
/// The mode of a file.
pub const FILE: u32 = 0o600;

/// The refusal of a symbolic link.
const LINK: &str = "it is a link, and links are not followed here; put a real one in its place";

/// Makes the folder at `path`, and those above it that are missing. An existing folder stays as it is.
///
/// # Errors
/// The system's error, or an error that says that something else is at `path`.
pub fn make_folder(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => return is_folder(&found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(above) = path.parent()
        && !above.as_os_str().is_empty()
        && !above.exists()
    {
        make_folder(above)?;
    }
    match DirBuilder::new().mode(FOLDER).create(path) {
        // The umask may have taken permissions of the owner.
        Ok(()) => set_mode(path, FOLDER),
        // Another process made it in the meantime.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            is_folder(&std::fs::symlink_metadata(path)?)
        }
        Err(error) => Err(error),
    }
}

/// Opens the file at `path` for reading and writing, and creates it if it is missing. Its content stays.
///
/// # Errors
/// The system's error, or an error that says that something else is at `path`.
pub fn open_file(path: &Path) -> io::Result<File> {
    // Without NONBLOCK, opening a pipe that lies there would wait for its other end.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = opened.map_err(|error| match path.is_symlink() {
        true => io::Error::other(LINK),
        false => error,
    })?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if found.permissions().mode() & 0o777 != FILE {
        file.set_permissions(Permissions::from_mode(FILE))?;
    }
    Ok(file)
}

/// Replaces the file at `path` as a whole: a reader finds the old content or the new one. A link there is replaced
/// itself, and the file that it names stays as it is.
///
/// # Errors
/// The system's error.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".djangobot-")
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file()
        .set_permissions(Permissions::from_mode(FILE))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name survives a loss of power only once its folder is on the disk.
    File::open(folder)?.sync_all()
}

/// Gives the file or folder at `path`, which must not be a link, the mode `mode`.
///
/// # Errors
/// The system's error.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

fn is_folder(found: &Metadata) -> io::Result<()> {
    if found.is_dir() {
        return Ok(());
    }
    Err(io::Error::other(match found.is_symlink() {
        true => LINK,
        false => "it is not a folder",
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_its_owner_alone_and_what_is_in_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        make_folder(&deep).unwrap();
        make_folder(&deep).unwrap();
        assert_eq!(
            (mode(&deep), mode(&folder.path().join("a"))),
            (FOLDER, FOLDER)
        );
        let file = deep.join("file");
        std::fs::write(&file, "kept").unwrap();
        set_mode(&file, 0o666).unwrap();
        open_file(&file).unwrap();
        assert_eq!(
            (mode(&file), std::fs::read(&file).unwrap()),
            (FILE, b"kept".to_vec())
        );
        replace(&file, b"new").unwrap();
        assert_eq!(
            (mode(&file), std::fs::read(&file).unwrap()),
            (FILE, b"new".to_vec())
        );
    }

    #[test]
    fn a_link_a_pipe_and_a_folder_are_not_opened_and_a_links_target_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("target"), "theirs").unwrap();
        symlink(at("target"), at("link")).unwrap();
        assert!(
            open_file(&at("link"))
                .unwrap_err()
                .to_string()
                .contains("a link")
        );
        symlink(at("nowhere"), at("dangling")).unwrap();
        assert!(open_file(&at("dangling")).is_err() && !at("nowhere").exists());
        replace(&at("link"), b"ours").unwrap();
        assert_eq!(std::fs::read(at("target")).unwrap(), b"theirs");
        symlink(folder.path(), at("folder-link")).unwrap();
        assert!(make_folder(&at("folder-link")).is_err());
        assert!(
            make_folder(&at("target"))
                .unwrap_err()
                .to_string()
                .contains("not a folder")
        );
        assert!(open_file(folder.path()).is_err());
        let pipe = at("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        assert!(
            open_file(&pipe)
                .unwrap_err()
                .to_string()
                .contains("not a file")
        );
    }
}
