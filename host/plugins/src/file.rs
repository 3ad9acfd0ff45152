//! Files of plugins. Reading one never waits for a pipe or reads a device without end; replacing one leaves a reader
//! with the old text or the new one, never with half of one.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Opens a file to be read. A pipe, a socket or a device is refused: it may give no byte for ever, or never end.
///
/// # Errors
/// It can't be opened, or is not a file.
pub fn open(path: &Path) -> io::Result<File> {
    // Without this flag, opening a pipe waits until somebody writes into it.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            // A socket answers so when it is opened.
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
/// It can't be read, is not a file, or is longer.
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
/// The errors of [`read`], or its content is not UTF-8.
pub fn read_text(path: &Path, longest: usize) -> io::Result<String> {
    String::from_utf8(read(path, longest)?)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

fn no_file() -> io::Error {
    io::Error::other("it is not a file, but a folder, pipe, socket or device")
}

/// Replaces the content of the file at `path` with `bytes`. The file keeps its permissions, and a link stays a link.
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

/// Writes a new file into the same folder, and renames it to `path`.
fn rename_over(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut made = tempfile::Builder::new();
    {
        use std::os::unix::fs::PermissionsExt;
        // The umask reduces these, as it does for any new file.
        made.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file: NamedTempFile = made.prefix(".djangobot-").tempfile_in(&folder)?;
    file.write_all(bytes)?;
    if let Ok(old) = std::fs::metadata(path) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name survives a loss of power only once its folder is on the disk.
    sync_folder(&folder)
}

/// Syncs a folder, and with it the names of its files, to the disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether the error means that no other file can be renamed to this one: it is a mount point, such as a file that a
/// container gets from its host, or its folder can't be written to.
fn is_fixed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ResourceBusy
            | ErrorKind::CrossesDevices
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
    )
}

/// Writes into the existing file. It is never empty on the way, and a write that fails is undone.
fn write_into(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = std::fs::read(path)?;
    let put = |bytes: &[u8]| {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    put(bytes).inspect_err(|_| {
        // If this fails too, the first error is still the one to report.
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
    fn a_socket_a_pipe_a_device_and_a_file_that_is_too_long_are_not_read() {
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
                error.contains("it is not a file"),
                "{}: {error}",
                path.display()
            );
        }
        assert_eq!(read(&long, 5).unwrap(), b"12345");
        let error = read(&long, 4).unwrap_err().to_string();
        assert!(error.contains("larger than 4 bytes"), "{error}");
    }
}
