//! What filters look at: an event, and of its payload what they name.

use std::cell::OnceCell;

use serde_json::value::RawValue;
use usher_event::Event;

use crate::data::path::{Path, Pointer};
use crate::data::scan::{Pointers, Values, select};

/// An event under filters. Its payload is read when a filter first asks for it, and only once for all
/// pointers.
pub(crate) struct Subject<'e> {
    pub(crate) event: &'e Event,
    pointers: &'e Pointers,
    payload: OnceCell<Result<Payload<'e>, String>>,
}

/// A payload that is JSON.
pub(crate) struct Payload<'e> {
    text: &'e str,
    pub(crate) values: Values<'e>,
}

impl<'e> Subject<'e> {
    pub(crate) fn new(event: &'e Event, pointers: &'e Pointers) -> Self {
        Self { event, pointers, payload: OnceCell::new() }
    }

    /// The payload; why there is nothing to find otherwise.
    pub(crate) fn payload(&self) -> Result<&Payload<'e>, &str> {
        let payload = self.payload.get_or_init(|| {
            let text = text(self.event)?;
            let values = self.pointers.scan(text).map_err(|error| invalid(&error))?;
            Ok(Payload { text, values })
        });
        payload.as_ref().map_err(String::as_str)
    }

    /// The value that a pointer is about, if its slot was asked for.
    pub(crate) fn value(&self, pointer: &Pointer) -> Option<&'e RawValue> {
        self.payload().ok()?.values.get(self.pointers.slot(pointer)?)
    }

    /// The values that a query selects; why it can't be told otherwise.
    pub(crate) fn selected(&self, query: &Path) -> Result<Vec<&'e RawValue>, String> {
        let whole = serde_json::from_str(self.payload()?.text).map_err(|error| invalid(&error))?;
        select(whole, query.steps())
    }
}

/// The payload of an event that says it is JSON; why there is none otherwise.
pub(crate) fn text(event: &Event) -> Result<&str, String> {
    let Some(data) = event.data_slice() else { return Err("there is no data".to_owned()) };
    if !event.has_json_type() {
        let ty = event.datacontenttype().unwrap_or_default();
        return Err(format!("data is {ty}, no JSON"));
    }
    std::str::from_utf8(data).map_err(|error| invalid(&error))
}

fn invalid(error: &dyn std::fmt::Display) -> String {
    format!("data is no valid JSON: {error}")
}
