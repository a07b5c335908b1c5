//! Text for terminals.

use unicode_width::UnicodeWidthStr;

/// Width in terminal columns (UAX #11): two for wide characters, none for combining ones.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}
