//! Escapes untrusted text, formats numbers and times.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use usher_api::Timestamp;
use usher_event::text::{cut_chars, is_unsafe};

/// Escapes what a terminal would interpret in untrusted text, or what changes how a reader sees
/// the text around it: what [`is_unsafe`].
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            '\t' => clean.push_str("\\t"),
            _ if character.is_control() => {
                let _ = write!(clean, "\\x{:02x}", u32::from(character));
            }
            _ if is_unsafe(character) => {
                let _ = write!(clean, "\\u{{{:x}}}", u32::from(character));
            }
            _ => clean.push(character),
        }
    }
    clean
}

/// Like [`printable`], cut to `max_chars` characters and an ellipsis.
pub fn printable_cut(text: &str, max_chars: usize) -> String {
    cut_chars(&printable(text), max_chars).into_owned()
}

/// Strips a leading file name from a reason, for output that shows the name already.
pub fn without_name<'a>(reason: &'a str, file: &str) -> &'a str {
    let rest = reason.strip_prefix(file).unwrap_or(reason);
    rest.strip_prefix(':').unwrap_or(rest).trim_start()
}

/// Formats microseconds: `870 us`, `12.3 ms`, `4.200 s`, `2 h 05 min`.
pub fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..100_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        100_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..120_000_000 => format!("{}.{:03} s", us / 1_000_000, us % 1_000_000 / 1_000),
        _ => {
            let minutes = us / 60_000_000;
            match minutes {
                0..60 => format!("{minutes} min {:02} s", us % 60_000_000 / 1_000_000),
                60..2_880 => format!("{} h {:02} min", minutes / 60, minutes % 60),
                _ => format!("{} d {:02} h", minutes / 1_440, minutes % 1_440 / 60),
            }
        }
    }
}

/// Formats the time from `start` to `end` in milliseconds' resolution; zero if `end` is earlier.
pub fn elapsed(start: Timestamp, end: Timestamp) -> String {
    match end.as_ms().saturating_sub(start.as_ms()) {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms => duration(ms.saturating_mul(1_000)),
    }
}

/// The time now, by this machine's clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(usher_event::millis(since))
}

/// `in 4.200 s`; `now` if overdue.
pub fn until(now: Timestamp, due: Timestamp) -> String {
    if due <= now { "now".to_owned() } else { format!("in {}", elapsed(now, due)) }
}

/// `2026-01-31 12:00:00.007`, in UTC.
pub fn date_time(time: Timestamp) -> String {
    time.to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

/// `12:00:00.007`, in UTC.
pub fn clock(time: Timestamp) -> String {
    time.to_string().chars().skip("2026-01-31T".len()).take("12:00:00.007".len()).collect()
}

/// `847 B`, `12.3 KiB`, `4.0 MiB`.
pub fn bytes(count: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let tenths = |unit: u64| format!("{}.{}", count / unit, count % unit * 10 / unit);
    match count {
        0..KIB => format!("{count} B"),
        KIB..MIB => format!("{} KiB", tenths(KIB)),
        MIB..GIB => format!("{} MiB", tenths(MIB)),
        _ => format!("{} GiB", tenths(GIB)),
    }
}

/// `1 event`, `2 events`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_see_no_controls() {
        let cases = [
            ("plain é 漢", "plain é 漢"),
            ("\u{1b}[2J", "\\x1b[2J"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\u{9b}31m\u{7f}\u{0}", "\\x9b31m\\x7f\\x00"),
            ("abc\u{202e}fdp", "abc\\u{202e}fdp"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(printable_cut("ééé", 2), "éé…");
        assert_eq!(printable_cut("éé", 2), "éé");
    }

    #[test]
    fn names_are_not_said_twice() {
        for reason in ["a.wasm: is empty", "a.wasm is empty", "is empty"] {
            assert_eq!(without_name(reason, "a.wasm"), "is empty");
        }
    }

    #[test]
    fn spans_of_time_are_short() {
        for (us, expected) in [
            (0, "0 us"),
            (870, "870 us"),
            (12_345, "12.3 ms"),
            (123_456, "123 ms"),
            (4_200_000, "4.200 s"),
            (119_999_999, "119.999 s"),
            (150_000_000, "2 min 30 s"),
            (7_500_000_000, "2 h 05 min"),
            (u64::MAX, "213503982 d 08 h"),
        ] {
            assert_eq!(duration(us), expected);
        }
        let (start, end) = (Timestamp::from_ms(1_000), Timestamp::from_ms(3_500));
        assert_eq!(elapsed(start, end), "2.500 s");
        assert_eq!(elapsed(end, start), "0 ms");
        assert_eq!(until(start, end), "in 2.500 s");
        assert_eq!(until(end, start), "now");
    }

    #[test]
    fn times_and_sizes_are_readable() {
        let time = Timestamp::from_ms(1_769_860_800_007);
        assert_eq!(date_time(time), "2026-01-31 12:00:00.007");
        assert_eq!(clock(time), "12:00:00.007");
        for (n, expected) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (16 << 20, "16.0 MiB"),
            (3 << 30, "3.0 GiB"),
        ] {
            assert_eq!(bytes(n), expected);
        }
        assert_eq!((count(1, "event"), count(0, "event")), ("1 event".into(), "0 events".into()));
    }
}
