//! Spans of deliveries: each attempt, its commit, and the events that it emits.

use usher_broker::{Disposition, Settled};
use usher_event::{
    Delivery, Event, Listener, Span, SpanAbout, SpanKind, SpanValue, event_attributes,
};

/// What is recorded of an attempt once it is settled.
pub(crate) struct SettlingSpan {
    attempt: Span,
    /// Events that it emits, which share their bytes with the settlement.
    emitted: Vec<Event>,
    /// Since it was handed over for settlement.
    commit: Option<Span>,
}

/// Ends the span of an attempt. `None` if it isn't recorded.
pub(crate) fn end(
    span: Span,
    delivery: &Delivery,
    by: &dyn Listener,
    decision: &Disposition,
) -> Option<Box<SettlingSpan>> {
    if !span.is_recorded() {
        return None;
    }
    let emitted = match decision {
        Disposition::Ack(changes) => {
            changes.emissions.iter().map(|new| new.event.clone()).collect()
        }
        Disposition::Retry { .. } | Disposition::Reject { .. } | Disposition::Release => Vec::new(),
    };
    let attempt = span.clone();
    span.end(SpanKind::Consumer, || about(delivery, by, decision));
    Some(Box::new(SettlingSpan { attempt, emitted, commit: None }))
}

/// Ends the span of an attempt that was given up.
pub(crate) fn abandon(span: Span, delivery: &Delivery, by: &dyn Listener) {
    span.end(SpanKind::Consumer, || SpanAbout {
        error: Some("abandoned at the end of the drain; it runs again".to_owned()),
        ..about(delivery, by, &Disposition::Release)
    });
}

fn about(delivery: &Delivery, by: &dyn Listener, decision: &Disposition) -> SpanAbout {
    let (verdict, failure) = match decision {
        Disposition::Ack(_) => ("ack", None),
        Disposition::Retry { failure, .. } => ("retry", Some(failure)),
        Disposition::Reject { failure } => ("reject", Some(failure)),
        Disposition::Release => ("release", None),
    };
    let mut attributes = event_attributes(&delivery.event);
    attributes.extend([
        ("messaging.system", "usher".into()),
        ("messaging.operation.type", "process".into()),
        ("messaging.consumer.group.name", delivery.subscription.as_str().into()),
        ("usher.plugin", by.name().as_str().into()),
        ("usher.plugin.version", by.version().into()),
        ("usher.plugin.digest", SpanValue::Text(by.digest().to_string())),
        ("usher.sequence", delivery.sequence.into()),
        ("usher.flow", delivery.flow.into()),
        ("usher.attempt", u64::from(delivery.attempt).into()),
        ("usher.verdict", verdict.into()),
    ]);
    attributes.extend(failure.map(|failure| ("error.type", failure.class.as_str().into())));
    SpanAbout {
        name: format!("process {}", delivery.subscription),
        attributes,
        error: failure.map(|failure| failure.reason.clone()),
    }
}

impl SettlingSpan {
    /// The settlement is handed over.
    pub(crate) fn submitted(&mut self) {
        self.commit = Some(self.attempt.child());
    }

    /// Ends what waited for the settlement. Events that were not committed have no span.
    pub(crate) fn settled(self, answer: &Settled) {
        let outcome = match answer {
            Settled::Committed => "committed",
            Settled::RetryAt(_) => "retry",
            Settled::Dead(_) => "dead letter",
            Settled::Conflict => "conflict",
            Settled::HeldBack => "held back",
            Settled::Expired => "expired",
            Settled::Stale => "stale",
        };
        if let Some(commit) = self.commit {
            commit.end(SpanKind::Internal, || SpanAbout {
                attributes: vec![("usher.outcome", outcome.into())],
                ..SpanAbout::commit()
            });
        }
        if !matches!(answer, Settled::Committed) {
            return;
        }
        for event in self.emitted {
            let Some(context) = event.trace_context() else { continue };
            self.attempt.known_as(context).end(SpanKind::Producer, || SpanAbout {
                name: "emit".to_owned(),
                attributes: event_attributes(&event),
                error: None,
            });
        }
    }
}
