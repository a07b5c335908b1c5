//! Secrets taken out of text that is going to be shown. This protects from accidents, such as an
//! error that quotes what it was given; a plugin that means to give a secret away can spell it.

use std::collections::BTreeMap;

use crate::Secret;

/// Shorter secrets are not looked for: they'd be found everywhere, and give themselves away.
const SECRET_MIN_BYTES: usize = 4;
/// Nor are shorter lines of a secret that has several, such as a key in PEM.
const LINE_MIN_BYTES: usize = 8;
const REDACTED: &str = "[redacted]";

/// What is looked for: secrets, and lines of those that have several, because output is shown line
/// by line. Longer ones first, for a shorter one may be a part of them.
fn needles(secrets: &BTreeMap<String, Secret>) -> Vec<&str> {
    let secrets = secrets.values().map(Secret::expose);
    let mut needles = Vec::new();
    for secret in secrets.filter(|secret| secret.len() >= SECRET_MIN_BYTES) {
        needles.push(secret);
        let lines = secret.lines().map(str::trim);
        needles.extend(lines.filter(|line| line.len() >= LINE_MIN_BYTES));
    }
    needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
    needles
}

/// Takes secrets out.
pub(crate) fn redact(secrets: &BTreeMap<String, Secret>, mut text: String) -> String {
    if secrets.is_empty() {
        return text;
    }
    for needle in needles(secrets) {
        if text.contains(needle) {
            text = text.replace(needle, REDACTED);
        }
    }
    text
}

/// Takes secrets out of text whose start was cut off, maybe within a secret.
pub(crate) fn redact_end(secrets: &BTreeMap<String, Secret>, text: String) -> String {
    let cut = needles(secrets)
        .into_iter()
        .flat_map(|needle| {
            let ends = needle.char_indices().skip(1).filter_map(|(at, _)| needle.get(at..));
            ends.take_while(|end| end.len() >= SECRET_MIN_BYTES)
        })
        .filter(|end| text.starts_with(end))
        .map(str::len)
        .max();
    let text = match cut.and_then(|bytes| text.get(bytes..)) {
        Some(rest) => format!("{REDACTED}{rest}"),
        None => text,
    };
    redact(secrets, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN KEY-----\r\nMIIEvQIBADANBg\r\n  kqhkiG9w0BAQEF\r\nshort\r\n";

    fn secrets() -> BTreeMap<String, Secret> {
        [("A", "hunter2"), ("B", "hunter2 and more"), ("C", PEM), ("D", "abc")]
            .map(|(name, secret)| (name.to_owned(), Secret::new(secret)))
            .into()
    }

    #[test]
    fn secrets_and_their_lines_are_taken_out() {
        let redact = |text: &str| redact(&secrets(), text.to_owned());
        for (text, expected) in [
            ("nothing", "nothing"),
            ("the key is hunter2!", "the key is [redacted]!"),
            ("hunter2 and more", "[redacted]"),
            ("abc is too short to be looked for", "abc is too short to be looked for"),
            ("line: MIIEvQIBADANBg", "line: [redacted]"),
            ("kqhkiG9w0BAQEF", "[redacted]"),
            ("short", "short"),
        ] {
            assert_eq!(redact(text), expected);
        }
        assert_eq!(redact(&format!("<{PEM}>")), "<[redacted]>");
    }

    #[test]
    fn the_end_of_a_secret_that_was_cut_is_taken_out() {
        let redact = |text: &str| redact_end(&secrets(), text.to_owned());
        for (text, expected) in [
            ("nter2 was wrong", "[redacted] was wrong"),
            ("nter2 and more, hunter2", "[redacted], [redacted]"),
            ("er2 was too short", "er2 was too short"),
            ("was wrong: hunter2", "was wrong: [redacted]"),
            ("QIBADANBg\nkqhkiG9w0BAQEF", "[redacted]\n[redacted]"),
            ("", ""),
        ] {
            assert_eq!(redact(text), expected);
        }
    }
}
