//! New projects, from the templates that this program carries, with the SDK and the contract beside
//! them: nothing is fetched but what the language's own tools fetch.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use minijinja::{Environment, Value, context};
use usher_event::PluginName;

use crate::language::Language;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../templates");
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../sdk");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");

/// A capability that a project imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Settings and secrets.
    Config,
    /// Keys and values.
    State,
    /// Files.
    Blobs,
    /// Requests.
    Http,
}

impl Feature {
    const ALL: [(&'static str, Self); 4] = [
        ("config", Self::Config),
        ("state", Self::State),
        ("blobs", Self::Blobs),
        ("http", Self::Http),
    ];
}

impl Feature {
    /// Reads a list of names, divided by commas; `none` is the empty list.
    ///
    /// # Errors
    /// A name that there isn't; the text says which there are.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        if text == "none" {
            return Ok(Vec::new());
        }
        let find = |name: &str| Self::ALL.iter().find(|(known, _)| *known == name);
        let feature = |name: &str| {
            find(name).map(|(_, feature)| *feature).ok_or_else(|| {
                let names = Self::ALL.map(|(name, _)| name).join(", ");
                format!("there is no {name:?}; there are {names}, and none")
            })
        };
        text.split(',').map(feature).collect()
    }
}

/// What to make.
#[derive(Clone, Debug)]
pub struct Template {
    /// The plugin's name.
    pub name: PluginName,
    /// Its language.
    pub language: Language,
    /// What it imports.
    pub features: Vec<Feature>,
}

/// A project that could not be made. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// There is something in its place.
    #[error("{} exists already: choose another name, or another folder with --folder", .0.display())]
    Exists(PathBuf),
    /// The language's SDK lacks a capability.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A file can't be written.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A template is broken; a defect of this program.
    #[error("the template can't be filled in: {0}")]
    Render(#[from] minijinja::Error),
}

/// A file of a project.
struct File {
    path: PathBuf,
    content: Vec<u8>,
}

/// Makes a project in a folder that must not exist yet: all of it or nothing.
///
/// # Errors
/// See [`NewError`].
pub fn write(template: &Template, folder: &Path) -> Result<(), NewError> {
    if folder.exists() {
        return Err(NewError::Exists(folder.to_owned()));
    }
    let files = files(template)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder.with_file_name(format!(".{name}.partial"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| NewError::Io { path, error }
    };
    let written = || {
        for File { path, content } in &files {
            let path = partial.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed(parent))?;
            }
            fs::write(&path, content).map_err(failed(&path))?;
        }
        fs::rename(&partial, folder).map_err(failed(folder))
    };
    written().inspect_err(|_| {
        // Best effort: what is left says by its name that it is partial.
        let _ = fs::remove_dir_all(&partial);
    })
}

/// What differs from language to language.
struct About {
    /// The language, as it is written.
    title: &'static str,
    /// Folder of its template.
    template: &'static str,
    /// The file with the listener.
    source: &'static str,
    /// Folder of its SDK.
    sdk: &'static str,
    /// What its tools make.
    ignored: &'static str,
    /// What its authors should know.
    notes: &'static str,
}

impl About {
    fn of(language: Language) -> Self {
        match language {
            Language::Rust => Self {
                title: "Rust",
                template: "rust",
                source: "src/lib.rs",
                sdk: "src",
                ignored: "/target",
                notes: "\n`cargo test` runs the same listener natively, against an in-memory host.\n",
            },
            Language::Python => Self {
                title: "Python",
                template: "python",
                source: "app.py",
                sdk: "python",
                ignored: "/.venv\n__pycache__\n*.wasm",
                notes: PYTHON_NOTES,
            },
            Language::Js => Self {
                title: "JavaScript",
                template: "js",
                source: "plugin.js",
                sdk: "js",
                ignored: "/node_modules\n*.wasm",
                notes: JS_NOTES,
            },
            Language::Ts => Self {
                title: "TypeScript",
                template: "ts",
                source: "plugin.ts",
                sdk: "js",
                ignored: "/node_modules\n*.wasm",
                notes: JS_NOTES,
            },
            Language::C => Self {
                title: "C",
                template: "c",
                source: "src/plugin.c",
                sdk: "c",
                ignored: "/.venv\n/build\n*.wasm",
                notes: C_NOTES,
            },
        }
    }
}

const PYTHON_NOTES: &str = "
Modules are imported when the component is built. What they compute then is the same in every
instance: random numbers, the time, `hash()` of text. Make such values within `handle`.
";

