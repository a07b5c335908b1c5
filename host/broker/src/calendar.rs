//! Schedule times: a cron pattern in a time zone. Pure: a time in, a time out. Patterns are parsed
//! by croner; zones come from the IANA database compiled in.

use std::fmt;

use chrono::DateTime;
use chrono_tz::{TZ_VARIANTS, Tz};
use croner::Cron;
use croner::parser::{CronParser, Year};

use crate::CRON_MAX_BYTES;

/// A cron pattern in a time zone. The times it matches are its ticks, in whole seconds.
#[derive(Clone, PartialEq, Eq)]
pub struct Calendar {
    cron: Cron,
    written: String,
    zone: Tz,
}

/// Why a pattern and a zone are rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// The pattern is invalid.
    #[error("{cron:?} is no cron pattern: {reason}")]
    Cron {
        /// The pattern.
        cron: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The zone is unknown.
    #[error("there is no time zone {0:?}")]
    Zone(String),
    /// No date matches the pattern.
    #[error("{0:?} never comes")]
    Never(String),
}

impl Calendar {
    /// Parses a pattern of five fields, or six with leading seconds, in a time zone of the IANA
    /// database.
    ///
    /// # Errors
    /// See [`CalendarError`].
    pub fn new(cron: &str, zone: &str) -> Result<Self, CalendarError> {
        let zone: Tz = zone.parse().map_err(|_| CalendarError::Zone(zone.to_owned()))?;
        let wrong = |reason| CalendarError::Cron { cron: cron.to_owned(), reason };
        if cron.len() > CRON_MAX_BYTES {
            return Err(wrong(format!("it has more than {CRON_MAX_BYTES} bytes")));
        }
        let parser = CronParser::builder().year(Year::Disallowed).build();
        let parsed = parser
            .parse(cron)
            .map_err(|error| wrong(backwards(cron).unwrap_or_else(|| error.to_string())))?;
        let calendar = Self { cron: parsed, written: cron.trim().to_owned(), zone };
        match calendar.after(0) {
            Some(_) => Ok(calendar),
            None => Err(CalendarError::Never(cron.to_owned())),
        }
    }

    /// The pattern as it was written.
    pub fn cron(&self) -> &str {
        &self.written
    }

    /// The time zone's name.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// The names of all time zones.
    pub fn zones() -> impl Iterator<Item = &'static str> {
        TZ_VARIANTS.iter().map(|zone| zone.name())
    }

    /// The first tick after a time, both Unix milliseconds.
    pub fn after(&self, time_ms: u64) -> Option<u64> {
        let next = self.cron.find_next_occurrence(&self.local(time_ms)?, false).ok()?;
        u64::try_from(next.timestamp_millis()).ok().filter(|next_ms| *next_ms > time_ms)
    }

    /// The last tick at or before a time.
    pub(crate) fn last_until(&self, time_ms: u64) -> Option<u64> {
        let last = self.cron.find_previous_occurrence(&self.local(time_ms)?, true).ok()?;
        u64::try_from(last.timestamp_millis()).ok().filter(|last_ms| *last_ms <= time_ms)
    }

    fn local(&self, time_ms: u64) -> Option<DateTime<Tz>> {
        let time = DateTime::from_timestamp_millis(i64::try_from(time_ms).ok()?)?;
        Some(time.with_timezone(&self.zone))
    }
}

/// A field's value names, minimum and maximum.
type Field = (&'static [&'static str], u32, u32);

const MONTHS: &[&str] =
    &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const FIELDS: [Field; 6] =
    [(&[], 0, 59), (&[], 0, 59), (&[], 0, 23), (&[], 1, 31), (MONTHS, 1, 12), (DAYS, 0, 6)];

