//! Deliveries as fixtures: the event, what an attempt was told, what became of it.

use std::path::Path;

use usher_api::{
    CloudEvent, DeadLetter, RecordedDelivery, Recording, Stored, Subscription, Subscriptions,
    routes,
};
use usher_client::Client;
use usher_event::{Event, Given};
use usher_filter::Projection;
use usher_fixtures::{Expected, Fixture};

use crate::args::{CaptureArgs, CaptureRecordingArgs, ClientArgs};
use crate::ui::{CliError, Output};

/// An attempt of a delivery.
pub struct Captured {
    /// The event.
    pub event: Event,
    /// What the attempt was told.
    pub given: Given,
    /// What became of it.
    pub became: Expected,
    /// The component's version.
    pub version: String,
}

/// Fetches a dead letter's last attempt.
///
/// # Errors
/// There is none, nothing was recorded, or the recording was too large.
pub fn captured(id: u64, client: &ClientArgs) -> Result<Captured, CliError> {
    let client = client.client()?;
    let id_text = id.to_string();
    let dead: DeadLetter = client.call(routes::DEAD_LETTER, &[&id_text]).fetch()?;
    let recording: Recording = client.call(routes::DEAD_LETTER_RECORDING, &[&id_text]).fetch()?;
    let last = dead.attempts.as_ref().and_then(|attempts| attempts.last());
    let backtrace = last.and_then(|attempt| attempt.backtrace.as_deref());
    let became = Expected {
        // Of the other classes some failures are transient and some are not.
        verdict: match dead.class.as_str() {
            "reject" => Some("reject".to_owned()),
            "retry" | "trap" | "timeout" => Some("retry".to_owned()),
            _ => None,
        },
        ..failed(Some(dead.class.clone()), Some(dead.reason.clone()), backtrace)
    };
    let what = format!("dead letter {id}");
    capture(&client, &what, &dead.plugin, dead.event, recording, became)
}

fn failed(class: Option<String>, reason: Option<String>, backtrace: Option<&str>) -> Expected {
    let backtrace = backtrace.map(|frames| frames.lines().map(str::to_owned).collect());
    Expected { class, reason, backtrace, ..Expected::default() }
}

/// The part of events' data that a subscription hands on.
///
/// # Errors
/// This version can't read its paths.
pub fn projection(subscription: &Subscription) -> Result<Projection, CliError> {
    Projection::new(subscription.project.as_deref(), &subscription.redact)
        .map_err(|error| CliError::new(format!("{}: {error}", subscription.name)))
}

/// An event as a plugin's subscription hands it on.
fn handed_on(
    client: &Client,
    plugin: &str,
    local: Option<&str>,
    event: &Event,
) -> Result<Event, CliError> {
    let all: Subscriptions = client.call(routes::SUBSCRIPTIONS, &[]).fetch()?;
    let mut own = all.subscriptions.iter().filter(|one| one.plugin == plugin);
    let found = own.find(|one| Some(one.name.local()) == local).ok_or_else(|| {
        let local = local.unwrap_or("?");
        CliError::with_hint(
            format!("there is no subscription {plugin}/{local} any more"),
            "what of the event's data it handed on can't be told".to_owned(),
        )
    })?;
    Ok(projection(found)?.apply(event))
}

fn capture(
    client: &Client,
    what: &str,
    plugin: &str,
    stored: Stored,
    recording: Recording,
    became: Expected,
) -> Result<Captured, CliError> {
    let Recording { given, version, size_bytes, .. } = recording;
    let given = given.ok_or_else(|| {
        CliError::with_hint(
            format!("what {what} was told has {size_bytes} bytes or more: too large"),
            format!(
                "raise recording_bytes in [plugin.{plugin}.limits] and have the event delivered \
                 again; its next failure is recorded"
            ),
        )
    })?;
    let CloudEvent::Event(event) = stored.event else {
        return Err(CliError::new(format!("the event of {what} can't be read")));
    };
    let event = handed_on(client, plugin, given.subscription.as_deref(), &event)?;
    Ok(Captured { event, given, became, version })
}

/// Runs `usher dead-letters capture`.
pub(crate) fn dead_letter(args: &CaptureArgs, out: &mut Output) -> Result<(), CliError> {
    write(&captured(args.id, &args.client)?, &args.folder, out)
}

/// Runs `usher plugins capture`.
pub(crate) fn recording(args: &CaptureRecordingArgs, out: &mut Output) -> Result<(), CliError> {
    write(&recorded(args)?, &args.folder, out)
}

fn recorded(args: &CaptureRecordingArgs) -> Result<Captured, CliError> {
    let CaptureRecordingArgs { name, number, client, .. } = args;
    let client: Client = client.client()?;
    let path = [name.as_str(), &number.to_string()];
    let recorded: RecordedDelivery = client.call(routes::PLUGIN_RECORDING, &path).fetch()?;
    let what = format!("recording {number} of {name}");
    let recording = recorded
        .recording
        .ok_or_else(|| CliError::new(format!("the router said nothing of what {what} was told")))?;
    let event = client.call(routes::EVENT, &[&recorded.sequence.to_string()]).fetch()?;
    let became = Expected {
        verdict: Some(recorded.verdict),
        ..failed(recorded.class, recorded.reason, recorded.backtrace.as_deref())
    };
    capture(&client, &what, name.as_str(), event, recording, became)
}

fn write(captured: &Captured, folder: &Path, out: &mut Output) -> Result<(), CliError> {
    let Captured { event, given, became, version } = captured;
    Fixture::write(folder, event, given, became)
        .map_err(|error| CliError::new(error.to_string()))?;
    let folder = folder.display();
    let expected = match became.class {
        Some(_) => format!("how version {version} failed"),
        None => format!("to succeed as with version {version}"),
    };
    out.text(&format!("{folder} is a fixture: `usher test` expects of it {expected}\n"))
}
