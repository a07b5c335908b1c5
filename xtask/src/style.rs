//! Colours; `anstream` strips them if the output isn't a terminal.

use anstyle::{AnsiColor, Reset, Style};

pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const TITLE: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const PLAIN: Reset = Reset;

/// Announces a step on stderr, like cargo's progress.
pub(crate) fn announce(what: &str) {
    anstream::eprintln!("{TITLE}==> {what}{PLAIN}");
}
