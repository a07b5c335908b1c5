//! Turns a listener's outcome into the disposition that the broker commits. Emissions become
//! events; one that breaks a rule or limit rejects the delivery before any effect is visible.

use std::time::Duration;

use usher_broker::{Changes, Disposition, NewEvent};
use usher_event::limits::REASON_MAX_BYTES;
use usher_event::text::{self, ELLIPSIS};
use usher_event::{
    Delivery, Effects, Emission, EventErrorKind, Failure, FailureClass, Outcome, PluginName,
    Verdict,
};

/// Limits on what a plugin may emit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmissionLimits {
    /// Maximum emissions per delivery.
    pub max_count: usize,
    /// Maximum total size of a delivery's emissions, encoded as events.
    pub max_bytes: usize,
    /// Maximum delayed emissions pending at a time, over all deliveries.
    pub max_delayed: usize,
}

impl Default for EmissionLimits {
    fn default() -> Self {
        Self { max_count: 100, max_bytes: 1024 * 1024, max_delayed: 10_000 }
    }
}

/// Maximum size of an emission, encoded as an event.
pub const EMISSION_MAX_BYTES: usize = usher_event::limits::EVENT_MAX_BYTES;
/// Maximum delay of an emission: 30 days.
pub const EMISSION_DELAY_MAX_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// Returns the disposition of `delivery`; `time` is the `time` of emitted events.
pub(crate) fn disposition(
    outcome: Outcome,
    delivery: &Delivery,
    plugin: &PluginName,
    limits: EmissionLimits,
    time: &str,
) -> Disposition {
    let recorded = |failure: Failure| Failure { recording: outcome.recording, ..cut(failure) };
    match outcome.verdict {
        Verdict::Ack => match changes(outcome.effects, delivery, plugin, limits, time) {
            Ok(changes) => Disposition::Ack(changes),
            Err(failure) => Disposition::Reject { failure: recorded(failure) },
        },
        Verdict::Retry { failure, after } => {
            Disposition::Retry { failure: recorded(failure), after }
        }
        Verdict::Reject { failure } => Disposition::Reject { failure: recorded(failure) },
    }
}

/// The name of a disposition, and why the delivery failed, if it did.
pub(crate) fn verdict_of(disposition: &Disposition) -> (&'static str, Option<&Failure>) {
    match disposition {
        Disposition::Ack(_) => ("ack", None),
        Disposition::Retry { failure, .. } => ("retry", Some(failure)),
        Disposition::Reject { failure } => ("reject", Some(failure)),
        Disposition::Release => ("release", None),
    }
}

/// Why a delivery failed, if it did.
pub(crate) fn failure_of(disposition: &Disposition) -> Option<&Failure> {
    verdict_of(disposition).1
}

/// The verdict on a delivery that runs outside a router, by the router's rules: an emission that
/// breaks one fails it.
pub fn judge(
    outcome: Outcome,
    delivery: &Delivery,
    plugin: &PluginName,
    limits: EmissionLimits,
    time: &str,
) -> Verdict {
    match disposition(outcome, delivery, plugin, limits, time) {
        // `disposition` never releases a delivery that was handled.
        Disposition::Ack(_) | Disposition::Release => Verdict::Ack,
        Disposition::Retry { failure, after } => Verdict::Retry { failure, after },
        Disposition::Reject { failure } => Verdict::Reject { failure },
    }
}

fn changes(
    effects: Effects,
    delivery: &Delivery,
    plugin: &PluginName,
    limits: EmissionLimits,
    time: &str,
) -> Result<Changes, Failure> {
    let Effects { emissions, reads, writes, blobs, staged, quota } = effects;
    let count = emissions.len();
    if count > limits.max_count {
        let max_count = limits.max_count;
        return Err(limit(format!(
            "{count} emissions, the limit is {max_count}: emit fewer, or one that carries a list"
        )));
    }
    let mut events = Vec::with_capacity(count);
    let mut total_bytes = 0;
    for (position, emission) in emissions.into_iter().enumerate() {
        let new = new_event(emission, position, delivery, plugin, time)?;
        total_bytes += new.event.encoded().len();
        if total_bytes > limits.max_bytes {
            let (count, max_bytes) = (position + 1, limits.max_bytes);
            return Err(limit(format!(
                "the first {count} emissions have {total_bytes} bytes together, the limit is \
                 {max_bytes}: put large content into blobs and emit its digest"
            )));
        }
        events.push(new);
    }
    let delayed_max = limits.max_delayed;
    Ok(Changes { emissions: events, reads, writes, blobs, staged, quota, delayed_max })
}

