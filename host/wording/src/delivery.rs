//! Deliveries and their attempts.

use usher_api::{Attempt, Cause, DeliveryReport, DeliveryState, failed_in};

use crate::text::{clock, duration};
use crate::{Phrase, Tone};

/// A delivery's state. `cause` is that of one of its emissions, if any: it records the successful
/// attempt and its duration.
pub fn state(delivery: &DeliveryReport, cause: Option<&Cause>) -> Vec<Phrase> {
    let failed = failed_in(delivery.round, &delivery.failures);
    let again = delivery.round.map(|round| format!(", round {round}")).unwrap_or_default();
    let open = |words: String| vec![Phrase::new(Tone::Open, words)];
    match delivery.state {
        DeliveryState::Pending if failed == 0 => open(format!("pending{again}")),
        DeliveryState::Pending => open(format!("pending{again}, attempt {}", failed + 1)),
        DeliveryState::InFlight => {
            let attempt = delivery.attempt.map(|attempt| format!(", attempt {attempt}"));
            open(format!("under way{again}{}", attempt.unwrap_or_default()))
        }
        DeliveryState::Parked => {
            let behind = delivery.behind.map(|head| format!(" behind #{head}"));
            open(format!("parked{again}{}", behind.unwrap_or_default()))
        }
        DeliveryState::Waiting => {
            let due = delivery.due.map(|due| format!(", due {}", clock(due))).unwrap_or_default();
            open(format!("waiting for attempt {}{again}{due}", failed + 1))
        }
        DeliveryState::Done => {
            let attempt = cause.map_or(failed + 1, |cause| cause.attempt);
            let at = if attempt > 1 { format!(" at attempt {attempt}") } else { String::new() };
            let mut phrases = vec![Phrase::new(Tone::Good, format!("done{at}{again}"))];
            phrases.extend(
                cause.map(|cause| {
                    Phrase::new(Tone::Faint, format!(", {}", duration(cause.took_us)))
                }),
            );
            phrases
        }
        DeliveryState::Dead => {
            let words = match delivery.dead_letter {
                Some(id) => format!("dead letter {id}"),
                None => "dead; its dead letter was redriven or discarded".to_owned(),
            };
            vec![Phrase::new(Tone::Bad, words)]
        }
    }
}

/// An attempt's number, with its round if that isn't the first.
pub fn attempt(failure: &Attempt) -> String {
    match failure.round {
        None => format!("attempt {}", failure.attempt),
        Some(round) => format!("round {round}, attempt {}", failure.attempt),
    }
}
