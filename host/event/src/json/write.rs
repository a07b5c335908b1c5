//! Encodes events as JSON.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::encoding::Core;
use crate::value::ValueRef;
use crate::{Event, media};

/// Encodes the event as JSON on a single line, without a trailing newline.
pub fn to_vec(event: &Event) -> Vec<u8> {
    // Can't fail: all keys are strings and the output is in memory.
    serde_json::to_vec(event).unwrap_or_default()
}

/// CloudEvents JSON. JSON data is passed through as `RawValue`, which only `serde_json` supports.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        for core in Core::ALL {
            if let Some(text) = self.core_text(core) {
                map.serialize_entry(core.name(), text)?;
            }
        }
        for (name, value) in self.extension_refs() {
            match value {
                ValueRef::Boolean(value) => map.serialize_entry(name, &value)?,
                ValueRef::Integer(value) => map.serialize_entry(name, &value)?,
                other => map.serialize_entry(name, &other.to_text())?,
            }
        }
        match self.data_slice().map(|data| JsonData::of(data, self.datacontenttype())) {
            None => {}
            Some(JsonData::Raw(json)) => map.serialize_entry("data", &json)?,
            Some(JsonData::Text(text)) => map.serialize_entry("data", text)?,
            Some(JsonData::Binary(bytes)) => {
                map.serialize_entry("data_base64", &STANDARD.encode(bytes))?;
            }
        }
        map.end()
    }
}

/// How an event's data is represented in JSON.
enum JsonData<'a> {
    Raw(Cow<'a, RawValue>),
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> JsonData<'a> {
    fn of(data: &'a [u8], media_type: Option<&str>) -> Self {
        let form = if media_type.is_none_or(media::is_json) {
            raw(data).map(Self::Raw)
        } else if media_type.is_none_or(media::is_utf8) {
            printable(data).map(Self::Text)
        } else {
            None
        };
        form.unwrap_or(Self::Binary(data))
    }
}

/// `data` as JSON on one line; `None` if it isn't JSON.
fn raw(data: &[u8]) -> Option<Cow<'_, RawValue>> {
    if !data.iter().any(|b| matches!(b, b'\n' | b'\r')) {
        return serde_json::from_slice::<&RawValue>(data).ok().map(Cow::Borrowed);
    }
    // In valid JSON, raw line breaks are whitespace; in strings they must be escaped.
    serde_json::from_slice::<&RawValue>(data).ok()?;
    let line = std::str::from_utf8(data).ok()?.replace(['\n', '\r'], " ");
    RawValue::from_string(line).ok().map(Cow::Owned)
}

/// `data` as text; `None` if it isn't UTF-8 or has control characters other than tab, LF and CR.
fn printable(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok()?;
    text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r')).then_some(text)
}
