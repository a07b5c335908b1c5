//! `subscriptions` and `cursors`: what they are, and where they stand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use usher_event::FailureClass;
use usher_filter::{Filter, Projection};

use super::{VERSION, millis};
use crate::api::{ClassRetry, Debounce, Order, Pace, Rate, RetryPolicy, Start, Subscription};
use crate::store::varint::{Parts, put};

/// A subscription as it is stored: its name is bound to a number that is never used again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubscriptionRow {
    pub(crate) first: u64,
    /// The lowest sequence that its present filter has judged.
    pub(crate) filter_from: u64,
    pub(crate) subscription: Arc<Subscription>,
}

impl SubscriptionRow {
    pub(crate) fn write(&self) -> Vec<u8> {
        let Subscription {
            name,
            filter,
            start,
            order,
            retry,
            max_in_flight,
            pace,
            projection,
            expires,
        } = &*self.subscription;
        let mut row = json!({
            "v": VERSION,
            "name": name,
            "first": self.first,
            "filter": filter.to_json(),
            "start": match start {
                Start::Latest => json!("latest"),
                Start::Earliest => json!("earliest"),
                Start::Sequence(sequence) => json!({ "sequence": sequence }),
                Start::Time(time_ms) => json!({ "time_ms": time_ms }),
            },
            "order": match order {
                Order::None => Value::Null,
                Order::Key(attribute) => json!({ "key": attribute }),
                Order::Total => json!("total"),
            },
            "max_in_flight": max_in_flight,
            "retry": {
                "first_delay_ms": millis(retry.first_delay),
                "factor": retry.factor,
                "max_delay_ms": millis(retry.max_delay),
                "jitter": retry.jitter,
                "max_attempts": retry.max_attempts,
                "max_age_ms": millis(retry.max_age),
            },
        });
        let mut set = |member: &str, value: Option<Value>| {
            if let (Some(value), Value::Object(members)) = (value, &mut row) {
                members.insert(member.to_owned(), value);
            }
        };
        set("expires", expires.then(|| json!(true)));
        let filter_from = Some(self.filter_from).filter(|from| *from > self.first);
        set("filter_from", filter_from.map(|from| json!(from)));
        let rate = |rate: Option<Rate>| rate.map(|rate| json!(rate.as_millihertz()));
        set("max_millihertz", rate(pace.max_rate));
        set("max_millihertz_per_key", rate(pace.max_rate_per_key));
        let debounce =
            |Debounce { quiet, max }| json!({ "quiet_ms": millis(quiet), "max_ms": millis(max) });
        set("debounce", pace.debounce.map(debounce));
        set("project", projection.project().map(|paths| json!(paths)));
        let redact = Some(projection.redact()).filter(|paths| !paths.is_empty());
        set("redact", redact.map(|paths| json!(paths)));
        if !retry.classes.is_empty()
            && let Some(retry_row) = row.get_mut("retry").and_then(Value::as_object_mut)
        {
            let classes = retry.classes.iter();
            let classes = classes.map(|(class, own)| (class.as_str().to_owned(), write_class(own)));
            retry_row.insert("classes".to_owned(), classes.collect());
        }
        row.to_string().into_bytes()
    }

    pub(crate) fn read(row: &Bytes) -> Option<Self> {
        let row: Value = serde_json::from_slice(row).ok()?;
        if row.get("v")?.as_u64()? != u64::from(VERSION) {
            return None;
        }
        let retry = row.get("retry")?;
        let retry_ms = |field| Some(Duration::from_millis(retry.get(field)?.as_u64()?));
        let first = row.get("first")?.as_u64()?;
        Some(Self {
            first,
            filter_from: row.get("filter_from").map_or(Some(first), Value::as_u64)?,
            subscription: Arc::new(Subscription {
                name: row.get("name")?.as_str()?.parse().ok()?,
                filter: Filter::from_json(row.get("filter")?).ok()?,
                start: match row.get("start")? {
                    Value::String(word) if word == "latest" => Start::Latest,
                    Value::String(word) if word == "earliest" => Start::Earliest,
                    start => match (start.get("sequence"), start.get("time_ms")) {
                        (Some(sequence), None) => Start::Sequence(sequence.as_u64()?),
                        (None, Some(time_ms)) => Start::Time(time_ms.as_u64()?),
                        _ => return None,
                    },
                },
                order: match row.get("order") {
                    None | Some(Value::Null) => Order::None,
                    Some(Value::String(total)) if total == "total" => Order::Total,
                    Some(order) => Order::Key(order.get("key")?.as_str()?.to_owned()),
                },
                max_in_flight: row.get("max_in_flight")?.as_u64()?.try_into().ok()?,
                pace: read_pace(&row)?,
                projection: read_projection(&row)?,
                expires: row.get("expires").map_or(Some(false), Value::as_bool)?,
                retry: RetryPolicy {
                    first_delay: retry_ms("first_delay_ms")?,
                    factor: retry.get("factor")?.as_f64()?,
                    max_delay: retry_ms("max_delay_ms")?,
                    jitter: retry.get("jitter")?.as_f64()?,
                    max_attempts: retry.get("max_attempts")?.as_u64()?.try_into().ok()?,
                    max_age: retry_ms("max_age_ms")?,
                    classes: match retry.get("classes") {
                        None => BTreeMap::new(),
                        Some(classes) => {
                            classes.as_object()?.iter().map(read_class).collect::<Option<_>>()?
                        }
                    },
                },
            }),
        })
    }
}

