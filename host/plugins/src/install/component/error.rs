//! The errors of reading a plugin's file: why this host can't run it, and what to do.

use std::fmt::Write;

use djangobot_event::CleanText;
use semver::Version;

use crate::install::component::interface::{INTERFACE, MAX_SIZE, PACKAGE};
use crate::manifest::ManifestError;

/// The number of names that an error lists.
const NAMES: usize = 8;

/// Why a file is not a plugin that this host can run.
///
/// Names in these texts come from the file, so they are quoted and cleaned of control characters.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file has no bytes.
    #[error(
        "it is empty: nothing was written to it, or it was cut off at its very beginning; copy, download or build it again"
    )]
    Empty,
    /// It does not begin like WebAssembly.
    #[error("it is not WebAssembly: {0}")]
    NotWasm(&'static str),
    /// It is larger than any plugin may be.
    #[error("it has {size} bytes, and a plugin may have at most {MAX_SIZE}")]
    TooLarge {
        /// The file's size, in bytes.
        size: usize,
    },
    /// It ends too early.
    #[error("it is cut off after byte {offset}; copy, download or build it again")]
    CutOff {
        /// The place, in bytes.
        offset: usize,
    },
    /// It begins like WebAssembly, and goes on otherwise.
    #[error("it is damaged at byte {offset} ({message}); copy, download or build it again")]
    Malformed {
        /// The place, in bytes.
        offset: usize,
        /// The parser's message.
        message: CleanText,
    },
    /// It is a core module for a version of WASI before the first.
    #[error(
        "it is a core module for a draft of WASI (it imports wasi_unstable), which no host has any more: build it with a later \
         compiler, for wasm32-wasip1, wasm32-wasip2 or wasm32-unknown-unknown"
    )]
    Preview0,
    /// It uses the async ABI.
    #[error(
        "it was built with the async ABI of the Component Model, which this host does not have; build it without: \
         componentize-qjs has the option --sync for that"
    )]
    AsyncAbi,
    /// It is not valid, or uses a feature of WebAssembly that this host does not have.
    #[error(
        "this host can't run it: {message} (at byte {offset}); build it without that feature, or with a compiler that makes \
         valid WebAssembly 3 without memories of 64 bits, threads and relaxed SIMD"
    )]
    Invalid {
        /// The place, in bytes.
        offset: usize,
        /// The validator's message.
        message: CleanText,
    },
    /// It is a core module that does not export our interface.
    #[error(
        "it is a core module, but not a plugin: it exports {}; a plugin exports {PACKAGE}handler, which \
         wit-bindgen or a plugin SDK generates from wit/plugin.wit",
        names(exports)
    )]
    OtherModule {
        /// The names of its exports.
        exports: Vec<String>,
    },
    /// It is a core module that can't be made a component.
    #[error("it is a core module, and no component can be made of it: {0}")]
    NotMade(CleanText),
    /// It is a component for another host.
    #[error(
        "it is a component of another world: it exports {} and imports {}; a plugin exports \
         {PACKAGE}handler@{INTERFACE}",
        names(exports),
        names(imports)
    )]
    OtherWorld {
        /// The names of its exports.
        exports: Vec<String>,
        /// The names of its imports.
        imports: Vec<String>,
    },
    /// It was built for a later version of the interface.
    #[error(
        "it was built for djangobot:plugin {needs}, and this host serves {}: update djangobot, or build the plugin again with \
         the wit/plugin.wit, or the SDK, of a release that has {INTERFACE}",
        served()
    )]
    Newer {
        /// The version that it was built for.
        needs: Version,
    },
    /// It was built for another major version of the interface, or for one before a release.
    #[error(
        "it was built for djangobot:plugin {needs}, and this host serves {}: build the plugin again with the \
         wit/plugin.wit, or the SDK, of a release that has {INTERFACE}",
        served()
    )]
    OtherMajor {
        /// The version that it was built for.
        needs: Version,
    },
    /// It imports interfaces that this host does not have.
    #[error("it imports {}, which this host does not have{}", names(.0), instead(.0))]
    UnknownImports(Vec<String>),
    /// It has no manifest.
    #[error(
        "it contains no manifest: `djangobot plugin build FOLDER` builds a plugin's folder and puts its plugin.toml into the \
         component, and `djangobot plugin build FILE.wasm --manifest plugin.toml` does so for a component that is built"
    )]
    NoManifest,
    /// It has several manifests.
    #[error(
        "it contains more than one manifest; `djangobot plugin build FILE.wasm --manifest plugin.toml` replaces them by one"
    )]
    ManyManifests,
    /// Its manifest is not text.
    #[error(
        "its manifest is not UTF-8 text; write plugin.toml as UTF-8 and build the plugin again"
    )]
    ManifestNotText,
    /// Its manifest has mistakes.
    #[error("its manifest is wrong: {0}")]
    Manifest(ManifestError),
    /// It is the engine of a language, and no plugin by itself.
    #[error(
        "it is the engine of script plugins in {0}, and not a plugin: `djangobot plugin engine add FILE` takes it"
    )]
    Engine(&'static str),
    /// It is a plugin, or another component, in the place of an engine.
    #[error("it is not marked as the engine of a language, as those of a release are")]
    NotAnEngine,
    /// Its scripts can't be read.
    #[error("its scripts can't be read: {0}; build it again with this djangobot")]
    Script(CleanText),
}

