//! Validates emissions. Like the real host, it rejects the delivery if one is invalid; unlike the
//! real host, it doesn't check the syntax of URIs, media types and timestamps.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Delivery, Emission, Extension, Failure, Value};

const EMISSIONS_MAX: usize = 100;
const EMISSION_MAX_BYTES: usize = 256 * 1024;
const EMISSIONS_MAX_BYTES: usize = 1024 * 1024;
const ATTRIBUTE_MAX_BYTES: usize = 4 * 1024;
const EXTENSIONS_MAX: usize = 64;
const NAME_MAX_BYTES: usize = 20;
const DELAY_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Length of a time as the host writes it.
const TIME_BYTES: usize = "2018-04-05T17:31:00.000Z".len();
/// Encoding overhead of an event, an attribute and an extension, in bytes.
const EVENT_BYTES: usize = 8;
const ATTRIBUTE_BYTES: usize = 2;
const EXTENSION_BYTES: usize = 4;

const CLOUDEVENTS: [&str; 9] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
];
/// The host sets the first two on every emission, the others if the parent event has them.
const HOST: [&str; 4] = ["causationid", "correlationid", "traceparent", "tracestate"];

/// What the host adds to each emission of a delivery.
pub(super) struct Added {
    bytes: usize,
    extensions: usize,
}

impl Added {
    pub(super) fn to(delivery: &Delivery) -> Self {
        let Delivery { event, plugin, subscription, sequence, .. } = delivery;
        let id = format!("{sequence}/{plugin}/{subscription}/{EMISSIONS_MAX}");
        let core = [id.len(), "/plugins/".len() + plugin.len(), TIME_BYTES];
        let causation = event.id.len();
        let own = HOST.iter().filter_map(|name| match (*name, event.extension(name)) {
            ("causationid", _) => Some((name, causation)),
            (_, Some(value)) => Some((name, length(value))),
            ("correlationid", None) => Some((name, sequence.to_string().len())),
            (_, None) => None,
        });
        let extensions: Vec<usize> =
            own.map(|(name, bytes)| EXTENSION_BYTES + name.len() + bytes).collect();
        Self {
            bytes: core.iter().map(|bytes| ATTRIBUTE_BYTES + bytes).sum::<usize>()
                + extensions.iter().sum::<usize>(),
            extensions: extensions.len(),
        }
    }

    /// Returns the emissions, or the failure with which the host would reject the delivery.
    pub(super) fn check(&self, emissions: Vec<Emission>) -> Result<Vec<Emission>, Failure> {
        let count = emissions.len();
        if count > EMISSIONS_MAX {
            return Err(Failure::reject(format!(
                "{count} emissions, the limit is {EMISSIONS_MAX}: emit fewer, or one that carries \
                 a list"
            )));
        }
        let mut total_bytes = 0;
        for (position, emission) in emissions.iter().enumerate() {
            total_bytes += self.check_one(emission).map_err(|words| {
                Failure::reject(format!("emission {position} ({:?}): {words}", emission.ty))
            })?;
        }
        if total_bytes > EMISSIONS_MAX_BYTES {
            return Err(Failure::reject(format!(
                "the emissions have {total_bytes} bytes together, the limit is \
                 {EMISSIONS_MAX_BYTES}: put large content into blobs and emit its digest"
            )));
        }
        Ok(emissions)
    }

    /// Returns the emission's encoded size.
    fn check_one(&self, emission: &Emission) -> Result<usize, String> {
        let Emission { ty, subject, datacontenttype, dataschema, extensions, data, delay } =
            emission;
        if delay.is_some_and(|delay| delay > DELAY_MAX) {
            return Err("a delay has at most 30 days".to_owned());
        }
        let mut bytes = EVENT_BYTES + self.bytes + data.as_ref().map_or(0, Vec::len);
        let core = [
            ("type", Some(ty)),
            ("subject", subject.as_ref()),
            ("datacontenttype", datacontenttype.as_ref()),
            ("dataschema", dataschema.as_ref()),
        ];
        for (name, text) in core.into_iter().filter_map(|(name, text)| Some((name, text?))) {
            if text.is_empty() {
                return Err(format!("attribute {name:?} must not be empty"));
            }
            check_value(name, &Value::Text(text.clone()))?;
            bytes += ATTRIBUTE_BYTES + text.len();
        }
        if extensions.len() + self.extensions > EXTENSIONS_MAX {
            return Err(format!(
                "the event must have at most {EXTENSIONS_MAX} extensions, of which {} are the host's",
                self.extensions
            ));
        }
        let mut names = BTreeSet::new();
        for Extension { name, value } in extensions {
            check_name(name)?;
            if !names.insert(name) {
                return Err(format!("attribute {name:?} is there twice"));
            }
            check_value(name, value)?;
            bytes += EXTENSION_BYTES + name.len() + length(value);
        }
        if bytes > EMISSION_MAX_BYTES {
            return Err(format!(
                "it has {bytes} bytes with what the host adds, the limit is {EMISSION_MAX_BYTES}: \
                 put large content into blobs and emit its digest"
            ));
        }
        Ok(bytes)
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let rule = if HOST.contains(&name) {
        "is set by the host alone"
    } else if CLOUDEVENTS.contains(&name) {
        "is CloudEvents' own and can't be an extension"
    } else if name.is_empty() || name.len() > NAME_MAX_BYTES {
        "must have a name of 1 to 20 characters"
    } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        "must have a name of a-z and 0-9 only"
    } else {
        return Ok(());
    };
    Err(format!("attribute {name:?} {rule}"))
}

