//! Components built for other hosts, as listeners: those that serve HTTP, and those that take messages.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use usher_event::{Delivery, Event, FailureClass, Verdict};
use usher_runtime::{Grants, Limits};

use crate::support::{Setup, guest};

fn delivery(ty: &str) -> Delivery {
    with_data(ty, "{\"a\":1}")
}

fn with_data(ty: &str, data: &'static str) -> Delivery {
    let event = Event::builder("e-1", "/tests", ty)
        .datacontenttype("application/json")
        .data(data)
        .build()
        .unwrap();
    Delivery {
        sequence: 7,
        event,
        subscription: "http-component/all".parse().unwrap(),
        attempt: 2,
        flow: 7,
        depth: 0,
        replay: None,
        is_dry_run: false,
        span: None,
    }
}

fn setup(limits: Limits) -> Setup {
    Setup::new(&guest("http-component"), Grants::default(), limits)
}

#[test]
fn it_is_named_like_its_file_and_asks_for_nothing() {
    let loaded = guest("http-component");
    let description = loaded.description();
    assert!(loaded.is_foreign());
    assert_eq!(description.version, loaded.digest().short());
    assert!(description.subscriptions.is_empty() && description.capabilities.is_empty());
}

#[test]
fn an_event_in_the_response_is_an_emission() {
    let setup = setup(Limits::default());
    let emitted = setup.deliver_on(&delivery("http.binary")).unwrap();
    assert_eq!(emitted.len(), 1);
    assert_eq!((emitted[0].ty.as_str(), emitted[0].subject.as_deref()), ("done.http", Some("s")));
    assert_eq!(emitted[0].data.as_deref(), Some(&b"[1,2]"[..]));
    let emitted = setup.deliver_on(&delivery("http.structured")).unwrap();
    assert_eq!(emitted[0].data.as_deref(), Some(&b"3"[..]));
    assert!(setup.deliver_on(&delivery("http.204")).unwrap().is_empty());
}

#[test]
fn the_request_is_the_event_in_binary_mode() {
    let emitted = setup(Limits::default()).deliver_on(&delivery("http.echo")).unwrap();
    let echo: serde_json::Value =
        serde_json::from_slice(emitted[0].data.as_ref().unwrap()).unwrap();
    for (name, expected) in [
        ("path", json!("/")),
        ("authority", json!("http-component.usher")),
        ("subscription", json!("all")),
        ("attempt", json!("2")),
        ("has_key", json!(true)),
        ("id", json!("e-1")),
        ("body", json!("{\"a\":1}")),
    ] {
        assert_eq!(echo[name], expected, "{echo}");
    }
}

#[test]
fn each_answer_is_a_verdict() {
    let limits = Limits { wall_ms: 2_000, http_response_bytes: 64 * 1024, ..Limits::default() };
    let setup = setup(limits);
    let retry = |after| (true, after);
    for (ty, class, (is_retry, after), says) in [
        ("http.503", FailureClass::Retry, retry(Some(7)), "the component returned 503"),
        ("http.500", FailureClass::Retry, retry(None), "as asked for"),
        ("http.429", FailureClass::Retry, retry(None), "429"),
        ("http.404", FailureClass::Reject, (false, None), "the component returned 404"),
        ("http.410", FailureClass::Reject, (false, None), "410"),
        ("http.302", FailureClass::Reject, (false, None), "redirects are not followed"),
        ("http.forbidden", FailureClass::Reject, (false, None), "connection can't be set"),
        ("http.broken", FailureClass::Reject, (false, None), "no event that can be emitted"),
        ("http.silent", FailureClass::Trap, retry(None), "returned without a response"),
        ("http.kept", FailureClass::Trap, retry(None), "returned without a response"),
        ("http.unfinished", FailureClass::Trap, retry(None), "the response broke off"),
        ("http.panic", FailureClass::Trap, retry(None), "asked to"),
        ("http.long", FailureClass::Limit, retry(None), "the response has more than 65536 bytes"),
        ("http.never", FailureClass::Timeout, retry(None), "did not finish within 2000 ms"),
    ] {
        let outcome = setup.handle(&delivery(ty));
        let (failure, found) = match &outcome.verdict {
            Verdict::Retry { failure, after } => {
                (failure, (true, after.map(|after| after.as_secs())))
            }
            Verdict::Reject { failure } => (failure, (false, None)),
            Verdict::Ack => panic!("{ty} was acknowledged"),
        };
        assert_eq!((failure.class, found), (class, (is_retry, after)), "{ty}: {}", failure.reason);
        assert!(failure.reason.contains(says), "{ty}: {:?} does not say {says:?}", failure.reason);
        assert!(outcome.took < Duration::from_secs(20));
    }
    // What went wrong before is no one else's.
    assert!(setup.deliver_on(&delivery("http.204")).is_ok());
}

