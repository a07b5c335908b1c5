//! Plugin logs: stdout, stderr and wasi:logging become `tracing` events with target `plugin`,
//! attributed to plugin, delivery and attempt. Streams are split into lines, control characters are
//! escaped, secrets are redacted, and output is limited per delivery and per minute.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tracing::Level;
use usher_event::{Delivery, SubscriptionName, TraceContext};
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::bindings::logging::{self, Level as GuestLevel};
use crate::capability::{About, Capability, Grants, Has, View, Viewed};
use crate::limits::size;
use crate::meter::GuestClock;
use crate::plugin::Plugin;
use crate::{Limits, text};

/// Maximum bytes a stream accepts per write.
const WRITE_MAX_BYTES: usize = 64 * 1024;
/// Overhead charged per line: each becomes a separate log record.
const LINE_BYTES: usize = 64;
const MINUTE: Duration = Duration::from_secs(60);
/// Tail of stderr kept to explain a trap, usually a panic message.
const TAIL_MAX_BYTES: usize = 4 * 1024;

/// One instance's log. Cheap to clone: the streams the guest holds share it.
#[derive(Clone)]
pub(crate) struct Log {
    instance: Arc<Instance>,
}

/// A line of a delivery's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// `stdout`, `stderr` or `log`.
    pub stream: &'static str,
    /// `trace`, `debug`, `info`, `warn` or `error`; `info` for streams.
    pub level: &'static str,
    /// The line, redacted and escaped.
    pub text: String,
}

/// A plugin's log.
pub(crate) struct Shared {
    plugin: Arc<Plugin>,
    /// Log budget of the current minute.
    minute: Mutex<LogBudget>,
}

struct Instance {
    shared: Arc<Shared>,
    /// Whether a buffer may hold an unterminated line. Saves [`Log::flush`] the lock, since most
    /// deliveries leave none.
    has_rest: AtomicBool,
    state: Mutex<DeliveryLog>,
}

/// The current delivery, its remaining limit and its buffered output.
#[derive(Default)]
struct DeliveryLog {
    subscription: Option<SubscriptionName>,
    sequence: u64,
    attempt: u32,
    /// The trace that the delivery is part of.
    trace: Option<TraceContext>,
    left_bytes: usize,
    is_cut: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// End of this delivery's stderr.
    tail: Vec<u8>,
    /// Whether `tail` lacks the start.
    is_tail_cut: bool,
    /// Its lines, if the plugin is observed.
    lines: Vec<LogLine>,
}

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    Logging,
}

impl Stream {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Logging => "log",
        }
    }
}

impl Capability for Log {
    const ABOUT: &'static [About] = &[About {
        name: None,
        interfaces: &["wasi:logging/", "wasi:cli/stdout", "wasi:cli/stderr"],
        ability: "writes to the log",
        is_flag: false,
    }];

    type Service = ();
    type Shared = Shared;

    fn share(plugin: &Arc<Plugin>, _: &Grants, (): ()) -> Shared {
        let minute = Mutex::new(LogBudget::new(&plugin.limits));
        Shared { plugin: plugin.clone(), minute }
    }

    fn new(shared: &Arc<Shared>, _: &Arc<GuestClock>) -> Self {
        let left_bytes = size(shared.plugin.limits.log_bytes);
        let state = Mutex::new(DeliveryLog { left_bytes, ..DeliveryLog::default() });
        let has_rest = AtomicBool::new(false);
        Self { instance: Arc::new(Instance { shared: shared.clone(), has_rest, state }) }
    }

    fn link<T: Has<Self> + Send + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        logging::add_to_linker::<_, Viewed<Self>>(linker, T::view)
    }

    /// Attributes subsequent lines to this delivery and resets its limit.
    fn begin(&mut self, delivery: &Delivery) {
        let mut state = self.lock();
        if state.subscription.as_ref() != Some(&delivery.subscription) {
            state.subscription = Some(delivery.subscription.clone());
        }
        state.sequence = delivery.sequence;
        state.attempt = delivery.attempt;
        state.trace = delivery.trace();
        state.left_bytes = size(self.plugin().limits.log_bytes);
        state.is_cut = false;
        state.tail.clear();
        state.is_tail_cut = false;
        state.lines.clear();
    }
}

impl Log {
    pub(crate) fn plugin(&self) -> &Plugin {
        &self.instance.shared.plugin
    }

