//! Files of plugins: read without waiting for what never ends, and replaced whole, so that a reader finds the old text or
//! the new one, never half of one.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Opens a file to be read. What is no file is an error: a pipe, a socket or a device may never give a word or never end.
///
/// # Errors
/// It can't be opened, or is no file.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening a pipe waits for whoever writes into it, unless told otherwise.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            // What a socket answers to being opened.
            Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => no_file(),
            _ => error,
        })?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(no_file()),
    }
}

/// Reads a whole file of at most `longest` bytes.
///
/// # Errors
/// It can't be read, is no file, or is longer.
pub fn read(path: &Path, longest: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?
        .take(longest as u64 + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() <= longest {
        true => Ok(bytes),
        false => Err(io::Error::other(format!(
            "it is larger than {longest} bytes"
        ))),
    }
}

/// As [`read`], for a text.
///
/// # Errors
/// As [`read`], or it is no UTF-8.
pub fn read_text(path: &Path, longest: usize) -> io::Result<String> {
    String::from_utf8(read(path, longest)?)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no UTF-8 text"))
}

fn no_file() -> io::Error {
    io::Error::other("it is no file, but a folder, pipe, socket or device")
}

/// Puts `bytes` in the place of the file at `path`. A file that is there keeps its permissions; a link stays a link.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Renaming over a link would leave its target as it was, which is the file that the operator meant.
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    match rename_over(&path, bytes) {
        Err(error) if is_fixed(&error) && path.is_file() => write_into(&path, bytes),
        done => done,
    }
}

/// Writes a file beside the one at `path`, and gives it that one's name.
fn rename_over(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut made = tempfile::Builder::new();
    {
        use std::os::unix::fs::PermissionsExt;
        // The umask takes away from these as from any new file's.
        made.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file: NamedTempFile = made.prefix(".djangobot-").tempfile_in(&folder)?;
    file.write_all(bytes)?;
    if let Ok(old) = std::fs::metadata(path) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    // So that the new name outlives a loss of power too.
    sync_folder(&folder)
}

/// Brings the names in a folder to the disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether the file's name can't be given to another one: it is a mount point, as a file that a container has from its host
/// is, or its folder can't be written to.
fn is_fixed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ResourceBusy
            | ErrorKind::CrossesDevices
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
    )
}

/// Writes into the file that is there. It is never empty on the way, and what can't be finished is undone.
fn write_into(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = std::fs::read(path)?;
    let put = |bytes: &[u8]| {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    put(bytes).inspect_err(|_| {
        // It fails as the first did, or has room for what was there before.
        let _ = put(&old);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_is_replaced_keeps_its_permissions_and_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new");
        assert!(link.is_symlink());
        let mode = std::fs::metadata(&real).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Nothing else is left behind.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_whose_name_is_fixed_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("djangobot.toml");
        for text in ["short", "a much longer text than before", ""] {
            std::fs::write(&path, "what was there").unwrap();
            write_into(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert!(is_fixed(&io::Error::from(ErrorKind::ResourceBusy)));
        assert!(!is_fixed(&io::Error::from(ErrorKind::StorageFull)));
    }

    #[test]
    fn what_is_no_file_or_too_long_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, long) = (folder.path().join("socket"), folder.path().join("long"));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::fs::write(&long, "12345").unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [folder.path(), &socket, &pipe, Path::new("/dev/zero")] {
            let error = read(path, 4).unwrap_err().to_string();
            assert!(
                error.contains("it is no file"),
                "{}: {error}",
                path.display()
            );
        }
        assert_eq!(read(&long, 5).unwrap(), b"12345");
        let error = read(&long, 4).unwrap_err().to_string();
        assert!(error.contains("larger than 4 bytes"), "{error}");
    }
}
