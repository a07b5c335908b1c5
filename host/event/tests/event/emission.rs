//! How the host turns an emission into an event.

use usher_event::{Delivery, Emission, Event, EventErrorKind, PluginName, SubscriptionName, Value};

use crate::minimal;

const TIME: &str = "2018-04-05T17:31:00.000Z";

fn delivery(event: Event) -> Delivery {
    let plugin = plugin();
    Delivery {
        sequence: 42,
        event,
        subscription: SubscriptionName::new(&plugin, "tickets").unwrap(),
        attempt: 3,
        flow: 40,
        depth: 2,
        replay: None,
        is_dry_run: false,
        span: None,
    }
}

fn plugin() -> PluginName {
    "printer".parse().unwrap()
}

fn emission() -> Emission {
    Emission { ty: "ticket.generated".into(), ..Emission::default() }
}

#[test]
fn the_host_says_where_it_comes_from() {
    let emission = Emission {
        subject: Some("o-1".into()),
        datacontenttype: Some("application/json".into()),
        dataschema: Some("urn:s".into()),
        extensions: vec![("mine".into(), Value::Integer(1))],
        data: Some("{}".into()),
        delay_ms: Some(5),
        ..emission()
    };
    let event =
        emission.into_event(&delivery(minimal().build().unwrap()), &plugin(), 7, TIME).unwrap();
    let expected = Event::builder("42/printer/tickets/7", "/plugins/printer", "ticket.generated")
        .subject("o-1")
        .time(TIME)
        .datacontenttype("application/json")
        .dataschema("urn:s")
        .extension("mine", Value::Integer(1))
        .extension("correlationid", Value::String("40".into()))
        .extension("causationid", Value::String("1".into()))
        .data("{}")
        .build()
        .unwrap();
    assert_eq!(event, expected);
}

#[test]
fn every_attempt_yields_the_same_event() {
    let mut first = delivery(minimal().build().unwrap());
    first.attempt = 1;
    let again = Delivery { attempt: 2, ..first.clone() };
    let make = |delivery: &Delivery| emission().into_event(delivery, &plugin(), 0, TIME).unwrap();
    assert_eq!(make(&first), make(&again));
    assert_eq!(make(&first).identity(), make(&again).identity());
}

#[test]
fn context_goes_from_parent_to_child() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let parent = minimal()
        .extension("correlationid", Value::String("order 7".into()))
        .extension("traceparent", Value::String(trace.into()))
        .extension("tracestate", Value::String("a=b".into()))
        .extension("other", Value::String("stays".into()))
        .build()
        .unwrap();
    let child = emission().into_event(&delivery(parent), &plugin(), 0, TIME).unwrap();
    assert_eq!(child.attribute("correlationid").as_deref(), Some("order 7"));
    assert_eq!(child.attribute("tracestate").as_deref(), Some("a=b"));
    assert_eq!(child.attribute("other"), None);
    let own = child.attribute("traceparent").unwrap();
    assert!(own.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && own.ends_with("-01"));
    assert_ne!(own, trace);

    let broken = minimal()
        .extension("traceparent", Value::String("00-bad".into()))
        .extension("tracestate", Value::String("a=b".into()))
        .build()
        .unwrap();
    let child = emission().into_event(&delivery(broken), &plugin(), 0, TIME).unwrap();
    assert_eq!(child.attribute("traceparent"), None);
    assert_eq!(child.attribute("tracestate"), None);
}

#[test]
fn bad_emissions_are_refused_by_place_and_attribute() {
    let own = |name: &str| Emission {
        extensions: vec![(name.to_owned(), Value::String("x".into()))],
        ..emission()
    };
    let host = "is set by the host alone";
    let cloudevents = "is CloudEvents' own and can't be an extension";
    let cases = [
        (
            Emission { ty: "dev.usher.delivery.dead".into(), ..emission() },
            "type",
            "must not start with dev.usher., which is for the router",
        ),
        (own("correlationid"), "correlationid", host),
        (own("causationid"), "causationid", host),
        (own("traceparent"), "traceparent", host),
        (own("tracestate"), "tracestate", host),
        (own("source"), "source", cloudevents),
        (own("id"), "id", cloudevents),
        (own("time"), "time", cloudevents),
        (
            own("a23456789012345678901"),
            "a23456789012345678901",
            "must have a name of at most 20 characters",
        ),
        (own("Upper"), "Upper", "must have a name of a-z and 0-9 only"),
        (Emission { ty: String::new(), ..emission() }, "type", "must not be empty"),
        (
            Emission { dataschema: Some("relative".into()), ..emission() },
            "dataschema",
            "must be an absolute URI without a fragment (RFC 3986, section 4.3)",
        ),
        (
            Emission {
                extensions: vec![
                    ("a".into(), Value::Boolean(true)),
                    ("a".into(), Value::Boolean(true)),
                ],
                ..emission()
            },
            "a",
            "is there twice",
        ),
    ];
    let delivery = delivery(minimal().build().unwrap());
    for (emission, attribute, rule) in cases {
        let error = emission.into_event(&delivery, &plugin(), 5, TIME).unwrap_err();
        assert_eq!(error.position, 5);
        assert_eq!((error.reason.attribute(), error.reason.broken_rule()), (Some(attribute), rule));
        assert!(error.to_string().starts_with("emission 5 ("), "{error}");
    }
}

#[test]
fn hostile_sizes_are_refused_in_few_words() {
    let delivery = delivery(minimal().build().unwrap());
    for emission in [
        Emission { ty: "t".repeat(1 << 20), ..emission() },
        Emission { data: Some(vec![0; 1 << 20].into()), ..emission() },
    ] {
        let error = emission.into_event(&delivery, &plugin(), 0, TIME).unwrap_err();
        assert_eq!(error.reason.kind(), EventErrorKind::TooLarge);
        assert!(error.to_string().len() < 500);
    }
}
