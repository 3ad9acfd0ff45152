//! Looks in a project's folder for the modules that a wrong target probably meant.

use std::fs;
use std::path::Path;

/// Whether a text is a dotted name of Python identifiers.
pub(super) fn is_dotted(path: &str) -> bool {
    path.split('.').all(|name| {
        let mut characters = name.chars();
        characters
            .next()
            .is_some_and(|first| first.is_alphabetic() || first == '_')
            && characters.all(|character| character.is_alphanumeric() || character == '_')
    })
}

/// The settings' module of the project in `directory`: the one that its `manage.py` names, or else the one in a
/// package around `module`.
pub(super) fn settings_near(directory: &Path, module: &str) -> Option<String> {
    settings_of_program(directory).or_else(|| {
        let mut package = module;
        loop {
            let folder = directory.join(package.replace('.', "/"));
            let settings = folder.join("settings");
            if settings.with_extension("py").is_file() || settings.join("__init__.py").is_file() {
                let names = [package, "settings"];
                return Some(
                    names
                        .into_iter()
                        .filter(|it| !it.is_empty())
                        .collect::<Vec<_>>()
                        .join("."),
                );
            }
            package = match package.rsplit_once('.') {
                Some((package, _)) => package,
                None if !package.is_empty() => "",
                None => return None,
            };
        }
    })
}

/// `os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myapp.settings")`, as `django-admin startproject` writes it.
fn settings_of_program(directory: &Path) -> Option<String> {
    let text = fs::read_to_string(directory.join("manage.py")).ok()?;
    let (_, rest) = text.split_once("DJANGO_SETTINGS_MODULE")?;
    let mut quoted = rest.get(1..)?.split(['"', '\'']);
    let module = quoted.nth(1)?;
    is_dotted(module).then(|| module.to_owned())
}

/// The target that was probably meant by `module`, a dotted name that Python does not find in `directory`.
pub(super) fn meant_by_missing(directory: &Path, module: &str) -> Option<String> {
    if let Some((parent, attribute)) = module.rsplit_once('.')
        && directory
            .join(parent.replace('.', "/"))
            .with_extension("py")
            .is_file()
    {
        // `myapp.settings.py`, or an attribute after a dot.
        return Some(match attribute {
            "py" => parent.to_owned(),
            _ => format!("{parent}:{attribute}"),
        });
    }
    settings_near(directory, module).filter(|settings| settings != module)
}
