//! Reading a plugin's file: its kind, its manifest and its imports, and whether this host can run it.
//!
//! No code of the guest runs here, and none is compiled.

mod binary;
mod error;
mod features;
mod interface;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use djangobot_event::CleanText;
use semver::Version;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::Parser;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

pub use self::error::ArtifactError;
pub use self::interface::{INTERFACE, MAX_SIZE};

use self::binary::{Contents, ExportedInterfaces};
use self::interface::{ENGINE, PACKAGE, SCRIPT, SOURCES};
use crate::digest::Digest;
use crate::install::script::{Script, ScriptEngine, ScriptLanguage};
use crate::manifest::{Manifest, SECTION};

/// The interface between host and plugins.
pub const WIT: &str = include_str!("../../../../wit/plugin.wit");

/// The interfaces of `djangobot:plugin` that a plugin may import.
const OURS: &[&str] = &[
    "types", "event", "host", "roster", "log", "clock", "random", "emitter", "store", "slack",
    "secrets", "http",
];
/// The packages of WASI that an empty context satisfies.
const WASI: &[&str] = &[
    "wasi:cli/",
    "wasi:io/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:random/",
    "wasi:sockets/",
];

/// A component that this host can run, as far as can be known without compiling it.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The finished component, which contains its manifest.
    pub component: Vec<u8>,
    /// The digest of `component`.
    pub digest: Digest,
    /// The component's manifest.
    pub manifest: Manifest,
    /// The digest of its sources, as the recipe noted it in the component.
    pub sources: Option<Digest>,
    /// The version of `djangobot:plugin` that it was built for.
    pub interface: Version,
    /// The interfaces of `djangobot:plugin` that it imports, such as `store`.
    pub imports: BTreeSet<String>,
    /// The interfaces of WASI that it imports; an empty context satisfies them.
    pub wasi: BTreeSet<String>,
    /// Whether it exports `lifecycle`.
    pub lifecycle: bool,
    /// The scripts, if it is a script plugin.
    pub script: Option<PinnedScript>,
}

/// The scripts of a script plugin, with the engine that they run on.
#[derive(Clone, Debug)]
pub struct PinnedScript {
    /// The scripts.
    pub script: Script,
    /// The digest of the engine. A file that was built for others has none: whoever installs it pins their own.
    pub engine: Option<Digest>,
    /// The engine's component, where it was found while the plugin was built.
    pub component: Option<Vec<u8>>,
}

/// The engine of a script language, as far as can be known without compiling it.
#[derive(Clone, Debug)]
pub struct EngineArtifact {
    /// The component, which is marked as an engine.
    pub component: Vec<u8>,
    /// The language that it runs.
    pub language: ScriptLanguage,
    /// The digest of its sources, as the recipe noted it in the component.
    pub sources: Option<Digest>,
}

/// The component that a script plugin's file begins with: no code, and no imports or exports.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

impl EngineArtifact {
    /// Reads an engine.
    ///
    /// # Errors
    /// It is not an engine that this host can run.
    pub fn read(component: Vec<u8>) -> Result<Self, ArtifactError> {
        if !Parser::is_component(&component) {
            return Err(ArtifactError::not_wasm(&component));
        }
        let contents = Contents::read(&component)?;
        let language = contents
            .engine
            .and_then(|section| serde_json::from_slice(section).ok());
        let Some(language) = language else {
            return Err(ArtifactError::NotAnEngine);
        };
        check_interfaces(&contents)?;
        Ok(Self {
            language,
            sources: sources_of(&contents),
            component,
        })
    }
}

/// Marks a component, or a core module, as the engine of `language`, which was built from `sources`.
///
/// # Errors
/// It is not an engine that this host can run.
pub fn as_engine(
    bytes: &[u8],
    language: ScriptLanguage,
    sources: Option<Digest>,
) -> Result<EngineArtifact, ArtifactError> {
    let mark = serde_json::to_vec(&language).unwrap_or_default();
    let component = binary::with_section(&componentize(bytes)?, ENGINE, &mark);
    EngineArtifact::read(match sources {
        Some(sources) => binary::with_section(&component, SOURCES, sources.to_string().as_bytes()),
        None => binary::without_section(&component, SOURCES),
    })
}

impl Artifact {
    /// Reads a component, or makes one of a core module.
    ///
    /// # Errors
    /// An [`ArtifactError`], whose text says what to do.
    pub fn read(bytes: &[u8]) -> Result<Self, ArtifactError> {
        Self::finish(componentize(bytes)?)?.checked()
    }

