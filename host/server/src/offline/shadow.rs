//! `usher shadow`: a new version of a plugin on events of the log, beside the one that serves. Both run
//! here, with the router's settings and the plugin's state; nothing is sent or kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use http::Uri;
use serde::Serialize;
use usher_api::{
    CloudEvent, Events, EventsQuery, PluginSettings, ReadOrder, StateQuery, StateValue,
    StateValues, Stored, Subscriptions, routes,
};
use usher_cli::ui::{Align, CliError, Output, Table, paint, style};
use usher_client::Client;
use usher_event::{Content, Event, Given};
use usher_fixtures::{Difference, Expected, Fixture, Report, differences, play};
use usher_runtime::Loaded;
use usher_wording::{bytes, count, duration, printable};

use super::args::ShadowArgs;
use super::stage::Workbench;

const PAGE: usize = 200;

/// How far back the log is searched for events of the plugin.
const SEARCH_MAX_EVENTS: u64 = 100_000;

/// Events with differences that are shown in full.
const SHOWN_MAX: usize = 10;

/// An event of one of the plugin's subscriptions.
struct Delivered {
    sequence: u64,
    /// The plugin's part of the subscription's name.
    subscription: String,
    event: Event,
}

#[derive(Debug, Serialize)]
struct Shadowed {
    plugin: String,
    old: Version,
    new: Version,
    events: Vec<Compared>,
    /// Events that the versions differ in.
    different: usize,
    /// Events at which a version made an HTTP request that no answer was given for.
    unanswered: usize,
}

