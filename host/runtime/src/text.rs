//! Sanitises guest text for logs and storage: escapes control characters, bounds the length.

use std::borrow::Cow;

/// How much of an error of wasmtime is kept.
const ERROR_MAX_BYTES: usize = 2 * 1024;

/// How much of a name is shown.
const NAME_SHOWN_MAX_BYTES: usize = 128;

/// Whether a character could move a terminal's cursor, forge a line or reorder text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes control characters, and those that break lines or reorder text.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, |_| false)
}

/// Like [`escape`], but keeps line feeds.
pub(crate) fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_but(text, |c| c == '\n')
}

fn escape_but(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(|c| is_unsafe(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) && !keep(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The longest prefix of `text` within `max_bytes` that ends on a char boundary.
pub(crate) fn head(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or_default()
}

/// Truncates text to `max_bytes`, including a mark that says so.
pub(crate) fn cut(mut text: String, max_bytes: usize) -> String {
    const MARK: &str = "… (cut)";
    if text.len() > max_bytes {
        text.truncate(head(&text, max_bytes.saturating_sub(MARK.len())).len());
        text.push_str(MARK);
    }
    text
}

/// An error of wasmtime with its causes, escaped and bounded.
pub(crate) fn error(error: &wasmtime::Error) -> String {
    cut(escape(&format!("{error:#}")).into_owned(), ERROR_MAX_BYTES)
}

/// A name of an import or export, escaped and bounded.
pub(crate) fn name(name: &str) -> String {
    cut(escape(name).into_owned(), NAME_SHOWN_MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (text, expected) in [
            ("plain, ünïcode", "plain, ünïcode"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("\u{9b}1m\u{7f}\0", "\\u{9b}1m\\u{7f}\\u{0}"),
            ("\u{202e}txt.exe\u{2028}", "\\u{202e}txt.exe\\u{2028}"),
        ] {
            assert_eq!(escape(text), expected);
        }
        assert_eq!(escape_lines("a\nb\r"), "a\nb\\r");
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("short".to_owned(), 5), "short");
        let long = cut("ü".repeat(100), 50);
        assert!(long.len() <= 50 && long.ends_with("… (cut)"), "{long}");
        assert_eq!(head("aü", 2), "a");
    }
}
