//! `usher dead-letters redrive` and `discard`, by id or by filter: one rate-limited request per
//! dead letter.
//!
//! An interrupted run is resumed by repeating the command: dead letters already redriven or
//! discarded no longer exist. A delivery that fails again becomes a new dead letter, whose id is
//! above those of the run.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::thread::sleep;

use super::args::{ChosenArgs, ClientArgs, DiscardArgs, RedriveArgs};
use super::dead_letters::page;
use super::feed::BYTE_ORDER_MARK;
use super::pace::Pace;
use super::pages::PAGE_MAX;
use super::ui::error::CliError;
use super::ui::output::Output;
use usher_api::{DeadLetter, DeadLetterGone, PluginState, Plugins, Route, routes};
use usher_client::{Client, Outcome};
use usher_wording::{count, printable};

/// Redrives the selected dead letters.
pub(crate) fn redrive(args: &RedriveArgs, out: &mut Output) -> Result<(), CliError> {
    let verb = Verb { route: routes::REDRIVE, done: "redriven" };
    if let Some(version) = &args.version {
        check_version(version, &args.chosen, &args.client.client()?)?;
    }
    match &args.event {
        None => each(&verb, &args.chosen, args.rate, &args.client, out),
        Some(file) => redrive_edited(&args.chosen.ids, file, &args.client, out),
    }
}

/// Refuses unless the plugins of the selected dead letters serve a version.
fn check_version(version: &str, chosen: &ChosenArgs, client: &Client) -> Result<(), CliError> {
    let filter = &chosen.filter;
    let mut plugins = BTreeSet::new();
    for id in &chosen.ids {
        let dead: DeadLetter = client.call(routes::DEAD_LETTER, &[&id.to_string()]).fetch()?;
        plugins.insert(dead.plugin);
    }
    plugins.extend(filter.plugin.as_ref().map(ToString::to_string));
    plugins.extend(filter.subscription.as_ref().map(|name| name.plugin().to_owned()));
    if plugins.is_empty() {
        return Err(CliError::Usage(
            "--version needs ids, --plugin or --subscription: it is the version of a plugin".into(),
        ));
    }
    let all: Plugins = client.call(routes::PLUGINS, &[]).fetch()?;
    for plugin in plugins {
        let mut known = all.plugins.iter();
        let found = known.find(|one| one.name.as_ref().is_some_and(|name| name.as_str() == plugin));
        let serving = found.filter(|one| one.state == PluginState::Serving);
        let served = serving.and_then(|one| one.version.as_deref());
        if served != Some(version) {
            let served = served.map_or_else(
                || "is not served".to_owned(),
                |served| format!("serves {}", printable(served)),
            );
            return Err(CliError::with_hint(
                format!("{plugin} {served}, not {}: nothing was redriven", printable(version)),
                "put the version into the plugins folder; `usher plugins` shows what serves",
            ));
        }
    }
    Ok(())
}

/// Discards the selected dead letters.
pub(crate) fn discard(args: &DiscardArgs, out: &mut Output) -> Result<(), CliError> {
    let verb = Verb { route: routes::DISCARD, done: "discarded" };
    each(&verb, &args.chosen, args.rate, &args.client, out)
}

/// The endpoint, and its past participle for messages.
struct Verb {
    route: Route,
    done: &'static str,
}

fn each(
    verb: &Verb,
    chosen: &ChosenArgs,
    rate: f64,
    client: &ClientArgs,
    out: &mut Output,
) -> Result<(), CliError> {
    let mut run = Run {
        client: client.client()?,
        verb,
        pace: Pace::new(rate),
        json: client.json,
        done: 0,
        failed: Vec::new(),
    };
    if !chosen.ids.is_empty() {
        for id in &chosen.ids {
            run.one(*id, true, out)?;
        }
        return run.end();
    }
    let first = page(&run.client, &chosen.filter, PAGE_MAX, None)?;
    // Dead letters created during the run are left alone.
    let (last, mut next) = (first.last, first);
    loop {
        for dead in next.dead_letters.iter().take_while(|dead| dead.id <= last) {
            run.one(dead.id, false, out)?;
        }
        match next.next {
            Some(after) if after < last => {
                next = page(&run.client, &chosen.filter, PAGE_MAX, Some(after))?;
            }
            _ => break,
        }
    }
    if !client.json {
        out.text(&format!("{} {}\n", count(run.done, "dead letter"), verb.done))?;
    }
    run.end()
}

/// A run over dead letters. Refusals don't stop it; they are reported at the end.
struct Run<'a> {
    client: Client,
    verb: &'a Verb,
    pace: Pace,
    json: bool,
    done: usize,
    failed: Vec<String>,
}

impl Run<'_> {
    fn one(&mut self, id: u64, is_named: bool, out: &mut Output) -> Result<(), CliError> {
        self.pace.wait(1, out)?;
        loop {
            match self
                .client
                .call(self.verb.route, &[&id.to_string()])
                .attempt::<DeadLetterGone>()?
            {
                Outcome::Done(gone) if self.json => out.json_line(&gone)?,
                Outcome::Done(gone) => {
                    out.text(&format!("dead letter {} {}\n", gone.id, self.verb.done))?;
                }
                Outcome::Busy(wait) => {
                    out.flush()?;
                    sleep(wait);
                    continue;
                }
                // Redriven or discarded concurrently.
                Outcome::Refused(refusal) if !is_named && refusal.is_not_found() => return Ok(()),
                Outcome::Refused(refusal) => {
                    self.failed.push(refusal.to_string());
                    return Ok(());
                }
            }
            self.done += 1;
            return Ok(());
        }
    }

    fn end(self) -> Result<(), CliError> {
        if self.failed.is_empty() { Ok(()) } else { Err(CliError::new(self.failed.join("\n"))) }
    }
}

fn redrive_edited(
    ids: &[u64],
    file: &Path,
    args: &ClientArgs,
    out: &mut Output,
) -> Result<(), CliError> {
    let [id] = ids else {
        return Err(CliError::Usage("--event needs the id of one dead letter".to_owned()));
    };
    let client = args.client()?;
    let event = read(file)?;
    let id_text = id.to_string();
    loop {
        let request = client.call(routes::REDRIVE_EDITED, &[&id_text]);
        match request.body("application/cloudevents+json", event.clone()).attempt()? {
            Outcome::Done::<DeadLetterGone>(gone) if args.json => return out.json(&gone),
            Outcome::Done(gone) => {
                let sequence = gone.sequence.unwrap_or_default();
                return out.text(&format!("dead letter {id} redriven as event {sequence}\n"));
            }
            Outcome::Busy(wait) => sleep(wait),
            Outcome::Refused(refusal) => return Err(usher_client::Error::from(refusal).into()),
        }
    }
}

/// Reads one event, without a byte order mark.
fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    const MAX_BYTES: u64 = usher_event::limits::JSON_MAX_BYTES as u64;
    let failed = |error| CliError::new(format!("{}: {error}", file.display()));
    let mut event = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(MAX_BYTES + 1).read_to_end(&mut event)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut event))
    };
    read.map_err(failed)?;
    if event.len() as u64 > MAX_BYTES {
        return Err(CliError::new(format!("{} is too large for one event", file.display())));
    }
    match event.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => Ok(rest.to_vec()),
        None => Ok(event),
    }
}
