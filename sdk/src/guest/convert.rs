//! Conversions between the contract's types and the SDK's. All move; payloads are never copied.

use std::time::Duration;

use super::bindings::usher::plugin::contract;
use crate::{Delivery, Description, Emission, Event, Extension, Failure, Value};

impl Delivery {
    pub(super) fn of(plugin: &str, delivery: contract::Delivery) -> Self {
        Self {
            event: delivery.event.into(),
            plugin: plugin.to_owned(),
            subscription: delivery.subscription,
            attempt: delivery.attempt,
            sequence: delivery.sequence,
            deadline_ms: delivery.deadline_ms,
            replay: delivery.replay,
        }
    }
}

impl From<contract::Event> for Event {
    fn from(event: contract::Event) -> Self {
        let extension = |extension: contract::Extension| Extension {
            name: extension.name,
            value: extension.value.into(),
        };
        Self {
            id: event.id,
            source: event.source,
            ty: event.type_,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions.into_iter().map(extension).collect(),
            data: event.data,
        }
    }
}

impl From<contract::Value> for Value {
    fn from(value: contract::Value) -> Self {
        match value {
            contract::Value::Boolean(value) => Self::Boolean(value),
            contract::Value::Integer(value) => Self::Integer(value),
            contract::Value::Text(value) => Self::Text(value),
            contract::Value::Binary(value) => Self::Binary(value),
            contract::Value::Uri(value) => Self::Uri(value),
            contract::Value::UriReference(value) => Self::UriReference(value),
            contract::Value::Timestamp(value) => Self::Timestamp(value),
        }
    }
}

impl From<Value> for contract::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => Self::Boolean(value),
            Value::Integer(value) => Self::Integer(value),
            Value::Text(value) => Self::Text(value),
            Value::Binary(value) => Self::Binary(value),
            Value::Uri(value) => Self::Uri(value),
            Value::UriReference(value) => Self::UriReference(value),
            Value::Timestamp(value) => Self::Timestamp(value),
        }
    }
}

impl From<Emission> for contract::Emission {
    fn from(emission: Emission) -> Self {
        let extension = |extension: Extension| contract::Extension {
            name: extension.name,
            value: extension.value.into(),
        };
        Self {
            type_: emission.ty,
            subject: emission.subject,
            datacontenttype: emission.datacontenttype,
            dataschema: emission.dataschema,
            extensions: emission.extensions.into_iter().map(extension).collect(),
            data: emission.data,
            delay_ms: emission.delay.map(milliseconds),
        }
    }
}

impl From<Failure> for contract::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry { reason, after } => {
                Self::Retry(contract::Retry { reason, after_ms: after.map(milliseconds) })
            }
            Failure::Reject { reason } => Self::Reject(reason),
        }
    }
}

impl From<Description> for contract::Description {
    fn from(description: Description) -> Self {
        let subscription = |subscription: crate::Subscription| contract::Subscription {
            name: subscription.name,
            filter: subscription.filter.to_string(),
            max_in_flight: subscription.max_in_flight,
        };
        let capability = |(capability, reason): (crate::Capability, String)| contract::Capability {
            name: capability.name().to_owned(),
            reason,
        };
        Self {
            name: description.name,
            version: description.version,
            summary: description.summary,
            subscriptions: description.subscriptions.into_iter().map(subscription).collect(),
            capabilities: description.capabilities.into_iter().map(capability).collect(),
        }
    }
}

/// Whole milliseconds, rounded up so that a delay is never shortened.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
