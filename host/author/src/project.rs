//! `plugin.toml`: how a plugin is built, and where its component is then. Written by `usher new`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Name of the file.
pub const MANIFEST: &str = "plugin.toml";

/// A project that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// There is no manifest.
    #[error(
        "{} is no plugin's project: it has no {MANIFEST}; make one with `usher new`, or name a \
         component with --component", .0.display()
    )]
    Missing(PathBuf),
    /// It can't be read or understood.
    #[error("{}: {what}", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
}

/// A plugin's project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its folder.
    pub folder: PathBuf,
    /// Program and arguments that build it, run in the folder one after the other.
    pub steps: Vec<Vec<String>>,
    /// The component that they make.
    pub component: PathBuf,
    /// Files and folders whose change makes it out of date.
    pub watch: Vec<PathBuf>,
    /// Folder of its fixtures.
    pub fixtures: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    build: Build,
    #[serde(default = "fixtures")]
    fixtures: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    steps: Vec<Vec<String>>,
    component: PathBuf,
    watch: Vec<PathBuf>,
}

fn fixtures() -> PathBuf {
    "fixtures".into()
}

impl Project {
    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// See [`ProjectError`].
    pub fn read(folder: &Path) -> Result<Self, ProjectError> {
        let path = folder.join(MANIFEST);
        if !path.exists() {
            return Err(ProjectError::Missing(folder.to_owned()));
        }
        let broken = |what: String| ProjectError::Broken { path: path.clone(), what };
        let text = fs::read_to_string(&path).map_err(|error| broken(error.to_string()))?;
        let Manifest { build, fixtures } = toml::from_str(&text)
            .map_err(|error| broken(error.to_string().trim_end().to_owned()))?;
        let Build { steps, component, watch } = build;
        if steps.is_empty() || steps.iter().any(Vec::is_empty) {
            return Err(broken(
                "build.steps: each step is a program with its arguments".to_owned(),
            ));
        }
        if component.extension().is_none_or(|extension| extension != "wasm") {
            return Err(broken("build.component: a component's name ends in .wasm".to_owned()));
        }
        let below = |path: PathBuf| folder.join(path);
        Ok(Self {
            folder: folder.to_owned(),
            steps,
            component: below(component),
            watch: watch.into_iter().map(below).collect(),
            fixtures: below(fixtures),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Project, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST), text).unwrap();
        Project::read(folder.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_is_read() {
        let text = "[build]\nsteps = [[\"make\"]]\ncomponent = \"a.wasm\"\nwatch = [\"a.c\"]\n";
        let project = read(text).unwrap();
        assert_eq!(project.steps, [["make"]]);
        assert_eq!(project.component, project.folder.join("a.wasm"));
        assert_eq!(project.fixtures, project.folder.join("fixtures"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let error = read("[build]\nsteps = 1\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains(MANIFEST), "{error}");
        let error = read("[build]\nsteps = [[]]\ncomponent = \"a\"\nwatch = []\n").unwrap_err();
        assert!(error.contains("build.steps"), "{error}");
        let error = Project::read(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("usher new"), "{error}");
    }
}
