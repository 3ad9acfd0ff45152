//! The definitions of all crates of the host, by name.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, Type};

use crate::markdown::root;

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
                let name = file.file_stem().unwrap().to_str().unwrap();
                definitions.free.insert(name.to_owned());
                definitions.add(parsed(&file).items);
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

pub(crate) fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
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

/// The syntax of a source file.
pub(crate) fn parsed(path: &Path) -> syn::File {
    let text = fs::read_to_string(path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The syntax of a source file, by its path below the top.
pub(crate) fn root_file(path: &str) -> syn::File {
    parsed(&root().join(path))
}

/// Whether an item is compiled for tests only.
pub(crate) fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|it| {
        it.path().is_ident("cfg")
            && it
                .parse_args::<syn::Path>()
                .is_ok_and(|it| it.is_ident("test"))
    })
}

/// The string literals of a piece of code, without those of comments, patterns and macros.
#[derive(Default)]
pub(crate) struct Literals {
    function: String,
    depth: usize,
    was_met: bool,
    found: Vec<String>,
}

impl Literals {
    /// Those of the functions of that name in a file.
    pub(crate) fn of_function(file: &syn::File, name: &str) -> Vec<String> {
        let mut literals = Self {
            function: name.to_owned(),
            ..Self::default()
        };
        literals.visit_file(file);
        assert!(literals.was_met, "there is no function {name}");
        literals.found
    }

    fn within(&mut self, name: &syn::Ident, visit: impl FnOnce(&mut Self)) {
        let is_it = name == &self.function;
        self.was_met |= is_it;
        self.depth += usize::from(is_it || self.depth > 0);
        visit(self);
        self.depth = self.depth.saturating_sub(1);
    }
}

impl<'a> Visit<'a> for Literals {
    fn visit_item_fn(&mut self, it: &'a syn::ItemFn) {
        self.within(&it.sig.ident, |visitor| visit::visit_item_fn(visitor, it));
    }

    fn visit_impl_item_fn(&mut self, it: &'a syn::ImplItemFn) {
        self.within(&it.sig.ident, |visitor| {
            visit::visit_impl_item_fn(visitor, it)
        });
    }

    fn visit_attribute(&mut self, _: &'a syn::Attribute) {}

    fn visit_pat(&mut self, _: &'a syn::Pat) {}

    fn visit_lit_str(&mut self, it: &'a syn::LitStr) {
        if self.depth > 0 {
            self.found.push(it.value());
        }
    }
}
