//! Points in time as text: RFC 3339 in UTC, with milliseconds.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Writes Unix milliseconds into `text`, in place of what it holds.
pub fn write_time(time_ms: u64, text: &mut String) {
    let (seconds, ms) = (time_ms / 1000, time_ms % 1000);
    let (days, second) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    let (year, month, day) = date(days);
    text.clear();
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
    );
}

/// Reads RFC 3339 as Unix milliseconds; `None` for anything else, and for times before 1970.
pub fn read_time(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let ns = u128::try_from(time.unix_timestamp_nanos()).ok()?;
    u64::try_from(ns / 1_000_000).ok()
}

/// Year, month and day of a number of days since 1970-01-01, counted in years that begin in March
/// so that the leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
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
        let mut text = String::new();
        for (time_ms, expected) in cases {
            write_time(time_ms, &mut text);
            assert_eq!(text, expected);
        }
    }
}
