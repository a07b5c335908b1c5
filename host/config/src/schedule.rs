//! `[[schedule]]` tables: scheduled events.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Map, Value as Json};
use usher_broker::{Calendar, CalendarError, Missed, SCHEDULES_MAX, Schedule};
use usher_event::{Event, EventError, ScheduleName, format_time, json};

use super::table::{At, Table, closest};
use super::values;

/// String attributes that `event` may have.
const TEXTS: [&str; 6] =
    ["type", "source", "subject", "datacontenttype", "dataschema", "data_base64"];

/// Other members of a JSON event that are not extensions.
const OTHERS: [&str; 4] = ["specversion", "id", "time", "data"];

/// Reads all `[[schedule]]` tables.
pub(super) fn read_all(root: &Table<'_>) -> Vec<Schedule> {
    let mut schedules = Vec::new();
    let mut names = BTreeSet::new();
    for (place, At { value: table, span }) in root.list("schedule").into_iter().enumerate() {
        if place == SCHEDULES_MAX {
            let what = format!("there are more than {SCHEDULES_MAX} schedules");
            let hint = "let one event do what several did";
            root.source().problem(&span, what, Some(hint.to_owned()));
        }
        let name = read_name(&table, &span);
        if let Some(At { value: name, span }) = &name
            && !names.insert(name.clone())
        {
            let what = format!("there are two schedules named {name}");
            let hint = "how far a schedule has come is kept under its name; give it one of its own";
            table.source().problem(span, what, Some(hint.to_owned()));
        }
        let calendar = read_calendar(&table, &span);
        let missed = table.choice("missed", &Missed::NAMED).unwrap_or_default();
        // A placeholder name, so that the event is checked even if the name is invalid.
        let known = name.map(|name| name.value);
        let sample = || "schedule".parse().ok();
        let event = known.clone().or_else(sample).and_then(|name| read_event(&table, &span, &name));
        table.finish();
        if let (Some(name), Some(calendar), Some(event)) = (known, calendar, event) {
            schedules.push(Schedule { name, calendar, missed, event });
        }
    }
    schedules
}

fn read_name(table: &Table<'_>, whole: &Range<usize>) -> Option<At<ScheduleName>> {
    let At { value, span } = required(table, "name", whole, "\"nightly\"")?;
    let refused = |error| {
        let hint = "name it after what it is for, such as \"nightly-report\"";
        table.source().problem(&span, error, Some(hint.to_owned()));
    };
    let value = value.parse().map_err(refused).ok()?;
    Some(At { value, span })
}

fn read_calendar(table: &Table<'_>, whole: &Range<usize>) -> Option<Calendar> {
    let cron = required(table, "cron", whole, "\"0 3 * * *\"");
    let zone = table.string("time_zone");
    let cron = cron?;
    let (zone, zone_span) = match &zone {
        Some(At { value, span }) => (*value, span),
        None => ("UTC", &cron.span),
    };
    let refused = |error: CalendarError| match &error {
        CalendarError::Zone(zone) => {
            let known: BTreeSet<&str> = Calendar::zones().collect();
            let hint = match closest(zone, &known) {
                Some(close) => format!("did you mean {close:?}?"),
                None => "use a name of the IANA database, such as \"Europe/Berlin\"".to_owned(),
            };
            table.source().problem(zone_span, error, Some(hint));
        }
        CalendarError::Cron { .. } => {
            let hint = "use minute, hour, day of month, month and day of week, such as \
                        \"30 7 * * MON-FRI\"; a sixth field in front is the second";
            table.source().problem(&cron.span, error, Some(hint.to_owned()));
        }
        CalendarError::Never(_) => {
            let hint = "no month has such a day; \"0 3 L * *\" is the last day of each month";
            table.source().problem(&cron.span, error, Some(hint.to_owned()));
        }
    };
    Calendar::new(cron.value, zone).map_err(refused).ok()
}

