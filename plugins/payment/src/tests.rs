use serde_json::{Value, json};
use usher_sdk::http::Response;
use usher_sdk::testing::{self, TestHost};

use super::*;

fn purchased() -> Event {
    let purchase = json!({
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
    });
    testing::event(event::PURCHASED, &purchase)
}

fn gateway() -> TestHost {
    TestHost::new().config("gateway", "http://gateway.test")
}

#[test]
fn confirms_what_the_gateway_charged() {
    let host = gateway().answer(Response::new(201).with_body(r#"{"charge":"ch_1"}"#));
    let emitted = host.deliver::<Payment>(purchased()).unwrap();
    let [confirmed] = emitted.as_slice() else { panic!("{emitted:?}") };
    assert_eq!(confirmed.ty, "ticket.payment.confirmed");
    assert_eq!(confirmed.subject.as_deref(), Some("o-1001"));
    let payload: Value = confirmed.payload().unwrap();
    assert_eq!(payload["charge"], "ch_1");
    assert_eq!(payload["seat"]["number"], 12);
    assert_eq!(payload.get("card"), None, "the card's token stays here");

    let request = &host.requests()[0];
    assert_eq!(
        (request.method.as_str(), request.url.as_str()),
        ("POST", "http://gateway.test/charges")
    );
    let (_, key) = request.headers.iter().find(|(name, _)| name == "idempotency-key").unwrap();
    assert!(key.starts_with("payment.") && !key.contains("event-1"), "{key}");
    let asked: Value = serde_json::from_slice(&request.body).unwrap();
    let wanted =
        json!({ "order": "o-1001", "amount_cents": 8500, "currency": "EUR", "card": "tok_ok" });
    assert_eq!(asked, wanted);
}

#[test]
fn each_purchase_has_a_key_of_its_own_at_every_attempt() {
    let host = gateway();
    let purchases =
        ["/shop", "/shop", "/till"].map(|source| Event { source: source.into(), ..purchased() });
    for purchase in purchases {
        assert!(host.deliver::<Payment>(purchase).unwrap_err().is_retry());
    }
    let requests = host.requests();
    let keys: Vec<_> = requests
        .iter()
        .flat_map(|request| request.headers.iter().filter(|(name, _)| name == "idempotency-key"))
        .collect();
    let [first, again, other] = keys.as_slice() else { panic!("{keys:?}") };
    assert_eq!(first, again);
    assert_ne!(first, other, "ids are unique within their source only");
}

#[test]
fn a_declined_card_is_an_answer_and_no_failure() {
    let host = gateway().answer(Response::new(402).with_body(r#"{"reason":"no funds"}"#));
    let emitted = host.deliver::<Payment>(purchased()).unwrap();
    assert_eq!(emitted[0].ty, "ticket.payment.declined");
    assert_eq!(emitted[0].payload::<Declined>().unwrap().reason, "no funds");
}

#[test]
fn a_gateway_that_cannot_now_is_asked_again() {
    let host = gateway()
        .answer(Response::new(503).with_header("retry-after", "2"))
        .answer_error(Error::TimedOut("took longer than 5000 ms".into()))
        .answer(Response::new(201).with_body("<html>"));
    let Err(Failure::Retry { after, .. }) = host.deliver::<Payment>(purchased()) else { panic!() };
    assert_eq!(after, Some(Duration::from_secs(2)));
    for _ in 0..2 {
        assert!(host.deliver::<Payment>(purchased()).unwrap_err().is_retry());
    }
}

#[test]
fn what_can_never_work_is_rejected() {
    let host = gateway().answer(Response::new(422).with_body("unknown currency"));
    let failure = host.deliver::<Payment>(purchased()).unwrap_err();
    let reason = "POST http://gateway.test/charges answered 422: unknown currency";
    assert_eq!(failure, Failure::reject(reason));
    let malformed = testing::event(event::PURCHASED, &json!({ "order": "o-1001" }));
    assert!(!host.deliver::<Payment>(malformed).unwrap_err().is_retry());
}

#[test]
fn waits_for_its_configuration() {
    let failure = TestHost::new().deliver::<Payment>(purchased()).unwrap_err();
    assert!(failure.is_retry() && failure.reason().contains("`gateway`"), "{failure}");
}