/// If the pattern has a range that ends before it begins, says how to write it; otherwise `None`.
fn backwards(cron: &str) -> Option<String> {
    let parts: Vec<&str> = cron.split_whitespace().collect();
    let fields = FIELDS.get(FIELDS.len().checked_sub(parts.len())?..)?;
    let (part, (names, first, last)) = parts.iter().zip(fields).find_map(|(part, field)| {
        let found = part.split(',').find(|range| is_backwards(range, field));
        found.map(|range| (range, field))
    })?;
    let range = part.split('/').next().unwrap_or(part);
    let (from, to) = range.split_once('-')?;
    let name = |value: &u32| match names.get((*value - *first) as usize) {
        Some(name) if from.parse::<u32>().is_err() => (*name).to_owned(),
        _ => value.to_string(),
    };
    let (first, last) = (name(first), name(last));
    let whole = |begin: &str, end: &str| match begin.eq_ignore_ascii_case(end) {
        true => begin.to_owned(),
        false => format!("{begin}-{end}"),
    };
    let (one, other) = (whole(from, &last), whole(&first, to));
    Some(format!("{range} ends before it begins; write {one},{other}"))
}

fn is_backwards(range: &str, (names, first, _): &Field) -> bool {
    let range = range.split('/').next().unwrap_or(range);
    let value = |text: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        named.map(|place| place as u32 + first).or_else(|| text.parse().ok())
    };
    range
        .split_once('-')
        .and_then(|(from, to)| Some((value(from)?, value(to)?)))
        .is_some_and(|(from, to)| from > to)
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}", self.written, self.zone.name())
    }
}

#[cfg(test)]
mod tests {
    use usher_event::format_time;

    use super::*;

    fn ms(time: &str) -> u64 {
        DateTime::parse_from_rfc3339(time).unwrap().timestamp_millis() as u64
    }

    /// The ticks after `from`, up to and including `to`, in UTC without fractions.
    fn ticks(cron: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
        let (calendar, mut at) = (Calendar::new(cron, zone).unwrap(), ms(from));
        let mut ticks = Vec::new();
        while let Some(next) = calendar.after(at).filter(|next| *next <= ms(to)) {
            ticks.push(format_time(next).replace(".000Z", "Z"));
            at = next;
        }
        ticks
    }

    #[test]
    fn ticks_follow_the_pattern() {
        let day = |cron| ticks(cron, "UTC", "2026-01-31T12:00:00Z", "2026-02-01T12:00:00Z");
        assert_eq!(day("0 12 * * *"), ["2026-02-01T12:00:00Z"]);
        assert_eq!(day("0 12 * * SUN"), ["2026-02-01T12:00:00Z"]);
        assert_eq!(day("0 12 * * MON"), [""; 0]);
        assert_eq!(day("@daily"), ["2026-02-01T00:00:00Z"]);
        assert_eq!(day("0 18 L * *"), ["2026-01-31T18:00:00Z"]);
        assert_eq!(
            day("30 59 23,0 * * *"),
            ["2026-01-31T23:59:30Z", "2026-02-01T00:59:30Z"],
            "with seconds before the minutes"
        );
        assert_eq!(day("* * * * *").len(), 24 * 60);
    }

