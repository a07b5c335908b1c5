use serde_json::{Value, json};
use usher_sdk::testing::{self, TestHost, delivery, emitted};

use super::*;

const LONG_TITLE: &str = "Das Wohltemperierte Klavier, erster und zweiter Teil: alle \
    achtundvierzig Präludien und Fugen an einem einzigen langen Abend";

fn ticket(title: &str) -> Value {
    json!({
        "order": "o-1001",
        "concert": {
            "id": "c-7",
            "title": title,
            "venue": "Konzerthaus, Kleiner Saal",
            "starts": "2026-06-20T19:30:00+02:00",
        },
        "seat": { "section": "Parkett", "row": "F", "number": 12 },
        "buyer": { "name": "Ernő Dohnányi", "email": "erno@example.com" },
        "price": { "amount_cents": 8500, "currency": "EUR" },
        "charge": "ch_0001",
    })
}

fn paid(title: &str) -> Event {
    testing::event(event::PAYMENT_CONFIRMED, &ticket(title))
}

/// Delivers an event and its emissions in turn, like the router; returns all types and the outcome
/// of the last delivery.
fn flow(host: &TestHost, first: Event) -> (Vec<String>, Result<Option<Event>, Failure>) {
    let mut types = vec![];
    let mut event = first;
    loop {
        match host.deliver::<Printer>(event.clone()) {
            Err(failure) => return (types, Err(failure)),
            Ok(mut emissions) => {
                assert_eq!(emissions.len(), 1);
                event = emitted(emissions.remove(0));
                types.push(event.ty.clone());
                if event.ty == event::GENERATED {
                    return (types, Ok(Some(event)));
                }
            }
        }
    }
}

#[test]
fn prints_an_ordinary_ticket_at_once() {
    let host = TestHost::new();
    let (types, end) = flow(&host, paid("Winterreise"));
    assert_eq!(types, ["ticket.generated"]);
    let event = end.unwrap().unwrap();
    assert_eq!(event.subject.as_deref(), Some("o-1001"));
    let generated: Generated = event.json().unwrap();
    let blob = host.blob(&generated.pdf).unwrap();
    assert_eq!(blob.info.content_type, "application/pdf");
    assert!(blob.content.starts_with(b"%PDF-") && blob.content.ends_with(b"%%EOF"));
    assert_eq!(blob.info.size_bytes, generated.size_bytes);
    assert!(generated.size_bytes < 64 * 1024, "{} bytes", generated.size_bytes);
    assert_eq!(generated.ticket_number.len(), "T-0000-0000-0000".len());
}

#[test]
fn the_same_ticket_is_the_same_file() {
    let digest = || {
        let host = TestHost::new();
        let (_, end) = flow(&host, paid("Winterreise"));
        end.unwrap().unwrap().json::<Generated>().unwrap().pdf
    };
    assert_eq!(digest(), digest());
}

#[test]
fn a_long_title_takes_a_second_attempt() {
    let host = TestHost::new();
    let (types, end) = flow(&host, paid(LONG_TITLE));
    assert_eq!(types, ["ticket.generation.failed", "ticket.generated"]);
    assert!(end.is_ok());
}

#[test]
fn what_no_layout_can_hold_is_abandoned_after_three_attempts() {
    for (title, reason) in [
        ("\u{1d11e} \u{13080}", "the typeface has no glyph for U+1D11E"),
        (&LONG_TITLE.repeat(4), "the title doesn't fit its box in the compact layout"),
        (&"m".repeat(200), "the title doesn't fit its box in the compact layout"),
    ] {
        let host = TestHost::new();
        let (types, end) = flow(&host, paid(title));
        let failed = "ticket.generation.failed";
        assert_eq!(types, [failed, failed, failed, "ticket.generation.abandoned"]);
        let failure = end.unwrap_err();
        assert!(!failure.is_retry());
        assert!(
            failure.reason().contains(&format!("in 3 attempts: {reason}; redrive")),
            "{failure}"
        );
    }
}

#[test]
fn a_redrive_tries_again() {
    let host = TestHost::new();
    let abandoned = |title| {
        let mut payload = ticket(title);
        payload["generation_attempt"] = json!(3);
        payload["reason"] = json!("the typeface was damaged");
        let mut delivery = delivery(testing::event(event::GENERATION_ABANDONED, &payload));
        delivery.replay = true;
        delivery
    };
    let emitted = host.deliver::<Printer>(abandoned(LONG_TITLE)).unwrap();
    assert_eq!(emitted[0].ty, "ticket.generated");
    let failure = host.deliver::<Printer>(abandoned("\u{1d11e}")).unwrap_err();
    let reason = "still unprintable: the typeface has no glyph for U+1D11E";
    assert_eq!(failure, Failure::reject(reason));
}

#[test]
fn numbers_tell_tickets_apart() {
    let number = |seat: u32| {
        let mut payload = ticket("Winterreise");
        payload["seat"]["number"] = json!(seat);
        number::of(&serde_json::from_value(payload).unwrap())
    };
    assert_eq!(number(12), number(12));
    assert_ne!(number(12), number(13));
}

/// `TICKET_FOLDER=/tmp cargo test -p printer` writes a ticket of each layout there for inspection.
#[test]
fn every_layout_prints() {
    for (title, layout) in
        [("Winterreise", 0), ("An Evening of Film Music", 0), (LONG_TITLE, 1), (LONG_TITLE, 2)]
    {
        let ticket: Ticket = serde_json::from_value(ticket(title)).unwrap();
        let pdf = print(&ticket, &LAYOUTS[layout]).unwrap();
        if let Some(folder) = std::env::var_os("TICKET_FOLDER") {
            let file = format!("ticket-{layout}-{}.pdf", title.len());
            std::fs::write(std::path::Path::new(&folder).join(file), pdf).unwrap();
        }
    }
}
