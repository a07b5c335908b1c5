//! Converts between Usher's types and the contract's, only at this boundary. Arguments are borrowed
//! and copied only into wasm memory; payloads of results are moved.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use usher_event::limits::REASON_MAX_BYTES;
use usher_event::{
    Delivery, Emission, Event, Failure, FailureClass, HttpReply, Replier, ReplyMeaning, Value,
    Verdict,
};

use crate::bindings::contract;
use crate::limits::size;
use crate::{Limits, text};

/// An event's extensions, for [`borrow_extensions`] to borrow from.
pub(crate) fn extensions(event: &Event) -> Vec<(&str, Value)> {
    event.extensions().collect()
}

/// Extensions in the contract's types.
pub(crate) fn borrow_extensions<'a>(
    extensions: &'a [(&'a str, Value)],
) -> Vec<contract::ExtensionParam<'a>> {
    extensions
        .iter()
        .map(|(name, value)| contract::ExtensionParam { name, value: borrow_value(value) })
        .collect()
}

fn borrow_value(value: &Value) -> contract::ValueParam<'_> {
    match value {
        Value::Boolean(value) => contract::ValueParam::Boolean(*value),
        Value::Integer(value) => contract::ValueParam::Integer(*value),
        Value::String(text) => contract::ValueParam::Text(text),
        Value::Binary(bytes) => contract::ValueParam::Binary(bytes),
        Value::Uri(text) => contract::ValueParam::Uri(text),
        Value::UriReference(text) => contract::ValueParam::UriReference(text),
        Value::Timestamp(text) => contract::ValueParam::Timestamp(text),
    }
}

/// A delivery in the contract's types.
pub(crate) fn delivery<'a>(
    delivery: &'a Delivery,
    extensions: &'a [contract::ExtensionParam<'a>],
    deadline_ms: u64,
) -> contract::Delivery<'a> {
    let event = &delivery.event;
    contract::Delivery {
        event: contract::Event {
            id: event.id(),
            source: event.source(),
            type_: event.ty(),
            subject: event.subject(),
            time: event.time(),
            datacontenttype: event.datacontenttype(),
            dataschema: event.dataschema(),
            extensions,
            data: event.data_slice(),
        },
        subscription: delivery.subscription.local(),
        attempt: delivery.attempt,
        sequence: delivery.sequence,
        deadline_ms,
        replay: delivery.replay.is_some(),
    }
}

/// Converts a guest's emissions; a reject verdict if they exceed a limit.
pub(crate) fn emissions(
    emitted: Vec<contract::Emission>,
    limits: &Limits,
) -> Result<Vec<Emission>, Verdict> {
    if emitted.len() > size(limits.emissions) {
        return Err(too_much(format!(
            "handed back {} emissions, the limit is {}",
            emitted.len(),
            limits.emissions
        )));
    }
    let emission_bytes = emitted.iter().map(emission_bytes).sum::<usize>();
    if emission_bytes > size(limits.emission_bytes) {
        return Err(too_much(format!(
            "handed back {emission_bytes} bytes of emissions, the limit is {}",
            limits.emission_bytes
        )));
    }
    Ok(emitted.into_iter().map(emission).collect())
}

/// Rejects, because a retry would return the same again.
fn too_much(reason: String) -> Verdict {
    Verdict::Reject { failure: Failure::new(FailureClass::Limit, reason) }
}

fn emission_bytes(emission: &contract::Emission) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let extensions: usize = emission
        .extensions
        .iter()
        .map(|extension| {
            extension.name.len()
                + match &extension.value {
                    contract::ValueResult::Boolean(_) => 1,
                    contract::ValueResult::Integer(_) => 4,
                    contract::ValueResult::Text(text)
                    | contract::ValueResult::Uri(text)
                    | contract::ValueResult::UriReference(text)
                    | contract::ValueResult::Timestamp(text) => text.len(),
                    contract::ValueResult::Binary(bytes) => bytes.len(),
                }
        })
        .sum();
    emission.type_.len()
        + text(&emission.subject)
        + text(&emission.datacontenttype)
        + text(&emission.dataschema)
        + extensions
        + emission.data.as_ref().map_or(0, Vec::len)
}

fn emission(emission: contract::Emission) -> Emission {
    Emission {
        ty: emission.type_,
        subject: emission.subject,
        datacontenttype: emission.datacontenttype,
        dataschema: emission.dataschema,
        extensions: emission
            .extensions
            .into_iter()
            .map(|extension| (extension.name, own_value(extension.value)))
            .collect(),
        data: emission.data.map(Bytes::from),
        delay_ms: emission.delay_ms,
    }
}

