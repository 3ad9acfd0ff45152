//! `djangobot plugin new`: makes the folder of a small working plugin, with a test.

use std::path::{Path, PathBuf};

use djangobot_plugins::install::shipped;
use djangobot_plugins::{Source, manifest};

use crate::cli::{NewArgs, NewLanguage};
use crate::failure::Failure;
use crate::plugin::error::PluginError;
use crate::plugin::shown::print;

/// The SDK's folder in a checkout of this workspace.
const SDK: &str = "plugin-sdk/rust";

/// A file of a new plugin: its path in the folder, and its text.
type Template = (&'static str, &'static str);

const RUST: &[Template] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("plugin.toml", include_str!("template/plugin.toml.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", "/target\n/*.wasm\n"),
];

const JAVASCRIPT: &[Template] = &[
    ("plugin.js", include_str!("template/plugin.js.in")),
    ("plugin.toml", include_str!("template/plugin.toml.in")),
    (
        "tests/messages.json",
        include_str!("template/messages.json.in"),
    ),
];

/// Makes the folder and its files.
pub(super) fn new(args: &NewArgs) -> Result<(), Failure> {
    let folder = &args.path;
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if !manifest::is_name(&name) {
        return Err(PluginError::Name(name).into());
    }
    if folder.exists() {
        return Err(PluginError::Exists(folder.clone()).into());
    }
    let files = match args.lang {
        NewLanguage::Rust => RUST,
        NewLanguage::Js => JAVASCRIPT,
    };
    let dependency = match args.lang {
        NewLanguage::Rust => dependency(folder, args.sdk.as_deref())?,
        NewLanguage::Js => String::new(),
    };
    for (file, text) in files {
        let path = folder.join(file);
        write(path.parent().unwrap_or(folder), None)?;
        let text = text.replace("{name}", &name).replace("{sdk}", &dependency);
        write(&path, Some(&text))?;
    }
    let shown = folder.display();
    // A bare name of a plugin that ships would mean that plugin.
    let path = match shipped::ships(&shown.to_string()) {
        true => format!("./{shown}"),
        false => shown.to_string(),
    };
    let (code, test) = match args.lang {
        NewLanguage::Rust => ("src/lib.rs", format!("cd {shown} && cargo test")),
        NewLanguage::Js => ("plugin.js", format!("djangobot plugin test {path}")),
    };
    print(&format!(
        "Made {shown}. Its code is {shown}/{code}; its events and capabilities are in {shown}/plugin.toml.\n\
         Test it:  {test}\n\
         Add it:   djangobot plugin add {path}\n"
    ))?;
    Ok(())
}

/// The line of Cargo.toml that names the SDK, for a plugin in `folder`.
fn dependency(folder: &Path, given: Option<&Path>) -> Result<String, PluginError> {
    let sdk = match given {
        Some(path) if is_sdk(path) => Some(path.to_owned()),
        Some(path) => return Err(PluginError::NoSdk(path.to_owned())),
        None => nearby_sdk(),
    };
    // The folder has to exist for its path to be known.
    write(folder, None)?;
    Ok(match sdk {
        // Relative to the new folder, so that both can be moved together.
        Some(sdk) => match Source::Folder(sdk).written_from(folder) {
            Source::Folder(path) => format!("path = {:?}", path.display().to_string()),
            _ => String::new(),
        },
        None => format!("git = {:?}", env!("CARGO_PKG_REPOSITORY")),
    })
}

/// Writes a file, or without a text makes a folder.
fn write(path: &Path, text: Option<&str>) -> Result<(), PluginError> {
    let written = match text {
        Some(text) => std::fs::write(path, text),
        None => std::fs::create_dir_all(path),
    };
    written.map_err(|reason| PluginError::Unwritten {
        path: path.to_owned(),
        reason,
    })
}

fn is_sdk(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("Cargo.toml"))
        .is_ok_and(|text| text.contains("name = \"djangobot-plugin\""))
}

/// Finds the SDK in a checkout: the one from which this program was built, or one around the current folder.
fn nearby_sdk() -> Option<PathBuf> {
    let here = std::env::current_dir().ok();
    let around = [shipped::clone(), here];
    let folders = around.iter().flatten().flat_map(|path| path.ancestors());
    folders
        .map(|folder| folder.join(SDK))
        .find(|folder| is_sdk(folder))
}
