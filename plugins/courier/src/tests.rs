use serde_json::{Value, json};
use usher_sdk::http::Response;
use usher_sdk::testing::{self, TestHost};

use super::*;

fn generated(pdf: &str) -> Event {
    let generated = json!({
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
        "ticket_number": "T-1234",
        "pdf": pdf,
        "size_bytes": 5,
    });
    testing::event(event::GENERATED, &generated)
}

fn mail() -> TestHost {
    TestHost::new().config("mail", "http://mail.test")
}

#[test]
fn sends_the_pdf_to_the_buyer() {
    let host = mail().answer(Response::new(201).with_body(r#"{"mail":"m-1"}"#));
    let pdf = host.put_blob(b"%PDF-", "application/pdf");
    let emitted = host.deliver::<Courier>(generated(&pdf)).unwrap();
    assert_eq!(emitted[0].ty, "ticket.delivered");
    assert_eq!(emitted[0].subject.as_deref(), Some("o-1001"));
    assert_eq!(emitted[0].payload::<Delivered>().unwrap().mail, "m-1");

    let request = &host.requests()[0];
    assert_eq!(request.url, "http://mail.test/mails");
    let (_, key) = request.headers.iter().find(|(name, _)| name == "idempotency-key").unwrap();
    assert!(key.starts_with("courier.") && !key.contains("event-1"), "{key}");
    let sent: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(sent["to"], "anna@example.com");
    assert_eq!(sent["subject"], "Your ticket for Winterreise");
    assert!(sent["text"].as_str().unwrap().contains("row F, seat 12"), "{sent}");
    let attachment = json!({
        "filename": "ticket-o-1001.pdf",
        "content_type": "application/pdf",
        "content_base64": "JVBERi0=",
    });
    assert_eq!(sent["attachments"], json!([attachment]));
}

#[test]
fn a_mail_api_that_cannot_now_is_asked_again() {
    let host = mail().answer(Response::new(503)).answer(Response::new(429));
    let pdf = host.put_blob(b"%PDF-", "application/pdf");
    for _ in 0..3 {
        assert!(host.deliver::<Courier>(generated(&pdf)).unwrap_err().is_retry());
    }
}

#[test]
fn what_can_never_work_is_rejected() {
    let host = mail().answer(Response::new(400).with_body("no such address"));
    let pdf = host.put_blob(b"%PDF-", "application/pdf");
    assert!(!host.deliver::<Courier>(generated(&pdf)).unwrap_err().is_retry());
    let failure = host.deliver::<Courier>(generated("00")).unwrap_err();
    assert_eq!(failure, Failure::reject("there is no blob 00"));
}
