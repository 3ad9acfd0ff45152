//! The digest of a component's sources. Builds differ by machine and compiler, and sources do not: two machines with
//! the same lock and the same sources have the same plugin.
//!
//! The digest covers all files that a build is known to read: those that the compiler names, in the plugin and in the
//! packages that it uses by a path, with their manifests; all files of a package with a build script, which may read
//! any of them; and the manifest and lock of the workspace. The place of these files makes no difference.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::file;
use crate::manifest::MANIFEST_FILE;

/// The files that cargo reads in the plugin's folder and in that of its workspace.
const CARGOS: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    ".cargo/config",
    "rust-toolchain.toml",
    "rust-toolchain",
];
/// The manifest of a package.
const PACKAGE: &str = "Cargo.toml";
const BUILD_SCRIPT: &str = "build.rs";
/// The folder of the standard library's sources, which a build may compile. They come with the compiler, and are left
/// out.
const STD: &str = "/lib/rustlib/src/";
/// The folder with a package's build output.
const OUTPUT: &str = "target";
/// The largest number of files.
const MAX_FILES: usize = 20_000;
/// The largest file, in bytes.
const MAX_SIZE: usize = 64 << 20;

/// The digest of the files that the build of the plugin in `folder` read. Its workspace is at `root`.
///
/// `dep_info` is the file in which cargo lists the files that the compiler read. Files in `target` are left out, since
/// the build made them.
pub(super) fn digest(
    folder: &Path,
    root: &Path,
    target: &Path,
    dep_info: &Path,
) -> io::Result<Digest> {
    let named = file::read_text(dep_info, MAX_SIZE)?;
    let mut files: BTreeSet<PathBuf> = read_by_compiler(&named)
        .map(|path| folder.join(path))
        .filter(|path| !path.starts_with(target) && !path.to_string_lossy().contains(STD))
        .collect();
    let mut packages: BTreeSet<PathBuf> = files.iter().filter_map(|path| package(path)).collect();
    packages.insert(folder.to_owned());
    for package in &packages {
        files.insert(package.join(PACKAGE));
        if package.join(BUILD_SCRIPT).is_file() {
            gather(package, &mut files)?;
        }
    }
    let cargos = [folder, root].map(|folder| CARGOS.iter().map(|name| folder.join(name)));
    files.extend(cargos.into_iter().flatten().filter(|path| path.is_file()));
    files.insert(folder.join(MANIFEST_FILE));
    if files.len() > MAX_FILES {
        return Err(too_many());
    }
    let mut names = BTreeMap::new();
    let mut parts = Vec::with_capacity(files.len());
    for path in &files {
        let content = Digest::of(&file::read(path, MAX_SIZE)?);
        parts.push((name(path, &mut names), content));
    }
    Ok(combined(parts))
}

/// The digest of all files in `folders`, by their paths within them.
pub(super) fn of_folders(folders: &[&Path]) -> io::Result<Digest> {
    let mut parts = Vec::new();
    for (at, folder) in folders.iter().enumerate() {
        let mut files = BTreeSet::new();
        gather(folder, &mut files)?;
        for path in files {
            let within = path.strip_prefix(folder).unwrap_or(&path);
            let name = format!("{at}/{}", within.to_string_lossy());
            parts.push((name, Digest::of(&file::read(&path, MAX_SIZE)?)));
        }
    }
    Ok(combined(parts))
}

/// One digest of named parts, whatever their order.
fn combined(mut parts: Vec<(String, Digest)>) -> Digest {
    parts.sort();
    let mut all = Sha256::new();
    for (name, content) in parts {
        all.update((name.len() as u64).to_le_bytes());
        all.update(name);
        all.update(content.bytes());
    }
    Digest::finish(all)
}