impl ArtifactError {
    /// The error for `bytes` that are neither a component nor a core module, with a guess at what they are.
    pub(super) fn not_wasm(bytes: &[u8]) -> Self {
        let start = bytes.get(..bytes.len().min(512)).unwrap_or_default();
        let text = std::str::from_utf8(start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start));
        let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !c.is_whitespace());
        match (bytes, text) {
            ([], _) => Self::Empty,
            (b"\0" | b"\0a" | b"\0as", _) => Self::CutOff {
                offset: bytes.len(),
            },
            ([0, b'a', b's', b'm', rest @ ..], _) if rest.len() < 4 => Self::CutOff {
                offset: bytes.len(),
            },
            ([0, b'a', b's', b'm', ..], _) => Self::NotWasm(
                "it begins like WebAssembly of a version that this host does not know; use a later djangobot, or an older \
                 compiler",
            ),
            (_, Ok(text)) if text.trim_start().starts_with('<') => Self::NotWasm(
                "it is an HTML or XML page; perhaps a web page was saved in the place of the file",
            ),
            (_, Ok(text))
                if text.trim_start().starts_with("(module")
                    || text.trim_start().starts_with("(component") =>
            {
                Self::NotWasm(
                    "it is WebAssembly in its text form; `wasm-tools parse` makes a binary of it",
                )
            }
            (_, Ok(text)) if is_text(text) => {
                Self::NotWasm("it is text; if it is the plugin's source, give its folder")
            }
            _ => Self::NotWasm("it does not begin with the four bytes of WebAssembly, \\0asm"),
        }
    }
}

/// The versions of the interface that plugins may be built for.
fn served() -> String {
    match (INTERFACE.minor, INTERFACE.patch) {
        (0, 0) => format!("{INTERFACE}"),
        _ => format!("{}.0.0 to {INTERFACE}", INTERFACE.major),
    }
}

/// The first few names, quoted and cleaned.
fn names(names: &[String]) -> String {
    let mut list = String::new();
    for (at, name) in names.iter().take(NAMES).enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        let shown = CleanText::within(name, 100);
        let _ = write!(list, "{comma}{shown:?}");
    }
    match names.len() {
        0 => "nothing".into(),
        count if count > NAMES => format!("{list} and {} more", count - NAMES),
        _ => list,
    }
}

/// The interface to use in the place of an import, where there is one.
fn instead(imports: &[String]) -> &'static str {
    if imports.iter().any(|name| name.starts_with("wasi:http/")) {
        "; for HTTP use djangobot:plugin/http"
    } else if imports.iter().any(|name| name.starts_with("wasi:")) {
        "; of WASI it has cli, io, clocks, filesystem, random and sockets of 0.2, through which nothing can be reached"
    } else {
        ""
    }
}
