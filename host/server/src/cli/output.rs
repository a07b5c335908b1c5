//! Standard output: coloured on a terminal (unless `NO_COLOR` says no), plain everywhere else.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::error::CliError;

/// The few styles in use.
pub(super) mod style {
    use super::{AnsiColor, Style};

    /// Headings and names of events.
    pub(in crate::cli) const STRONG: Style = Style::new().bold();
    /// What is there for completeness.
    pub(in crate::cli) const FAINT: Style = Style::new().dimmed();
    /// Plugins and subscriptions.
    pub(in crate::cli) const NAME: Style = AnsiColor::Cyan.on_default();
    /// What went well.
    pub(in crate::cli) const GOOD: Style = AnsiColor::Green.on_default();
    /// What is not over.
    pub(in crate::cli) const OPEN: Style = AnsiColor::Yellow.on_default();
    /// What went wrong.
    pub(in crate::cli) const BAD: Style = AnsiColor::Red.on_default();
}

/// Where answers go.
pub(super) struct Output(Box<dyn Write>);

impl Output {
    /// The process's own.
    pub(super) fn stdout() -> Self {
        Self(Box::new(io::BufWriter::new(anstream::stdout())))
    }

    /// Text that may carry styles, as it is.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CliError> {
        Ok(self.0.write_all(text.as_bytes())?)
    }

    /// A whole answer as JSON, for programs and for people.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.text(&format!("{text}\n"))
    }

    /// One of many JSON answers, on a line of its own.
    pub(super) fn json_line(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(io::Error::from)?;
        self.text(&format!("{text}\n"))
    }

    /// Hands everything on.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.0.flush()?)
    }
}
