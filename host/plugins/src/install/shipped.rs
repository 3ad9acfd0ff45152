//! The plugins that ship with djangobot: components next to an installed program, or folders in a clone, which are
//! built.

use std::path::{Path, PathBuf};

use url::Url;

/// The names of the plugins that ship.
pub const NAMES: &[&str] = &[
    "ignore-self",
    "mentions",
    "mrkdwn",
    "redact",
    "resolve-names",
];
/// The folder of all files that come with an installed program, relative to the program's own folder: a wheel and an
/// archive can both put them there.
const SHARE: &str = "../share/djangobot";
/// The folder of the plugins' components, below that.
const COMPONENTS: &str = "plugins";
/// A file by which a clone is recognised: hardly any other folder has it.
const CLONE: &str = "host/djangobot/Cargo.toml";

/// The error for a plugin that ships, but is not on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} ships with djangobot, but is not on this machine: there is no {}, and this program neither lies in a clone of its \
     source nor was installed from one that still exists; install djangobot with its plugins, or run `cargo install --locked \
     --path host/djangobot` in a clone that you keep, or run `djangobot plugin build plugins/{name}` in a clone and add the \
     file that it makes",
    looked.display()
)]
pub struct ShippedError {
    name: String,
    looked: PathBuf,
}

/// The place of a shipped plugin on this machine.
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

/// The end of an error's text: the plugin that may have been meant, and all that ship.
pub(crate) fn help(name: &str) -> String {
    let near = NAMES
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let names = NAMES.join(", ");
    match near {
        Some((_, near)) => format!("did you mean {near}? These plugins ship: {names}"),
        None => format!("these plugins ship: {names}"),
    }
}

/// Finds a shipped plugin on this machine: its component, or else its folder in a clone.
///
/// # Errors
/// It is not on this machine.
pub fn find(name: &str) -> Result<Place, ShippedError> {
    find_from(name, program().as_deref())
}

fn find_from(name: &str, program: Option<&Path>) -> Result<Place, ShippedError> {
    let component = place_from(program, COMPONENTS, name);
    if is_installed(program, &component) {
        return Ok(Place::Component(component));
    }
    let clone = program.and_then(clone_of);
    match clone.map(|clone| clone.join("plugins").join(name)) {
        Some(folder) if folder.join("plugin.toml").is_file() => Ok(Place::Folder(folder)),
        _ => Err(ShippedError {
            name: name.to_owned(),
            looked: component,
        }),
    }
}

/// The place of a component that comes with an installed program; `folder` is the one for its kind.
pub(crate) fn place_from(program: Option<&Path>, folder: &str, name: &str) -> PathBuf {
    let share = folder_of(program).join(SHARE);
    share.join(folder).join(format!("{name}.wasm"))
}

/// Whether there is a file at a place of [`place_from`], and not every user can have put it there.
pub(crate) fn is_installed(program: Option<&Path>, place: &Path) -> bool {
    place.is_file() && is_guarded(&folder_of(program).join(".."))
}

fn folder_of(program: Option<&Path>) -> &Path {
    program.and_then(Path::parent).unwrap_or(Path::new("."))
}

/// The clone that this program lies in, or was installed from. In both cases the program was built from it, so that the
/// plugins in it are trusted as much as the program.
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

/// Whether a folder can't be written to by every user, as `/tmp` can: a plugin there could come from anybody.
fn is_guarded(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    const OTHERS_WRITE: u32 = 0o002;
    std::fs::metadata(folder).is_ok_and(|data| data.permissions().mode() & OTHERS_WRITE == 0)
}

/// The file of this program, with links resolved. After an update replaced it, the path has another name in the same
/// folder, which is all that is used.
pub(crate) fn program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    Some(program.canonicalize().unwrap_or(program))
}

/// The folder of the package from which `cargo install` built `program`. Cargo notes it in `.crates.toml`, next to the
/// folder with the programs.
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
    fn the_names_are_those_of_the_folders_in_the_source() {
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
                "did you mean resolve-names? These plugins ship: {}",
                NAMES.join(", ")
            )
        );
        assert!(help("something").starts_with("these plugins ship"));
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
