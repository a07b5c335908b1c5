use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

/// Compares a type's schema with its file; with `WRITE_SCHEMAS` set, writes the file.
fn check<T: JsonSchema>(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(file);
    let schema = serde_json::to_value(schemars::schema_for!(T)).unwrap();
    if std::env::var_os("WRITE_SCHEMAS").is_some() {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        written, schema,
        "schemas/{file} is not that of its type: run `WRITE_SCHEMAS=1 cargo test -p tickets`"
    );
}

#[test]
fn schemas_are_those_of_the_types() {
    check::<Purchase>("ticket.purchased.json");
    check::<Confirmed>("ticket.payment.confirmed.json");
    check::<Declined>("ticket.payment.declined.json");
    check::<Generated>("ticket.generated.json");
    check::<GenerationFailed>("ticket.generation.failed.json");
    check::<GenerationFailed>("ticket.generation.abandoned.json");
    check::<Delivered>("ticket.delivered.json");
}

/// A payload as another program would write it.
fn purchase() -> Value {
    json!({
        "order": "o-1001",
        "concert": {
            "id": "c-7",
            "title": "Winterreise",
            "venue": "Konzerthaus",
            "starts": "2026-06-20T19:30:00+02:00",
        },
        "seat": { "section": "Parkett", "row": "F", "number": 12 },
        "buyer": { "name": "Anna Magdalena Bach", "email": "anna@example.com" },
        "price": { "amount_cents": 8500, "currency": "EUR" },
        "card": "tok_ok",
    })
}

fn survives<T: Serialize + DeserializeOwned>(payload: Value) {
    let read: T = serde_json::from_value(payload.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), payload);
}

#[test]
fn payloads_are_flat_and_survive_a_round() {
    let with = |more: Value| {
        let mut payload = purchase();
        let fields = payload.as_object_mut().unwrap();
        fields.remove("card");
        fields.extend(more.as_object().unwrap().clone());
        payload
    };
    survives::<Purchase>(purchase());
    survives::<Confirmed>(with(json!({ "charge": "ch_0001" })));
    survives::<Declined>(with(json!({ "reason": "no funds" })));
    survives::<Generated>(with(json!({ "ticket_number": "T", "pdf": "00", "size_bytes": 9 })));
    survives::<GenerationFailed>(with(json!({ "generation_attempt": 1, "reason": "too long" })));
    survives::<Delivered>(with(json!({ "ticket_number": "T", "mail": "m-1" })));
}

#[test]
fn prices_read_well() {
    let price = |amount_cents| Price { amount_cents, currency: "EUR".into() }.to_string();
    assert_eq!(price(8500), "85.00 EUR");
    assert_eq!(price(5), "0.05 EUR");
}
