//! The plugins that ship with djangobot: beside an installed program as components, in a clone as folders that are built.

use std::path::{Path, PathBuf};

use url::Url;

/// Their names.
pub const NAMES: &[&str] = &[
    "ignore-self",
    "mentions",
    "mrkdwn",
    "redact",
    "resolve-names",
];
/// Where an installed program has their components, from its own folder: a wheel and an archive can both put them there.
const COMPONENTS: &str = "../share/djangobot/plugins";
/// A file that a clone has, and hardly anything else.
const CLONE: &str = "host/djangobot/Cargo.toml";

/// A plugin that ships and is not on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} ships with djangobot, and is not here: there is no {}, and this program lies in no clone of its source and was not \
     installed from one that is still there; install djangobot with its plugins, or by `cargo install --locked --path \
     host/djangobot` from a clone that stays, or build the plugin's folder where the source is and add the file: \
     `djangobot plugin build plugins/{name}`",
    looked.display()
)]
pub struct NotHere {
    name: String,
    looked: PathBuf,
}

/// Where a plugin that ships is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file of its component.
    Component(PathBuf),
    /// Its folder in a clone.
    Folder(PathBuf),
}

/// Whether a plugin of that name ships.
pub fn ships(name: &str) -> bool {
    NAMES.contains(&name)
}

/// A sentence's end: which ship, and which of them may have been meant.
pub(crate) fn help(name: &str) -> String {
    let near = NAMES
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let meant = near.map_or_else(String::new, |(_, near)| format!("did you mean {near}? "));
    format!("{meant}These ship: {}", NAMES.join(", "))
}

/// Where a plugin that ships is on this machine: its component, or its folder in a clone.
///
/// # Errors
/// It is nowhere.
pub fn find(name: &str) -> Result<Place, NotHere> {
    find_from(name, program().as_deref())
}

fn find_from(name: &str, program: Option<&Path>) -> Result<Place, NotHere> {
    let folder = program.and_then(Path::parent).unwrap_or(Path::new("."));
    let component = folder.join(COMPONENTS).join(format!("{name}.wasm"));
    if component.is_file() && is_guarded(&folder.join("..")) {
        return Ok(Place::Component(component));
    }
    let clone = program.and_then(clone_of);
    match clone.map(|clone| clone.join("plugins").join(name)) {
        Some(folder) if folder.join("plugin.toml").is_file() => Ok(Place::Folder(folder)),
        _ => Err(NotHere {
            name: name.to_owned(),
            looked: component,
        }),
    }
}

/// The clone that this program lies in or was installed from: both are the source that it was made of, so that what is in
/// it is trusted as the program is.
pub fn clone() -> Option<PathBuf> {
    clone_of(&program()?)
}

fn clone_of(program: &Path) -> Option<PathBuf> {
    let installed_from = installed_from(program);
    [Some(program), installed_from.as_deref()]
        .into_iter()
        .flatten()
        .flat_map(Path::ancestors)
        .find(|folder| folder.join(CLONE).is_file() && is_guarded(folder))
        .map(Path::to_owned)
}

/// Whether not everybody can put something into a folder, as into `/tmp`: what we find there would be anybody's.
fn is_guarded(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    const OTHERS_WRITE: u32 = 0o002;
    std::fs::metadata(folder).is_ok_and(|data| data.permissions().mode() & OTHERS_WRITE == 0)
}

/// The file of this program, links resolved. It has the same folder after another one was put in its place.
fn program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    Some(program.canonicalize().unwrap_or(program))
}

/// The folder of the package that `cargo install` made `program` of: cargo notes it beside the folder of programs.
fn installed_from(program: &Path) -> Option<PathBuf> {
    let folder = program.parent()?.parent()?;
    let notes = Some(folder.join(".crates.toml")).filter(|_| is_guarded(folder))?;
    let notes = crate::file::read_text(&notes, 4 << 20).ok()?;
    let ours = notes
        .lines()
        .find(|line| line.starts_with("\"djangobot "))?;
    let url = ours.split_once("(path+")?.1.split(')').next()?;
    Url::parse(url).ok()?.to_file_path().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_ship_are_those_of_the_source() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
        let mut folders: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("plugin.toml").is_file())
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        folders.sort();
        assert_eq!(folders, NAMES);
        assert_eq!(
            help("resolve-name"),
            format!(
                "did you mean resolve-names? These ship: {}",
                NAMES.join(", ")
            )
        );
        assert!(help("something").starts_with("These ship"));
    }

    #[test]
    fn a_plugin_is_found_beside_the_program_in_its_clone_and_where_it_was_installed_from() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        write("clone/host/djangobot/Cargo.toml", "");
        write("clone/plugins/redact/plugin.toml", "");
        let built = write("clone/target/debug/djangobot", "");
        let installed = write("usr/bin/djangobot", "");
        let by_cargo = write("cargo/bin/djangobot", "");
        let folder = Place::Folder(root.join("clone/plugins/redact"));
        assert_eq!(find_from("redact", Some(&built)), Ok(folder.clone()));
        let error = find_from("redact", Some(&installed))
            .unwrap_err()
            .to_string();
        let looked = format!("there is no {}", root.join("usr/bin").display());
        assert!(
            error.contains(&looked) && error.contains("share/djangobot/plugins/redact.wasm"),
            "{error}"
        );
        let component = write("usr/share/djangobot/plugins/redact.wasm", "");
        let Ok(Place::Component(found)) = find_from("redact", Some(&installed)) else {
            panic!("it is not found")
        };
        assert_eq!(found.canonicalize().unwrap(), component);
        assert!(find_from("redact", Some(&by_cargo)).is_err());
        let package = Url::from_file_path(root.join("clone/host/djangobot")).unwrap();
        let notes = format!("[v1]\n\"djangobot 1.0.0 (path+{package})\" = [\"djangobot\"]\n");
        write("cargo/.crates.toml", &notes);
        assert_eq!(find_from("redact", Some(&by_cargo)), Ok(folder));
        assert!(find_from("mrkdwn", Some(&built)).is_err());

        // Where everybody can write, anybody may have put it there.
        for (folder, program) in [("clone", &built), ("cargo", &by_cargo), ("usr", &installed)] {
            use std::os::unix::fs::PermissionsExt;
            assert!(find_from("redact", Some(program)).is_ok());
            let open = std::fs::Permissions::from_mode(0o1777);
            std::fs::set_permissions(root.join(folder), open).unwrap();
            assert!(find_from("redact", Some(program)).is_err(), "{folder}");
            let guarded = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(root.join(folder), guarded).unwrap();
        }
    }
}
