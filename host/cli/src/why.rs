//! `usher why`: explains what happened to an event for a subscription.

use anstyle::Style;

use super::args::WhyArgs;
use super::ids::sequence_of;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table, paint};
use super::ui::text::{count, date_time, duration, now, printable, printable_cut, until};
use usher_api::{
    Attempt, BlockReason, DeliveryState, Explanation, Outcome, SubscriptionState, Timestamp,
    failed_in, routes,
};

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

/// The outcome, with its style.
fn headline(told: &Explanation, now: Timestamp) -> (String, Style) {
    let failed = failed_in(told.round, &told.failures);
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
            DeliveryState::Pending if failed == 0 && told.round.is_none() => {
                ("pending".to_owned(), style::OPEN)
            }
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

/// Lines below the headline: what the delivery waits for, and what to do.
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
    lines.extend(told.round.map(|round| {
        let earlier = told.failures.iter().filter(|failure| failure.round != told.round).count();
        format!(
            "it was redriven or replayed: this is round {round}; the {} before don't count",
            count(earlier, "failed attempt")
        )
    }));
    match told.ahead {
        Some(0) => lines.push("it is the next to go out".to_owned()),
        Some(1) => lines.push("at most 1 delivery comes before it".to_owned()),
        Some(ahead) => lines.push(format!("at most {ahead} deliveries come before it")),
        None => {}
    }
    lines.extend(told.held_up.map(|why| {
        match why {
            BlockReason::InFlight => {
                "as many deliveries as may be (max_in_flight) are under way, or ready \
                             and not taken"
                    .to_owned()
            }
            BlockReason::Total => {
                let head = told.behind.unwrap_or_default();
                format!("its order is total, and event {head} is not over: {}", look_at(head))
            }
            BlockReason::Retrying => {
                "as many deliveries as may be wait for another attempt".to_owned()
            }
            BlockReason::Parked => "as many deliveries as may be are parked".to_owned(),
            BlockReason::Memory => "the events under way take as much memory as may be".to_owned(),
            BlockReason::Alone => {
                "a delivery of its plugin runs alone, because state changed under it too often"
                    .to_owned()
            }
            BlockReason::Backlog => {
                "a subscription that takes what it emits has to catch up first: see usher \
                 subscriptions"
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
            lines.push(if told.expires == Some(true) {
                "it was settled, or it expired: retention takes what this subscription has not \
                 settled (expires = true); usher subscriptions counts them"
                    .to_owned()
            } else {
                "no subscription needed it any more; had it become a dead letter, usher \
                 dead-letters list would show it"
                    .to_owned()
            });
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