    /// Reads a component that was checked before, and whose digest shows that it is still the same. To check a large one
    /// takes a tenth of a second.
    ///
    /// # Errors
    /// An [`ArtifactError`]: the host may be another one than that which checked it.
    pub fn read_again(bytes: &[u8]) -> Result<Self, ArtifactError> {
        Self::finish(bytes.to_vec())
    }

    /// Reads a component as [`Artifact::read`] does, and puts the text of a manifest into it, in the place of any that
    /// is there.
    ///
    /// # Errors
    /// The errors of [`Artifact::read`].
    pub fn with_manifest(bytes: &[u8], manifest: &str) -> Result<Self, ArtifactError> {
        Self::finish(embed(&componentize(bytes)?, manifest))?.checked()
    }

    /// Reads a component that a recipe built from `sources`, and notes them in it, with the manifest.
    ///
    /// # Errors
    /// The errors of [`Artifact::read`].
    pub(crate) fn built(
        bytes: &[u8],
        manifest: &str,
        sources: Option<Digest>,
    ) -> Result<Self, ArtifactError> {
        let component = embed(&componentize(bytes)?, manifest);
        Self::finish(match sources.map(|sources| sources.to_string()) {
            Some(sources) => binary::with_section(&component, SOURCES, sources.as_bytes()),
            None => binary::without_section(&component, SOURCES),
        })?
        .checked()
    }

    /// Checks that the component is valid, and needs no feature of WebAssembly that this host does not have.
    fn checked(self) -> Result<Self, ArtifactError> {
        features::check(&self.component)?;
        Ok(self)
    }

    /// The interfaces of capabilities that it imports, and for which its manifest does not ask: they answer `denied`.
    pub fn unasked(&self) -> Vec<&'static str> {
        let asked = self.manifest.asked();
        let mut interfaces = vec!["store", "slack", "secrets", "http"];
        interfaces.retain(|interface| {
            let is_asked = asked.iter().any(|it| it.interface() == *interface);
            self.imports.contains(*interface) && !is_asked
        });
        interfaces
    }

    /// Makes the file of a script plugin that runs on `engine`.
    pub(crate) fn of_script(
        manifest: &str,
        script: &Script,
        engine: ScriptEngine,
    ) -> Result<Self, ArtifactError> {
        let component = embed(EMPTY, manifest);
        let component = binary::with_section(&component, SCRIPT, &script.to_json());
        let sources = script.sources(manifest, engine.identity());
        let component = binary::with_section(&component, SOURCES, sources.to_string().as_bytes());
        Ok(Self::finish(component)?.pinned(engine))
    }

    /// Pins a script plugin's file with an engine. Any other file stays as it is.
    pub(crate) fn pinned(mut self, engine: ScriptEngine) -> Self {
        let Some(script) = &mut self.script else {
            return self;
        };
        let named = engine.digest.to_string();
        self.component = binary::with_section(&self.component, ENGINE, named.as_bytes());
        self.digest = Digest::of(&self.component);
        script.engine = Some(engine.digest);
        script.component = Some(engine.component);
        self
    }

    /// The file for others, who may have another build of a script plugin's engine.
    pub fn published(&self) -> Vec<u8> {
        match self.script {
            Some(_) => {
                binary::without_section(&binary::without_section(&self.component, ENGINE), SOURCES)
            }
            None => self.component.clone(),
        }
    }

    /// Checks a component. The order of the checks gives the most helpful error: version, world, imports, manifest.
    fn finish(component: Vec<u8>) -> Result<Self, ArtifactError> {
        let contents = Contents::read(&component)?;
        if let Some(scripts) = contents.script {
            let pinned = pinned_script(scripts, contents.engine)?;
            let manifest = manifest_of(&contents)?;
            return Ok(Self {
                digest: Digest::of(&component),
                sources: sources_of(&contents),
                manifest,
                interface: INTERFACE,
                imports: BTreeSet::new(),
                wasi: BTreeSet::new(),
                lifecycle: true,
                script: Some(pinned),
                component,
            });
        }
        if let Some(language) = contents.engine {
            let language =
                serde_json::from_slice(language).map_or("a script language", ScriptLanguage::title);
            return Err(ArtifactError::Engine(language));
        }
        let Interfaces {
            imports,
            wasi,
            interface,
        } = check_interfaces(&contents)?;
        let manifest = manifest_of(&contents)?;
        let lifecycle = contents
            .exports
            .iter()
            .any(|name| our_interface(name).is_some_and(|(name, _)| name == "lifecycle"));
        Ok(Self {
            sources: sources_of(&contents),
            digest: Digest::of(&component),
            manifest,
            interface: interface.unwrap_or(INTERFACE),
            imports,
            wasi,
            lifecycle,
            script: None,
            component,
        })
    }
}

