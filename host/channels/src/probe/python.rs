//! Finds the Python that a project runs on.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::probe::error::ProbeError;

/// The usual names of virtualenvs in a project's folder.
const VIRTUALENVS: [&str; 3] = [".venv", "venv", "env"];
/// How many folders above the project's are searched.
const PARENTS: usize = 8;
/// How many of the searched places an error names.
const SHOWN: usize = 4;

/// The Python that was asked for, or the first of the usual places.
///
/// The path is absolute, because the script runs in the project's folder.
pub(super) fn find(asked: Option<&Path>, directory: &Path) -> Result<PathBuf, ProbeError> {
    let path = env::var_os("PATH").unwrap_or_default();
    match asked {
        Some(asked) => named(asked, &path),
        None => usual(directory, env::var_os("VIRTUAL_ENV").as_deref(), &path),
    }
}

/// The interpreter for `asked`, which is the path of an interpreter, the folder of a virtualenv, or the name of a
/// program.
fn named(asked: &Path, path: &OsStr) -> Result<PathBuf, ProbeError> {
    let is_name = asked.components().count() == 1 && !asked.exists();
    let found = if is_name {
        on_path(asked.as_os_str(), path)
    } else if asked.is_dir() {
        interpreter(asked)
    } else {
        Some(asked.to_owned()).filter(|asked| asked.exists())
    };
    found
        .and_then(absolute)
        .ok_or_else(|| ProbeError::NoPython {
            searched: vec![asked.to_owned()],
        })
}

fn usual(
    directory: &Path,
    virtualenv: Option<&OsStr>,
    path: &OsStr,
) -> Result<PathBuf, ProbeError> {
    let active = virtualenv
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from);
    // A project below a repository's folder often has its virtualenv there.
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let around = directory.ancestors().take(PARENTS + 1);
    let folders: Vec<_> = active
        .into_iter()
        .chain(around.flat_map(|folder| VIRTUALENVS.map(|name| folder.join(name))))
        .collect();
    let in_folders = folders.iter().find_map(|folder| interpreter(folder));
    let found = in_folders
        .or_else(|| on_path("python3".as_ref(), path))
        .or_else(|| on_path("python".as_ref(), path));
    found
        .and_then(absolute)
        .ok_or_else(|| ProbeError::NoPython {
            searched: folders
                .into_iter()
                .take(SHOWN)
                .chain([
                    PathBuf::from("python3 on PATH"),
                    PathBuf::from("python on PATH"),
                ])
                .collect(),
        })
}

/// The interpreter of a virtualenv. Its link is not followed, because Python recognises the virtualenv by the link.
fn interpreter(virtualenv: &Path) -> Option<PathBuf> {
    Some(virtualenv.join("bin/python")).filter(|python| python.exists())
}

fn on_path(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn absolute(path: PathBuf) -> Option<PathBuf> {
    std::path::absolute(path).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Makes empty files below a new folder.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        folder
    }

    #[test]
    fn the_active_virtualenv_comes_before_the_projects_and_path_last() {
        let all = [
            "active/bin/python",
            ".venv/bin/python",
            "venv/bin/python",
            "path/python3",
            "path/python",
        ];
        for first in 0..all.len() {
            let folder = folder(&all[first..]);
            let at = |file: &str| folder.path().join(file);
            let found = usual(
                folder.path(),
                Some(at("active").as_os_str()),
                at("path").as_os_str(),
            );
            assert_eq!(found.unwrap(), at(all[first]));
        }
    }

    #[test]
    fn a_virtualenv_is_looked_for_in_the_folders_around_too() {
        let none = OsStr::new("");
        for name in VIRTUALENVS {
            let python = format!("{name}/bin/python");
            let folder = folder(&[&python, "src/site/manage.py"]);
            let project = folder.path().join("src/site");
            assert_eq!(
                usual(&project, None, none).unwrap(),
                folder.path().join(&python)
            );
        }
        // The nearest virtualenv is used; a folder with such a name that is not a virtualenv is ignored.
        let folder = folder(&[".venv/bin/python", "src/env/bin/python", "src/venv/notes"]);
        let project = folder.path().join("src");
        assert_eq!(
            usual(&project, None, none).unwrap(),
            project.join("env/bin/python")
        );
    }

    #[test]
    fn without_any_python_the_places_are_named() {
        let folder = folder(&[]);
        let error = usual(folder.path(), None, OsStr::new(""))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(".venv") && error.contains("python3 on PATH"),
            "{error}"
        );
    }

    #[test]
    fn a_python_is_asked_for_by_file_virtualenv_or_name() {
        let folder = folder(&["env/bin/python", "path/python3.99"]);
        let at = |file: &str| folder.path().join(file);
        let path = at("path");
        let check = |asked: &Path, expect: Option<&str>| {
            assert_eq!(
                named(asked, path.as_os_str()).ok(),
                expect.map(&at),
                "{}",
                asked.display()
            );
        };
        check(&at("env/bin/python"), Some("env/bin/python"));
        check(&at("env"), Some("env/bin/python"));
        check(Path::new("python3.99"), Some("path/python3.99"));
        check(Path::new("python3.98"), None);
        check(&at("path"), None);
        check(&at("none/bin/python"), None);
    }
}
