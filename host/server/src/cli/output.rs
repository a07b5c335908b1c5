//! Standard output: coloured on a terminal (unless `NO_COLOR` is set), plain everywhere else.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::error::CliError;

/// Styles in use.
pub(super) mod style {
    use super::{AnsiColor, Style};

    /// Headings and names of events.
    pub(in crate::cli) const STRONG: Style = Style::new().bold();
    /// Secondary information.
    pub(in crate::cli) const FAINT: Style = Style::new().dimmed();
    /// Plugins and subscriptions.
    pub(in crate::cli) const NAME: Style = AnsiColor::Cyan.on_default();
    /// Success.
    pub(in crate::cli) const GOOD: Style = AnsiColor::Green.on_default();
    /// Unfinished, or in need of attention.
    pub(in crate::cli) const OPEN: Style = AnsiColor::Yellow.on_default();
    /// Failure.
    pub(in crate::cli) const BAD: Style = AnsiColor::Red.on_default();
}

/// Buffered output of a subcommand.
pub(super) struct Output(Box<dyn Write>);

impl Output {
    /// The process's standard output.
    pub(super) fn stdout() -> Self {
        Self(Box::new(io::BufWriter::new(anstream::stdout())))
    }

    /// Writes text, which may contain styles, verbatim.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CliError> {
        Ok(self.0.write_all(text.as_bytes())?)
    }

    /// Writes pretty-printed JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.text(&format!("{text}\n"))
    }

    /// Writes JSON on one line, for output of many values.
    pub(super) fn json_line(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(io::Error::from)?;
        self.text(&format!("{text}\n"))
    }

    /// Flushes the buffer.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.0.flush()?)
    }
}
