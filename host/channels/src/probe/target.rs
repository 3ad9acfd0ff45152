//! What names a channel layer in a Python project: `MODULE` or `MODULE:ATTRIBUTE`.

use super::ProbeError;

/// A target whose form is right; whether it exists only Python can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'a>(&'a str);

impl<'a> Target<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, ProbeError> {
        let (module, attribute) = text
            .split_once(':')
            .map_or((text, None), |(module, path)| (module, Some(path)));
        if is_dotted(module) && attribute.is_none_or(is_dotted) {
            return Ok(Self(text));
        }
        Err(ProbeError::BadTarget {
            target: text.to_owned(),
            meant: meant(text),
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

/// Python's identifiers, with dots between.
fn is_dotted(path: &str) -> bool {
    path.split('.').all(|name| {
        let mut characters = name.chars();
        characters
            .next()
            .is_some_and(|first| first.is_alphabetic() || first == '_')
            && characters.all(|character| character.is_alphanumeric() || character == '_')
    })
}

/// The target that someone had in mind who gave a file's path.
fn meant(text: &str) -> Option<String> {
    let (path, attribute) = text
        .split_once(':')
        .map_or((text, ""), |(path, _)| (path, &text[path.len()..]));
    let module = path
        .trim_start_matches("./")
        .trim_end_matches('/')
        .trim_end_matches(".py")
        .replace('/', ".");
    let target = format!("{module}{attribute}");
    (target != text && Target::parse(&target).is_ok()).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(Target::parse(good).map(Target::as_str).unwrap(), good);
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
            assert!(Target::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_files_path_is_told_its_module() {
        let check = |path: &str, expect: Option<&str>| {
            let Err(ProbeError::BadTarget { meant, .. }) = Target::parse(path) else {
                panic!("{path:?} passed")
            };
            assert_eq!(meant.as_deref(), expect, "{path:?}");
        };
        check("myapp/settings.py", Some("myapp.settings"));
        check(
            "./myapp/asgi.py:application",
            Some("myapp.asgi:application"),
        );
        check("my app", None);
        check("my-app/settings.py", None);
    }
}