    fn lock(&self) -> MutexGuard<'_, DeliveryLog> {
        self.instance.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flushes unterminated lines.
    pub(crate) fn flush(&self) {
        if !self.instance.has_rest.swap(false, Ordering::Relaxed) {
            return;
        }
        let state = &mut *self.lock();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(state.buffer(stream));
            if !line.is_empty() {
                self.emit(state, stream, Level::INFO, &line);
            }
        }
    }

    /// The lines of the delivery, if the plugin is observed. Bounded like its log.
    pub(crate) fn take_lines(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.lock().lines)
    }

    /// How much the current delivery has written.
    pub(crate) fn used_bytes(&self) -> u64 {
        let left_bytes = self.lock().left_bytes as u64;
        self.plugin().limits.log_bytes.saturating_sub(left_bytes)
    }

    /// The tail of stderr, redacted.
    pub(crate) fn stderr_tail(&self) -> Option<String> {
        let state = self.lock();
        // Redact before joining lines, which would alter secrets that contain white space.
        let plugin = self.plugin();
        let tail = if state.is_tail_cut {
            let rest = state.tail.iter().position(|byte| !is_continuation(*byte));
            let whole = rest.and_then(|start| state.tail.get(start..)).unwrap_or_default();
            plugin.redactor.redact_end(String::from_utf8_lossy(whole).into_owned())
        } else {
            plugin.redactor.redact(String::from_utf8_lossy(&state.tail).into_owned())
        };
        (!tail.trim().is_empty()).then_some(tail)
    }

    fn write(&self, stream: Stream, bytes: &[u8]) {
        let state = &mut *self.lock();
        if stream == Stream::Stderr {
            state.keep_tail(bytes);
        }
        let mut buffer = std::mem::take(state.buffer(stream));
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line_bytes = if piece.ends_with(b"\n") { LINE_BYTES } else { 0 };
            let taken = self.take(state, piece, line_bytes);
            buffer.extend_from_slice(taken);
            if taken.len() < piece.len() {
                break;
            }
            if buffer.last() == Some(&b'\n') {
                buffer.pop();
                self.emit(state, stream, Level::INFO, &buffer);
                buffer.clear();
            }
        }
        if !buffer.is_empty() {
            self.instance.has_rest.store(true, Ordering::Relaxed);
        }
        *state.buffer(stream) = buffer;
    }

    fn write_line(&self, level: Level, context: &str, message: &str) {
        let state = &mut *self.lock();
        let line = match context {
            "" => message.to_owned(),
            _ => format!("{context}: {message}"),
        };
        let line = self.take(state, line.as_bytes(), LINE_BYTES);
        if !line.is_empty() {
            self.emit(state, Stream::Logging, level, line);
        }
    }

    /// Charges `bytes` to the delivery and to the plugin's current minute, and returns the prefix
    /// that fits. If all of it fits, also charges `more_bytes`.
    fn take<'a>(&self, state: &mut DeliveryLog, bytes: &'a [u8], more_bytes: usize) -> &'a [u8] {
        let plugin = self.plugin();
        let taken_bytes = match state.left_bytes.checked_sub(bytes.len()) {
            Some(left) => {
                state.left_bytes = left.saturating_sub(more_bytes);
                bytes.len()
            }
            None => {
                if !state.is_cut {
                    state.is_cut = true;
                    let limit_bytes = plugin.limits.log_bytes;
                    self.cut(state, &format!("this delivery wrote more than {limit_bytes} bytes"));
                }
                std::mem::take(&mut state.left_bytes)
            }
        };
        let charged_bytes = taken_bytes + if taken_bytes == bytes.len() { more_bytes } else { 0 };
        let mut minute = self.instance.shared.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let minute_left = minute.take(charged_bytes, Instant::now());
        drop(minute);
        let taken_bytes = match minute_left {
            Left::Enough => taken_bytes,
            Left::Cut { bytes, is_first } => {
                if is_first {
                    let limit_bytes = plugin.limits.log_minute_bytes;
                    let words =
                        format!("the plugin wrote more than {limit_bytes} bytes in a minute");
                    self.cut(state, &words);
                }
                taken_bytes.min(bytes)
            }
        };
        bytes.get(..taken_bytes).unwrap_or_default()
    }

    /// Logs that output is dropped from here on.
    fn cut(&self, state: &mut DeliveryLog, why: &str) {
        let words = format!("log cut: {why}, {LINE_BYTES} counted for each line besides its own");
        self.emit(state, Stream::Logging, Level::WARN, words.as_bytes());
    }

    fn emit(&self, state: &mut DeliveryLog, stream: Stream, level: Level, line: &[u8]) {
        if self.plugin().is_observed {
            let line = self.plugin().redactor.redact(String::from_utf8_lossy(line).into_owned());
            let (stream, level) = (stream.as_str(), name(level));
            state.lines.push(LogLine { stream, level, text: text::escape(&line).into_owned() });
        }
        if self.plugin().is_silent {
            return;
        }
        let attribution = state.attribution();
        macro_rules! emit {
            ($level:expr) => {
                if tracing::enabled!(target: "plugin", $level) {
                    let line = String::from_utf8_lossy(line);
                    let line = self.plugin().redactor.redact(line.into_owned());
                    tracing::event!(
                        target: "plugin",
                        $level,
                        plugin = &*self.plugin().label,
                        sequence = attribution.sequence,
                        subscription = attribution.subscription,
                        attempt = attribution.attempt,
                        stream = stream.as_str(),
                        trace_id = attribution.trace.map(TraceContext::trace_id_text),
                        "{}",
                        text::escape(&line),
                    );
                }
            };
        }
        match level {
            Level::ERROR => emit!(Level::ERROR),
            Level::WARN => emit!(Level::WARN),
            Level::INFO => emit!(Level::INFO),
            Level::DEBUG => emit!(Level::DEBUG),
            Level::TRACE => emit!(Level::TRACE),
        }
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Log budget of one plugin per minute, shared by its instances.
pub(crate) struct LogBudget {
    limit_bytes: usize,
    left_bytes: usize,
    began: Option<Instant>,
    is_cut: bool,
}

/// Result of charging a [`LogBudget`].
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Enough,
    /// Only `bytes` fit; the rest of the minute's output is dropped.
    Cut {
        bytes: usize,
        /// Whether this is the first cut of the minute.
        is_first: bool,
    },
}