fn new_event(
    emission: Emission,
    position: usize,
    delivery: &Delivery,
    plugin: &PluginName,
    time: &str,
) -> Result<NewEvent, Failure> {
    let delay = match emission.delay_ms {
        Some(delay_ms) if delay_ms > EMISSION_DELAY_MAX_MS => {
            return Err(Failure::new(
                FailureClass::Emission,
                format!(
                    "emission {position} asks for a delay of {delay_ms} ms, \
                     the limit is {EMISSION_DELAY_MAX_MS} ms (30 days)"
                ),
            ));
        }
        Some(0) | None => None,
        Some(delay_ms) => Some(Duration::from_millis(delay_ms)),
    };
    let event = emission.into_event(delivery, plugin, position, time).map_err(|error| {
        let class = match error.reason.kind() {
            EventErrorKind::TooLarge => FailureClass::Limit,
            EventErrorKind::Malformed | EventErrorKind::Rule => FailureClass::Emission,
        };
        Failure::new(class, error.to_string())
    })?;
    let size_bytes = event.encoded().len();
    if size_bytes > EMISSION_MAX_BYTES {
        return Err(limit(format!(
            "emission {position} has {size_bytes} bytes, the limit is {EMISSION_MAX_BYTES}: \
             put large content into blobs and emit its digest"
        )));
    }
    Ok(NewEvent { event, delay })
}

fn limit(reason: String) -> Failure {
    Failure::new(FailureClass::Limit, reason)
}

