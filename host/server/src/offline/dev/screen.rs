//! What `usher dev` prints.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use usher_api::{StateValue, Stored};
use usher_cli::ui::{CliError, Output, paint, style};
use usher_wording::{printable, printable_cut};

/// How much of data and values is shown.
const SHOWN_MAX_CHARS: usize = 160;

pub(super) struct Screen<'a> {
    out: &'a mut Output,
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a mut Output) -> Self {
        Self { out }
    }

    fn print(&mut self, text: &str) -> Result<(), CliError> {
        self.out.text(text)?;
        self.out.flush()
    }

    pub(super) fn note(&mut self, text: &str) -> Result<(), CliError> {
        self.print(&format!("{}\n", paint(&printable(text), style::OPEN)))
    }

    pub(super) fn welcome(&mut self, folder: &Path, samples: &[String]) -> Result<(), CliError> {
        let folder = paint(&printable(&folder.display().to_string()), style::STRONG);
        let samples: Vec<_> = samples.iter().map(|name| printable(name)).collect();
        let samples = match samples.is_empty() {
            true => "none: a fixture's event.json is one".to_owned(),
            false => samples.join(", "),
        };
        self.print(&format!(
            "{folder}: built and served at each change\n\
             Enter sends the first sample, a name another, q ends. Samples: {samples}\n"
        ))
    }

    pub(super) fn listening(&mut self, url: &str) -> Result<(), CliError> {
        self.print(&format!("the router is at {url}, its page at {url}/ui\n"))
    }

    pub(super) fn building(&mut self) -> Result<(), CliError> {
        self.print(&format!("{}\n", paint("building", style::FAINT)))
    }

    pub(super) fn built(&mut self, took: Duration) -> Result<(), CliError> {
        let text = format!("built in {}", seconds(took));
        self.print(&format!("{}\n", paint(&text, style::FAINT)))
    }

    pub(super) fn broken(&mut self, error: &str, output: &str) -> Result<(), CliError> {
        let mut text = String::new();
        output.lines().for_each(|line| text.push_str(&format!("{}\n", printable(line))));
        let error = paint(&printable(error), style::BAD);
        text.push_str(&format!("{error}\nwhat served before serves on; waiting for a change\n"));
        self.print(&text)
    }

    /// A version serves; `took` is the time since its build began.
    pub(super) fn serving(
        &mut self,
        fields: &Value,
        took: Option<Duration>,
    ) -> Result<(), CliError> {
        let text = |name: &str| printable(fields[name].as_str().unwrap_or_default());
        let took = took.map(|took| format!(", {} after the change", seconds(took)));
        let digest: String = text("digest").chars().take(12).collect();
        self.print(&format!(
            "{} {} serves ({}, {digest}; loaded in {} ms){}\n",
            paint(&text("plugin"), style::STRONG),
            text("version"),
            text("outcome"),
            fields["took_ms"],
            took.unwrap_or_default()
        ))
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
        self.print(&format!("{text}\n"))
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
            return self.print(&format!("  | {} {message}\n", paint(&stream, style::FAINT)));
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
            return self.print(&text);
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
            return self.print(&format!("{text}\n"));
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
        let mut text = String::new();
        let mut line = |(bucket, key): &(String, String), change: String| {
            let place = paint(&printable(&format!("{bucket}/{key}")), style::NAME);
            let _ = writeln!(text, "  state {place} {change}");
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
        self.print(&text)
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