/// Builds `event = { … }` with the id and time of a sample tick. Ticks differ in nothing else, so
/// if this event is valid, all are.
fn read_event(table: &Table<'_>, whole: &Range<usize>, name: &ScheduleName) -> Option<Event> {
    let Some(written) = table.value("event") else {
        missing(table, "event", whole, "{ type = \"report.due\" }");
        return None;
    };
    let inner = table.table("event")?;
    let mut spans = vec![("event", written.span())];
    let mut members = Map::new();
    for attribute in TEXTS {
        if let Some(At { value, span }) = inner.string(attribute) {
            members.insert(attribute.to_owned(), value.into());
            spans.push((attribute, span));
        }
    }
    if let Some(data) = inner.value("data") {
        members.insert("data".to_owned(), values::to_json(data.get_ref()));
        members.entry("datacontenttype").or_insert_with(|| "application/json".into());
        spans.push(("data", data.span()));
    }
    if let Some(extensions) = inner.table("extensions") {
        for (extension, value) in extensions.entries() {
            if TEXTS.contains(&extension.value) || OTHERS.contains(&extension.value) {
                let what = format!("{} is no extension", extension.value);
                let hint = "write it in event itself; id and time are each tick's own".to_owned();
                inner.source().problem(&extension.span, what, Some(hint));
            } else {
                let value = values::to_json(value.get_ref());
                members.insert(extension.value.to_owned(), value);
            }
        }
    }
    inner.finish();
    members.entry("source").or_insert_with(|| format!("/schedules/{name}").into());
    let refused = |attribute: Option<&str>, what: String| {
        let named = |(name, _): &&(&str, Range<usize>)| Some(*name) == attribute;
        let span = spans.iter().find(named).or(spans.first()).map_or(whole, |(_, span)| span);
        let hint = "the event needs a type, and may have source, subject, datacontenttype, \
                    dataschema, data or data_base64, and extensions";
        table.source().problem(span, what, Some(hint.to_owned()));
    };
    let made = first_event(members, name);
    let event = made.map_err(|error| refused(error.attribute(), error.to_string())).ok()?;
    if let Some((attribute, what)) = event.reserved_attribute() {
        refused(Some(attribute), format!("attribute {attribute:?} must not {what}"));
        return None;
    }
    Some(event)
}

/// Builds the event of a tick at the Unix epoch.
fn first_event(mut members: Map<String, Json>, name: &ScheduleName) -> Result<Event, EventError> {
    let time = format_time(0);
    members.insert("specversion".to_owned(), "1.0".into());
    members.insert("id".to_owned(), format!("{name}/{time}").into());
    members.insert("time".to_owned(), time.into());
    json::from_slice(Json::Object(members).to_string().as_bytes())
}

/// Reads a required string; reports it if missing.
fn required<'a>(
    table: &Table<'a>,
    key: &'static str,
    whole: &Range<usize>,
    example: &str,
) -> Option<At<&'a str>> {
    if table.value(key).is_none() {
        missing(table, key, whole, example);
    }
    table.string(key)
}

