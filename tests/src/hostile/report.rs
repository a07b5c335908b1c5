//! The result table: one line per row of the catalogue.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use super::row::Row;

const TRIES_CHARS: usize = 44;
const EXPECTED_CHARS: usize = 36;
const SEEN_CHARS: usize = 60;

/// Result of one row.
pub(crate) struct Line<'a> {
    pub(crate) row: &'a Row,
    pub(crate) seen: Result<String>,
    pub(crate) before_bytes: u64,
    pub(crate) after_bytes: u64,
    pub(crate) p99_before: Duration,
    pub(crate) p99_during: Duration,
}

/// The table header.
pub(crate) fn head() -> String {
    columns("row", "tries", "expected", "seen", "host MiB", "neighbours' p99 ms")
}

fn columns(
    row: &str,
    tries: &str,
    expected: &str,
    seen: &str,
    memory: &str,
    latency: &str,
) -> String {
    format!(
        "{row:>3}  {tries:<TRIES_CHARS$}  {expected:<EXPECTED_CHARS$}  {seen:<SEEN_CHARS$}  \
         {memory:>14}  {latency:>18}"
    )
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let seen = match &self.seen {
            Ok(seen) => fitted(seen, SEEN_CHARS),
            Err(_) => "NOT CONTAINED".to_owned(),
        };
        let memory = format!("{:.1} → {:.1}", mib(self.before_bytes), mib(self.after_bytes));
        let latency = format!("{:.1} → {:.1}", ms(self.p99_before), ms(self.p99_during));
        let row = self.row.number.to_string();
        let tries = fitted(self.row.tries, TRIES_CHARS);
        let expected = fitted(self.row.expected, EXPECTED_CHARS);
        f.write_str(columns(&row, &tries, &expected, &seen, &memory, &latency).trim_end())?;
        match &self.seen {
            Ok(_) => Ok(()),
            Err(error) => write!(f, "\n     {error:#}"),
        }
    }
}

/// Truncates text to `chars` characters, on one line.
fn fitted(text: &str, chars: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= chars {
        return line;
    }
    line.chars().take(chars - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_and_a_failure_one_more() {
        let row = Row::new(7, "loop inside realloc", "trap at the deadline", []);
        let line = |seen| Line {
            row: &row,
            seen,
            before_bytes: 64 << 20,
            after_bytes: 65 << 20,
            p99_before: Duration::from_micros(8_250),
            p99_during: Duration::from_millis(12),
        };
        let good = line(Ok("timeout: used up its\nCPU time".to_owned())).to_string();
        assert!(good.starts_with("  7  loop inside realloc "), "{good}");
        assert!(good.contains("timeout: used up its CPU time ") && good.lines().count() == 1);
        assert!(good.contains("64.0 → 65.0") && good.ends_with("8.2 → 12.0"), "{good}");
        let bad = line(Err(anyhow::anyhow!("acknowledged"))).to_string();
        assert!(bad.contains("NOT CONTAINED") && bad.ends_with("\n     acknowledged"), "{bad}");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(fitted("a\n b", 3), "a b");
        assert_eq!(fitted("abcd", 3), "ab…");
    }
}