fn read_pace(row: &Value) -> Option<Pace> {
    let rate = |member| match row.get(member) {
        None => Some(None),
        Some(rate) => Some(Some(Rate::from_millihertz(rate.as_u64()?.try_into().ok()?)?)),
    };
    let debounce = |row: &Value| {
        let ms = |member| Some(Duration::from_millis(row.get(member)?.as_u64()?));
        Some(Debounce { quiet: ms("quiet_ms")?, max: ms("max_ms")? })
    };
    Some(Pace {
        max_rate: rate("max_millihertz")?,
        max_rate_per_key: rate("max_millihertz_per_key")?,
        debounce: match row.get("debounce") {
            None => None,
            Some(row) => Some(debounce(row)?),
        },
    })
}

fn read_projection(row: &Value) -> Option<Projection> {
    let paths = |paths: &Value| -> Option<Vec<String>> {
        paths.as_array()?.iter().map(|path| Some(path.as_str()?.to_owned())).collect()
    };
    let project = match row.get("project") {
        None => None,
        Some(project) => Some(paths(project)?),
    };
    let redact = row.get("redact").map_or(Some(Vec::new()), paths)?;
    Projection::new(project.as_deref(), &redact).ok()
}

fn write_class(own: &ClassRetry) -> Value {
    json!({
        "first_delay_ms": own.first_delay.map(millis),
        "factor": own.factor,
        "max_delay_ms": own.max_delay.map(millis),
        "max_attempts": own.max_attempts,
    })
}

fn read_class((name, own): (&String, &Value)) -> Option<(FailureClass, ClassRetry)> {
    let number = |member| match own.get(member)? {
        Value::Null => Some(None),
        number => number.as_u64().map(Some),
    };
    let own = ClassRetry {
        first_delay: number("first_delay_ms")?.map(Duration::from_millis),
        factor: match own.get("factor")? {
            Value::Null => None,
            factor => Some(factor.as_f64()?),
        },
        max_delay: number("max_delay_ms")?.map(Duration::from_millis),
        max_attempts: match number("max_attempts")? {
            None => None,
            Some(number) => Some(number.try_into().ok()?),
        },
    };
    Some((FailureClass::from_name(name)?, own))
}

/// How far a subscription has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CursorRow {
    /// The lowest sequence that was never handed out.
    pub(crate) next: u64,
    /// Dead letters it has now.
    pub(crate) dead: u64,
    /// Below `next`, neither settled nor waiting for a retry; rising.
    pub(crate) open: Vec<u64>,
    /// Deliveries that were not over when their event left the log.
    pub(crate) expired: u64,
}

impl CursorRow {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(16 + 3 * self.open.len());
        row.push(VERSION);
        put(&mut row, self.next);
        put(&mut row, self.dead);
        put(&mut row, self.open.len() as u64);
        let mut before = 0;
        for sequence in &self.open {
            put(&mut row, sequence - before);
            before = *sequence;
        }
        if self.expired > 0 {
            put(&mut row, self.expired);
        }
        row
    }

    pub(crate) fn read(row: &Bytes) -> Option<Self> {
        let mut parts = Parts::versioned(row, VERSION)?;
        let (next, dead, count) = (parts.number()?, parts.number()?, parts.number()?);
        let mut open = Vec::new();
        let mut before = 0u64;
        for _ in 0..count {
            before = before.checked_add(parts.number()?)?;
            open.push(before);
        }
        let expired = if parts.is_empty() { 0 } else { parts.number()? };
        parts.end().map(|()| Self { next, dead, open, expired })
    }
}
