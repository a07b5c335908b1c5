//! Builds the guests: the ticket plugins and the misbehaving plugins.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use usher_tests::{repository, target_dir};

use crate::cargo;
use crate::style::announce;
use crate::toolchain::Toolchain;

/// A guest workspace and the output folder of its components.
struct Workspace {
    folder: &'static str,
    output: &'static str,
}

const PLUGINS: Workspace = Workspace { folder: "plugins", output: "plugins" };
const TEST_GUESTS: Workspace = Workspace { folder: "tests/guests", output: "guests" };

/// Builds the ticket plugins and the misbehaving plugins.
pub(crate) fn build() -> Result<()> {
    build_in(&[PLUGINS, TEST_GUESTS])
}

/// Builds the ticket plugins.
pub(crate) fn build_plugins() -> Result<()> {
    build_in(&[PLUGINS])
}

/// Builds workspaces and copies their components; incremental, by cargo.
fn build_in(workspaces: &[Workspace]) -> Result<()> {
    let root = repository();
    let toolchain = Toolchain::find(&root.join("plugins"))?;
    announce(&format!("building guests with {}", toolchain.describe()));
    for workspace in workspaces {
        let folder = root.join(workspace.folder);
        ensure!(folder.join("Cargo.toml").is_file(), "{} is missing", folder.display());
        let built = compile(toolchain.build(&folder, &target_dir().join("wasm")))?;
        ensure!(!built.is_empty(), "{} has no component", folder.display());
        let output = target_dir().join(workspace.output);
        publish(&built, &output)?;
        let names: Vec<&str> = built.iter().map(|component| component.name.as_str()).collect();
        announce(&format!("target/{}: {}", workspace.output, names.join(", ")));
    }
    Ok(())
}

/// A built component.
#[derive(Debug, PartialEq, Eq)]
struct Component {
    name: String,
    path: PathBuf,
}

/// Runs the build and collects the components from cargo's JSON messages.
fn compile(mut command: Command) -> Result<Vec<Component>> {
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let shown = cargo::shown(&command);
    let mut child = command.spawn().with_context(|| format!("could not run `{shown}`"))?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let mut components = Vec::new();
    for line in BufReader::new(stdout).lines() {
        components.extend(component(&line?));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    components.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(components)
}

/// The component reported by one line of cargo's JSON, if any.
fn component(line: &str) -> Option<Component> {
    #[derive(Deserialize)]
    struct Artefact {
        target: Target,
        filenames: Vec<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let artefact: Artefact = serde_json::from_str(line).ok()?;
    artefact.target.kind.iter().any(|kind| kind == "cdylib").then_some(())?;
    let path =
        artefact.filenames.into_iter().find(|path| path.extension() == Some("wasm".as_ref()));
    Some(Component { name: artefact.target.name.replace('_', "-"), path: path? })
}

/// Copies the components to `output` and removes stale ones. Unchanged files aren't touched, so a
/// router watching the folder sees only real changes.
fn publish(components: &[Component], output: &Path) -> Result<()> {
    fs::create_dir_all(output)?;
    for entry in fs::read_dir(output)? {
        let path = entry?.path();
        let known = |component: &Component| path.file_stem() == Some(component.name.as_ref());
        if path.extension() == Some("wasm".as_ref()) && !components.iter().any(known) {
            fs::remove_file(&path)?;
        }
    }
    for component in components {
        let content = fs::read(&component.path)
            .with_context(|| format!("reading {}", component.path.display()))?;
        let path = output.join(format!("{}.wasm", component.name));
        if fs::read(&path).is_ok_and(|present| present == content) {
            continue;
        }
        let partial = output.join(format!("{}.partial", component.name));
        fs::write(&partial, content)?;
        fs::rename(&partial, &path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_found_in_cargos_words() {
        let line = |kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"echo_v2","kind":["{kind}"]}},
                    "filenames":["/t/libecho.rlib","/t/{file}"]}}"#
            )
        };
        let found = component(&line("cdylib", "echo_v2.wasm"));
        let wanted = Component { name: "echo-v2".into(), path: "/t/echo_v2.wasm".into() };
        assert_eq!(found, Some(wanted));
        assert_eq!(component(&line("lib", "echo_v2.wasm")), None);
        assert_eq!(component(&line("cdylib", "libecho.so")), None);
        assert_eq!(component(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
