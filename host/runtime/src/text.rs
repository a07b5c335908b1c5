//! Sanitises guest text for logs and storage.

pub(crate) use usher_event::text::{escape, escape_lines, head};

/// How much of an error of wasmtime is kept.
const ERROR_MAX_BYTES: usize = 2 * 1024;

/// How much of a name is shown.
const NAME_SHOWN_MAX_BYTES: usize = 128;

/// Truncates text to `max_bytes`, including a mark that says so.
pub(crate) fn cut(text: String, max_bytes: usize) -> String {
    usher_event::text::cut(text, max_bytes, "… (cut)")
}

/// An error of wasmtime with its causes, escaped and bounded.
pub(crate) fn error(error: &wasmtime::Error) -> String {
    cut(escape(&format!("{error:#}")).into_owned(), ERROR_MAX_BYTES)
}

/// A name of an import or export, escaped and bounded.
pub(crate) fn name(name: &str) -> String {
    cut(escape(name).into_owned(), NAME_SHOWN_MAX_BYTES)
}
