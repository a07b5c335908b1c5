//! Bounds and sanitises text from outside: for logs, terminals, problems and storage.

use std::borrow::Cow;

/// What [`cut`] ends a text with, and what [`cut_chars`] does.
pub const ELLIPSIS: &str = "…";

/// Whether a character could move a terminal's cursor, forge a line or reorder text: controls, line
/// separators, and the bidirectional controls of UAX #9.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Escapes what [`is_unsafe`], as in a Rust literal.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, |_| false)
}

/// Like [`escape`], but keeps line feeds.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
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
pub fn head(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or_default()
}

/// Truncates text to `max_bytes`, including `mark` at its end.
pub fn cut(mut text: String, max_bytes: usize, mark: &str) -> String {
    if text.len() > max_bytes {
        text.truncate(head(&text, max_bytes.saturating_sub(mark.len())).len());
        text.push_str(mark);
    }
    text
}

/// Truncates text to `max_chars` characters, and an ellipsis behind them.
pub fn cut_chars(text: &str, max_chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => Cow::Owned(format!("{}{ELLIPSIS}", head(text, end))),
        None => Cow::Borrowed(text),
    }
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
            ("\u{200f}mark", "\\u{200f}mark"),
        ] {
            assert_eq!(escape(text), expected);
        }
        assert_eq!(escape_lines("a\nb\r"), "a\nb\\r");
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("short".to_owned(), 5, "… (cut)"), "short");
        let long = cut("ü".repeat(100), 50, "… (cut)");
        assert!(long.len() <= 50 && long.ends_with("… (cut)"), "{long}");
        for (text, max_bytes, expected) in
            [("abc", 3, "abc"), ("abcdef", 5, "ab…"), ("äöüäöü", 6, "ä…")]
        {
            assert_eq!(cut(text.to_owned(), max_bytes, ELLIPSIS), expected);
        }
        assert_eq!(head("aü", 2), "a");
        assert_eq!((&*cut_chars("äöü", 2), &*cut_chars("äöü", 3)), ("äö…", "äöü"));
    }
}
