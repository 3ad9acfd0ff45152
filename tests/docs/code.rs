//! The definitions of all crates of the host, by name.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::{ImplItem, Item, Type};

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Types and their functions, variants and fields.
#[derive(Default)]
pub(crate) struct Definitions {
    members: HashMap<String, HashSet<String>>,
    /// Functions, constants and modules that stand alone.
    free: HashSet<String>,
}

impl Definitions {
    /// Those of all sources of `folders`, below the top.
    pub(crate) fn of(folders: &[&str]) -> Self {
        let mut definitions = Self::default();
        for folder in folders {
            let mut files = Vec::new();
            sources(&root().join(folder), &mut files);
            assert!(!files.is_empty(), "{folder} has no sources");
            for file in files {
                let text = fs::read_to_string(&file).unwrap();
                let parsed = syn::parse_file(&text)
                    .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                definitions
                    .free
                    .insert(file.file_stem().unwrap().to_str().unwrap().to_owned());
                definitions.add(parsed.items);
            }
        }
        definitions
    }

    pub(crate) fn has_type(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    pub(crate) fn has_member(&self, of: &str, name: &str) -> bool {
        self.members
            .get(of)
            .is_some_and(|members| members.contains(name))
    }

    pub(crate) fn has_free(&self, name: &str) -> bool {
        self.free.contains(name)
    }

    fn members_of(&mut self, name: impl ToString) -> &mut HashSet<String> {
        self.members.entry(name.to_string()).or_default()
    }

    fn add(&mut self, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Struct(it) => {
                    let fields = it.fields.into_iter().filter_map(|field| field.ident);
                    let fields: Vec<_> = fields.map(|field| field.to_string()).collect();
                    self.members_of(it.ident).extend(fields);
                }
                Item::Enum(it) => {
                    let variants: Vec<_> = it
                        .variants
                        .into_iter()
                        .map(|it| it.ident.to_string())
                        .collect();
                    self.members_of(it.ident).extend(variants);
                }
                Item::Trait(it) => {
                    let functions = it.items.into_iter().filter_map(|item| match item {
                        syn::TraitItem::Fn(it) => Some(it.sig.ident.to_string()),
                        syn::TraitItem::Const(it) => Some(it.ident.to_string()),
                        _ => None,
                    });
                    let functions: Vec<_> = functions.collect();
                    self.members_of(it.ident).extend(functions);
                }
                Item::Type(it) => drop(self.members_of(it.ident)),
                Item::Impl(it) => {
                    let Type::Path(path) = *it.self_ty else {
                        continue;
                    };
                    let name = path.path.segments.last().unwrap().ident.to_string();
                    let members = it.items.into_iter().filter_map(|item| match item {
                        ImplItem::Fn(it) => Some(it.sig.ident.to_string()),
                        ImplItem::Const(it) => Some(it.ident.to_string()),
                        _ => None,
                    });
                    let members: Vec<_> = members.collect();
                    self.members_of(name).extend(members);
                }
                Item::Fn(it) => drop(self.free.insert(it.sig.ident.to_string())),
                Item::Const(it) => drop(self.free.insert(it.ident.to_string())),
                Item::Static(it) => drop(self.free.insert(it.ident.to_string())),
                Item::Mod(it) => {
                    self.free.insert(it.ident.to_string());
                    if let Some((_, items)) = it.content {
                        self.add(items);
                    }
                }
                _ => {}
            }
        }
    }
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_built = path.ends_with("target");
        if path.is_dir() && !is_built {
            sources(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
}