/// The files in a line `OUTPUT: FILE FILE ...`, in which a space within a name has a backslash before it.
fn read_by_compiler(dep_info: &str) -> impl Iterator<Item = PathBuf> {
    let line = dep_info.lines().next().unwrap_or_default();
    let (_, files) = line.split_once(": ").unwrap_or_default();
    let mut paths = Vec::new();
    let mut path = String::new();
    for part in files.split(' ') {
        match part.strip_suffix('\\') {
            Some(start) => {
                path.push_str(start);
                path.push(' ');
            }
            None => {
                path.push_str(part);
                paths.push(std::mem::take(&mut path));
            }
        }
    }
    paths
        .into_iter()
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// The folder of the package, or workspace, to which a file belongs.
fn package(path: &Path) -> Option<PathBuf> {
    let folders = path.ancestors().skip(1);
    let mut packages = folders.filter(|folder| folder.join(PACKAGE).is_file());
    packages.next().map(Path::to_owned)
}

/// A file's path within its package, after the package's name. It is the same wherever the package lies.
fn name(path: &Path, names: &mut BTreeMap<PathBuf, String>) -> String {
    let Some(folder) = package(path) else {
        return path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
    };
    let within = path.strip_prefix(&folder).unwrap_or(path).to_string_lossy();
    let package = names
        .entry(folder.clone())
        .or_insert_with(|| package_name(&folder).unwrap_or_default());
    format!("{package}/{within}")
}

/// The name of the package in a folder. A workspace's manifest may have none.
fn package_name(folder: &Path) -> Option<String> {
    let text = file::read_text(&folder.join(PACKAGE), MAX_SIZE).ok()?;
    let manifest: toml::Table = text.parse().ok()?;
    Some(manifest.get("package")?.get("name")?.as_str()?.to_owned())
}

/// Collects all files of a package, except for hidden ones, build output, and components that were built from it.
fn gather(folder: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if files.len() > MAX_FILES {
            return Err(too_many());
        }
        match entry.file_type()? {
            _ if name.starts_with('.') || name == OUTPUT || name.ends_with(".wasm") => {}
            kind if kind.is_dir() => gather(&path, files)?,
            kind if kind.is_file() || path.is_file() => {
                files.insert(path);
            }
            _ => {}
        }
    }
    Ok(())
}

fn too_many() -> io::Error {
    io::Error::other(format!("its sources have more than {MAX_FILES} files"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[(&str, &str)] = &[
        ("ws/Cargo.toml", "[workspace]\nmembers = [\"a\"]\n"),
        ("ws/Cargo.lock", "version = 4\n"),
        ("ws/a/Cargo.toml", "[package]\nname = \"a\"\n"),
        ("ws/a/plugin.toml", "name = \"a\"\n"),
        ("ws/a/src/lib.rs", "fn a() {}\n"),
        ("ws/a/src/with space.rs", "fn b() {}\n"),
        ("sdk/Cargo.toml", "[package]\nname = \"sdk\"\n"),
        ("sdk/build.rs", "fn main() {}\n"),
        ("sdk/src/lib.rs", "fn sdk() {}\n"),
        ("sdk/data/table.txt", "1\n"),
        ("shared.txt", "text\n"),
    ];
    const READ: &[&str] = &[
        "ws/a/src/lib.rs",
        "ws/a/src/with\\ space.rs",
        "sdk/src/lib.rs",
        "shared.txt",
        "target/out/made.rs",
    ];

    /// The digest of sources in a folder of their own, after `change` was made to them.
    fn digest_with(change: impl Fn(&Path)) -> Digest {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let made = [("target/out/made.rs", "made"), ("target/a.d", "")];
        for (name, text) in FILES.iter().chain(&made) {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let read: String = READ
            .iter()
            .map(|name| format!(" {}/{name}", root.display()))
            .collect();
        std::fs::write(root.join("target/a.d"), format!("a.wasm:{read}\n")).unwrap();
        change(root);
        let at = |name: &str| root.join(name);
        digest(&at("ws/a"), &at("ws"), &at("target"), &at("target/a.d")).unwrap()
    }

    #[test]
    fn the_same_sources_are_the_same_wherever_they_lie_and_others_are_others() {
        let same = digest_with(|_| {});
        let check = |name: &str, is_same: bool| {
            let digest = digest_with(|root| {
                std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
                std::fs::write(root.join(name), "another\n").unwrap();
            });
            assert_eq!(digest == same, is_same, "{name}");
        };
        for (name, _) in FILES
            .iter()
            .filter(|(name, _)| !name.ends_with("Cargo.toml"))
        {
            check(name, false);
        }
        check("sdk/data/more.txt", false);
        check("ws/a/.cargo/config.toml", false);
        check("target/out/made.rs", true);
        check("ws/a/notes.txt", true);
        check("ws/a/a.wasm", true);
        check("sdk/.git/index", true);
        check("sdk/target/x", true);
        // What is in which file makes a difference.
        let swapped = digest_with(|root| {
            std::fs::write(root.join("ws/a/src/lib.rs"), "fn b() {}\n").unwrap();
            std::fs::write(root.join("ws/a/src/with space.rs"), "fn a() {}\n").unwrap();
        });
        assert_ne!(swapped, same);
    }
}