#[derive(Debug, Serialize)]
struct Version {
    version: String,
    digest: String,
    /// Verdicts, and how often.
    verdicts: BTreeMap<String, usize>,
    median_us: u64,
    peak_memory_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Compared {
    sequence: u64,
    #[serde(rename = "type")]
    ty: String,
    subscription: String,
    differences: Vec<Difference>,
    old: Did,
    new: Did,
}

#[derive(Debug, Serialize)]
struct Did {
    did: Expected,
    took_us: u64,
    memory_bytes: u64,
}

/// Runs `usher shadow`.
pub(crate) fn run(args: &ShadowArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let name = args.plugin.as_str();
    let settings: PluginSettings = client.call(routes::PLUGIN_SETTINGS, &[name]).fetch()?;
    let served = client.call(routes::PLUGIN_COMPONENT, &[name]).bytes()?;
    let bench = Workbench::new()?;
    let old = bench.load_bytes(Bytes::from(served), &format!("{name}.wasm"))?;
    let new = bench.load(&args.component)?;
    let found = &new.description().name;
    if *found != args.plugin && !new.is_foreign() {
        return Err(CliError::new(format!(
            "{} is the plugin {found}, not {name}",
            args.component.display()
        )));
    }
    let answers = match &args.given {
        Some(file) => {
            Fixture::read_given(file).map_err(|error| CliError::new(error.to_string()))?.http
        }
        None => Vec::new(),
    };
    let given = Given { state: state(&client, name)?, http: answers, ..settings.given };
    let events = events(&client, args)?;
    if events.is_empty() {
        return Err(CliError::new(format!(
            "no subscription of {name} takes any of the newest {SEARCH_MAX_EVENTS} events"
        )));
    }
    let mut compared = Vec::with_capacity(events.len());
    for delivered in events {
        compared.push(bench.executor.block_on(compare(delivered, &old, &new, &given))?);
    }
    let shadowed = Shadowed {
        plugin: name.to_owned(),
        old: version(&old, compared.iter().map(|one| &one.old)),
        new: version(&new, compared.iter().map(|one| &one.new)),
        different: compared.iter().filter(|one| !one.differences.is_empty()).count(),
        unanswered: compared.iter().filter(|one| one.is_unanswered(&given)).count(),
        events: compared,
    };
    if args.client.json {
        out.json(&shadowed)?;
    } else {
        out.text(&render(&shadowed))?;
    }
    match shadowed.different {
        0 => Ok(()),
        different => Err(CliError::new(format!(
            "the versions differ in {different} of {}",
            count(shadowed.events.len(), "event")
        ))),
    }
}

/// All that the plugin keeps.
fn state(
    client: &Client,
    name: &str,
) -> Result<BTreeMap<String, BTreeMap<String, Content>>, CliError> {
    let mut state: BTreeMap<String, BTreeMap<String, Content>> = BTreeMap::new();
    let mut query = StateQuery { max: Some(1_000), ..StateQuery::default() };
    loop {
        let page: StateValues = client.call(routes::PLUGIN_STATE, &[name]).query(&query).fetch()?;
        let Some(last) = page.values.last() else { return Ok(state) };
        query.after_bucket = Some(last.bucket.clone());
        query.after_key = Some(last.key.clone());
        for StateValue { bucket, key, value, value_base64, .. } in page.values {
            let content = match (value, value_base64) {
                (Some(text), _) => Content::Text(text),
                (None, base64) => Content::Base64 { base64: base64.unwrap_or_default() },
            };
            state.entry(bucket).or_default().insert(key, content);
        }
    }
}

/// The newest events that the plugin's subscriptions take, oldest first.
fn events(client: &Client, args: &ShadowArgs) -> Result<Vec<Delivered>, CliError> {
    let all: Subscriptions = client.call(routes::SUBSCRIPTIONS, &[]).fetch()?;
    let mut own: Vec<_> = all.subscriptions.into_iter().collect();
    own.retain(|subscription| subscription.plugin == args.plugin.as_str());
    if let Some(wanted) = &args.subscription {
        own.retain(|subscription| subscription.name.local() == wanted);
    }
    let mut found = Vec::new();
    for subscription in own {
        let local = subscription.name.local();
        let taken = newest(client, &subscription.filter.to_string(), args.last)?;
        found.extend(taken.into_iter().filter_map(|stored| match stored.event {
            CloudEvent::Event(event) => {
                let subscription = local.to_owned();
                Some(Delivered { sequence: stored.sequence, subscription, event })
            }
            CloudEvent::Unreadable(_) => None,
        }));
    }
    found.sort_by_key(|delivered| std::cmp::Reverse(delivered.sequence));
    found.truncate(args.last);
    found.reverse();
    Ok(found)
}

/// The newest events that match a filter, newest first.
fn newest(client: &Client, filter: &str, count: usize) -> Result<Vec<Stored>, CliError> {
    let mut found: Vec<Stored> = Vec::new();
    let mut query = EventsQuery {
        order: Some(ReadOrder::Newest),
        filter: Some(filter.to_owned()),
        ..EventsQuery::default()
    };
    loop {
        query.max = Some(count.saturating_sub(found.len()).clamp(1, PAGE));
        let page: Events = client.call(routes::EVENTS, &[]).query(&query).fetch()?;
        found.extend(page.events);
        let is_enough = found.len() >= count || page.next == 0;
        if is_enough || page.last.saturating_sub(page.next) > SEARCH_MAX_EVENTS {
            found.truncate(count);
            return Ok(found);
        }
        query.to = Some(page.next);
    }
}

/// Delivers an event to both versions, each time with the same state.
async fn compare(
    delivered: Delivered,
    old: &Loaded,
    new: &Loaded,
    given: &Given,
) -> Result<Compared, CliError> {
    let Delivered { sequence, subscription, event } = delivered;
    let ty = event.ty().to_owned();
    let given = Given {
        subscription: Some(subscription.clone()),
        sequence: Some(sequence),
        ..given.clone()
    };
    let fixture = Fixture::of(sequence.to_string(), event, given);
    let (old, new) = (did(old, &fixture).await?, did(new, &fixture).await?);
    // Words for people may change.
    let mut expected = Expected { log: None, backtrace: None, ..old.did.clone() };
    // What only the new version has a reason for is told, too.
    if new.did.reason.is_some() {
        expected.reason.get_or_insert_default();
    }
    if new.did.after_ms.is_some() {
        expected.after_ms.get_or_insert_default();
    }
    let differences = differences(&expected, &new.did);
    Ok(Compared { sequence, ty, subscription, differences, old, new })
}

async fn did(loaded: &Loaded, fixture: &Fixture) -> Result<Did, CliError> {
    let played = play(loaded, fixture).await;
    let report = played.map_err(|error| CliError::new(error.to_string()))?.pop();
    let Report { did, used, took, .. } =
        report.ok_or_else(|| CliError::new("nothing was delivered"))?;
    let memory = used.iter().find(|used| used.name == "memory_bytes");
    let memory_bytes = memory.map_or(0, |used| used.used);
    Ok(Did { did, took_us: usher_event::micros(took), memory_bytes })
}

impl Compared {
    /// Whether a version asked for something that nobody had an answer to.
    fn is_unanswered(&self, given: &Given) -> bool {
        // As they are sent: `http://a.test` asks for `/`.
        let sent =
            |url: &str| url.parse::<Uri>().map_or_else(|_| url.into(), |url| url.to_string());
        let answers = given.http.iter().map(|answer| (answer.method.clone(), sent(&answer.url)));
        let answers: Vec<(String, String)> = answers.collect();
        [&self.old, &self.new].into_iter().any(|one| {
            // Each answers one request.
            let mut left = answers.clone();
            one.did.calls.iter().flatten().any(|call| {
                let asked = (call.method.clone(), sent(&call.url));
                let answer = left.iter().position(|answer| *answer == asked);
                answer.map(|position| left.swap_remove(position)).is_none()
            })
        })
    }
}

fn version<'a>(loaded: &Loaded, did: impl Iterator<Item = &'a Did> + Clone) -> Version {
    let mut verdicts = BTreeMap::new();
    for one in did.clone() {
        *verdicts.entry(one.did.verdict.clone().unwrap_or_default()).or_default() += 1;
    }
    let mut times: Vec<_> = did.clone().map(|one| one.took_us).collect();
    times.sort_unstable();
    Version {
        version: loaded.description().version.clone(),
        digest: loaded.digest().to_string(),
        verdicts,
        median_us: times.get(times.len() / 2).copied().unwrap_or_default(),
        peak_memory_bytes: did.map(|one| one.memory_bytes).max().unwrap_or_default(),
    }
}

