//! The newest lines that plugins wrote, in memory: a layer of the log keeps what passes its filter.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use usher_api::{LogLine, LogsQuery, Timestamp};
use usher_broker::{Clock, SystemClock};
use usher_event::PluginName;

/// The target of what plugins write.
const TARGET: &str = "plugin";

/// Limit on the lines of one plugin.
const PLUGIN_MAX_BYTES: usize = 256 * 1024;

/// Limit on plugins with lines; the one that wrote longest ago goes first.
const PLUGINS_MAX: usize = 64;

/// Counted for each line besides its text.
const LINE_BYTES: usize = 256;

/// The lines that are kept. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct LogLines(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// The number of the newest line.
    newest: u64,
    plugins: BTreeMap<PluginName, Lines>,
}

/// The lines of one plugin.
#[derive(Default)]
struct Lines {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl LogLines {
    /// The newest `max` lines that match, oldest first.
    pub(crate) fn newest(&self, asked: &LogsQuery, max: usize) -> Vec<LogLine> {
        let kept = self.lock();
        let plugins = kept.plugins.iter();
        let lines = plugins
            .filter(|(name, _)| asked.plugin.as_ref().is_none_or(|plugin| plugin == *name))
            .flat_map(|(_, own)| {
                let matching = own.lines.iter().rev().filter(|line| {
                    asked.after.is_none_or(|after| line.number > after)
                        && (asked.sequence.is_none() || asked.sequence == line.sequence)
                });
                matching.take(max)
            });
        let mut lines: Vec<&LogLine> = lines.collect();
        lines.sort_by_key(|line| line.number);
        let excess = lines.len().saturating_sub(max);
        lines.into_iter().skip(excess).cloned().collect()
    }

    fn add(&self, line: LogLine) {
        let kept = &mut *self.lock();
        kept.newest += 1;
        if kept.plugins.len() >= PLUGINS_MAX && !kept.plugins.contains_key(&line.plugin) {
            let newest = |own: &Lines| own.lines.back().map(|line| line.number);
            let silent = kept.plugins.iter().min_by_key(|(_, own)| newest(own));
            if let Some(silent) = silent.map(|(name, _)| name.clone()) {
                kept.plugins.remove(&silent);
            }
        }
        let own = kept.plugins.entry(line.plugin.clone()).or_default();
        own.bytes += LINE_BYTES + line.text.len();
        own.lines.push_back(LogLine { number: kept.newest, ..line });
        while own.bytes > PLUGIN_MAX_BYTES
            && let Some(oldest) = own.lines.pop_front()
        {
            own.bytes -= LINE_BYTES + oldest.text.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for LogLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        if about.target() != TARGET {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        // Without a plugin's name it is the router's own word about plugins.
        let Ok(plugin) = fields.plugin.parse() else { return };
        self.add(LogLine {
            number: 0,
            time: Timestamp::from_ms(SystemClock.now_ms()),
            level: about.level().as_str().to_lowercase(),
            plugin,
            subscription: fields.subscription.and_then(|name| name.parse().ok()),
            sequence: fields.sequence,
            attempt: fields.attempt,
            stream: fields.stream,
            text: fields.message,
        });
    }
}

/// The fields of a line, as the sandbox writes them.
#[derive(Default)]
struct Fields {
    plugin: String,
    subscription: Option<String>,
    sequence: Option<u64>,
    attempt: Option<u32>,
    stream: String,
    message: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "plugin" => value.clone_into(&mut self.plugin),
            "subscription" => self.subscription = Some(value.to_owned()),
            "stream" => value.clone_into(&mut self.stream),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "sequence" => self.sequence = Some(value),
            "attempt" => self.attempt = u32::try_from(value).ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn write(plugin: &str, sequence: u64, text: &str) {
        tracing::info!(target: "plugin", plugin, sequence = Some(sequence), subscription = Some("a/b"),
            attempt = Some(2_u32), stream = "stdout", "{}", text);
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_are_found_by_plugin_and_event() {
        let lines = LogLines::default();
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(lines.clone()),
            || {
                write("printer", 1, "one");
                write("payment", 1, "two");
                tracing::info!("something else");
                write("printer", 2, "three");
            },
        );
        let all = lines.newest(&LogsQuery::default(), 10);
        assert_eq!(texts(&all), ["one", "two", "three"]);
        let first = &all[0];
        assert_eq!((first.level.as_str(), first.attempt, first.number), ("info", Some(2), 1));
        assert_eq!(first.subscription.as_ref().unwrap().as_str(), "a/b");
        let asked = LogsQuery { plugin: Some("printer".parse().unwrap()), ..LogsQuery::default() };
        assert_eq!(texts(&lines.newest(&asked, 10)), ["one", "three"]);
        assert_eq!(texts(&lines.newest(&asked, 1)), ["three"]);
        let asked = LogsQuery { sequence: Some(1), after: Some(1), ..LogsQuery::default() };
        assert_eq!(texts(&lines.newest(&asked, 10)), ["two"]);
    }

    #[test]
    fn lines_and_plugins_are_bounded() {
        let lines = LogLines::default();
        let text = "x".repeat(1_024);
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(lines.clone()),
            || {
                for _ in 0..1_000 {
                    write("noisy", 1, &text);
                }
                for n in 0..PLUGINS_MAX {
                    write(&format!("plugin-{n}"), 1, "x");
                }
            },
        );
        let kept = lines.lock();
        assert_eq!(kept.plugins.len(), PLUGINS_MAX);
        assert!(!kept.plugins.contains_key(&"noisy".parse().unwrap()), "it wrote longest ago");
        drop(kept);
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(lines.clone()),
            || {
                for _ in 0..1_000 {
                    write("noisy", 1, &text);
                }
            },
        );
        let kept = lines.lock();
        let noisy = &kept.plugins[&"noisy".parse().unwrap()];
        assert!(noisy.bytes <= PLUGIN_MAX_BYTES);
        assert_eq!(noisy.bytes, noisy.lines.len() * (LINE_BYTES + text.len()));
    }
}
