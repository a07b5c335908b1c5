//! Filters as JSON, and CloudEvents SQL. What can be read is written and read again, and says of an event
//! what the index says.

use usher_cesql::Expression;
use usher_event::{Event, Value};
use usher_filter::{Filter, FilterIndex};

pub(crate) fn filters(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    cesql(text);
    let Ok(filter) = Filter::parse(text) else { return };
    let again = Filter::parse(&filter.to_json().to_string());
    assert_eq!(again.as_ref(), Ok(&filter), "{text}");
    let mut index = FilterIndex::new();
    index.insert(1, &filter);
    for event in events() {
        let mut found = false;
        index.for_each_match(&event, |_| found = true);
        assert_eq!(found, filter.matches(&event), "{text} on {event:?}");
        assert_eq!(filter.explain(&event).is_none(), found, "{text} explains {event:?}");
    }
    assert!(index.remove(&1) && index.is_empty());
}

fn cesql(text: &str) {
    let Ok(expression) = Expression::parse(text) else { return };
    let event = [("type", "a".into()), ("n", 7.into()), ("b", true.into())];
    let printed = expression.to_string();
    match Expression::parse(&printed) {
        Ok(again) => assert_eq!(again, expression, "{text} is printed as {printed}"),
        // Spaces may make it too long.
        Err(error) => assert!(printed.len() > text.len(), "{printed}: {error}"),
    }
    let _ = (expression.check_filter(), expression.requirements().count());
    assert_eq!(expression.passes(&event), expression.explain(&event).is_none(), "{text}");
}

fn events() -> Vec<Event> {
    let ticket = Event::builder("o-1", "/shop", "ticket.purchased").subject("o-1");
    let other = Event::builder("", "/shop", "x");
    let extended = Event::builder("2", "/shop/a", "ticket.b")
        .extension("flag", Value::Boolean(true))
        .extension("note", Value::String("ünïcode".to_owned()));
    let with_data = Event::builder("3", "/s", "a").data(r#"{"a":[1,{"b":"x"}],"c":null,"c":2.50}"#);
    let broken = Event::builder("4", "/s", "a").data("{");
    [ticket, other, extended, with_data, broken]
        .into_iter()
        .filter_map(|builder| builder.build().ok())
        .collect()
}