#[test]
fn messages_are_events_and_what_is_published_is_emitted() {
    let loaded = guest("message-component");
    assert!(loaded.is_foreign());
    let limits = Limits { emissions: 3, ..Limits::default() };
    let setup = Setup::new(&loaded, Grants::default(), limits);
    let emitted = setup.deliver_on(&delivery("message.any")).unwrap();
    assert_eq!((emitted.len(), emitted[0].ty.as_str()), (1, "message.done"));
    assert_eq!(emitted[0].data.as_deref(), Some(&b"{\"a\":1}"[..]));
    assert_eq!(emitted[0].datacontenttype.as_deref(), Some("application/json"));
    assert_eq!(setup.deliver_on(&with_data("message.many", "3")).unwrap().len(), 3);
    let refused = setup.deliver_on(&with_data("message.many", "4")).unwrap_err();
    assert_eq!(
        (refused.class, refused.reason.as_str()),
        (FailureClass::Limit, "one delivery may publish 3 messages")
    );
    let failed = setup.deliver_on(&delivery("message.fail")).unwrap_err();
    assert_eq!((failed.class, failed.reason.as_str()), (FailureClass::Retry, "asked to fail"));
    let emitted = setup.deliver_on(&delivery("message.request")).unwrap();
    let words = String::from_utf8_lossy(emitted[0].data.as_ref().unwrap()).into_owned();
    assert!(words.contains("publish a message instead"), "{words}");
}

#[test]
fn messages_of_the_proposal_have_topic_metadata_and_media_type() {
    let loaded = guest("topic-component");
    assert!(loaded.is_foreign());
    let setup = Setup::new(&loaded, Grants::default(), Limits::default());
    let emitted = setup.deliver_on(&delivery("topic.any")).unwrap();
    let [done] = &emitted[..] else { panic!("{emitted:?}") };
    assert_eq!((done.ty.as_str(), done.data.as_deref()), ("topic.done", Some(&b"{\"a\":1}"[..])));
    assert_eq!(done.datacontenttype.as_deref(), Some("text/x-test"));
    let names = done.subject.as_deref().unwrap();
    assert!(names.contains("ce-id") && names.contains("ce-source"), "{names}");
    assert!(done.extensions.is_empty(), "{done:?}");

    let emitted = setup.deliver_on(&delivery("topic.forward")).unwrap();
    let [forwarded] = &emitted[..] else { panic!("{emitted:?}") };
    assert_eq!(forwarded.ty, "topic.forwarded");
    assert_eq!(forwarded.datacontenttype.as_deref(), Some("application/json"));
    assert_eq!((&forwarded.subject, forwarded.extensions.len()), (&None, 1), "{forwarded:?}");
    assert_eq!(forwarded.extensions[0].0, "hops");

    let failed = setup.deliver_on(&delivery("topic.fail")).unwrap_err();
    let words = "permission denied: asked to fail";
    assert_eq!((failed.class, failed.reason.as_str()), (FailureClass::Retry, words));
    let emitted = setup.deliver_on(&delivery("topic.request")).unwrap();
    let words = String::from_utf8_lossy(emitted[0].data.as_ref().unwrap()).into_owned();
    assert!(words.contains("publish a message instead"), "{words}");
    // What it leaves out fails the delivery, whatever the component makes of it.
    let refused = setup.deliver_on(&delivery("topic.hoard")).unwrap_err();
    assert_eq!(refused.class, FailureClass::Limit, "{refused:?}");
    assert!(refused.reason.starts_with("messages may have"), "{refused:?}");
    let refused = setup.deliver_on(&delivery("topic.metadata")).unwrap_err();
    assert_eq!(refused.reason, "one delivery may publish 1048576 bytes of messages");
    assert!(setup.deliver_on(&delivery("topic.any")).is_ok(), "they are gone");
}

#[test]
fn subjects_stand_for_the_types_that_the_operator_says() {
    let types = [("message.any", "com.test.any"), ("message.done", "com.test.done")];
    let types = types.map(|(subject, ty)| (subject.to_owned(), ty.to_owned()));
    let grants = Grants::default().with_subjects(types.into());
    for (name, ty, emits) in [
        ("message-component", "com.test.any", "com.test.done"),
        ("message-component", "message.other", "com.test.done"),
        ("topic-component", "com.test.any", "topic.done"),
    ] {
        let setup = Setup::new(&guest(name), grants.clone(), Limits::default());
        assert_eq!(setup.deliver_on(&delivery(ty)).unwrap()[0].ty, emits, "{name}: {ty}");
    }
    let types = BTreeMap::from([("message.fail".to_owned(), "com.test.bad".to_owned())]);
    let grants = Grants::default().with_subjects(types);
    let setup = Setup::new(&guest("message-component"), grants, Limits::default());
    let failed = setup.deliver_on(&delivery("com.test.bad")).unwrap_err();
    assert_eq!(failed.reason, "asked to fail", "that is what this subject asks for");
}
