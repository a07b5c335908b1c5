//! What a listener receives: a CloudEvent with the context of its delivery.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::Error;

/// Source prefix of plugins' emissions; reserved for them.
const PLUGIN_SOURCE_PREFIX: &str = "/plugins/";
/// Bytes of the hash in a key: enough that collisions can't be found.
const KEY_HASH_BYTES: usize = 16;

/// One attempt to deliver an event to a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The event.
    pub event: Event,
    /// The plugin's own name, as `describe` returns it.
    pub plugin: String,
    /// The name of the subscription, as `describe` or the operator gave it.
    pub subscription: String,
    /// Number of this attempt, from 1; each failed attempt increments it.
    pub attempt: u32,
    /// The event's position in the log.
    pub sequence: u64,
    /// When the host aborts the call: milliseconds since 1970-01-01 UTC.
    pub deadline_ms: u64,
    /// Whether this is a replay, requested by an operator.
    pub replay: bool,
}

impl Delivery {
    /// A key that is the same at every attempt and distinct for every other plugin, subscription
    /// and event, across routers. Pass it to services that accept idempotency keys, so that a
    /// second attempt has no further effect. At most 162 characters of a-z, 0-9, '-' and '.'.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let event = &self.event;
        let mut hash = Sha256::new()
            .chain_update((event.source.len() as u64).to_le_bytes())
            .chain_update(&event.source)
            .chain_update((event.id.len() as u64).to_le_bytes())
            .chain_update(&event.id);
        // Ids of emissions are made of sequences, which every router and every new data folder
        // counts from 1; their time is the host's and never changes once they are in the log.
        if event.source.starts_with(PLUGIN_SOURCE_PREFIX) {
            hash.update(event.time.as_deref().unwrap_or_default());
        }
        let digits = hash
            .finalize()
            .iter()
            .take(KEY_HASH_BYTES)
            .fold(String::with_capacity(2 * KEY_HASH_BYTES), |digits, byte| {
                digits + &format!("{byte:02x}")
            });
        format!("{}.{}.{digits}", self.plugin, self.subscription)
    }
}

/// A CloudEvent as stored in the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// Unique within `source`.
    pub id: String,
    /// The context it happened in: a URI reference.
    pub source: String,
    /// The kind of event: the attribute `type`.
    pub ty: String,
    /// What the event is about, within the source.
    pub subject: Option<String>,
    /// When it happened: RFC 3339, as written by the producer.
    pub time: Option<String>,
    /// Media type of `data`. Absent means JSON.
    pub datacontenttype: Option<String>,
    /// URI of the schema of `data`.
    pub dataschema: Option<String>,
    /// Extension attributes: all that CloudEvents itself doesn't define.
    pub extensions: Vec<Extension>,
    /// The payload's bytes.
    pub data: Option<Vec<u8>>,
}

impl Event {
    /// The payload, parsed from JSON. An event without data parses as `null`, which suits types
    /// such as `Option`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the data isn't JSON of this type. With `?` that rejects the event,
    /// since a retry wouldn't help.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_slice(self.data.as_deref().unwrap_or(b"null")).map_err(|error| {
            Error::Invalid(format!("data of {} is not what was expected: {error}", self.ty))
        })
    }

    /// The value of an extension attribute.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&Value> {
        self.extensions.iter().find(|extension| extension.name == name).map(|found| &found.value)
    }

    /// The attribute `correlationid`, shared by all events of one flow. The host sets it on every
    /// emission.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        match self.extension("correlationid") {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// An attribute beyond those that CloudEvents itself defines.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// 1 to 20 characters of a-z and 0-9. Events from elsewhere may have longer names.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// The value of an extension attribute; the cases are the CloudEvents type system.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// True or false.
    Boolean(bool),
    /// A 32-bit signed integer.
    Integer(i32),
    /// Text without control characters.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// An absolute URI.
    Uri(String),
    /// A URI or relative reference.
    UriReference(String),
    /// RFC 3339.
    Timestamp(String),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: Option<&str>) -> Event {
        Event {
            ty: "t".into(),
            data: data.map(|text| text.as_bytes().to_vec()),
            ..Event::default()
        }
    }

    #[test]
    fn keys_tell_all_deliveries_apart_and_no_attempts() {
        let delivery = |plugin: &str, subscription: &str, id: &str, source: &str, time: &str| {
            let (id, source, time) = (id.into(), source.into(), Some(time.into()));
            Delivery {
                event: Event { id, source, time, ..Event::default() },
                plugin: plugin.into(),
                subscription: subscription.into(),
                attempt: 1,
                sequence: 1,
                deadline_ms: 0,
                replay: false,
            }
        };
        let first = delivery("payment", "purchases", "o-1", "/shop", "noon");
        let key = first.idempotency_key();
        // SHA-256 over the lengths (8 bytes, little-endian) and the texts.
        assert_eq!(key, "payment.purchases.8658bfb5da1663ca2e931b7ccd937d97");
        let again = Delivery { attempt: 2, sequence: 7, replay: true, ..first };
        assert_eq!(again.idempotency_key(), key, "another attempt, be it of another router");
        let resent = delivery("payment", "purchases", "o-1", "/shop", "one");
        assert_eq!(resent.idempotency_key(), key, "the producer's id counts, not its clock");

        let others = [
            delivery("refunds", "purchases", "o-1", "/shop", "noon"),
            delivery("payment", "all", "o-1", "/shop", "noon"),
            delivery("payment", "purchases", "o-2", "/shop", "noon"),
            delivery("payment", "purchases", "o-1", "/till", "noon"),
            delivery("payment", "purchases", "po-1", "/sho", "noon"),
            delivery("payment", "purchases", "1/a/b/0", "/plugins/a", "noon"),
            delivery("payment", "purchases", "1/a/b/0", "/plugins/a", "one"),
        ];
        let mut keys: Vec<String> = others.iter().map(Delivery::idempotency_key).collect();
        keys.push(key);
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), others.len() + 1, "{keys:?}");

        let name = "n".repeat(64);
        let long = delivery(&name, &name, &"i".repeat(4096), "/\u{e9}", "noon").idempotency_key();
        assert_eq!(long.len(), 162);
        assert!(long.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'), "{long}");
    }

    #[test]
    fn reads_typed_payloads() {
        assert_eq!(event(Some("[1,2]")).json::<Vec<u8>>(), Ok(vec![1, 2]));
        assert_eq!(event(Some("\"borrowed\"")).json::<&str>(), Ok("borrowed"));
        assert_eq!(event(None).json::<Option<u8>>(), Ok(None));
    }

    #[test]
    fn says_what_is_wrong_with_a_payload() {
        let Err(Error::Invalid(reason)) = event(Some("{")).json::<Vec<u8>>() else {
            panic!("accepted a torn payload")
        };
        assert!(reason.starts_with("data of t is not what was expected: "), "{reason}");
    }
}
