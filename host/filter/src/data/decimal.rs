//! JSON numbers compared exactly, as decimals: 0.1 is 0.1 and 1e-1, and 2^53 + 1 isn't 2^53. Nothing is
//! computed, so a number of any length costs what reading it costs.

use std::cmp::Ordering;

/// A JSON number (RFC 8259, section 6), kept as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Decimal(Box<str>);

/// What a number is: a sign, and 0.d₁d₂d₃… × 10^exponent, with d₁ and the last digit not 0.
struct Parts<'t> {
    is_negative: bool,
    /// Digits before and after the point.
    digits: (&'t [u8], &'t [u8]),
    exponent: i64,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Self {
        let (unsigned, is_negative) = match text.strip_prefix('-') {
            Some(unsigned) => (unsigned, true),
            None => (text, false),
        };
        let (mantissa, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // Beyond 64 bits only the sign matters.
        let power = power.parse().unwrap_or(match power.starts_with('-') {
            true => i64::MIN / 2,
            false => i64::MAX / 2,
        });
        let whole = whole.trim_start_matches('0');
        let (whole, fraction, exponent) = if whole.is_empty() {
            let trimmed = fraction.trim_start_matches('0');
            (whole, trimmed, -length(fraction.len() - trimmed.len()))
        } else {
            (whole, fraction, length(whole.len()))
        };
        let fraction = fraction.trim_end_matches('0');
        let whole = if fraction.is_empty() { whole.trim_end_matches('0') } else { whole };
        if whole.is_empty() && fraction.is_empty() {
            return Self { is_negative: false, digits: (&[], &[]), exponent: 0 };
        }
        let digits = (whole.as_bytes(), fraction.as_bytes());
        Self { is_negative, digits, exponent: exponent.saturating_add(power) }
    }

    fn is_zero(&self) -> bool {
        self.digits.0.is_empty() && self.digits.1.is_empty()
    }

    fn digits(&self) -> impl Iterator<Item = &u8> {
        self.digits.0.iter().chain(self.digits.1)
    }

    /// By size, without the signs.
    fn cmp_size(&self, other: &Self) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (false, false) => {}
            (is_zero, other_is_zero) => return other_is_zero.cmp(&is_zero),
        }
        self.exponent.cmp(&other.exponent).then_with(|| self.digits().cmp(other.digits()))
    }
}

fn length(digits: usize) -> i64 {
    i64::try_from(digits).unwrap_or(i64::MAX)
}

/// Compares the texts of two JSON numbers as numbers.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Parts::of(one), Parts::of(other));
    match (one.is_negative, other.is_negative) {
        (false, false) => one.cmp_size(&other),
        (true, true) => other.cmp_size(&one),
        (is_negative, other_is_negative) => other_is_negative.cmp(&is_negative),
    }
}

/// The same text for equal numbers.
pub(crate) fn canonical(number: &str) -> String {
    let parts = Parts::of(number);
    let mut text = String::from(if parts.is_negative { "-" } else { "" });
    text.extend(parts.digits().map(|digit| char::from(*digit)));
    text.push_str(&format!("e{}", parts.exponent));
    text
}

impl Decimal {
    /// The number that a JSON text is.
    pub(crate) fn new(number: impl Into<Box<str>>) -> Self {
        Self(number.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_decimals() {
        let rising = [
            "-1e400",
            "-123.5",
            "-123",
            "-1.1",
            "-1",
            "-0.1",
            "-0.01",
            "0",
            "1e-400",
            "0.001",
            "0.1",
            "0.100000000000000000001",
            "0.2",
            "1",
            "9.99",
            "10",
            "10.5",
            "99",
            "100",
            "9007199254740992",
            "9007199254740993",
            "1e16",
            "1e400",
            "1e99999999999999999999",
        ];
        for (n, one) in rising.iter().enumerate() {
            for (m, other) in rising.iter().enumerate() {
                assert_eq!(compare(one, other), n.cmp(&m), "{one} {other}");
                assert_eq!(canonical(one) == canonical(other), n == m, "{one} {other}");
            }
        }
    }

    #[test]
    fn the_same_number_is_written_in_many_ways() {
        for same in [
            &["0", "-0", "0.0", "0e5", "-0.00E-3"][..],
            &["100", "100.0", "1e2", "1E+2", "0.1e3", "1000e-1"],
            &["-0.25", "-25e-2", "-0.2500"],
        ] {
            for other in same {
                assert_eq!(compare(same[0], other), Ordering::Equal, "{other}");
                assert_eq!(canonical(same[0]), canonical(other), "{other}");
            }
        }
        let long = "1".repeat(10_000);
        assert_eq!(compare(&long, &format!("{long}.0")), Ordering::Equal);
        assert_eq!(compare(&long, &format!("{long}.1")), Ordering::Less);
    }
}