    /// 2026: Berlin's clocks go from 2:00 to 3:00 on 29 March, and from 3:00 back to 2:00 on 25
    /// October.
    #[test]
    fn one_fixed_time_a_day_comes_once_a_day_whatever_the_clocks_do() {
        let berlin = |cron, from, to| ticks(cron, "Europe/Berlin", from, to);
        let spring = ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        // 2:30 doesn't exist: runs at the first moment after the gap.
        assert_eq!(
            berlin("30 2 * * *", spring.0, spring.1),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        let autumn = ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        // 2:30 exists twice: runs at the first.
        assert_eq!(
            berlin("30 2 * * *", autumn.0, autumn.1),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn repeated_times_follow_the_clock_on_the_wall() {
        let berlin = |cron, from, to| ticks(cron, "Europe/Berlin", from, to);
        // Times in the gap are skipped; repeated times tick twice.
        let spring = berlin("*/30 1-3 * * *", "2026-03-28T23:00:00Z", "2026-03-29T12:00:00Z");
        let expected = [
            "2026-03-29T00:00:00Z",
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:30:00Z",
        ];
        assert_eq!(spring, expected);
        let autumn = berlin("0 2,3 * * *", "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
        assert_eq!(
            autumn,
            ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"]
        );
        let hours = berlin("0 * * * *", "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
        assert_eq!(hours.len(), 24);
    }

    /// Searching backwards finds the same ticks as searching forwards, also around clock changes.
    #[test]
    fn the_same_ticks_from_both_sides() {
        let crons = [
            "30 2 * * *",
            "0 2 * * *",
            "0 3 * * *",
            "*/7 * * * *",
            "15,45 0-4 * * *",
            "*/20 10 2 * * *",
            "0 0 1 * *",
            "59 59 23 * * *",
        ];
        let zones =
            ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"];
        let spans = [
            ("2026-03-07T00:00:00Z", "2026-03-09T00:00:00Z"),
            ("2026-03-28T12:00:00Z", "2026-03-30T00:00:00Z"),
            ("2026-04-04T00:00:00Z", "2026-04-06T00:00:00Z"),
            ("2026-10-03T00:00:00Z", "2026-10-05T00:00:00Z"),
            ("2026-10-24T12:00:00Z", "2026-10-26T00:00:00Z"),
            ("2026-10-31T12:00:00Z", "2026-11-02T00:00:00Z"),
        ];
        for cron in crons {
            for zone in zones {
                let calendar = Calendar::new(cron, zone).unwrap();
                for (from, to) in spans {
                    let (from, to) = (ms(from), ms(to));
                    let ahead =
                        std::iter::successors(calendar.after(from), |at| calendar.after(*at));
                    let ahead: Vec<u64> = ahead.take_while(|at| *at <= to).collect();
                    let back = std::iter::successors(calendar.last_until(to), |at| {
                        calendar.last_until(*at - 1)
                    });
                    let mut back: Vec<u64> = back.take_while(|at| *at > from).collect();
                    back.reverse();
                    assert_eq!(ahead, back, "{cron} in {zone} from {from}");
                }
            }
        }
    }

    #[test]
    fn ticks_lie_after_the_time_whatever_its_milliseconds() {
        let calendar = Calendar::new("* * * * * *", "UTC").unwrap();
        for (time_ms, expected) in [(0, 1_000), (1, 1_000), (999, 1_000), (1_000, 2_000)] {
            assert_eq!(calendar.after(time_ms), Some(expected));
            assert_eq!(calendar.last_until(time_ms), Some(expected - 1_000), "{time_ms}");
        }
        assert_eq!(calendar.after(u64::MAX), None);
    }

    #[test]
    fn what_names_no_time_is_refused() {
        let refused = |cron: &str, zone: &str| Calendar::new(cron, zone).unwrap_err().to_string();
        for cron in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 0 31 4 *"] {
            assert_eq!(refused(cron, "Europe/Berlin"), format!("{cron:?} never comes"));
        }
        assert!(Calendar::new("0 0 29 2 *", "UTC").is_ok(), "every four years is not never");
        assert_eq!(
            refused("* * * * *", "Europe/Berlim"),
            "there is no time zone \"Europe/Berlim\""
        );
        let long = ["*"; 1_000].join(",");
        for cron in ["", "* * * *", "60 * * * *", "* * * * * * 2027", "@reboot", "x * * * *", &long]
        {
            let words = refused(cron, "UTC");
            assert!(words.contains("is no cron pattern: "), "{words}");
        }
    }

    #[test]
    fn ranges_that_run_backwards_are_told_how_to_be_written() {
        for (cron, expected) in [
            ("0 3 * * FRI-MON", "FRI-MON ends before it begins; write FRI-SAT,SUN-MON"),
            ("0 3 * * 5-1", "5-1 ends before it begins; write 5-6,0-1"),
            ("0 22-2 * * *", "22-2 ends before it begins; write 22-23,0-2"),
            ("0 0 1 NOV-FEB/2 *", "NOV-FEB ends before it begins; write NOV-DEC,JAN-FEB"),
        ] {
            let error = Calendar::new(cron, "UTC").unwrap_err().to_string();
            assert!(error.contains(expected), "{cron}: {error}");
        }
        assert!(Calendar::new("0 3 * * FRI-SAT,SUN-MON", "UTC").is_ok());
    }
}
