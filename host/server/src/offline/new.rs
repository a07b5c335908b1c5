//! `usher new`: begins a plugin.

use std::path::PathBuf;

use usher_author::{Template, missing, write};
use usher_cli::ui::{CliError, Output, paint, style};

use super::args::NewArgs;

/// Runs `usher new`.
pub(crate) fn run(args: &NewArgs, out: &mut Output) -> Result<(), CliError> {
    let NewArgs { name, lang, with, folder } = args;
    let folder = folder.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    let template = Template { name: name.clone(), language: *lang, features: with.clone() };
    write(&template, &folder).map_err(|error| CliError::new(error.to_string()))?;
    let mut text = format!("{} is in {}\n", paint(name.as_str(), style::STRONG), folder.display());
    let missing = missing(*lang);
    if !missing.is_empty() {
        text.push_str(&format!("\n{}\n", paint("missing, to build it:", style::OPEN)));
        missing.iter().for_each(|tool| text.push_str(&format!("  {tool}\n")));
    }
    text.push_str(&format!("\n  cd {}\n", folder.display()));
    lang.set_up().iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str("  usher test\n\nREADME.md says how to go on.\n");
    out.text(&text)
}
