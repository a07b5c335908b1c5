//! Standard output: coloured on a terminal (unless `NO_COLOR` is set), plain everywhere else.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::error::CliError;

/// Styles in use.
pub mod style {
    use usher_wording::Tone;

    use super::{AnsiColor, Style};

    /// Headings and names of events.
    pub const STRONG: Style = Style::new().bold();
    /// Secondary information.
    pub const FAINT: Style = Style::new().dimmed();
    /// Plugins and subscriptions.
    pub const NAME: Style = AnsiColor::Cyan.on_default();
    /// Success.
    pub const GOOD: Style = AnsiColor::Green.on_default();
    /// Unfinished, or in need of attention.
    pub const OPEN: Style = AnsiColor::Yellow.on_default();
    /// Failure.
    pub const BAD: Style = AnsiColor::Red.on_default();

    /// The style of a tone.
    pub const fn of(tone: Tone) -> Style {
        match tone {
            Tone::Good => GOOD,
            Tone::Open => OPEN,
            Tone::Bad => BAD,
            Tone::Faint => FAINT,
        }
    }
}

/// Buffered output of a subcommand.
pub struct Output(Box<dyn Write>);

impl Output {
    /// The process's standard output.
    pub fn stdout() -> Self {
        Self(Box::new(io::BufWriter::new(anstream::stdout())))
    }

    /// Writes text, which may contain styles, verbatim.
    pub fn text(&mut self, text: &str) -> Result<(), CliError> {
        Ok(self.0.write_all(text.as_bytes())?)
    }

    /// Writes pretty-printed JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.text(&format!("{text}\n"))
    }

    /// Writes JSON on one line, for output of many values.
    pub fn json_line(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(io::Error::from)?;
        self.text(&format!("{text}\n"))
    }

    /// Flushes the buffer.
    pub fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.0.flush()?)
    }
}
