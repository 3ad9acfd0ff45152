//! The script's own files, which `import` finds by the paths that they have in the plugin's folder.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{Ctx, Exception, Module, Result};

/// The module that scripts import the host's services from.
pub(crate) const LIBRARY: &str = "djangobot-plugin";

thread_local! {
    static FILES: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
}

/// Makes `files` the files that scripts can import: their texts by their paths, with `/` between the parts.
pub(crate) fn set(files: BTreeMap<String, String>) {
    FILES.set(files);
}

/// The text of a file.
pub(crate) fn text(path: &str) -> Option<String> {
    FILES.with_borrow(|files| files.get(path).cloned())
}

/// The first place where a text stands in the files, as `FILE:LINE`.
pub(crate) fn place_of(text: &str) -> Option<String> {
    FILES.with_borrow(|files| {
        files.iter().find_map(|(path, source)| {
            let line = source.lines().position(|line| line.contains(text))?;
            Some(format!("{path}:{}", line + 1))
        })
    })
}

/// Finds and loads modules among the files.
pub(crate) struct Files;

impl Resolver for Files {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<String> {
        if name == LIBRARY {
            return Ok(name.to_owned());
        }
        let place = FILES.with_borrow(|files| {
            let lines = files
                .get(base)
                .map(String::as_str)
                .unwrap_or_default()
                .lines();
            let mut lines = lines.enumerate();
            let found = lines.find(|(_, line)| {
                line.contains(&format!("\"{name}\"")) || line.contains(&format!("'{name}'"))
            });
            found.map_or(base.to_owned(), |(at, _)| format!("{base}:{}", at + 1))
        });
        if !name.starts_with("./") && !name.starts_with("../") {
            let cure = match text(name) {
                Some(_) => format!("write \"./{name}\" for the plugin's own file"),
                None => format!(
                    "a script can import \"{LIBRARY}\" and its own files, such as \"./words.js\"; of a package from npm, bundle \
                     the code into the script"
                ),
            };
            return Err(refused(
                ctx,
                &format!("{place} imports \"{name}\", which does not exist; {cure}"),
            ));
        }
        match join(base, name) {
            Some(path) if text(&path).is_some() => Ok(path),
            Some(path) => {
                let endings = ["js", "mjs", "ts"];
                let whole = endings
                    .into_iter()
                    .find(|ending| text(&format!("{path}.{ending}")).is_some());
                let cure = whole.map_or_else(
                    || "the plugin's folder has no such file".to_owned(),
                    |ending| format!("write the whole name: \"{name}.{ending}\""),
                );
                Err(refused(
                    ctx,
                    &format!("{place} imports \"{name}\", and there is no {path}; {cure}"),
                ))
            }
            None => Err(refused(
                ctx,
                &format!(
                    "{place} imports \"{name}\", which is outside the plugin's folder; copy the file into the folder"
                ),
            )),
        }
    }
}

impl Loader for Files {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        let Some(text) = text(name) else {
            return Err(refused(ctx, &format!("there is no module {name}")));
        };
        Module::declare(ctx.clone(), name, text)
    }
}

/// The path that `name` means in the file `base`; `None` if that is outside the plugin's folder.
fn join(base: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = base.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn refused(ctx: &Ctx<'_>, message: &str) -> rquickjs::Error {
    Exception::throw_reference(ctx, message)
}
