//! What became of an event for a subscription, or why nothing did.

use usher_api::{
    BlockReason, DeliveryState, Explanation, Outcome, SubscriptionState, Timestamp, failed_in,
};

use crate::text::{count, date_time, printable, until};
use crate::{Phrase, Tone};

/// What became of the event.
pub fn headline(told: &Explanation, now: Timestamp) -> Phrase {
    let failed = failed_in(told.round, &told.failures);
    let begins = told.begins.unwrap_or_default();
    let (words, tone) = match told.outcome {
        Outcome::Expired => {
            let words = format!("gone, retention let it go: the log begins with event {begins}");
            (words, Tone::Open)
        }
        Outcome::BeforeStart => {
            let words = format!("not delivered, the subscription began with event {begins}");
            (words, Tone::Open)
        }
        Outcome::Unmatched => {
            let no = told.mismatch.as_ref();
            let reason = no.map(|no| printable(&no.reason)).unwrap_or_default();
            let place = no.filter(|no| !no.path.is_empty());
            let place = place.map(|no| format!(" (at {})", printable(&no.path)));
            let words =
                format!("not delivered, its filter says no: {reason}{}", place.unwrap_or_default());
            (words, Tone::Open)
        }
        Outcome::Delivery(state) => match state {
            DeliveryState::Pending if failed == 0 && told.round.is_none() => {
                ("pending".to_owned(), Tone::Open)
            }
            DeliveryState::Pending => (format!("pending, attempt {}", failed + 1), Tone::Open),
            DeliveryState::InFlight => {
                let attempt = told.attempt.unwrap_or(failed + 1);
                (format!("under way, attempt {attempt}"), Tone::Open)
            }
            DeliveryState::Parked => {
                let head = told.behind.map(|head| format!("event {head} of ")).unwrap_or_default();
                (format!("parked behind {head}the same key"), Tone::Open)
            }
            DeliveryState::Waiting => {
                let due = told
                    .due
                    .map(|due| format!(", due {} ({} UTC)", until(now, due), date_time(due)))
                    .unwrap_or_default();
                (format!("waits for attempt {}{due}", failed + 1), Tone::Open)
            }
            DeliveryState::Done if failed == 0 => ("done".to_owned(), Tone::Good),
            DeliveryState::Done => {
                (format!("done, after {}", count(failed as usize, "failed attempt")), Tone::Good)
            }
            DeliveryState::Dead => {
                let words = match told.dead_letter {
                    Some(id) => format!("given up, dead letter {id}"),
                    None => "given up, its dead letter was discarded since".to_owned(),
                };
                (words, Tone::Bad)
            }
        },
    };
    Phrase { words, tone }
}

/// What the delivery waits for, and what to do: a line each.
pub fn details(told: &Explanation) -> Vec<String> {
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
        let reason = told.paused_because.as_deref().unwrap_or("the reason is unknown");
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
            BlockReason::Rate => {
                "as many deliveries as may be in this time (max_per_second) have gone out"
                    .to_owned()
            }
            BlockReason::KeyRate => "as many deliveries of its key as may be in this time \
                                     (max_per_second_per_key) have gone out"
                .to_owned(),
            BlockReason::Debounce => {
                "it waits for a newer event that would take its place (debounce_ms)".to_owned()
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
    if told.may_be_superseded {
        lines.push(
            "or it was left out, since a newer event took its place (debounce_ms)".to_owned(),
        );
    }
    lines.extend(told.filter_from.map(|from| {
        format!(
            "the present filter was applied from event {from} on; the one before may have passed \
             this event over"
        )
    }));
    lines
}