fn missing(table: &Table<'_>, key: &str, whole: &Range<usize>, example: &str) {
    let hint = format!("add a line such as {key} = {example}");
    table.source().problem(whole, format!("a schedule needs {key}"), Some(hint));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use toml::de::DeTable;

    use super::super::table::Source;
    use super::*;

    /// The schedules in a file, or what is wrong with it.
    fn read(text: &str) -> Result<Vec<Schedule>, String> {
        let source = Source::new(Path::new("usher.toml"), text);
        let (entries, errors) = DeTable::parse_recoverable(text);
        assert!(errors.is_empty(), "{errors:?}");
        let root = Table::root(&source, entries.get_ref());
        let schedules = read_all(&root);
        root.finish();
        match &source.into_problems()[..] {
            [] => Ok(schedules),
            problems => Err(problems.iter().map(|problem| format!("{problem}\n")).collect()),
        }
    }

    #[test]
    fn everything_can_be_written() {
        let schedules = read(
            r#"
            [[schedule]]
            name = "nightly"
            cron = "30 3 * * MON-FRI"
            time_zone = "Europe/Berlin"
            missed = "once"
            event.type = "report.due"
            event.source = "/desk"
            event.subject = "sales"
            event.dataschema = "https://example.com/report"
            event.data = { rows = 10, since = 2026-01-31, parts = ["a", 0.5, true] }
            event.extensions = { partitionkey = "sales", urgent = true }

            [[schedule]]
            name = "pulse"
            cron = "*/10 * * * * *"
            event = { type = "pulse", datacontenttype = "image/png", data_base64 = "AAEC" }
            "#,
        );
        let [nightly, pulse] = &schedules.unwrap()[..] else { panic!("two") };
        assert_eq!(format!("{:?}", nightly.calendar), "\"30 3 * * MON-FRI\" in Europe/Berlin");
        assert_eq!((nightly.missed, pulse.missed), (Missed::Once, Missed::Once));
        let event = nightly.event_at(1_769_860_800_000).unwrap();
        assert_eq!(event.id(), "nightly/2026-01-31T12:00:00.000Z");
        assert_eq!(event.time(), Some("2026-01-31T12:00:00.000Z"));
        assert_eq!((event.ty(), event.source()), ("report.due", "/desk"));
        assert_eq!(event.datacontenttype(), Some("application/json"));
        let data = r#"{"parts":["a",0.5,true],"rows":10,"since":"2026-01-31"}"#;
        assert_eq!(event.data().unwrap(), data);
        assert_eq!(event.attribute("partitionkey").as_deref(), Some("sales"));
        assert_eq!(event.attribute("urgent").as_deref(), Some("true"));
        let event = pulse.event_at(0).unwrap();
        assert_eq!(
            (event.source(), event.datacontenttype()),
            ("/schedules/pulse", Some("image/png"))
        );
        assert_eq!(event.data().unwrap(), &[0, 1, 2][..]);
        assert_eq!(pulse.calendar.zone(), "UTC");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        const EVENT: &str = "event = { type = \"t\" }";
        let schedule =
            |lines: &str| format!("[[schedule]]\nname = \"a\"\ncron = \"0 0 * * *\"\n{lines}\n");
        let cases = [
            ("[schedule]\nname = \"a\"".to_owned(), "1:1: schedule must be a list of tables"),
            ("[[schedule]]\n".to_owned(), "1:1: a schedule needs name"),
            ("[[schedule]]\n".to_owned(), "1:1: a schedule needs cron"),
            ("[[schedule]]\n".to_owned(), "1:1: a schedule needs event"),
            (schedule(EVENT).replace("\"a\"", "\"A b\""), "2:8: schedule name \"A b\""),
            ([schedule(EVENT), schedule(EVENT)].concat(), "6:8: there are two schedules named a"),
            (schedule(EVENT).replace("0 0 * * *", "0 0 30 2 *"), "3:8: \"0 0 30 2 *\" never comes"),
            (schedule(EVENT).replace("0 0 * * *", "daily"), "3:8: \"daily\" is no cron pattern"),
            (schedule(EVENT).replace("\"0 0 * * *\"", "5"), "3:8: cron must be a string"),
            (
                schedule(&format!("{EVENT}\ntime_zone = \"Europe/Berlim\"")),
                "did you mean \"Europe/Berlin\"?",
            ),
            (schedule(&format!("{EVENT}\nmissed = \"never\"")), "5:10: missed can't be"),
            (schedule(&format!("{EVENT}\nzone = \"UTC\"")), "unknown key \"zone\""),
            (schedule("event = \"t\""), "4:9: event must be a table"),
            (schedule("event = {}"), "4:9: attribute \"type\" is required"),
            (
                schedule("event = { type = \"dev.usher.x\" }"),
                "4:18: attribute \"type\" must not start with dev.usher.",
            ),
            (
                schedule("event = { type = \"t\", source = \"/plugins/a\" }"),
                "4:32: attribute \"source\" must not start with /plugins/",
            ),
            (
                schedule("event = { type = \"t\", data = 1, data_base64 = \"AA==\" }"),
                "data and data_base64 must not both be there",
            ),
            (
                schedule("event = { type = \"t\", extensions = { time = \"now\" } }"),
                "time is no extension",
            ),
            (
                schedule("event = { type = \"t\", extensions = { \"a-b\" = 1 } }"),
                "attribute \"a-b\" must have a name of a-z and 0-9",
            ),
            (schedule("event = { type = \"t\", id = \"1\" }"), "unknown key \"id\""),
            (
                schedule(&format!("event = {{ type = \"t\", data = {:?} }}", "x".repeat(300_000))),
                "the event must have at most 262144 bytes",
            ),
        ];
        for (text, expected) in cases {
            let told = read(&text).map(|schedules| schedules.len()).unwrap_err();
            assert!(told.contains(expected), "{expected} is not in:\n{told}");
        }
        let many: String = (0..=SCHEDULES_MAX)
            .map(|n| schedule(EVENT).replace("\"a\"", &format!("\"a{n}\"")))
            .collect();
        let told = read(&many).map(|schedules| schedules.len()).unwrap_err();
        assert!(told.contains("more than 256 schedules"), "{told}");
    }
}
