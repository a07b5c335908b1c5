//! Decodes events from JSON.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::members::{MEMBERS_MAX, Members, Scalar};
use crate::encoding::{Core, Parts};
use crate::limits::{
    BATCH_MAX_BYTES, BATCH_MAX_EVENTS, EXTENSIONS_MAX, FOREIGN_EXTENSION_NAME_MAX_BYTES,
    JSON_MAX_BYTES,
};
use crate::value::ValueRef;
use crate::{BatchError, Event, EventError, media};

/// Decodes an event from JSON (`application/cloudevents+json`).
///
/// # Errors
/// The input is not JSON, breaks a CloudEvents rule or exceeds a limit.
pub fn from_slice(json: &[u8]) -> Result<Event, EventError> {
    if json.len() > JSON_MAX_BYTES {
        return Err(EventError::too_large(
            None,
            format!("the event's JSON must have at most {JSON_MAX_BYTES} bytes"),
        )
        .found_a(json.len().to_string()));
    }
    let members =
        serde_json::from_slice::<Members<'_>>(json).map_err(|e| not_json("an event", &e))?;
    from_members(&members)
}

/// Decodes a JSON array of events (`application/cloudevents-batch+json`); may be empty.
///
/// # Errors
/// The input is not a JSON array, has too many members or bytes, or contains an invalid event,
/// which refuses the whole batch.
pub fn batch_from_slice(json: &[u8]) -> Result<Vec<Event>, BatchError> {
    let whole = |reason| BatchError { member: None, reason };
    if json.len() > BATCH_MAX_BYTES {
        return Err(whole(
            EventError::too_large(
                None,
                format!("the batch's JSON must have at most {BATCH_MAX_BYTES} bytes"),
            )
            .found_a(json.len().to_string()),
        ));
    }
    let Batch(members) =
        serde_json::from_slice::<Batch<'_>>(json).map_err(|e| whole(not_json("a batch", &e)))?;
    if members.len() > BATCH_MAX_EVENTS {
        return Err(whole(EventError::too_large(
            None,
            format!("the batch must have at most {BATCH_MAX_EVENTS} events"),
        )));
    }
    members
        .into_iter()
        .enumerate()
        .map(|(member, json)| {
            from_slice(json.get().as_bytes())
                .map_err(|reason| BatchError { member: Some(member), reason })
        })
        .collect()
}

fn not_json(what: &str, error: &serde_json::Error) -> EventError {
    EventError::malformed(format!("not {what} in JSON: {error}"))
}

/// The members of a batch; reading stops one past the limit.
struct Batch<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> de::Deserialize<'de> for Batch<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BatchVisitor)
    }
}

struct BatchVisitor;

impl<'de> Visitor<'de> for BatchVisitor {
    type Value = Batch<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a batch of events: a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while members.len() <= BATCH_MAX_EVENTS {
            match seq.next_element()? {
                Some(member) => members.push(member),
                None => return Ok(Batch(members)),
            }
        }
        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Batch(members))
    }
}

fn from_members(members: &Members<'_>) -> Result<Event, EventError> {
    if members.too_many {
        return Err(EventError::too_large(
            None,
            format!(
                "the event must have at most {EXTENSIONS_MAX} extensions, \
                 found more than {MEMBERS_MAX} members"
            ),
        ));
    }
    if members.data_twice {
        return Err(EventError::rule("data", "is there twice"));
    }
    let mut parts = Parts::default();
    let mut specversion = false;
    let mut has_null = false;
    let mut data_base64 = None;
    for (name, value) in &members.attributes {
        if *value == Scalar::Null {
            has_null = true;
            continue;
        }
        let name = &**name;
        // Duplicate extensions are detected when the event is encoded.
        let mut twice = false;
        if let Some(core) = Core::from_name(name) {
            twice = parts.get(core).is_some();
            parts.set(core, text(name, value)?);
        } else if name == "specversion" {
            check_specversion(text(name, value)?)?;
            twice = std::mem::replace(&mut specversion, true);
        } else if name == "data_base64" {
            twice = data_base64.replace(base64(text(name, value)?)?).is_some();
        } else {
            parts.extensions.push((name, extension(name, value)?));
        }
        if twice {
            return Err(EventError::rule(name, "is there twice"));
        }
    }
    if has_null {
        refuse_duplicates(&members.attributes)?;
    }
    if !specversion {
        return Err(EventError::rule("specversion", "is required"));
    }
    let data = match (members.data, data_base64) {
        (None, None) => None,
        (None, Some(bytes)) => Some(Cow::Owned(bytes)),
        (Some(raw), None) => Some(data(raw, parts.get(Core::DataContentType))?),
        (Some(_), Some(_)) => {
            return Err(EventError::rule("data", "and data_base64 must not both be there"));
        }
    };
    parts.data = data.as_deref();
    Event::from_parts(parts, FOREIGN_EXTENSION_NAME_MAX_BYTES)
}

pub(crate) fn check_specversion(version: &str) -> Result<(), EventError> {
    if version == "1.0" {
        return Ok(());
    }
    Err(EventError::rule("specversion", "must be \"1.0\"").found(version))
}

/// Includes members that are null: it is unknown which of the duplicates is meant.
fn refuse_duplicates(attributes: &[(Cow<'_, str>, Scalar<'_>)]) -> Result<(), EventError> {
    let mut names: Vec<&str> = attributes.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.last()).and_then(<[_]>::first) {
        Some(name) => Err(EventError::rule(name, "is there twice")),
        None => Ok(()),
    }
}

fn text<'a>(name: &str, value: &'a Scalar<'_>) -> Result<&'a str, EventError> {
    match value {
        Scalar::String(text) => Ok(text),
        other => Err(EventError::rule(name, "must be a string").found_a(other.describe())),
    }
}

fn extension<'a>(name: &str, value: &'a Scalar<'_>) -> Result<ValueRef<'a>, EventError> {
    let wrong = |rule: &'static str| EventError::rule(name, rule).found_a(value.describe());
    match value {
        Scalar::Boolean(value) => Ok(ValueRef::Boolean(*value)),
        Scalar::String(text) => Ok(ValueRef::String(text)),
        Scalar::Integer(number) => i32::try_from(*number)
            .map(ValueRef::Integer)
            .map_err(|_| wrong("must be a whole number from -2147483648 to 2147483647")),
        Scalar::Fraction(_) | Scalar::Large(_) => {
            Err(wrong("must be a whole number from -2147483648 to 2147483647"))
        }
        Scalar::Null | Scalar::Array | Scalar::Object => {
            Err(wrong("must be a string, a whole number or a boolean"))
        }
    }
}

fn base64(text: &str) -> Result<Vec<u8>, EventError> {
    STANDARD.decode(text).map_err(|e| {
        EventError::rule("data_base64", format!("must be Base64 with padding (RFC 4648): {e}"))
            .found(text)
    })
}

fn data<'a>(raw: &'a RawValue, media_type: Option<&str>) -> Result<Cow<'a, [u8]>, EventError> {
    let json = raw.get();
    if media_type.is_none_or(media::is_json) {
        return Ok(Cow::Borrowed(json.as_bytes()));
    }
    if !json.starts_with('"') {
        return Err(EventError::rule(
            "data",
            "must be a string where datacontenttype is not a JSON type",
        )
        .found(json));
    }
    let text: String = serde_json::from_str(json)
        .map_err(|e| EventError::rule("data", format!("must be a valid string: {e}")))?;
    Ok(Cow::Owned(text.into_bytes()))
}
