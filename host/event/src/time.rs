//! Points in time as text: RFC 3339 in UTC, with milliseconds.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};

/// A duration in whole milliseconds; `u64::MAX` if it is longer than fits.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in whole microseconds; `u64::MAX` if it is longer than fits.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Formats Unix milliseconds, such as `2026-01-31T12:00:00.000Z`.
pub fn format_time(time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok().and_then(DateTime::from_timestamp_millis);
    time.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Parses RFC 3339 into Unix milliseconds; `None` if invalid or before 1970.
pub fn read_time(text: &str) -> Option<u64> {
    u64::try_from(parse(text)?.timestamp_millis()).ok()
}

/// Whether the text is an RFC 3339 date and time.
pub(crate) fn is_time(text: &str) -> bool {
    parse(text).is_some()
}

fn parse(text: &str) -> Option<DateTime<chrono::FixedOffset>> {
    // The parser also accepts a space between date and time; RFC 3339 requires T (or t).
    let is_separated = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    is_separated.then(|| DateTime::parse_from_rfc3339(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_769_860_800_007, "2026-01-31T12:00:00.007Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (time_ms, expected) in cases {
            assert_eq!(format_time(time_ms), expected);
            assert_eq!(read_time(expected), Some(time_ms));
        }
    }
}