impl LogBudget {
    pub(crate) fn new(limits: &Limits) -> Self {
        let limit_bytes = size(limits.log_minute_bytes);
        Self { limit_bytes, left_bytes: limit_bytes, began: None, is_cut: false }
    }

    /// Charges `bytes`. A new minute starts with the first write after the previous one ended.
    fn take(&mut self, bytes: usize, now: Instant) -> Left {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= MINUTE) {
            *self = Self { began: Some(now), left_bytes: self.limit_bytes, is_cut: false, ..*self };
        }
        match self.left_bytes.checked_sub(bytes) {
            Some(left_bytes) => {
                self.left_bytes = left_bytes;
                Left::Enough
            }
            None => Left::Cut {
                bytes: std::mem::take(&mut self.left_bytes),
                is_first: !std::mem::replace(&mut self.is_cut, true),
            },
        }
    }
}

/// Attribution of a line; empty during `describe`.
#[derive(Clone, Copy, Default)]
struct Attribution<'a> {
    subscription: Option<&'a str>,
    sequence: Option<u64>,
    attempt: Option<u32>,
    trace: Option<TraceContext>,
}

impl DeliveryLog {
    fn attribution(&self) -> Attribution<'_> {
        match &self.subscription {
            Some(name) => Attribution {
                subscription: Some(name.as_str()),
                sequence: Some(self.sequence),
                attempt: Some(self.attempt),
                trace: self.trace,
            },
            None => Attribution::default(),
        }
    }

    fn buffer(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stderr => &mut self.stderr,
            Stream::Stdout | Stream::Logging => &mut self.stdout,
        }
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        let kept = bytes.get(bytes.len().saturating_sub(TAIL_MAX_BYTES)..).unwrap_or_default();
        self.tail.extend_from_slice(kept);
        let excess = self.tail.len().saturating_sub(TAIL_MAX_BYTES);
        self.tail.drain(..excess);
        self.is_tail_cut |= excess > 0 || kept.len() < bytes.len();
    }
}

/// UTF-8 continuation bytes are `0b10xx_xxxx`.
fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

impl logging::Host for View<'_, Log> {
    fn log(&mut self, level: GuestLevel, context: String, message: String) -> wasmtime::Result<()> {
        let level = match level {
            GuestLevel::Trace => Level::TRACE,
            GuestLevel::Debug => Level::DEBUG,
            GuestLevel::Info => Level::INFO,
            GuestLevel::Warn => Level::WARN,
            GuestLevel::Error | GuestLevel::Critical => Level::ERROR,
        };
        self.capability.write_line(level, &context, &message);
        Ok(())
    }
}

