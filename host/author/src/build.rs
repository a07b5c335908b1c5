//! Builds a project with the tools of its language.

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use crate::language::{Language, hint, of_program};
use crate::project::Project;

/// A build that made no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A program of a step is not there.
    #[error("{program} can't be run: {error}{hint}")]
    Tool {
        /// The program.
        program: String,
        /// Why not.
        error: io::Error,
        /// How to get it.
        hint: String,
    },
    /// A step failed; its output says why.
    #[error("`{step}` failed ({status}){hint}")]
    Failed {
        /// The step.
        step: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed, if that was captured.
        output: String,
        /// What may be missing.
        hint: String,
    },
    /// All steps succeeded, but there is no component.
    #[error("the build made no {}: check build.component in plugin.toml", .0.display())]
    NoComponent(PathBuf),
}

/// Runs the steps. Their output goes to stderr, or is captured for [`BuildError::Failed`].
///
/// # Errors
/// See [`BuildError`].
pub fn build(project: &Project, is_captured: bool) -> Result<(), BuildError> {
    for step in &project.steps {
        let Some((program, args)) = step.split_first() else { continue };
        // A path is one from the project's folder, a name is looked up on PATH.
        let mut command = match program.contains('/') {
            true => Command::new(project.folder.join(program)),
            false => Command::new(program),
        };
        command.args(args).current_dir(&project.folder).stdin(Stdio::null());
        let failed = |status, output| BuildError::Failed {
            step: step.join(" "),
            status,
            output,
            hint: match not_set_up(project) {
                Some(hint) => format!("; {hint}"),
                None => of_program(program).map(absent).unwrap_or_default(),
            },
        };
        let tool = |error| BuildError::Tool {
            program: program.clone(),
            error,
            hint: hint(program).map(|hint| format!("; {hint}")).unwrap_or_default(),
        };
        if is_captured {
            let done = command.output().map_err(tool)?;
            if !done.status.success() {
                let mut output = String::from_utf8_lossy(&done.stdout).into_owned();
                output.push_str(&String::from_utf8_lossy(&done.stderr));
                return Err(failed(done.status, output));
            }
        } else {
            let status = command.stdout(io::stderr()).status().map_err(tool)?;
            if !status.success() {
                return Err(failed(status, String::new()));
            }
        }
    }
    if project.component.is_file() {
        Ok(())
    } else {
        Err(BuildError::NoComponent(project.component.clone()))
    }
}

/// What to do about a project whose tools are not installed.
fn not_set_up(project: &Project) -> Option<&'static str> {
    let has = |name: &str| project.folder.join(name).exists();
    let pins = [("requirements.txt", ".venv"), ("package.json", "node_modules")];
    let (_, tools) = pins.into_iter().find(|(pins, tools)| has(pins) && !has(tools))?;
    hint(&format!("{tools}/"))
}

/// What a failed step may have missed.
fn absent(language: Language) -> String {
    missing(language).iter().map(|tool| format!("; missing: {tool}")).collect()
}

/// Tools of a language that are missing or don't run, each with how to get it.
pub fn missing(language: Language) -> Vec<String> {
    let runs = |check: &[&str]| {
        check.split_first().is_some_and(|(program, args)| {
            let mut command = Command::new(program);
            command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        })
    };
    let tools = language.tools().iter().filter(|tool| !runs(tool.check));
    tools.map(|tool| format!("{}: {}", tool.name, tool.get)).collect()
}
