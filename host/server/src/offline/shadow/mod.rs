//! `usher shadow`: a new version of a plugin on events of the log, or on those that come, beside the one
//! that serves. Both run here, with the router's settings and the plugin's state; nothing is sent or
//! kept.

mod compared;
mod source;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use usher_api::Stored;
use usher_cli::SEARCH_MAX_EVENTS;
use usher_cli::ui::{CliError, Output};
use usher_fixtures::{Fixture, play};
use usher_runtime::Loaded;

use super::args::ShadowArgs;
use super::stage::Workbench;
use super::stop::on_stop;
use compared::{Compared, Did, Summary};
use source::{Delivered, Moment, Source};

/// Events that wait to be compared; the stream waits beyond.
const COMING_MAX: usize = 64;
/// How long the router has for a delivery whose HTTP answers are to be had from it.
const HTTP_TIME: Duration = Duration::from_secs(1);

/// Runs `usher shadow`.
pub(crate) fn run(args: &ShadowArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let name = args.plugin.as_str();
    let answers = match &args.given {
        Some(file) => {
            Fixture::read_given(file).map_err(|error| CliError::new(error.to_string()))?.http
        }
        None => Vec::new(),
    };
    let source = Source::new(client, &args.plugin, args.subscription.as_deref(), answers)?;
    let bench = Workbench::new()?;
    let old = bench.load_bytes(source.component()?.into(), &format!("{name}.wasm"))?;
    let new = bench.load(&args.component)?;
    let found = &new.description().name;
    if *found != args.plugin && !new.is_foreign() {
        return Err(CliError::new(format!(
            "{} is the plugin {found}, not {name}",
            args.component.display()
        )));
    }
    let versions = Versions { bench, source, old, new };
    if args.live { versions.live(args, out) } else { versions.past(args, out) }
}

/// The version that serves and the new one, side by side.
struct Versions {
    bench: Workbench,
    source: Source,
    old: Loaded,
    new: Loaded,
}

/// What happens while events are awaited.
enum Coming {
    Event(Box<Stored>, Instant),
    /// The log can't be followed any further.
    Lost(CliError),
    /// The user has had enough.
    Stop,
}

impl Versions {
    /// Compares them on events of the log.
    fn past(&self, args: &ShadowArgs, out: &mut Output) -> Result<(), CliError> {
        let events = self.source.newest(args.last)?;
        if events.is_empty() {
            return Err(CliError::new(format!(
                "no subscription of {} takes any of the newest {SEARCH_MAX_EVENTS} events",
                args.plugin
            )));
        }
        let moment = self.source.moment()?;
        let mut summary = Summary::new(args.plugin.as_str(), &self.old, &self.new);
        let mut events_compared = Vec::with_capacity(events.len());
        for delivered in events {
            let compared = self.compare(delivered, &moment)?;
            summary.add(&compared);
            events_compared.push(compared);
        }
        if args.client.json {
            out.json(&summary.with(events_compared))?;
        } else {
            out.text(&compared::render(&events_compared))?;
            out.text(&summary.render())?;
        }
        summary.result()
    }

    /// Compares them on events as they come, until there were enough or the user has had enough.
    fn live(&self, args: &ShadowArgs, out: &mut Output) -> Result<(), CliError> {
        let (sender, messages) = sync_channel(COMING_MAX);
        let is_over = Arc::new(AtomicBool::new(false));
        on_stop({
            let (sender, is_over) = (sender.clone(), is_over.clone());
            move || {
                is_over.store(true, Ordering::Relaxed);
                // Wakes whoever waits for an event; where the queue is full, nobody does.
                let _ = sender.try_send(Coming::Stop);
            }
        })
        .map_err(|error| CliError::new(error.to_string()))?;
        let log = self.source.coming();
        let (_, next) = log.newest(0)?;
        if args.client.json {
            out.json_line(&json!({ "plugin": args.plugin, "from": next }))?;
        } else {
            out.text(&format!("{}: events from {next} on, until Ctrl-C\n", args.plugin))?;
        }
        out.flush()?;
        thread::spawn(move || {
            let ended = log.follow(next, |stored| {
                let coming = Coming::Event(Box::new(stored), Instant::now());
                let sent = sender.send(coming);
                Ok(if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            });
            if let Err(error) = ended {
                // Nobody listens any more if this fails.
                let _ = sender.send(Coming::Lost(error));
            }
        });
        let mut summary = Summary::new(args.plugin.as_str(), &self.old, &self.new);
        let mut latest: Option<(Moment, Instant)> = None;
        let mut lost = None;
        for coming in messages {
            let (stored, arrived) = match coming {
                Coming::Event(stored, arrived) if !is_over.load(Ordering::Relaxed) => {
                    (stored, arrived)
                }
                Coming::Event(..) | Coming::Stop => break,
                Coming::Lost(error) => {
                    lost = Some(error);
                    break;
                }
            };
            // One look at the router serves all events whose time for answers was up.
            let due =
                arrived + if self.source.is_granted_http() { HTTP_TIME } else { Duration::ZERO };
            let moment = match latest.take().filter(|(_, looked)| *looked >= due) {
                Some(moment) => Ok(moment),
                None => {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let looked = Instant::now();
                    self.source.moment().map(|moment| (moment, looked))
                }
            };
            let compared = moment.and_then(|moment| {
                let deliveries = self.source.deliveries(&stored).into_iter();
                let compared = deliveries.map(|one| self.compare(one, &moment.0)).collect();
                latest = Some(moment);
                compared
            });
            let compared: Vec<Compared> = match compared {
                Ok(compared) => compared,
                Err(error) => {
                    lost = Some(error);
                    break;
                }
            };
            for one in &compared {
                summary.add(one);
                if args.client.json {
                    out.json_line(one)?;
                } else {
                    out.text(&one.render())?;
                }
            }
            out.flush()?;
            if args.events.is_some_and(|enough| summary.compared() >= enough) {
                break;
            }
        }
        if args.client.json {
            out.json_line(&summary.with(Vec::new()))?;
        } else {
            out.text(&summary.render())?;
        }
        match lost {
            Some(error) => Err(error),
            None => summary.result(),
        }
    }

    /// Delivers an event to both versions, each time with the same state.
    fn compare(&self, delivered: Delivered, moment: &Moment) -> Result<Compared, CliError> {
        let given = self.source.given(moment, &delivered)?;
        let Delivered { sequence, subscription, event } = delivered;
        let (ty, answers) = (event.ty().to_owned(), given.http.clone());
        let fixture = Fixture::of(sequence.to_string(), event, given);
        let (old, new) = (self.did(&self.old, &fixture)?, self.did(&self.new, &fixture)?);
        Ok(Compared::new((sequence, ty, subscription), &answers, old, new))
    }

    fn did(&self, loaded: &Loaded, fixture: &Fixture) -> Result<Did, CliError> {
        let played = self.bench.executor.block_on(play(loaded, fixture));
        let report = played.map_err(|error| CliError::new(error.to_string()))?.pop();
        report.map(Did::from).ok_or_else(|| CliError::new("nothing was delivered"))
    }
}
