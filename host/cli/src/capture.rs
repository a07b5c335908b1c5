//! Dead letters as fixtures: the event, what the last attempt was told, how it failed.

use usher_api::{CloudEvent, DeadLetter, DeadLetterRecording, routes};
use usher_event::{Event, Given};
use usher_fixtures::{Expected, Fixture};

use crate::args::{CaptureArgs, ClientArgs};
use crate::ui::{CliError, Output};

/// A dead letter's last attempt.
pub struct Captured {
    /// The event.
    pub event: Event,
    /// What the attempt was told.
    pub given: Given,
    /// How it failed.
    pub failed: Expected,
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
    let recording: DeadLetterRecording =
        client.call(routes::DEAD_LETTER_RECORDING, &[&id_text]).fetch()?;
    let DeadLetterRecording { given, version, size_bytes, .. } = recording;
    let given = given.ok_or_else(|| {
        CliError::with_hint(
            format!("what dead letter {id} was told has {size_bytes} bytes or more: too large"),
            format!(
                "raise recording_bytes in [plugin.{}.limits] and redrive it; its next failure is \
                 recorded",
                dead.plugin
            ),
        )
    })?;
    let last = dead.attempts.as_ref().and_then(|attempts| attempts.last());
    let backtrace = last.and_then(|attempt| attempt.backtrace.as_ref());
    let failed = Expected {
        // Of the other classes some failures are transient and some are not.
        verdict: match dead.class.as_str() {
            "reject" => Some("reject".to_owned()),
            "retry" | "trap" | "timeout" => Some("retry".to_owned()),
            _ => None,
        },
        class: Some(dead.class.clone()),
        reason: Some(dead.reason.clone()),
        backtrace: backtrace.map(|frames| frames.lines().map(str::to_owned).collect()),
        ..Expected::default()
    };
    let CloudEvent::Event(event) = dead.event.event else {
        return Err(CliError::new(format!("the event of dead letter {id} can't be read")));
    };
    Ok(Captured { event, given, failed, version })
}

/// Runs `usher dead-letters capture`.
pub(crate) fn capture(args: &CaptureArgs, out: &mut Output) -> Result<(), CliError> {
    let Captured { event, given, failed, version } = captured(args.id, &args.client)?;
    Fixture::write(&args.folder, &event, &given, &failed)
        .map_err(|error| CliError::new(error.to_string()))?;
    let folder = args.folder.display();
    out.text(&format!(
        "{folder} is a fixture: `usher test` expects of it how version {version} failed\n"
    ))
}
