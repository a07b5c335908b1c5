//! `order`, `start` and pace of a subscription, and what of an event's data it hands on.

use toml::Spanned;
use toml::de::DeValue;
use usher_broker::{DEBOUNCE_MAX, Debounce, Order, Pace, Rate, Start};
use usher_event::{millis, read_time};
use usher_filter::Projection;

use super::table::{At, Table};

/// `order = "none"`, `"total"` or `{ key = "ATTRIBUTE" }`.
pub(super) fn order(table: &Table<'_>) -> Option<Order> {
    const HINT: &str = "use \"none\", \"total\" or { key = \"subject\" }";
    let value = table.value("order")?;
    match value.get_ref() {
        DeValue::String(word) if word == "none" => Some(Order::None),
        DeValue::String(word) if word == "total" => Some(Order::Total),
        DeValue::Table(_) => {
            let inner = table.table("order")?;
            let key = inner.string("key");
            inner.finish();
            let Some(key) = key else {
                refuse(table, value, "order needs a key".to_owned(), HINT);
                return None;
            };
            let order = Order::key(key.value);
            if order.is_none() {
                let what = format!("{:?} is not the name of an attribute", key.value);
                table.source().problem(&key.span, what, Some("use a-z and 0-9".to_owned()));
            }
            order
        }
        _ => {
            refuse(table, value, "order can't be that".to_owned(), HINT);
            None
        }
    }
}

/// `start = "latest"`, `"earliest"`, `{ sequence = N }` or `{ time = "RFC 3339" }`.
pub(super) fn start(table: &Table<'_>) -> Option<Start> {
    const HINT: &str = "use \"latest\", \"earliest\", { sequence = 17 } or \
                        { time = \"2026-01-31T12:00:00Z\" }";
    let value = table.value("start")?;
    match value.get_ref() {
        DeValue::String(word) if word == "latest" => Some(Start::Latest),
        DeValue::String(word) if word == "earliest" => Some(Start::Earliest),
        DeValue::String(word) => {
            refuse(table, value, format!("start can't be {word:?}"), HINT);
            None
        }
        DeValue::Table(_) => {
            let inner = table.table("start")?;
            let sequence = inner.integer("sequence", 1..=u64::MAX).map(Start::Sequence);
            let time = inner.string("time").and_then(|time| {
                let time_ms = read_time(time.value);
                if time_ms.is_none() {
                    let what = format!("{:?} is not a time", time.value);
                    let hint = "use RFC 3339, such as 2026-01-31T12:00:00Z".to_owned();
                    table.source().problem(&time.span, what, Some(hint));
                }
                time_ms.map(Start::Time)
            });
            let given =
                inner.value("sequence").is_some() as u8 + inner.value("time").is_some() as u8;
            inner.finish();
            if given != 1 {
                refuse(table, value, "start needs a sequence or a time".to_owned(), HINT);
            }
            sequence.or(time)
        }
        _ => {
            refuse(table, value, "start can't be that".to_owned(), HINT);
            None
        }
    }
}

/// Without `debounce_max_ms`, how often an event may wait for its `debounce_ms`.
const DEBOUNCES_MAX: u32 = 10;

/// `max_per_second`, `max_per_second_per_key`, `debounce_ms` and `debounce_max_ms`.
pub(super) fn pace(table: &Table<'_>, order: &Order) -> Pace {
    let rate = |key| table.number(key, Rate::MIN..=Rate::MAX).and_then(Rate::per_second);
    let duration = |key| table.millis(key, 1..=millis(DEBOUNCE_MAX));
    let (quiet, max) = (duration("debounce_ms"), duration("debounce_max_ms"));
    let debounce = quiet.map(|quiet| {
        let max = max.unwrap_or_else(|| quiet.saturating_mul(DEBOUNCES_MAX).min(DEBOUNCE_MAX));
        Debounce { quiet, max }
    });
    let (max_rate, max_rate_per_key) = (rate("max_per_second"), rate("max_per_second_per_key"));
    let pace = Pace { max_rate, max_rate_per_key, debounce };
    let mut problem = pace.check(order).err();
    if max.is_some() && quiet.is_none() {
        problem = Some("debounce_max_ms needs debounce_ms".to_owned());
    }
    if let Some(what) = problem {
        let keys = ["max_per_second_per_key", "debounce_ms", "debounce_max_ms"];
        let at = keys.into_iter().find_map(|key| table.value(key));
        if let Some(at) = at {
            refuse(table, at, what, "docs/delivery.md, section Pace, has what goes together");
        }
        return Pace::default();
    }
    pace
}

/// `project` and `redact`.
pub(super) fn projection(table: &Table<'_>) -> Projection {
    let project = table.value("project").map(|_| table.strings("project"));
    let redact = table.strings("redact");
    let texts = |paths: &[At<&str>]| -> Vec<String> {
        paths.iter().map(|path| path.value.to_owned()).collect()
    };
    let (kept, hidden) = (project.as_deref().map(texts), texts(&redact));
    Projection::new(kept.as_deref(), &hidden).unwrap_or_else(|error| {
        let mut all = project.iter().flatten().chain(&redact);
        if let Some(at) = all.find(|path| path.value == error.path) {
            let hint = "such as \"/order/id\" or \"$.items[*].price\"".to_owned();
            table.source().problem(&at.span, &error, Some(hint));
        }
        Projection::default()
    })
}

fn refuse(table: &Table<'_>, value: &Spanned<DeValue<'_>>, what: String, hint: &str) {
    table.source().problem(&value.span(), what, Some(hint.to_owned()));
}