fn check_value(name: &str, value: &Value) -> Result<(), String> {
    if length(value) > ATTRIBUTE_MAX_BYTES {
        return Err(format!("attribute {name:?} must have at most {ATTRIBUTE_MAX_BYTES} bytes"));
    }
    match value {
        Value::Text(text) if text.chars().any(char::is_control) => {
            Err(format!("attribute {name:?} must have no control characters"))
        }
        _ => Ok(()),
    }
}

fn length(value: &Value) -> usize {
    match value {
        Value::Boolean(_) => 1,
        Value::Integer(_) => 4,
        Value::Binary(bytes) => bytes.len(),
        Value::Text(text)
        | Value::Uri(text)
        | Value::UriReference(text)
        | Value::Timestamp(text) => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{delivery, event};

    fn check(emissions: Vec<Emission>) -> Result<usize, Failure> {
        Added::to(&delivery(event("t", "x"))).check(emissions).map(|emissions| emissions.len())
    }

    #[test]
    fn takes_what_is_just_within_the_rules() {
        let within = Emission::new("t")
            .extension("a2345678901234567890", "x".repeat(ATTRIBUTE_MAX_BYTES))
            .subject("é")
            .delay(DELAY_MAX);
        assert_eq!(check(vec![within; EMISSIONS_MAX]), Ok(EMISSIONS_MAX));
        assert_eq!(check(vec![Emission::new("t").data(vec![0; 255 * 1024], "a/b"); 4]), Ok(4));
        let many = (0..62).fold(Emission::new("t"), |so_far, number| {
            so_far.extension(format!("e{number}"), number)
        });
        assert_eq!(check(vec![many]), Ok(1));
    }

    #[test]
    fn rejects_what_the_host_would_not_take() {
        let good = || Emission::new("t");
        let named = |name: &str| vec![good(), good().extension(name, "x")];
        let many =
            (0..63).fold(good(), |so_far, number| so_far.extension(format!("e{number}"), number));
        let cases = [
            (vec![good(); EMISSIONS_MAX + 1], "101 emissions, the limit is 100"),
            (vec![good().data(vec![0; 256 * 1024], "a/b")], "the limit is 262144"),
            (vec![good().data(vec![0; 210 * 1024], "a/b"); 5], "the limit is 1048576"),
            (vec![good().delay(DELAY_MAX + Duration::from_nanos(1))], "at most 30 days"),
            (vec![Emission::new("")], "attribute \"type\" must not be empty"),
            (vec![good().subject("")], "attribute \"subject\" must not be empty"),
            (vec![good().subject("a\nb")], "attribute \"subject\" must have no control"),
            (vec![good().extension("a", "\u{7f}")], "attribute \"a\" must have no control"),
            (vec![good().subject("s".repeat(4097))], "must have at most 4096 bytes"),
            (vec![good().extension("a", 1).extension("a", 2)], "attribute \"a\" is there twice"),
            (vec![many], "of which 2 are the host's"),
            (named("correlationid"), "emission 1 (\"t\"): attribute \"correlationid\" is set by"),
            (named("tracestate"), "is set by the host alone"),
            (named("source"), "is CloudEvents' own"),
            (named(""), "1 to 20 characters"),
            (named("a23456789012345678901"), "1 to 20 characters"),
            (named("Upper"), "a-z and 0-9 only"),
        ];
        for (emissions, expected) in cases {
            let failure = check(emissions).expect_err(expected);
            assert!(!failure.is_retry(), "{failure}");
            assert!(failure.reason().contains(expected), "{failure} instead of {expected}");
        }
    }
}
