//! `usher why`: what became of an event for a subscription, or why nothing did, in words.

use anstyle::Style;
use serde_json::json;

use super::args::WhyArgs;
use super::client::Client;
use super::error::CliError;
use super::output::{Output, style};
use super::table::{Align, Cell, Table, paint};
use super::text::{count, date_time, duration, now, printable, printable_cut, until};
use crate::http::shapes::{
    Attempt, DeliveryState, Events, Explanation, HeldUp, Outcome, Stored, SubscriptionState,
    Timestamp,
};

/// How many of the newest events are searched for an id.
const SEARCHED_MAX: u64 = 100_000;

/// How much of a reason is shown.
const REASON_MAX_CHARS: usize = 240;

/// Explains one event and subscription.
pub(super) fn run(args: &WhyArgs, out: &mut Output) -> Result<(), CliError> {
    let client = Client::new(&args.client.url);
    let sequence = sequence_of(&client, &args.event)?;
    // Names are made of characters that stand for themselves in a path.
    let path = format!("/events/{sequence}/deliveries/{}", args.subscription);
    let told: Explanation = client.get(&path, &[])?;
    if args.client.json { out.json(&told) } else { out.text(&render(&told, now())) }
}

/// The sequence that is meant.
fn sequence_of(client: &Client, event: &str) -> Result<u64, CliError> {
    if event.bytes().all(|byte| byte.is_ascii_digit()) {
        let wrong = |_| CliError::Usage(format!("{event:?} can't be a sequence"));
        return event.parse().map_err(wrong);
    }
    let filter = json!({ "exact": { "id": event } }).to_string();
    let last = client.get::<Events>("/events", &[("max", "1".to_owned())])?.last;
    let mut from = last.saturating_sub(SEARCHED_MAX - 1).max(1);
    let mut found: Vec<Stored> = Vec::new();
    while from <= last {
        let query = [("from", from.to_string()), ("filter", filter.clone())];
        let page: Events = client.get("/events", &query)?;
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

fn render(told: &Explanation, now: Timestamp) -> String {
    let (headline, color) = headline(told, now);
    let mut text = format!(
        "{} for {}: {}\n",
        paint(&format!("event {}", told.sequence), style::STRONG),
        paint(told.subscription.as_str(), style::NAME),
        paint(&headline, color),
    );
    for line in details(told) {
        text.push_str(&format!("  {line}\n"));
    }
    if !told.failures.is_empty() {
        text.push('\n');
        text.push_str(&attempts(&told.failures));
    }
    text
}

/// What became of it.
fn headline(told: &Explanation, now: Timestamp) -> (String, Style) {
    let failed = told.failures.last().map_or(0, |failure| failure.attempt);
    let begins = told.begins.unwrap_or_default();
    match told.outcome {
        Outcome::Expired => {
            let words = format!("gone, retention let it go: the log begins with event {begins}");
            (words, style::OPEN)
        }
        Outcome::BeforeStart => {
            let words = format!("not delivered, the subscription began with event {begins}");
            (words, style::OPEN)
        }
        Outcome::Unmatched => {
            let no = told.mismatch.as_ref();
            let reason = no.map(|no| printable(&no.reason)).unwrap_or_default();
            let place = no.filter(|no| !no.path.is_empty());
            let place = place.map(|no| format!(" (at {})", printable(&no.path)));
            let words =
                format!("not delivered, its filter says no: {reason}{}", place.unwrap_or_default());
            (words, style::OPEN)
        }
        Outcome::Delivery(state) => match state {
            DeliveryState::Pending if failed == 0 => ("pending".to_owned(), style::OPEN),
            DeliveryState::Pending => (format!("pending, attempt {}", failed + 1), style::OPEN),
            DeliveryState::InFlight => {
                let attempt = told.attempt.unwrap_or(failed + 1);
                (format!("under way, attempt {attempt}"), style::OPEN)
            }
            DeliveryState::Parked => {
                let head = told.behind.map(|head| format!("event {head} of ")).unwrap_or_default();
                (format!("parked behind {head}the same key"), style::OPEN)
            }
            DeliveryState::Waiting => {
                let due = told
                    .due
                    .map(|due| format!(", due {} ({} UTC)", until(now, due), date_time(due)))
                    .unwrap_or_default();
                (format!("waits for attempt {}{due}", failed + 1), style::OPEN)
            }
            DeliveryState::Done if failed == 0 => ("done".to_owned(), style::GOOD),
            DeliveryState::Done => {
                (format!("done, after {}", count(failed as usize, "failed attempt")), style::GOOD)
            }
            DeliveryState::Dead => {
                let words = match told.dead_letter {
                    Some(id) => format!("given up, dead letter {id}"),
                    None => "given up, its dead letter was discarded since".to_owned(),
                };
                (words, style::BAD)
            }
        },
    }
}

/// What else there is to say: what it waits for, and what to do.
fn details(told: &Explanation) -> Vec<String> {
    let subscription = &told.subscription;
    let mut lines = Vec::new();
    let look_at = |head: u64| format!("see usher why {head} {subscription}");
    let is_open = !matches!(
        told.outcome,
        Outcome::Expired
            | Outcome::BeforeStart
            | Outcome::Unmatched
            | Outcome::Delivery(DeliveryState::Done | DeliveryState::Dead)
    );
    if is_open && told.served == SubscriptionState::Paused {
        let reason = told.paused_because.as_deref().unwrap_or("nobody knows why");
        lines.push(format!("nothing serves {subscription}: {}", printable(reason)));
    }
    match told.ahead {
        Some(0) => lines.push("it is the next to go out".to_owned()),
        Some(1) => lines.push("at most 1 delivery comes before it".to_owned()),
        Some(ahead) => lines.push(format!("at most {ahead} deliveries come before it")),
        None => {}
    }
    lines.extend(told.held_up.map(|why| {
        match why {
            HeldUp::InFlight => {
                "as many deliveries as may be (max_in_flight) are under way, or ready \
                             and not taken"
                    .to_owned()
            }
            HeldUp::Total => {
                let head = told.behind.unwrap_or_default();
                format!("its order is total, and event {head} is not over: {}", look_at(head))
            }
            HeldUp::Retrying => "as many deliveries as may be wait for another attempt".to_owned(),
            HeldUp::Parked => "as many deliveries as may be are parked".to_owned(),
            HeldUp::Memory => "the events under way take as much memory as may be".to_owned(),
            HeldUp::Alone => {
                "a delivery of its plugin runs alone, because state changed under it too often"
                    .to_owned()
            }
        }
    }));
    match told.outcome {
        Outcome::Delivery(DeliveryState::Parked) => {
            lines.extend(told.behind.map(|head| format!("that has to be over: {}", look_at(head))));
        }
        Outcome::Delivery(DeliveryState::Dead) => {
            lines.extend(told.dead_letter.map(|id| format!("see usher dead-letters show {id}")));
        }
        Outcome::Expired => {
            lines.push(
                "no subscription needed it any more; had it become a dead letter, usher \
                 dead-letters list would show it"
                    .to_owned(),
            );
        }
        _ => {}
    }
    lines.extend(told.filter_from.map(|from| {
        format!(
            "the present filter was applied from event {from} on; the one before may have passed \
             this event over"
        )
    }));
    lines
}

fn attempts(failures: &[Attempt]) -> String {
    let mut table = Table::new(&[
        ("ATTEMPT", Align::Right),
        ("TIME (UTC)", Align::Left),
        ("TOOK", Align::Right),
        ("WHY", Align::Left),
    ]);
    for failure in failures {
        let reason = printable_cut(&failure.reason, REASON_MAX_CHARS);
        table.row([
            Cell::from(failure.attempt.to_string()),
            Cell::styled(date_time(failure.time), style::FAINT),
            duration(failure.took_us).into(),
            format!("{}: {reason}", printable(&failure.class)).into(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What is shown of an explanation, a second past noon.
    fn shown(more: Value) -> String {
        let mut told = json!({
            "sequence": 17, "subscription": "payment/purchases", "plugin": "payment",
            "served": "active", "failures": []
        });
        told.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        let told: Explanation = serde_json::from_value(told).unwrap();
        let text = render(&told, Timestamp::from_ms(1_769_860_801_000));
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn every_outcome_has_its_words() {
        for (told, expected) in [
            (json!({"outcome": "done"}), "done\n"),
            (json!({"outcome": "in_flight", "attempt": 2}), "under way, attempt 2\n"),
            (
                json!({"outcome": "before_start", "begins": 40}),
                "not delivered, the subscription began with event 40\n",
            ),
            (
                json!({
                    "outcome": "unmatched",
                    "mismatch": {"path": "all[1].exact.type", "reason": "type is \"\u{1b}\""}
                }),
                "not delivered, its filter says no: type is \"\\x1b\" (at all[1].exact.type)\n",
            ),
            (
                json!({"outcome": "pending", "ahead": 120, "held_up": "total", "behind": 3}),
                "pending\n  at most 120 deliveries come before it\n  \
                 its order is total, and event 3 is not over: see usher why 3 payment/purchases\n",
            ),
            (
                json!({
                    "outcome": "pending", "ahead": 0, "served": "paused",
                    "paused_because": "no file is plugin payment"
                }),
                "pending\n  nothing serves payment/purchases: no file is plugin payment\n  \
                 it is the next to go out\n",
            ),
            (
                json!({"outcome": "parked", "behind": 12}),
                "parked behind event 12 of the same key\n  \
                 that has to be over: see usher why 12 payment/purchases\n",
            ),
            (
                json!({"outcome": "dead", "dead_letter": 4}),
                "given up, dead letter 4\n  see usher dead-letters show 4\n",
            ),
            (
                json!({"outcome": "done", "filter_from": 40}),
                "done\n  the present filter was applied from event 40 on; the one before may have \
                 passed this event over\n",
            ),
        ] {
            let expected = format!("event 17 for payment/purchases: {expected}");
            assert_eq!(shown(told.clone()), expected, "{told}");
        }
    }

    #[test]
    fn attempts_stand_below() {
        let text = shown(json!({
            "outcome": "waiting", "due": "2026-01-31T12:00:05.200Z",
            "failures": [{
                "attempt": 2, "time": "2026-01-31T12:00:00.500Z", "took_us": 8_200,
                "class": "retry", "reason": "the gateway\nanswered 503", "backtrace": null,
                "digest": null, "counted": true
            }]
        }));
        assert_eq!(
            text,
            "\
event 17 for payment/purchases: waits for attempt 3, due in 4.200 s (2026-01-31 12:00:05.200 UTC)

ATTEMPT  TIME (UTC)                 TOOK  WHY
      2  2026-01-31 12:00:00.500  8.2 ms  retry: the gateway\\nanswered 503
"
        );
    }

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
