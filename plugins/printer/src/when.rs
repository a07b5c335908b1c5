//! Dates in human-readable form.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Day and time of an RFC 3339 timestamp, in its own offset: the venue's. `None` if invalid.
pub(crate) fn day_and_time(timestamp: &str) -> Option<(String, String)> {
    let (date, time) = timestamp.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-');
    let year: usize = date.next()?.parse().ok()?;
    let month: usize = date.next()?.parse().ok()?;
    let day: usize = date.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = MONTHS.get(month.checked_sub(1)?)?;
    let hours_and_minutes = time.get(..5).filter(|text| {
        text.bytes().enumerate().all(|(at, b)| if at == 2 { b == b':' } else { b.is_ascii_digit() })
    })?;
    let weekday = WEEKDAYS.get(weekday(year, month, day))?;
    Some((format!("{weekday}, {day} {name} {year}"), hours_and_minutes.to_owned()))
}

/// Sakamoto's algorithm; 0 is Sunday.
fn weekday(year: usize, month: usize, day: usize) -> usize {
    let offsets = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
    let year = if month < 3 { year.saturating_sub(1) } else { year };
    let offset = offsets.get(month - 1).copied().unwrap_or_default();
    (year + year / 4 - year / 100 + year / 400 + offset + day) % 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_timestamps() {
        let check = |timestamp, day: &str, time: &str| {
            assert_eq!(day_and_time(timestamp), Some((day.to_owned(), time.to_owned())));
        };
        check("2026-06-20T19:30:00+02:00", "Saturday, 20 June 2026", "19:30");
        check("2024-02-29t08:05:00.5Z", "Thursday, 29 February 2024", "08:05");
        check("2000-01-01 00:00:00Z", "Saturday, 1 January 2000", "00:00");
    }

    #[test]
    fn refuses_what_is_none() {
        for text in
            ["", "tomorrow", "2026-13-01T10:00:00Z", "2026-01-00T10:00:00Z", "2026-01-01T1:00"]
        {
            assert_eq!(day_and_time(text), None, "{text}");
        }
    }
}