/// Stdout or stderr of a guest.
pub(crate) struct Output {
    log: Log,
    stream: Stream,
}

impl Output {
    pub(crate) fn new(log: &Log, stream: Stream) -> Self {
        Self { log: log.clone(), stream }
    }

    fn again(&self) -> Self {
        Self::new(&self.log, self.stream)
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.again())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.again())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Output {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.log.write(self.stream, bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redaction::Redactor;
    use crate::testing::{clock, limited, plugin};

    fn shared(plugin: &Arc<Plugin>) -> Arc<Shared> {
        Arc::new(Log::share(plugin, &Grants::default(), ()))
    }

    fn log_of(plugin: &Arc<Plugin>) -> Log {
        Log::new(&shared(plugin), &clock())
    }

    #[test]
    fn empty_lines_are_not_free() {
        let log = log_of(&limited(Limits { log_bytes: 650, ..Limits::default() }));
        log.write(Stream::Stdout, &[b'\n'; 9]);
        assert_eq!(log.lock().left_bytes, 650 - 9 * (1 + LINE_BYTES));
        log.write(Stream::Stdout, &[b'\n'; 64 * 1024]);
        assert_eq!(log.lock().left_bytes, 0);
        assert!(log.lock().is_cut);
        // A write that doesn't end a line is charged its bytes only.
        let log = log_of(&plugin());
        log.write(Stream::Stdout, b"a line in");
        log.write(Stream::Stdout, b" two pieces\n");
        assert_eq!(log.lock().left_bytes, 64 * 1024 - 21 - LINE_BYTES);
        log.write_line(Level::INFO, "", "");
        assert_eq!(log.lock().left_bytes, 64 * 1024 - 21 - 2 * LINE_BYTES);
    }

    #[test]
    fn a_minute_has_room_for_its_limit_and_the_next_one_again() {
        let limits = Limits { log_minute_bytes: 100, ..Limits::default() };
        let mut minute = LogBudget::new(&limits);
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(minute.take(60, after(0)), Left::Enough);
        assert_eq!(minute.take(40, after(59)), Left::Enough, "at the limit");
        assert_eq!(minute.take(1, after(59)), Left::Cut { bytes: 0, is_first: true });
        assert_eq!(minute.take(1, after(59)), Left::Cut { bytes: 0, is_first: false });
        assert_eq!(minute.take(99, after(60)), Left::Enough, "one below");
        assert_eq!(minute.take(2, after(61)), Left::Cut { bytes: 1, is_first: true });
    }

    #[test]
    fn all_instances_of_a_plugin_share_a_minute() {
        let limits = Limits { log_bytes: 1000, log_minute_bytes: 1000, ..Limits::default() };
        let shared = shared(&limited(limits));
        let taken = [600, 600, 1].map(|bytes| {
            let log = Log::new(&shared, &clock());
            let mut state = log.lock();
            log.take(&mut state, &vec![b'x'; bytes], 0).len()
        });
        assert_eq!(taken, [600, 400, 0]);
    }

    #[test]
    fn last_words_give_no_secret_away() {
        let secret = "first word, second\nthird-line-of-it";
        let redactor = Redactor::new([secret].into_iter()).unwrap();
        let plugin = Arc::new(Plugin::new("tested", Limits::default(), redactor));
        let words = |written: &str| {
            let log = log_of(&plugin);
            log.write(Stream::Stderr, written.as_bytes());
            log.stderr_tail().unwrap()
        };
        assert_eq!(words(&format!("bad key:\n{secret}\nend")), "bad key:\n[redacted]\nend");
        // Cut within the secret, and then within a character before it.
        let rest = "x".repeat(TAIL_MAX_BYTES - 10);
        assert_eq!(words(&format!("{secret}{rest}")), format!("[redacted]{rest}"));
        let rest = "x".repeat(TAIL_MAX_BYTES - 1);
        assert_eq!(words(&format!("ü{rest}")), rest);
    }

    #[test]
    fn a_delivery_has_room_for_its_limit() {
        let limits = Limits { log_bytes: 100, ..Limits::default() };
        let plugin = limited(limits);
        for (written_bytes, taken_bytes) in [(99, 99), (100, 100), (101, 100)] {
            let log = log_of(&plugin);
            let mut state = log.lock();
            let taken = log.take(&mut state, &vec![b'x'; written_bytes], 0).len();
            let is_cut = written_bytes > taken_bytes;
            assert_eq!((taken, state.is_cut), (taken_bytes, is_cut), "{written_bytes}");
        }
    }
}