fn render(shadowed: &Shadowed) -> String {
    let Shadowed { plugin, old, new, events, different, unanswered } = shadowed;
    let mut text = String::new();
    // Formatting into a string can't fail.
    let differing = events.iter().filter(|one| !one.differences.is_empty());
    for Compared { sequence, ty, subscription, differences, .. } in differing.take(SHOWN_MAX) {
        let _ = writeln!(
            text,
            "#{sequence} {} for {}",
            paint(&printable(ty), style::STRONG),
            printable(subscription)
        );
        for Difference { part, diff } in differences {
            let _ = writeln!(text, "  {part}");
            for line in diff.lines() {
                let _ = writeln!(text, "    {}", printable(line));
            }
        }
    }
    if *different > SHOWN_MAX {
        let more = count(different - SHOWN_MAX, "more event");
        let _ = writeln!(text, "… and {more}, with --json");
    }
    if *different > 0 {
        text.push('\n');
    }
    let heads = ["VERSION", "DIGEST", "VERDICTS", "MEDIAN", "MEMORY"];
    let mut table = Table::new(&heads.map(|head| (head, Align::Left)));
    for (one, what) in [(old, "serves"), (new, "new")] {
        let verdicts: Vec<_> =
            one.verdicts.iter().map(|(verdict, count)| format!("{verdict} {count}")).collect();
        table.row([
            format!("{} ({what})", printable(&one.version)).into(),
            one.digest.chars().take(12).collect::<String>().into(),
            verdicts.join(", ").into(),
            duration(one.median_us).into(),
            bytes(one.peak_memory_bytes).into(),
        ]);
    }
    text.push_str(&table.render());
    let all = count(events.len(), "event");
    let _ = writeln!(text, "{all} of {plugin}, each on its present state; {different} differ");
    if *unanswered > 0 {
        let _ = writeln!(
            text,
            "{}: a request that no answer was given for (--given FILE with \"http\")",
            count(*unanswered, "event")
        );
    }
    text
}
