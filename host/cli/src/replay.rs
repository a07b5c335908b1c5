//! `usher replay`: redelivers part of the log in rate-limited steps.
//!
//! The end is fixed at the first step, so events published during the run are not replayed. An
//! interrupted run reports where to resume.

use std::thread::sleep;

use super::args::ReplayArgs;
use super::pace::Pace;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::paint;
use usher_api::{DryRun, DryRuns, ReplayQuery, Replayed, Route, routes};
use usher_client::{Client, Outcome};
use usher_wording::{bytes, count, duration, printable, printable_cut};

const STEP_MAX_EVENTS: u64 = usher_api::REPLAY_MAX_EVENTS as u64;

/// Smaller than a replay's: a dry run handles events one after another.
const DRY_RUN_STEP_MAX_EVENTS: u64 = 16;

const REASON_MAX_CHARS: usize = 240;

/// Runs `usher replay`, for real or dry.
pub(crate) fn run(args: &ReplayArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    if args.dry_run { dry_run(args, &client, out) } else { replay(args, &client, out) }
}

fn replay(args: &ReplayArgs, client: &Client, out: &mut Output) -> Result<(), CliError> {
    let mut pace = Pace::new(args.rate);
    let max = pace.piece(STEP_MAX_EVENTS);
    let mut sum = Replayed { events: 0, pending: 0, dead: 0, to: 0, next: None };
    let mut part = Part::of(args);
    loop {
        let done: Replayed = step(client, args, routes::REPLAY, &part.query(args, max), out)
            .map_err(|error| part.broken_off(args, error))?;
        sum.events += done.events;
        sum.pending += done.pending;
        sum.dead += done.dead;
        sum.to = done.to;
        let Some(next) = done.next else { break };
        part = Part { from: Some(next), to: Some(done.to) };
        pace.wait(done.events, out)?;
    }
    if args.client.json {
        return out.json(&sum);
    }
    out.text(&summary(args, &sum))
}

fn summary(args: &ReplayArgs, sum: &Replayed) -> String {
    let number = |n: u64| count(usize::try_from(n).unwrap_or(usize::MAX), "event");
    let mut text = format!("{} replayed to {}\n", number(sum.events), args.subscription);
    if sum.pending > 0 {
        text += &format!("{} left alone: not handled yet\n", number(sum.pending));
    }
    if sum.dead > 0 {
        let (dead, name) = (number(sum.dead), &args.subscription);
        text += &format!(
            "{dead} left alone: dead letters; see usher dead-letters list --subscription {name}\n"
        );
    }
    text
}

fn dry_run(args: &ReplayArgs, client: &Client, out: &mut Output) -> Result<(), CliError> {
    let mut pace = Pace::new(args.rate);
    let max = pace.piece(DRY_RUN_STEP_MAX_EVENTS);
    let (mut done, mut failed) = (0, 0);
    let mut part = Part::of(args);
    loop {
        let step: DryRuns = step(client, args, routes::DRY_RUN, &part.query(args, max), out)
            .map_err(|error| part.broken_off(args, error))?;
        for delivery in &step.deliveries {
            done += 1;
            failed += usize::from(delivery.failure.is_some());
            if args.client.json {
                out.json_line(delivery)?;
            } else {
                out.text(&shown(delivery))?;
            }
        }
        let Some(next) = step.next else { break };
        part = Part { from: Some(next), to: Some(step.to) };
        pace.wait(step.deliveries.len() as u64, out)?;
    }
    if args.client.json {
        return Ok(());
    }
    out.text(&format!("{}, {failed} of them would fail; nothing was kept\n", count(done, "event")))
}

/// The remaining range of the log.
struct Part {
    from: Option<u64>,
    to: Option<u64>,
}

impl Part {
    fn of(args: &ReplayArgs) -> Self {
        Self { from: args.from, to: args.to }
    }

    fn query(&self, args: &ReplayArgs, max: u64) -> ReplayQuery {
        ReplayQuery {
            from: self.from,
            to: self.to,
            max: usize::try_from(max).ok(),
            type_prefix: args.type_prefix.clone(),
            filter: args.filter.clone(),
        }
    }

    /// Adds a hint on how to resume, unless nothing was done yet.
    fn broken_off(&self, args: &ReplayArgs, error: CliError) -> CliError {
        match (error, self.from, self.to) {
            (CliError::Failed { what, .. }, Some(from), Some(to)) if self.from != args.from => {
                CliError::with_hint(what, format!("go on with --from {from} --to {to}"))
            }
            (error, ..) => error,
        }
    }
}

/// Runs one step; waits without limit while the router is busy.
fn step<T: serde::de::DeserializeOwned>(
    client: &Client,
    args: &ReplayArgs,
    route: Route,
    query: &ReplayQuery,
    out: &mut Output,
) -> Result<T, CliError> {
    let name = [args.subscription.plugin(), args.subscription.local()];
    loop {
        match client.call(route, &name).query(query).unhurried().attempt()? {
            Outcome::Done(done) => return Ok(done),
            Outcome::Busy(wait) => {
                out.flush()?;
                sleep(wait);
            }
            Outcome::Refused(refusal) => return Err(usher_client::Error::from(refusal).into()),
        }
    }
}

fn shown(run: &DryRun) -> String {
    let verdict_style = if run.failure.is_none() { style::GOOD } else { style::BAD };
    let mut text = format!(
        "{} {} {}  {}\n",
        paint(&format!("#{}", run.sequence), style::STRONG),
        printable(&run.ty),
        paint(&run.verdict, verdict_style),
        paint(&duration(run.took_us), style::FAINT),
    );
    let mut line = |words: String| text.push_str(&format!("   {words}\n"));
    if let Some(failure) = &run.failure {
        let reason = printable_cut(&failure.reason, REASON_MAX_CHARS);
        line(format!("{}: {reason}", failure.class));
    }
    for emission in &run.emissions {
        let event = &emission.event;
        let subject = event.subject().map(|subject| format!("  {}", printable(subject)));
        let delay = emission.delay_ms.map(|ms| format!("  after {}", duration(ms * 1_000)));
        let ty = printable(event.ty());
        line(format!("emits {ty}{}{}", subject.unwrap_or_default(), delay.unwrap_or_default()));
    }
    for write in &run.writes {
        let key = format!("{}/{}", printable(&write.bucket), printable(&write.key));
        line(match write.size_bytes {
            Some(size_bytes) => format!("sets {key}, {}", bytes(size_bytes)),
            None => format!("deletes {key}"),
        });
    }
    for blob in &run.blobs {
        line(match (blob.size_bytes, &blob.content_type) {
            (Some(size_bytes), media_type) => {
                let media_type = printable(media_type.as_deref().unwrap_or_default());
                format!("puts blob {} ({media_type}, {})", blob.digest, bytes(size_bytes))
            }
            (None, _) => format!("deletes blob {}", blob.digest),
        });
    }
    text
}
