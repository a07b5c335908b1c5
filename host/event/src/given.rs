//! What the host tells a guest during one delivery. Recorded from a delivery, or written
//! by an author; either way enough to run the delivery again elsewhere, with the same result. As
//! JSON it is `given.json` of a fixture.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Digest, format_time, read_time};

/// What a delivery was told, and which component it was told to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// Digest of the component.
    pub digest: Digest,
    /// The component's version.
    pub version: String,
    /// What it was told; `None` if that is larger than recordings may be.
    pub given: Option<Given>,
    /// How large it is, as JSON; at least that if something was not even kept.
    pub size_bytes: u64,
}

impl Recording {
    /// As JSON, without what it was told if that has more than `max_bytes`.
    pub fn write(digest: Digest, version: &str, given: Given, max_bytes: u64) -> Bytes {
        let size_bytes = serde_json::to_vec(&given).map_or(0, |json| json.len() as u64);
        let fits = !given.is_cut && size_bytes <= max_bytes;
        let size_bytes = if fits { size_bytes } else { size_bytes.max(max_bytes + 1) };
        let given = fits.then_some(given);
        let recording = Self { digest, version: version.to_owned(), given, size_bytes };
        // Maps have text as keys, so nothing in it can't be written.
        serde_json::to_vec(&recording).unwrap_or_default().into()
    }

    /// What [`Recording::write`] wrote; `None` if it isn't that.
    pub fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

/// What a delivery is given. Every field may be absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Given {
    /// Name of the subscription within the plugin; absent: the first whose filter takes the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Number of the attempt; absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Position of the event in the log; absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Whether it is a replay.
    #[serde(skip_serializing_if = "is_default")]
    pub replay: bool,
    /// When the host aborts the call, Unix milliseconds; absent: the limit after the clock's begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Limits other than the default ones, by name, which has the unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u64>,
    /// Names of the granted capabilities; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<String>>,
    /// Settings.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Types of events that subjects of messages stand for, by subject.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subjects: BTreeMap<String, String>,
    /// Secrets: never the real ones in a recording.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// State, by bucket and key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub state: BTreeMap<String, BTreeMap<String, Content>>,
    /// Usage of state that the quota was checked against; absent: that of `state`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_usage: Option<GivenUsage>,
    /// Blobs that can be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<GivenBlob>,
    /// Answers to HTTP requests. Each answers one request of its method and URL, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<GivenAnswer>,
    /// What the clocks say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<GivenClock>,
    /// Where random numbers come from; absent: always the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random: Option<GivenRandom>,
    /// Whether something is missing because there was too much of it.
    #[serde(skip)]
    pub is_cut: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Bytes: as text, as base64, as a JSON value, or in a file of the fixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected text, {\"base64\": …}, {\"json\": …} or {\"file\": …}")]
pub enum Content {
    /// UTF-8.
    Text(String),
    /// Any bytes.
    Base64 {
        /// RFC 4648, section 4, padded.
        base64: String,
    },
    /// JSON, written without white space.
    Json {
        /// The value.
        json: serde_json::Value,
    },
    /// The content of a file.
    File {
        /// Its path, relative to the fixture's folder.
        file: String,
    },
}

impl Content {
    /// Text if the bytes are UTF-8, else base64.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64 { base64: BASE64.encode(bytes) },
        }
    }

    /// The bytes. `read` reads a file.
    ///
    /// # Errors
    /// It isn't base64, or the file can't be read; in words.
    pub fn bytes(&self, read: impl FnOnce(&str) -> Result<Bytes, String>) -> Result<Bytes, String> {
        match self {
            Self::Text(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Self::Base64 { base64 } => {
                BASE64.decode(base64).map(Bytes::from).map_err(|error| format!("base64: {error}"))
            }
            Self::Json { json } => Ok(json.to_string().into_bytes().into()),
            Self::File { file } => read(file),
        }
    }

    /// Bytes it takes in a recording, about.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Base64 { base64: text } | Self::File { file: text } => {
                text.len()
            }
            Self::Json { json } => json.to_string().len(),
        }
    }
}

/// Usage of state before the delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenUsage {
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Number of keys.
    pub keys: u64,
}

/// A blob that can be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenBlob {
    /// Media type.
    pub content_type: String,
    /// What is in it; its digest follows. Absent if it was listed but not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Digest and size of one without content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<GivenListing>,
    /// Whether it is listed among the plugin's own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub own: bool,
}

/// What a listing says of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenListing {
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content.
    pub size_bytes: u64,
}

