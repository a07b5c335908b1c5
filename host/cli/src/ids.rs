//! Resolves event ids to the sequences that the API takes.

use serde_json::json;

use super::ui::error::CliError;
use usher_api::{Events, EventsQuery, Stored, routes};
use usher_client::Client;
use usher_wording::count;

/// How many of the newest events are searched for an id.
const SEARCHED_MAX: u64 = 100_000;

/// Whether an argument is a sequence: all digits.
pub(crate) fn is_sequence(event: &str) -> bool {
    event.bytes().all(|byte| byte.is_ascii_digit())
}

/// Resolves a sequence or an event id. An id must be unique among the newest [`SEARCHED_MAX`]
/// events.
pub(crate) fn sequence_of(client: &Client, event: &str) -> Result<u64, CliError> {
    if is_sequence(event) {
        let wrong = |_| CliError::Usage(format!("{event:?} can't be a sequence"));
        return event.parse().map_err(wrong);
    }
    let filter = json!({ "exact": { "id": event } }).to_string();
    let last = client
        .call(routes::EVENTS, &[])
        .query(&EventsQuery { max: Some(1), ..Default::default() })
        .fetch::<Events>()?
        .last;
    let mut from = last.saturating_sub(SEARCHED_MAX - 1).max(1);
    let mut found: Vec<Stored> = Vec::new();
    while from <= last {
        let filter = Some(filter.clone());
        let query = EventsQuery { from: Some(from), filter, ..Default::default() };
        let page: Events = client.call(routes::EVENTS, &[]).query(&query).fetch()?;
        found.extend(page.events);
        if page.next <= from {
            break;
        }
        from = page.next;
    }
    one_of(event, &found)
}

fn one_of(event: &str, found: &[Stored]) -> Result<u64, CliError> {
    match found {
        [one] => Ok(one.sequence),
        [] => Err(CliError::with_hint(
            format!("no event with id {event:?} is among the newest {SEARCHED_MAX}"),
            "use its sequence, as `usher tail` shows it",
        )),
        many => {
            let them: Vec<String> = many
                .iter()
                .map(|stored| format!("{} from {}", stored.sequence, stored.event.source()))
                .collect();
            Err(CliError::with_hint(
                format!("{} have id {event:?}: {}", count(many.len(), "event"), them.join(", ")),
                "use the sequence of one of them",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_to_be_of_one_event() {
        let stored = |sequence: u64| -> Stored {
            serde_json::from_value(json!({
                "sequence": sequence, "recorded": "2026-01-31T12:00:00.000Z", "flow": sequence,
                "depth": 0, "cause": null,
                "event": {"specversion": "1.0", "id": "a", "source": "/s", "type": "t"}
            }))
            .unwrap()
        };
        assert_eq!(one_of("a", &[stored(7)]).unwrap(), 7);
        for (found, expected) in [
            (vec![], "no event with id \"a\" is among the newest 100000"),
            (vec![stored(7), stored(9)], "2 events have id \"a\": 7 from /s, 9 from /s"),
        ] {
            let CliError::Failed { what, .. } = one_of("a", &found).unwrap_err() else { panic!() };
            assert_eq!(what, expected);
        }
    }
}
