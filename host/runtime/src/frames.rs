//! Names of functions in call stacks, as they are shown: they are the guest's words.

use wasmtime::FrameInfo;

use crate::text;

/// Maximum length of one.
const FUNCTION_MAX_BYTES: usize = 256;

/// A name, escaped and cut.
pub(crate) fn name(name: &str) -> String {
    text::cut(text::escape(name).into_owned(), FUNCTION_MAX_BYTES)
}

/// A function as its author knows it; by number in a component without names.
pub(crate) fn function_name(frame: &FrameInfo) -> String {
    let name = frame.func_name().map_or_else(
        || format!("function {}", frame.func_index()),
        |name| format!("{:#}", rustc_demangle::demangle(name)),
    );
    self::name(&name)
}