fn own_value(value: contract::ValueResult) -> Value {
    match value {
        contract::ValueResult::Boolean(value) => Value::Boolean(value),
        contract::ValueResult::Integer(value) => Value::Integer(value),
        contract::ValueResult::Text(text) => Value::String(text),
        contract::ValueResult::Binary(bytes) => Value::Binary(bytes.into()),
        contract::ValueResult::Uri(text) => Value::Uri(text),
        contract::ValueResult::UriReference(text) => Value::UriReference(text),
        contract::ValueResult::Timestamp(text) => Value::Timestamp(text),
    }
}

/// Converts the verdict that a guest returned.
pub(crate) fn failure(failure: contract::Failure, redact: impl Fn(String) -> String) -> Verdict {
    let reason = |words: String| {
        text::cut(text::escape_lines(&redact(words)).into_owned(), REASON_MAX_BYTES)
    };
    match failure {
        contract::Failure::Retry(retry) => Verdict::Retry {
            failure: Failure::new(FailureClass::Retry, reason(retry.reason)),
            after: retry.after_ms.map(Duration::from_millis),
        },
        contract::Failure::Reject(words) => {
            Verdict::Reject { failure: Failure::new(FailureClass::Reject, reason(words)) }
        }
    }
}

/// A transient failure with this reason.
pub(crate) fn retry(reason: String, redact: impl Fn(String) -> String) -> Verdict {
    failure(contract::Failure::Retry(contract::Retry { reason, after_ms: None }), redact)
}

/// Converts the response of a component that serves HTTP: at most one emission.
///
/// # Errors
/// The verdict that it means, if that is no acknowledgement.
pub(crate) fn reply(
    reply: HttpReply,
    now: SystemTime,
    redact: impl Fn(String) -> String,
) -> Result<Vec<Emission>, Verdict> {
    let mut verdict = match reply.meaning(Replier::Component, now) {
        ReplyMeaning::Done(emission) => return Ok(emission.into_iter().collect()),
        ReplyMeaning::Failed(verdict) | ReplyMeaning::Gone(verdict) => verdict,
    };
    if let Verdict::Retry { failure, .. } | Verdict::Reject { failure } = &mut verdict {
        let reason = redact(std::mem::take(&mut failure.reason));
        failure.reason = text::cut(text::escape_lines(&reason).into_owned(), REASON_MAX_BYTES);
    }
    Err(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emitted(data_bytes: usize) -> contract::Emission {
        contract::Emission {
            type_: "t".to_owned(),
            subject: None,
            datacontenttype: None,
            dataschema: None,
            extensions: Vec::new(),
            data: Some(vec![0; data_bytes]),
            delay_ms: None,
        }
    }

    #[test]
    fn emissions_at_the_limits_are_taken_and_beyond_rejected() {
        let limits = Limits { emissions: 2, emission_bytes: 100, ..Limits::default() };
        let check = |data_bytes: &[usize]| {
            emissions(data_bytes.iter().copied().map(emitted).collect(), &limits)
        };
        assert_eq!(check(&[49, 49]).unwrap().len(), 2);
        let words = |verdict| match verdict {
            Verdict::Reject { failure } => {
                assert_eq!(failure.class, FailureClass::Limit);
                failure.reason
            }
            other => panic!("expected a rejection, found {other:?}"),
        };
        let many = check(&[0, 0, 0]).unwrap_err();
        assert_eq!(words(many), "handed back 3 emissions, the limit is 2");
        let large = check(&[49, 50]).unwrap_err();
        assert_eq!(words(large), "handed back 101 bytes of emissions, the limit is 100");
    }

    #[test]
    fn reasons_are_escaped_and_cut() {
        let verdict = failure(contract::Failure::Reject("\x1b[2J".repeat(4096)), |text| text);
        let Verdict::Reject { failure } = verdict else { panic!("expected a rejection") };
        assert!(failure.reason.len() <= REASON_MAX_BYTES);
        assert!(!failure.reason.contains('\x1b'));

        let reason = |bytes: usize| {
            let words = contract::Failure::Reject("x".repeat(bytes));
            match super::failure(words, |text| text) {
                Verdict::Reject { failure } => failure.reason,
                other => panic!("expected a rejection, found {other:?}"),
            }
        };
        for bytes in [REASON_MAX_BYTES - 1, REASON_MAX_BYTES] {
            assert_eq!(reason(bytes), "x".repeat(bytes));
        }
        let cut = reason(REASON_MAX_BYTES + 1);
        assert!(cut.len() <= REASON_MAX_BYTES && cut.ends_with("x… (cut)"), "{}", cut.len());
    }
}
