//! Runs cargo; the same one that runs xtask.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use usher_tests::{OTHER_VERSION, other_version, repository, target_dir};

/// `cargo VERB` in `folder`, with its output under `target_dir`.
pub(crate) fn cargo(folder: &Path, verb: &str, target_dir: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.arg(verb).current_dir(folder).stdin(Stdio::null());
    clean(&mut command).arg("--target-dir").arg(target_dir);
    command
}

/// Builds the router as the demo runs it: one package, one profile. Returns the binary.
pub(crate) fn build_router() -> Result<PathBuf> {
    let mut build = cargo(&repository(), "build", &target_dir());
    run(build.args(["--package", "usher"]))?;
    Ok(target_dir().join("debug").join("usher"))
}

/// Builds the router, the tests and all they need as the suite runs them. In one go: apart, cargo
/// would unify features differently and compile half of the dependencies twice.
pub(crate) fn build_workspace() -> Result<()> {
    run(&mut workspace())
}

/// Builds the router as another version of itself, for tests of nodes that differ. Leaves builds of that
/// version behind, which [`build_workspace`] replaces.
pub(crate) fn build_other_version() -> Result<()> {
    run(workspace().env("USHER_VERSION", OTHER_VERSION))?;
    let other = other_version();
    fs::copy(target_dir().join("debug").join("usher"), &other)
        .with_context(|| format!("could not write {}", other.display()))?;
    Ok(())
}

fn workspace() -> Command {
    let mut build = cargo(&repository(), "build", &target_dir());
    build.args(["--workspace", "--bins", "--lib", "--tests"]).env_remove("USHER_VERSION");
    build
}

/// Builds all release binaries in one call: separately, cargo would unify features differently and
/// compile the sandbox once for each. Returns their folder.
pub(crate) fn build_release() -> Result<PathBuf> {
    let mut build = cargo(&repository(), "build", &target_dir());
    run(build.args(["--release", "--package", "usher", "--package", "usher-benches"]))?;
    Ok(target_dir().join("release"))
}

/// Removes variables that would redirect cargo's output.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    command
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET")
}

/// Runs a command with inherited output; fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("could not run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// The command line for display, without paths.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let mut shown = program.to_string_lossy().into_owned();
    let mut arguments = command.get_args();
    while let Some(argument) = arguments.next() {
        if argument == "--target-dir" {
            arguments.next();
            continue;
        }
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_dirs_are_left_out_when_shown() {
        let mut command = Command::new("/x/bin/cargo");
        command.args(["build", "--target-dir", "/y", "--release"]);
        assert_eq!(shown(&command), "cargo build --release");
    }
}