const JS_NOTES: &str = "
The top level of a module runs when the component is built: random numbers and the time are frozen
there, and fresh within `handle`. Buckets are kept open for the instance's life, because JavaScript
gives handles back only by `[Symbol.dispose]()`.
";

const C_NOTES: &str = "
Memory is freed as a whole after each delivery: there is no C library, and no `malloc`. To use one,
build with wasi-libc and take `usher_alloc` out of `usher/usher.c`.
";

/// Capabilities that a file of an SDK belongs to.
fn feature_of(file: &str) -> Option<Feature> {
    let is_of =
        |name: &str| file.contains(&format!("-{name}.")) || file.contains(&format!("_{name}."));
    let found =
        Feature::ALL.iter().find(|(name, _)| is_of(name) || file.contains(&format!("-{name}.d.")));
    found.map(|(_, feature)| *feature)
}

fn files(template: &Template) -> Result<Vec<File>, NewError> {
    let Template { name, language, features } = template;
    let has = |feature| features.contains(&feature);
    let is_rust = *language == Language::Rust;
    let is_js = matches!(language, Language::Js | Language::Ts);
    if has(Feature::Http) && *language == Language::C {
        return Err(NewError::Unsupported(
            "http is not in the SDK for C: choose another language, or import wasi:http with the \
             bindings of wit-bindgen",
        ));
    }
    let about = About::of(*language);
    let component = match language {
        Language::Rust => {
            format!("target/wasm32-wasip2/release/{}.wasm", name.as_str().replace('-', "_"))
        }
        _ => format!("{name}.wasm"),
    };
    let values = context! {
        name => name.as_str(),
        component,
        language => about.title,
        source => about.source,
        set_up => language.set_up().to_vec(),
        notes => about.notes,
        ignored => about.ignored,
        random => is_js,
        outgoing => has(Feature::Http) && *language == Language::Python,
        config => has(Feature::Config),
        state => has(Feature::State),
        blobs => has(Feature::Blobs),
        http => has(Feature::Http),
        version => env!("CARGO_PKG_VERSION"),
    };
    let is_granted = !features.is_empty();
    let is_given = has(Feature::Config) || has(Feature::State);
    let place = |path: &str| -> Option<PathBuf> {
        let (place, is_wanted) = match path {
            "gitignore" => (".gitignore", true),
            "sdk.toml" => ("usher/sdk/Cargo.toml", true),
            "usher.toml" => (path, is_granted),
            "fixtures/first-visit/given.json" => (path, is_given),
            "world.wit" => ("wit/world.wit", !is_rust),
            _ => (path, true),
        };
        is_wanted.then(|| place.into())
    };
    // StarlingMonkey has fetch, and brings the interfaces behind it.
    let interfaces: &[&str] = match language {
        Language::Js | Language::Ts => &["random"],
        Language::Python if has(Feature::Http) => &["clocks", "http", "io"],
        Language::Rust | Language::Python | Language::C => &[],
    };
    let mut files = Vec::new();
    for folder in ["common", about.template] {
        for (path, content) in contents(&TEMPLATES, folder) {
            let Some(path) = place(&path) else { continue };
            let text = String::from_utf8_lossy(content);
            files.push(File { path, content: render(&text, &values)?.into_bytes() });
        }
    }
    for (path, content) in contents(&TEMPLATES, "wit") {
        let name = path.trim_end_matches(".wit");
        if interfaces.contains(&name) {
            let path = Path::new("wit/deps").join(name).join(&path);
            files.push(File { path, content: content.to_vec() });
        }
    }
    for (path, content) in contents(&WIT, "") {
        let path = match path.strip_prefix("deps/") {
            _ if is_rust => Path::new("usher/wit").join(path),
            Some(rest) => Path::new("wit/deps").join(rest),
            None => Path::new("wit/deps/usher").join(path),
        };
        files.push(File { path, content: content.to_vec() });
    }
    let sdk = Path::new(if is_rust { "usher/sdk/src" } else { "usher" });
    for (path, content) in contents(&SDK, about.sdk) {
        if is_rust || feature_of(&path).is_none_or(has) {
            files.push(File { path: sdk.join(path), content: content.to_vec() });
        }
    }
    Ok(files)
}

fn render(text: &str, values: &Value) -> Result<String, minijinja::Error> {
    // Jinja drops the last newline.
    Ok(Environment::new().render_str(text, values)? + "\n")
}

