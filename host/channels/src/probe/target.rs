//! The name of a channel layer in a Python project: `MODULE` or `MODULE:ATTRIBUTE`.

use std::path::Path;

use crate::probe::error::ProbeError;
use crate::probe::project::{is_dotted, settings_near};

/// A target with a valid form. Only Python can say whether it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'a>(&'a str);

impl<'a> Target<'a> {
    /// Reads `text`. The error for an invalid one names the target that the project's files suggest.
    pub(super) fn parse(text: &'a str, directory: &Path) -> Result<Self, ProbeError> {
        if is_target(text) && !is_program(text) {
            return Ok(Self(text));
        }
        Err(ProbeError::BadTarget {
            target: text.to_owned(),
            meant: meant(text, directory),
        })
    }

    pub(super) fn as_str(self) -> &'a str {
        self.0
    }
}

impl From<Target<'_>> for String {
    fn from(target: Target<'_>) -> Self {
        target.0.to_owned()
    }
}

fn is_target(text: &str) -> bool {
    match text.split_once(':') {
        Some((module, attribute)) => is_dotted(module) && is_dotted(attribute),
        None => is_dotted(text),
    }
}

/// Whether it is Django's `manage.py`, which has the name of the settings' module inside.
fn is_program(text: &str) -> bool {
    matches!(text, "manage" | "manage.py")
}

/// The target that was probably meant by an address, a program, a folder or the path of a file.
fn meant(text: &str, directory: &Path) -> Option<String> {
    let (path, attribute) = text
        .split_once(':')
        .map_or((text, ""), |(path, _)| (path, &text[path.len()..]));
    if attribute.len() > 1 && attribute[1..].bytes().all(|it| it.is_ascii_digit()) {
        return Some(format!("redis://{text}"));
    }
    let path = path.trim_start_matches("./").trim_end_matches('/');
    if is_program(path) || path.ends_with("/manage.py") {
        return settings_near(directory.join(path).parent()?, "");
    }
    if directory.join(path).is_dir() {
        return settings_near(directory, &path.replace('/', "."));
    }
    let module = path.trim_end_matches(".py").replace('/', ".");
    let target = format!("{module}{attribute}");
    (target != text && is_target(&target)).then_some(target)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::probe::project::meant_by_missing;

    #[test]
    fn a_target_is_a_module_and_perhaps_an_attribute() {
        for good in [
            "myapp.settings",
            "settings",
            "myapp.asgi:channel_layer",
            "a.b:c.d",
            "_x9",
            "müsli.asgi",
        ] {
            let nowhere = Path::new("/nowhere");
            assert_eq!(
                Target::parse(good, nowhere).map(Target::as_str).unwrap(),
                good
            );
        }
        for bad in [
            "",
            ":",
            "a:",
            ":a",
            "a b",
            "a..b",
            "a:b:c",
            "9a",
            "a-b",
            "a;import os",
            "-c",
            "a.",
            "http://x",
        ] {
            assert!(
                Target::parse(bad, Path::new("/nowhere")).is_err(),
                "{bad:?}"
            );
        }
    }

    /// A folder with these files.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn check(folder: &Path, path: &str, expect: Option<&str>) {
        let Err(ProbeError::BadTarget { meant, .. }) = Target::parse(path, folder) else {
            panic!("{path:?} passed")
        };
        assert_eq!(meant.as_deref(), expect, "{path:?}");
    }

    #[test]
    fn a_files_path_suggests_its_module() {
        let nowhere = Path::new("/nowhere");
        check(nowhere, "myapp/settings.py", Some("myapp.settings"));
        check(
            nowhere,
            "./myapp/asgi.py:application",
            Some("myapp.asgi:application"),
        );
        check(nowhere, "my app", None);
        check(nowhere, "my-app/settings.py", None);
        check(nowhere, "manage.py", None);
        check(nowhere, "localhost:6379", Some("redis://localhost:6379"));
        check(nowhere, "10.0.0.1:6379", Some("redis://10.0.0.1:6379"));
    }

    #[test]
    fn a_program_and_a_folder_suggest_the_settings() {
        let program = "import os\nos.environ.setdefault(\n    'DJANGO_SETTINGS_MODULE', 'config.settings.dev')\n";
        let with_program = folder(&[("manage.py", program), ("shop/settings.py", "")]);
        for word in ["manage.py", "./manage.py", "manage", ".", "shop/"] {
            check(with_program.path(), word, Some("config.settings.dev"));
        }
        let without = folder(&[("shop/settings/__init__.py", ""), ("shop/api/urls.py", "")]);
        check(without.path(), "shop/", Some("shop.settings"));
        let near = |module| settings_near(without.path(), module);
        assert_eq!(near("shop.api.urls").as_deref(), Some("shop.settings"));
        assert_eq!(near("other.urls"), None);
        let nested = folder(&[("src/manage.py", program)]);
        check(nested.path(), "src/manage.py", Some("config.settings.dev"));
    }

    #[test]
    fn a_dotted_attribute_suggests_its_colon() {
        let folder = folder(&[("shop/asgi.py", ""), ("shop/settings.py", "")]);
        let meant = |module| meant_by_missing(folder.path(), module);
        assert_eq!(
            meant("shop.asgi.application").as_deref(),
            Some("shop.asgi:application")
        );
        assert_eq!(meant("shop.settings.py").as_deref(), Some("shop.settings"));
        assert_eq!(meant("shop.setings").as_deref(), Some("shop.settings"));
        assert_eq!(meant("elsewhere.asgi"), None);
    }
}
