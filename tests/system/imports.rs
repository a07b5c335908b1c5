//! No two files of a host crate import each other, directly or transitively: each can be read with
//! only those below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

const CRATES: [&str; 20] = [
    "access",
    "api",
    "broker",
    "cli",
    "client",
    "config",
    "event",
    "filter",
    "journal",
    "outbound",
    "plugins",
    "router",
    "runtime",
    "server",
    "sinks",
    "telemetry",
    "tls",
    "ui",
    "webhooks",
    "wording",
];

/// One state machine in several files, which counts as one file.
const LEDGER: &str = "broker/src/ledger";

/// Path of a module below the crate's root.
type Place = Vec<String>;

#[derive(Default)]
struct Module {
    file: PathBuf,
    /// Names defined here.
    items: BTreeSet<String>,
    /// Names imported here, with their paths as written.
    imports: BTreeMap<String, Place>,
    /// Modules of which all names are imported.
    globs: Vec<Place>,
    /// Paths that begin with `crate`, `self` or `super`, as written.
    paths: Vec<Place>,
}

#[test]
fn no_files_import_each_other_in_a_circle() -> Result<()> {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host");
    let mut circles = Vec::new();
    for name in CRATES {
        let src = host.join(name).join("src");
        let root = ["lib.rs", "main.rs"].map(|file| src.join(file));
        let root = root.into_iter().find(|file| file.exists()).context(name)?;
        let mut modules = BTreeMap::new();
        read(&root, &src, Vec::new(), &mut modules)?;
        let ledger = host.join(LEDGER);
        for module in modules.values_mut().filter(|module| module.file.starts_with(&ledger)) {
            module.file.clone_from(&ledger);
        }
        let edges = edges(&modules);
        ensure!(edges.len() > 2, "{name}: hardly any imports were found");
        for circle in circles_of(&edges) {
            let shown = circle.iter().map(|file| file.strip_prefix(&host).unwrap_or(file));
            circles
                .push(shown.map(|file| file.display().to_string()).collect::<Vec<_>>().join(" → "));
        }
    }
    ensure!(circles.is_empty(), "these files import each other:\n{}", circles.join("\n"));
    Ok(())
}

/// Reads a file and its submodules, which are in `folder`.
fn read(
    file: &Path,
    folder: &Path,
    place: Place,
    modules: &mut BTreeMap<Place, Module>,
) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let parsed = syn::parse_file(&text).with_context(|| file.display().to_string())?;
    read_items(&parsed.items, file, folder, place, modules)
}

fn read_items(
    items: &[Item],
    file: &Path,
    folder: &Path,
    place: Place,
    modules: &mut BTreeMap<Place, Module>,
) -> Result<()> {
    let mut module = Module { file: file.to_owned(), ..Module::default() };
    for item in items.iter().filter(|item| !is_test(attributes(item))) {
        match item {
            Item::Mod(inner) => {
                let name = inner.ident.to_string();
                let below: Place = place.iter().chain([&name]).cloned().collect();
                let (own, inside) = (folder.join(format!("{name}.rs")), folder.join(&name));
                match &inner.content {
                    Some((_, items)) => read_items(items, file, &inside, below, modules)?,
                    None if own.exists() => read(&own, &inside, below, modules)?,
                    None => read(&inside.join("mod.rs"), &inside, below, modules)?,
                }
                module.items.insert(name);
            }
            Item::Use(used) => {
                let known = module.paths.len();
                import(&used.tree, &mut Vec::new(), &mut module);
                // A re-export is no use of its own.
                if !matches!(used.vis, syn::Visibility::Inherited) {
                    module.paths.truncate(known);
                }
            }
            other => {
                module.items.extend(name_of(other));
                Paths(&mut module.paths).visit_item(other);
            }
        }
    }
    modules.insert(place, module);
    Ok(())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Macro(item) => item.ident.as_ref()?.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        _ => return None,
    })
}

fn import(tree: &UseTree, before: &mut Place, module: &mut Module) {
    let mut add = |name: String, last: Option<String>| {
        let path: Place = before.iter().cloned().chain(last).collect();
        module.paths.push(path.clone());
        module.imports.insert(name, path);
    };
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            import(&path.tree, before, module);
            before.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            add(before.last().cloned().unwrap_or_default(), None);
        }
        UseTree::Name(name) => add(name.ident.to_string(), Some(name.ident.to_string())),
        UseTree::Rename(rename) => {
            add(rename.rename.to_string(), Some(rename.ident.to_string()));
        }
        UseTree::Glob(_) => {
            module.globs.push(before.clone());
            module.paths.push(before.clone());
        }
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| import(tree, before, module));
        }
    }
}

/// Collects the paths in an item.
struct Paths<'a>(&'a mut Vec<Place>);

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Place = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if segments.len() > 1 {
            self.0.push(segments);
        }
        visit::visit_path(self, path);
    }
}

/// The import graph between files.
fn edges(modules: &BTreeMap<Place, Module>) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let mut edges: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for (place, module) in modules {
        let to = edges.entry(module.file.clone()).or_default();
        for path in &module.paths {
            let found = resolve(modules, place, path, 0).and_then(|found| modules.get(&found));
            to.extend(found.map(|found| found.file.clone()).filter(|file| *file != module.file));
        }
    }
    edges
}

/// Resolves a path to its module, following re-exports.
fn resolve(
    modules: &BTreeMap<Place, Module>,
    from: &Place,
    path: &[String],
    depth: usize,
) -> Option<Place> {
    // Cyclic re-exports.
    if depth > 16 {
        return None;
    }
    let mut at = from.clone();
    let mut rest = path;
    while let Some((first, more)) = rest.split_first() {
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()),
            name => {
                let below: Place = at.iter().cloned().chain([name.to_owned()]).collect();
                let module = modules.get(&at)?;
                if modules.contains_key(&below) {
                    at = below;
                } else if module.items.contains(name) {
                    return Some(at);
                } else if let Some(import) = module.imports.get(name).filter(|path| *path != rest) {
                    let target: Place = import.iter().chain(more).cloned().collect();
                    return resolve(modules, &at, &target, depth + 1);
                } else {
                    let mut globs = module.globs.iter();
                    return globs.find_map(|glob| {
                        let target: Place = glob.iter().chain(rest).cloned().collect();
                        resolve(modules, &at, &target, depth + 1)
                    });
                }
            }
        }
        rest = more;
    }
    (at != *from).then_some(at)
}

/// Groups of files that import each other, directly or transitively.
fn circles_of(edges: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> Vec<Vec<&PathBuf>> {
    let reached = |from: &PathBuf| {
        let (mut seen, mut ahead) = (BTreeSet::new(), vec![from]);
        while let Some(file) = ahead.pop() {
            for next in edges.get(file).into_iter().flatten() {
                if seen.insert(next) {
                    ahead.push(next);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<_, _> = edges.keys().map(|file| (file, reached(file))).collect();
    let mut circles: Vec<Vec<&PathBuf>> = Vec::new();
    for (file, reached) in &reach {
        if reached.contains(file) && !circles.iter().flatten().any(|known| known == file) {
            let back =
                reached.iter().filter(|other| reach.get(*other).is_some_and(|r| r.contains(file)));
            circles.push(back.copied().collect());
        }
    }
    circles
}