/// The interfaces that a component imports.
struct Interfaces {
    /// Those of `djangobot:plugin`, such as `store`.
    imports: BTreeSet<String>,
    /// Those of WASI.
    wasi: BTreeSet<String>,
    /// The version of `djangobot:plugin` that it was built for.
    interface: Option<Version>,
}

/// Checks that a component exports the interface of a plugin, and imports nothing but what this host has.
fn check_interfaces(contents: &Contents<'_>) -> Result<Interfaces, ArtifactError> {
    let mut imports = BTreeSet::new();
    let mut wasi = BTreeSet::new();
    let mut unknown = Vec::new();
    let mut interface: Option<Version> = None;
    let handler = contents
        .exports
        .iter()
        .find_map(|name| our_interface(name).filter(|(name, _)| *name == "handler"));
    for name in &contents.imports {
        match our_interface(name) {
            // Whether this host knows the interface is checked below, once the version is known to be ours.
            Some((ours, version)) => {
                let newest = interface
                    .as_ref()
                    .is_none_or(|newest| Some(newest) < version.as_ref());
                if newest {
                    interface = version;
                }
                imports.insert(ours.to_owned());
            }
            None if is_wasi(name) => {
                wasi.insert(name.clone());
            }
            None => unknown.push(name.clone()),
        }
    }
    if let Some((_, Some(version))) = &handler
        && interface.as_ref().is_none_or(|newest| newest < version)
    {
        interface = Some(version.clone());
    }
    // The version goes first: a newer interface may have names that this host does not know.
    if let Some(needs) = &interface {
        check_version(needs)?;
    }
    let Some((_, Some(_))) = handler else {
        return Err(ArtifactError::OtherWorld {
            exports: contents.exports.clone(),
            imports: contents.imports.clone(),
        });
    };
    let strangers = imports
        .iter()
        .filter(|name| !OURS.contains(&name.as_str()))
        .map(|name| format!("{PACKAGE}{name}"));
    unknown.extend(strangers);
    if !unknown.is_empty() {
        return Err(ArtifactError::UnknownImports(unknown));
    }
    Ok(Interfaces {
        imports,
        wasi,
        interface,
    })
}

/// The one manifest in a component.
fn manifest_of(contents: &Contents<'_>) -> Result<Manifest, ArtifactError> {
    let text = match contents.manifests.as_slice() {
        [] => return Err(ArtifactError::NoManifest),
        [text] => std::str::from_utf8(text).map_err(|_| ArtifactError::ManifestNotText)?,
        _ => return Err(ArtifactError::ManyManifests),
    };
    Manifest::parse(text).map_err(ArtifactError::Manifest)
}

/// The digest of the sources that a recipe noted in a component.
fn sources_of(contents: &Contents<'_>) -> Option<Digest> {
    let sources = std::str::from_utf8(contents.sources.unwrap_or_default());
    sources.ok().and_then(|sources| sources.parse().ok())
}

fn pinned_script(scripts: &[u8], engine: Option<&[u8]>) -> Result<PinnedScript, ArtifactError> {
    let unread = |error: String| ArtifactError::Script(CleanText::new(&error));
    let script: Script =
        serde_json::from_slice(scripts).map_err(|error| unread(error.to_string()))?;
    let engine = engine.map(|engine| String::from_utf8_lossy(engine).parse::<Digest>());
    Ok(PinnedScript {
        engine: engine
            .transpose()
            .map_err(|error| unread(error.to_string()))?,
        script,
        component: None,
    })
}

/// Puts the text of a manifest into a finished component, in the place of any that is there.
pub fn embed(component: &[u8], manifest: &str) -> Vec<u8> {
    binary::with_section(component, SECTION, manifest.as_bytes())
}

/// The parts `store` and `1.0.0` of a name such as `djangobot:plugin/store@1.0.0`; `None` for a name of another
/// package.
fn our_interface(name: &str) -> Option<(&str, Option<Version>)> {
    let rest = name.strip_prefix(PACKAGE)?;
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    Some((interface, version.parse().ok()))
}

/// The same for a name in a core module: `djangobot:plugin/handler@1.0.0#init`, or in the mangling that has the major
/// version alone, `cm32p2|djangobot:plugin/handler@1|init`.
fn core_interface(name: &str) -> Option<(&str, Option<Version>)> {
    let Some(name) = name.strip_prefix("cm32p2|") else {
        return our_interface(name.split('#').next().unwrap_or(name));
    };
    let name = name.split('|').next().unwrap_or(name);
    let (interface, version) = our_interface(name)?;
    let major = || {
        let (_, major) = name.split_once('@')?;
        Some(Version::new(major.parse().ok()?, 0, 0))
    };
    Some((interface, version.or_else(major)))
}