/// All files below a carried folder, with their paths from there.
fn contents(carried: &'static Dir<'static>, folder: &str) -> Vec<(String, &'static [u8])> {
    fn walk(dir: &'static Dir<'static>, found: &mut Vec<&'static include_dir::File<'static>>) {
        found.extend(dir.files());
        dir.dirs().for_each(|dir| walk(dir, found));
    }
    let mut found = Vec::new();
    match folder {
        "" => walk(carried, &mut found),
        _ => carried.get_dir(folder).into_iter().for_each(|dir| walk(dir, &mut found)),
    }
    let path = |file: &include_dir::File<'_>| {
        let path = file.path().strip_prefix(folder).unwrap_or(file.path());
        path.to_string_lossy().into_owned()
    };
    found.into_iter().map(|file| (path(file), file.contents())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(language: Language, features: &[Feature]) -> Template {
        Template { name: "greeter".parse().unwrap(), language, features: features.to_vec() }
    }

    /// Every template with every choice of features; none leaves a placeholder behind.
    #[test]
    fn every_choice_can_be_written() {
        let choices: [&[Feature]; 6] = [
            &[],
            &[Feature::Http],
            &[Feature::Config],
            &[Feature::State],
            &[Feature::Config, Feature::State],
            &[Feature::Config, Feature::State, Feature::Blobs],
        ];
        for (name, language) in Language::ALL {
            for features in choices {
                let files = match files(&template(language, features)) {
                    Err(NewError::Unsupported(_)) => {
                        assert_eq!((name, features), ("c", &[Feature::Http][..]));
                        continue;
                    }
                    files => files.unwrap(),
                };
                let text = |path: &str| {
                    let file = files.iter().find(|file| file.path == Path::new(path));
                    String::from_utf8(
                        file.unwrap_or_else(|| panic!("{name}: no {path}")).content.clone(),
                    )
                };
                for path in ["README.md", "plugin.toml", ".gitignore", About::of(language).source] {
                    let text = text(path).unwrap();
                    assert!(
                        !text.contains("{%") && !text.contains("{{ "),
                        "{name}: {path}: {text}"
                    );
                }
                for json in ["fixtures/first-visit/expect.json", "fixtures/no-name/event.json"] {
                    let text = text(json).unwrap();
                    assert!(
                        text.parse::<toml::Value>().is_err() && text.starts_with('{'),
                        "{text}"
                    );
                }
                let has_given = files.iter().any(|file| file.path.ends_with("given.json"));
                let is_given = [Feature::Config, Feature::State];
                let expected = is_given.iter().any(|feature| features.contains(feature));
                assert_eq!(has_given, expected, "{name} {features:?}");
            }
        }
    }

    #[test]
    fn the_sdk_is_carried_with_what_its_manifest_needs() {
        let carried = files(&template(Language::Rust, &[])).unwrap();
        let manifest = carried.iter().find(|file| file.path.ends_with("sdk/Cargo.toml")).unwrap();
        let manifest: toml::Table =
            toml::from_str(&String::from_utf8_lossy(&manifest.content)).unwrap();
        let own: toml::Table = toml::from_str(include_str!("../../../sdk/Cargo.toml")).unwrap();
        let names = |manifest: &toml::Table| {
            let names = manifest["dependencies"].as_table().unwrap().keys().cloned();
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(&manifest), names(&own));
        assert_eq!(manifest["target"], own["target"]);
        assert!(carried.iter().any(|file| file.path == Path::new("usher/wit/plugin.wit")));
    }

    #[test]
    fn a_folder_is_made_whole_or_not_at_all() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("greeter");
        write(&template(Language::C, &[Feature::State]), &folder).unwrap();
        assert!(folder.join("usher/usher.h").is_file());
        let again = write(&template(Language::C, &[]), &folder).unwrap_err();
        assert!(again.to_string().contains("exists already"), "{again}");
        let refused = write(&template(Language::C, &[Feature::Http]), &place.path().join("other"));
        assert!(refused.is_err());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_what_is_imported_of_an_sdk_is_carried() {
        let has = |features: &[Feature], path: &str| {
            let files = files(&template(Language::Js, features)).unwrap();
            files.iter().any(|file| file.path == Path::new(path))
        };
        assert!(has(&[Feature::State], "usher/usher-state.d.ts"));
        assert!(!has(&[Feature::State], "usher/usher-config.js"));
        assert!(has(&[], "usher/usher.js"));
    }
}
