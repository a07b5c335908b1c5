//! Colours, for terminals only (`anstream` strips them elsewhere).

use anstyle::{AnsiColor, Reset, Style};

pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const TITLE: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const PLAIN: Reset = Reset;

/// Says on stderr, where cargo reports too, what begins now.
pub(crate) fn announce(what: &str) {
    anstream::eprintln!("{TITLE}==> {what}{PLAIN}");
}
