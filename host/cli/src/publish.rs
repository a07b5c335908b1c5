//! `usher publish`: events from a file, from standard input, or built from flags.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use usher_event::{Event, json};

use super::args::PublishArgs;
use super::feed::{Feed, Piece};
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table};
use usher_api::{Accepted, AcceptedEvent, routes};
use usher_client::{Client, Outcome, Refusal};
use usher_wording::{count, now, printable, printable_cut};

/// Attempts per batch while the router is busy (429) or says when to try again (503).
const TRIES_MAX: u32 = 30;

/// Caps the router's `Retry-After`.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Up to this many events are listed; more are summarised.
const LISTED_MAX: usize = 20;

/// Runs `usher publish`.
pub(crate) fn run(args: &PublishArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let mut publisher = Publisher { client, json: args.client.json, out, sum: Sum::default() };
    let ended = match &args.file {
        None => {
            let event = made_here(args)?;
            let batch = vec![Piece { line: 1, json: json::to_vec(&event) }];
            publisher.send(batch, |_| "the event".to_owned())
        }
        Some(file) => {
            let name = name(file);
            let mut feed = Feed::new(open(file)?);
            publisher.send_all(&mut feed, &name)
        }
    };
    publisher.finish(ended)
}

/// Sends batches and keeps count.
struct Publisher<'a> {
    client: Client,
    json: bool,
    out: &'a mut Output,
    sum: Sum,
}

/// What was accepted so far.
#[derive(Default)]
struct Sum {
    events: usize,
    duplicates: usize,
    first: Option<u64>,
    last: Option<u64>,
    /// The first events, one more than [`LISTED_MAX`] at most.
    listed: Vec<AcceptedEvent>,
}

impl Sum {
    fn add(&mut self, accepted: Accepted) {
        for event in accepted.events {
            self.events += 1;
            if event.duplicate {
                self.duplicates += 1;
            } else {
                self.first = self.first.or(Some(event.sequence));
                self.last = Some(event.sequence);
            }
            if self.listed.len() <= LISTED_MAX {
                self.listed.push(event);
            }
        }
    }
}

impl Publisher<'_> {
    fn send_all<R: Read>(&mut self, feed: &mut Feed<R>, name: &str) -> Result<(), CliError> {
        loop {
            let batch = feed.batch().map_err(|error| CliError::new(format!("{name}: {error}")))?;
            if batch.is_empty() {
                return Ok(());
            }
            self.send(batch, |line| format!("{name}: line {line}"))?;
        }
    }

    /// Sends one batch; `place` describes a line for error messages. The router accepts a batch as
    /// a whole or not at all, so if an event is invalid, those before it are sent on their own.
    fn send(&mut self, batch: Vec<Piece>, place: impl Fn(u64) -> String) -> Result<(), CliError> {
        match self.submit(&batch)? {
            None => Ok(()),
            Some(refusal) => {
                let member = refusal.problem.as_ref().and_then(|problem| problem.member);
                let bad = member.and_then(|n| Some((batch.get(n)?.line, batch.get(..n)?)));
                let text = refusal.to_string();
                let Some((line, good)) = bad else { return Err(CliError::new(text)) };
                if !good.is_empty()
                    && let Some(refusal) = self.submit(good)?
                {
                    return Err(CliError::new(refusal.to_string()));
                }
                Err(CliError::new(format!("{}: {}", place(line), without_member(&text))))
            }
        }
    }

    /// Sends a batch, retrying while the router is busy. Returns the refusal, if any.
    fn submit(&mut self, batch: &[Piece]) -> Result<Option<Refusal>, CliError> {
        let mut body = vec![b'['];
        for (n, piece) in batch.iter().enumerate() {
            if n > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&piece.json);
        }
        body.push(b']');
        let mut unavailable = None;
        for _ in 0..TRIES_MAX {
            let request = self.client.call(routes::PUBLISH, &[]);
            match request.body("application/cloudevents-batch+json", body.clone()).attempt()? {
                Outcome::Done(accepted) => {
                    if self.json {
                        self.out.json_line(&accepted)?;
                        self.out.flush()?;
                    }
                    self.sum.add(accepted);
                    return Ok(None);
                }
                Outcome::Busy(wait) => std::thread::sleep(wait.min(WAIT_MAX)),
                // What had been taken in before is recognised.
                Outcome::Refused(refusal) => match refusal.passes_after() {
                    Some(wait) => {
                        std::thread::sleep(wait.min(WAIT_MAX));
                        unavailable = Some(refusal);
                    }
                    None => return Ok(Some(refusal)),
                },
            }
        }
        if let Some(refusal) = unavailable {
            return Err(CliError::new(refusal.to_string()));
        }
        Err(CliError::with_hint("the router stays busy", "try again later"))
    }

    /// Reports what was accepted, also after an error.
    fn finish(self, ended: Result<(), CliError>) -> Result<(), CliError> {
        let Err(error) = ended else {
            return if self.json { Ok(()) } else { self.out.text(&render(&self.sum)) };
        };
        match error {
            CliError::Failed { what, hint } if self.sum.events > 0 => {
                let before = count(self.sum.events, "event");
                Err(CliError::with_hint(
                    what,
                    hint.unwrap_or_else(|| {
                        format!(
                            "{before} before it had been accepted; publish the whole file again \
                             once it is mended, the router recognises them"
                        )
                    }),
                ))
            }
            error => Err(error),
        }
    }
}

/// Strips the router's index into the batch, which the line number replaces.
fn without_member(text: &str) -> &str {
    match text.strip_prefix("member ").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => rest,
        None => text,
    }
}

