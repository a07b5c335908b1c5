//! `order` and `start` of a subscription.

use toml::Spanned;
use toml::de::DeValue;
use usher_broker::{Order, Start};
use usher_event::read_time;

use super::table::Table;

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

fn refuse(table: &Table<'_>, value: &Spanned<DeValue<'_>>, what: String, hint: &str) {
    table.source().problem(&value.span(), what, Some(hint.to_owned()));
}
