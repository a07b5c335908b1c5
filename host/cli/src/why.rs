//! `usher why`: explains what happened to an event for a subscription.

use super::args::WhyArgs;
use super::ids::sequence_of;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table, paint};
use usher_api::{Attempt, Explanation, Timestamp, routes};
use usher_wording::{date_time, details, duration, headline, now, printable, printable_cut};

const REASON_MAX_CHARS: usize = 240;

/// Explains one event and subscription.
pub(crate) fn run(args: &WhyArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let sequence = sequence_of(&client, &args.event)?;
    let (sequence, name) = (sequence.to_string(), &args.subscription);
    let parameters = [sequence.as_str(), name.plugin(), name.local()];
    let told: Explanation = client.call(routes::DELIVERY, &parameters).fetch()?;
    if args.client.json { out.json(&told) } else { out.text(&render(&told, now())) }
}

fn render(told: &Explanation, now: Timestamp) -> String {
    let headline = headline(told, now);
    let mut text = format!(
        "{} for {}: {}\n",
        paint(&format!("event {}", told.sequence), style::STRONG),
        paint(told.subscription.as_str(), style::NAME),
        paint(&headline.words, style::of(headline.tone)),
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

fn attempts(failures: &[Attempt]) -> String {
    let has_rounds = failures.iter().any(|failure| failure.round.is_some());
    let mut table = Table::new(&[
        (if has_rounds { "ROUND.ATTEMPT" } else { "ATTEMPT" }, Align::Right),
        ("TIME (UTC)", Align::Left),
        ("TOOK", Align::Right),
        ("WHY", Align::Left),
    ]);
    for failure in failures {
        let reason = printable_cut(&failure.reason, REASON_MAX_CHARS);
        let attempt = match has_rounds {
            true => format!("{}.{}", failure.round.unwrap_or(1), failure.attempt),
            false => failure.attempt.to_string(),
        };
        table.row([
            Cell::from(attempt),
            Cell::styled(date_time(failure.time), style::FAINT),
            duration(failure.took_us).into(),
            format!("{}: {reason}", printable(&failure.class)).into(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Renders an explanation at 12:00:01 UTC.
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
    fn a_redriven_delivery_is_counted_anew() {
        let failure = |round: Option<u32>, attempt: u32| {
            let mut failure = json!({
                "attempt": attempt, "time": "2026-01-31T12:00:00.500Z", "took_us": 8_200,
                "class": "retry", "reason": "503", "backtrace": null, "digest": null,
                "version": null, "counted": true
            });
            if let Some(round) = round {
                failure["round"] = json!(round);
            }
            failure
        };
        let earlier = [failure(None, 1), failure(None, 2)];
        let redriven = "  it was redriven or replayed: this is round 2; the 2 failed attempts before don't count\n";
        for (outcome, expected) in [("pending", "pending, attempt 1\n"), ("done", "done\n")] {
            let text = shown(json!({"outcome": outcome, "round": 2, "failures": earlier}));
            let head = format!("event 17 for payment/purchases: {expected}{redriven}");
            assert!(text.starts_with(&head), "{text}");
            assert!(text.contains("\n      2  2026-01-31"), "{text}");
        }
        let failures = [&earlier[..], &[failure(Some(2), 1)]].concat();
        let text = shown(json!({"outcome": "done", "round": 2, "failures": failures}));
        assert!(text.contains(": done, after 1 failed attempt\n"), "{text}");
        assert!(text.contains("\nROUND.ATTEMPT  TIME"), "{text}");
        assert!(
            text.contains("\n          1.2  2026") && text.contains("\n          2.1  2026"),
            "{text}"
        );
    }
}