/// An HTTP request that is expected, and what answers it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenAnswer {
    /// Method of the request; absent: GET.
    #[serde(default = "get")]
    pub method: String,
    /// URL of the request, with its query.
    pub url: String,
    /// Status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Headers of the answer, as pairs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Body of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Content>,
    /// In place of a status, or after a body: why there is no answer, or no more of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<GivenHttpError>,
}

fn get() -> String {
    "GET".to_owned()
}

/// An error of wasi:http.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenHttpError {
    /// The case of `error-code`, such as `connection-refused`.
    pub code: String,
    /// What it says, if it is one that says something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What the clocks say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected an RFC 3339 time since 1970, or recorded readings")]
pub enum GivenClock {
    /// RFC 3339: when the first reading is made. Each further reading is 1 ms later.
    Begin(Begin),
    /// Each reading.
    Readings(ClockReadings),
}

/// A point in time, as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Begin {
    /// Unix milliseconds.
    pub time_ms: u64,
}

impl TryFrom<String> for Begin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time_ms = read_time(&text);
        let time_ms = time_ms.ok_or_else(|| format!("{text:?} is no RFC 3339 time since 1970"))?;
        Ok(Self { time_ms })
    }
}

impl From<Begin> for String {
    fn from(begin: Begin) -> Self {
        format_time(begin.time_ms)
    }
}

/// The readings of both clocks, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockReadings {
    /// The wall clock's first reading, Unix milliseconds.
    pub wall_ms: u64,
    /// What the monotonic clock said at that moment.
    pub monotonic_ms: u64,
    /// Runs of equal readings: how many, and how many milliseconds after the first. Readings beyond
    /// the last are equal to it.
    pub runs: Vec<(u32, u64)>,
}

/// Where random numbers come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenRandom {
    /// Seed of the instance: 64 hexadecimal digits, or any other text, which is hashed.
    pub seed: String,
    /// Which delivery of the instance it is, from 1; each has numbers of its own.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub delivery: u64,
}

fn one() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(delivery: &u64) -> bool {
    *delivery == 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_authors_words_are_read() {
        let given: Given = serde_json::from_value(json!({
            "config": {"desk": "http://desk.test"},
            "state": {"visits": {"Ada": "3", "Bo": {"base64": "/w=="}, "Cy": {"json": [1, 2]}}},
            "blobs": [{"content_type": "text/plain", "content": {"file": "a.txt"}}],
            "http": [{"url": "http://desk.test/", "status": 204}],
            "clock": "2026-01-31T12:00:00.007Z",
            "random": {"seed": "any"}
        }))
        .unwrap();
        assert_eq!(given.clock, Some(GivenClock::Begin(Begin { time_ms: 1_769_860_800_007 })));
        assert_eq!(given.http[0].method, "GET");
        assert_eq!(given.random.as_ref().unwrap().delivery, 1);
        let never = |_: &str| Err("no files here".to_owned());
        let bytes = |key: &str| given.state["visits"][key].bytes(never).unwrap();
        assert_eq!(
            (&*bytes("Ada"), &*bytes("Bo"), &*bytes("Cy")),
            (&b"3"[..], &b"\xff"[..], &b"[1,2]"[..])
        );
        assert_eq!(
            given.blobs[0].content.as_ref().unwrap().bytes(never).unwrap_err(),
            "no files here"
        );
        let again: Given = serde_json::from_value(serde_json::to_value(&given).unwrap()).unwrap();
        assert_eq!(again, given);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for broken in [json!({"stat": {}}), json!({"clock": "yesterday"}), json!({"http": [{}]})] {
            assert!(serde_json::from_value::<Given>(broken).is_err());
        }
    }

    #[test]
    fn a_recording_holds_what_fits() {
        let given = Given { sequence: Some(7), ..Given::default() };
        let digest = Digest::of(b"abc");
        let read = |given: &Given, max_bytes| {
            Recording::read(&Recording::write(digest, "1.0.0", given.clone(), max_bytes)).unwrap()
        };
        let size_bytes = r#"{"sequence":7}"#.len() as u64;
        let whole = read(&given, size_bytes);
        assert_eq!((whole.given.as_ref(), whole.size_bytes), (Some(&given), size_bytes));
        let large = read(&given, size_bytes - 1);
        assert_eq!((large.given, large.size_bytes), (None, size_bytes));
        let cut = read(&Given { is_cut: true, ..given }, 1_000);
        assert_eq!((cut.given, cut.size_bytes), (None, 1_001));
        assert_eq!(Recording::read(b"{}"), None);
    }

    #[test]
    fn nothing_given_is_an_empty_object() {
        assert_eq!(serde_json::to_value(Given::default()).unwrap(), json!({}));
    }
}