fn is_wasi(name: &str) -> bool {
    let version = name.split_once('@').map_or("", |(_, version)| version);
    WASI.iter().any(|package| name.starts_with(package)) && version.starts_with("0.2.")
}

/// Checks the version of the interface. The tools that link and encode components would refuse it too, but in words
/// that help nobody.
fn check_version(needs: &Version) -> Result<(), ArtifactError> {
    if needs.major != INTERFACE.major || !needs.pre.is_empty() {
        Err(ArtifactError::OtherMajor {
            needs: needs.clone(),
        })
    } else if (needs.minor, needs.patch) > (INTERFACE.minor, INTERFACE.patch) {
        Err(ArtifactError::Newer {
            needs: needs.clone(),
        })
    } else {
        Ok(())
    }
}

/// Returns a component as it is, and makes a component of a core module.
fn componentize(bytes: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    if bytes.len() > MAX_SIZE {
        return Err(ArtifactError::TooLarge { size: bytes.len() });
    }
    if Parser::is_component(bytes) {
        return Ok(bytes.to_vec());
    }
    if !Parser::is_core_wasm(bytes) {
        return Err(ArtifactError::not_wasm(bytes));
    }
    let module = Contents::read(bytes)?;
    if module
        .imports
        .iter()
        .any(|name| name.starts_with("wasi_unstable"))
    {
        return Err(ArtifactError::Preview0);
    }
    // Our world does not contain names of a later version, so that they are refused before the encoder sees them.
    for name in module.exports.iter().chain(&module.imports) {
        if let Some((_, Some(needs))) = core_interface(name) {
            check_version(&needs)?;
        }
    }
    let mut with_types = bytes.to_vec();
    if !module.has_types {
        let world = match exported(&module.exports) {
            ExportedInterfaces::Nothing => {
                return Err(ArtifactError::OtherModule {
                    exports: module.exports,
                });
            }
            ExportedInterfaces::Handler => "plugin",
            ExportedInterfaces::HandlerAndLifecycle => "stateful-plugin",
        };
        embed_world(&mut with_types, world)?;
    }
    // A linker may have put the manifest into the module. It has to be at the outermost level of the component.
    let bare = binary::without_section(&with_types, SECTION);
    // For a module of WASI's first version, which compilers of Go and C make. Where a module imports nothing of it, nothing
    // is added.
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&bare)
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )
        })
        .and_then(|mut encoder| encoder.encode())
        .map_err(not_made)?;
    Ok(match module.manifests.as_slice() {
        [] => component,
        // If there are several, all are copied, and `finish` refuses them.
        many => many.iter().fold(component, |component, manifest| {
            binary::append_section(component, SECTION, manifest)
        }),
    })
}

/// The interfaces of a plugin that a core module exports. The names of its exports have one of two manglings:
/// `djangobot:plugin/handler@1.0.0#init` or `cm32p2|djangobot:plugin/handler@1|init`.
fn exported(exports: &[String]) -> ExportedInterfaces {
    let has = |interface: &str, function: &str| {
        exports.iter().any(|name| {
            let name = name.strip_prefix("cm32p2|").unwrap_or(name);
            name.strip_prefix(PACKAGE)
                .and_then(|name| name.strip_prefix(interface))
                .filter(|rest| rest.starts_with('@'))
                .and_then(|rest| rest.split_once(['#', '|']))
                .is_some_and(|(_, called)| called == function)
        })
    };
    match has("handler", "on-event") {
        false => ExportedInterfaces::Nothing,
        true if has("lifecycle", "health") => ExportedInterfaces::HandlerAndLifecycle,
        true => ExportedInterfaces::Handler,
    }
}

/// Adds the types of our world to a core module that was built without them.
fn embed_world(module: &mut Vec<u8>, world: &str) -> Result<(), ArtifactError> {
    let mut resolve = Resolve::default();
    let world = resolve
        .push_source("plugin.wit", WIT)
        .and_then(|package| resolve.select_world(&[package], Some(world)))
        .map_err(not_made)?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).map_err(not_made)
}

/// The error of a tool, with all its causes in one line.
fn not_made(error: impl std::fmt::Display) -> ArtifactError {
    ArtifactError::NotMade(format!("{error:#}").into())
}
