//! The outermost level of a WebAssembly file: its imports, exports and custom sections.

use wasmparser::{BinaryReader, BinaryReaderError, Parser, Payload};

use crate::install::component::error::ArtifactError;
use crate::install::component::interface::{ENGINE, SCRIPT, SOURCES};
use crate::manifest::SECTION;

/// The bytes before the first section: magic number and version.
const HEADER: usize = 8;

/// The parts of a component or a core module at its outermost level.
#[derive(Debug, Default)]
pub(super) struct Contents<'a> {
    /// The names of its imports; in a core module, those of the modules that it imports from.
    pub(super) imports: Vec<String>,
    /// The names of its exports.
    pub(super) exports: Vec<String>,
    /// The bytes of each section with a manifest.
    pub(super) manifests: Vec<&'a [u8]>,
    /// The bytes of the section in which a recipe noted the digest of the sources.
    pub(super) sources: Option<&'a [u8]>,
    /// The bytes of the section with the scripts of a script plugin.
    pub(super) script: Option<&'a [u8]>,
    /// The bytes of the section that marks an engine, or that names the engine of a script plugin.
    pub(super) engine: Option<&'a [u8]>,
    /// Whether a core module contains the types of its world.
    pub(super) has_types: bool,
}

/// The interfaces of a plugin that a core module exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExportedInterfaces {
    Nothing,
    Handler,
    HandlerAndLifecycle,
}

impl<'a> Contents<'a> {
    /// Reads all of `bytes`, and keeps the parts at the outermost level.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ArtifactError> {
        let mut contents = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(|error| broken(&error, bytes))? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                payload if depth == 0 => contents
                    .keep(&payload)
                    .map_err(|error| broken(&error, bytes))?,
                _ => {}
            }
        }
        Ok(contents)
    }

    fn keep(&mut self, payload: &Payload<'a>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.exports.push(export?.name.name.to_owned());
                }
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    self.imports.push(import?.module.to_owned());
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    self.exports.push(export?.name.to_owned());
                }
            }
            Payload::CustomSection(section) if section.name() == SECTION => {
                self.manifests.push(section.data());
            }
            Payload::CustomSection(section) if section.name() == SOURCES => {
                self.sources = Some(section.data());
            }
            Payload::CustomSection(section) if section.name() == SCRIPT => {
                self.script = Some(section.data());
            }
            Payload::CustomSection(section) if section.name() == ENGINE => {
                self.engine = Some(section.data());
            }
            Payload::CustomSection(section) => {
                self.has_types |= section.name().starts_with("component-type");
            }
            _ => {}
        }
        Ok(())
    }
}

fn broken(error: &BinaryReaderError, bytes: &[u8]) -> ArtifactError {
    let message = error.message().to_owned();
    let offset = error.offset();
    // At the very end of the file the parser misses a section that an earlier one announced.
    match message.contains("unexpected end") || offset >= bytes.len() {
        true => ArtifactError::CutOff { offset },
        false => ArtifactError::Malformed {
            offset,
            message: message.into(),
        },
    }
}

/// `file` with a custom section `name` at its end, and no other of that name.
pub(super) fn with_section(file: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    append_section(without_section(file, name), name, data)
}

/// `file` with another custom section at its end.
pub(super) fn append_section(mut file: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    use wasm_encoder::{CustomSection, Encode, Section};
    let section = CustomSection {
        name: name.into(),
        data: data.into(),
    };
    file.push(section.id());
    section.encode(&mut file);
    file
}

/// `file` without the custom sections `name` at its outermost level. From a section on that can't be read, the rest
/// stays as it is.
pub(super) fn without_section(file: &[u8], name: &str) -> Vec<u8> {
    let mut kept = file.get(..HEADER).unwrap_or(file).to_vec();
    let mut at = HEADER.min(file.len());
    while at < file.len() {
        let rest = &file[at..];
        let Some((length, is_it)) = section(rest, name) else {
            kept.extend_from_slice(rest);
            break;
        };
        if !is_it {
            kept.extend_from_slice(&rest[..length]);
        }
        at += length;
    }
    kept
}

/// The length of the section that `bytes` begin with, and whether it is a custom section `name`.
fn section(bytes: &[u8], name: &str) -> Option<(usize, bool)> {
    let mut reader = BinaryReader::new(bytes, 0);
    let id = reader.read_u8().ok()?;
    let size = reader.read_var_u32().ok()? as usize;
    let header = reader.original_position();
    let content = bytes.get(header..header.checked_add(size)?)?;
    let is_it = id == 0
        && BinaryReader::new(content, 0)
            .read_string()
            .is_ok_and(|own| own == name);
    Some((header + size, is_it))
}
