//! What `usher dev` prints: text, or with `--json` an object a line with what it is in `kind`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use usher_api::{StateValue, Stored};
use usher_cli::ui::{CliError, Output, paint, style};
use usher_wording::{printable, printable_cut};

/// How much of data and values is shown.
const SHOWN_MAX_CHARS: usize = 160;

pub(super) struct Screen<'a> {
    out: &'a mut Output,
    is_json: bool,
    /// What was told to be granted although usher.toml doesn't.
    granted: BTreeSet<String>,
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a mut Output, is_json: bool) -> Self {
        Self { out, is_json, granted: BTreeSet::new() }
    }

    /// Prints one of the two.
    fn show(&mut self, kind: &str, mut value: Value, text: &str) -> Result<(), CliError> {
        if self.is_json {
            if let Value::Object(members) = &mut value {
                members.insert("kind".to_owned(), kind.into());
            }
            self.out.json_line(&value)?;
        } else {
            self.out.text(text)?;
        }
        self.out.flush()
    }

    pub(super) fn note(&mut self, text: &str) -> Result<(), CliError> {
        let line = format!("{}\n", paint(&printable(text), style::OPEN));
        self.show("note", json!({ "text": text }), &line)
    }

    pub(super) fn welcome(&mut self, folder: &Path, samples: &[String]) -> Result<(), CliError> {
        let folder = paint(&printable(&folder.display().to_string()), style::STRONG);
        let names = samples;
        let samples: Vec<_> = samples.iter().map(|name| printable(name)).collect();
        let samples = match samples.is_empty() {
            true => "none: a fixture's event.json is one".to_owned(),
            false => samples.join(", "),
        };
        let text = format!(
            "{folder}: built and served at each change\n\
             Enter sends the first sample, a name another, q ends. Samples: {samples}\n"
        );
        self.show("begin", json!({ "samples": names }), &text)
    }

    pub(super) fn listening(&mut self, url: &str) -> Result<(), CliError> {
        let text = format!("the router is at {url}, its page at {url}/ui\n");
        self.show("listening", json!({ "url": url }), &text)
    }

    pub(super) fn building(&mut self) -> Result<(), CliError> {
        self.show("building", json!({}), &format!("{}\n", paint("building", style::FAINT)))
    }

    pub(super) fn built(&mut self, took: Duration, is_same: bool) -> Result<(), CliError> {
        let same = if is_same { ": the same component as before, which serves on" } else { "" };
        let text = format!("built in {}{same}", seconds(took));
        let value = json!({ "took_ms": usher_event::millis(took), "is_same": is_same });
        self.show("built", value, &format!("{}\n", paint(&text, style::FAINT)))
    }

    pub(super) fn broken(&mut self, error: &str, output: &str) -> Result<(), CliError> {
        let mut text = String::new();
        output.lines().for_each(|line| text.push_str(&format!("{}\n", printable(line))));
        let painted = paint(&printable(error), style::BAD);
        text.push_str(&format!(
            "{painted}\nnothing else has changed; waiting for the next change\n"
        ));
        self.show("broken", json!({ "error": error, "output": output }), &text)
    }

    /// A version serves; `took` is the time since its build began.
    pub(super) fn serving(
        &mut self,
        fields: &Value,
        took: Option<Duration>,
    ) -> Result<(), CliError> {
        let text = |name: &str| printable(fields[name].as_str().unwrap_or_default());
        let after_ms = took.map(usher_event::millis);
        let took = took.map(|took| format!(", {} after the change", seconds(took)));
        let digest: String = text("digest").chars().take(12).collect();
        let line = format!(
            "{} {} serves ({}, {digest}; loaded in {} ms){}\n",
            paint(&text("plugin"), style::STRONG),
            text("version"),
            text("outcome"),
            fields["took_ms"],
            took.unwrap_or_default()
        );
        let value = json!({
            "plugin": fields["plugin"], "version": fields["version"], "digest": fields["digest"],
            "outcome": fields["outcome"], "load_ms": fields["took_ms"], "after_ms": after_ms,
        });
        self.show("serving", value, &line)
    }

    pub(super) fn event(&mut self, stored: &Stored) -> Result<(), CliError> {
        let mut text = format!(
            "#{} {}",
            stored.sequence,
            paint(&printable_cut(stored.event.ty(), 80), style::NAME)
        );
        if let Some(subject) = stored.event.subject() {
            let _ = write!(text, " {}", printable_cut(subject, 80));
        }
        if let Some(data) = stored.event.data() {
            let data = String::from_utf8_lossy(&data);
            let _ =
                write!(text, " {}", paint(&printable_cut(&data, SHOWN_MAX_CHARS), style::FAINT));
        }
        if let Some(cause) = &stored.cause {
            let _ = write!(
                text,
                " by {} from #{}",
                printable(cause.subscription.as_str()),
                cause.parent
            );
        }
        let value = serde_json::to_value(stored).unwrap_or_default();
        self.show("event", value, &format!("{text}\n"))
    }

    /// A line of the router's log: what plugins write, what failed, what is wrong.
    pub(super) fn log(&mut self, line: &Value) -> Result<(), CliError> {
        let fields = &line["fields"];
        let field = |name: &str| printable(fields[name].as_str().unwrap_or_default());
        let message = field("message");
        let level = line["level"].as_str().unwrap_or_default();
        if line["target"] == "plugin" {
            let stream = match fields["stream"].as_str() {
                Some("log") | None => level.to_lowercase(),
                Some(stream) => stream.to_owned(),
            };
            let text = format!("  | {} {message}\n", paint(&stream, style::FAINT));
            return self.show("log", json!({ "stream": stream, "text": message }), &text);
        }
        if message == "delivery failed" {
            let mut text = format!(
                "{} attempt {} at #{} ({}): {}\n",
                paint(&field("verdict"), style::BAD),
                fields["attempt"],
                fields["sequence"],
                field("class"),
                field("reason"),
            );
            for frame in fields["backtrace"].as_str().unwrap_or_default().lines() {
                let _ = writeln!(text, "    {}", paint(&printable(frame), style::FAINT));
            }
            return self.show("failed", fields.clone(), &text);
        }
        if level == "INFO" && fields["grant"].is_string() {
            // At the first load, not at every change.
            if !self.granted.insert(field("grant")) {
                return Ok(());
            }
            return self.note(&format!("{}: {message}", field("grant")));
        }
        if message == "plugin refused" {
            let reason = field("reason");
            let text = format!("{} {reason}\n", paint("refused", style::BAD));
            return self.show("refused", fields.clone(), &text);
        }
        if matches!(level, "WARN" | "ERROR") {
            let style = if level == "WARN" { style::OPEN } else { style::BAD };
            let mut text = paint(&message, style);
            for (name, value) in fields.as_object().into_iter().flatten() {
                if name != "message" {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    let _ = write!(text, " {name}={}", printable(&value));
                }
            }
            let value = json!({ "level": level, "fields": fields });
            return self.show("router", value, &format!("{text}\n"));
        }
        Ok(())
    }

    pub(super) fn no_sample(&mut self, name: &str, names: &[String]) -> Result<(), CliError> {
        self.note(&format!("there is no sample {name:?}: there are {}", names.join(", ")))
    }

    /// What differs between two looks at the state.
    pub(super) fn state(
        &mut self,
        before: &BTreeMap<(String, String), String>,
        now: &BTreeMap<(String, String), String>,
    ) -> Result<(), CliError> {
        let (mut text, mut changes) = (String::new(), Vec::new());
        let mut line = |(bucket, key): &(String, String), change: String| {
            let place = paint(&printable(&format!("{bucket}/{key}")), style::NAME);
            let _ = writeln!(text, "  state {place} {change}");
            changes.push(json!({ "bucket": bucket, "key": key, "change": change }));
        };
        for (at, value) in now {
            match before.get(at) {
                Some(old) if old == value => {}
                Some(old) => line(at, format!("{old} → {value}")),
                None => line(at, value.clone()),
            }
        }
        for at in before.keys().filter(|at| !now.contains_key(*at)) {
            line(at, "deleted".to_owned());
        }
        match changes.is_empty() {
            true => Ok(()),
            false => self.show("state", json!({ "changes": changes }), &text),
        }
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}

/// A value of state, as it is shown.
pub(super) fn value(value: &StateValue) -> String {
    match &value.value {
        Some(text) => printable_cut(text, SHOWN_MAX_CHARS),
        None => format!("({} bytes)", value.size_bytes),
    }
}
