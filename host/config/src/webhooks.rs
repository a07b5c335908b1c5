//! `[[webhook]]`: paths that take what others send, and make events of it.

use std::path::Path;
use std::time::Duration;

use http::HeaderName;
use usher_webhooks::{
    Algorithm, Encoding, Hmac, KeyError, Kind, Mapping, Pick, SigningKey, Timestamp, Webhook,
};

use super::ingest::own_path;
use super::secrets::SecretSource;
use super::table::{At, Table};

const TOLERANCE_DEFAULT: Duration = Duration::from_secs(300);
const TOLERANCE_MAX_MS: u64 = 24 * 3_600_000;
/// Limit on the secrets of one webhook, which are all tried.
const SECRETS_MAX: usize = 8;

const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("sha1", Algorithm::Sha1),
    ("sha256", Algorithm::Sha256),
    ("sha384", Algorithm::Sha384),
    ("sha512", Algorithm::Sha512),
];
const ENCODINGS: [(&str, Encoding); 2] = [("hex", Encoding::Hex), ("base64", Encoding::Base64)];

/// What `kind` says, before its details are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Github,
    Stripe,
    Slack,
    Standard,
    Hmac,
    None,
}

const KINDS: [(&str, Named); 6] = [
    ("github", Named::Github),
    ("stripe", Named::Stripe),
    ("slack", Named::Slack),
    ("standard-webhooks", Named::Standard),
    ("hmac", Named::Hmac),
    ("none", Named::None),
];

/// Reads all; `ingest` has the paths that are taken.
pub(super) fn read_all(table: &Table<'_>, folder: &Path, ingest: &[String]) -> Vec<Webhook> {
    let mut taken = ingest.to_vec();
    let mut webhooks = Vec::new();
    for At { value: table, span } in table.list("webhook") {
        let webhook = read(table, &span, folder, &taken);
        taken.extend(webhook.iter().map(|webhook| webhook.path.clone()));
        webhooks.extend(webhook);
    }
    webhooks
}

fn read(
    table: Table<'_>,
    at: &std::ops::Range<usize>,
    folder: &Path,
    taken: &[String],
) -> Option<Webhook> {
    let source = table.source();
    let path = own_path(&table, at, taken);
    if table.value("kind").is_none() {
        let kinds = KINDS.map(|(kind, _)| format!("{kind:?}")).join(", ");
        source.problem(at, "[[webhook]] needs a kind", Some(format!("use one of {kinds}")));
    }
    let named = table.choice("kind", &KINDS);
    let keys = keys(&table, at, folder, named);
    let tolerance = table.millis("tolerance_ms", 1_000..=TOLERANCE_MAX_MS);
    let mapping = mapping(&table);
    let kind = named.and_then(|named| kind(&table, at, named));
    let needs_type = matches!(kind, Some(Kind::Hmac(_) | Kind::Unsigned));
    if needs_type && mapping.ty.is_empty() {
        let hint =
            "write type = { text = \"com.example.order\" } or type = { pointer = \"/type\" }";
        source.problem(at, "[[webhook]] of this kind needs a type", Some(hint.to_owned()));
    }
    table.finish();
    Some(Webhook {
        path: path?,
        kind: kind?,
        keys: keys?,
        tolerance: tolerance.unwrap_or(TOLERANCE_DEFAULT),
        mapping,
    })
}

/// Reads `secret` or `secrets`, one of which every kind but `none` needs.
fn keys(
    table: &Table<'_>,
    at: &std::ops::Range<usize>,
    folder: &Path,
    named: Option<Named>,
) -> Option<Vec<SigningKey>> {
    let source = table.source();
    let one = table.table("secret").map(|secret| At { value: secret, span: at.clone() });
    let described: Vec<_> = one.into_iter().chain(table.list("secrets")).collect();
    let is_unsigned = named == Some(Named::None);
    if described.is_empty() != is_unsigned || described.len() > SECRETS_MAX {
        let (what, hint) = match is_unsigned {
            true => ("a webhook of kind \"none\" has no secret", "leave it out"),
            false => (
                "the secret that signs is needed, and at most 8",
                "write secret = { file = \"PATH\" } or secret = { env = \"VARIABLE\" }",
            ),
        };
        source.problem(at, what, Some(hint.to_owned()));
        return None;
    }
    let mut keys = Vec::new();
    for At { value: secret, span } in described {
        let fetched = SecretSource::read(secret, folder, &span)?.fetch();
        let unread = |(what, hint)| source.problem(&span, format!("secret: {what}"), Some(hint));
        let secret = fetched.map_err(unread).ok()?;
        let key = match named {
            Some(Named::Standard) => SigningKey::standard(secret.expose()),
            _ => SigningKey::plain(secret.expose()),
        };
        let hint = "copy it from the sender as it is".to_owned();
        let key = key.map_err(|error: KeyError| source.problem(&span, error, Some(hint)));
        keys.push(key.ok()?);
    }
    Some(keys)
}

