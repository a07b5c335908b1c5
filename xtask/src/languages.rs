//! The examples in other languages: a project of each template, and one that tries what its
//! language is known for, built with the tools that the template pins. Tools are kept in
//! `target/languages`, where they are fetched once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use usher_tests::{repository, target_dir, usher_binary};

use crate::cargo::shown;
use crate::style::announce;

/// A language: what `usher new` calls it, its tools' folder, and its quirks.
struct Language {
    name: &'static str,
    /// The file that pins the tools, and their folder.
    tools: Option<(&'static str, &'static str)>,
    quirks: &'static [Quirks],
    /// Other capabilities to choose, where the names of what is imported depend on the choice.
    choices: &'static [&'static str],
}

/// A project that tries what a language is known for.
struct Quirks {
    name: &'static str,
    /// A file of tests/languages, and where it belongs.
    source: (&'static str, &'static str),
    /// Capabilities to import.
    with: &'static str,
}

const LANGUAGES: [Language; 5] = [
    Language { name: "rust", tools: None, quirks: &[], choices: &[] },
    Language {
        name: "python",
        tools: Some(("requirements.txt", ".venv")),
        quirks: &[Quirks {
            name: "quirks-python",
            source: ("app.py", "app.py"),
            with: "config,state,http",
        }],
        choices: &["config", "state", "state,http"],
    },
    Language {
        name: "js",
        tools: Some(("package.json", "node_modules")),
        quirks: &[
            Quirks { name: "quirks-js", source: ("plugin.js", "plugin.js"), with: "config,state" },
            Quirks { name: "quirks-fetch", source: ("fetch.js", "plugin.js"), with: "http" },
        ],
        choices: &[],
    },
    Language {
        name: "ts",
        tools: Some(("package.json", "node_modules")),
        quirks: &[],
        choices: &[],
    },
    Language {
        name: "c",
        tools: Some(("requirements.txt", ".venv")),
        quirks: &[Quirks {
            name: "quirks-c",
            source: ("plugin.c", "src/plugin.c"),
            with: "config,state",
        }],
        choices: &[],
    },
];

/// Makes and builds all projects.
///
/// # Errors
/// The tools of a language can't be had, or a project can't be built; the text says which.
pub(crate) fn build() -> Result<()> {
    let folder = target_dir().join("languages");
    fs::create_dir_all(folder.join("tools"))?;
    for language in LANGUAGES {
        announce(&format!("a plugin in {}", language.name));
        let project = new(&folder, language.name, language.name, &[])?;
        let tools = tools(&folder, &language, &project)?;
        // Builds it, too.
        run(usher(&["test"]).arg(&project))?;
        if language.name == "rust" {
            run(Command::new("cargo").arg("test").current_dir(&project))?;
        }
        for with in language.choices {
            let chosen = format!("{}-{}", language.name, with.replace(',', "-"));
            let chosen = new(&folder, language.name, &chosen, &["--with", with])?;
            link(&language, tools.as_deref(), &chosen)?;
            run(usher(&["test"]).arg(&chosen))?;
        }
        for Quirks { name, source: (source, place), with } in language.quirks {
            let quirks = new(&folder, language.name, name, &["--with", with])?;
            link(&language, tools.as_deref(), &quirks)?;
            fs::copy(repository().join("tests/languages").join(source), quirks.join(place))?;
            fs::remove_dir_all(quirks.join("fixtures"))?;
            fs::create_dir_all(quirks.join("fixtures/nothing"))?;
            fs::write(
                quirks.join("fixtures/nothing/event.json"),
                r#"{"specversion":"1.0","id":"1","source":"/tests","type":"quirk.nothing"}"#,
            )?;
            run(usher(&["test", "--update"]).arg(&quirks))?;
        }
    }
    Ok(())
}

/// Builds a plugin of each language without capabilities, as `target/languages/components/LANGUAGE.wasm`.
///
/// # Errors
/// As those of [`build`].
pub(crate) fn build_components() -> Result<()> {
    let folder = target_dir().join("languages");
    let components = folder.join("components");
    fs::create_dir_all(folder.join("tools"))?;
    fs::create_dir_all(&components)?;
    for language in LANGUAGES {
        announce(&format!("a plugin in {}", language.name));
        let name = format!("bare-{}", language.name);
        let project = new(&folder, language.name, &name, &["--with", "none"])?;
        tools(&folder, &language, &project)?;
        run(usher(&["test"]).arg(&project))?;
        let built = match language.name {
            "rust" => project.join("target/wasm32-wasip2/release/bare_rust.wasm"),
            _ => project.join(&name).with_extension("wasm"),
        };
        fs::copy(built, components.join(language.name).with_extension("wasm"))?;
    }
    Ok(())
}

fn new(folder: &Path, language: &str, name: &str, options: &[&str]) -> Result<PathBuf> {
    let project = folder.join(name);
    // What cargo has built stays.
    let target = project.join("target");
    let kept = folder.join("tools").join(format!("{name}-target"));
    if target.exists() && !kept.exists() {
        fs::rename(&target, &kept)?;
    }
    if project.exists() {
        fs::remove_dir_all(&project)?;
    }
    run(usher(&["new", name, "--lang", language, "--folder"]).arg(&project).args(options))?;
    if kept.exists() {
        fs::rename(&kept, &target)?;
    }
    Ok(project)
}

/// The folder of a language's tools, installed unless they are there as pinned.
fn tools(folder: &Path, language: &Language, project: &Path) -> Result<Option<PathBuf>> {
    let Some((pins, _)) = language.tools else { return Ok(None) };
    let tools = folder.join("tools").join(language.name);
    let (pinned, installed) = (fs::read(project.join(pins))?, tools.join("installed"));
    if !fs::read(&installed).is_ok_and(|installed| installed == pinned) {
        if tools.exists() {
            fs::remove_dir_all(&tools)?;
        }
        fs::create_dir_all(&tools)?;
        fs::copy(project.join(pins), tools.join(pins))?;
        if pins == "package.json" {
            let arguments = ["install", "--no-audit", "--no-fund", "--loglevel", "error"];
            run(Command::new("npm").args(arguments).current_dir(&tools))?;
        } else {
            run(Command::new("python3").args(["-m", "venv", ".venv"]).current_dir(&tools))?;
            let pip = tools.join(".venv/bin/pip");
            let arguments = ["install", "--quiet", "--disable-pip-version-check", "-r", pins];
            run(Command::new(pip).args(arguments).current_dir(&tools))?;
        }
        fs::write(installed, pinned)?;
    }
    link(language, Some(&tools), project)?;
    Ok(Some(tools))
}

/// Puts the tools where a project expects them.
fn link(language: &Language, tools: Option<&Path>, project: &Path) -> Result<()> {
    if let (Some((_, place)), Some(tools)) = (language.tools, tools) {
        symlink(tools.join(place), project.join(place))?;
    }
    Ok(())
}

fn usher(arguments: &[&str]) -> Command {
    // Reported when it is run.
    let mut command = Command::new(usher_binary().unwrap_or_else(|_| "usher".into()));
    command.args(arguments).env("XDG_CACHE_HOME", target_dir().join("languages/tools/cache"));
    command
}

fn run(command: &mut Command) -> Result<()> {
    let name = shown(command);
    let done = command.output().with_context(|| format!("could not run `{name}`"))?;
    if !done.status.success() {
        let text = [done.stdout, done.stderr].concat();
        bail!("`{name}` failed ({}): {}", done.status, String::from_utf8_lossy(&text));
    }
    Ok(())
}
