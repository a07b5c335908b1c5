//! Redacts secrets in text that will be shown and in events that a plugin emits. Protects against
//! accidents, such as an error that quotes its input; a plugin that means to leak a secret can
//! encode it.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use bytes::Bytes;
use usher_event::{Content, Emission, Given, Value};

/// Shorter secrets are not redacted: they would match everywhere, and the matches reveal them.
const SECRET_MIN_BYTES: usize = 4;
/// Nor are shorter lines of a multi-line secret, such as a PEM key.
const LINE_MIN_BYTES: usize = 8;
const REDACTED: &str = "[redacted]";

/// Redacts the secrets of one plugin; built once, searches for all of them in one pass.
#[derive(Default)]
pub(crate) struct Redactor {
    /// What to redact, longest first; empty without secrets.
    needles: Vec<String>,
    searcher: Option<AhoCorasick>,
}

impl Redactor {
    /// # Errors
    /// The secrets are too large to be searched for.
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let needles = needles(secrets);
        if needles.is_empty() {
            return Ok(Self::default());
        }
        // Small rather than fastest: a certificate as a secret would take tens of megabytes as a DFA.
        let builder = AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).clone();
        let searcher = builder.build(&needles).map_err(|error| error.to_string())?;
        Ok(Self { needles, searcher: Some(searcher) })
    }

    /// Where secrets are; those that overlap are one.
    fn spans(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut spans: Vec<Range<usize>> = Vec::new();
        let Some(searcher) = &self.searcher else { return spans };
        // In the order of their ends.
        for found in searcher.find_overlapping_iter(bytes) {
            let mut span = found.range();
            while let Some(before) = spans.pop_if(|before| before.end > span.start) {
                span.start = span.start.min(before.start);
            }
            spans.push(span);
        }
        spans
    }

    /// Redacts secrets in text.
    pub(crate) fn redact(&self, text: String) -> String {
        let spans = self.spans(text.as_bytes());
        if spans.is_empty() {
            return text;
        }
        let mut redacted = String::with_capacity(text.len());
        let mut rest = 0;
        for span in spans {
            redacted.push_str(text.get(rest..span.start).unwrap_or_default());
            redacted.push_str(REDACTED);
            rest = span.end;
        }
        redacted.push_str(text.get(rest..).unwrap_or_default());
        redacted
    }

    /// Redacts secrets in an emission.
    pub(crate) fn redact_emission(&self, emission: &mut Emission) {
        if self.searcher.is_none() {
            return;
        }
        let text = |text: &mut String| *text = self.redact(std::mem::take(text));
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
                Value::Binary(value) => self.redact_bytes(value),
            }
        }
        if let Some(data) = data {
            self.redact_bytes(data);
        }
    }

    /// Redacts secrets in what a delivery was told.
    pub(crate) fn redact_given(&self, given: &mut Given) {
        if self.searcher.is_none() {
            return;
        }
        let text = |text: &mut String| *text = self.redact(std::mem::take(text));
        let content = |content: &mut Content| {
            if let Ok(mut bytes) = content.bytes(|_| Err(String::new())) {
                self.redact_bytes(&mut bytes);
                *content = Content::of(&bytes);
            }
        };
        given.config.values_mut().for_each(text);
        // Names of keys and buckets are the guest's, too.
        given.state = std::mem::take(&mut given.state)
            .into_iter()
            .map(|(bucket, keys)| {
                let keys = keys.into_iter().map(|(key, mut value)| {
                    content(&mut value);
                    (self.redact(key), value)
                });
                (self.redact(bucket), keys.collect())
            })
            .collect();
        for blob in &mut given.blobs {
            text(&mut blob.content_type);
            blob.content.as_mut().map(content);
        }
        for answer in &mut given.http {
            text(&mut answer.url);
            answer.headers.iter_mut().for_each(|(_, value)| text(value));
            answer.body.as_mut().map(content);
            answer.error.as_mut().and_then(|error| error.detail.as_mut()).map(text);
        }
    }

    fn redact_bytes(&self, bytes: &mut Bytes) {
        let spans = self.spans(bytes);
        if spans.is_empty() {
            return;
        }
        let mut redacted = Vec::with_capacity(bytes.len());
        let mut rest = 0;
        for span in spans {
            redacted.extend_from_slice(bytes.get(rest..span.start).unwrap_or_default());
            redacted.extend_from_slice(REDACTED.as_bytes());
            rest = span.end;
        }
        redacted.extend_from_slice(bytes.get(rest..).unwrap_or_default());
        *bytes = redacted.into();
    }

    /// Redacts secrets in text whose start was cut off, possibly inside a secret.
    pub(crate) fn redact_end(&self, text: String) -> String {
        let ends = self.needles.iter().flat_map(|needle| {
            let ends = needle.char_indices().skip(1).filter_map(|(at, _)| needle.get(at..));
            ends.take_while(|end| end.len() >= SECRET_MIN_BYTES)
        });
        let cut = ends.filter(|end| text.starts_with(end)).map(str::len).max();
        let text = match cut.and_then(|bytes| text.get(bytes..)) {
            Some(rest) => format!("{REDACTED}{rest}"),
            None => text,
        };
        self.redact(text)
    }
}

/// Strings to redact: each secret, its JSON-escaped form, and its lines, because output is shown
/// line by line.
fn needles<'a>(secrets: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut needles = Vec::new();
    for secret in secrets.filter(|secret| secret.len() >= SECRET_MIN_BYTES) {
        needles.push(Cow::Borrowed(secret));
        needles.extend(in_json(secret).map(Cow::Owned));
        let lines = secret.lines().map(str::trim);
        needles.extend(lines.filter(|line| line.len() >= LINE_MIN_BYTES).map(Cow::Borrowed));
    }
    needles.into_iter().map(Cow::into_owned).collect()
}

/// The JSON-escaped form of a secret, if it differs.
fn in_json(secret: &str) -> Option<String> {
    let quoted = serde_json::to_string(secret).ok()?;
    let inner = quoted.get(1..quoted.len().saturating_sub(1))?;
    (inner != secret).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN KEY-----\r\nMIIEvQIBADANBg\r\n  kqhkiG9w0BAQEF\r\nshort\r\n";

    fn redactor(more: &[&'static str]) -> Redactor {
        let secrets = ["hunter2", "hunter2 and more", PEM, "abc"].iter().chain(more).copied();
        Redactor::new(secrets).unwrap()
    }

    #[test]
    fn secrets_and_their_lines_are_taken_out() {
        let redact = |text: &str| redactor(&["xhunt"]).redact(text.to_owned());
        for (text, expected) in [
            ("xhunter2hunter2", "[redacted][redacted]"),
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
        redactor(&["say \"hunter\""]).redact_emission(&mut emission);
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
        let redact = |text: &str| redactor(&[]).redact_end(text.to_owned());
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