/// Truncates the failure's reason to [`REASON_MAX_BYTES`].
fn cut(failure: Failure) -> Failure {
    Failure { reason: text::cut(failure.reason, REASON_MAX_BYTES, ELLIPSIS), ..failure }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use usher_event::Event;

    use super::*;

    fn delivery() -> Delivery {
        Delivery {
            sequence: 7,
            event: Event::builder("1", "/test", "test.go").build().unwrap(),
            subscription: "echo/main".parse().unwrap(),
            attempt: 1,
            flow: 7,
            depth: 0,
            replay: None,
            is_dry_run: false,
            span: None,
        }
    }

    fn emission(bytes: usize) -> Emission {
        Emission {
            ty: "test.went".to_owned(),
            data: Some(Bytes::from(vec![b'x'; bytes])),
            datacontenttype: Some("text/plain".to_owned()),
            ..Emission::default()
        }
    }

    fn decide(emissions: Vec<Emission>) -> Disposition {
        let effects = Effects { emissions, ..Effects::default() };
        let outcome = Outcome { effects, ..Outcome::without_effects(Verdict::Ack, Duration::ZERO) };
        let (plugin, limits) = ("echo".parse().unwrap(), EmissionLimits::default());
        disposition(outcome, &delivery(), &plugin, limits, "2026-01-31T12:00:00.000Z")
    }

    fn rejected(disposition: Disposition) -> Failure {
        match disposition {
            Disposition::Reject { failure } => failure,
            other => panic!("not rejected: {other:?}"),
        }
    }

    #[test]
    fn emissions_become_events() {
        let delayed = Emission { delay_ms: Some(250), ..emission(3) };
        let Disposition::Ack(changes) = decide(vec![emission(1), delayed]) else {
            panic!("not acknowledged")
        };
        let delays: Vec<_> = changes.emissions.iter().map(|new| new.delay).collect();
        assert_eq!(delays, [None, Some(Duration::from_millis(250))]);
        assert!(changes.emissions.iter().all(|new| new.event.source() == "/plugins/echo"));
        assert_eq!(changes.emissions[0].event.time(), Some("2026-01-31T12:00:00.000Z"));
    }

    #[test]
    fn count_and_sizes_are_limited() {
        assert!(matches!(decide(vec![emission(0); 100]), Disposition::Ack(_)));
        let failure = rejected(decide(vec![emission(0); 101]));
        assert_eq!(failure.class, FailureClass::Limit);
        assert!(failure.reason.starts_with("101 emissions"), "{}", failure.reason);

        assert!(matches!(decide(vec![emission(200 * 1024); 5]), Disposition::Ack(_)));
        let failure = rejected(decide(vec![emission(200 * 1024); 6]));
        assert_eq!(failure.class, FailureClass::Limit);
        assert!(failure.reason.contains("together"), "{}", failure.reason);

        let failure = rejected(decide(vec![emission(EMISSION_MAX_BYTES + 1)]));
        assert_eq!(failure.class, FailureClass::Limit);
    }

    #[test]
    fn emissions_count_by_number_and_by_byte() {
        let sizes = |disposition: Disposition| match disposition {
            Disposition::Ack(changes) => {
                Some(changes.emissions.iter().map(|new| new.event.encoded().len()).sum::<usize>())
            }
            _ => None,
        };
        let decide = |count: usize, limits: EmissionLimits| {
            let effects = Effects { emissions: vec![emission(5); count], ..Effects::default() };
            let outcome =
                Outcome { effects, ..Outcome::without_effects(Verdict::Ack, Duration::ZERO) };
            let plugin = "echo".parse().unwrap();
            sizes(disposition(outcome, &delivery(), &plugin, limits, "2026-01-31T12:00:00.000Z"))
        };
        let of = |max_count, max_bytes| EmissionLimits {
            max_count,
            max_bytes,
            ..EmissionLimits::default()
        };
        let bytes = decide(3, of(3, 1 << 20)).expect("as many as there may be");
        assert!(decide(3, of(4, 1 << 20)).is_some() && decide(3, of(2, 1 << 20)).is_none());
        assert_eq!(decide(3, of(3, bytes)), Some(bytes));
        assert!(decide(3, of(3, bytes + 1)).is_some() && decide(3, of(3, bytes - 1)).is_none());
    }

    #[test]
    fn bad_attributes_and_delays_fail_the_delivery() {
        for delay_ms in [EMISSION_DELAY_MAX_MS - 1, EMISSION_DELAY_MAX_MS] {
            let longest = Emission { delay_ms: Some(delay_ms), ..emission(0) };
            assert!(matches!(decide(vec![longest]), Disposition::Ack(_)), "{delay_ms}");
        }
        let cases = [
            Emission { ty: String::new(), ..emission(0) },
            Emission { delay_ms: Some(EMISSION_DELAY_MAX_MS + 1), ..emission(0) },
            Emission {
                extensions: vec![(
                    "source".to_owned(),
                    usher_event::Value::String("/plugins/other".to_owned()),
                )],
                ..emission(0)
            },
        ];
        for case in cases {
            let failure = rejected(decide(vec![emission(0), case.clone()]));
            assert_eq!(failure.class, FailureClass::Emission, "{case:?}");
            assert!(failure.reason.contains("emission 1"), "{}", failure.reason);
        }
    }

    #[test]
    fn long_reasons_are_cut_at_a_character() {
        let failure = Failure::new(FailureClass::Reject, "é".repeat(REASON_MAX_BYTES));
        let outcome = Outcome::without_effects(Verdict::Reject { failure }, Duration::ZERO);
        let (plugin, limits) = ("echo".parse().unwrap(), EmissionLimits::default());
        let failure = rejected(disposition(outcome, &delivery(), &plugin, limits, ""));
        assert!(failure.reason.len() <= REASON_MAX_BYTES);
        assert!(failure.reason.ends_with("é…"));
    }
}
