//! Why a file is no plugin that this host can run, and what to do about it.

use std::fmt::Write;

use djangobot_event::CleanText;
use semver::Version;

use crate::install::component::interface::{INTERFACE, MAX_SIZE, PACKAGE};
use crate::manifest::ManifestError;

/// How many names a sentence lists.
const NAMES: usize = 8;

/// Why a file is no plugin that this host can run.
///
/// Names in these sentences come from the file; they are quoted, and clean.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// There is nothing in it.
    #[error("it is empty: nothing was written to it, or it was cut off at its very beginning")]
    Empty,
    /// It begins otherwise.
    #[error("it is no WebAssembly: {0}")]
    NotWasm(&'static str),
    /// It is larger than any plugin should be.
    #[error("it has {size} bytes, and more than {MAX_SIZE} are not taken")]
    TooLarge {
        /// In bytes.
        size: usize,
    },
    /// It ends before it should.
    #[error(
        "it is cut off: something is missing after byte {offset}; copy, download or build it again"
    )]
    CutOff {
        /// In bytes.
        offset: usize,
    },
    /// It begins as WebAssembly and goes on otherwise.
    #[error("it is damaged at byte {offset}: {message}")]
    Malformed {
        /// In bytes.
        offset: usize,
        /// The parser's.
        message: CleanText,
    },
    /// A core module that only WASI's first version can run.
    #[error(
        "it is a core module for WASI preview 1 (it imports wasi_snapshot_preview1), and that is no component: \
         build it for wasm32-unknown-unknown or wasm32-wasip2, or make it one with wasi_snapshot_preview1.reactor.wasm, \
         the adapter that `wasm-tools component new --adapt` takes"
    )]
    Preview1,
    /// A core module that has nothing of ours.
    #[error(
        "it is a core module that is no plugin: it exports {}; a plugin exports {PACKAGE}handler, which \
         wit-bindgen or a plugin SDK generates from wit/plugin.wit",
        names(exports)
    )]
    OtherModule {
        /// Their names.
        exports: Vec<String>,
    },
    /// A core module from which no component can be made.
    #[error("it is a core module from which no component can be made: {0}")]
    NotMade(CleanText),
    /// It is for some other host.
    #[error(
        "it is a component of another world: it exports {} and imports {}; a plugin exports \
         {PACKAGE}handler@{INTERFACE}",
        names(exports),
        names(imports)
    )]
    OtherWorld {
        /// Their names.
        exports: Vec<String>,
        /// Their names.
        imports: Vec<String>,
    },
    /// It was built for a later host.
    #[error(
        "it was built for djangobot:plugin {needs}, and this host serves {}: update djangobot, or build the plugin again with \
         the wit/plugin.wit, or the SDK, of a release that has {INTERFACE}",
        served()
    )]
    Newer {
        /// The version that it was built for.
        needs: Version,
    },
    /// It was built for an interface that is not ours, earlier or later.
    #[error(
        "it was built for djangobot:plugin {needs}, and this host serves {}: build the plugin again with the \
         wit/plugin.wit, or the SDK, of a release that has {INTERFACE}",
        served()
    )]
    OtherMajor {
        /// The version that it was built for.
        needs: Version,
    },
    /// It wants what this host does not have.
    #[error("it imports {}, and there is nothing of that name for a plugin{}", names(.0), instead(.0))]
    UnknownImports(Vec<String>),
    /// It says nothing of itself.
    #[error(
        "there is no manifest in it: `djangobot plugin build FOLDER` builds a plugin's folder and puts its plugin.toml into \
         the component, and `djangobot plugin build FILE.wasm --manifest plugin.toml` does so for one that is built"
    )]
    NoManifest,
    /// It says different things of itself.
    #[error(
        "there is more than one manifest in it: `djangobot plugin build` puts one in the place of all"
    )]
    ManyManifests,
    /// Its manifest is no text.
    #[error("the manifest in it is no UTF-8")]
    ManifestNotText,
    /// Its manifest is wrong.
    #[error("the manifest in it is wrong: {0}")]
    Manifest(ManifestError),
    /// It can do more than it asks for.
    #[error("it imports {}, and its manifest does not ask for that: {}", interfaces(.0), ask(.0))]
    NotAsked(Vec<&'static str>),
}

impl ArtifactError {
    /// What `bytes`, which are neither component nor core module, seem to be.
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
                "it begins as WebAssembly, of a version that this host does not know; take a later djangobot, or an older \
                 compiler",
            ),
            (_, Ok(text)) if text.trim_start().starts_with('<') => Self::NotWasm(
                "it is an HTML or XML page; was a web page saved in the place of the file?",
            ),
            (_, Ok(text))
                if text.trim_start().starts_with("(module")
                    || text.trim_start().starts_with("(component") =>
            {
                Self::NotWasm(
                    "it is WebAssembly's text form; `wasm-tools parse` makes a binary of it",
                )
            }
            (_, Ok(text)) if is_text(text) => {
                Self::NotWasm("it is text; is it the plugin's source? Then give its folder")
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

/// The first few, quoted and clean.
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

fn instead(imports: &[String]) -> &'static str {
    if imports.iter().any(|name| name.starts_with("wasi:http/")) {
        "; for HTTP there is djangobot:plugin/http"
    } else if imports.iter().any(|name| name.starts_with("wasi:")) {
        "; of WASI there are cli, io, clocks, filesystem, random and sockets of 0.2, all empty"
    } else {
        ""
    }
}

fn interfaces(names: &[&str]) -> String {
    let quoted: Vec<_> = names
        .iter()
        .map(|name| format!("{PACKAGE}{name}"))
        .collect();
    quoted.join(", ")
}

fn ask(names: &[&str]) -> String {
    let words: Vec<_> = names
        .iter()
        .map(|name| match *name {
            "secrets" => "\"secrets:NAME\"",
            "http" => "\"http:HOST\"",
            "store" => "\"store\"",
            _ => "\"slack\"",
        })
        .collect();
    format!(
        "add {} to `capabilities` in its plugin.toml, or leave the import out",
        words.join(", ")
    )
}
