//! What filters look at: an event, and of its payload what they name.

use std::cell::OnceCell;

use serde_json::value::RawValue;
use usher_event::Event;

use crate::data::path::{Path, Pointer};
use crate::data::scan::{Pointers, Values};

/// An event under filters. Its payload is read when a filter first asks for it, and only once.
pub(crate) struct Subject<'e> {
    pub(crate) event: &'e Event,
    pointers: &'e Pointers,
    payload: OnceCell<Payload<'e>>,
    tree: OnceCell<Result<serde_json::Value, String>>,
}

/// What of the payload was found.
pub(crate) enum Payload<'e> {
    Values(Values<'e>),
    /// Why there is nothing to find.
    Unreadable(String),
}

impl<'e> Subject<'e> {
    pub(crate) fn new(event: &'e Event, pointers: &'e Pointers) -> Self {
        Self { event, pointers, payload: OnceCell::new(), tree: OnceCell::new() }
    }

    /// The payload.
    pub(crate) fn payload(&self) -> &Payload<'e> {
        self.payload.get_or_init(|| {
            let text = match self.text() {
                Ok(text) => text,
                Err(reason) => return Payload::Unreadable(reason),
            };
            match self.pointers.scan(text) {
                Ok(values) => Payload::Values(values),
                Err(error) => Payload::Unreadable(format!("data is no valid JSON: {error}")),
            }
        })
    }

    /// The value that a pointer is about, if its slot was asked for.
    pub(crate) fn value(&self, pointer: &Pointer) -> Option<&'e RawValue> {
        let Payload::Values(values) = self.payload() else { return None };
        values.get(self.pointers.slot(pointer)?)
    }

    /// The values that a query selects, each with its place; why it can't be told otherwise.
    pub(crate) fn selected(&self, query: &Path) -> Result<Vec<(Pointer, &'e RawValue)>, String> {
        let text = self.text()?;
        // What a scan skips isn't parsed, but a tree has no place for a number such as 1e999.
        let no_tree = |error| format!("data can't be queried: {error}");
        let tree = self.tree.get_or_init(|| serde_json::from_str(text).map_err(no_tree));
        let places = query.select(tree.as_ref().map_err(String::clone)?);
        // From the text, as numbers in the tree are rounded.
        let pointers = Pointers::of(&places);
        let values = pointers.scan(text).map_err(no_tree)?;
        let value = |place: Pointer| {
            let value = values.get(pointers.slot(&place)?)?;
            Some((place, value))
        };
        Ok(places.into_iter().filter_map(value).collect())
    }

    fn text(&self) -> Result<&'e str, String> {
        let Some(data) = self.event.data_slice() else { return Err("there is no data".to_owned()) };
        if !self.event.has_json_type() {
            let ty = self.event.datacontenttype().unwrap_or_default();
            return Err(format!("data is {ty}, no JSON"));
        }
        std::str::from_utf8(data).map_err(|error| format!("data is no valid JSON: {error}"))
    }
}