/// Reads `secret` or `secrets` of Standard Webhooks.
pub(super) fn standard_keys(
    table: &Table<'_>,
    at: &std::ops::Range<usize>,
    folder: &Path,
) -> Option<Vec<SigningKey>> {
    keys(table, at, folder, Some(Named::Standard))
}

fn kind(table: &Table<'_>, at: &std::ops::Range<usize>, named: Named) -> Option<Kind> {
    Some(match named {
        Named::Github => Kind::Github,
        Named::Stripe => Kind::Stripe,
        Named::Slack => Kind::Slack,
        Named::Standard => Kind::Standard,
        Named::None => Kind::Unsigned,
        Named::Hmac => {
            if table.value("header").is_none() {
                let hint = "write header = \"X-Signature\"".to_owned();
                let what = "[[webhook]] of kind \"hmac\" needs the header with the signature";
                table.source().problem(at, what, Some(hint));
            }
            let timestamp = header(table, "timestamp_header").map(|header| Timestamp {
                header,
                separator: text(table, "separator").unwrap_or(".").to_owned(),
            });
            Kind::Hmac(Hmac {
                header: header(table, "header")?,
                prefix: text(table, "prefix").unwrap_or_default().to_owned(),
                algorithm: table.choice("algorithm", &ALGORITHMS).unwrap_or(Algorithm::Sha256),
                encoding: table.choice("encoding", &ENCODINGS).unwrap_or(Encoding::Hex),
                timestamp,
            })
        }
    })
}

fn text<'a>(table: &Table<'a>, key: &'static str) -> Option<&'a str> {
    table.string(key).map(|At { value, .. }| value)
}

fn header(table: &Table<'_>, key: &'static str) -> Option<HeaderName> {
    let At { value, span } = table.string(key)?;
    let hint = "write a name of a header, such as \"X-Signature\"".to_owned();
    let what = format!("{key} can't be {value:?}");
    value.parse().map_err(|_| table.source().problem(&span, what, Some(hint))).ok()
}

fn mapping(table: &Table<'_>) -> Mapping {
    Mapping {
        id: picks(table, "id"),
        ty: picks(table, "type"),
        type_prefix: text(table, "type_prefix").unwrap_or_default().to_owned(),
        source: picks(table, "source"),
        subject: picks(table, "subject"),
        time: picks(table, "time"),
    }
}

/// `KEY = { pointer = "/a" }`, `{ header = "X-A" }`, `{ text = "a" }`; for `id` also `"body"` or
/// `"random"`.
fn picks(table: &Table<'_>, key: &'static str) -> Vec<Pick> {
    let Some(value) = table.value(key) else { return Vec::new() };
    let source = table.source();
    let words = [("body", Pick::Body), ("random", Pick::Random)];
    if let Some(word) = value.get_ref().as_str() {
        let known = words.into_iter().find(|(known, _)| key == "id" && *known == word);
        if known.is_none() {
            let hint = format!(
                "write {key} = {{ pointer = \"/a\" }}, {{ header = \"X-A\" }} or {{ text = \"a\" }}"
            );
            source.problem(&value.span(), format!("{key} can't be {word:?}"), Some(hint));
        }
        return known.into_iter().map(|(_, pick)| pick).collect();
    }
    let Some(inner) = table.table(key) else { return Vec::new() };
    let pointer = inner.string("pointer").and_then(|At { value, span }| {
        Pick::pointer(value).map_err(|error| source.problem(&span, error, None)).ok()
    });
    let header = header(&inner, "header").map(Pick::Header);
    let written = text(&inner, "text").map(|text| Pick::Text(text.to_owned()));
    inner.finish();
    let picks: Vec<_> = pointer.into_iter().chain(header).chain(written).collect();
    if picks.is_empty() {
        let hint = "use pointer, header or text; of several, the first that there is counts, in \
                    this order";
        source.problem(&value.span(), format!("{key} says nothing"), Some(hint.to_owned()));
    }
    picks
}
