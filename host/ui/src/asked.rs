//! What an address asks a screen for. A form sends a field that was left empty as empty text, which
//! means the same as no field.

use std::collections::BTreeMap;

use usher_api::{Problem, Timestamp};

use crate::html::address;
use crate::screen::Screen;
use crate::source::problem;

/// The fields of a query that are not empty.
pub(crate) struct Asked(BTreeMap<String, String>);

impl Asked {
    pub(crate) fn parse(query: &str) -> Result<Self, Problem> {
        let fields: BTreeMap<String, String> =
            serde_urlencoded::from_str(query).map_err(|error| problem(error.to_string()))?;
        Ok(Self(fields.into_iter().filter(|(_, value)| !value.is_empty()).collect()))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// Like [`Asked::text`], trimmed and parsed.
    pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        let value = self.text(name).map(|text| text.trim().parse::<T>());
        value.transpose().map_err(|error| problem(format!("{name}: {error}")))
    }

    /// A time as browsers send it (`2026-01-31T12:00`), taken as UTC, or as RFC 3339.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(name).map(str::trim) else { return Ok(None) };
        let seconds = if text.len() == "2026-01-31T12:00".len() { ":00Z" } else { "Z" };
        Timestamp::from_text(text)
            .or_else(|| Timestamp::from_text(&format!("{text}{seconds}")))
            .map(Some)
            .ok_or_else(|| problem(format!("{name}: use a time such as 2026-01-31T12:00:00Z")))
    }

    /// A screen's address with these fields in the place of its own; empty text removes one.
    pub(crate) fn address(&self, screen: Screen, set: &[(&str, &str)]) -> String {
        let mut fields = self.0.clone();
        fields.extend(set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        fields.retain(|_, value| !value.is_empty());
        address(screen, &fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_are_none() {
        let asked = Asked::parse("type=&source=%2Fshop&max=7&bad=x").unwrap();
        assert_eq!((asked.text("type"), asked.text("source")), (None, Some("/shop")));
        assert_eq!(asked.parsed::<u64>("max").unwrap(), Some(7));
        assert!(asked.parsed::<u64>("bad").unwrap_err().detail.starts_with("bad: "));
        let address = asked.address(Screen::Events, &[("to", "5"), ("bad", "")]);
        assert_eq!(address, "events?max=7&source=%2Fshop&to=5");
    }

    #[test]
    fn times_are_taken_as_browsers_send_them() {
        for text in ["2026-01-31T12:00", "2026-01-31T12:00:00", "2026-01-31T12%3A00%3A00Z"] {
            let asked = Asked::parse(&format!("since={text}")).unwrap();
            let time = asked.time("since").unwrap().unwrap();
            assert_eq!(time.to_string(), "2026-01-31T12:00:00.000Z", "{text}");
        }
        assert!(Asked::parse("since=yesterday").unwrap().time("since").is_err());
    }
}
