//! Imports run one way: no file needs a file that needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

use crate::code::{is_of_tests, parsed};
use crate::markdown::root;

/// Pairs that need each other, and say at their head why.
const PAIRS: [[&str; 2]; 1] = [["host/event/src/document.rs", "host/event/src/overlay.rs"]];

/// The path of a module below its crate: `["bridge", "inbound"]`.
type Module = Vec<String>;

/// The imports of a file, and those that others can import through it.
#[derive(Default)]
struct Imports {
    /// Paths as they are written, and the name that each has here where it is exported again.
    paths: Vec<(Vec<String>, Option<String>)>,
    /// Names that the file uses outside its imports.
    used: BTreeSet<String>,
}

impl Imports {
    fn add(&mut self, tree: &UseTree, before: &[String], is_exported: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(it) => self.add(&it.tree, &with(&it.ident), is_exported),
            UseTree::Name(it) if it.ident == "self" => {
                self.paths.push((before.to_vec(), None));
            }
            UseTree::Name(it) => {
                let name = is_exported.then(|| it.ident.to_string());
                self.paths.push((with(&it.ident), name));
            }
            UseTree::Rename(it) => {
                let name = is_exported.then(|| it.rename.to_string());
                self.paths.push((with(&it.ident), name));
            }
            UseTree::Glob(_) => {}
            UseTree::Group(it) => {
                for tree in &it.items {
                    self.add(tree, before, is_exported);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_of_tests(&item.attrs) {
            let is_exported = !matches!(item.vis, Visibility::Inherited);
            self.add(&item.tree, &[], is_exported);
        }
    }

    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(it) => &it.attrs,
            Item::Fn(it) => &it.attrs,
            Item::Impl(it) => &it.attrs,
            _ => &[],
        };
        if !is_of_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path
            .segments
            .iter()
            .map(|it| it.ident.to_string())
            .collect();
        self.used.extend(names.first().cloned());
        if names.len() > 1 && ["crate", "super"].contains(&&*names[0]) {
            self.paths.push((names, None));
        }
        visit::visit_path(self, path);
    }
}

/// The files of one crate.
struct Crate {
    files: BTreeMap<Module, PathBuf>,
    imports: BTreeMap<Module, Imports>,
}

impl Crate {
    fn read(source: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(source, &mut Vec::new(), &mut files);
        let imports = files.iter().map(|(module, file)| {
            let mut imports = Imports::default();
            imports.visit_file(&parsed(file));
            (module.clone(), imports)
        });
        let imports = imports.collect();
        Self { files, imports }
    }

    /// The path from the crate's root, where `path` in `module` is one of this crate.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        match &*path[0] {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module, &path[1..]].concat()),
            "super" => {
                let up = path.iter().take_while(|it| *it == "super").count();
                let base = module.get(..module.len().checked_sub(up)?)?;
                Some([base, &path[up..]].concat())
            }
            child => {
                let inner = [&module[..], &[child.to_owned()]].concat();
                self.files
                    .contains_key(&inner)
                    .then(|| [module, path].concat())
            }
        }
    }

    /// The file that defines what `path` names. A name that a module exports again is looked for where it comes from.
    fn definition(&self, path: &[String], depth: usize) -> Option<Module> {
        let length = (0..=path.len())
            .rev()
            .find(|length| self.files.contains_key(&path[..*length]))?;
        let module = path[..length].to_vec();
        let exported = path.get(length).filter(|_| depth > 0).and_then(|name| {
            let imports = &self.imports[&module].paths;
            let found = imports
                .iter()
                .find(|(_, exported)| exported.as_ref() == Some(name))?;
            let origin = self.absolute(&module, &found.0)?;
            self.definition(&origin, depth - 1)
        });
        Some(exported.unwrap_or(module))
    }

    /// Which files each file needs.
    fn needs(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let needs = |module: &Module, imports: &Imports| {
            let paths = imports.paths.iter().filter(|(path, exported)| {
                // A name that the file only re-exports is not one that it needs.
                exported.is_none() || path.last().is_some_and(|name| imports.used.contains(name))
            });
            let files = paths.filter_map(|(path, _)| {
                let path = self.absolute(module, path)?;
                self.definition(&path, 8)
            });
            files.filter(|file| file != module).collect()
        };
        let all = self.imports.iter();
        all.map(|(module, imports)| (module, needs(module, imports)))
            .collect()
    }
}

fn collect(folder: &Path, module: &mut Module, files: &mut BTreeMap<Module, PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" || name == "main" && folder.join("lib.rs").exists() {
            continue;
        }
        if path.is_dir() {
            module.push(name);
            collect(&path, module, files);
            module.pop();
        } else if path.extension().is_some_and(|it| it == "rs") {
            let mut own = module.clone();
            if !["lib", "main", "mod"].contains(&&*name) {
                own.push(name);
            }
            files.insert(own, path);
        }
    }
}

/// All that can be reached from `start`.
fn reached<'a>(
    needs: &'a BTreeMap<&Module, BTreeSet<Module>>,
    start: &'a Module,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<_> = needs[start].iter().collect();
    while let Some(next) = left.pop() {
        if reached.insert(next) {
            left.extend(&needs[next]);
        }
    }
    reached
}

#[test]
fn no_imports_go_in_circles() {
    let mut circles = Vec::new();
    let top = root();
    for entry in fs::read_dir(top.join("host")).unwrap() {
        let source = entry.unwrap().path().join("src");
        if !source.is_dir() {
            continue;
        }
        let code = Crate::read(&source);
        let needs = code.needs();
        let all: BTreeMap<_, _> = needs.keys().map(|it| (*it, reached(&needs, it))).collect();
        let mut seen = BTreeSet::new();
        for (module, others) in &all {
            let circle: BTreeSet<_> = others
                .iter()
                .filter(|it| all[**it].contains(module))
                .collect();
            if circle.is_empty() || !seen.insert(circle.clone()) {
                continue;
            }
            let name = |it: &Module| {
                let file = code.files[it].strip_prefix(&top).unwrap();
                file.to_str().unwrap().to_owned()
            };
            let names: Vec<_> = circle.into_iter().map(|it| name(it)).collect();
            if !PAIRS.iter().any(|pair| names == pair) {
                circles.push(names.join(", "));
            }
        }
    }
    assert!(
        circles.is_empty(),
        "these files need each other:\n{}",
        circles.join("\n")
    );
}
