//! Maps a failed guest call to a verdict with a failure class, a reason and the guest's backtrace.

use std::fmt::Write as _;

use usher_event::limits::REASON_MAX_BYTES;
use usher_event::{Failure, FailureClass, Verdict};
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::frames;
use crate::guest::Guest;
use crate::incoming_http::ResponseTooLarge;
use crate::last_words::{LastWords, last_words};
use crate::meter::CpuExceeded;
use crate::text;

/// Maximum length of a stored backtrace.
const BACKTRACE_MAX_BYTES: usize = 8 * 1024;

/// Parts of wasmtime's messages about a limit that we set.
const LIMITS_OF_WASMTIME: [&str; 3] =
    ["fuel allocated for hostcalls", HANDLES_FULL, "resource limit exceeded"];
const HANDLES_FULL: &str = "handle limit exceeded";

/// How a call without a usable result ended.
pub(crate) struct CallFailure {
    /// What kind of failure it is.
    pub(crate) class: FailureClass,
    /// What happened.
    pub(crate) reason: String,
    /// The guest's call stack.
    pub(crate) backtrace: Option<String>,
    /// Whether earlier calls may be the cause: the limit is on what accumulates over calls.
    pub(crate) is_cumulative: bool,
}

impl CallFailure {
    /// Classifies a call's error, using what the instance recorded about it.
    pub(crate) fn of(error: &wasmtime::Error, guest: &Guest) -> Self {
        let (class, reason, frames) = classify(error, guest);
        let is_cumulative = class == FailureClass::Limit && is_cumulative(error, guest);
        Self { class, reason, backtrace: backtrace(frames, error), is_cumulative }
    }

    /// The sandbox could not be set up.
    pub(crate) fn host(error: &wasmtime::Error) -> Self {
        Self::plain(FailureClass::Host, format!("{error:#}"))
    }

    /// A limit was exceeded that invalidates the guest's result.
    pub(crate) fn limit(reason: String) -> Self {
        Self::plain(FailureClass::Limit, reason)
    }

    /// The wall deadline passed.
    pub(crate) fn deadline(wall_ms: u64) -> Self {
        let reason = format!("did not finish within {wall_ms} ms");
        Self::plain(FailureClass::Timeout, reason)
    }

    fn plain(class: FailureClass, reason: String) -> Self {
        Self { class, reason, backtrace: None, is_cumulative: false }
    }

    /// A retry verdict with this reason, redacted, escaped and truncated for storage.
    pub(crate) fn into_verdict(self, redact: impl Fn(String) -> String) -> Verdict {
        let reason = text::escape_lines(&redact(self.reason)).into_owned();
        let failure = Failure {
            class: self.class,
            reason: text::cut(reason, REASON_MAX_BYTES),
            backtrace: self.backtrace.map(|trace| text::cut(redact(trace), BACKTRACE_MAX_BYTES)),
            recording: None,
        };
        Verdict::Retry { failure, after: None }
    }
}

/// Whether the limit was on handles, resources or memory, which a guest keeps across calls.
fn is_cumulative(error: &wasmtime::Error, guest: &Guest) -> bool {
    let is_full = matches!(error.downcast_ref(), Some(ResourceTableError::Full));
    is_full
        || guest.memory.refused().is_some()
        || error.root_cause().to_string().contains(HANDLES_FULL)
}

/// Class, reason, and the frames that the guest's language told.
fn classify(error: &wasmtime::Error, guest: &Guest) -> (FailureClass, String, Vec<String>) {
    let (class, cause) = class(error, guest);
    if class != FailureClass::Trap {
        return (class, cause, Vec::new());
    }
    // A panic's message goes to stderr before the trap.
    let Some(stderr) = guest.capabilities.log.stderr_tail() else {
        return (class, cause, Vec::new());
    };
    let (words, frames) = match last_words(&stderr) {
        Some(LastWords { headline, frames }) => (headline, frames),
        None => (stderr.split_whitespace().collect::<Vec<_>>().join(" "), Vec::new()),
    };
    // componentize-py can't tell an error of an import that nobody caught: it panics with the
    // name of its class.
    let denied = guest.capabilities.log.plugin().denials.last();
    let denied = denied.filter(|_| UNCAUGHT.iter().any(|class| stderr.contains(class)));
    // StarlingMonkey's fetch fails, or ends the instance, without a word of why.
    let is_silent = FETCH_FAILED.iter().any(|words| stderr.contains(words));
    let denied = denied.or_else(|| guest.capabilities.http.refused().filter(|_| is_silent));
    let denied = denied.map(|denied| format!("; {denied}")).unwrap_or_default();
    (class, format!("{cause}: {}{denied}", text::escape(&words)), frames)
}

/// Classes of the errors of imports that a denial is, as Python's bindings name them.
const UNCAUGHT: [&str; 3] = ["Error_AccessDenied", "Error_Denied", "Error_Upstream"];

/// What StarlingMonkey says of a request that failed, without a body and with one.
const FETCH_FAILED: [&str; 2] = [
    "NetworkError when attempting to fetch resource",
    "event loop error, but no exception is pending",
];

fn class(error: &wasmtime::Error, guest: &Guest) -> (FailureClass, String) {
    if let Some(exceeded) = error.downcast_ref::<CpuExceeded>() {
        return (FailureClass::Timeout, exceeded.to_string());
    }
    if let Some(large) = error.downcast_ref::<ResponseTooLarge>() {
        return (FailureClass::Limit, large.to_string());
    }
    if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return (FailureClass::Host, format!("no room for another instance: {full}"));
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        return (FailureClass::Trap, format!("the guest ended itself with exit status {status}"));
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return (FailureClass::Limit, "too many host resources held at a time".to_owned());
    }
    let cause = error.root_cause().to_string();
    // There is no type to downcast to, so match the message.
    if LIMITS_OF_WASMTIME.iter().any(|limit| cause.contains(limit)) {
        return (FailureClass::Limit, cause);
    }
    if let Some(refused) = guest.memory.refused() {
        return (FailureClass::Limit, format!("{refused}; then: {cause}"));
    }
    let cause = match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => "the guest aborted (unreachable)".to_owned(),
        Some(Trap::StackOverflow) => "the guest's stack overflowed".to_owned(),
        Some(trap) => trap.to_string(),
        None => cause,
    };
    (FailureClass::Trap, cause)
}

/// The guest's call stack, innermost frame first: the frames that its language told, then those of
/// the component.
fn backtrace(told: Vec<String>, error: &wasmtime::Error) -> Option<String> {
    let mut lines = String::new();
    for frame in told {
        // Formatting into a string can't fail.
        let _ = writeln!(lines, "{}", frames::name(&frame));
    }
    let trace = error.downcast_ref::<WasmBacktrace>();
    for frame in trace.into_iter().flat_map(WasmBacktrace::frames) {
        // Formatting into a string can't fail.
        let _ = writeln!(lines, "{}", frames::function_name(frame));
    }
    let kept = lines.trim_end().len();
    lines.truncate(kept);
    (!lines.is_empty()).then_some(lines)
}
