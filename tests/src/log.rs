//! The router's log: read from its stderr, the newest lines kept, and copied to a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::wait::PATIENCE;

const KEPT_LINES: usize = 20_000;

/// Follows a process's output until it ends.
#[derive(Debug)]
pub(crate) struct Log {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    ended: bool,
}

impl Log {
    /// Reads `from` on a separate thread and appends everything to the file `copy`.
    pub(crate) fn follow(from: impl Read + Send + 'static, copy: &Path) -> Result<Self> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(copy)
            .with_context(|| format!("opening {}", copy.display()))?;
        let shared = Arc::new(Shared::default());
        let sink = Arc::clone(&shared);
        let reader = thread::Builder::new().name("router-log".into()).spawn(move || {
            let mut lines = BufReader::new(from);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                // Best effort: the copy is only for debugging.
                let _ = file.write_all(&line);
                sink.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
            sink.end();
        })?;
        Ok(Self { shared, reader: Some(reader) })
    }

    /// Waits for a line that `find` recognises, including past lines; `None` if the log ends or the
    /// timeout expires.
    pub(crate) fn wait_for<T>(&self, find: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let end = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        loop {
            let found = state
                .lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .find_map(|line| find(&line));
            let left = end.saturating_duration_since(Instant::now());
            if found.is_some() || state.ended || left.is_zero() {
                return found;
            }
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Number of lines so far.
    pub(crate) fn count(&self) -> usize {
        self.shared.lock().lines.len()
    }

    /// Waits until there are this many lines in total, the log ends, or the timeout expires.
    pub(crate) fn wait_for_count(&self, count: usize) {
        let missing = |state: &mut State| state.lines.len() < count && !state.ended;
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), PATIENCE, missing);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The newest lines, for error messages.
    pub(crate) fn tail(&self, count: usize) -> String {
        let state = self.shared.lock();
        let skipped = state.lines.len().saturating_sub(count);
        state.lines.iter().skip(skipped).cloned().collect::<Vec<_>>().join("\n")
    }

    /// Waits until all output has been read.
    pub(crate) fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            // Fails only if the reader panicked; nothing is left to wait for then.
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: String) {
        let mut state = self.lock();
        if state.lines.len() == KEPT_LINES {
            state.lines.pop_front();
        }
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }
}
