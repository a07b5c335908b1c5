//! Redacts secrets in text that will be shown and in events that a plugin emits. Protects against
//! accidents, such as an error that quotes its input; a plugin that means to leak a secret can
//! encode it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use memchr::memmem;
use usher_event::{Emission, Value};

use crate::Secret;

/// Shorter secrets are not redacted: they would match everywhere, and the matches reveal them.
const SECRET_MIN_BYTES: usize = 4;
/// Nor are shorter lines of a multi-line secret, such as a PEM key.
const LINE_MIN_BYTES: usize = 8;
const REDACTED: &str = "[redacted]";

/// Strings to redact: each secret, its JSON-escaped form, and its lines, because output is shown
/// line by line. Longest first, because a shorter one may be part of a longer one.
fn needles(secrets: &BTreeMap<String, Secret>) -> Vec<Cow<'_, str>> {
    let secrets = secrets.values().map(Secret::expose);
    let mut needles = Vec::new();
    for secret in secrets.filter(|secret| secret.len() >= SECRET_MIN_BYTES) {
        needles.push(Cow::Borrowed(secret));
        needles.extend(in_json(secret).map(Cow::Owned));
        let lines = secret.lines().map(str::trim);
        needles.extend(lines.filter(|line| line.len() >= LINE_MIN_BYTES).map(Cow::Borrowed));
    }
    needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
    needles
}

/// The JSON-escaped form of a secret, if it differs.
fn in_json(secret: &str) -> Option<String> {
    let quoted = serde_json::to_string(secret).ok()?;
    let inner = quoted.get(1..quoted.len().saturating_sub(1))?;
    (inner != secret).then(|| inner.to_owned())
}

/// Redacts secrets in an emission.
pub(crate) fn redact_emission(secrets: &BTreeMap<String, Secret>, emission: &mut Emission) {
    let needles = needles(secrets);
    let text = |text: &mut String| {
        for needle in needles.iter().filter(|needle| text.contains(&***needle)).collect::<Vec<_>>()
        {
            *text = text.replace(&**needle, REDACTED);
        }
    };
    let Emission { ty, subject, datacontenttype, dataschema, extensions, data, delay_ms: _ } =
        emission;
    text(ty);
    for attribute in [subject, datacontenttype, dataschema].into_iter().flatten() {
        text(attribute);
    }
    for (_, value) in extensions {
        match value {
            Value::Boolean(_) | Value::Integer(_) => {}
            Value::String(value)
            | Value::Uri(value)
            | Value::UriReference(value)
            | Value::Timestamp(value) => text(value),
            Value::Binary(value) => redact_bytes(&needles, value),
        }
    }
    if let Some(data) = data {
        redact_bytes(&needles, data);
    }
}

fn redact_bytes(needles: &[Cow<'_, str>], bytes: &mut Bytes) {
    for needle in needles {
        let mut rest = 0;
        let mut redacted = Vec::new();
        for at in memmem::find_iter(bytes, needle.as_bytes()) {
            redacted.extend_from_slice(bytes.get(rest..at).unwrap_or_default());
            redacted.extend_from_slice(REDACTED.as_bytes());
            rest = at + needle.len();
        }
        if rest > 0 {
            redacted.extend_from_slice(bytes.get(rest..).unwrap_or_default());
            *bytes = redacted.into();
        }
    }
}

/// Redacts secrets in text.
pub(crate) fn redact(secrets: &BTreeMap<String, Secret>, mut text: String) -> String {
    if secrets.is_empty() {
        return text;
    }
    for needle in needles(secrets) {
        if text.contains(&*needle) {
            text = text.replace(&*needle, REDACTED);
        }
    }
    text
}

/// Redacts secrets in text whose start was cut off, possibly inside a secret.
pub(crate) fn redact_end(secrets: &BTreeMap<String, Secret>, text: String) -> String {
    let cut = needles(secrets)
        .iter()
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
    fn events_carry_no_secret() {
        let mut secrets = secrets();
        secrets.insert("Q".to_owned(), Secret::new("say \"hunter\""));
        let text = || "a hunter2".to_owned();
        let mut emission = Emission {
            ty: text(),
            subject: Some(text()),
            datacontenttype: Some(text()),
            dataschema: Some(text()),
            extensions: vec![
                ("a".into(), Value::String(text())),
                ("b".into(), Value::Binary(Bytes::from_static(b"\xff hunter2 \xfe hunter2"))),
                ("c".into(), Value::Boolean(true)),
            ],
            data: Some(Bytes::from(r#"{"key":"say \"hunter\"","other":"hunter2"}"#)),
            delay_ms: None,
        };
        redact_emission(&secrets, &mut emission);
        let shown = format!("{emission:?}");
        assert!(!shown.contains("hunter"), "{shown}");
        assert_eq!(emission.ty, "a [redacted]");
        let data = emission.data.as_deref();
        assert_eq!(data, Some(&br#"{"key":"[redacted]","other":"[redacted]"}"#[..]));
        let binary = Value::Binary(Bytes::from_static(b"\xff [redacted] \xfe [redacted]"));
        assert_eq!(emission.extensions[1].1, binary);
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