fn render(sum: &Sum) -> String {
    if sum.listed.len() <= LISTED_MAX {
        let mut table = Table::new(&[
            ("SEQUENCE", Align::Right),
            ("ID", Align::Left),
            ("SOURCE", Align::Left),
            ("", Align::Left),
        ]);
        for event in &sum.listed {
            let standing = match event.duplicate {
                true if event.differs => "was there before, with other content",
                true => "was there before",
                false => "",
            };
            table.row([
                Cell::from(event.sequence.to_string()),
                Cell::styled(printable_cut(&event.id, 64), style::STRONG),
                printable(&event.source).into(),
                Cell::styled(standing, style::OPEN),
            ]);
        }
        return if sum.listed.is_empty() { "no events\n".to_owned() } else { table.render() };
    }
    let range = match (sum.first, sum.last) {
        (Some(first), Some(last)) => format!(", sequences {first} to {last}"),
        _ => String::new(),
    };
    let duplicates = match sum.duplicates {
        0 => String::new(),
        n => format!(", {n} of them were there before"),
    };
    format!("{}{range}{duplicates}\n", count(sum.events, "event"))
}

/// Builds an event from flags.
fn made_here(args: &PublishArgs) -> Result<Event, CliError> {
    let usage = |error: String| CliError::Usage(error);
    let (Some(ty), Some(source)) = (&args.ty, &args.source) else {
        return Err(usage("give a file, or --type and --source".to_owned()));
    };
    let id = args.id.clone().unwrap_or_else(random_id);
    let mut builder = Event::builder(id, source.as_str(), ty.as_str()).time(now().to_string());
    if let Some(subject) = &args.subject {
        builder = builder.subject(subject.as_str());
    }
    if let Some(data) = &args.data {
        let media_type = args.content_type.as_deref().unwrap_or("application/json");
        builder = builder.datacontenttype(media_type).data(data.clone().into_bytes());
    }
    let event = builder.build().map_err(|error| usage(error.to_string()))?;
    if let Some(data) = &args.data
        && event.has_json_type()
    {
        serde_json::from_str::<serde::de::IgnoredAny>(data).map_err(|error| {
            usage(format!("--data is not JSON: {error}; quote it, or give --content-type"))
        })?;
    }
    Ok(event)
}

/// 128 random bits; every `RandomState` has different keys.
fn random_id() -> String {
    let random = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", random(), random())
}

fn name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

fn open(file: &Path) -> Result<Box<dyn Read>, CliError> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let opened = File::open(file)
        .map_err(|error| CliError::new(format!("can't read {}: {error}", file.display())))?;
    Ok(Box::new(opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(n: u64, duplicate: bool) -> AcceptedEvent {
        AcceptedEvent {
            id: format!("e-{n}"),
            source: "/shop".to_owned(),
            sequence: n,
            duplicate,
            differs: false,
        }
    }

    fn sum(range: std::ops::RangeInclusive<u64>, duplicate: impl Fn(u64) -> bool) -> String {
        let mut sum = Sum::default();
        sum.add(Accepted { events: range.map(|n| accepted(n, duplicate(n))).collect() });
        anstream::adapter::strip_str(&render(&sum)).to_string()
    }

    #[test]
    fn few_events_are_listed() {
        assert_eq!(
            sum(9..=10, |n| n == 10),
            "SEQUENCE  ID    SOURCE\n\
             \u{20}      9  e-9   /shop\n\
             \u{20}     10  e-10  /shop   was there before\n"
        );
        assert_eq!(render(&Sum::default()), "no events\n");
    }

    #[test]
    fn many_events_are_summed_up() {
        assert_eq!(sum(1..=30, |_| false), "30 events, sequences 1 to 30\n");
        assert_eq!(
            sum(1..=30, |n| n < 3),
            "30 events, sequences 3 to 30, 2 of them were there before\n"
        );
        assert_eq!(sum(1..=30, |_| true), "30 events, 30 of them were there before\n");
    }

    #[test]
    fn the_line_replaces_the_routers_count() {
        let text = "member 3 of the batch (from 0): attribute \"id\" must not be empty";
        assert_eq!(without_member(text), "attribute \"id\" must not be empty");
        assert_eq!(without_member("not JSON"), "not JSON");
    }

    #[test]
    fn ids_differ() {
        let ids: std::collections::BTreeSet<String> = (0..100).map(|_| random_id()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 32));
    }

    fn args(data: Option<&str>, content_type: Option<&str>) -> PublishArgs {
        PublishArgs {
            file: None,
            ty: Some("t".to_owned()),
            source: Some("/s".to_owned()),
            data: data.map(str::to_owned),
            subject: Some("x".to_owned()),
            id: Some("1".to_owned()),
            content_type: content_type.map(str::to_owned),
            client: super::super::args::ClientArgs::at("http://127.0.0.1:1"),
        }
    }

    #[test]
    fn events_are_made_of_flags() {
        let event = made_here(&args(Some("{\"a\":1}"), None)).unwrap();
        assert_eq!(
            (event.id(), event.source(), event.ty(), event.subject()),
            ("1", "/s", "t", Some("x"))
        );
        assert_eq!(event.data().as_deref(), Some(&b"{\"a\":1}"[..]));
        assert!(event.time().is_some());
        let text = made_here(&args(Some("plain"), Some("text/plain"))).unwrap();
        assert_eq!(text.datacontenttype(), Some("text/plain"));
        assert!(made_here(&args(None, None)).unwrap().data().is_none());
        for bad in [args(Some("plain"), None), args(Some("{"), Some("application/x+json"))] {
            assert!(matches!(made_here(&bad), Err(CliError::Usage(_))));
        }
    }
}
