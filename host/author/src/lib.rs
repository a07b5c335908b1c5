//! A plugin's project, as its author has it: made from a template ([`Template`]), described by
//! `plugin.toml` ([`Project`]), built by the tools of its language ([`build`]).

mod build;
mod language;
mod project;
mod template;

pub use build::{BuildError, build, missing};
pub use language::{Language, Tool};
pub use project::{MANIFEST, Project, ProjectError};
pub use template::{Feature, NewError, Template, write};
